/**
 * The shell of a role, as a person at a terminal uses it: the real program in a
 * pseudo-terminal, against real servers that also go away, hang and come back.
 */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import widthOf from 'fast-string-truncated-width'
import type { Role } from '../../src/contract/operations.ts'
import { FaultyLink } from '../support/faulty-link.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const SOUK = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))
const PASSWORD = 'hunter2secret'

let marketplace: TestMarketplace
let seller: RunningServer<'seller'>
let buyer: RunningServer<'buyer'>
let passwordFile: string

before(async () => {
  marketplace = await startTestMarketplace()
  ;[seller, buyer] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
  passwordFile = join(marketplace.home, 'password')
  writeFileSync(passwordFile, `${PASSWORD}\n`)
})
after(() => marketplace.close())

/** A person at a terminal, with a state folder of their own. */
interface Person {
  state: string
  /** Starts souk with these words. */
  open(words: readonly string[], columns?: number): Terminal
  /** A link to a server, which can break. */
  linkTo(server: RunningServer): Promise<FaultyLink>
  close(): Promise<void>
}

function createPerson(): Person {
  const state = mkdtempSync(join(marketplace.home, 'state-'))
  const opened: (Terminal | FaultyLink)[] = []
  const env = { XDG_STATE_HOME: state, SOUK_SELLER_PORT: String(seller.port), SOUK_BUYER_PORT: String(buyer.port) }
  return {
    state,
    open(words, columns = 80) {
      const started = { command: process.execPath, args: [SOUK, ...words], cwd: marketplace.home, env }
      const terminal = openTerminal({ ...started, columns, rows: 60 })
      opened.push(terminal)
      return terminal
    },
    async linkTo({ port }) {
      const link = await FaultyLink.start(port)
      opened.push(link)
      return link
    },
    close: async () => void (await Promise.all(opened.map((one) => one.close()))),
  }
}

function enter(terminal: Terminal, input: string): void {
  terminal.type(input)
  terminal.press('enter')
}

/** Enters a command; resolves to what stands below it when the prompt is there again. */
async function run(terminal: Terminal, input: string): Promise<string> {
  terminal.press('ctrl-l')
  await terminal.shows(/^\S+>$/)
  enter(terminal, input)
  const typed = input.replace(/[^\w ]/g, '\\$&')
  const [, output = ''] = await terminal.shows(
    new RegExp(`^\\S+> ${typed}\\n([\\s\\S]*?)\\n?(?:\\S+@)?(?:seller|buyer)>$`),
  )
  return output
}

/** Opens a shell, opens an account for the person, and logs in. */
async function openLoggedIn(
  someone: Person,
  role: Role,
  username: string,
  columns = 80,
  server: RunningServer = role === 'seller' ? seller : buyer,
): Promise<Terminal> {
  const shell = someone.open([role, '--port', String(server.port)], columns)
  await shell.shows(new RegExp(`${role}>$`))
  enter(shell, `signup ${username} "Ann Lee" --password-file ${passwordFile}`)
  await shell.shows(new RegExp(`^${role} \\d+\n`, 'm'))
  enter(shell, `login ${username} --password-file ${passwordFile}`)
  await shell.shows(new RegExp(`${username}@${role}>$`))
  return shell
}

/** The history that the shell has kept. */
function readHistory({ state }: Person): string {
  const folder = join(state, 'souk')
  const [name = ''] = readdirSync(folder).filter((file) => file.startsWith('history-'))
  return readFileSync(join(folder, name), 'utf8')
}

let ann: Person
beforeEach(() => {
  ann = createPerson()
})
afterEach(() => ann.close())

describe('a person in the shell', () => {
  it('signs up, logs in, works there and in other terminals, and logs out, without the password being shown', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/^souk \d.*, as a buyer at 127\.0\.0\.1:\d+\nhelp .*\nbuyer>$/)
    enter(shell, 'create-account ann "Ann Lee"')
    for (const prompt of [/New password:$/, /Repeat password:$/]) {
      await shell.shows(prompt)
      enter(shell, PASSWORD)
    }
    await shell.shows(/^buyer \d+\nbuyer>$/m)
    enter(shell, 'login ann')
    await shell.shows(/^Password:$/m)
    enter(shell, PASSWORD)
    await shell.shows(/^logged in as ann;.*\nann@buyer>$/m)
    assert.match(await run(shell, 'search 3'), /^nothing found\nsee what is on sale: list-categories$/)

    const second = ann.open(['buyer'])
    await second.shows(/\nann@buyer>$/)
    assert.match(await run(second, 'whoami'), /^ann \(Ann Lee\), number \d+;/)
    const oneShot = ann.open(['buyer', 'cart'])
    assert.equal(await oneShot.ended, 0)
    assert.equal(oneShot.screen(), 'the cart is empty')

    assert.equal(await run(shell, 'logout'), 'logged out')
    await shell.shows(/\nbuyer>$/)
    assert.match(await run(second, 'cart'), /^souk: you are not logged in: login <username>$/)
    await second.shows(/\nbuyer>$/)
    for (const terminal of [shell, second, oneShot]) assert.doesNotMatch(terminal.raw, /hunter2/)
  })

  it('is told that the two passwords of a new account differ, and that a password is wrong', async () => {
    const shell = await openLoggedIn(ann, 'buyer', 'differs')
    enter(shell, 'signup other Other')
    await shell.shows(/New password:$/)
    enter(shell, PASSWORD)
    await shell.shows(/Repeat password:$/)
    enter(shell, `${PASSWORD}!`)
    await shell.shows(/^souk: the passwords differ\ndiffers@buyer>$/m)
    enter(shell, 'login differs')
    await shell.shows(/Password:$/)
    enter(shell, `${PASSWORD}!`)
    await shell.shows(/Password:\nsouk: .*\ndiffers@buyer>$/)
    assert.doesNotMatch(shell.raw, /hunter2/)
  })

  it('changes the password: asked for the current one, and for the new one twice', async () => {
    const shell = await openLoggedIn(ann, 'buyer', 'changer')
    const answer = async (...answers: [prompt: RegExp, typed: string][]) => {
      enter(shell, 'change-password')
      for (const [prompt, typed] of answers) {
        await shell.shows(prompt)
        enter(shell, typed)
      }
    }
    const [current, next, again] = [/\nCurrent password:$/, /\nNew password:$/, /\nRepeat password:$/]
    await answer([current, PASSWORD], [next, `${PASSWORD}2`], [again, `${PASSWORD}3`])
    await shell.shows(/^souk: the passwords differ\nchanger@buyer>$/m)
    await answer([current, `${PASSWORD}9`], [next, `${PASSWORD}2`], [again, `${PASSWORD}2`])
    await shell.shows(/^souk: wrong password\nchanger@buyer>$/m)
    await answer([current, PASSWORD], [next, `${PASSWORD}2`], [again, `${PASSWORD}2`])
    await shell.shows(/^the password is changed; all other sessions have ended\nchanger@buyer>$/m)
    assert.match(await run(shell, 'cart'), /^the cart is empty$/)
    assert.doesNotMatch(shell.raw, /hunter2/)
  })

  it('can ask for help about all commands and about one, and for the status of the servers', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    assert.match(await run(shell, 'help'), /search-items, search +Find items[\s\S]*make-purchase, buy/)
    assert.match(await run(shell, 'help search'), /^ {2}\$ search-items <category> \[\.\.\.keywords\]/m)
    assert.match(await run(shell, 'help serach'), /^souk: there is no command "serach": search$/)
    assert.match(await run(shell, 'status'), new RegExp(`^seller .*:${seller.port} .*\nbuyer .*:${buyer.port} .*`, 'm'))
  })

  it('sees in the status the server that the shell talks to, wherever it is', async () => {
    const link = await ann.linkTo(buyer)
    const shell = ann.open(['buyer', '--port', String(link.port)])
    await shell.shows(/buyer>$/)
    assert.match(await run(shell, 'status'), new RegExp(`^buyer +127.0.0.1:${link.port} +souk`, 'm'))
  })

  it('leaves with exit, quit and Ctrl-D, with exit code 0', async () => {
    for (const leave of ['exit\r', 'quit\r', '\x04']) {
      const shell = ann.open(['seller'])
      await shell.shows(/seller>$/)
      shell.type(leave)
      assert.equal(await shell.ended, 0)
    }
  })

  it('can leave while the shell still asks how long the session lasts', async () => {
    const shell = await openLoggedIn(ann, 'buyer', 'leaves')
    shell.type('whoami\rexit\r')
    assert.equal(await shell.ended, 0)
  })

  it('can paste several commands, which are carried out in order', async () => {
    const shell = await openLoggedIn(ann, 'buyer', 'pastes')
    shell.type('add 1 1\nget-item 2\nping\nwhoami\ncart\n')
    const order = [/no such item/, /no such item/, /^souk \d/, /pastes \(Ann Lee\)/, /the cart is empty/].map(
      ({ source }) => source,
    )
    await shell.shows(new RegExp(`${order.join('[\\s\\S]*')}\n[\\s\\S]*pastes@buyer>$`, 'm'))
  })
})

describe('Tab', () => {
  /** Types, and presses Tab when the text is on the screen: in one piece it would count as pasted, with its Tabs. */
  async function tab(shell: Terminal, typed: string, ...times: readonly 1[]): Promise<void> {
    shell.press('ctrl-u', 'ctrl-l')
    await shell.shows(/^\S+>$/)
    shell.type(typed)
    await shell.shows(new RegExp(`^\\S+> ${typed.trimEnd()}$`))
    for (const _ of [1, ...times]) {
      shell.press('tab')
      await sleep(50) // so that two don't come as one piece
    }
  }

  it('completes commands, short names, options and their values', async () => {
    const shell = ann.open(['seller'])
    await shell.shows(/seller>$/)
    for (const [typed, completed] of [
      ['reg', 'register-item-for-sale'],
      ['pr', 'price'],
      ['register x --cat', 'register x --category'],
      ['register x --condition u', 'register x --condition used'],
      ['items --incl', 'items --include-sold-out'],
      ['hel', 'help'],
    ] as const) {
      await tab(shell, typed)
      shell.type('!')
      await shell.shows(new RegExp(`^seller> ${completed} !$`))
    }
  })

  it('lists the choices when it is pressed twice', async () => {
    const shell = ann.open(['seller'])
    await shell.shows(/seller>$/)
    await tab(shell, 'register x --condition ', 1)
    await shell.shows(/^new +used\n+seller> register x --condition$/m)
    await tab(shell, 'log', 1)
    await shell.shows(/^login +logout\n+seller> log$/m)
  })

  it('completes the vote, and the numbers of items that were in a result', async () => {
    const merchant = await openLoggedIn(ann, 'seller', 'tabs')
    const registered = await run(merchant, 'register Seen --category 77 --price 1 --quantity 1 --condition new')
    const [, id] = /item (\d+)/.exec(registered) as unknown as [string, string]
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    await tab(shell, `vote ${id} u`)
    shell.type('!')
    await shell.shows(new RegExp(`> vote ${id} up !$`))
    await tab(shell, 'item ', 1)
    shell.type('!')
    await shell.shows(/> item !$/)
    shell.press('ctrl-u')

    const customer = await openLoggedIn(ann, 'buyer', 'tabs')
    assert.match(await run(customer, 'search 77'), /Seen/)
    await tab(customer, 'add ')
    customer.type('1')
    await customer.shows(new RegExp(`> add ${id} 1$`))
  })

  it('does nothing at a password prompt, and does not change the password', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    enter(shell, 'signup secret Secret')
    for (const prompt of [/New password:$/, /Repeat password:$/]) {
      await shell.shows(prompt)
      enter(shell, 'whoami-really')
    }
    await shell.shows(/^buyer \d+\nbuyer>$/m)
    enter(shell, 'login secret')
    await shell.shows(/\nPassword:$/)
    const before = shell.raw
    for (const typed of ['\t', 'whoam', '\t', '\t']) {
      shell.type(typed)
      await sleep(50)
    }
    assert.equal(shell.raw, before)
    enter(shell, 'i-really')
    await shell.shows(/secret@buyer>$/)
  })
})

describe('the history', () => {
  it('brings input back with Up, also in another shell, from a file that only its owner can read', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    await run(shell, 'ping')
    await run(shell, 'serach 3 camera')
    await run(shell, 'get-seller-rating')
    shell.press('up')
    await shell.shows(/> get-seller-rating$/)
    shell.press('up')
    await shell.shows(/> serach 3 camera$/)
    shell.press('ctrl-u')
    assert.match(await run(shell, 'search 3 camera'), /not logged in/)
    const [name = ''] = readdirSync(join(ann.state, 'souk'))
    assert.equal(name, `history-buyer-127.0.0.1-${buyer.port}`)
    assert.equal(statSync(join(ann.state, 'souk')).mode & 0o777, 0o700)
    assert.equal(statSync(join(ann.state, 'souk', name)).mode & 0o777, 0o600)
    const second = ann.open(['buyer'])
    await second.shows(/buyer>$/)
    second.press('up')
    await second.shows(/> search 3 camera$/)
    second.press('up')
    await second.shows(/> ping$/)
  })

  it('is the only loss if it can’t be kept, which the shell says once', async () => {
    const env = { XDG_STATE_HOME: '/dev/null', SOUK_BUYER_PORT: String(buyer.port) }
    const started = { command: process.execPath, args: [SOUK, 'buyer'], cwd: marketplace.home, env }
    const shell = openTerminal({ ...started, columns: 120, rows: 40 })
    await shell.shows(/buyer>$/)
    shell.type('ping\rping\rexit\r')
    assert.equal(await shell.ended, 0)
    assert.equal(shell.raw.match(/the history is not kept: ENOTDIR/g)?.length, 1)
  })

  it('in a file that is not UTF-8 is not read, which the shell says', async () => {
    const folder = join(ann.state, 'souk')
    mkdirSync(folder)
    writeFileSync(join(folder, `history-buyer-127.0.0.1-${buyer.port}`), Buffer.from('ping\nitem caf\xe9\n', 'latin1'))
    const shell = ann.open(['buyer'], 200)
    await shell.shows(/^souk: the history is not kept: line 2 of \S+ is not UTF-8\n[\s\S]*buyer>$/)
  })

  it('never contains a password, however it was typed', async () => {
    const shell = await openLoggedIn(ann, 'buyer', 'secretive')
    const wrong = [
      `login ann ${PASSWORD}`,
      `lgoin ann ${PASSWORD}`,
      `souk buyer login ann ${PASSWORD}`,
      `npx souk buyer login ann ${PASSWORD}`,
      `login --password ${PASSWORD} ann`,
      `login ann "${PASSWORD}`,
      `signup ann Ann ${PASSWORD}`,
    ]
    for (const line of wrong) assert.match(await run(shell, line), /^souk: /)
    enter(shell, 'login secretive')
    await shell.shows(/Password:$/)
    enter(shell, PASSWORD)
    await shell.shows(/^logged in as secretive;.*\nsecretive@buyer>$/m)
    shell.press('up')
    await shell.shows(/> login secretive$/)
    shell.press('up')
    await shell.shows(/> login secretive --password-file .*$/)
    const second = ann.open(['buyer'])
    await second.shows(/secretive@buyer>$/)
    second.press('up')
    await second.shows(/> login secretive$/)
    assert.doesNotMatch(readHistory(ann), /hunter2/)
  })
})

describe('Ctrl-C', () => {
  it('drops the command that was begun, however long it is', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    shell.type('search 3')
    await shell.shows(/> search 3$/)
    shell.press('ctrl-c')
    await shell.shows(/^buyer> search 3\^C\nbuyer>$/m)
    const long = 'x'.repeat(200)
    shell.type(long)
    await shell.shows(/x{47}$/)
    shell.press('ctrl-c')
    await shell.shows(/^buyer> search 3\^C\nbuyer> x{73}\nx{80}\nx{47}\^C\nbuyer>$/m)
    assert.match(await run(shell, 'ping'), /^souk \d/)
  })

  it('ends a shell that waits for its server', async () => {
    const link = await ann.linkTo(buyer)
    link.arm({ to: 'client', after: { bytes: 0 }, does: 'silence' })
    const shell = ann.open(['buyer', '--port', String(link.port)])
    await shell.shows(/^waiting for/)
    const beganMs = performance.now()
    shell.press('ctrl-c')
    assert.equal(await shell.ended, 130)
    assert.ok(performance.now() - beganMs < 5_000, 'souk waited for a server that hangs') // else it would wait for 15 s
  })

  it('gives up a new password, without a warning that something may have been carried out', async () => {
    const oneShot = ann.open(['buyer', 'signup', 'nobody', 'Nobody'])
    await oneShot.shows(/^New password:$/)
    oneShot.press('ctrl-c')
    assert.equal(await oneShot.ended, 130)
    assert.equal(oneShot.screen(), 'New password:\nsouk: interrupted')
  })

  it('gives up a password, of which nothing is shown', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    enter(shell, 'login ann')
    await shell.shows(/Password:$/)
    shell.type(PASSWORD)
    shell.press('ctrl-c')
    await shell.shows(/Password:\nsouk: interrupted\nbuyer>$/)
    assert.match(await run(shell, 'ping'), /^souk \d/)
    assert.doesNotMatch(shell.raw, /hunter2/)
  })

  it('gives up a call that is not answered, warns that it may have been carried out, and lets the next one through', async () => {
    const merchant = await openLoggedIn(ann, 'seller', 'gives-up')
    const link = await ann.linkTo(seller)
    writeFileSync(
      join(ann.state, 'souk', `session-seller-127.0.0.1-${link.port}`),
      readFileSync(join(ann.state, 'souk', `session-seller-127.0.0.1-${seller.port}`)),
    )
    const shell = ann.open(['seller', '--port', String(link.port)])
    await shell.shows(/gives-up@seller>$/)
    link.cut('silence')
    enter(shell, 'register Film --category 3 --price 9 --quantity 1 --condition new')
    await shell.shows(new RegExp(`^waiting for 127.0.0.1:${link.port}`, 'm'))
    shell.press('ctrl-c')
    await shell.shows(/^souk: interrupted; it may have been carried out: display-items-for-sale\ngives-up@seller>$/m)
    assert.equal(await run(shell, 'display-items-for-sale'), 'no items')
    link.cut('silence')
    enter(shell, 'items')
    await shell.shows(/^waiting for/m)
    shell.press('ctrl-c')
    await shell.shows(/^souk: interrupted\ngives-up@seller>$/m)
    const beganMs = performance.now()
    enter(shell, 'exit')
    assert.equal(await shell.ended, 0)
    assert.ok(performance.now() - beganMs < 5_000, 'souk waited for a server that hangs') // else it would wait for 7 s
    assert.equal(await run(merchant, 'items'), 'no items')
  })
})

describe('a server that goes away', () => {
  it('and is back before the next command makes the shell say that it is connected again', async () => {
    let server = await marketplace.serve('buyer')
    const { port } = server
    const shell = ann.open(['buyer', '--port', String(port)], 120)
    await shell.shows(/buyer>$/)
    await server.program.end()
    server = await marketplace.serve('buyer', { buyerPort: port })
    assert.match(
      await run(shell, 'ping'),
      new RegExp(`^souk: connected to 127\\.0\\.0\\.1:${port} again\\nsouk \\d.*$`),
    )
    assert.match(await run(shell, 'ping'), /^souk \d.*$/)

    process.kill(server.program.pid, 'SIGSTOP')
    enter(shell, 'ping')
    await shell.shows(/^waiting for/m)
    await server.program.end('SIGKILL')
    await shell.shows(/^souk: .*; trying again, for 15 s at most$/m)
    await marketplace.serve('buyer', { buyerPort: port })
    await shell.shows(/again\nsouk \d.*\nbuyer>$/)
  })

  it('for longer than a command may take makes the command fail, but not the shell', async () => {
    const server = await marketplace.serve('buyer')
    const shell = ann.open(['buyer', '--port', String(server.port), '--timeout', '2'], 120)
    await shell.shows(/buyer>$/)
    await server.program.end()
    const told = await run(shell, 'ping')
    assert.match(told, /^souk: .*ECONNREFUSED; trying again, for 2 s at most\nsouk: .*; start a server: souk-server$/)
    await marketplace.serve('buyer', { buyerPort: server.port })
    assert.match(await run(shell, 'ping'), /again\nsouk \d.*$/)
  })

  it('before the shell begins makes it say what to do, and end', async () => {
    const server = await marketplace.serve('buyer')
    await server.program.end()
    const shell = ann.open(['buyer', '--port', String(server.port)], 120)
    assert.equal(await shell.ended, 6)
    assert.match(shell.screen(), /^souk: no connection to .*: ECONNREFUSED; start a server: souk-server$/)
  })

  it('makes a command on a terminal say that it waits, until the answer comes', async () => {
    const link = await ann.linkTo(buyer)
    link.arm({ to: 'client', after: { bytes: 0 }, does: { delayMs: 1_500 } })
    const oneShot = ann.open(['buyer', '--port', String(link.port), 'ping'])
    await oneShot.shows(new RegExp(`^waiting for 127.0.0.1:${link.port}$`))
    assert.equal(await oneShot.ended, 0)
    assert.match(oneShot.screen(), /^souk \d\S+$/)
  })

  it('does not keep Ctrl-C from ending a command at once', async () => {
    const link = await ann.linkTo(buyer)
    link.arm({ to: 'client', after: { bytes: 0 }, does: 'silence' })
    const oneShot = ann.open(['buyer', '--port', String(link.port), 'ping'])
    await oneShot.shows(/^waiting for/)
    const beganMs = performance.now()
    oneShot.press('ctrl-c')
    assert.equal(await oneShot.ended, 130)
    assert.ok(performance.now() - beganMs < 5_000, 'souk waited for a server that hangs')
    assert.match(oneShot.screen(), /^(\^C)?souk: interrupted$/)
  })
})

describe('a session that is not used', { concurrency: true }, () => {
  let server: RunningServer<'buyer'>
  before(async () => {
    server = await marketplace.serve('buyer', { sessionIdleS: 6 })
  })

  it('ends no later because of the shell, which warns, then says so and hints at login', async (t) => {
    const someone = createPerson()
    t.after(() => someone.close())
    const shell = await openLoggedIn(someone, 'buyer', 'idle', 80, server)
    await shell.shows(/^souk: the session ends in 2 s, unless it is used\nidle@buyer>$/m)
    await shell.shows(/^souk: the session has ended: login idle\nbuyer>$/m)
    const left =
      "SELECT 1 FROM session JOIN buyer ON buyer.id = account_id WHERE username = 'idle' AND role = 'buyer' AND expires_at > UNIX_TIMESTAMP()"
    await until('the session has ended', async () => (await marketplace.sql('customer', left)).length === 0)
    assert.equal(await run(shell, 'cart'), 'souk: the session has ended: login idle')
    assert.equal(await run(shell, 'cart'), 'souk: you are not logged in: login <username>')
  })

  it('is warned of above the input, and lives on when it is used', async (t) => {
    const someone = createPerson()
    t.after(() => someone.close())
    const shell = await openLoggedIn(someone, 'buyer', 'typing', 80, server)
    shell.type(`search 3 ${'x'.repeat(100)}`)
    await shell.shows(/ 6 s\nsouk: the session ends in 2 s, unless it is used\ntyping@buyer> search 3 x{57}\nx{43}$/)
    shell.type('y')
    await shell.shows(/ 6 s\nsouk: .* is used\ntyping@buyer> search 3 x{57}\nx{43}y$/)
    shell.press('ctrl-u')
    const endsMs = performance.now() + 2_000
    assert.match(await run(shell, 'cart'), /empty$/)
    while (performance.now() < endsMs) await sleep(50)
    assert.equal(shell.screen(), 'typing@buyer> cart\nthe cart is empty\ntyping@buyer>')
    await shell.shows(/souk: the session ends in 2 s/)
  })
})

describe('a list in the shell', () => {
  const wide = 'カメラ'.repeat(10).concat('レフ')
  const cyrillic = 'Фотоаппарат «Зенит» — с чехлом'
  const keywords = ['カメラカメラレフ', 'abcdefgh', 'bcdefghi', 'cdefghij', 'defghijk']

  it('fits the terminal, as a table or as lines, whatever the width becomes', async () => {
    const merchant = await openLoggedIn(ann, 'seller', 'fits', 200)
    const given = [
      '--category 5 --price 249.90 --quantity 20 --condition used',
      ...keywords.map((word) => `--keyword ${word}`),
    ]
    for (const name of [wide, `"${cyrillic}"`, 'N'.repeat(32)]) enter(merchant, `register ${name} ${given.join(' ')}`)
    await merchant.shows(/N{32} on sale/)
    for (const columns of [200, 80]) {
      merchant.resize(columns, 40)
      const [heading = '', ...rows] = (await run(merchant, 'items')).split('\n')
      assert.equal(rows.length, 3, rows.join('\n'))
      for (const line of [heading, ...rows]) assert.ok(widthOf(line).width <= columns, line)
      for (const [title, cell] of [
        ['PRICE', /249\.90$/],
        ['CONDITION', /used {5,}$/],
        ['KEYWORDS', /./],
      ] as const) {
        const [start, end] = [heading.indexOf(title), heading.indexOf(title) + title.length]
        for (const row of rows) assert.match(sliceColumns(row, title === 'PRICE' ? start - 1 : start, end), cell)
      }
      for (const row of rows) assert.equal(row.includes('…'), columns === 80)
      if (columns === 200)
        for (const text of [wide, cyrillic, 'N'.repeat(32), keywords.join(' ')]) assert.ok(rows.join().includes(text))
    }
    merchant.resize(40, 40)
    const upright = (await run(merchant, 'items')).split('\n')
    for (const line of upright) assert.ok(widthOf(line).width <= 40, line)
    assert.equal(upright.filter((line) => /^NAME {7}\S/.test(line)).length, 3)
    assert.equal(upright.filter((line) => line === 'PRICE      249.90').length, 3)
  })

  /** The part of a line between two columns of the terminal. */
  function sliceColumns(line: string, start: number, end: number): string {
    const places = [...line].flatMap((character) => (widthOf(character).width === 2 ? [character, ''] : [character]))
    return places.slice(start, end).join('')
  }
})

describe('a script', () => {
  it('is carried out without a prompt, even if its output is a terminal', async () => {
    const env = `XDG_STATE_HOME=${ann.state} SOUK_BUYER_PORT=${buyer.port}`
    const script = `printf 'ping\\nping\\n' | ${env} ${process.execPath} ${SOUK} buyer`
    const terminal = openTerminal({ command: 'sh', args: ['-c', script], cwd: marketplace.home })
    assert.equal(await terminal.ended, 0)
    assert.match(terminal.raw, /^souk \d\S+\r\nsouk \d\S+\r\n$/)
    await terminal.close()
  })
})

describe('a list with several pages', () => {
  it('is shown page after page with more, until it ends', async () => {
    const shell = await openLoggedIn(ann, 'seller', 'ann.of.pages', 120)
    for (const name of ['Lamp', 'Chair', 'Table'])
      await run(shell, `register ${name} --category 3 --price 1 --quantity 1 --condition new`)
    assert.match(await run(shell, 'more'), /^souk: no list with a next page was shown$/)
    assert.match(await run(shell, 'items --limit 1'), /Table[\s\S]*\nthere is more: type more$/)
    assert.match(await run(shell, 'rating'), /0 up/) // a command that shows no list does not end it
    assert.match(await run(shell, 'more'), /Chair[\s\S]*\nthere is more: type more$/)
    assert.doesNotMatch(await run(shell, 'more'), /there is more/)
    assert.match(await run(shell, 'more'), /^souk: no list with a next page was shown$/)
    await run(shell, 'items --limit 1')
    await run(shell, 'logout')
    assert.match(await run(shell, 'more'), /^souk: no list with a next page was shown$/)
  })
})

describe('bytes typed at a terminal', () => {
  /** Begins a login on a clear screen. */
  async function beginLogin(shell: Terminal): Promise<void> {
    shell.press('ctrl-l')
    await shell.shows(/^buyer>$/)
    enter(shell, 'login eve')
    await shell.shows(/^buyer> login eve\nPassword:$/)
  }

  it('that are not UTF-8 are refused, and a separator of lines or paragraphs is not the Enter key', async () => {
    const shell = ann.open(['buyer'])
    await shell.shows(/buyer>$/)
    shell.type(Buffer.from('item caf\xe9', 'latin1'))
    shell.press('enter')
    await shell.shows(/^souk: the input is not UTF-8\nbuyer>$/m)
    const password = 'hunter\u2028secret\u{1F600}\u{10000}'
    enter(shell, 'signup eve Eve')
    for (const prompt of [/New password:$/, /Repeat password:$/]) {
      await shell.shows(prompt)
      enter(shell, password)
    }
    await shell.shows(/^buyer \d+\nbuyer>$/m)
    for (const wrong of [password.replace('\u2028', '\u2029'), password.replace('\u2028', '')]) {
      await beginLogin(shell)
      enter(shell, wrong)
      await shell.shows(/^souk: wrong user name or password\nbuyer>$/m)
    }
    await beginLogin(shell)
    shell.type(Buffer.from('hunter\xe2secret', 'latin1'))
    shell.press('enter')
    await shell.shows(/^souk: the password is not UTF-8\nbuyer>$/m)
    await beginLogin(shell)
    for (const byte of Buffer.from(password)) shell.type(Buffer.of(byte))
    shell.press('enter')
    await shell.shows(/eve@buyer>$/)

    const alone = ann.open(['buyer', 'login', 'eve'])
    await alone.shows(/^Password:$/)
    enter(alone, password)
    await alone.shows(/logged in as eve/)
    assert.equal(await alone.ended, 0)
  })
})
