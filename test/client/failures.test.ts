/** How commands fail: the exit code that scripts read, one document as JSON, and a hint that works. */

import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { hashToken } from '../../src/server/market/sessions.ts'
import { anItem } from '../support/clients.ts'
import { until } from '../support/marketplace.ts'
import type { AccountSession } from '../support/sessions.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { documentIn, SoukUser } from '../support/souk.ts'

let shop: Shop
let seller: AccountSession
let bob: SoukUser
let mute: MuteServer

before(async () => {
  shop = await openShop()
  seller = await shop.newSeller()
  bob = new SoukUser([shop.sellers, shop.buyers])
  await bob.join('buyer', 'bob')
  mute = new MuteServer()
  await until('it listens', () => mute.port > 0)
})
after(async () => {
  await bob?.leave()
  mute?.close()
  await shop?.close()
})

/** A server that accepts connections and reads, but never answers; `says`, if set, is sent to each client. */
class MuteServer {
  connections = 0
  says = ''
  readonly #sockets: Socket[] = []
  readonly #listener: Server = createServer({ allowHalfOpen: true }, (socket) => {
    this.connections += 1
    this.#sockets.push(socket)
    socket.on('error', () => {}).resume()
    if (this.says !== '') socket.write(this.says)
  }).listen(0, '127.0.0.1')

  get port(): number {
    return (this.#listener.address() as { port: number } | null)?.port ?? 0
  }

  close(): void {
    this.#listener.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

const registerItem = async (fields = {}) => (await shop.register(seller, anItem(fields)))[0] as number

/** The standard error of a command that fails; it must print nothing else. */
async function runFailing(typed: string, exitCode: number, run = {}): Promise<string> {
  const ended = await bob.souk(typed, run)
  assert.deepEqual({ typed, exitCode: ended.exitCode, stdout: ended.stdout }, { typed, exitCode, stdout: '' })
  return ended.stderr
}

/** The hint of a failure. */
function readHint(stderr: string): string {
  return /: (souk[^:]*)\n$/.exec(stderr)?.[1] ?? assert.fail(`no advice: ${stderr}`)
}

/** Checks what the command says when it fails, and that its hint works; resolves to the result of the hint. */
async function checkHint(typed: string, exitCode: number, expected: string): Promise<string> {
  const stderr = await runFailing(typed, exitCode)
  assert.equal(stderr, `${expected}\n`)
  return bob.result(readHint(stderr))
}

/** The error document that a failing command prints with --json; it must print nothing else. */
async function runFailingAsJson(typed: string, exitCode: number, run = {}): Promise<Record<string, unknown>> {
  const ended = await bob.souk(`${typed} --json`, run)
  assert.deepEqual({ typed, exitCode: ended.exitCode, stderr: ended.stderr }, { typed, exitCode, stderr: '' })
  const { error, ...others } = documentIn(ended.stdout)
  assert.deepEqual(others, {})
  return error as Record<string, unknown>
}

describe('a refusal', () => {
  it('for lack of stock says what is left, and hints at the command that takes it', async () => {
    const item = await registerItem({ quantity: 3 })
    const add = `souk buyer add-item-to-cart ${item}`
    assert.equal(
      await checkHint(`buyer add ${item} 5`, 5, `souk: 3 in stock, you asked for 5: ${add} 3`),
      `item ${item}: 3 in the cart\n`,
    )
    await bob.result(`buyer remove ${item} 1`)
    assert.equal(
      await checkHint(`buyer add ${item} 2`, 5, `souk: 3 in stock, the cart has 2, you asked for 2 more: ${add} 1`),
      `item ${item}: 3 in the cart\n`,
    )
    const full = 'souk: 3 in stock, the cart has 3, you asked for 1 more: souk buyer display-cart'
    await checkHint(`buyer add ${item} 1`, 5, full)
    await shop.seller.call('update_units_for_sale', { session: seller.session, item_id: item, change: -2 })
    await checkHint(
      'buyer buy',
      5,
      `souk: item ${item}: 1 in stock, the cart has 3: souk buyer remove-item-from-cart ${item} 2`,
    )
    await bob.result('buyer buy')
    assert.equal(await runFailing(`buyer add ${item} 1`, 5), `souk: item ${item} is sold out\n`)
    const short = { item_id: item, requested: 1, available: 0 }
    const error = { ...short, items: [short], code: 'out_of_stock', message: `item ${item} is sold out` }
    assert.deepEqual(await runFailingAsJson(`buyer add ${item} 1`, 5), error)
  })

  it('about the cart says what is in it', async () => {
    const [item, other] = [await registerItem(), await registerItem()]
    const example = 'souk buyer add-item-to-cart 1 2'
    const empty = await runFailing('buyer buy', 5)
    assert.equal(empty, `souk: the cart is empty; put something into it: ${example}\n`)
    await bob.result(`buyer add ${item} 2`)
    await checkHint(`buyer remove ${other} 1`, 5, `souk: item ${other} is not in the cart: souk buyer display-cart`)
    const remove = `souk buyer remove-item-from-cart ${item} 2`
    assert.equal(
      await checkHint(`buyer remove ${item} 3`, 5, `souk: the cart has 2 of item ${item}: ${remove}`),
      `item ${item}: 0 in the cart\n`,
    )
    assert.equal((await runFailingAsJson(`buyer remove ${other} 1`, 5)).code, 'not_in_cart')
    assert.equal((await runFailingAsJson('buyer buy', 5)).code, 'cart_empty')
  })

  it('hints at where to look for items, and for purchases', async () => {
    const item = await registerItem({ category: 3, keywords: ['lens'] })
    await checkHint('buyer item 999999', 4, 'souk: no such item; look for one: souk buyer search-items 3 camera lens')
    await checkHint(
      `buyer vote ${item} up`,
      5,
      'souk: you can only vote on items that you have purchased: souk buyer get-buyer-purchases',
    )
    assert.equal((await runFailingAsJson(`buyer vote ${item} up`, 5)).code, 'not_purchased')
    assert.deepEqual(await runFailingAsJson('buyer rating 999999', 4), { code: 'not_found', message: 'no such seller' })
    const env = { SOUK_SESSION: seller.session }
    for (const typed of ['seller price 999999 1', 'seller edit 999999 --name Lamp']) {
      assert.match(await runFailing(typed, 4, { env }), /: souk seller display-items-for-sale\n$/)
    }
    const units = `souk seller update-units-for-sale ${item} -3`
    const short = await runFailing(`seller units ${item} -4`, 5, { env })
    assert.equal(short, `souk: item ${item} has 3 on sale, you asked to remove 4: ${units}\n`)
    assert.equal(await bob.result(units, { env }), `item ${item}: 0 on sale\n`)
  })

  it('of a user name that is taken hints at how to log in', async () => {
    const input = 'another horse\n'
    const taken = await runFailing('buyer create-account bob Bob', 5, { input })
    assert.equal(taken, 'souk: the user name bob is taken; if it is yours, log in: souk buyer login bob\n')
    await bob.result(`${readHint(taken)} --password-file password`)
    assert.equal((await runFailingAsJson('buyer create-account bob Bob', 5, { input })).code, 'username_taken')
    assert.equal(await runFailing('buyer login bob', 3, { input }), 'souk: wrong user name or password\n')
  })
})

describe('input that is no command', () => {
  it('is answered with a hint, and nothing is carried out', async () => {
    const cases = {
      'buyer serch 3': 'there is no command "serch": souk buyer search',
      'buyer cart --limit.x 3': 'there is no option --limit.x: souk buyer display-cart --help',
      'buyer item 1 2': '"2" is one word too many: souk buyer get-item --help',
      sttus: 'there is no command "sttus": souk status',
      'item 1': 'there is no command "item": souk buyer item',
      'status now': '"now" is one word too many: souk status --help',
      'status --__proto__ x': 'there is no option --__proto__: souk status --help',
      'completion tcsh': 'choose a shell, bash, zsh or fish: souk completion bash',
      '--': 'choose a role, seller or buyer: souk --help',
      'buyer register-item-for-sale Lamp':
        '"register-item-for-sale" is a command of sellers: souk seller register-item-for-sale --help',
      'buyer more': '"more" is a command of the shell: souk buyer',
      'seller status': 'status is of both roles: souk status',
      'seller search 3': '"search" is a command of buyers: souk buyer search --help',
    }
    for (const [typed, expected] of Object.entries(cases))
      assert.equal(await runFailing(typed, 2), `souk: ${expected}\n`)
    assert.match(await bob.result('--json buyer ping'), /^\{"ok":true,"version":".*"\}\n$/) // options may stand first
    assert.equal(await bob.result('help buyer item'), await bob.result('buyer item --help'))
    assert.equal(await bob.result(''), await bob.result('--help'))
    for (const typed of ['sttus', 'buyer serch 3']) assert.equal((await runFailingAsJson(typed, 2)).code, 'usage')
  })
})

describe('a program that npx has started', () => {
  it('hints at commands as they were typed, with npx, and takes its hints as lines of a script', async () => {
    const env = { npm_command: 'exec' }
    assert.equal(
      await runFailing('buyer serch 3', 2, { env }),
      'souk: there is no command "serch": npx souk buyer search\n',
    )
    assert.equal(await runFailing('sttus', 2, { env }), 'souk: there is no command "sttus": npx souk status\n')
    assert.match(await bob.result('buyer item --help', { env }), /^ {2}\$ npx souk buyer get-item 1$/m)
    assert.match(await bob.result('--help', { env }), /^ {2}\$ npx souk status$/m)
    const closed = await findClosedPort()
    const unreachable = await runFailing(`buyer --port ${closed} ping`, 6, { env })
    assert.match(unreachable, /; start a server: npx souk-server\n$/)
    assert.match(await bob.result('buyer', { input: 'npx souk buyer ping\n' }), /^souk \d/)
  })
})

describe('a command without a session', () => {
  it('hints at login, by name if it is known, also after the session ended on the server', async () => {
    const eve = new SoukUser([shop.buyers])
    assert.deepEqual(await eve.souk('buyer whoami'), {
      exitCode: 3,
      stdout: '',
      stderr: 'souk: you are not logged in: souk buyer login <username>\n',
    })
    await eve.join('buyer', 'eve')
    await shop.marketplace.sql('customer', 'DELETE FROM session WHERE token_hash = ?', [
      hashToken(eve.session('buyer')),
    ])
    const { exitCode, stderr } = await eve.souk('buyer whoami')
    assert.deepEqual([exitCode, stderr], [3, 'souk: the session has ended: souk buyer login eve\n'])
    assert.deepEqual(eve.files, [])
    await eve.result(`${readHint(stderr)} --password-file password`)
    await eve.result('buyer whoami')
    await eve.leave()
  })
})

describe('a server that can’t be reached', () => {
  it('because nobody listens is reported at once, with the command that starts one on this machine', async () => {
    const closed = await findClosedPort()
    const refused = `souk: no connection to 127.0.0.1:${closed}: ECONNREFUSED; start a server: souk-server\n`
    assert.equal(await runFailing(`buyer ping --port ${closed}`, 6), refused)
    const { message: _, ...unreachable } = await runFailingAsJson(`buyer ping --port ${closed}`, 6)
    assert.deepEqual(unreachable, { code: 'unreachable', outcome: 'none', next: 'souk-server' })
  })

  it('because it accepts and never answers is given up after --timeout, with a warning that the call may have been carried out', async () => {
    const env = { SOUK_BUYER_PORT: String(mute.port), SOUK_SESSION: 'no-session' }
    const began = performance.now()
    const stderr = await runFailing('buyer ping --timeout 1.2', 6, { env })
    assert.ok(performance.now() - began >= 1_200)
    assert.match(stderr, /^souk: the call was not answered in time: souk status\n$/m)
    const elsewhere = await runFailing(`buyer ping --timeout 0.7 --host localhost --port ${mute.port}`, 6)
    assert.match(elsewhere, new RegExp(`in time: souk status --host localhost --buyer-port ${mute.port}\n$`, 'm'))
    const inScript = await runFailing('buyer --timeout 0.7', 6, { env, input: 'ping\n' })
    assert.match(inScript, /^souk: line 1: the call was not answered in time: status\n$/m)
    const { exitCode, stdout } = await bob.souk('buyer buy --timeout 0.7 --json', { env })
    const { outcome, next } = documentIn(stdout).error as Record<string, unknown>
    assert.deepEqual([exitCode, outcome, next], [6, 'unknown', 'souk buyer get-buyer-purchases'])
    const account = await runFailing('buyer signup zoe Zoe --password-file password --timeout 0.7', 6, { env })
    assert.match(account, /; it may have been carried out: souk buyer login zoe\n$/)
  })

  it('because it is not souk is given up at once', async () => {
    const env = { SOUK_BUYER_PORT: String(mute.port), SOUK_SESSION: 'no-session' }
    const message = `127.0.0.1:${mute.port} does not speak souk's protocol`
    for (const says of ['HTTP/1.1 400 Bad Request\r\n\r\n', 'SSH-2.0', '{"jsonrpc":"2.0","id":1}\n', '[]\n']) {
      mute.says = says
      const reading = await runFailing('buyer ping --timeout 60', 6, { env })
      assert.equal(reading, `souk: ${message}: souk status\n`)
      const writing = await runFailingAsJson('buyer make-purchase --timeout 60', 6, { env })
      assert.equal(writing.code, 'unreachable')
      assert.ok(String(writing.message).startsWith(message))
    }
    const { exitCode, stdout } = await bob.souk('status --timeout 60', { env })
    mute.says = ''
    assert.equal(exitCode, 6)
    assert.ok(stdout.includes("does not speak souk's protocol"), stdout)
  })
})

describe('Ctrl-C while nobody answers', () => {
  const cases = {
    'buyer ping': ['', 'souk: interrupted\n'],
    'buyer buy': ['', 'souk: interrupted; it may have been carried out: souk buyer get-buyer-purchases\n'],
    'buyer ping --json': ['{"error":{"code":"interrupted","message":"interrupted"}}\n', ''],
    buyer: ['', 'souk: line 2: interrupted\n'],
  } as const
  for (const [typed, [stdout, stderr]] of Object.entries(cases)) {
    it(`ends souk ${typed} at once, with exit code 130`, async () => {
      const before = mute.connections
      const env = { SOUK_BUYER_PORT: String(mute.port), SOUK_SESSION: 'no-session' }
      const waiting = bob.start(`${typed} --timeout 60`, { env, input: '\nping\nping\n' })
      await until('it waits', () => mute.connections > before)
      await new Promise((resolve) => setTimeout(resolve, 100)) // its call is on the way
      const began = performance.now()
      assert.deepEqual(await waiting.end('SIGINT'), { exitCode: 130, stdout, stderr })
      assert.ok(performance.now() - began < 5_000, 'souk waited for the server')
    })
  }
})

/** A port on which nobody listens. */
async function findClosedPort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await until('it listens', () => listener.listening)
  const { port } = listener.address() as { port: number }
  await new Promise((resolve) => listener.close(resolve))
  return port
}
