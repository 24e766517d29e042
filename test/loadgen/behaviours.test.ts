/** Market scenarios on a real server: they sell what there is and no more, and notice every wrong reply. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { encodeRefusal, encodeResult } from '../../src/contract/protocol.ts'
import type { Refusal } from '../../src/contract/refusals.ts'
import { withConnection } from '../../src/db/connect.ts'
import { SHARES } from '../../src/loadgen/behaviours.ts'
import { type Bench, openBench } from '../../src/loadgen/bench.ts'
import type { RunSize } from '../../src/loadgen/fleet.ts'
import type { System } from '../../src/loadgen/systems.ts'
import { progress } from '../../src/process/progress.ts'
import { DEFAULT_LIMITS } from '../../src/server/limits.ts'
import { listen } from '../../src/server/listener.ts'

const BUYERS = 8

describe('a market scenario', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  let bench: Bench
  let souk: System

  before(async () => {
    const { signal } = new AbortController()
    bench = await openBench({
      home,
      given: {} as never,
      seed: 1,
      accounts: { seller: 4, buyer: BUYERS },
      signal,
      progress,
    })
    souk = await bench.start('souk')
  })
  after(async () => {
    await bench?.close()
    rmSync(home, { recursive: true, force: true })
  })

  function size(clients: number, calls: number, stock?: number): RunSize {
    return { clients, until: { calls }, pipeline: 1, stock }
  }

  function rows<Row>(sql: string): Promise<Row[]> {
    return withConnection(bench.urls.product, (connection) => connection.query(sql))
  }

  test('that mixes operations calls each of them, about as often as its share states', async () => {
    const { operations, purchases } = await bench.run(souk, 'mixed', size(4, 500), 1)
    const named = new Set(Object.values(SHARES).flatMap((shares) => Object.keys(shares)))
    assert.deepEqual(Object.keys(operations).sort(), [...named].sort())
    const calls = Object.values(operations).reduce((sum, figures) => sum + figures.calls, 0)
    assert.ok(calls >= 8 * 500 && calls < 8 * 500 * 1.05)
    const share = (name: keyof typeof operations) => ((operations[name]?.calls ?? 0) / 4 / 500) * 1_000
    for (const name of ['search_items', 'display_items_for_sale', 'change_item_price', 'add_item_to_cart'] as const) {
      const stated = { ...SHARES.buyer, ...SHARES.seller }[name]
      assert.ok(share(name) > stated * 0.7 && share(name) < stated * 1.5, `${name}: ${share(name)}, not ${stated}`)
    }
    const [count] = await rows<{ purchases: number }>('SELECT COUNT(*) AS purchases FROM purchase')
    assert.equal(purchases?.calls, count?.purchases)
    assert.ok((purchases?.calls ?? 0) > 10)
  })

  test('sells everything on sale and no more, when all buyers want the same items', async () => {
    const stock = 6
    const { operations, purchases } = await bench.run(souk, 'flash-sale', size(BUYERS, 60, stock), 1)
    const left = await rows<{ id: number; quantity: number }>('SELECT id, quantity FROM item WHERE id <= 11')
    assert.deepEqual(
      left.map(({ quantity }) => quantity),
      [...Array(10).fill(0), stock],
    )
    const sold = await rows<{ units: number }>('SELECT SUM(quantity) AS units FROM purchase_line')
    assert.equal(Number(sold[0]?.units), 10 * stock)
    const [made] = await rows<{ purchases: number }>('SELECT COUNT(*) AS purchases FROM purchase')
    assert.equal(purchases?.calls, made?.purchases)
    assert.ok((operations.add_item_to_cart?.calls ?? 0) > 10 * stock, 'no buyer was ever refused')
  })

  test('measures purchases that last as long as their calls', async () => {
    const { operations, purchases, wallS } = await bench.run(souk, 'hot-item', size(BUYERS, 40), 1)
    const { add_item_to_cart: add, make_purchase: purchase } = operations
    assert.deepEqual([add?.calls, purchase?.calls, purchases?.calls], [160, 160, 160])
    const sum = (add?.meanUs ?? 0) + (purchase?.meanUs ?? 0)
    assert.ok(Math.abs((purchases?.meanUs ?? 0) / sum - 1) < 0.1, `${purchases?.meanUs} is not ${sum}`)
    assert.ok((purchases?.wallS ?? 0) <= wallS)
  })

  test('draws the same calls in runs of the same round, and others in another round', async () => {
    const sold = async (number: number) => {
      await bench.run(souk, 'wide-sale', size(BUYERS, 20), number)
      return rows('SELECT buyer_id, item_id FROM purchase_line ORDER BY buyer_id, item_id')
    }
    const first = await sold(1)
    assert.equal(first.length, BUYERS * 10)
    assert.deepEqual(await sold(1), first)
    assert.notDeepEqual(await sold(2), first)
  })

  /** A server that answers each operation alike, whatever is in the database; but first, once each, with these refusals. */
  async function dishonest(answers: Record<string, object | Refusal>, ...first: Refusal[]): Promise<System> {
    const listener = await listen({
      host: '127.0.0.1',
      port: 0,
      limits: DEFAULT_LIMITS,
      log: () => {},
      answer({ id = null, method }) {
        const answer = first.shift() ?? answers[method] ?? {}
        const reply = 'code' in answer ? encodeRefusal(id, answer as Refusal) : encodeResult(id, JSON.stringify(answer))
        return { weight: 1, reply }
      },
    })
    const ports = { seller: listener.port, buyer: listener.port }
    const processes = { seller: process.pid, buyer: process.pid }
    return {
      name: 'souk',
      host: '127.0.0.1',
      ports,
      processes,
      longestStallMs: async () => 0,
      stop: () => listener.drain(0),
    }
  }

  const line = { item_id: 1, name: 'Item 1', quantity: 1, price_cents: 100 }
  const purchase = { purchase_id: 7, lines: [line], total_cents: 100 }
  const short = { item_id: 1, requested: 1, available: 0 }
  const outOfStock = { code: 'out_of_stock', message: '' } as const
  // biome-ignore format: a row each
  const lies: [string, Record<string, object | Refusal>, RegExp][] = [
    ['a wrong quantity', { add_item_to_cart: { quantity: 2 } }, /wrong reply to add_item_to_cart/],
    ['a purchase of nothing', { add_item_to_cart: { quantity: 1 }, make_purchase: { ...purchase, lines: [], total_cents: 0 } }, /wrong reply to make_purchase/],
    [
      'a purchase of something else',
      { add_item_to_cart: { quantity: 1 }, make_purchase: { ...purchase, lines: [{ ...line, item_id: 2 }] } },
      /wrong reply to make_purchase/,
    ],
    [
      'a wrong total',
      { add_item_to_cart: { quantity: 1 }, make_purchase: { ...purchase, total_cents: 99 } },
      /wrong reply to make_purchase/,
    ],
    ['a refusal without its reason', { add_item_to_cart: outOfStock }, /add_item_to_cart was refused: out_of_stock/],
    [
      'a refusal of what is there',
      { add_item_to_cart: { ...outOfStock, details: { ...short, available: 1 } } },
      /add_item_to_cart was refused/,
    ],
    [
      'another refusal',
      { add_item_to_cart: { code: 'not_found', message: '', details: short } },
      /add_item_to_cart was refused: not_found/,
    ],
    [
      'purchases that were never made',
      { add_item_to_cart: { quantity: 1 }, make_purchase: purchase },
      /violations(.|\n)*purchase 7 was acknowledged, but is missing/,
    ],
  ]
  for (const [what, answers, said] of lies) {
    test(`fails after ${what}`, async () => {
      const server = await dishonest(answers)
      try {
        await assert.rejects(bench.run(server, 'hot-item', size(2, 2), 1), said)
      } finally {
        await server.stop()
      }
    })
  }

  test('accepts a refusal of an item that is sold out', async () => {
    const server = await dishonest({ add_item_to_cart: { ...outOfStock, details: short } })
    const { operations, purchases } = await bench.run(server, 'hot-item', size(2, 10), 1)
    await server.stop()
    assert.deepEqual(
      [operations.add_item_to_cart?.calls, operations.make_purchase, purchases],
      [20, undefined, undefined],
    )
  })

  test('calls an overloaded server again after the delay that it gives, and counts that as latency', async () => {
    const overloaded = { code: 'overloaded', message: '', details: { retry_after_ms: 50 } } as const
    const server = await dishonest({ add_item_to_cart: { ...outOfStock, details: short } }, overloaded, overloaded)
    const run = await bench.run(server, 'hot-item', size(1, 5), 1)
    await server.stop()
    assert.equal(run.overloaded, 2)
    assert.equal(run.operations.add_item_to_cart?.calls, 5)
    assert.ok((run.operations.add_item_to_cart?.maxUs ?? 0) >= 2 * 49_000)
  })

  test('does not run on the null server', async () => {
    const system = await bench.start('null')
    await assert.rejects(bench.run(system, 'hot-item', size(2, 2), 1), /null server can't answer/)
  })
})
