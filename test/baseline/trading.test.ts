/**
 * Trading on threads.py: the same calls get the same replies and leave the same
 * rows as on souk, each knows the keys used on the other, and nothing is sold
 * twice, however many buy at the same time.
 */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused } from '../../src/client/connection.ts'
import type { Result, Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { seeded } from '../../src/loadgen/random.ts'
import { type System, startSystem } from '../../src/loadgen/systems.ts'
import { Caller, openAccount, type Reply, Wire } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { createAccounts, openSessions } from '../support/sessions.ts'

const TABLES = [
  'item',
  'item_keyword',
  'cart',
  'saved_cart',
  'purchase',
  'purchase_line',
  'feedback',
  'seller_score',
  'buyer_score',
  'idempotency',
]
/** How long the database lets threads.py wait for a lock before it gives up. */
const LOCK_WAIT_S = 2
const ITEM = { name: 'Añejo "7" \\ \u{1f943}', category: 9, keywords: ['Rum', 'añejo'], condition: 'used' }
const POSTED = { ...ITEM, price_cents: 5, quantity: 1 }
const SESSIONS = ['ann', 'ben', 'cat', 'dan', 'dan again'] as const
/** Ann and Ben sell, Cat and Dan buy. Dan has two sessions. */
type Who = (typeof SESSIONS)[number]
/** One call. Parameters may depend on the previous reply, which has the cursor. */
type Step = readonly [Who, string, object | ((last: Reply) => object)]

function getRole(who: Who): Role {
  return who === 'ann' || who === 'ben' ? 'seller' : 'buyer'
}

describe('threads.py', () => {
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
      for (const who of SESSIONS.filter((who) => getRole(who) === role && who !== 'dan again')) {
        const { id, session, username, password } = await openAccount(caller)
        sessions[who] = session
        ids[who] = id
        if (who === 'dan') sessions['dan again'] = (await caller.call('login', { username, password })).session
      }
      await caller.close()
    }
    await marketplace.sql('product', 'SELECT SETVAL(item_id, 999)')
  })
  after(async () => {
    await Promise.all([souk?.stop(), threads?.stop()])
    await marketplace?.close()
  })

  function connectTo<R extends Role>({ ports }: System, role: R): Promise<Caller<R>> {
    return Caller.connect<R>({ role, port: ports[role] })
  }

  /** Replaces all rows by items 1, 2, 3, … of Ann with these quantities, each at a price of 100 times its id. */
  async function restock(quantities: readonly number[]): Promise<void> {
    const items = quantities.map((quantity, index) => ({ id: index + 1, quantity }))
    const onSale = items.filter(({ quantity }) => quantity > 0)
    await withConnection(marketplace.urls.product, async (connection) => {
      for (const table of TABLES) await connection.query(`DELETE FROM ${table}`)
      await connection.batch(
        'INSERT INTO item (id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity) ' +
          "VALUES (?, ?, 'Ann', ?, 7, 'lamp', 'new', ?, ?)",
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
  async function run(system: System, steps: readonly Step[]): Promise<Reply[]> {
    const wires = {
      seller: await Wire.connect({ port: system.ports.seller }),
      buyer: await Wire.connect({ port: system.ports.buyer }),
    }
    const replies: Reply[] = []
    for (const [number, [who, method, params]] of steps.entries()) {
      const given = typeof params === 'function' ? params(replies.at(-1) as Reply) : params
      const wire = wires[getRole(who)]
      wire.request(number, method, { session: sessions[who], ...given })
      replies.push((await wire.reply()) as Reply)
    }
    for (const wire of Object.values(wires)) wire.destroy()
    return replies
  }

  /** Every row that trading may leave behind, without times. */
  async function readRows(): Promise<object> {
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

  /** Runs the steps on both systems from the same rows. The replies and the final rows must be the same. */
  async function expectSameTrade(quantities: readonly number[], steps: readonly Step[]): Promise<Reply[]> {
    await restock(quantities)
    const ours = toComparable({ replies: await run(souk, steps), rows: await readRows() })
    await restock(quantities)
    const replies = await run(threads, steps)
    const theirs = toComparable({ replies, rows: await readRows() })
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

  test('adds and removes cart items as souk does', async () => {
    await expectSameTrade(
      [5, 10, 0, 20_000],
      [
        call('dan', 'display_cart'),
        add(2, 3),
        add(1, 5),
        add(2, 4),
        call('dan', 'display_cart'),
        add(1, 1),
        add(2, 4),
        add(3, 1),
        add(99, 1),
        add(4, 9_999),
        add(4, 2),
        add(4, 1),
        remove(2, 8),
        remove(3, 1),
        remove(99, 1),
        remove(2, 2),
        remove(2, 5),
        remove(2, 1),
        add(2, 1),
        call('dan', 'display_cart'),
        call('dan again', 'display_cart'),
      ],
    )
  })

  test('saves and clears carts as souk does', async () => {
    await expectSameTrade(
      [5, 5, 5],
      [
        add(2, 1),
        add(1, 2),
        call('dan', 'save_cart'),
        add(3, 3),
        call('dan again', 'save_cart'),
        call('dan again', 'display_cart'),
        call('dan', 'display_cart'),
        call('dan', 'save_cart'),
        call('dan again', 'clear_cart'),
        call('dan again', 'display_cart'),
        call('cat', 'clear_cart'),
        call('cat', 'save_cart'),
        call('cat', 'display_cart'),
      ],
    )
    for (const first of ['display_cart', 'save_cart', 'clear_cart', 'make_purchase']) {
      await expectSameTrade(
        [5],
        [
          add(1, 2),
          call('dan', 'save_cart'),
          call('dan again', first),
          add(1, 1),
          call('dan', 'save_cart'),
          call('dan again', 'display_cart'),
        ],
      )
    }
    await expectSameTrade(
      [5],
      [add(1, 2), call('dan', 'save_cart'), add(1, 1, 'dan again'), call('dan', 'display_cart')],
    )
  })

  test('accepts at most a hundred items in a cart, as souk does', async () => {
    const steps = Array.from({ length: 101 }, (_, index) => add(101 - index, 1))
    await expectSameTrade(Array(101).fill(3), [
      ...steps,
      add(50, 1),
      remove(51, 1),
      add(1, 1),
      call('dan', 'make_purchase'),
    ])
  })

  test('sells the whole cart or nothing, at the prices of the moment, as souk does', async () => {
    const replies = await expectSameTrade(
      [7, 5, 4],
      [
        call('dan', 'make_purchase'),
        add(3, 4),
        add(1, 4),
        call('dan', 'save_cart'),
        remove(3, 2),
        remove(1, 2),
        price(1, 7),
        call('dan', 'make_purchase'),
        call('dan', 'display_cart'),
        call('dan', 'make_purchase'),
        add(1, 3, 'cat'),
        add(2, 5, 'cat'),
        add(1, 1),
        change(1, -3),
        change(2, -2),
        change(3, -2),
        call('cat', 'make_purchase'),
        call('cat', 'display_cart'),
        call('dan again', 'make_purchase'),
        change(3, 2),
        call('dan again', 'make_purchase'),
        call('dan', 'make_purchase'),
        call('dan', 'get_buyer_purchases'),
        call('cat', 'get_buyer_purchases'),
        ['dan', 'get_buyer_purchases', { limit: 1 }],
        ['dan', 'get_buyer_purchases', ({ result }) => ({ limit: 1, cursor: result?.next_cursor })],
        ['dan', 'get_buyer_purchases', { cursor: '1' }],
      ],
    )
    const shortages = replies.flatMap(({ error }) =>
      error?.data.items === undefined ? [] : [error.data.items as object[]],
    )
    assert.deepEqual(
      shortages.map((items) => items.length),
      [2, 1, 1],
    )
  })

  test('takes a purchase off the saved cart, and buys only at the given total, as souk does', async () => {
    const buy = (total_cents: unknown, who: Who = 'dan'): Step => [who, 'make_purchase', { total_cents }]
    const replies = await expectSameTrade(
      [9, 9, 9],
      [
        buy(100),
        add(2, 3),
        add(1, 1),
        call('dan', 'save_cart'),
        price(1, 50),
        buy(700),
        buy(650),
        buy(-1),
        buy(null),
        buy(10 ** 15 + 1),
        add(2, 1),
        add(3, 1),
        add(3, 2, 'cat'),
        change(3, -8),
        buy(1, 'cat'),
        call('dan', 'make_purchase'),
        call('dan again', 'display_cart'),
        add(1, 2),
        call('dan', 'save_cart'),
        call('dan again', 'clear_cart'),
        add(1, 1, 'dan again'),
        buy(50, 'dan again'),
      ],
    )
    const codes = replies.flatMap(({ error }) => error?.data.code ?? [])
    const invalid = Array(3).fill('invalid_params')
    assert.deepEqual(codes, ['cart_empty', 'price_changed', ...invalid, 'out_of_stock'])
    assert.deepEqual(await marketplace.sql('product', 'SELECT content FROM saved_cart'), [{ content: '1:1' }])
  })

  test('changes prices and units as souk does', async () => {
    await expectSameTrade(
      [5, 0],
      [
        price(1, 0),
        price(1, 0),
        price(2, 1_000_000_000),
        price(1, 5, 'ben'),
        price(99, 5),
        change(1, -5),
        change(1, 0),
        change(1, 3),
        change(1, 4),
        change(2, 1_000_000),
        change(2, 1),
        change(1, -8),
        change(1, -7),
        change(1, -1),
        change(1, 1, 'ben'),
        change(99, 1),
      ],
    )
  })

  test('counts votes as souk does', async () => {
    await expectSameTrade(
      [5, 5],
      [
        vote(1, 'up'),
        vote(99, 'up'),
        add(1, 1),
        vote(1, 'up'),
        call('dan', 'make_purchase'),
        vote(1, 'up'),
        vote(1, 'up'),
        vote(1, 'down'),
        vote(2, 'up'),
        add(1, 1, 'cat'),
        call('cat', 'make_purchase'),
        vote(1, 'up', 'cat'),
        vote(1, 'up'),
      ],
    )
  })

  test('refuses the same parameters of trading operations as souk', async () => {
    const wrongCartParams = [
      {},
      { item_id: 0, quantity: 1 },
      { item_id: 1, quantity: 0 },
      { item_id: 1, quantity: 10_001 },
    ]
    const key = { item_id: 1, quantity: 1 }
    await expectSameTrade(
      [5],
      [
        ...['add_item_to_cart', 'remove_item_from_cart'].flatMap((method) =>
          wrongCartParams.map((params): Step => ['dan', method, params]),
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
        change(1, 1_000_001),
        change(1, -1_000_001),
        change(0, 1),
        price(1, -1),
        price(1, 1_000_000_001),
        ['dan', 'change_item_price', { item_id: 1, price_cents: 5 }],
      ],
    )
  })

  test('gives the stored answer for a used key, whatever has changed since, as souk does', async () => {
    const keyed = ([who, method, params]: Step, name: string): Step => {
      return [who, method, { ...params, idempotency_key: name }]
    }
    const replies = await expectSameTrade(
      [5],
      [
        keyed(add(1, 6), 'a'),
        keyed(add(1, 2), 'a'),
        keyed(add(1, 2), 'a'),
        keyed(add(1, 3), 'a'),
        add(1, 3),
        keyed(add(1, 2), 'a'),
        keyed(remove(1, 1), 'a'),
        keyed(remove(1, 4), 'b'),
        keyed(remove(1, 4), 'b'),
        keyed(call('dan', 'make_purchase'), 'c'),
        keyed(call('dan', 'make_purchase'), 'c'),
        keyed(add(1, 2), 'a'),
        keyed(add(1, 2, 'dan again'), 'a'),
        keyed(add(1, 2, 'dan again'), 'a'),
        keyed(call('dan again', 'make_purchase'), 'c'),
        keyed(['dan', 'make_purchase', { total_cents: 400 }], 'c'),
        keyed(call('cat', 'make_purchase'), 'c'),
        keyed(call('dan', 'make_purchase'), 'd'),
        keyed(change(1, -4), 'c'),
        keyed(change(1, -4), 'c'),
        keyed(change(1, -3), 'c'),
        keyed(change(1, -4), 'd'),
      ],
    )
    assert.equal(replies.filter(({ error }) => error?.data.code === 'idempotency_mismatch').length, 4)
  })

  test('knows the keys used on souk, and souk knows those used on threads.py', async () => {
    await restock([50])
    const calls: Step[] = [
      ['ann', 'register_item_for_sale', POSTED],
      ['ann', 'register_item_for_sale', { ...POSTED, keywords: [], condition: 'new' }],
      change(1, 5),
      add(1, 3),
      remove(1, 1),
      call('dan', 'make_purchase'),
    ]
    for (const [here, there] of [
      [souk, threads],
      [threads, souk],
    ] as const) {
      const steps = calls.map(([who, method, params], index): Step => {
        return [who, method, { ...params, idempotency_key: `${here.name} ${index} é` }]
      })
      const first = await run(here, steps)
      for (const { error } of first) assert.equal(error, undefined)
      const before = await readRows()
      assert.deepEqual(await run(there, steps), first)
      assert.deepEqual(await readRows(), before)
    }
  })

  test('sells nothing twice when many trade at the same time, and reports no deadlock to a client', async () => {
    const units = [300, 300, 300, 300]
    await restock(units)
    const pairs = await Promise.all(Array.from({ length: 10 }, () => twoConnections('buyer')))
    const shoppers = await withConnection(marketplace.urls.customer, async (customer) =>
      openSessions(customer, 'buyer', await createAccounts(customer, 'buyer', pairs.length), { idleS: 3_600 }),
    )
    const sellers = await twoConnections('seller')
    const purchases: Purchase[] = []
    const takenOff = [0, 0, 0, 0]
    let keysUsed = 0

    /** Buys in one session until everything is sold out. Two connections make the same calls at the same time. */
    async function shop(pair: Pair<'buyer'>, session: string, seed: number): Promise<void> {
      const random = seeded(seed)
      const soldOut = new Set<number>()
      for (let round = 0; soldOut.size < units.length; round += 1) {
        const [one = 0, other = 0] = [1, 2, 3, 4].sort(() => random() - 0.5)
        for (const item_id of [one, other]) {
          const added = await resultOrRefusal(
            pair[0].call('add_item_to_cart', { session, item_id, quantity: 1 + (round % 2) }),
          )
          if (added instanceof CallRefused && added.details.available === 0) soldOut.add(item_id)
        }
        const key = round % 3 === 0 ? {} : { idempotency_key: `round ${round}` }
        const bought = await Promise.all(
          pair.map((buyer) => resultOrRefusal(buyer.call('make_purchase', { session, ...key }))),
        )
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

    /** The seller takes units off, each time with one key over two connections. */
    async function takeOff(): Promise<void> {
      for (let round = 0; round < 40; round += 1) {
        const change = { session: sessions.ann, item_id: 1 + (round % 4), change: -2, idempotency_key: `off ${round}` }
        const [first, second] = await Promise.all(
          sellers.map((seller) => resultOrRefusal(seller.call('update_units_for_sale', change))),
        )
        if (first instanceof CallRefused) continue
        assert.deepEqual(first, second)
        takenOff[round % 4] = (takenOff[round % 4] ?? 0) + 2
        keysUsed += 1
      }
    }

    await Promise.all([...pairs.map((pair, index) => shop(pair, shoppers[index]?.session as string, index)), takeOff()])
    await Promise.all([...pairs.flat(), ...sellers].map((caller) => caller.close()))

    const lines = purchases.flatMap((purchase) => purchase.lines)
    assert.ok(purchases.length > 200, `only ${purchases.length} purchases`)
    for (const [index, quantity] of units.entries()) {
      const sold = sum(lines.filter(({ item_id }) => item_id === index + 1).map(({ quantity }) => quantity))
      assert.equal(sold + (takenOff[index] ?? 0), quantity, `item ${index + 1}`)
    }
    const sold = sum(lines.map(({ quantity }) => quantity))
    assert.deepEqual(await readTotals(), {
      unitsLeft: 0,
      keywords: 0,
      filledCarts: 0,
      answers: keysUsed,
      purchases: purchases.length,
      cents: sum(purchases.map(({ total_cents }) => total_cents)),
      purchaseLines: lines.length,
      unitsInPurchaseLines: sold,
      itemsSold: sold,
      itemsPurchased: sold,
      itemsMiscounted: 0,
      votesUncounted: 0,
    })
  })

  test('waits longer for a locked row than the database does, and then a call has one effect', async () => {
    await restock([5])
    await run(threads, [add(1, 1), call('dan', 'make_purchase'), add(1, 1), add(1, 2, 'cat')])
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
    const { unitsLeft, purchases, itemsSold, answers } = await readTotals()
    assert.deepEqual(
      { unitsLeft, purchases, itemsSold, answers },
      { unitsLeft: 1, purchases: 3, itemsSold: 4, answers: 1 },
    )
  })

  async function twoConnections<R extends Role>(role: R): Promise<Pair<R>> {
    return [await connectTo(threads, role), await connectTo(threads, role)]
  }

  async function readTotals(): Promise<Record<string, number>> {
    const votes = "(SELECT COUNT(*) FROM feedback WHERE item_id = id AND vote = 'up')"
    const queries = {
      unitsLeft: 'SELECT SUM(quantity) FROM item',
      keywords: 'SELECT COUNT(*) FROM item_keyword',
      filledCarts: "SELECT COUNT(*) FROM cart WHERE content <> ''",
      answers: 'SELECT COUNT(*) FROM idempotency',
      purchases: 'SELECT COUNT(*) FROM purchase',
      cents: 'SELECT SUM(total_cents) FROM purchase',
      purchaseLines: 'SELECT COUNT(*) FROM purchase_line',
      unitsInPurchaseLines: 'SELECT SUM(quantity) FROM purchase_line',
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

/** Resolves to the result, or to a refusal because nothing is left; rejects with any other. */
function resultOrRefusal<T>(calling: Promise<T>): Promise<T | CallRefused> {
  return calling.catch((error) => {
    if (error instanceof CallRefused && ['out_of_stock', 'cart_empty'].includes(error.code)) return error
    throw error
  })
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Replies and rows without wording and times, and with purchase ids replaced by their order. */
function toComparable(value: { replies: Reply[]; rows: object }): { replies: unknown[]; rows: unknown } {
  const purchaseIds = [...new Set(JSON.stringify(value).match(/(?<="purchase_id":)\d+/g))].sort((a, b) => +a - +b)
  const text = JSON.stringify(value, (name, part) => {
    if (name === 'message' || name === 'fields') return undefined
    if (name === 'purchased_at') return Math.abs(part - Date.now() / 1_000) < 60
    if (name === 'purchase_id' || name === 'next_cursor') return purchaseIds.indexOf(String(part))
    return part
  })
  return JSON.parse(text)
}
