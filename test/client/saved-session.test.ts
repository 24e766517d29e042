/** What souk knows before it makes a call: the session it remembers for each server and role, passwords, and settings by precedence. */

import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openShop, type Shop } from '../support/shop.ts'
import { documentIn, type Ended, PASSWORD, type RunningSouk, SoukUser } from '../support/souk.ts'

let shop: Shop
let other: { role: 'buyer'; port: number }
let ann: SoukUser
let accounts = 0

before(async () => {
  shop = await openShop()
  other = await shop.marketplace.serve('buyer')
})
after(() => shop?.close())
afterEach(() => ann?.leave())

/** Logs in a new buyer as `ann`; resolves to the user name. */
async function logIn(): Promise<string> {
  ann = new SoukUser([shop.sellers, shop.buyers])
  accounts += 1
  await ann.join('buyer', `ann-${accounts}`)
  return `ann-${accounts}`
}

const nameSessionFile = ({ port }: { port: number }, role = 'buyer') => `session-${role}-127.0.0.1-${port}`

async function askUsername(typed = 'buyer whoami', env: Record<string, string | undefined> = {}): Promise<unknown> {
  return documentIn(await ann.result(`${typed} --json`, { env })).username
}

async function runFailing(typed: string, exitCode: number, run = {}): Promise<string> {
  const ended = await ann.souk(typed, run)
  assert.deepEqual({ typed, exitCode: ended.exitCode, stdout: ended.stdout }, { typed, exitCode, stdout: '' })
  return ended.stderr
}

describe('a session', () => {
  it('is kept for each host, port and role in a file that only its owner can read, even in a folder that others could read', async () => {
    ann = new SoukUser([shop.sellers, shop.buyers])
    mkdirSync(ann.stateFolder, { recursive: true })
    chmodSync(ann.stateFolder, 0o777)
    await ann.join('buyer', 'zoe')
    await ann.join('seller', 'zed')
    await ann.result(`buyer login zoe --port ${other.port} --password-file password`)
    const files = [nameSessionFile(shop.buyers), nameSessionFile(other), nameSessionFile(shop.sellers, 'seller')]
    assert.deepEqual(ann.files, files.toSorted())
    assert.equal(statSync(ann.stateFolder).mode & 0o777, 0o700)
    for (const file of files) assert.equal(statSync(join(ann.stateFolder, file)).mode & 0o777, 0o600)
    await ann.result(`buyer logout --port ${other.port}`)
    assert.deepEqual(ann.files, [nameSessionFile(shop.buyers), nameSessionFile(shop.sellers, 'seller')].toSorted())
    assert.equal(await askUsername(), 'zoe')
    assert.equal(await askUsername('seller whoami'), 'zed')
    assert.match(await runFailing(`buyer whoami --host localhost`, 3), /you are not logged in/)
  })

  it('is kept under the home folder unless the environment names another', async () => {
    ann = new SoukUser([shop.buyers])
    const env = { XDG_STATE_HOME: undefined }
    await ann.result('buyer signup hal Hal --password-file password', { env })
    await ann.result('buyer login hal --password-file password', { env })
    const file = join(ann.home, '.local', 'state', 'souk', nameSessionFile(shop.buyers))
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(await askUsername('buyer whoami', env), 'hal')
    assert.equal(await askUsername('buyer whoami', { XDG_STATE_HOME: '' }), 'hal')
    assert.deepEqual(ann.files, [])
  })

  it('of the environment wins even over a new one, and its end leaves the remembered one', async () => {
    const name = await logIn()
    const env = { SOUK_SESSION: (await shop.newBuyer()).session }
    const { exitCode, stderr } = await ann.souk(`buyer login ${name} --password-file password`, { env })
    assert.equal(exitCode, 0, stderr)
    assert.equal(stderr, 'souk: SOUK_SESSION is set: commands keep using it, not the new session\n')
    await ann.result('buyer clear', { env })
    await ann.result('buyer logout', { env })
    assert.match(await runFailing('buyer clear', 3, { env }), /the session has ended/)
    assert.equal(await askUsername(), name)
    assert.equal(await askUsername('buyer whoami', { SOUK_SESSION: '' }), name)
  })

  it('is forgotten at logout, and after the server has ended it', async () => {
    await logIn()
    await ann.result('buyer logout')
    assert.deepEqual(ann.files, [])
    const name = await logIn()
    await shop.buyer.call('logout', { session: ann.session('buyer') })
    assert.equal(await runFailing('buyer cart', 3), `souk: the session has ended: souk buyer login ${name}\n`)
    assert.deepEqual(ann.files, [])
    assert.match(await runFailing('buyer cart', 3), /you are not logged in/)
  })

  it('stays when a login fails, and is replaced by the next login', async () => {
    const name = await logIn()
    const session = ann.session('buyer')
    assert.equal(
      await runFailing(`buyer login ${name}`, 3, { input: 'wrong horse\n' }),
      'souk: wrong user name or password\n',
    )
    await runFailing('buyer login', 2, { input: 'wrong horse\n' })
    assert.equal(ann.session('buyer'), session)
    await ann.result(`buyer login ${name} --password-file password`)
    assert.notEqual(ann.session('buyer'), session)
    assert.equal(await askUsername(), name)
  })

  it('in a file that makes no sense counts as none', async () => {
    const name = await logIn()
    const file = join(ann.stateFolder, nameSessionFile(shop.buyers))
    for (const garbage of ['', 'no json', '7', 'null', '{}', '{"session":7}', '["session"]', '\0']) {
      writeFileSync(file, garbage)
      const expected = 'souk: you are not logged in: souk buyer login <username>\n'
      assert.equal(await runFailing('buyer cart', 3), expected, garbage)
    }
    await ann.result(`buyer login ${name} --password-file password`)
    assert.equal(await askUsername(), name)
  })

  it('that can’t be kept is reported as an error with the reason', async () => {
    const name = await logIn()
    rmSync(ann.stateFolder, { recursive: true })
    writeFileSync(ann.stateFolder, 'in the way')
    const stderr = await runFailing(`buyer login ${name} --password-file password`, 1)
    assert.match(stderr, /^souk: E[A-Z]+: .*state\/souk'\n$/)
    assert.match(await runFailing('buyer cart', 3), /you are not logged in/)
    const { exitCode, stdout } = await ann.souk(`buyer login ${name} --password-file password --json`)
    assert.deepEqual([exitCode, (documentIn(stdout).error as { code: string }).code], [1, 'system'])
  })
})

async function awaitEnd({ ended }: RunningSouk): Promise<Partial<Ended>> {
  const { exitCode, stderr } = await ended
  return { exitCode, stderr }
}

describe('a password', () => {
  it('is the first line of a file or of standard input, and never an argument', async () => {
    ann = new SoukUser([shop.buyers])
    const missing = 'souk: the password is missing: give --password-file <file>, or standard input\n'
    assert.equal(await runFailing('buyer login ann', 2), missing)
    assert.equal(await runFailing('buyer login ann', 2, { input: '\ncorrect horse\n' }), missing)
    assert.match(
      await runFailing('buyer login ann --password-file nowhere', 2),
      /^souk: --password-file: ENOENT: .*nowhere/,
    )
    writeFileSync(join(ann.home, 'empty'), '\n')
    assert.match(
      await runFailing('buyer login ann --password-file empty', 2),
      /^souk: --password-file: empty is empty\n$/,
    )
    for (const flag of ['--password x', '--password=x', '-p x']) {
      assert.match(await runFailing(`buyer login ann ${flag}`, 2), /^souk: there is no option -/)
    }
  })

  it('is the same whatever an editor puts around it, and another with other bytes', async () => {
    ann = new SoukUser([shop.buyers])
    const file = join(ann.home, 'secret')
    const password = ' hünter\u2028se cret\u{FEFF} '
    const login = async (content: string | Buffer): Promise<string> => {
      writeFileSync(file, content)
      const [byFile, byInput] = await Promise.all([
        ann.souk('buyer login ann --password-file secret'),
        ann.souk('buyer login ann', { input: content }),
      ])
      const said = byFile.stderr.replace('--password-file: line 1 of secret', 'standard input')
      assert.deepEqual(
        { exitCode: byInput.exitCode, stderr: byInput.stderr },
        { exitCode: byFile.exitCode, stderr: said },
      )
      return said
    }
    await ann.result('buyer signup ann Ann', { input: password })
    for (const end of ['', '\n', '\r\n', '\r', '\r\nmore\n', '\n\n']) {
      for (const mark of ['', '\u{FEFF}'])
        assert.equal(await login(mark + password + end), '', JSON.stringify(mark + end))
    }
    for (const wrong of [password.trim(), password.replace('\u2028', '\n'), ` ${password}`, `${password} `])
      assert.notEqual(await login(wrong), '', wrong)
    assert.equal(await login(Buffer.from(password, 'latin1')), 'souk: standard input is not UTF-8\n')
    assert.equal(
      await login(Buffer.from(`\u{FEFF}${password}`, 'utf16le')),
      'souk: standard input is UTF-16: save it as UTF-8\n',
    )
    writeFileSync(file, Buffer.from(`${PASSWORD}\n\xe9`, 'latin1'))
    const second = await runFailing('buyer login ann --password-file secret', 2)
    assert.equal(second, 'souk: --password-file: line 2 of secret is not UTF-8\n')
  })

  it('is changed with two lines: the current one, then the new one', async () => {
    ann = new SoukUser([shop.buyers])
    await ann.join('buyer', 'changer')
    const problem = 'souk: the new password is missing: give it in the second line\n'
    assert.equal(await runFailing('buyer change-password', 2, { input: `${PASSWORD}\n` }), problem)
    writeFileSync(join(ann.home, 'one'), `${PASSWORD}\n`)
    const noSecond = 'souk: --password-file: one has no second line\n'
    assert.equal(await runFailing('buyer change-password --password-file one', 2), noSecond)
    const wrong = { input: `${PASSWORD}9\n${PASSWORD}2\n` }
    assert.equal(await runFailing('buyer change-password', 1, wrong), 'souk: wrong password\n')
    await ann.result('buyer whoami') // a wrong password does not end the session here

    const done = 'the password is changed; all other sessions have ended\n'
    const input = `${PASSWORD}\n${PASSWORD}2\nand more\n`
    assert.equal(await ann.result('buyer change-password', { input }), done)
    writeFileSync(join(ann.home, 'both'), `${PASSWORD}2\r\n${PASSWORD}3\r\n`)
    assert.equal(await ann.result('buyer passwd --password-file both'), done)
    await ann.result('buyer login changer', { input: `${PASSWORD}3\n` })
    await ann.result('buyer logout')
    const stderr = await runFailing('buyer change-password --password-file both', 3)
    assert.match(stderr, /^souk: you are not logged in: /)
  })

  it('on standard input is taken as soon as its line is there, though the writer is slow and never ends', async () => {
    ann = new SoukUser([shop.buyers])
    const signingUp = ann.open('buyer signup slow Slow')
    await sleep(500) // far longer than a program needs to look for it
    signingUp.child.stdin?.write(`${PASSWORD}\n`)
    assert.deepEqual(await awaitEnd(signingUp), { exitCode: 0, stderr: '' })
  })
})

describe('settings', () => {
  it('come from flags, then the environment, then .env, then defaults', async () => {
    ann = new SoukUser([])
    const findAddress = async (flags: string, env: Record<string, string> = {}) => {
      const { stderr } = await ann.souk(`buyer ping ${flags} --timeout 5`, { env })
      return /no connection to ([\d.]+:\d+)/.exec(stderr)?.[1] ?? stderr
    }
    const given = { SOUK_HOST: '127.0.0.2', SOUK_BUYER_PORT: '2' }
    assert.equal(await findAddress('', given), '127.0.0.2:2')
    writeFileSync(join(ann.home, '.env'), 'SOUK_HOST=127.0.0.3\nSOUK_BUYER_PORT=3\n')
    assert.equal(await findAddress(''), '127.0.0.3:3')
    assert.equal(await findAddress('', given), '127.0.0.2:2')
    assert.equal(await findAddress('--host 127.0.0.4', given), '127.0.0.4:2')
    assert.equal(await findAddress('--port=4', given), '127.0.0.2:4')
    writeFileSync(join(ann.home, '.env'), 'SOUK_HOST=127.0.0.5\n')
    assert.equal(await findAddress(''), '127.0.0.5:7102')
  })

  it('that are wrong are all reported at once, with exit code 2', async () => {
    ann = new SoukUser([])
    const port = 'must be a whole number from 1 to 65535'
    const timeout = 'souk: --timeout: must be seconds, above 0 and at most 3600\n'
    const env = { SOUK_BUYER_PORT: '70000' }
    assert.equal(await runFailing('buyer ping --timeout 0', 2, { env }), `souk: SOUK_BUYER_PORT: ${port}\n${timeout}`)
    assert.equal(await runFailing('buyer --port 1.5 --timeout x', 2, { env }), `souk: --port: ${port}\n${timeout}`)
    const { exitCode, stdout } = await ann.souk('buyer ping --port 0 --timeout 3601 --json')
    assert.equal(exitCode, 2)
    const message = `--port: ${port}\n${timeout.slice('souk: '.length, -1)}`
    assert.deepEqual(documentIn(stdout), { error: { code: 'usage', message } })
  })
})
