/** souk and the library with TLS: the certificate and its name are checked, and nothing secret goes out in plain. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { createServer } from 'node:tls'
import { ConnectionLost, connect } from '../../src/library.ts'
import { Signer } from '../support/certificates.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { documentIn, SoukUser } from '../support/souk.ts'

let marketplace: TestMarketplace
let signer: Signer
let secure: RunningServer<'buyer'>
let plain: RunningServer<'buyer'>
let bob: SoukUser

before(async () => {
  marketplace = await startTestMarketplace()
  signer = new Signer(join(marketplace.home, 'tls'))
  ;[secure, plain] = await Promise.all([marketplace.serve('buyer', signer.sign('buyers')), marketplace.serve('buyer')])
  bob = new SoukUser([secure])
})
after(async () => {
  await bob?.leave()
  await marketplace?.close()
})

async function failureOf(typed: string, env = {}): Promise<[exitCode: unknown, message: string]> {
  const { exitCode, stderr } = await bob.souk(typed, { env })
  return [exitCode, stderr]
}

/** Runs `work` with a server whose certificate has expired. souk-server does not start with one. */
async function withExpiredServer(work: (server: { port: number }) => Promise<void>): Promise<void> {
  const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000)
  const { tlsCertificate, tlsKey } = signer.sign('expired', { from: daysAgo(2), until: daysAgo(1) })
  const server = createServer({ cert: readFileSync(tlsCertificate), key: readFileSync(tlsKey) })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  try {
    await work({ port: (server.address() as AddressInfo).port })
  } finally {
    server.close()
  }
}

describe('souk with TLS', () => {
  it('is asked for by options or variables, also in scripts and for status', async () => {
    const variables = { SOUK_TLS: 'on', SOUK_CA: signer.ca }
    await bob.result(`buyer ping --tls --ca ${signer.ca}`)
    await bob.result(`buyer ping --ca ${signer.ca}`)
    await bob.result(`buyer ping --ca ${signer.ca} --host localhost`)
    await bob.result('buyer ping', { env: variables })
    await bob.result('buyer', { env: variables, input: 'ping\n' })
    const { stdout } = await bob.souk(`status --json --ca ${signer.ca}`)
    const [, buyer] = documentIn(stdout).servers as { reachable: boolean }[]
    assert.equal(buyer?.reachable, true)
  })

  it('says in plain words why there is no connection', async () => {
    const elsewhere = await marketplace.serve('buyer', signer.sign('elsewhere', { names: 'DNS:shop.example.org' }))
    const unknown = "its certificate has an unknown signer; --ca can name a file with the signer's certificate"
    const at = ({ port }: { port: number }, rest: string) => failureOf(`buyer ping --port ${port} ${rest}`)
    const says = ({ port }: { port: number }, what: string) =>
      new RegExp(`^souk: no connection to 127\\.0\\.0\\.1:${port}: ${what.replace('.', '\\.')}: souk status`)
    const cases = [
      [secure, '--tls', unknown],
      [secure, `--ca ${signer.otherCa}`, unknown],
      [elsewhere, `--ca ${signer.ca}`, 'its certificate is not for 127.0.0.1'],
      [plain, '--tls', 'it does not speak TLS'],
    ] as const
    for (const [server, rest, what] of cases) {
      const [exitCode, message] = await at(server, rest)
      assert.equal(exitCode, 6)
      assert.match(message, says(server, what))
    }
    await bob.result(`buyer ping --port ${elsewhere.port} --ca ${signer.ca} --tls-name shop.example.org`)
    await withExpiredServer(async (expired) => {
      assert.match((await at(expired, `--ca ${signer.ca}`))[1], says(expired, 'its certificate has expired'))
    })
    assert.deepEqual(await failureOf('buyer ping'), [
      6,
      'souk: this server speaks TLS only (souk: --tls): souk status\n',
    ])
    const [exitCode, message] = await failureOf('buyer ping --ca none')
    assert.deepEqual([exitCode, message], [2, 'souk: --ca: the file does not exist\n'])
    assert.match((await failureOf('buyer ping', { SOUK_TLS: 'yes' }))[1], /^souk: SOUK_TLS: must be .*on.*off/)
  })

  it('sends a session that was opened over TLS, and a password to its server, over nothing else', async () => {
    const account = '--password-file password'
    const tls = `--ca ${signer.ca}`
    await bob.result(`buyer create-account bob Bob ${account} ${tls}`)
    await bob.result(`buyer login bob ${account} ${tls}`)
    await bob.result(`buyer whoami ${tls}`)
    for (const typed of ['buyer whoami', `buyer login bob ${account}`, 'buyer logout']) {
      const [exitCode, message] = await failureOf(typed)
      assert.equal(exitCode, 2)
      assert.match(message, /^souk: you are logged in to this server over TLS: [^:]*: add --tls\n$/)
    }
    await bob.result(`buyer logout ${tls}`)
  })
})

describe('a client of the library with TLS', () => {
  it('checks the certificate, and fails at once if that is not right', async () => {
    const buyer = connect({ role: 'buyer', port: secure.port, ca: signer.caText })
    assert.equal((await buyer.call('ping', {})).ok, true)
    await buyer.close()
    for (const options of [{ port: secure.port, tls: true }, { port: secure.port }, { port: plain.port, tls: true }]) {
      const client = connect({ role: 'buyer', ...options, timeoutMs: 3_600_000 })
      await assert.rejects(client.call('ping', {}), (error) => {
        return error instanceof ConnectionLost && error.outcome === 'none'
      })
      await client.close()
    }
  })
})
