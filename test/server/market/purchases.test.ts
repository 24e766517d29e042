/**
 * Purchases: of a whole cart or nothing, at the prices of that moment, and never
 * of more units than are on sale; and the buyer's list of purchases.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Result } from '../../../src/contract/operations.ts'
import { Caller, openAccount } from '../../support/clients.ts'
import type { RunningServer } from '../../support/marketplace.ts'
import type { AccountSession, NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, resultOrCode, SHOP_SETTINGS, type Shop } from '../../support/shop.ts'

let shop: Shop
let elsewhere: RunningServer<'buyer'>
let ann: AccountSession
let dan: AccountSession

before(async () => {
  shop = await openShop()
  elsewhere = await shop.marketplace.serve('buyer', SHOP_SETTINGS)
  ;[ann, dan] = await Promise.all([shop.newSeller(), shop.newSeller()])
})
after(() => shop?.close())

const buy = ({ session }: AccountSession, more = {}) => shop.buyer.call('make_purchase', { session, ...more })
const refusedBuy = ({ session }: AccountSession, more = {}) => shop.buyer.refusal('make_purchase', { session, ...more })
const restock = (item_id: number, change: number, { session } = ann) =>
  shop.seller.call('update_units_for_sale', { session, item_id, change })
const list = ({ session }: AccountSession, params: object = {}) =>
  shop.buyer.call('get_buyer_purchases', { session, ...params })
const search = async (category: number, ...keywords: string[]) => {
  const { session } = await shop.newBuyer()
  const { items } = await shop.buyer.call('search_items', { session, category, keywords })
  return items.map(({ item_id }) => item_id)
}
const display = async ({ session }: AccountSession, include_sold_out = false) => {
  const { items } = await shop.seller.call('display_items_for_sale', { session, include_sold_out })
  return items.map(({ item_id }) => item_id)
}

const setPrice = (item_id: number, price_cents: number) =>
  shop.seller.call('change_item_price', { session: ann.session, item_id, price_cents })
const saveCart = async (bob: AccountSession, ...lines: [item: number, units: number][]) => {
  await shop.add(bob, ...lines)
  await shop.buyer.call('save_cart', { session: bob.session })
}

describe('make_purchase', () => {
  it('takes the units, stores the purchase, raises the scores and empties the cart', async () => {
    const [lamp, chair] = (await shop.register(ann, { quantity: 10, price_cents: 700 }, { name: 'Chair' })) as [
      number,
      number,
    ]
    const [theirs] = (await shop.register(dan, { name: 'Desk', quantity: 9, price_cents: 3 })) as [number]
    const bob = await shop.newBuyer()
    const before = await Promise.all([ann, dan].map(readItemsSold))
    const { purchase_id, ...purchase } = await shop.purchase(bob, [theirs, 4], [lamp, 3], [chair, 1])
    assert.deepEqual(purchase, {
      lines: [
        { item_id: theirs, name: 'Desk', quantity: 4, price_cents: 3 },
        { item_id: lamp, name: 'Lamp', quantity: 3, price_cents: 700 },
        { item_id: chair, name: 'Chair', quantity: 1, price_cents: 1_999 },
      ],
      total_cents: 12 + 2_100 + 1_999,
    })
    assert.deepEqual(await shop.cartLines(bob), [])
    const quantities = await shop.rows('SELECT id, quantity FROM item WHERE id IN (?, ?, ?)', [lamp, chair, theirs])
    assert.deepEqual(quantities, [
      [lamp, 7],
      [chair, 2],
      [theirs, 5],
    ])
    assert.deepEqual(await shop.rows('SELECT id, buyer_id, total_cents FROM purchase WHERE buyer_id = ?', [bob.id]), [
      [purchase_id, bob.id, purchase.total_cents],
    ])
    assert.deepEqual(
      await shop.rows(
        'SELECT purchase_id, item_id, quantity, price_cents FROM purchase_line WHERE buyer_id = ? ORDER BY item_id',
        [bob.id],
      ),
      [
        [purchase_id, lamp, 3, 700],
        [purchase_id, chair, 1, 1_999],
        [purchase_id, theirs, 4, 3],
      ],
    )
    const [annsBefore = 0, dansBefore = 0] = before
    assert.deepEqual(await Promise.all([ann, dan].map(readItemsSold)), [annsBefore + 4, dansBefore + 4])
    assert.deepEqual(await shop.rows('SELECT items_purchased FROM buyer_score WHERE buyer_id = ?', [bob.id]), [[8]])
    await shop.purchase(bob, [lamp, 2])
    assert.equal(await readItemsSold(ann), annsBefore + 6)
    assert.equal((await list(bob)).items_purchased, 10)
  })

  it('leaves the carts of the buyer’s other sessions and of other buyers unchanged', async () => {
    const [item] = (await shop.register(ann, { quantity: 10 })) as [number]
    const [bob, carl] = (await shop.newBuyers(2)) as [NamedSession, NamedSession]
    const also = await shop.newSession(bob)
    await shop.add(also, [item, 3])
    await saveCart(carl, [item, 4])
    await shop.purchase(bob, [item, 2])
    assert.deepEqual(await shop.cartLines(also), [[item, 3]])
    assert.deepEqual(await shop.cartLines(await shop.newSession(carl)), [[item, 4]])
  })

  it('charges the prices of the moment, unless it is given another total, and the purchase is always listed at those', async () => {
    const [item] = (await shop.register(ann, { price_cents: 500 })) as [number]
    const bob = await shop.newBuyer()
    await shop.add(bob, [item, 2])
    await setPrice(item, 80)
    const { total_cents, lines } = await buy(bob)
    assert.deepEqual([total_cents, lines[0]?.price_cents], [160, 80])
    await setPrice(item, 9_000)
    const { purchases } = await list(bob)
    assert.deepEqual([purchases[0]?.total_cents, purchases[0]?.lines[0]?.price_cents], [160, 80])
  })

  it('buys nothing at another total than the given one, and says what the total is now', async () => {
    const [item, other] = (await shop.register(ann, { price_cents: 250, quantity: 4 }, { price_cents: 1 })) as [
      number,
      number,
    ]
    const bob = await shop.newBuyer()
    await saveCart(bob, [item, 2], [other, 1])
    await setPrice(item, 9_999_999)
    const before = await shop.snapshot()
    const now = {
      lines: [
        { item_id: item, name: 'Lamp', quantity: 2, price_cents: 9_999_999 },
        { item_id: other, name: 'Lamp', quantity: 1, price_cents: 1 },
      ],
      total_cents: 19_999_999,
    }
    for (const total_cents of [501, 0, 19_999_998, 10 ** 15]) {
      const { code, details } = await refusedBuy(bob, { total_cents })
      assert.deepEqual([code, details], ['price_changed', { code: 'price_changed', ...now }])
    }
    assert.deepEqual(await shop.snapshot(), before)
    const { purchase_id: _, ...purchase } = await buy(bob, { total_cents: 19_999_999 })
    assert.deepEqual(purchase, now)
  })

  it('compares the total only of a cart that can be bought', async () => {
    const [item] = (await shop.register(ann, { quantity: 2 })) as [number]
    const bob = await shop.newBuyer()
    assert.equal((await refusedBuy(bob, { total_cents: 1 })).code, 'cart_empty')
    await shop.add(bob, [item, 2])
    await restock(item, -1)
    assert.equal((await refusedBuy(bob, { total_cents: 1 })).code, 'out_of_stock')
    for (const total_cents of [-1, 0.5, 10 ** 15 + 1, '1']) {
      assert.equal((await refusedBuy(bob, { total_cents })).code, 'invalid_params')
    }
  })

  it('compares each total with the prices of its own cart when many call at the same time', async () => {
    const [item] = (await shop.register(ann, { quantity: 100, price_cents: 10 })) as [number]
    const buyers = await shop.newBuyers(20)
    await Promise.all(buyers.map((bob, index) => shop.add(bob, [item, 1 + (index % 3)])))
    const replies = await callTogether(
      shop.buyers,
      buyers.map(({ session }): RawCall => ['make_purchase', { session, total_cents: 20 }]),
    )
    const got = replies.map(({ result, error }) => result?.total_cents ?? [error?.data.code, error?.data.total_cents])
    assert.deepEqual(
      got,
      buyers.map((_, index) => (index % 3 === 1 ? 20 : ['price_changed', 10 * (1 + (index % 3))])),
    )
  })

  it('charges nothing for items that cost nothing', async () => {
    const [item] = (await shop.register(ann, { price_cents: 0 })) as [number]
    const bob = await shop.newBuyer()
    await shop.add(bob, [item, 3])
    assert.equal((await buy(bob, { total_cents: 0 })).total_cents, 0)
    assert.equal((await list(bob)).purchases[0]?.total_cents, 0)
  })

  it('adds up to the cent, also at the most: 10,000 units each of 100 items at 10,000,000.00', async () => {
    const fields = { price_cents: 1_000_000_000, quantity: 10_000 }
    const items = (await shop.register(dan, ...Array.from({ length: 100 }, () => fields))).toSorted((a, b) => a - b)
    const bob = await shop.newBuyer()
    const calls = items.map(
      (item_id): RawCall => ['add_item_to_cart', { session: bob.session, item_id, quantity: 10_000 }],
    )
    await callTogether(shop.buyers, calls)
    const purchase = await buy(bob)
    assert.equal(purchase.total_cents, 10 ** 15)
    assert.deepEqual(
      purchase.lines.map(({ item_id }) => item_id),
      items,
    )
    const { purchases, items_purchased } = await list(bob)
    assert.deepEqual(
      [purchases[0]?.total_cents, purchases[0]?.lines, items_purchased],
      [10 ** 15, purchase.lines, 10 ** 6],
    )
    assert.deepEqual(await shop.rows('SELECT total_cents FROM purchase WHERE buyer_id = ?', [bob.id]), [[10 ** 15]])
  })

  it('refuses an empty cart with cart_empty, whether it was never filled, cleared, or just purchased', async () => {
    const [item] = (await shop.register(ann, {})) as [number]
    const bob = await shop.newBuyer()
    assert.equal((await refusedBuy(bob)).code, 'cart_empty')
    await shop.add(bob, [item, 1])
    await shop.buyer.call('clear_cart', { session: bob.session })
    assert.equal((await refusedBuy(bob)).code, 'cart_empty')
    await shop.purchase(bob, [item, 1])
    assert.equal((await refusedBuy(bob)).code, 'cart_empty')
    assert.equal((await list(bob)).purchases.length, 1)
  })

  it('purchases the whole cart or nothing: if items are short it names them all and changes nothing', async () => {
    const items = await shop.register(ann, ...Array.from({ length: 4 }, () => ({ quantity: 10 })))
    const [enough, short, gone, also] = items as [number, number, number, number]
    const bob = await shop.newBuyer()
    await shop.add(bob, [enough, 1], [short, 6], [gone, 2], [also, 10])
    await restock(short, -5)
    await restock(gone, -10)
    const before = await shop.snapshot()
    const refusal = await refusedBuy(bob)
    const shortages = [
      { item_id: short, requested: 6, available: 5 },
      { item_id: gone, requested: 2, available: 0 },
    ]
    assert.deepEqual(refusal.details, { code: 'out_of_stock', ...shortages[0], items: shortages })
    assert.deepEqual(await shop.snapshot(), before)
    assert.deepEqual(await shop.cartLines(bob), [
      [enough, 1],
      [short, 6],
      [gone, 2],
      [also, 10],
    ])
    await restock(short, 1)
    await restock(gone, 2)
    assert.equal((await buy(bob)).lines.length, 4)
  })

  it('serves the calls of a batch in their order when there are not enough units for all', async () => {
    const [item] = (await shop.register(ann, { quantity: 20 })) as [number]
    const buyers = await shop.newBuyers(50)
    await Promise.all(buyers.map((bob, index) => shop.add(bob, [item, 1 + (index % 3)])))
    const replies = await callTogether(
      shop.buyers,
      buyers.map(({ session }): RawCall => ['make_purchase', { session }]),
    )
    let left = 20
    const expected = buyers.map((_, index) => {
      const wanted = 1 + (index % 3)
      if (wanted > left) return { code: 'out_of_stock', requested: wanted, available: left }
      left -= wanted
      return wanted
    })
    const got = replies.map(({ result, error }) => {
      if (error === undefined) return (result as Result<'buyer', 'make_purchase'>).lines[0]?.quantity
      const { code, requested, available } = error.data
      return { code, requested, available }
    })
    assert.deepEqual(got, expected)
    assert.equal((await shop.item(item)).quantity, 0)
  })

  it('purchases a cart once when many calls for it come at the same time', async () => {
    const [item] = (await shop.register(ann, { quantity: 100 })) as [number]
    const bob = await shop.newBuyer()
    await shop.add(bob, [item, 3])
    const calls = Array.from({ length: 10 }, (): RawCall => ['make_purchase', { session: bob.session }])
    const replies = (await Promise.all([shop.buyers, elsewhere].map((server) => callTogether(server, calls)))).flat()
    assert.deepEqual(replies.map(({ error }) => error?.data.code ?? 'purchased').toSorted(), [
      ...Array(19).fill('cart_empty'),
      'purchased',
    ])
    assert.equal((await shop.item(item)).quantity, 97)
  })

  it('sells the last unit to one buyer when many call at the same time on two servers, round after round', async () => {
    const buyers = await shop.newBuyers(10)
    for (let round = 0; round < 10; round += 1) {
      const [item, plenty] = (await shop.register(ann, { quantity: 1 }, { quantity: 100 })) as [number, number]
      await Promise.all(buyers.map((bob) => shop.add(bob, [item, 1], [plenty, 1])))
      const half = (from: number) =>
        buyers.slice(from, from + 5).map(({ session }): RawCall => ['make_purchase', { session }])
      const replies = (await Promise.all([callTogether(shop.buyers, half(0)), callTogether(elsewhere, half(5))])).flat()
      assert.deepEqual(replies.map(({ error }) => error?.data.code ?? 'purchased').toSorted(), [
        ...Array(9).fill('out_of_stock'),
        'purchased',
      ])
      assert.deepEqual([(await shop.item(item)).quantity, (await shop.item(plenty)).quantity], [0, 99])
      await Promise.all(buyers.map(({ session }) => shop.buyer.call('clear_cart', { session })))
    }
  })
})

describe('a saved cart', () => {
  const readSaved = async (bob: AccountSession) => shop.cartLines(await shop.newSession(bob))

  it('loses what its buyer purchases, as far as it is still in there', async () => {
    const items = await shop.register(ann, ...Array.from({ length: 4 }, () => ({ quantity: 20 })))
    const [few, many, same, other] = items as [number, number, number, number]
    const bob = await shop.newBuyer()
    await saveCart(bob, [few, 2], [many, 5], [same, 3])
    await shop.purchase(bob, [few, 4], [other, 1]) // and the saved lines, which are in the cart
    assert.deepEqual(await readSaved(bob), [])
    await saveCart(bob, [many, 5], [few, 2], [same, 3])
    const also = await shop.newSession(bob)
    await shop.buyer.call('clear_cart', { session: also.session })
    await shop.purchase(also, [many, 2], [same, 7], [other, 1])
    assert.deepEqual(await readSaved(bob), [
      [many, 3],
      [few, 2],
    ])
    await shop.purchase(also, [few, 1])
    await shop.purchase(also, [other, 1])
    assert.deepEqual(await readSaved(bob), [
      [many, 3],
      [few, 1],
    ])
  })

  it('that was purchased is not there again after the next login', async () => {
    const [item] = (await shop.register(ann, { quantity: 3 })) as [number]
    const { username, password, session } = await openAccount(shop.buyer)
    await saveCart({ id: 0, session }, [item, 2])
    await buy({ id: 0, session })
    await shop.buyer.call('logout', { session })
    const later = await shop.buyer.call('login', { username, password })
    assert.deepEqual((await shop.buyer.call('display_cart', { session: later.session })).lines, [])
  })

  it('stays as it is when the purchase is refused, and when a key repeats it', async () => {
    const [item] = (await shop.register(ann, { quantity: 9 })) as [number]
    const bob = await shop.newBuyer()
    await saveCart(bob, [item, 3])
    await refusedBuy(bob, { total_cents: 1 })
    await restock(item, -7)
    await refusedBuy(bob)
    assert.deepEqual(await readSaved(bob), [[item, 3]])
    await restock(item, 7)
    const key = { idempotency_key: 'once' }
    await buy(bob, key)
    await saveCart(bob, [item, 3])
    await buy(bob, key)
    assert.deepEqual(await readSaved(bob), [[item, 3]])
  })

  it('loses what each of several purchases in one batch buys', async () => {
    const [item] = (await shop.register(ann, { quantity: 20 })) as [number]
    const bob = await shop.newBuyer()
    await saveCart(bob, [item, 8])
    const sessions = [bob, ...(await Promise.all([1, 2].map(() => shop.newSession(bob))))]
    for (const each of sessions) {
      await shop.buyer.call('clear_cart', { session: each.session })
      await shop.add(each, [item, 2])
    }
    const calls = sessions.map(({ session }): RawCall => ['make_purchase', { session }])
    for (const { error } of await callTogether(shop.buyers, calls)) assert.equal(error, undefined)
    assert.deepEqual(await readSaved(bob), [[item, 2]])
  })

  it('is copied into a later session without what an earlier purchase of the same batch has bought', async () => {
    const [item, other] = (await shop.register(ann, { quantity: 9 }, { quantity: 9 })) as [number, number]
    const bob = await shop.newBuyer()
    await saveCart(bob, [item, 2], [other, 1])
    await shop.buyer.call('remove_item_from_cart', { session: bob.session, item_id: other, quantity: 1 })
    const [later, last] = [await shop.newSession(bob), await shop.newSession(bob)]
    const calls = [bob, later, last].map(({ session }): RawCall => ['make_purchase', { session }])
    const bought = (await callTogether(shop.buyers, calls)).map(({ result, error }) => {
      const lines = (result as Result<'buyer', 'make_purchase'> | undefined)?.lines
      return lines?.map(({ item_id, quantity }) => [item_id, quantity]) ?? error?.data.code
    })
    assert.deepEqual(bought, [[[item, 2]], [[other, 1]], 'cart_empty'])
    assert.deepEqual([(await shop.item(item)).quantity, (await shop.item(other)).quantity], [7, 8])
    assert.deepEqual(await shop.cartLines(last), [])
  })

  it('is never bought twice when its buyer’s sessions save, open and purchase carts at the same time on two servers', async () => {
    const [item] = (await shop.register(ann, { quantity: 1_000 })) as [number]
    for (const bob of await shop.newBuyers(20)) {
      await saveCart(bob, [item, 2])
      const later = await shop.newSession(bob)
      const replies = await Promise.all([
        callTogether(shop.buyers, [['make_purchase', { session: bob.session }]]),
        callTogether(elsewhere, [
          ['save_cart', { session: later.session }],
          ['make_purchase', { session: later.session }],
        ]),
      ])
      const bought = replies.flat().flatMap(({ result }) => (result?.purchase_id === undefined ? [] : [result]))
      const left = await readSaved(bob)
      assert.ok(bought.length >= 1)
      assert.deepEqual(left, [], `${bought.length} purchases, and [${left}] is saved`)
    }
  })
})

describe('an item that is sold out', () => {
  it('disappears from searches and listings, and comes back with new units', async () => {
    const fields = { category: 50, keywords: ['red', 'lamp'], quantity: 2 }
    const [item, other] = (await shop.register(ann, fields, fields)) as [number, number]
    const postings = () => shop.rows('SELECT keyword FROM item_keyword WHERE item_id = ? ORDER BY keyword', [item])
    const findEverywhere = async () => ({
      category: await search(50),
      keyword: await search(50, 'red'),
      keywords: await search(50, 'lamp', 'red'),
      listing: (await display(ann)).filter((id) => id === item || id === other),
    })
    const both = [other, item]
    assert.deepEqual(await findEverywhere(), { category: both, keyword: both, keywords: both, listing: both })
    await shop.purchase(await shop.newBuyer(), [item, 1])
    assert.deepEqual(await findEverywhere(), { category: both, keyword: both, keywords: both, listing: both })
    await shop.purchase(await shop.newBuyer(), [item, 1])
    const left = [other]
    assert.deepEqual(await findEverywhere(), { category: left, keyword: left, keywords: left, listing: left })
    assert.deepEqual(await postings(), [])
    assert.ok((await display(ann, true)).includes(item))
    assert.equal((await shop.item(item)).quantity, 0)
    await restock(item, 1)
    assert.deepEqual(await findEverywhere(), { category: both, keyword: both, keywords: both, listing: both })
    assert.deepEqual(await postings(), [[''], ['lamp'], ['red']])
  })

  it('disappears also when the purchases of one batch have sold it out', async () => {
    const [item] = (await shop.register(ann, { category: 51, quantity: 6 })) as [number]
    const buyers = await shop.newBuyers(6)
    await Promise.all(buyers.map((bob) => shop.add(bob, [item, 1])))
    await callTogether(
      shop.buyers,
      buyers.map(({ session }): RawCall => ['make_purchase', { session }]),
    )
    assert.deepEqual(await search(51), [])
    assert.deepEqual(await shop.rows('SELECT keyword FROM item_keyword WHERE item_id = ?', [item]), [])
  })
})

describe('a key', () => {
  it('makes a purchase happen once, and always gets that purchase as its answer', async () => {
    const [item] = (await shop.register(ann, { quantity: 3 })) as [number]
    const bob = await shop.newBuyer()
    const there = await Caller.connect(elsewhere)
    const key = { idempotency_key: 'buy' }
    await shop.add(bob, [item, 2])
    const first = await buy(bob, key)
    assert.deepEqual(await buy(bob, key), first) // although the cart is empty now
    await shop.add(bob, [item, 1])
    assert.deepEqual(await buy(bob, key), first) // although it has an item again
    assert.deepEqual(await there.call('make_purchase', { session: bob.session, ...key }), first)
    const later = await shop.newSession(bob)
    assert.deepEqual(await buy(later, key), first) // the key belongs to the buyer
    assert.equal((await refusedBuy(bob, { ...key, total_cents: first.total_cents })).code, 'idempotency_mismatch')
    assert.deepEqual(await shop.cartLines(bob), [[item, 1]])
    assert.equal((await shop.item(item)).quantity, 1)
    assert.equal((await list(bob)).purchases.length, 1)
    assert.notEqual((await buy(bob, { idempotency_key: 'another' })).purchase_id, first.purchase_id)
    await there.close()
  })

  it('has one effect and equal answers when it is used many times at the same time over two servers', async () => {
    const [item] = (await shop.register(ann, { quantity: 100 })) as [number]
    for (const bob of await shop.newBuyers(10)) {
      await shop.add(bob, [item, 2])
      const call: RawCall = ['make_purchase', { session: bob.session, idempotency_key: 'at once' }]
      const replies = await Promise.all(
        [shop.buyers, elsewhere].map((server) => callTogether(server, [call, call, call])),
      )
      const [first, ...others] = replies.flat().map(resultOrCode)
      assert.ok(typeof first === 'object', String(first))
      for (const other of others) assert.deepEqual(other, first)
    }
    assert.equal((await shop.item(item)).quantity, 80)
  })

  it('is free after its purchase was refused', async () => {
    const [item] = (await shop.register(ann, { quantity: 2 })) as [number]
    const bob = await shop.newBuyer()
    const key = { idempotency_key: 'refused' }
    assert.equal((await refusedBuy(bob, key)).code, 'cart_empty')
    await shop.add(bob, [item, 2])
    await restock(item, -1)
    assert.equal((await refusedBuy(bob, key)).code, 'out_of_stock')
    await restock(item, 1)
    assert.equal((await buy(bob, key)).lines[0]?.quantity, 2)
  })
})

describe('get_buyer_purchases', () => {
  /** A buyer with `count` purchases of one unit each; `made` has their ids, the oldest first. */
  async function openRegular(
    count: number,
  ): Promise<{ bob: AccountSession; made: number[]; buyOne(): Promise<number> }> {
    const [item] = (await shop.register(ann, { quantity: 1_000 })) as [number]
    const bob = await shop.newBuyer()
    const buyOne = async () => (await shop.purchase(bob, [item, 1])).purchase_id
    const made: number[] = []
    while (made.length < count) made.push(await buyOne())
    return { bob, made, buyOne }
  }

  it('lists the buyer’s own purchases, newest first, with the time of the database', async () => {
    const { bob, made } = await openRegular(3)
    await openRegular(1)
    const { purchases, items_purchased, next_cursor } = await list(bob)
    assert.deepEqual(
      purchases.map(({ purchase_id }) => purchase_id),
      made.toReversed(),
    )
    assert.deepEqual([items_purchased, next_cursor], [3, undefined])
    const [row] = await shop.rows('SELECT UNIX_TIMESTAMP()')
    for (const { purchased_at } of purchases) assert.ok(Math.abs(Number(row?.[0]) - purchased_at) < 60)
  })

  it('gives an empty list to a buyer without purchases', async () => {
    assert.deepEqual(await list(await shop.newBuyer()), { items_purchased: 0, purchases: [] })
  })

  it('shows the purchase lines ordered by item, with the names and prices of their time', async () => {
    const items = await shop.register(ann, { name: 'First', price_cents: 1 }, { name: 'Second', price_cents: 2 })
    const [first, second] = items as [number, number]
    const bob = await shop.newBuyer()
    await shop.purchase(bob, [second, 2], [first, 1])
    await shop.purchase(bob, [second, 1])
    const { purchases, items_purchased } = await list(bob)
    const line = (item_id: number, name: string, quantity: number, price_cents: number) => {
      return { item_id, name, quantity, price_cents }
    }
    assert.deepEqual(
      purchases.map(({ lines, total_cents }) => ({ lines, total_cents })),
      [
        { lines: [line(second, 'Second', 1, 2)], total_cents: 2 },
        { lines: [line(first, 'First', 1, 1), line(second, 'Second', 2, 2)], total_cents: 5 },
      ],
    )
    assert.equal(items_purchased, 4)
  })

  it('gives the same purchases in pages of any size, and skips and repeats none when more are made between pages', async () => {
    const { bob, made, buyOne } = await openRegular(7)
    for (const limit of [1, 3, 7, 100]) {
      const { pages, sizes } = await readPages(bob, limit)
      assert.deepEqual(pages, made.toReversed())
      assert.deepEqual(sizes, [...Array(Math.ceil(7 / limit) - 1).fill(limit), 7 % limit || Math.min(7, limit)])
    }
    const { pages } = await readPages(bob, 2, buyOne)
    assert.deepEqual(pages, made.toReversed())
  })

  it('gives each buyer their own purchases when many call at the same time', async () => {
    const [one, two, none] = [await openRegular(2), await openRegular(3), { bob: await shop.newBuyer(), made: [] }]
    const asked = Array.from({ length: 90 }, (_, index) => [one, two, none][index % 3] ?? none)
    const answers = await Promise.all(asked.map(({ bob }) => list(bob, { limit: 2 })))
    assert.deepEqual(
      answers.map(({ purchases }) => purchases.map(({ purchase_id }) => purchase_id)),
      asked.map(({ made }) => made.toReversed().slice(0, 2)),
    )
  })

  it('accepts limits from 1 to 100, and refuses cursors that it cannot have given', async () => {
    const { session } = await shop.newBuyer()
    const wrong = [0, -1, 101, 1.5].map((limit) => ({ limit }))
    for (const params of [...wrong, ...['', '0', '-1', '1-1', 'x', '1e3'].map((cursor) => ({ cursor }))]) {
      const refusal = await shop.buyer.refusal('get_buyer_purchases', { session, ...params })
      assert.equal(refusal.code, 'invalid_params', JSON.stringify(params))
    }
    await list({ id: 0, session }, { limit: 100 })
  })

  /** Reads the ids of all pages with this limit. `between` runs after each page. */
  async function readPages(bob: AccountSession, limit: number, between: () => Promise<unknown> = async () => {}) {
    const pages: number[] = []
    const sizes: number[] = []
    for (let cursor: { cursor?: string } | undefined = {}; cursor !== undefined; ) {
      const page = await list(bob, { limit, ...cursor })
      pages.push(...page.purchases.map(({ purchase_id }) => purchase_id))
      sizes.push(page.purchases.length)
      assert.ok(sizes.length < 50, 'the pages never end')
      cursor = page.next_cursor === undefined ? undefined : { cursor: page.next_cursor }
      await between()
    }
    return { pages, sizes }
  }
})

/** The units sold by the seller, as the score has them. */
async function readItemsSold({ session }: AccountSession): Promise<number> {
  return (await shop.seller.call('get_seller_rating', { session })).items_sold
}
