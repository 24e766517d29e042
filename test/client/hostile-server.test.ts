/** Whatever a server answers, souk's output can't steer the terminal: raw control characters never reach it. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'
import { documentIn, SoukUser } from '../support/souk.ts'
import { openTerminal } from '../support/terminal.ts'

const BAD = '\x1b[2J\x1b]0;title\x07\r\x7f\x9b31m\u202e\u2066\u2028\t'
/** In the shape of the contract: another one is refused. */
const ITEM = {
  item_id: 1,
  seller_id: 1,
  seller_name: BAD,
  name: BAD,
  category: 3,
  keywords: [BAD],
  condition: BAD,
  price_cents: 1,
  quantity: 1,
  thumbs_up: 0,
  thumbs_down: 0,
}
const PURCHASE = { purchase_id: 1, purchased_at: 0, total_cents: 1, lines: [{ ...ITEM, available: 1 }] }
const RESULTS: Record<string, object> = {
  ping: { ok: true, version: BAD, databases: { customer: true, product: true } },
  whoami: { id: 1, username: BAD, name: BAD, expires_in_s: 300 },
  search_items: { items: [ITEM], next_cursor: BAD },
  get_item: ITEM,
  display_cart: PURCHASE,
  add_item_to_cart: { quantity: 1 },
  make_purchase: PURCHASE,
  get_buyer_purchases: { items_purchased: 1, purchases: [PURCHASE], next_cursor: BAD },
  provide_feedback: { ok: true },
  get_seller_rating: { seller_name: BAD, thumbs_up: 1, thumbs_down: 0, items_sold: 1 },
  create_account: { buyer_id: 1 },
  login: { session: BAD, expires_in_s: 300 },
}
const REFUSAL = { code: -32602, message: BAD, data: { code: 'invalid_params', fields: { [BAD]: BAD }, [BAD]: BAD } }

let server: Server
let bob: SoukUser
/** How the server answers from now on. */
let answer: (request: { id: unknown; method: string }) => object = () => ({})

before(async () => {
  server = createServer((socket) => {
    socket.on('error', () => {})
    createInterface({ input: socket }).on('line', (line) => {
      const request = JSON.parse(line)
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: request.id, ...answer(request) })}\n`)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  bob = new SoukUser([{ role: 'buyer', port: (server.address() as AddressInfo).port }])
})
after(async () => {
  await bob?.leave()
  server?.close()
})

const answerResults = ({ method }: { method: string }) => ({ result: RESULTS[method] })
const COMMANDS = [
  'ping',
  'whoami',
  'search 3',
  'item 1',
  'cart',
  'add 1 1',
  'buy',
  'purchases',
  'vote 1 up',
  'rating 1',
  'signup bob Bob --password-file password',
  'login bob --password-file password',
]

function assertHarmless(output: string, typed: string): void {
  assert.doesNotMatch(output, /[^\P{Cc}\n]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/u, typed)
}

describe('the answer of a hostile server', () => {
  for (const json of ['', ' --json']) {
    it(`is harmless as a result${json}, and keeps its value as a document`, async () => {
      answer = answerResults
      for (const command of COMMANDS) {
        const { stdout, stderr } = await bob.souk(`buyer ${command}${json}`, { env: { SOUK_SESSION: 'given' } })
        assertHarmless(stdout + stderr, command)
        if (json !== '') documentIn(stdout)
        if (command === 'item 1' && json !== '') assert.deepEqual(documentIn(stdout), ITEM)
        if (command === 'item 1' && json === '') assert.match(stdout, /^name {7}\\u001b\[2J/m)
      }
      const status = await bob.souk(`status${json} --seller-port 9`, { env: { SOUK_SESSION: 'given' } })
      assertHarmless(status.stdout + status.stderr, 'status')
    })

    it(`is harmless as a refusal${json}`, async () => {
      const refusals = [
        REFUSAL,
        ...['not_found', 'out_of_stock', BAD].map((code) => ({ ...REFUSAL, data: { code, items: [ITEM], ...ITEM } })),
      ]
      for (const error of refusals) {
        answer = () => ({ error })
        for (const command of ['item 1', 'add 1 1', 'buy']) {
          const { stdout, stderr } = await bob.souk(`buyer ${command}${json}`, { env: { SOUK_SESSION: 'given' } })
          assertHarmless(stdout + stderr, command)
        }
      }
      answer = () => ({ id: null, error: REFUSAL })
      const { stdout, stderr } = await bob.souk(`buyer item 1${json} --timeout 1`, { env: { SOUK_SESSION: 'given' } })
      assertHarmless(stdout + stderr, 'a refusal of no request')
    })
  }

  it('is harmless in the shell, its greeting and its prompt', async (t) => {
    answer = answerResults
    const { port } = server.address() as AddressInfo
    const args = ['dist/souk.js', 'buyer', '--port', String(port)]
    const env = { HOME: bob.home, XDG_STATE_HOME: bob.home, SOUK_SESSION: 'given' }
    const shell = openTerminal({ command: process.execPath, args, cwd: process.cwd(), env, columns: 200 })
    t.after(() => shell.close())
    await shell.shows(/@buyer>/)
    for (const command of COMMANDS.slice(0, 9)) {
      shell.type(`${command}\r`)
      await shell.shows(new RegExp(`${command}\\n[^]*>$`))
      shell.press('ctrl-l')
    }
    for (const part of ['\x1b[2J', '\x1b]0;', '\x07', '\x7f', '\x9b', '\u202e', '\u2066', '\u2028'])
      assert.ok(!shell.raw.includes(part), JSON.stringify(part))
  })
})
