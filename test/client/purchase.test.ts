/** The total that a buyer was shown: a purchase is made at that total only, unless the buyer agrees to another. */

import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { AccountSession } from '../support/sessions.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { documentIn, SoukUser } from '../support/souk.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const SOUK = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))

let shop: Shop
let ann: AccountSession
let bob: SoukUser
/** Costs 2.50 at the beginning of each test, in which the cart has two. */
let lamp: number
let terminals: Terminal[] = []

before(async () => {
  shop = await openShop()
  ann = await shop.newSeller()
  bob = new SoukUser([shop.sellers, shop.buyers])
  await bob.join('buyer', 'bob')
})
after(async () => {
  await Promise.all(terminals.map((terminal) => terminal.close()))
  await bob?.leave()
  await shop?.close()
})
beforeEach(async () => {
  ;[lamp] = (await shop.register(ann, { name: 'Lamp', price_cents: 250, quantity: 100 })) as [number]
  await bob.result('buyer clear-cart')
  await bob.result(`buyer add-item-to-cart ${lamp} 2`)
})

const setPrice = (price_cents: number) =>
  shop.seller.call('change_item_price', { session: ann.session, item_id: lamp, price_cents })
const countSold = async () => 100 - (await shop.item(lamp)).quantity
const totalFile = () => bob.files.find((name) => name.startsWith('total-'))

/** The standard error of a purchase that is refused, after which nothing is bought. */
async function failToBuy(typed = 'make-purchase', run = {}): Promise<string> {
  const { exitCode, stdout, stderr } = await bob.souk(`buyer ${typed}`, run)
  assert.deepEqual({ exitCode, stdout, sold: await countSold() }, { exitCode: 5, stdout: '', sold: 0 }, stderr)
  return stderr
}

/** Checks that a purchase is made at this total. */
async function checkBought(total: string, typed = 'make-purchase', run = {}): Promise<void> {
  assert.match(await bob.result(`buyer ${typed}`, run), new RegExp(`: total ${total}\n$`))
}

const changed = (total: string, now: string, each: string) =>
  `souk: item ${lamp}: 2 × Lamp at ${each}\nsouk: the total is ${now} now, not ${total}: souk buyer make-purchase --total ${now}\n`

describe('make-purchase', () => {
  it('buys at the total that display-cart showed, and otherwise nothing: it shows the new prices and how to accept them', async () => {
    await bob.result('buyer display-cart')
    await setPrice(9_999_999)
    const stderr = await failToBuy()
    assert.equal(stderr, changed('5.00', '199999.98', '99999.99'))
    const [, hint = ''] = /now, not 5\.00: (souk .*)\n$/.exec(stderr) ?? []
    assert.match(await bob.result(hint), /: total 199999\.98\n$/)
  })

  it('buys at the total of the refusal when it is repeated, and not at a third one', async () => {
    await bob.result('buyer display-cart')
    await setPrice(300)
    await failToBuy()
    await setPrice(400)
    assert.equal(await failToBuy(), changed('6.00', '8.00', '4.00'))
    await checkBought('8.00')
  })

  it('buys at a lower total only after that was shown, too', async () => {
    await bob.result('buyer display-cart')
    await setPrice(1)
    assert.equal(await failToBuy(), changed('5.00', '0.02', '0.01'))
  })

  it('buys at current prices if no total was shown', async () => {
    await setPrice(300)
    await checkBought('6.00')
  })

  it('takes a total as money, which wins over the one that was shown', async () => {
    await bob.result('buyer display-cart')
    assert.equal(await failToBuy('make-purchase --total 4.99'), changed('4.99', '5.00', '2.50'))
    await setPrice(300)
    await checkBought('6.00', 'buy --total 6')
    for (const wrong of ['-1', '5.001', '10000000000000.01', 'x']) {
      const { exitCode, stderr } = await bob.souk(`buyer buy --total ${wrong}`)
      assert.equal(exitCode, 2)
      assert.match(stderr, /^souk: total: must be an amount from 0\.00 to 10000000000000\.00, like 249\.90: souk buyer/)
    }
    assert.match(await bob.result('buyer buy --help'), /--total <total> {2,}the only total at which to buy/)
  })

  it('says as JSON what the purchase would be now', async () => {
    await bob.result('buyer display-cart --json')
    await setPrice(300)
    const { exitCode, stdout, stderr } = await bob.souk('buyer make-purchase --json')
    assert.deepEqual([exitCode, stderr, await countSold()], [5, '', 0])
    assert.deepEqual(documentIn(stdout), {
      error: {
        lines: [{ item_id: lamp, name: 'Lamp', quantity: 2, price_cents: 300 }],
        total_cents: 600,
        code: 'price_changed',
        message: `item ${lamp}: 2 × Lamp at 3.00\nthe total is 6.00 now, not 5.00`,
        next: 'souk buyer make-purchase --total 6.00',
      },
    })
  })

  it('in a script uses what the script and earlier commands showed, and asks nobody', async () => {
    await bob.result('buyer display-cart')
    await setPrice(300)
    const input = 'make-purchase\nmake-purchase\ny\n'
    const { exitCode, stdout, stderr } = await bob.souk('buyer', { input })
    assert.deepEqual([exitCode, stdout, await countSold()], [5, '', 0])
    assert.match(stderr, /^souk: line 1: the total is 6\.00 now, not 5\.00: make-purchase --total 6\.00\n$/m)
    await bob.result('buyer', { input: 'display-cart\nmake-purchase\n' })
    assert.equal(await countSold(), 2)
  })
})

describe('the total that was shown', () => {
  it('is forgotten when a command changes the cart or ends the session, and kept when none did', async () => {
    const [other] = (await shop.register(ann, { price_cents: 1 })) as [number]
    const login = 'login bob --password-file password'
    for (const [forgetting, ...more] of [
      [`add ${other} 1`],
      [`remove ${lamp} 1`],
      ['clear', `add ${lamp} 2`],
      ['save', 'logout', login],
      ['save', login],
      ['display-cart', 'make-purchase', `add ${lamp} 2`],
    ] as const) {
      await bob.result('buyer display-cart')
      assert.ok(totalFile() !== undefined)
      for (const typed of [forgetting, ...more]) await bob.result(`buyer ${typed}`)
      assert.equal(totalFile(), undefined, forgetting)
      await bob.result('buyer clear')
      await bob.result(`buyer add ${lamp} 2`)
    }
    await bob.result('buyer display-cart')
    assert.equal((await bob.souk(`buyer add ${lamp} 1000`)).exitCode, 5)
    assert.equal((await bob.souk(`buyer remove ${lamp} 3`)).exitCode, 5)
    for (const typed of [`item ${lamp}`, 'search 1', 'save', 'whoami']) await bob.result(`buyer ${typed}`)
    await setPrice(300)
    const { exitCode, stderr } = await bob.souk('buyer buy')
    assert.equal(exitCode, 5, stderr)
  })

  it('is none when the cart was shown empty', async () => {
    await bob.result('buyer clear')
    await bob.result('buyer display-cart')
    await shop.add({ id: 0, session: bob.session('buyer') }, [lamp, 1])
    await checkBought('2.50')
  })

  it('belongs to its session', async () => {
    const carl = await shop.newBuyer()
    await shop.add(carl, [lamp, 3])
    await bob.result('buyer display-cart')
    await setPrice(300)
    await checkBought('9.00', 'buy', { env: { SOUK_SESSION: carl.session } })
    await shop.add(carl, [lamp, 4])
    await bob.result('buyer display-cart', { env: { SOUK_SESSION: carl.session } })
    await setPrice(400)
    const { stderr } = await bob.souk('buyer buy', { env: { SOUK_SESSION: carl.session } })
    assert.match(stderr, /the total is 16\.00 now, not 12\.00/)
    for (const name of bob.files) {
      assert.ok(
        !readFileSync(join(bob.stateFolder, name), 'utf8').includes(carl.session),
        'a given session is in a file',
      )
    }
    await checkBought('8.00')
  })

  it('is in a file that only its owner can read; one that makes no sense counts as none', async () => {
    await bob.result('buyer display-cart')
    const file = join(bob.stateFolder, totalFile() ?? '')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const { session } = JSON.parse(readFileSync(file, 'utf8'))
    for (const garbage of ['', 'null', '7', '{}', JSON.stringify({ session, total_cents: '1' })]) {
      writeFileSync(file, garbage)
      await checkBought('5.00')
      await bob.result(`buyer add ${lamp} 2`)
    }
  })

  it('that can’t be kept is reported, and the cart is shown', async () => {
    const { session } = await shop.newBuyer()
    await shop.add({ id: 0, session }, [lamp, 1])
    writeFileSync(join(bob.home, 'in the way'), '')
    const env = { SOUK_SESSION: session, XDG_STATE_HOME: join(bob.home, 'in the way') }
    const { exitCode, stdout, stderr } = await bob.souk('buyer cart', { env })
    rmSync(join(bob.home, 'in the way'))
    assert.deepEqual([exitCode, /^total 2\.50$/m.test(stdout)], [0, true])
    assert.match(stderr, /^souk: the total is not kept for your purchase: E[A-Z]+: .*\n$/)
  })
})

describe('a buyer at a terminal', () => {
  const question = /total is 6\.00 now, not 5\.00\nBuy at 6\.00\? \[y\/N\]$/

  function open(...words: string[]): Terminal {
    const env = { XDG_STATE_HOME: join(bob.home, 'state'), SOUK_BUYER_PORT: String(shop.buyers.port) }
    const terminal = openTerminal({ command: process.execPath, args: [SOUK, ...words], cwd: bob.home, env, rows: 40 })
    terminals = [...terminals, terminal]
    return terminal
  }

  /** Starts a purchase at another total than the shown one. */
  async function buyAtAnother(): Promise<Terminal> {
    await bob.result('buyer display-cart')
    await setPrice(300)
    const terminal = open('buyer', 'make-purchase')
    await terminal.shows(question)
    return terminal
  }

  it('is asked, and buys with y', async () => {
    for (const answer of ['y', ' YES ']) {
      const terminal = await buyAtAnother()
      terminal.type(`${answer}\r`)
      assert.equal(await terminal.ended, 0)
      assert.match(terminal.screen(), /^purchase \d+: total 6\.00$/m)
      await setPrice(250)
      await bob.result(`buyer add ${lamp} 2`)
    }
    assert.equal(await countSold(), 4)
  })

  it('buys nothing with any other answer', async () => {
    for (const answer of ['', 'n', 'yy', 'buy']) {
      const terminal = await buyAtAnother()
      terminal.type(`${answer}\r`)
      assert.equal(await terminal.ended, 5)
      assert.match(terminal.screen(), /\nsouk: nothing was bought$/)
      await setPrice(250)
    }
    const terminal = await buyAtAnother()
    terminal.press('ctrl-d')
    assert.equal(await terminal.ended, 5)
    assert.equal(await countSold(), 0)
  })

  it('can leave with Ctrl-C instead of an answer', async () => {
    const terminal = await buyAtAnother()
    terminal.type('y')
    terminal.press('ctrl-c')
    assert.equal(await terminal.ended, 130)
    assert.equal(await countSold(), 0)
  })

  it('is asked again when the price has changed meanwhile', async () => {
    const terminal = await buyAtAnother()
    await setPrice(400)
    terminal.type('y\r')
    await terminal.shows(/total is 8\.00 now, not 6\.00\nBuy at 8\.00\? \[y\/N\]$/)
    terminal.type('y\r')
    assert.equal(await terminal.ended, 0)
    assert.match(terminal.screen(), /: total 8\.00$/)
  })

  it('is not asked with --json', async () => {
    await bob.result('buyer display-cart')
    await setPrice(300)
    const terminal = open('buyer', 'make-purchase', '--json')
    assert.equal(await terminal.ended, 5)
    assert.match(terminal.screen(), /"price_changed"/)
  })

  it('is asked in the shell too, where the answer is not kept as a command', async () => {
    const shell = open('buyer')
    await shell.shows(/bob@buyer>$/)
    shell.type('cart\r')
    await shell.shows(/^total 5\.00\nbob@buyer>$/m)
    await setPrice(300)
    shell.type('buy\r')
    await shell.shows(question)
    shell.type('n\r')
    await shell.shows(/souk: nothing was bought\nbob@buyer>$/)
    await setPrice(350)
    shell.type('buy\r')
    await shell.shows(/not 6\.00\nBuy at 7\.00\? \[y\/N\]$/)
    shell.press('ctrl-c')
    await shell.shows(/souk: interrupted\nbob@buyer>$/)
    await setPrice(400)
    shell.type('buy\r')
    await shell.shows(/Buy at 8\.00\? \[y\/N\]$/)
    shell.type('y\r')
    await shell.shows(/: total 8\.00\nbob@buyer>$/)
    shell.press('up')
    await shell.shows(/bob@buyer> buy$/)
    shell.press('ctrl-u')
    shell.type('exit\r')
    assert.equal(await shell.ended, 0)
  })
})
