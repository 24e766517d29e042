/**
 * Prices and units: only the seller of an item changes them, and searches and
 * listings stay right while items come and go.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Caller } from '../../support/clients.ts'
import type { RunningServer } from '../../support/marketplace.ts'
import type { NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, resultOrCode, SHOP_SETTINGS, type Shop } from '../../support/shop.ts'

let shop: Shop
let elsewhere: RunningServer<'seller'>
let ann: NamedSession
let dan: NamedSession

before(async () => {
  shop = await openShop()
  elsewhere = await shop.marketplace.serve('seller', SHOP_SETTINGS)
  ;[ann, dan] = await Promise.all([shop.newSeller(), shop.newSeller()])
})
after(() => shop?.close())

const setPrice = (item_id: number, price_cents: number, { session } = ann) =>
  shop.seller.call('change_item_price', { session, item_id, price_cents })
const change = (item_id: number, change: number, more = {}) =>
  shop.seller.call('update_units_for_sale', { session: ann.session, item_id, change, ...more })
const refusedChange = (item_id: number, change: number, more = {}) =>
  shop.seller.refusal('update_units_for_sale', { session: ann.session, item_id, change, ...more })

async function registerOne(fields = {}, seller = ann): Promise<number> {
  const [item] = await shop.register(seller, fields)
  return item as number
}

async function readKeywords(item: number): Promise<unknown[]> {
  const rows = await shop.rows('SELECT keyword FROM item_keyword WHERE item_id = ? ORDER BY keyword', [item])
  return rows.flat()
}

describe('change_item_price', () => {
  it('sets the price of one item, from 0 to 10,000,000.00', async () => {
    const [item, other] = (await shop.register(ann, {}, {})) as [number, number]
    for (const price_cents of [5, 0, 1_000_000_000]) {
      assert.deepEqual(await setPrice(item, price_cents), { ok: true })
      assert.equal((await shop.item(item)).price_cents, price_cents)
    }
    assert.equal((await shop.item(other)).price_cents, 1_999)
  })

  it('refuses prices out of range and fractions of a cent', async () => {
    const item_id = await registerOne()
    for (const price_cents of [-1, 1_000_000_001, 0.5, 2 ** 53]) {
      const refusal = await shop.seller.refusal('change_item_price', { session: ann.session, item_id, price_cents })
      assert.equal(refusal.code, 'invalid_params')
    }
    assert.equal((await shop.item(item_id)).price_cents, 1_999)
  })

  it('leaves the last price when one batch sets several for one item', async () => {
    const item = await registerOne()
    const prices = Array.from({ length: 20 }, (_, price) => price)
    await callTogether(
      shop.sellers,
      prices.map((price_cents): RawCall => ['change_item_price', { session: ann.session, item_id: item, price_cents }]),
    )
    assert.equal((await shop.item(item)).price_cents, 19)
  })

  it('changes also the price of an item that is sold out', async () => {
    const item = await registerOne({ quantity: 1 })
    await change(item, -1)
    await setPrice(item, 7)
    assert.equal((await shop.item(item)).price_cents, 7)
  })
})

describe('update_units_for_sale', () => {
  it('puts units on sale and takes them off, and answers with the units now on sale', async () => {
    const item = await registerOne({ quantity: 10 })
    for (const [by, quantity] of [
      [5, 15],
      [-14, 1],
      [0, 1],
      [999_999, 1_000_000],
      [-1_000_000, 0],
      [1_000_000, 1_000_000],
    ] as const) {
      assert.deepEqual(await change(item, by), { quantity })
      assert.equal((await shop.item(item)).quantity, quantity)
    }
  })

  it('refuses to take off more units than there are, and says how many there are', async () => {
    const item = await registerOne({ quantity: 3 })
    const shortage = { item_id: item, requested: 4, available: 3 }
    const expected = { code: 'out_of_stock', ...shortage, items: [shortage] }
    assert.deepEqual((await refusedChange(item, -4)).details, expected)
    assert.equal((await shop.item(item)).quantity, 3)
    await change(item, -3)
    assert.equal((await refusedChange(item, -1)).code, 'out_of_stock')
  })

  it('accepts up to 1,000,000 units of an item on sale', async () => {
    const item = await registerOne({ quantity: 10 })
    assert.equal((await refusedChange(item, 999_991)).code, 'limit_exceeded')
    assert.equal((await refusedChange(item, 1_000_000)).code, 'limit_exceeded')
    assert.equal((await shop.item(item)).quantity, 10)
    assert.deepEqual(await change(item, 999_990), { quantity: 1_000_000 })
  })

  it('refuses fractions and changes of more than 1,000,000', async () => {
    const item = await registerOne()
    for (const by of [1_000_001, -1_000_001, 0.5, 2 ** 53]) {
      assert.equal((await refusedChange(item, by)).code, 'invalid_params')
    }
  })

  it('counts the changes of earlier calls in the same batch', async () => {
    const item = await registerOne({ quantity: 5 })
    const changes = [-3, -3, 4, -3, -3, -1]
    const replies = await callTogether(
      shop.sellers,
      changes.map((by): RawCall => ['update_units_for_sale', { session: ann.session, item_id: item, change: by }]),
    )
    const left = [2, 'out_of_stock', 6, 3, 0, 'out_of_stock']
    const expected = left.map((quantity) => (typeof quantity === 'number' ? { quantity } : quantity))
    assert.deepEqual(replies.map(resultOrCode), expected)
    assert.deepEqual(await readKeywords(item), [])
  })

  it('loses no change when two servers change units and prices and sell the item at the same time', async () => {
    const item = await registerOne({ quantity: 1_000, price_cents: 1 })
    const { session } = ann
    const changes = Array.from({ length: 50 }, (): RawCall[] => [
      ['update_units_for_sale', { session, item_id: item, change: 3 }],
      ['change_item_price', { session, item_id: item, price_cents: 2 }],
      ['update_units_for_sale', { session, item_id: item, change: -1 }],
    ]).flat()
    const buyers = await shop.newBuyers(40)
    await Promise.all(buyers.map((bob) => shop.add(bob, [item, 2])))
    const replies = await Promise.all([
      callTogether(shop.sellers, changes),
      callTogether(elsewhere, changes),
      callTogether(
        shop.buyers,
        buyers.map(({ session }): RawCall => ['make_purchase', { session }]),
      ),
    ])
    for (const { error } of replies.flat()) assert.equal(error, undefined)
    const { quantity, price_cents } = await shop.item(item)
    assert.deepEqual([quantity, price_cents], [1_000 + 2 * 50 * 2 - 40 * 2, 2])
  })
})

describe('an item of another seller', () => {
  it('is refused with not_found like one that does not exist, and is not changed', async () => {
    const theirs = await registerOne({ quantity: 5 }, dan)
    const before = await shop.item(theirs)
    for (const item_id of [theirs, 999_999_999]) {
      const price = await shop.seller.refusal('change_item_price', { session: ann.session, item_id, price_cents: 1 })
      assert.deepEqual([price.code, price.details], ['not_found', { code: 'not_found' }])
      for (const by of [1, -1, -100, 1_000_000]) {
        const units = await refusedChange(item_id, by)
        assert.deepEqual([units.code, units.message], ['not_found', price.message])
      }
    }
    assert.deepEqual(await shop.item(theirs), before)
  })

  it('is kept apart from the caller’s own within one batch', async () => {
    const [mine, theirs] = [await registerOne({ quantity: 5 }), await registerOne({ quantity: 5 }, dan)]
    const calls = [mine, theirs, 999_999_999, mine].map(
      (item_id): RawCall => ['update_units_for_sale', { session: ann.session, item_id, change: 1 }],
    )
    const answers = (await callTogether(shop.sellers, calls)).map(resultOrCode)
    assert.deepEqual(answers, [{ quantity: 6 }, 'not_found', 'not_found', { quantity: 7 }])
  })
})

describe('the keywords of an item', () => {
  const words = ['', 'lamp', 'red']
  const fields = { category: 60, keywords: ['red', 'lamp'] }

  it('disappear when the last unit is taken off, and come back with the first', async () => {
    const item = await registerOne({ ...fields, quantity: 2 })
    for (const [by, expected] of [
      [-1, words],
      [-1, []],
      [0, []],
      [5, words],
      [5, words],
      [-10, []],
    ] as const) {
      await change(item, by)
      assert.deepEqual(await readKeywords(item), expected, `after ${by}`)
    }
  })

  for (const [about, quantity, changes, expected] of [
    ['to zero and back', 3, [-3, 1], words],
    ['to zero, back, and to zero again', 3, [-3, 2, -2], []],
    ['up from zero and back', 0, [4, -4], []],
    ['up from zero, back, and up again', 0, [4, -4, 4], words],
    ['up from zero in two steps', 0, [1, 1], words],
    ['to zero in two steps', 2, [-1, -1], []],
    ['to zero and back to the same number', 2, [-2, 2], words],
  ] as const) {
    it(`are right after one batch that takes its units ${about}`, async () => {
      const item = await registerOne({ ...fields, quantity: Math.max(1, quantity) })
      if (quantity === 0) await change(item, -1)
      const calls = changes.map(
        (by): RawCall => ['update_units_for_sale', { session: ann.session, item_id: item, change: by }],
      )
      for (const { error } of await callTogether(shop.sellers, calls)) assert.equal(error, undefined)
      assert.deepEqual(await readKeywords(item), expected)
      assert.equal(
        (await shop.item(item)).quantity,
        changes.reduce<number>((sum, by) => sum + by, quantity),
      )
    })
  }

  it('are found again by searches with one keyword, with several, and with none', async () => {
    const item = await registerOne({ category: 61, keywords: ['red', 'lamp'], quantity: 1 })
    const { session } = await shop.newBuyer()
    const found = () =>
      Promise.all(
        [[], ['red'], ['red', 'lamp']].map(async (keywords) => {
          const { items } = await shop.buyer.call('search_items', { session, category: 61, keywords })
          return items.map(({ item_id }) => item_id)
        }),
      )
    assert.deepEqual(await found(), [[item], [item], [item]])
    await change(item, -1)
    assert.deepEqual(await found(), [[], [], []])
    await change(item, 1)
    assert.deepEqual(await found(), [[item], [item], [item]])
  })
})

describe('a key', () => {
  it('makes a change of units happen once, and always gets the first answer, also if the change would be refused now', async () => {
    const item = await registerOne({ quantity: 5 })
    const there = await Caller.connect(elsewhere)
    const key = { idempotency_key: 'units' }
    assert.deepEqual(await change(item, -3, key), { quantity: 2 })
    assert.deepEqual(await change(item, -3, key), { quantity: 2 })
    const again = { session: ann.session, item_id: item, change: -3, ...key }
    assert.deepEqual(await there.call('update_units_for_sale', again), { quantity: 2 })
    assert.equal((await refusedChange(item, -2, key)).code, 'idempotency_mismatch')
    assert.equal((await refusedChange(await registerOne(), -3, key)).code, 'idempotency_mismatch')
    assert.equal((await shop.item(item)).quantity, 2)
    await there.close()
  })

  it('is free after its change was refused', async () => {
    const item = await registerOne({ quantity: 1 })
    const key = { idempotency_key: 'refused units' }
    assert.equal((await refusedChange(item, -2, key)).code, 'out_of_stock')
    await change(item, 1)
    assert.deepEqual(await change(item, -2, key), { quantity: 0 })
  })

  it('is free after a refusal also for later changes of the same batch', async () => {
    const item = await registerOne({ quantity: 5 })
    const changes = (...all: number[]) =>
      callTogether(
        shop.sellers,
        all.map((by) => [
          'update_units_for_sale',
          { session: ann.session, item_id: item, change: by, idempotency_key: 'refused together' },
        ]),
      )
    const answers = async (...all: number[]) => (await changes(...all)).map(resultOrCode)
    const mismatch = 'idempotency_mismatch'
    assert.deepEqual(await answers(-6, -7, -2, -6, -3), [
      'out_of_stock',
      'out_of_stock',
      { quantity: 3 },
      'out_of_stock',
      mismatch,
    ])
    assert.deepEqual(await answers(-6, -2, -1), [mismatch, { quantity: 3 }, mismatch])
    assert.equal((await shop.item(item)).quantity, 3)
  })

  it('has one effect when it is repeated within a batch', async () => {
    const item = await registerOne({ quantity: 5 })
    const params = { session: ann.session, item_id: item, change: -2, idempotency_key: 'one batch' }
    const calls = Array.from({ length: 10 }, (): RawCall => ['update_units_for_sale', params])
    for (const reply of await callTogether(shop.sellers, calls)) assert.deepEqual(resultOrCode(reply), { quantity: 3 })
    assert.equal((await shop.item(item)).quantity, 3)
  })
})

describe('a cursor', () => {
  type Page = { items: { item_id: number }[]; next_cursor?: string | undefined }

  /** Reads the ids of all pages. `between` runs after each page. */
  async function read(page: (cursor: object) => Promise<Page>, between: (shown: number[]) => Promise<unknown>) {
    const pages: number[][] = []
    for (let cursor: object | undefined = {}; cursor !== undefined; ) {
      const { items, next_cursor } = await page(cursor)
      const shown = items.map(({ item_id }) => item_id)
      pages.push(shown)
      assert.ok(pages.length < 50, 'the pages never end')
      cursor = next_cursor === undefined ? undefined : { cursor: next_cursor }
      await between(shown)
    }
    return pages.flat()
  }

  for (const [about, keywords] of [
    ['a category', []],
    ['a keyword', ['red']],
    ['several keywords', ['red', 'blue']],
    ['a seller’s items', undefined],
  ] as const) {
    it(`of ${about} continues at its place when items are added, sold out and put back between pages`, async () => {
      const category = 70 + (keywords?.length ?? 3)
      const seller = await shop.newSeller()
      const { session } = seller
      const [bob, carl] = (await shop.newBuyers(2)) as [NamedSession, NamedSession]
      const fields = { category, keywords: ['red', 'blue'], quantity: 1 }
      const items = (await shop.register(seller, ...Array.from({ length: 12 }, () => fields))).toReversed()
      const sell = (item: number | undefined) => shop.purchase(carl, [item as number, 1])
      const putBack = (item_id = 0) => shop.seller.call('update_units_for_sale', { session, item_id, change: 1 })
      const page = (cursor: object): Promise<Page> => {
        if (keywords === undefined) return shop.seller.call('display_items_for_sale', { session, limit: 3, ...cursor })
        const search = { session: bob.session, category, keywords: [...keywords], limit: 3 }
        return shop.buyer.call('search_items', { ...search, ...cursor })
      }
      await sell(items[1])
      await sell(items[10])
      let pages = 0
      const shown = await read(page, async (ids) => {
        await shop.register(seller, fields) // before all others
        pages += 1
        if (pages > 1) return
        await sell(ids.at(-1)) // the item at the cursor
        await sell(items[7])
        await putBack(items[1]) // the cursor has passed it
        await putBack(items[10])
      })
      const expected = items.filter((_, index) => index !== 1 && index !== 7)
      assert.deepEqual(shown, expected)
    })
  }
})
