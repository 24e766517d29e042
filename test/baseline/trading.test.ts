/**
 * Trading with threads.py: the same calls come to the same replies and the
 * same rows as with souk, a key used with one is known to the other, and
 * however many buy at once, nothing is sold twice.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused } from '../../src/client/connection.ts'
import type { Result, Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { type System, startSystem } from '../../src/loadgen/systems.ts'
import { seeded } from '../../src/loadgen/workload.ts'
import { Caller, openAccount, type Reply, Wire } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

const TABLES = [
  ...['item', 'item_keyword', 'cart', 'saved_cart', 'purchase', 'purchase_line', 'feedback'],
  ...['seller_score', 'buyer_score', 'idempotency'],
]
/** What threads.py lets the database wait for a lock. */
const LOCK_WAIT_S = 2
const ITEM = { name: 'Añejo "7" \\ \u{1f943}', category: 9, keywords: ['Rum', 'añejo'], condition: 'used' }
const POSTED = { ...ITEM, price_cents: 5, quantity: 1 }
const SESSIONS = ['ann', 'ben', 'cat', 'dan', 'dan again'] as const
/** Ann and Ben sell, Cat and Dan buy. Dan has two sessions. */
type Who = (typeof SESSIONS)[number]
/** One call. Cursors come from the reply before. */
type Step = readonly [Who, string, object | ((last: Reply) => object)]

function roleOf(who: Who): Role {
  return who === 'ann' || who === 'ben' ? 'seller' : 'buyer'
}

describe('trading with threads.py', () => {
  let marketplace: TestMarketplace
  let souk: System
  let threads: System
  const sessions = {} as Record<Who, string>
  const ids = {} as Record<Who, number>

  before(async () => {
    marketplace = await startTestMarketplace()
    const { urls } = marketplace
    ;[souk, threads] = await Promise.all([startSystem('souk', { urls }), startSystem('threads', { urls, poolSize: 8 })])
    for (const role of ['seller', 'buyer'] as const) {
      const caller = (await connectTo(souk, role)) as Caller<Role>
      for (const who of SESSIONS.filter((who) => roleOf(who) === role && who !== 'dan again')) {
        const { id, session, username, password } = await openAccount(caller)
        sessions[who] = session
        ids[who] = id
        if (who === 'dan') sessions['dan again'] = (await caller.call('login', { username, password })).session
      }
      await caller.close()
    }
    await marketplace.sql('product', "UPDATE id_block SET next_id = 1000 WHERE name = 'item'")
  })
  after(async () => {
    await Promise.all([souk?.stop(), threads?.stop()])
    await marketplace?.close()
  })

  function connectTo<R extends Role>({ ports }: System, role: R): Promise<Caller<R>> {
    return Caller.connect<R>({ role, port: ports[role] })
  }

  /** Nothing but items 1, 2, 3, … of Ann: so many units of each, at a price of 100 times the id. */
  async function stock(quantities: readonly number[]): Promise<void> {
    const items = quantities.map((quantity, index) => ({ id: index + 1, quantity }))
    const onSale = items.filter(({ quantity }) => quantity > 0)
    await withConnection(marketplace.urls.product, async (connection) => {
      for (const table of TABLES) await connection.query(`DELETE FROM ${table}`)
      await connection.batch(
        'INSERT INTO item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) ' +
          "VALUES (?, ?, ?, 7, 'lamp', 'new', ?, ?)",
        items.map(({ id, quantity }) => [id, ids.ann, `Lamp ${id}`, 100 * id, quantity]),
      )
      for (const keyword of onSale.length === 0 ? [] : ['', 'lamp']) {
        const sql = 'INSERT INTO item_keyword (category, keyword, item_id) VALUES (7, ?, ?)'
        await connection.batch(
          sql,
          onSale.map(({ id }) => [keyword, id]),
        )
      }
    })
  }

  /** Makes the calls one after the other. */
  async function play(system: System, steps: readonly Step[]): Promise<Reply[]> {
    const wires = {
      seller: await Wire.connect({ port: system.ports.seller }),
      buyer: await Wire.connect({ port: system.ports.buyer }),
    }
    const replies: Reply[] = []
    for (const [number, [who, method, params]] of steps.entries()) {
      const given = typeof params === 'function' ? params(replies.at(-1) as Reply) : params
      const wire = wires[roleOf(who)]
      wire.request(number, method, { session: sessions[who], ...given })
      replies.push((await wire.reply()) as Reply)
    }
    for (const wire of Object.values(wires)) wire.destroy()
    return replies
  }

  /** Every row that trading may leave behind, but for clocks. */
  async function rows(): Promise<object> {
    const queries = {
      items: 'SELECT id, price_cents, quantity, thumbs_up, thumbs_down FROM item ORDER BY id',
      keywords: 'SELECT * FROM item_keyword ORDER BY category, keyword, item_id',
      carts: 'SELECT session_hash, buyer_id, content FROM cart ORDER BY session_hash',
      savedCarts: 'SELECT * FROM saved_cart ORDER BY buyer_id',
      purchases: 'SELECT id AS purchase_id, buyer_id, total_cents FROM purchase ORDER BY id',
      lines: 'SELECT * FROM purchase_line ORDER BY purchase_id, item_id',
      votes: 'SELECT * FROM feedback ORDER BY buyer_id, item_id',
      sellerScores: 'SELECT * FROM seller_score ORDER BY seller_id',
      buyerScores: 'SELECT * FROM buyer_score ORDER BY buyer_id',
      answers:
        'SELECT role, account_id, idempotency_key, fingerprint, answer FROM idempotency ORDER BY role, idempotency_key',
    }
    const found: Record<string, object[]> = {}
    for (const [name, sql] of Object.entries(queries)) found[name] = await marketplace.sql('product', sql)
    const answers = found.answers as { answer: string }[]
    return { ...found, answers: answers.map((row) => ({ ...row, answer: JSON.parse(row.answer) })) }
  }

  /** Both start from the same rows; then the replies must be the same, and the rows that they leave. */
  async function sameTrade(quantities: readonly number[], steps: readonly Step[]): Promise<Reply[]> {
    await stock(quantities)
    const ours = comparable({ replies: await play(souk, steps), rows: await rows() })
    await stock(quantities)
    const replies = await play(threads, steps)
    const theirs = comparable({ replies, rows: await rows() })
    for (const [index, step] of steps.entries()) {
      assert.deepEqual(theirs.replies[index], ours.replies[index], JSON.stringify(step))
    }
    assert.deepEqual(theirs.rows, ours.rows)
    return replies
  }

  const add = (item_id: number, quantity: number, who: Who = 'dan'): Step => {
    return [who, 'add_item_to_cart', { item_id, quantity }]
  }
  const remove = (item_id: number, quantity: number): Step => ['dan', 'remove_item_from_cart', { item_id, quantity }]
  const call = (who: Who, method: string): Step => [who, method, {}]
  const vote = (item_id: number, way: string, who: Who = 'dan'): Step => {
    return [who, 'provide_feedback', { item_id, vote: way }]
  }
  const change = (item_id: number, by: number, who: Who = 'ann'): Step => {
    return [who, 'update_units_for_sale', { item_id, change: by }]
  }
  const price = (item_id: number, cents: number, who: Who = 'ann'): Step => {
    return [who, 'change_item_price', { item_id, price_cents: cents }]
  }

  test('fills carts as souk does', async () => {
    await sameTrade(
      [5, 10, 0, 20_000],
      [
        ...[call('dan', 'display_cart'), add(2, 3), add(1, 5), add(2, 4), call('dan', 'display_cart')],
        ...[add(1, 1), add(2, 4), add(3, 1), add(99, 1), add(4, 9_999), add(4, 2), add(4, 1)],
        ...[remove(2, 8), remove(3, 1), remove(99, 1), remove(2, 2), remove(2, 5), remove(2, 1)],
        ...[add(2, 1), call('dan', 'display_cart'), call('dan again', 'display_cart')],
      ],
    )
  })

  test('saves and clears carts as souk does', async () => {
    await sameTrade(
      [5, 5, 5],
      [
        ...[add(2, 1), add(1, 2), call('dan', 'save_cart'), add(3, 3)],
        ...[call('dan again', 'save_cart'), call('dan again', 'display_cart'), call('dan', 'display_cart')],
        ...[call('dan', 'save_cart'), call('dan again', 'clear_cart'), call('dan again', 'display_cart')],
        ...[call('cat', 'clear_cart'), call('cat', 'save_cart'), call('cat', 'display_cart')],
      ],
    )
    for (const first of ['display_cart', 'save_cart', 'clear_cart', 'make_purchase']) {
      await sameTrade(
        [5],
        [
          ...[add(1, 2), call('dan', 'save_cart'), call('dan again', first), add(1, 1), call('dan', 'save_cart')],
          call('dan again', 'display_cart'),
        ],
      )
    }
    await sameTrade([5], [add(1, 2), call('dan', 'save_cart'), add(1, 1, 'dan again'), call('dan', 'display_cart')])
  })

  test('holds no more than a hundred items in a cart, as souk', async () => {
    const steps = Array.from({ length: 101 }, (_, index) => add(101 - index, 1))
    await sameTrade(Array(101).fill(3), [...steps, add(50, 1), remove(51, 1), add(1, 1), call('dan', 'make_purchase')])
  })

  test('sells as souk does: the whole cart or nothing, at the prices of the moment', async () => {
    const replies = await sameTrade(
      [5, 5, 2],
      [
        ...[call('dan', 'make_purchase'), add(3, 2), add(1, 2), call('dan', 'save_cart'), price(1, 7)],
        ...[call('dan', 'make_purchase'), call('dan', 'display_cart'), call('dan', 'make_purchase')],
        ...[add(1, 3, 'cat'), add(2, 5, 'cat'), add(1, 1), change(1, -1), change(2, -2)],
        ...[call('cat', 'make_purchase'), call('cat', 'display_cart'), call('dan again', 'make_purchase')],
        ...[change(3, 2), call('dan again', 'make_purchase'), call('dan', 'make_purchase')],
        ...[call('dan', 'get_buyer_purchases'), call('cat', 'get_buyer_purchases')],
        ['dan', 'get_buyer_purchases', { limit: 1 }],
        ['dan', 'get_buyer_purchases', ({ result }) => ({ limit: 1, cursor: result?.next_cursor })],
        ['dan', 'get_buyer_purchases', { cursor: '1' }],
      ],
    )
    const short = replies.flatMap(({ error }) =>
      error?.data.items === undefined ? [] : [error.data.items as object[]],
    )
    assert.deepEqual(
      short.map((items) => items.length),
      [2, 1, 1],
    )
  })

  test('changes prices and units as souk does', async () => {
    await sameTrade(
      [5, 0],
      [
        ...[price(1, 0), price(1, 0), price(2, 1_000_000_000), price(1, 5, 'ben'), price(99, 5)],
        ...[change(1, -5), change(1, 0), change(1, 3), change(1, 4), change(2, 1_000_000), change(2, 1)],
        ...[change(1, -8), change(1, -7), change(1, -1), change(1, 1, 'ben'), change(99, 1)],
      ],
    )
  })

  test('counts votes as souk does', async () => {
    await sameTrade(
      [5, 5],
      [
        ...[vote(1, 'up'), vote(99, 'up'), add(1, 1), vote(1, 'up'), call('dan', 'make_purchase')],
        ...[vote(1, 'up'), vote(1, 'up'), vote(1, 'down'), vote(2, 'up'), add(1, 1, 'cat')],
        ...[call('cat', 'make_purchase'), vote(1, 'up', 'cat'), vote(1, 'up')],
      ],
    )
  })

  test('refuses parameters that souk refuses', async () => {
    const cartWrong = [{}, { item_id: 0, quantity: 1 }, { item_id: 1, quantity: 0 }, { item_id: 1, quantity: 10_001 }]
    const key = { item_id: 1, quantity: 1 }
    await sameTrade(
      [5],
      [
        ...['add_item_to_cart', 'remove_item_from_cart'].flatMap((method) =>
          cartWrong.map((params): Step => ['dan', method, params]),
        ),
        ...['', ' k', 'k'.repeat(65), 5, null].map((idempotency_key): Step => {
          return ['dan', 'add_item_to_cart', { ...key, idempotency_key }]
        }),
        ['dan', 'save_cart', { idempotency_key: 'k' }],
        ['dan', 'make_purchase', { item_id: 1 }],
        ...[{}, { item_id: 1 }, { item_id: 1, vote: 'sideways' }, { item_id: 1, vote: null }].map((params): Step => {
          return ['dan', 'provide_feedback', params]
        }),
        ...[{ limit: 0 }, { limit: 101 }, { cursor: '0' }, { cursor: 5 }].map((params): Step => {
          return ['dan', 'get_buyer_purchases', params]
        }),
        ...[change(1, 1_000_001), change(1, -1_000_001), change(0, 1), price(1, -1), price(1, 1_000_000_001)],
        ['dan', 'change_item_price', { item_id: 1, price_cents: 5 }],
      ],
    )
  })

  test('answers a key as souk does: once done, whatever has become of the rest', async () => {
    const keyed = ([who, method, params]: Step, name: string): Step => {
      return [who, method, { ...params, idempotency_key: name }]
    }
    const replies = await sameTrade(
      [5],
      [
        ...[keyed(add(1, 6), 'a'), keyed(add(1, 2), 'a'), keyed(add(1, 2), 'a'), keyed(add(1, 3), 'a'), add(1, 3)],
        ...[keyed(add(1, 2), 'a'), keyed(remove(1, 1), 'a'), keyed(remove(1, 4), 'b'), keyed(remove(1, 4), 'b')],
        ...[keyed(call('dan', 'make_purchase'), 'c'), keyed(call('dan', 'make_purchase'), 'c')],
        ...[keyed(add(1, 2), 'a'), keyed(call('cat', 'make_purchase'), 'c'), keyed(call('dan', 'make_purchase'), 'd')],
        ...[keyed(change(1, -4), 'c'), keyed(change(1, -4), 'c'), keyed(change(1, -3), 'c'), keyed(change(1, -4), 'd')],
      ],
    )
    assert.equal(replies.filter(({ error }) => error?.data.code === 'idempotency_mismatch').length, 3)
  })

  test('knows a key that souk was given, and souk one of its', async () => {
    await stock([50])
    const calls: Step[] = [
      ['ann', 'register_item_for_sale', POSTED],
      ['ann', 'register_item_for_sale', { ...POSTED, keywords: [], condition: 'new' }],
      ...[change(1, 5), add(1, 3), remove(1, 1), call('dan', 'make_purchase')],
    ]
    for (const [here, there] of [
      [souk, threads],
      [threads, souk],
    ] as const) {
      const steps = calls.map(([who, method, params], index): Step => {
        return [who, method, { ...params, idempotency_key: `${here.name} ${index} é` }]
      })
      const first = await play(here, steps)
      for (const { error } of first) assert.equal(error, undefined)
      const before = await rows()
      assert.deepEqual(await play(there, steps), first)
      assert.deepEqual(await rows(), before)
    }
  })

  test('sells nothing twice however many trade at once, and shows nobody a deadlock', async () => {
    const units = [300, 300, 300, 300]
    await stock(units)
    const pairs = await Promise.all(Array.from({ length: 10 }, () => twoConnections('buyer')))
    const shoppers = await Promise.all(pairs.map((_, index) => openSession(1_000 + index)))
    const sellers = await twoConnections('seller')
    const purchases: Purchase[] = []
    const takenOff = [0, 0, 0, 0]
    let keysUsed = 0

    /** Two connections of one session, which always do the same at the same time, buy until all is sold out. */
    async function shop(pair: Pair<'buyer'>, session: string, seed: number): Promise<void> {
      const random = seeded(seed)
      const soldOut = new Set<number>()
      for (let round = 0; soldOut.size < units.length; round += 1) {
        const [one = 0, other = 0] = [1, 2, 3, 4].sort(() => random() - 0.5)
        for (const item_id of [one, other]) {
          const added = await outcome(pair[0].call('add_item_to_cart', { session, item_id, quantity: 1 + (round % 2) }))
          if (added instanceof CallRefused && added.details.available === 0) soldOut.add(item_id)
        }
        const key = round % 3 === 0 ? {} : { idempotency_key: `round ${round}` }
        const bought = await Promise.all(pair.map((buyer) => outcome(buyer.call('make_purchase', { session, ...key }))))
        const [made, again] = bought.flatMap((each) => (each instanceof CallRefused ? [] : [each]))
        if (round % 3 !== 0) assert.deepEqual(again, made)
        else assert.equal(again, undefined, 'one cart was purchased twice')
        if (made === undefined) {
          await pair[0].call('clear_cart', { session })
          continue
        }
        purchases.push(made)
        if (round % 3 !== 0) keysUsed += 1
        const vote = (buyer: Caller<'buyer'>, way: 'up' | 'down') =>
          buyer.call('provide_feedback', { session, item_id: made.lines[0]?.item_id ?? 0, vote: way })
        await Promise.all([vote(pair[0], 'up'), vote(pair[1], random() < 0.5 ? 'up' : 'down')])
      }
    }

    /** The seller takes units off as well, each with a key on two connections. */
    async function takeOff(): Promise<void> {
      for (let round = 0; round < 40; round += 1) {
        const change = { session: sessions.ann, item_id: 1 + (round % 4), change: -2, idempotency_key: `off ${round}` }
        const [first, second] = await Promise.all(
          sellers.map((seller) => outcome(seller.call('update_units_for_sale', change))),
        )
        if (first instanceof CallRefused) continue
        assert.deepEqual(first, second)
        takenOff[round % 4] = (takenOff[round % 4] ?? 0) + 2
        keysUsed += 1
      }
    }

    await Promise.all([...pairs.map((pair, index) => shop(pair, shoppers[index] as string, index)), takeOff()])
    await Promise.all([...pairs.flat(), ...sellers].map((caller) => caller.close()))

    const lines = purchases.flatMap((purchase) => purchase.lines)
    assert.ok(purchases.length > 200, `only ${purchases.length} purchases`)
    for (const [index, there] of units.entries()) {
      const sold = sum(lines.filter(({ item_id }) => item_id === index + 1).map(({ quantity }) => quantity))
      assert.equal(sold + (takenOff[index] ?? 0), there, `item ${index + 1}`)
    }
    const sold = sum(lines.map(({ quantity }) => quantity))
    assert.deepEqual(await totals(), {
      ...{ unitsLeft: 0, keywords: 0, filledCarts: 0, answers: keysUsed },
      ...{ purchases: purchases.length, cents: sum(purchases.map(({ total_cents }) => total_cents)) },
      ...{ lines: lines.length, unitsInLines: sold, itemsSold: sold, itemsPurchased: sold },
      ...{ itemsMiscounted: 0, votesUncounted: 0 },
    })
  })

  test('waits for a locked row longer than the database does, and then has one effect', async () => {
    await stock([5])
    await play(threads, [add(1, 1), call('dan', 'make_purchase'), add(1, 1), add(1, 2, 'cat')])
    const pair = await twoConnections('buyer')
    await withConnection(marketplace.urls.product, async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT 1 FROM seller_score WHERE seller_id = ? FOR UPDATE', [ids.ann])
      const purchases = [
        pair[0].call('make_purchase', { session: sessions.dan, idempotency_key: 'k' }),
        pair[1].call('make_purchase', { session: sessions.cat }),
      ]
      await sleep(1_000 * LOCK_WAIT_S + 500)
      await holder.query('ROLLBACK')
      await Promise.all(purchases)
    })
    await Promise.all(pair.map((caller) => caller.close()))
    const { unitsLeft, purchases, itemsSold, answers } = await totals()
    assert.deepEqual(
      { unitsLeft, purchases, itemsSold, answers },
      { unitsLeft: 1, purchases: 3, itemsSold: 4, answers: 1 },
    )
  })

  async function twoConnections<R extends Role>(role: R): Promise<Pair<R>> {
    return [await connectTo(threads, role), await connectTo(threads, role)]
  }

  /** A session of a buyer who has no password. */
  async function openSession(buyerId: number): Promise<string> {
    const session = `of buyer ${buyerId}`
    const hash = createHash('sha256').update(session).digest('base64url')
    const sql = "INSERT INTO session VALUES (?, 'buyer', ?, UNIX_TIMESTAMP() + 3600, UNIX_TIMESTAMP() + 3600)"
    await marketplace.sql('customer', sql, [hash, buyerId])
    return session
  }

  async function totals(): Promise<Record<string, number>> {
    const votes = "(SELECT COUNT(*) FROM feedback WHERE item_id = id AND vote = 'up')"
    const queries = {
      unitsLeft: 'SELECT SUM(quantity) FROM item',
      keywords: 'SELECT COUNT(*) FROM item_keyword',
      filledCarts: "SELECT COUNT(*) FROM cart WHERE content <> ''",
      answers: 'SELECT COUNT(*) FROM idempotency',
      purchases: 'SELECT COUNT(*) FROM purchase',
      cents: 'SELECT SUM(total_cents) FROM purchase',
      lines: 'SELECT COUNT(*) FROM purchase_line',
      unitsInLines: 'SELECT SUM(quantity) FROM purchase_line',
      itemsSold: 'SELECT SUM(items_sold) FROM seller_score',
      itemsPurchased: 'SELECT SUM(items_purchased) FROM buyer_score',
      itemsMiscounted: `SELECT COUNT(*) FROM item WHERE thumbs_up <> ${votes}`,
      votesUncounted: 'SELECT (SELECT COUNT(*) FROM feedback) - SUM(thumbs_up + thumbs_down) FROM seller_score',
    }
    const found: Record<string, number> = {}
    for (const [name, sql] of Object.entries(queries)) {
      const [row] = await marketplace.sql('product', sql)
      found[name] = Number(Object.values(row as object)[0])
    }
    return found
  }
})

type Purchase = Result<'buyer', 'make_purchase'>
type Pair<R extends Role> = readonly [Caller<R>, Caller<R>]

/** What came of a call: that there is nothing left is no error here; anything else is. */
function outcome<T>(calling: Promise<T>): Promise<T | CallRefused> {
  return calling.catch((error) => {
    if (error instanceof CallRefused && ['out_of_stock', 'cart_empty'].includes(error.code)) return error
    throw error
  })
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Replies and rows without what may differ: ids of purchases and items made (their order may not), clocks, wording. */
function comparable(value: { replies: Reply[]; rows: object }): { replies: unknown[]; rows: unknown } {
  const purchaseIds = [...new Set(JSON.stringify(value).match(/(?<="purchase_id":)\d+/g))].sort((a, b) => +a - +b)
  const essence = JSON.stringify(value, (name, part) => {
    if (name === 'message' || name === 'fields') return undefined
    if (name === 'purchased_at') return Math.abs(part - Date.now() / 1_000) < 60
    if (name === 'purchase_id' || name === 'next_cursor') return purchaseIds.indexOf(String(part))
    return part
  })
  return JSON.parse(essence)
}
