/**
 * Calls that change rows, in company: a row that somebody else holds delays
 * those who need it and nobody else, and a call that the database refuses
 * fails alone.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { withConnection } from '../../src/db/connect.ts'
import type { RowId } from '../../src/db/plan.ts'
import { anItem, Caller, Wire } from '../support/clients.ts'
import type { RunningServer } from '../support/marketplace.ts'
import { type AccountSession, hashToken } from '../support/sessions.ts'
import {
  callTogether,
  openShop,
  type RawCall,
  resultOrCode,
  SHOP_SETTINGS,
  type Shop,
  sendTogether,
  withRowsHeld,
} from '../support/shop.ts'

let shop: Shop
let ann: AccountSession
let dan: AccountSession

before(async () => {
  shop = await openShop()
  ;[ann, dan] = await Promise.all([shop.newSeller(), shop.newSeller()])
})
after(() => shop?.close())

const rowOf = {
  item: (id: number): Row => ({ table: 'item', key: 'id', id }),
  cart: ({ session }: AccountSession): Row => ({ table: 'cart', key: 'session_hash', id: hashToken(session) }),
  savedCart: ({ id }: AccountSession): Row => ({ table: 'saved_cart', key: 'buyer_id', id }),
  sellerScore: ({ id }: AccountSession): Row => ({ table: 'seller_score', key: 'seller_id', id }),
  buyerScore: ({ id }: AccountSession): Row => ({ table: 'buyer_score', key: 'buyer_id', id }),
}

const plenty = (count: number, seller = ann) =>
  shop.register(seller, ...Array.from({ length: count }, () => ({ quantity: 1_000, price_cents: 1 })))

async function itemOf(seller: AccountSession): Promise<number> {
  return (await plenty(1, seller))[0] as number
}

/** Buyers who have a cart with these lines. */
async function buyersWith(count: number, ...lines: [number, number][]): Promise<AccountSession[]> {
  const buyers = await shop.newBuyers(count)
  await Promise.all(buyers.map((bob) => shop.add(bob, ...lines)))
  return buyers
}

/** Buyers who have purchased the item. */
async function ownersOf(count: number, item: number): Promise<AccountSession[]> {
  const buyers = await shop.newBuyers(count)
  await Promise.all(buyers.map((bob) => shop.purchase(bob, [item, 1])))
  return buyers
}

/** Sessions of one buyer, each with a cart of its own that has this item in it. */
async function sessionsWith(count: number, item: number): Promise<AccountSession[]> {
  const bob = await shop.newBuyer()
  const sessions = await Promise.all(Array.from({ length: count }, () => shop.newSession(bob)))
  await Promise.all(sessions.map((party) => shop.add(party, [item, 1])))
  return sessions
}

const each = (parties: readonly AccountSession[], method: string, params: object = {}): RawCall[] =>
  parties.map(({ session }) => [method, { session, ...params }])
const times = (count: number, method: string, params: object): RawCall[] => Array(count).fill([method, params])

const HALF = 10

/** Calls of one operation of which some need a row, and as many others don't. */
interface Company {
  server: RunningServer
  held: Row
  needing: readonly RawCall[]
  free: readonly RawCall[]
}

async function itemChanges(method: string, params: object): Promise<Company> {
  const [held, ...others] = (await plenty(1 + HALF)) as [number, ...number[]]
  return {
    server: shop.sellers,
    held: rowOf.item(held),
    needing: times(HALF, method, { session: ann.session, item_id: held, ...params }),
    free: others.map((item_id) => [method, { session: ann.session, item_id, ...params }]),
  }
}

async function cartCalls(method: string, paramsOf = (_item: number): object => ({})): Promise<Company> {
  const item = await itemOf(ann)
  const [bob, ...others] = (await buyersWith(1 + HALF, [item, 50])) as [AccountSession, ...AccountSession[]]
  return {
    server: shop.buyers,
    held: rowOf.cart(bob),
    needing: times(HALF, method, { session: bob.session, ...paramsOf(item) }),
    free: each(others, method, paramsOf(item)),
  }
}

const companies: Record<string, () => Promise<Company>> = {
  'an item: change_item_price': () => itemChanges('change_item_price', { price_cents: 5 }),
  'an item: update_units_for_sale': () => itemChanges('update_units_for_sale', { change: 1 }),
  'an item: make_purchase': async () => {
    const [held, other] = (await plenty(2)) as [number, number]
    const needing = each(await buyersWith(HALF, [held, 1]), 'make_purchase')
    const free = each(await buyersWith(HALF, [other, 1]), 'make_purchase')
    return { server: shop.buyers, held: rowOf.item(held), needing, free }
  },
  'an item: provide_feedback': async () => {
    const [held, other] = (await plenty(2)) as [number, number]
    const needing = each(await ownersOf(HALF, held), 'provide_feedback', { item_id: held, vote: 'up' })
    const free = each(await ownersOf(HALF, other), 'provide_feedback', { item_id: other, vote: 'up' })
    return { server: shop.buyers, held: rowOf.item(held), needing, free }
  },
  'a cart: add_item_to_cart': () => cartCalls('add_item_to_cart', (item_id) => ({ item_id, quantity: 1 })),
  'a cart: remove_item_from_cart': () => cartCalls('remove_item_from_cart', (item_id) => ({ item_id, quantity: 1 })),
  'a cart: save_cart': () => cartCalls('save_cart'),
  'a cart: clear_cart': () => cartCalls('clear_cart'),
  'a cart: display_cart': () => cartCalls('display_cart'),
  'a cart: make_purchase': async () => {
    const { needing, ...company } = await cartCalls('make_purchase')
    return { ...company, needing: needing.slice(0, 1) } // the others would find it empty
  },
  'a seller’s score: make_purchase': async () => {
    const [held, other] = [await itemOf(ann), await itemOf(dan)]
    await ownersOf(1, held)
    const needing = each(await buyersWith(HALF, [held, 1]), 'make_purchase')
    const free = each(await buyersWith(HALF, [other, 1]), 'make_purchase')
    return { server: shop.buyers, held: rowOf.sellerScore(ann), needing, free }
  },
  'a seller’s score: provide_feedback': async () => {
    const [held, other] = [await itemOf(ann), await itemOf(dan)]
    const needing = each(await ownersOf(HALF, held), 'provide_feedback', { item_id: held, vote: 'down' })
    const free = each(await ownersOf(HALF, other), 'provide_feedback', { item_id: other, vote: 'down' })
    return { server: shop.buyers, held: rowOf.sellerScore(ann), needing, free }
  },
  'a buyer’s score: make_purchase': async () => {
    const [held, other] = (await plenty(2)) as [number, number]
    const sessions = (await sessionsWith(HALF, held)) as [AccountSession, ...AccountSession[]]
    await shop.purchase(await shop.newSession(sessions[0]), [held, 1])
    const needing = each(sessions, 'make_purchase')
    const free = each(await buyersWith(HALF, [other, 1]), 'make_purchase')
    return { server: shop.buyers, held: rowOf.buyerScore(sessions[0]), needing, free }
  },
  'a saved cart: save_cart': async () => {
    const item = await itemOf(ann)
    const sessions = (await sessionsWith(HALF, item)) as [AccountSession, ...AccountSession[]]
    await shop.buyer.call('save_cart', { session: sessions[0].session })
    const free = each(await buyersWith(HALF, [item, 1]), 'save_cart')
    return { server: shop.buyers, held: rowOf.savedCart(sessions[0]), needing: each(sessions, 'save_cart'), free }
  },
}

describe('a row that somebody else holds', () => {
  for (const [about, prepare] of Object.entries(companies)) {
    it(`keeps waiting those who need it, and nobody of their batch who does not; ${about}`, async () => {
      const { server, held, needing, free } = await prepare()
      const wire = await Wire.connect(server)
      const calls = free.flatMap((call, index) => [...needing.slice(index, index + 1), call])
      await withRowsHeld(shop.marketplace, [held], async () => {
        sendTogether(wire, calls)
        const answered = await wire.replies(free.length)
        for (const [id, { error }] of answered) {
          assert.ok(free.includes(calls[id as number] as RawCall), `answered while its row is held: ${error?.message}`)
          assert.equal(error, undefined)
        }
      })
      for (const { error } of (await wire.replies(needing.length)).values()) assert.equal(error, undefined)
      wire.destroy()
    })
  }

  it('is not waited for by who has only to read it: a session’s first look at a saved cart', async () => {
    const item = await itemOf(ann)
    const [bob] = (await sessionsWith(1, item)) as [AccountSession]
    await shop.buyer.call('save_cart', { session: bob.session })
    const newcomers = [await shop.newSession(bob), ...(await shop.newBuyers(5))]
    const replies = await withRowsHeld(shop.marketplace, [rowOf.savedCart(bob)], () =>
      callTogether(shop.buyers, each(newcomers, 'display_cart')),
    )
    const counts = replies.map(({ result }) => (result?.lines as unknown[] | undefined)?.length)
    assert.deepEqual(counts, [1, 0, 0, 0, 0, 0])
  })

  it('is done with when it is free: each call has its effect once', async () => {
    const item = await itemOf(ann)
    const params = { session: ann.session, item_id: item, change: 1 }
    const keyed = (key: number): RawCall => ['update_units_for_sale', { ...params, idempotency_key: `${item} ${key}` }]
    const calls = [...times(20, 'update_units_for_sale', params), ...[1, 2, 1, 3].map(keyed)]
    const wire = await Wire.connect(shop.sellers)
    await withRowsHeld(shop.marketplace, [rowOf.item(item)], async () => {
      sendTogether(wire, calls)
      await shop.seller.call('display_items_for_sale', { session: ann.session, limit: 1 })
    })
    const replies = await wire.replies(calls.length)
    const quantities = calls.map((_, id) => replies.get(id)?.result?.quantity as number)
    assert.equal(quantities[20], quantities[22], 'one key, one answer')
    const counted = [...new Set(quantities)].toSorted((a, b) => a - b)
    assert.deepEqual(
      counted,
      Array.from({ length: 23 }, (_, index) => 1_001 + index),
    )
    assert.equal((await shop.item(item)).quantity, 1_023)
    wire.destroy()
  })

  it('is waited for as long as there is time, also by who comes late', async () => {
    const item = await itemOf(ann)
    const wire = await Wire.connect(shop.sellers)
    const raise = () =>
      sendTogether(wire, times(1, 'update_units_for_sale', { session: ann.session, item_id: item, change: 1 }))
    await withRowsHeld(shop.marketplace, [rowOf.item(item)], async () => {
      for (let comes = 0; comes < 4; comes += 1) {
        raise()
        await sleep(600)
      }
    })
    const replies = [await wire.reply(), await wire.reply(), await wire.reply(), await wire.reply()]
    assert.deepEqual(replies.map((reply) => reply?.result?.quantity).toSorted(), [1_001, 1_002, 1_003, 1_004])
    wire.destroy()
  })

  it('for too long is answered timeout in time, and then nothing has been done', async () => {
    const [sellers, buyers] = await Promise.all([
      shop.marketplace.serve('seller', { ...SHOP_SETTINGS, limitRequestMs: 500 }),
      shop.marketplace.serve('buyer', { ...SHOP_SETTINGS, limitRequestMs: 500 }),
    ])
    const [item, other] = (await plenty(2)) as [number, number]
    const [owner, ...carts] = (await buyersWith(4, [other, 2])) as [
      AccountSession,
      AccountSession,
      AccountSession,
      AccountSession,
    ]
    await shop.purchase(owner, [item, 1])
    const [shopping, saving, purchasing] = carts
    await shop.buyer.call('save_cart', { session: saving.session })
    const [customer] = (await ownersOf(1, other)) as [AccountSession]
    await shop.add(customer, [other, 2])
    const [ofDan] = (await ownersOf(1, await itemOf(dan))) as [AccountSession]
    await shop.add(ofDan, [await itemOf(dan), 1])
    await shop.add(purchasing, [item, 1])
    const calls: [RunningServer, RawCall][] = [
      [sellers, ['change_item_price', { session: ann.session, item_id: item, price_cents: 9 }]],
      [sellers, ['update_units_for_sale', { session: ann.session, item_id: item, change: 9 }]],
      [buyers, ['provide_feedback', { session: owner.session, item_id: item, vote: 'up' }]],
      [buyers, ['make_purchase', { session: purchasing.session }]], // the item
      [buyers, ['make_purchase', { session: customer.session }]], // the buyer's score
      [buyers, ['make_purchase', { session: ofDan.session }]], // the seller's
      [buyers, ['add_item_to_cart', { session: shopping.session, item_id: other, quantity: 1 }]],
      [buyers, ['clear_cart', { session: shopping.session }]],
      [buyers, ['save_cart', { session: saving.session }]],
    ]
    const held = [
      ...[rowOf.item(item), rowOf.cart(shopping), rowOf.savedCart(saving)],
      ...[rowOf.buyerScore(customer), rowOf.sellerScore(dan)],
    ]
    const before = await shop.snapshot()
    await withRowsHeld(shop.marketplace, held, async () => {
      const begunMs = performance.now()
      const replies = await Promise.all(calls.map(async ([server, call]) => (await callTogether(server, [call]))[0]))
      assert.ok(performance.now() - begunMs < 1_500, 'answered more than a second after the time for a request')
      for (const [index, reply] of replies.entries()) {
        const [, [method]] = calls[index] as (typeof calls)[number]
        assert.deepEqual([method, reply?.error?.data], [method, { code: 'timeout', outcome: 'none' }])
      }
      assert.deepEqual(await shop.snapshot(), before)
    })
    for (const [server, call] of calls) {
      const [reply] = await callTogether(server, [call])
      assert.equal(reply?.error, undefined, `${call[0]}: ${reply?.error?.message}`)
    }
    await Promise.all([sellers, buyers].map(({ program }) => program.end()))
  })

  it('takes next to nothing from what others get done meanwhile', async () => {
    const [held, ...items] = (await plenty(1 + 8)) as [number, ...number[]]
    const [bob, ...buyers] = (await buyersWith(1 + 4, [held, 1])) as [AccountSession, ...AccountSession[]]
    await Promise.all(buyers.map(({ session }) => shop.buyer.call('clear_cart', { session })))
    const counts = { free: 0, held: 0 }
    let window: keyof typeof counts | undefined
    let over = false
    async function goOn(work: () => Promise<unknown>): Promise<void> {
      while (!over) {
        await work()
        if (window !== undefined) counts[window] += 1
      }
    }
    const working = [
      ...items.slice(0, 4).map((item_id) => {
        return goOn(() => shop.seller.call('update_units_for_sale', { session: ann.session, item_id, change: 1 }))
      }),
      ...buyers.map((party, index) => goOn(() => shop.purchase(party, [items[4 + index] as number, 1]))),
    ]
    const wires = [await Wire.connect(shop.sellers), await Wire.connect(shop.buyers)] as const
    const lasts = () => sleep(200)
    for (let round = 0; round < 5; round += 1) {
      window = 'free'
      await lasts()
      window = undefined
      await withRowsHeld(shop.marketplace, [rowOf.item(held), rowOf.cart(bob)], async () => {
        sendTogether(wires[0], times(5, 'update_units_for_sale', { session: ann.session, item_id: held, change: 1 }))
        sendTogether(wires[1], times(5, 'add_item_to_cart', { session: bob.session, item_id: held, quantity: 1 }))
        window = 'held'
        await lasts()
        window = undefined
      })
      for (const wire of wires) for (const { error } of (await wire.replies(5)).values()) assert.equal(error, undefined)
    }
    over = true
    await Promise.all(working)
    for (const wire of wires) wire.destroy()
    assert.ok(counts.free > 0 && counts.held > counts.free * 0.6, JSON.stringify(counts)) // 0.95, but for the noise
  })
})

describe('several rows that are held', () => {
  it('by two others are waited for by whom they concern, each as long as it takes', async () => {
    const [one, two, none] = (await plenty(3)) as [number, number, number]
    const needsOne = await buyersWith(3, [one, 1], [none, 1])
    const needsTwo = await buyersWith(3, [two, 1])
    const needsBoth = await buyersWith(3, [one, 1], [two, 1])
    const needsNone = await buyersWith(3, [none, 1])
    const all = [needsOne, needsTwo, needsBoth, needsNone]
    const calls = all.flatMap((buyers) => each(buyers, 'make_purchase'))
    const wire = await Wire.connect(shop.buyers)
    const answered = async () => {
      const replies = await wire.replies(3)
      for (const { error } of replies.values()) assert.equal(error, undefined)
      return [...replies.keys()].map(Number).toSorted((a, b) => a - b)
    }
    await withRowsHeld(shop.marketplace, [rowOf.item(two)], async () => {
      await withRowsHeld(shop.marketplace, [rowOf.item(one)], async () => {
        sendTogether(wire, calls)
        assert.deepEqual(await answered(), [9, 10, 11])
      })
      assert.deepEqual(await answered(), [0, 1, 2])
    })
    assert.deepEqual([...(await answered()), ...(await answered())].toSorted(), [3, 4, 5, 6, 7, 8])
    const left = await Promise.all([one, two, none].map(async (item) => (await shop.item(item)).quantity))
    assert.deepEqual(left, [994, 994, 994])
    wire.destroy()
  })

  it('in turns, by those who take them again at once, are got one after the other', async () => {
    const items = await plenty(6)
    const [bob] = (await buyersWith(1, ...items.map((item): [number, number] => [item, 1]))) as [AccountSession]
    const hold = () => sleep(10 + Math.random() * 30)
    let over = false
    async function holdAgainAndAgain(item: number): Promise<void> {
      await withConnection(shop.marketplace.urls.product, async (connection) => {
        await connection.query('SET autocommit = 0')
        while (!over) {
          const freed = connection.query('ROLLBACK') // with the next lock close behind it in the pipe
          await Promise.all([freed, connection.query('SELECT 1 FROM item WHERE id = ? FOR UPDATE', [item])])
          await hold()
        }
      })
    }
    const holding = items.map(holdAgainAndAgain)
    await hold()
    const [reply] = await callTogether(shop.buyers, each([bob], 'make_purchase'))
    over = true
    await Promise.all(holding)
    assert.equal((reply?.result?.lines as unknown[] | undefined)?.length, 6, reply?.error?.message)
  })

  it('more than there are connections keep nobody from what is free', async () => {
    const small = await shop.marketplace.serve('seller', { ...SHOP_SETTINGS, dbConnections: 2 })
    const held = await plenty(7)
    const free = await plenty(20)
    const raise = (item_id: number): RawCall => ['update_units_for_sale', { session: ann.session, item_id, change: 1 }]
    const wire = await Wire.connect(small)
    await withRowsHeld(shop.marketplace, held.map(rowOf.item), async () => {
      sendTogether(wire, [...held, ...free].map(raise))
      const first = await wire.replies(20)
      assert.ok([...first.keys()].every((id) => Number(id) >= 7))
      for (let again = 0; again < 10; again += 1) {
        const replies = await callTogether(small, free.map(raise))
        assert.deepEqual(replies.map(resultOrCode), Array(20).fill({ quantity: 1_002 + again }))
      }
    })
    const rest = await wire.replies(7)
    for (const { result } of rest.values()) assert.deepEqual(result, { quantity: 1_001 })
    wire.destroy()
    await small.program.end()
  })

  it('more than there are connections are each got when they are free, whoever waits for the others', async () => {
    const small = await shop.marketplace.serve('seller', { ...SHOP_SETTINGS, dbConnections: 2 })
    const [last, ...held] = (await plenty(1 + 7)) as [number, ...number[]]
    const wire = await Wire.connect(small)
    await withRowsHeld(shop.marketplace, held.map(rowOf.item), async () => {
      await withRowsHeld(shop.marketplace, [rowOf.item(last)], async () => {
        const raise = { session: ann.session, change: 1 }
        const calls = [...held, last].map((item_id): RawCall => ['update_units_for_sale', { ...raise, item_id }])
        sendTogether(wire, calls)
        await sleep(1_000) // longer than anybody keeps a connection to wait with
      })
      assert.equal((await wire.reply())?.id, 7)
    })
    assert.equal((await wire.replies(7)).size, 7)
    wire.destroy()
    await small.program.end()
  })

  it('more than there are connections keep nobody from what others have for a moment only', async () => {
    const settings = { ...SHOP_SETTINGS, dbConnections: 2 }
    const small = await Promise.all([1, 2].map(() => shop.marketplace.serve('seller', settings)))
    const [wanted, ...held] = (await plenty(1 + 7)) as [number, ...number[]]
    const { session } = ann
    const wires = await Promise.all(small.map((server) => Wire.connect(server)))
    const callers = await Promise.all([...small, ...small, ...small, ...small].map((server) => Caller.connect(server)))
    // Whoever holds rows for ten seconds is cut off, which fails the test.
    await withRowsHeld(shop.marketplace, held.map(rowOf.item), async () => {
      for (const wire of wires) {
        const calls = held.map((item_id): RawCall => ['update_units_for_sale', { session, item_id, change: 1 }])
        sendTogether(wire, calls)
      }
      await Promise.all(
        callers.map(async (caller) => {
          for (let price_cents = 1; price_cents <= 50; price_cents += 1) {
            await caller.call('change_item_price', { session, item_id: wanted, price_cents })
            await caller.call('update_units_for_sale', { session, item_id: wanted, change: 1 })
          }
        }),
      )
    })
    for (const wire of wires) for (const { error } of (await wire.replies(7)).values()) assert.equal(error, undefined)
    assert.equal((await shop.item(wanted)).quantity, 1_000 + callers.length * 50)
    await Promise.all(callers.map((caller) => caller.close()))
    for (const wire of wires) wire.destroy()
    await Promise.all(small.map(({ program }) => program.end()))
  })
})

describe('a purchase that waits for one of its items', () => {
  it('keeps nobody from the others, and gets them all in the end', async () => {
    const [free, held, also] = (await plenty(3)) as [number, number, number]
    const [bob] = (await buyersWith(1, [free, 10], [held, 1], [also, 10])) as [AccountSession]
    const [carl, eve] = (await ownersOf(2, free)) as [AccountSession, AccountSession]
    await shop.add(eve, [also, 1], [free, 1])
    const wire = await Wire.connect(shop.buyers)
    await withRowsHeld(shop.marketplace, [rowOf.item(held)], async () => {
      sendTogether(wire, each([bob], 'make_purchase'))
      const untilMs = performance.now() + 1_000
      for (let round = 0; round < 5 || performance.now() < untilMs; round += 1) {
        const { session } = ann
        await shop.seller.call('change_item_price', { session, item_id: free, price_cents: round })
        await shop.seller.call('update_units_for_sale', { session, item_id: also, change: 1 })
        await shop.buyer.call('provide_feedback', { session: carl.session, item_id: free, vote: 'up' })
        await shop.purchase(eve, [free, 1])
      }
      await shop.seller.call('change_item_price', { session: ann.session, item_id: free, price_cents: 777 })
    })
    const { result } = (await wire.reply()) ?? {}
    assert.equal(result?.total_cents, 10 * 777 + 1 + 10)
    wire.destroy()
  })
})

/** What the database may say of a row: by error number, with its SQLSTATE. */
const FAULTS = {
  4025: '23000', // a constraint
  1264: '22003', // out of range
  1690: '22003', // out of range, in a sum
  1406: '22001', // too long
  1366: '22007', // truncated
  1644: '45000', // a signal
  1062: '23000', // a duplicate, though of no key of ours
} as const

const POISON_AT = 17
const COMPANY = 256

describe('a call that the database refuses, among 255 others in one segment', () => {
  /** While `work` goes on, such rows of the table are refused in this way. */
  async function poisoned(
    table: string,
    when: 'INSERT' | 'UPDATE',
    which: string,
    fault: keyof typeof FAULTS,
    work: () => Promise<void>,
  ): Promise<void> {
    const signal = `SIGNAL SQLSTATE '${FAULTS[fault]}' SET MYSQL_ERRNO = ${fault}, MESSAGE_TEXT = 'poison'`
    const trigger = `CREATE TRIGGER poison BEFORE ${when} ON ${table} FOR EACH ROW IF ${which} THEN ${signal}; END IF`
    await shop.marketplace.sql('product', trigger)
    await work().finally(() => shop.marketplace.sql('product', 'DROP TRIGGER poison'))
  }

  /** Sends the calls; the one at its place must have failed, and no other. */
  async function allButOne(server: RunningServer, calls: readonly RawCall[]): Promise<Record<string, unknown>[]> {
    const replies = await callTogether(server, calls)
    const failed = replies.flatMap(({ error }, id) => (error === undefined ? [] : [[id, error.data]]))
    assert.deepEqual(failed, [[POISON_AT, { code: 'internal' }]])
    return replies.flatMap(({ result }) => (result === undefined ? [] : [result]))
  }

  const keyAt = (index: number, name: string) => (index % 3 === 2 ? { idempotency_key: `${name} ${index}` } : {})

  for (const fault of [1690, 1062] as const) {
    it(`fails alone, and leaves nothing: a purchase, with error ${fault}`, async () => {
      const [item, poison] = (await plenty(2)) as [number, number]
      const buyers = await shop.newBuyers(COMPANY)
      const adds = each(buyers, 'add_item_to_cart', { item_id: item, quantity: 1 })
      await callTogether(shop.buyers, adds)
      const victim = buyers[POISON_AT] as AccountSession
      await shop.add(victim, [poison, 2])
      const calls = buyers.map(({ session }, index): RawCall => {
        return ['make_purchase', { session, ...keyAt(index, `purchase ${fault}`) }]
      })
      await poisoned('purchase_line', 'INSERT', `NEW.item_id = ${poison}`, fault, async () => {
        const purchases = await allButOne(shop.buyers, calls)
        assert.equal(new Set(purchases.map(({ purchase_id }) => purchase_id)).size, COMPANY - 1)
      })
      const sold = `SELECT COUNT(*), COUNT(DISTINCT buyer_id), CAST(SUM(quantity) AS SIGNED)
        FROM purchase_line WHERE item_id = ?`
      assert.deepEqual(await shop.rows(sold, [item]), [[COMPANY - 1, COMPANY - 1, COMPANY - 1]])
      const quantities = await Promise.all([item, poison].map(async (id) => (await shop.item(id)).quantity))
      assert.deepEqual(quantities, [1_000 - (COMPANY - 1), 1_000])
      assert.deepEqual(await shop.cartLines(victim), [
        [item, 1],
        [poison, 2],
      ])
      for (const table of ['purchase', 'purchase_line', 'buyer_score']) {
        assert.deepEqual(await shop.rows(`SELECT 1 FROM ${table} WHERE buyer_id = ?`, [victim.id]), [], table)
      }
      const keys = 'SELECT 1 FROM idempotency WHERE role = ? AND account_id = ?'
      assert.deepEqual(await shop.rows(keys, ['buyer', victim.id]), [])
      const again = await callTogether(shop.buyers, [calls[POISON_AT] as RawCall])
      assert.equal(again[0]?.error, undefined, 'its key is free')
    })
  }

  it('fails alone, and leaves nothing: units put into a cart', async () => {
    const [item, poison] = (await plenty(2)) as [number, number]
    const buyers = await shop.newBuyers(COMPANY)
    const calls = buyers.map(({ session }, index): RawCall => {
      const item_id = index === POISON_AT ? poison : item
      return ['add_item_to_cart', { session, item_id, quantity: 1, ...keyAt(index, 'cart') }]
    })
    await poisoned('cart', 'UPDATE', `NEW.content LIKE '${poison}:%'`, 1406, async () => {
      for (const result of await allButOne(shop.buyers, calls)) assert.deepEqual(result, { quantity: 1 })
    })
    const carts = await callTogether(shop.buyers, each(buyers, 'display_cart'))
    const empty = carts.map(({ result }) => JSON.stringify(result)).indexOf('{"lines":[]}')
    assert.equal(empty, POISON_AT)
  })

  it('fails alone, and leaves nothing: a session’s first look at its cart', async () => {
    const buyers = await shop.newBuyers(COMPANY)
    const victim = buyers[POISON_AT] as AccountSession
    await poisoned('cart', 'INSERT', `NEW.buyer_id = ${victim.id}`, 1644, async () => {
      for (const result of await allButOne(shop.buyers, each(buyers, 'display_cart'))) {
        assert.deepEqual(result, { lines: [] })
      }
    })
    const carts = await shop.rows(`SELECT buyer_id FROM cart WHERE buyer_id IN (${buyers.map(({ id }) => id)})`)
    assert.equal(carts.length, COMPANY - 1)
    assert.deepEqual(await shop.cartLines(victim), [])
  })

  it('fails alone, and leaves nothing: units put on sale', async () => {
    const [poison, ...others] = (await plenty(64)) as [number, ...number[]]
    const calls = Array.from({ length: COMPANY }, (_, index): RawCall => {
      const item_id = index === POISON_AT ? poison : others[index % 63]
      return ['update_units_for_sale', { session: ann.session, item_id, change: 1, ...keyAt(index, 'units') }]
    })
    await poisoned('item', 'UPDATE', `NEW.id = ${poison}`, 1264, async () => {
      await allButOne(shop.sellers, calls)
    })
    const ids = `${[poison, ...others]}`
    const sum = await shop.rows(`SELECT CAST(SUM(quantity) AS SIGNED) FROM item WHERE id IN (${ids})`)
    assert.deepEqual(sum, [[64 * 1_000 + COMPANY - 1]])
    assert.equal((await shop.item(poison)).quantity, 1_000)
  })

  for (const [fault, category] of [
    [4025, 90],
    [1366, 91],
  ] as const) {
    it(`fails alone, and leaves nothing: a registration, with error ${fault}`, async () => {
      const calls = Array.from({ length: COMPANY }, (_, index): RawCall => {
        const item = anItem({ name: index === POISON_AT ? 'poison' : `number ${index}`, category })
        return ['register_item_for_sale', { session: ann.session, ...item, ...keyAt(index, `register ${fault}`) }]
      })
      await poisoned('item', 'INSERT', "NEW.name = 'poison'", fault, async () => {
        await allButOne(shop.sellers, calls)
      })
      const names = (await shop.rows('SELECT name FROM item WHERE category = ?', [category])).flat()
      const good = calls.flatMap((_, index) => (index === POISON_AT ? [] : [`number ${index}`]))
      assert.deepEqual(names.toSorted(), good.toSorted())
      const words = 'SELECT keyword, COUNT(*) FROM item_keyword WHERE category = ? GROUP BY keyword'
      assert.deepEqual(await shop.rows(words, [category]), [
        ['', COMPANY - 1],
        ['lamp', COMPANY - 1],
      ])
    })
  }

  it('fails alone also where no trigger speaks but a column is full: a vote', async () => {
    const [full, other] = (await plenty(2)) as [number, number]
    const [fan] = (await ownersOf(1, full)) as [AccountSession]
    const owners = await ownersOf(20, other)
    await shop.marketplace.sql('product', 'UPDATE item SET thumbs_up = 4294967295 WHERE id = ?', [full])
    const votes = [...each([fan], 'provide_feedback', { item_id: full, vote: 'up' })]
    votes.push(...each(owners, 'provide_feedback', { item_id: other, vote: 'up' }))
    const codes = (await callTogether(shop.buyers, votes)).map(({ error }) => error?.data.code ?? 'ok')
    assert.deepEqual(codes, ['internal', ...Array(20).fill('ok')])
    assert.deepEqual(await shop.rows('SELECT 1 FROM feedback WHERE item_id = ?', [full]), [])
    assert.equal((await shop.item(other)).thumbs_up, 20)
  })
})
