import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { AccountSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, type Shop } from '../../support/shop.ts'

let shop: Shop
let ann: AccountSession
let bob: AccountSession

before(async () => {
  shop = await openShop()
  ann = await shop.newSeller()
  bob = await shop.newBuyer()
})
after(() => shop?.close())
beforeEach(() => shop.marketplace.sql('product', 'DELETE FROM item_keyword'))

const list = (options: { limit?: number; cursor?: string } = {}) =>
  shop.buyer.call('list_categories', { session: bob.session, ...options })

describe('list_categories', () => {
  it('counts the items on sale, ascending, for both roles', async () => {
    assert.deepEqual(await list(), { categories: [] })
    await shop.register(ann, { category: 65_535 }, { category: 3, quantity: 9 }, { category: 0 }, { category: 3 })
    const expected = {
      categories: [
        { category: 0, items_on_sale: 1 },
        { category: 3, items_on_sale: 2 },
        { category: 65_535, items_on_sale: 1 },
      ],
    }
    assert.deepEqual(await list(), expected)
    assert.deepEqual(await shop.seller.call('list_categories', { session: ann.session }), expected)
  })

  it('lists a category as long as it has something on sale', async () => {
    const [item] = (await shop.register(ann, { category: 3, quantity: 1 }, { category: 4 })) as [number]
    await shop.purchase(bob, [item, 1])
    assert.deepEqual(await list(), { categories: [{ category: 4, items_on_sale: 1 }] })
    await shop.seller.call('update_units_for_sale', { session: ann.session, item_id: item, change: 1 })
    assert.deepEqual((await list()).categories[0], { category: 3, items_on_sale: 1 })
  })

  it('counts an item with many keywords once', async () => {
    await shop.register(ann, { category: 8, keywords: ['a', 'b', 'c'] }, { category: 8, keywords: [] })
    assert.deepEqual(await list(), { categories: [{ category: 8, items_on_sale: 2 }] })
  })

  it('lists every category once, whatever the pages', async () => {
    await shop.register(ann, ...Array.from({ length: 7 }, (_, number) => ({ category: number * 9 })))
    const { categories: all } = await list()
    assert.equal(all.length, 7)
    for (const limit of [1, 2, 6, 7]) {
      const paged: typeof all = []
      let cursor: string | undefined
      do {
        const page = await list({ limit, ...(cursor === undefined ? {} : { cursor }) })
        paged.push(...page.categories)
        cursor = page.next_cursor
      } while (cursor !== undefined)
      assert.deepEqual(paged, all, `pages of ${limit}`)
    }
  })

  it('counts to 10,000, and says when there are more', async () => {
    for (const [category, items] of [
      [1, 10_000],
      [2, 10_001],
      [3, 25_000],
    ]) {
      const sql = `INSERT INTO item_keyword SELECT ${category}, '', seq FROM seq_1_to_${items}`
      await shop.marketplace.sql('product', sql)
    }
    assert.deepEqual(await list(), {
      categories: [
        { category: 1, items_on_sale: 10_000 },
        { category: 2, items_on_sale: 10_000, or_more: true },
        { category: 3, items_on_sale: 10_000, or_more: true },
      ],
    })
  })

  it('answers each of many calls in one batch with its own page', async () => {
    await shop.register(ann, ...[5, 6, 7].map((category) => ({ category })))
    const asked = [{}, { limit: 1 }, { cursor: '5', limit: 1 }, {}, { cursor: '6' }, { cursor: '65535' }]
    const calls = asked.map((params): RawCall => ['list_categories', { session: bob.session, ...params }])
    const pages = (await callTogether(shop.buyers, calls)).map(
      ({ result }) => result as { categories: { category: number }[]; next_cursor?: string },
    )
    assert.deepEqual(
      pages.map(({ categories }) => categories.map(({ category }) => category)),
      [[5, 6, 7], [5], [6], [5, 6, 7], [7], []],
    )
    assert.deepEqual(
      pages.map(({ next_cursor }) => next_cursor !== undefined),
      [false, true, true, false, false, false],
    )
  })

  it('refuses cursors that it cannot have given', async () => {
    for (const cursor of ['', '-1', '1.5', 'x', '01', '123456']) {
      const refusal = await shop.buyer.refusal('list_categories', { session: bob.session, cursor })
      assert.equal(refusal.code, 'invalid_params', cursor)
    }
  })
})
