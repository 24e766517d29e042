/**
 * TLS between clients and a server: who is let in and who is told what, that
 * nothing else changes, and that a certificate is renewed without a restart.
 */

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as connectPlain, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { type Certificate, openssl, readShown, Signer } from '../support/certificates.ts'
import { anItem, Caller, encodeRequest, openAccount, Wire } from '../support/clients.ts'
import {
  openConnections,
  type RunningServer,
  ServerProgram,
  type SomeSettings,
  startTestMarketplace,
  type TestMarketplace,
  until,
} from '../support/marketplace.ts'

const ITEMS = 600
let marketplace: TestMarketplace
let signer: Signer
let certificate: Certificate
let trust: ConnectionOptions
let plain: RunningServer<'seller'>
let secure: RunningServer<'seller'>
let session: string

before(async () => {
  marketplace = await startTestMarketplace()
  signer = new Signer(join(marketplace.home, 'tls'))
  certificate = signer.sign('first')
  trust = { ca: signer.caText }
  ;[plain, secure] = await Promise.all([marketplace.serve('seller'), serve()])
  const seller = await Caller.connect(plain)
  session = (await openAccount(seller)).session
  const items = Array.from({ length: ITEMS }, (_, number) =>
    seller.call('register_item_for_sale', { session, ...anItem({ name: `Lamp ${number}` }) }),
  )
  await Promise.all(items)
  await seller.close()
})
after(() => marketplace?.close())

const serve = (settings: SomeSettings = {}) => marketplace.serve('seller', { ...certificate, ...settings })
const ping = (id: number | string) => encodeRequest({ id, method: 'ping' })

/** Everything that a server sends until it ends the connection. */
function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (part) => {
    text += part
  })
  socket.on('error', () => {})
  return new Promise((resolve) => {
    socket.once('close', () => resolve(text))
    socket.once('end', () => socket.end())
  })
}

describe('a server with a certificate', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`speaks ${version}, and answers all that was asked before the client closed its side`, async () => {
      const wire = await Wire.connectSecurely(secure, { ...trust, minVersion: version, maxVersion: version })
      assert.equal((wire.socket as TLSSocket).getProtocol(), version)
      wire.request('listing', 'display_items_for_sale', { session, limit: ITEMS })
      wire.send(ping('last').trimEnd())
      wire.end()
      const replies = new Map((await wire.rest()).map(({ id, result }) => [id, result]))
      assert.deepEqual([...replies.keys()].toSorted(), ['last', 'listing'])
      assert.equal((replies.get('listing')?.items as unknown[] | undefined)?.length, ITEMS)
    })
  }

  it('refuses older versions, and resumes no session', async () => {
    const older = { ...trust, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const
    await assert.rejects(Wire.connectSecurely(secure, older), { code: /PROTOCOL_VERSION/ })
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const first = connect({ host: '127.0.0.1', port: secure.port, ...trust, maxVersion })
      const tickets: Buffer[] = []
      first.on('session', (ticket) => tickets.push(ticket))
      first.write(ping(1))
      await new Promise((resolve) => first.once('data', resolve))
      first.destroy()
      const resumed = { ...trust, maxVersion, ...(tickets[0] && { session: tickets[0] }) }
      const wire = await Wire.connectSecurely(secure, resumed)
      assert.equal((wire.socket as TLSSocket).isSessionReused(), false)
      wire.destroy()
    }
  })

  it('tells a client without TLS so in one line, and carries nothing out', async () => {
    const account = { username: 'plain', password: 'correct horse', name: 'Plain' }
    const create = encodeRequest({ id: 1, method: 'create_account', params: account })
    for (const bytes of [create, create.repeat(1_000), '\n', 'SSH-2.0-OpenSSH_9.2\r\n', '\0\0\0', 'G']) {
      const wire = await Wire.connect(secure)
      wire.send(bytes)
      const replies = await wire.rest()
      const said = replies.map(({ id, error }) => [id, error?.data.code, error?.message])
      assert.deepEqual(said, [[null, 'parse_error', 'this server speaks TLS only (souk: --tls)']])
      wire.end()
    }
    const answer = await fetch(`http://127.0.0.1:${secure.port}/`, { method: 'POST', body: create })
    assert.equal(answer.status, 400)
    assert.deepEqual(await marketplace.sql('customer', "SELECT 1 FROM seller WHERE username = 'plain'"), [])
    await until('all connections are closed', () => openConnections(secure) === 0)
  })

  it('answers an HTTP request under TLS as it does without', async () => {
    const socket = connect({ host: '127.0.0.1', port: secure.port, ...trust })
    socket.write(`POST / HTTP/1.1\r\n\r\n${ping(1)}`)
    assert.match(await readAll(socket), /^HTTP\/1\.1 400 [^{]*$/s)
  })

  it('closes connections that begin no handshake, or do not finish it, or break it', async () => {
    const server = await serve({ limitUnfinishedLineMs: 300 })
    const handshake = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
    const open = (bytes: Buffer | string) => {
      const socket = connectPlain(server.port, '127.0.0.1')
      socket.write(bytes)
      return readAll(socket)
    }
    const [silent, begun] = await Promise.all([open(''), open(handshake)])
    assert.deepEqual([silent, begun], ['', ''])
    const dripping = connectPlain(server.port, '127.0.0.1')
    const ended = readAll(dripping)
    dripping.write(handshake)
    const drip = setInterval(() => dripping.write('\0'), 50).unref()
    await ended
    clearInterval(drip)
    const noHello = Buffer.concat([Buffer.from([0x16, 3, 1, 0, 5]), Buffer.from('hello')])
    assert.doesNotMatch(await open(noHello), /jsonrpc/)
    await until('all connections are closed', () => openConnections(server) === 0)
    assert.equal(server.program.log, '')
  })

  it('closes a connection that sends no TLS after the handshake', async () => {
    const raw = connectPlain(secure.port, '127.0.0.1')
    const socket = connect({ socket: raw, ...trust })
    socket.on('error', () => {})
    await new Promise((resolve) => socket.once('secureConnect', resolve))
    const closed = new Promise((resolve) => socket.once('close', resolve))
    raw.write('no record of TLS at all')
    await closed
    await until('the server has closed it', () => openConnections(secure) === 0)
  })

  it('answers 2000 pipelined requests with the very bytes that it sends without TLS', async () => {
    const requests = Array.from({ length: 2_000 }, (_, id) => {
      if (id % 100 === 0)
        return encodeRequest({ id, method: 'display_items_for_sale', params: { session, limit: 300 } })
      if (id % 10 === 0) return `{"jsonrpc":"2.0","id":${id},"method":"no_such"}\n`
      return encodeRequest({ id, method: 'get_seller_rating', params: { session } })
    }).join('')
    const ask = async (wire: Wire) => {
      wire.send(requests)
      wire.end()
      const lines: string[] = []
      for (let line = await wire.line(); line !== undefined; line = await wire.line()) lines.push(line)
      return lines.toSorted()
    }
    const [without, under] = [
      await ask(await Wire.connect(plain)),
      await ask(await Wire.connectSecurely(secure, trust)),
    ]
    assert.equal(under.length, 2_000)
    assert.deepEqual(under, without)
  })

  it('does not read a client that takes no replies, gives them all when it does, and closes it if it never does', async () => {
    const server = await serve({ limitUnsentBytes: 1_048_576, limitStuckMs: 1_000 })
    const listings = Array.from({ length: 300 }, (_, id) =>
      encodeRequest({ id, method: 'display_items_for_sale', params: { session, limit: ITEMS } }),
    ).join('')
    const wire = await Wire.connectSecurely(server, trust)
    wire.send(listings)
    assert.equal((await wire.replies(300)).size, 300)
    wire.socket.pause()
    wire.send(listings)
    await until('the server has closed the connection', () => openConnections(server) === 0)
    wire.destroy()
  })

  it('tells clients beyond the limit on connections, and counts those that have not begun TLS', async () => {
    const server = await serve({ limitConnections: 2 })
    const silent = connectPlain(server.port, '127.0.0.1')
    const first = await Wire.connectSecurely(server, trust)
    first.request(1, 'ping')
    await first.reply()
    const refused = await Wire.connectSecurely(server, trust)
    assert.deepEqual((await refused.rest())[0]?.error?.data, { code: 'overloaded', retry_after_ms: 1_000 })
    silent.destroy()
    await until('a connection is free', async () => {
      const wire = await Wire.connectSecurely(server, trust)
      wire.request(1, 'ping')
      const { error } = (await wire.reply()) ?? {}
      wire.destroy()
      return error === undefined
    })
    first.destroy()
  })

  it('says farewell when it stops, after the replies under way, and drops handshakes', async () => {
    const server = await serve()
    const silent = connectPlain(server.port, '127.0.0.1')
    const gone = readAll(silent)
    const wire = await Wire.connectSecurely(server, trust)
    wire.request('first', 'ping')
    await wire.reply()
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    wire.request('fast', 'ping')
    assert.equal((await wire.reply())?.id, 'fast')
    const ended = server.program.end()
    assert.deepEqual(
      (await wire.rest()).map(({ id, method }) => id ?? method),
      ['slow', 'shutting_down'],
    )
    wire.end()
    assert.equal(await gone, '')
    assert.equal(await ended, 0)
    assert.equal(server.program.log, '')
  })

  it('serves Python and openssl s_client', async () => {
    const python = spawnSync(
      'python3',
      [
        '-c',
        'import socket, ssl, sys\n' +
          'context = ssl.create_default_context(cafile=sys.argv[2])\n' +
          'plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))\n' +
          'with context.wrap_socket(plain, server_hostname="127.0.0.1") as wire:\n' +
          '    wire.sendall(sys.argv[3].encode())\n' +
          '    print(wire.makefile().readline(), end="")\n',
        String(secure.port),
        signer.ca,
        ping('python'),
      ],
      { encoding: 'utf8' },
    )
    assert.match(python.stdout, /^\{"jsonrpc":"2.0","id":"python","result":\{"ok":true/, python.stderr)
    const client = spawn('openssl', [
      ...['s_client', '-quiet', '-verify_return_error', '-CAfile', signer.ca],
      ...['-connect', `127.0.0.1:${secure.port}`],
    ])
    client.stdin.write(ping('openssl'))
    let said = ''
    client.stdout.setEncoding('utf8').on('data', (text) => {
      said += text
    })
    await until('it has the reply', () => said.includes('"id":"openssl","result"'))
    client.kill()
  })
})

describe('a certificate', () => {
  it('that is replaced is used by new connections without a restart, and a bad one is not', async () => {
    const current = { tlsCertificate: join(signer.folder, 'current.pem'), tlsKey: join(signer.folder, 'current.key') }
    const use = ({ tlsCertificate, tlsKey }: Certificate) => {
      copyFileSync(tlsKey, current.tlsKey)
      copyFileSync(tlsCertificate, current.tlsCertificate)
    }
    use(certificate)
    const server = await serve(current)
    const old = await Wire.connectSecurely(server, trust)
    assert.equal(await readShown(server.port, trust), 'first')
    copyFileSync(signer.sign('second').tlsCertificate, current.tlsCertificate)
    await until('the trouble is logged', () => server.program.log !== '')
    const logged = () =>
      server.program.log
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).msg)
    assert.match(logged()[0], /^the certificate for TLS was not renewed: .*does not belong to the certificate$/)
    assert.equal(await readShown(server.port, trust), 'first')
    use(signer.sign('third'))
    await until('the new one is used', async () => (await readShown(server.port, trust)) === 'third')
    assert.match(logged()[1], /^the certificate for TLS was renewed: it is valid until /)
    assert.equal(logged().length, 2)
    old.request('old', 'ping')
    assert.equal((await old.reply())?.id, 'old')
    old.destroy()
  })

  it('that can’t be used is refused at start, in one line that names the setting, without any of the key', async () => {
    const problemsWith = async (settings: Record<string, string>): Promise<string> => {
      const program = new ServerProgram(marketplace.home, ['seller'], settings)
      assert.equal(await program.ended, 2, program.log)
      assert.doesNotMatch(program.log, /PRIVATE|BEGIN|MIG|MHc/)
      return program.log
    }
    const path = (name: string) => join(signer.folder, name)
    const { tlsCertificate, tlsKey } = certificate
    const day = 86_400_000
    const expired = signer.sign('expired', { from: new Date(Date.now() - 3 * day), until: new Date(Date.now() - day) })
    const early = signer.sign('early', { from: new Date(Date.now() + day), until: new Date(Date.now() + 2 * day) })
    writeFileSync(path('empty'), '', { mode: 0o600 })
    writeFileSync(path('broken'), readFileSync(tlsCertificate, 'utf8').replace(/\n[^-\n]{20}/, '\nAAAA'))
    copyFileSync(tlsKey, path('open'))
    chmodSync(path('open'), 0o644)
    openssl('ec', '-in', tlsKey, '-aes128', '-passout', 'pass:secret', '-out', path('locked'))
    chmodSync(path('locked'), 0o600)
    const other = signer.sign('other')
    const cases: [certificate: string, key: string, expected: RegExp][] = [
      [path('none'), tlsKey, /^souk: SOUK_TLS_CERTIFICATE: the file does not exist: souk-server --help\n$/],
      [tlsCertificate, path('none'), /^souk: SOUK_TLS_KEY: the file does not exist:/],
      [signer.folder, tlsKey, /^souk: SOUK_TLS_CERTIFICATE: the file can't be read \(EISDIR\):/],
      [path('empty'), tlsKey, /^souk: SOUK_TLS_CERTIFICATE: the file has no certificate in PEM format:/],
      [path('broken'), tlsKey, /^souk: SOUK_TLS_CERTIFICATE: the file has a broken certificate:/],
      [
        expired.tlsCertificate,
        expired.tlsKey,
        /^souk: SOUK_TLS_CERTIFICATE: the file has a certificate that expired on/,
      ],
      [
        early.tlsCertificate,
        early.tlsKey,
        /^souk: SOUK_TLS_CERTIFICATE: the file has a certificate that is not valid be/,
      ],
      [tlsCertificate, path('empty'), /^souk: SOUK_TLS_KEY: the file has no private key in PEM format:/],
      [tlsCertificate, tlsCertificate, /^souk: SOUK_TLS_KEY: the file has no private key in PEM format:/],
      [tlsCertificate, path('locked'), /^souk: SOUK_TLS_KEY: the file has a key with a passphrase:/],
      [tlsCertificate, path('open'), /^souk: SOUK_TLS_KEY: the file is open to other users: chmod 600:/],
      [tlsCertificate, other.tlsKey, /^souk: SOUK_TLS_KEY: the key does not belong to the certificate:/],
    ]
    await Promise.all(
      cases.map(async ([cert, key, expected]) => {
        assert.match(await problemsWith({ SOUK_TLS_CERTIFICATE: cert, SOUK_TLS_KEY: key }), expected)
      }),
    )
    const one = await problemsWith({ SOUK_TLS_CERTIFICATE: tlsCertificate })
    assert.equal(one, 'souk: SOUK_TLS_CERTIFICATE and SOUK_TLS_KEY: set both or neither: souk-server --help\n')
  })
})
