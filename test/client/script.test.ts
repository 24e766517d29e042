/** Scripts, which are commands on standard input, one a line: what is understood, where they stop, and their exit codes. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { anItem } from '../support/clients.ts'
import type { AccountSession } from '../support/sessions.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { documentIn, SoukUser } from '../support/souk.ts'

let shop: Shop
let bob: SoukUser
let seller: AccountSession
let item: number

before(async () => {
  shop = await openShop()
  seller = await shop.newSeller()
  item = (await shop.register(seller, anItem({ name: "Ann's lamp", category: 3, quantity: 50 })))[0] as number
  bob = new SoukUser([shop.buyers])
  await bob.join('buyer', 'bob')
})
after(async () => {
  await bob?.leave()
  await shop?.close()
})

/** Runs these lines as a script. */
function runScript(lines: readonly string[], options = '') {
  return bob.souk(`buyer ${options}`, { input: lines.join('\n') })
}

const parseDocuments = (stdout: string) =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

describe('a script', () => {
  it('is carried out line by line, with comments, empty lines, quotes, short names and whole command lines', async () => {
    const lines = [
      '# what Bob buys',
      '',
      '   ',
      '  # and how',
      'clear',
      `add ${item} 2   `,
      `"add-item-to-cart" '${item}' "1"`,
      `souk buyer remove ${item} 1`,
      '\tsave-cart\t',
      `search 3 "la mp" 'x' -- --y`,
      'cart',
    ]
    for (const ending of ['\n', '\r\n', '\r']) {
      for (const [mark, last] of [
        ['', ''],
        ['\u{FEFF}', ending],
      ] as const) {
        const { exitCode, stdout, stderr } = await bob.souk('buyer', { input: mark + lines.join(ending) + last })
        assert.deepEqual({ exitCode, stderr }, { exitCode: 0, stderr: 'see what is on sale: list-categories\n' })
        assert.deepEqual(stdout.split('\n'), [
          'the cart is empty',
          `item ${item}: 2 in the cart`,
          `item ${item}: 3 in the cart`,
          `item ${item}: 2 in the cart`,
          'the cart is kept for your later sessions',
          'nothing found',
          'ITEM  NAME        UNITS  PRICE  TOTAL  ON SALE',
          `   ${item}  Ann's lamp      2  19.99  39.98       50`,
          'total 39.98',
          '',
        ])
      }
    }
  })

  it('without commands does nothing', async () => {
    for (const lines of [[], ['', '# nothing', '']])
      assert.deepEqual(await runScript(lines), { exitCode: 0, stdout: '', stderr: '' })
  })

  it('stops at the first command that fails, with its exit code, and says on which line it is', async () => {
    const { exitCode, stdout, stderr } = await runScript(['# one', 'clear', '', 'item 999999', 'ping'])
    assert.deepEqual({ exitCode, stdout }, { exitCode: 4, stdout: 'the cart is empty\n' })
    assert.equal(stderr, 'souk: line 4: no such item; look for one: search-items 3 camera lens\n')
  })

  it('goes on with --keep-going, and ends with the exit code of the first command that failed', async () => {
    const lines = [
      'item 999999',
      'serch 3',
      'clear "',
      "vote 1 'up",
      'remove 1 1',
      'item',
      'login bob',
      'souk seller items',
      'clear',
    ]
    const { exitCode, stdout, stderr } = await runScript(lines, '--keep-going')
    assert.deepEqual({ exitCode, stdout }, { exitCode: 4, stdout: 'the cart is empty\n' })
    assert.deepEqual(stderr.split('\n'), [
      'souk: line 1: no such item; look for one: search-items 3 camera lens',
      'souk: line 2: there is no command "serch": search',
      'souk: line 3: a quote is not closed',
      'souk: line 4: a quote is not closed',
      'souk: line 5: item 1 is not in the cart: display-cart',
      'souk: line 6: item-id is missing: get-item --help',
      'souk: line 7: a password in a script needs --password-file <file>',
      'souk: line 8: there is no command "souk": --help',
      '',
    ])
  })

  it('is cut into lines at line ends only, not at other separators', async () => {
    const separators = ['\u2028', '\u2029', '\u0085', '\v', '\f', '\u001c']
    const lines = separators.flatMap((separator) => [`# a${separator}clear`, `search 3 a${separator}clear`])
    const { exitCode, stdout, stderr } = await runScript(lines, '--keep-going')
    assert.deepEqual({ exitCode, stdout }, { exitCode: 2, stdout: '' })
    const refused = [2, 4, 6, 8, 10, 12].map(
      (line) => `souk: line ${line}: keyword: must have 1 to 8 characters, no control`,
    )
    for (const [index, line] of stderr.trimEnd().split('\n').entries())
      assert.ok(line.startsWith(refused[index] ?? '!'), line)
  })

  it('with bytes that are not UTF-8 is refused at that line, and carries out nothing of it', async () => {
    const lines = Buffer.from(`clear\nadd ${item} 1 # caf\xe9\nclear\n`, 'latin1')
    const refusal = 'souk: line 2: the input is not UTF-8\n'
    for (const [options, stdout] of [
      ['', 'the cart is empty\n'],
      ['--keep-going', 'the cart is empty\n'.repeat(2)],
    ] as const) {
      assert.deepEqual(await bob.souk(`buyer ${options}`, { input: lines }), { exitCode: 2, stdout, stderr: refusal })
    }
    const { stdout } = await bob.souk('buyer --json', { input: lines })
    const error = { line: 2, code: 'usage', message: 'the input is not UTF-8' }
    assert.deepEqual(JSON.parse(stdout.split('\n')[1] ?? ''), { error })
    const utf16 = await bob.souk('buyer', { input: Buffer.from('\u{FEFF}clear\n', 'utf16le') })
    assert.equal(utf16.stderr, 'souk: line 1: the input is UTF-16: save it as UTF-8\n')
  })

  it('knows help and status, and refuses what they do not take', async () => {
    const { exitCode, stdout, stderr } = await runScript(
      ['status --json', 'status now', 'help a b', 'exit 5'],
      '--keep-going',
    )
    assert.deepEqual([exitCode, Object.keys(JSON.parse(stdout))], [2, ['servers']])
    assert.deepEqual(stderr.split('\n'), [
      'souk: line 2: "now" is one word too many: help',
      'souk: line 3: "b" is one word too many: help',
      'souk: line 4: "5" is one word too many: help',
      '',
    ])
  })

  it('explains the commands that only the shell and scripts have', async () => {
    const lines = ['help more', 'more --help', 'help help', 'help quit', 'help sttus', 'quti']
    const { stdout, stderr } = await runScript(lines, '--keep-going')
    const more = 'Show the next page of the list shown last.'
    assert.equal(stdout, [more, more, 'List the commands or explain one.', 'Leave.', ''].join('\n'))
    assert.deepEqual(stderr.split('\n'), [
      'souk: line 5: there is no command "sttus": status',
      'souk: line 6: there is no command "quti": quit',
      '',
    ])
  })

  it('stops at a line that is no command, with exit code 2', async () => {
    for (const line of ['clear "', 'serch 3', 'item', 'login bob', 'ping --port 1', 'ping --timeout 1']) {
      const { exitCode, stdout, stderr } = await runScript(['', line, 'clear'])
      assert.deepEqual({ line, exitCode, stdout }, { line, exitCode: 2, stdout: '' })
      assert.match(stderr, /^souk: line 2: /)
    }
  })

  it('logs in with a password file, and uses that session from then on', async () => {
    const eve = new SoukUser([shop.buyers])
    const lines = [
      'signup eve Eve --password-file password',
      'login eve --password-file password',
      'clear',
      'logout',
      'clear',
    ]
    const { exitCode, stdout, stderr } = await eve.souk('buyer', { input: lines.join('\n') })
    assert.equal(exitCode, 3)
    assert.match(stdout, /^buyer \d+\nlogged in as eve; .*\nthe cart is empty\nlogged out\n$/)
    assert.equal(stderr, 'souk: line 5: you are not logged in: login <username>\n')
    await eve.leave()
  })

  it('prints one JSON document for each command, also for those that fail', async () => {
    const lines = [
      'clear',
      `add ${item} 1`,
      '# a comment',
      'item 999999',
      'clear "',
      'search 3 --all',
      'cart --json',
      'login bob',
    ]
    const { exitCode, stdout, stderr } = await runScript(lines, '--json --keep-going')
    assert.deepEqual({ exitCode, stderr }, { exitCode: 4, stderr: '' })
    const documents = parseDocuments(stdout)
    assert.deepEqual(documents.slice(0, 2), [{ ok: true }, { quantity: 1 }])
    assert.deepEqual(
      documents.map(({ error }) => error?.code),
      [undefined, undefined, 'not_found', 'usage', undefined, undefined, 'usage'],
    )
    assert.equal(documents[4].items[0].item_id, item)
    assert.equal(documents[5].lines[0].available, 50)
    const one = await runScript(['clear', 'cart --json', 'clear'])
    assert.equal(one.stdout, 'the cart is empty\n{"lines":[]}\nthe cart is empty\n')
  })

  it('answers each line before it reads the next', async () => {
    const running = bob.open('buyer')
    running.child.stdin?.write(`clear\nadd ${item} 1\n`)
    await running.says(/^item \d+: 1 in the cart$/m)
    running.child.stdin?.write(`add ${item} 1\nadd ${item}`)
    await running.says(/^item \d+: 2 in the cart$/m)
    running.child.stdin?.end(' 1')
    const { exitCode, stdout } = await running.ended
    assert.equal(exitCode, 0)
    assert.match(stdout, /: 3 in the cart\n$/)
  })

  it('that fails ends even though more lines might come', async () => {
    const running = bob.open('buyer')
    running.child.stdin?.write('item x\n')
    const { exitCode, stderr } = await running.ended
    assert.deepEqual([exitCode, stderr], [2, 'souk: line 1: item-id: must be a whole number from 1: get-item --help\n'])
  })

  it('has the shell’s exit, help, more and status', async () => {
    const { exitCode, stdout } = await runScript(['help item', 'status', 'exit', 'clear'])
    assert.equal(exitCode, 0)
    assert.match(stdout, /^Show one item\.\n[\s\S]*\nROLE .*\nseller .*\nbuyer .*\n$/)
    const more = await runScript(['more'])
    assert.deepEqual([more.exitCode, more.stderr], [2, 'souk: line 1: no list with a next page was shown\n'])
  })

  it('says in its JSON on which line it failed, even if only that line asks for JSON', async () => {
    const { stdout } = await runScript(['', 'item x --json'])
    const message = 'item-id: must be a whole number from 1'
    assert.deepEqual(documentIn(stdout), { error: { line: 2, code: 'usage', message, next: 'get-item --help' } })
  })

  it('that waits for its next line ends at Ctrl-C, with exit code 130', async () => {
    const running = bob.open('buyer')
    running.child.stdin?.write('clear\n')
    await running.says(/the cart is empty/)
    const { exitCode, stderr } = await running.end('SIGINT')
    assert.deepEqual([exitCode, stderr], [130, ''])
  })
})
