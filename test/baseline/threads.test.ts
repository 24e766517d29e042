/** threads.py gives the same answers as souk to the same calls, valid and invalid, on the same databases. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { fillCatalogue } from '../../src/loadgen/databases.ts'
import { findPython, type System, startSystem } from '../../src/loadgen/systems.ts'
import { Caller, openAccount, type Reply, Wire } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

describe('threads.py', () => {
  let marketplace: TestMarketplace
  let souk: System
  let threads: System
  const sessions: Partial<Record<Role, string>> = {}

  before(async () => {
    marketplace = await startTestMarketplace()
    const { urls } = marketplace
    ;[souk, threads] = await Promise.all([startSystem('souk', { urls }), startSystem('threads', { urls, poolSize: 4 })])
    for (const role of ROLES) {
      const caller = await Caller.connect({ role, port: souk.ports[role] } as Parameters<typeof Caller.connect>[0])
      sessions[role] = (await openAccount(caller as Caller<Role>)).session
      await caller.close()
    }
    await fillCatalogue(urls)
    await marketplace.sql('product', 'UPDATE item SET quantity = 0 WHERE id IN (1, 1001)')
    await marketplace.sql('product', 'DELETE FROM item_keyword WHERE item_id IN (1, 1001)')
    await marketplace.sql('product', 'DELETE FROM seller_score WHERE seller_id = 77')
  })
  after(async () => {
    await Promise.all([souk?.stop(), threads?.stop()])
    await marketplace?.close()
  })

  /** Sends the same lines to both systems; resolves to the replies of souk and of threads.py. */
  async function sendToBoth(role: Role, lines: readonly string[]): Promise<[Reply[], Reply[]]> {
    const send = async ({ ports }: System) => {
      const wire = await Wire.connect({ port: ports[role] })
      const replies: Reply[] = []
      for (const one of lines) {
        wire.send(`${one}\n`)
        replies.push((await wire.reply()) as Reply)
      }
      wire.destroy()
      return replies
    }
    return [await send(souk), await send(threads)]
  }

  async function expectSameAnswers(role: Role, calls: readonly (readonly [string, object])[]): Promise<void> {
    const lines = calls.map(([method, params], id) =>
      JSON.stringify({ jsonrpc: '2.0', id, method, params: { session: sessions[role], ...params } }),
    )
    const [ours, theirs] = await sendToBoth(role, lines)
    for (const [index, line] of lines.entries())
      assert.deepEqual(withoutMessage(theirs[index]), withoutMessage(ours[index]), line)
  }

  test('gives buyers the same answers as souk', async () => {
    const search = (params: object) => ['search_items', params] as const
    await expectSameAnswers('buyer', [
      ...[1, 77, 1_000].map((seller_id) => ['get_seller_rating', { seller_id }] as const),
      ['get_seller_rating', { seller_id: 123_456 }],
      ['get_item', { item_id: 5 }],
      ['get_item', { item_id: 999_999 }],
      search({ category: 0, keywords: ['word00'] }),
      search({ category: 0, keywords: ['word00', 'word01'], limit: 7 }),
      search({ category: 0, keywords: ['word00', 'word01', 'word49'], limit: 100 }),
      search({ category: 0, keywords: ['word00', 'word01'], limit: 7, cursor: '2-5000' }),
      search({ category: 0, keywords: ['word00', 'word01'], limit: 7, cursor: '1-5000' }),
      search({ category: 0, keywords: ['WORD00', 'word00'] }),
      search({ category: 3, limit: 3 }),
      search({ category: 3, limit: 3, cursor: '1-3000' }),
      search({ category: 3, keywords: ['nothing'] }),
      search({ category: 0, limit: 100, cursor: '1-1002' }),
    ])
  })

  test('gives sellers the same answers as souk', async () => {
    await expectSameAnswers('seller', [
      ['get_seller_rating', {}],
      ['display_items_for_sale', {}],
      ['display_items_for_sale', { include_sold_out: true }],
      ['display_items_for_sale', { limit: 4 }],
      ['display_items_for_sale', { limit: 4, cursor: '6001' }],
    ])
  })

  test('refuses the same parameters as souk, with the same codes', async () => {
    const item = { name: 'Lamp', category: 1, keywords: ['lamp'], condition: 'new', price_cents: 5, quantity: 1 }
    const wrong: object[] = [
      { name: '' },
      { name: ' x' },
      { name: 'x'.repeat(33) },
      { name: 'a\u0000b' },
      { name: 5 },
      { category: -1 },
      { category: 65_536 },
      { category: 1.5 },
      { category: '1' },
      { category: true },
      { keywords: 'lamp' },
      { keywords: Array(6).fill('k') },
      { keywords: ['toolongword'] },
      { keywords: [''] },
      { condition: 'old' },
      { price_cents: -1 },
      { price_cents: 1e10 },
      { quantity: 0 },
      { quantity: null },
      { seller_id: 1 },
      { thumbs_up: 5 },
      { constructor: 1 },
    ]
    await expectSameAnswers('seller', [
      ...wrong.map((fields) => ['register_item_for_sale', { ...item, ...fields }] as const),
      ...[{ limit: 0 }, { limit: 10_001 }, { cursor: 'x' }, { cursor: 5 }, { include_sold_out: 1 }].map(
        (params) => ['display_items_for_sale', params] as const,
      ),
      ['no_such_operation', {}],
      ['__proto__', {}],
      ['get_seller_rating', { session: 'nobody' }],
      ['get_seller_rating', { session: 5 }],
    ])
    await expectSameAnswers('buyer', [
      ...[{ seller_id: 0 }, { seller_id: 1.5 }, { seller_id: '1' }, {}].map(
        (params) => ['get_seller_rating', params] as const,
      ),
      ...[{ category: 1, limit: 101 }, { category: 1, cursor: '9-1' }, {}].map(
        (params) => ['search_items', params] as const,
      ),
      ['get_seller_rating', { session: sessions.seller, seller_id: 1 }],
    ])
  })

  test('refuses the same malformed requests as souk, with the same codes', async () => {
    const [ours, theirs] = await sendToBoth('buyer', [
      '{',
      '[]',
      '5',
      '"x"',
      'null',
      '{"jsonrpc":"1.0","id":1,"method":"ping"}',
      '{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
      '{"jsonrpc":"2.0","id":{},"method":"ping"}',
      '{"jsonrpc":"2.0","id":1,"method":5}',
      '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
      '{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}',
      '{}\n{"jsonrpc":"1.0","method":"ping"}\n{"jsonrpc":"2.0","id":1,"result":{}}\n{"jsonrpc":"2.0","id":"last"}',
    ])
    assert.deepEqual(theirs.map(withoutMessage), ours.map(withoutMessage))
  })

  test('answers arrays of requests like souk', async () => {
    const rating = {
      jsonrpc: '2.0',
      id: 1,
      method: 'get_seller_rating',
      params: { session: sessions.buyer, seller_id: 77 },
    }
    const { id: _, ...notification } = rating
    const arrays = [[rating, notification, { ...rating, id: 2, method: 'nothing' }], [1, [], {}, { id: 3 }], [rating]]
    const [ours, theirs] = await Promise.all(
      [souk, threads].map(async ({ ports }) => {
        const wire = await Wire.connect({ port: ports.buyer })
        wire.send(`[${JSON.stringify(notification)},{}]\n`)
        const replies: unknown[] = []
        for (const array of arrays) {
          wire.send(`${JSON.stringify(array)}\n`)
          replies.push((await wire.replyArray()).map(withoutMessage))
        }
        wire.destroy()
        return replies
      }),
    )
    assert.deepEqual(theirs, ours)
  })

  test('puts an item on sale with the same rows as souk', async () => {
    const item = {
      name: 'Añejo',
      category: 9,
      keywords: ['Rum', 'rum', 'old'],
      condition: 'used',
      price_cents: 5,
      quantity: 1,
    }
    const line = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'register_item_for_sale',
      params: { session: sessions.seller, ...item },
    })
    const [[ours], [theirs]] = await sendToBoth('seller', [line])
    const stored = await Promise.all(
      [ours, theirs].map(async (reply) => {
        const id = reply?.result?.item_id as number
        const [row] = await marketplace.sql('product', 'SELECT * FROM item WHERE id = ?', [id])
        const keywords = await marketplace.sql(
          'product',
          'SELECT category, keyword FROM item_keyword WHERE item_id = ?',
          [id],
        )
        return { ...row, id: 0, keywordRows: keywords }
      }),
    )
    assert.deepEqual(stored[1], stored[0])
  })

  test('numbers items one after the other, in turns with souk too', async () => {
    const call = (id: number) => {
      const params = { session: sessions.seller, name: 'Lamp', category: 9, keywords: [], condition: 'new' }
      return JSON.stringify({
        jsonrpc: '2.0',
        id,
        method: 'register_item_for_sale',
        params: { ...params, price_cents: 1, quantity: 1 },
      })
    }
    const numbers: unknown[] = []
    for (let turn = 0; turn < 3; turn += 1) {
      await sleep(200)
      for (const reply of (await sendToBoth('seller', [call(turn)])).flat()) numbers.push(reply.result?.item_id)
    }
    const first = numbers[0] as number
    assert.deepEqual(
      numbers,
      [0, 1, 2, 3, 4, 5].map((more) => first + more),
    )
  })

  test('refuses a parameter in the URL of a database that it does not know', () => {
    const url = 'mariadb://ann:canary@127.0.0.1:1/shop?ssl=true'
    const { status, stderr } = spawnSync(
      findPython().program,
      [root('baseline/threads.py'), 'seller', '--customer-db', url, '--product-db', url],
      { encoding: 'utf8' },
    )
    assert.equal(status, 2)
    assert.match(stderr, /has the parameter "ssl"/)
    assert.doesNotMatch(stderr, /canary|Traceback/)
  })

  /** The reply without the message of a refusal, whose wording may differ. */
  function withoutMessage(reply: Reply | undefined): unknown {
    if (reply?.error === undefined) return reply
    return { id: reply.id, code: reply.error.code, name: reply.error.data.code }
  }
})
