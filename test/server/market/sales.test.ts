import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Params } from '../../../src/contract/operations.ts'
import type { AccountSession, NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, type Shop } from '../../support/shop.ts'

let shop: Shop
let ann: NamedSession
let dan: NamedSession

before(async () => {
  shop = await openShop()
  ann = await shop.newSeller()
  dan = await shop.newSeller()
})
after(() => shop?.close())

type Options = Omit<Params<'seller', 'get_seller_sales'>, 'session' | 'limit'> & { limit?: number }

const list = ({ session }: AccountSession, options: Options = {}) =>
  shop.seller.call('get_seller_sales', { session, ...options })

describe('get_seller_sales', () => {
  it('shows lines and totals of the own items only, newest first, without their buyers', async () => {
    const fields = { quantity: 9 }
    const [lamp, rug] = (await shop.register(
      ann,
      { name: 'Lamp', price_cents: 250, ...fields },
      { name: 'Rug', price_cents: 1_000, ...fields },
    )) as [number, number]
    const [chair] = (await shop.register(dan, { name: 'Chair', price_cents: 7 })) as [number]
    assert.deepEqual(await list(ann), { items_sold: 0, sales_cents: 0, sales: [] })
    const [bob, carl] = (await shop.newBuyers(2)) as [NamedSession, NamedSession]
    const first = await shop.purchase(bob, [lamp, 2], [chair, 1], [rug, 1])
    const second = await shop.purchase(carl, [lamp, 3])
    const { sales, ...totals } = await list(ann)
    assert.deepEqual(totals, { items_sold: 6, sales_cents: 2_250 })
    const line = (purchase: { purchase_id: number }, item_id: number, fields: object) => ({
      purchase_id: purchase.purchase_id,
      item_id,
      ...fields,
    })
    assert.deepEqual(
      sales.map(({ purchased_at: _, ...sale }) => sale),
      [
        line(second, lamp, { name: 'Lamp', quantity: 3, price_cents: 250, total_cents: 750 }),
        line(first, rug, { name: 'Rug', quantity: 1, price_cents: 1_000, total_cents: 1_000 }),
        line(first, lamp, { name: 'Lamp', quantity: 2, price_cents: 250, total_cents: 500 }),
      ],
    )
    const { purchases } = await shop.buyer.call('get_buyer_purchases', { session: carl.session })
    assert.equal(sales[0]?.purchased_at, purchases[0]?.purchased_at)
    assert.deepEqual((await list(dan)).sales.length, 1)
  })

  it('keeps prices as they were', async () => {
    const seller = await shop.newSeller()
    const [item] = (await shop.register(seller, { price_cents: 100, quantity: 9 })) as [number]
    await shop.purchase(await shop.newBuyer(), [item, 2])
    await shop.seller.call('change_item_price', { session: seller.session, item_id: item, price_cents: 9_999 })
    const { sales, sales_cents } = await list(seller)
    assert.deepEqual([sales[0]?.price_cents, sales_cents], [100, 200])
  })

  it('shows every line once, whatever the pages, also when one ends within a purchase', async () => {
    const seller = await shop.newSeller()
    const items = await shop.register(seller, ...Array.from({ length: 5 }, () => ({ quantity: 100 })))
    const bob = await shop.newBuyer()
    for (let number = 0; number < 4; number += 1) {
      await shop.purchase(bob, ...items.map((item): [number, number] => [item, 1]))
    }
    const { sales: all } = await list(seller, { limit: 100 })
    assert.equal(all.length, 20)
    for (const limit of [1, 3, 5, 7, 19, 20]) {
      const paged: typeof all = []
      let cursor: string | undefined
      do {
        const page = await list(seller, { limit, ...(cursor === undefined ? {} : { cursor }) })
        assert.ok(page.sales.length <= limit)
        assert.equal(page.items_sold, 20)
        paged.push(...page.sales)
        cursor = page.next_cursor
      } while (cursor !== undefined)
      assert.deepEqual(paged, all, `pages of ${limit}`)
    }
  })

  it('counts no sales beyond what a number on the wire can say', async () => {
    const seller = await shop.newSeller()
    const most = { price_cents: 1_000_000_000, quantity: 1_000_000 }
    const items = await shop.register(seller, ...Array.from({ length: 100 }, () => most))
    const bob = await shop.newBuyer()
    for (let number = 0; number < 10; number += 1) {
      await shop.purchase(bob, ...items.map((item): [number, number] => [item, 10_000]))
    }
    const { items_sold, sales_cents } = await list(seller, { limit: 1 })
    assert.deepEqual([items_sold, sales_cents], [10_000_000, Number.MAX_SAFE_INTEGER])
  })

  it('answers each of many calls in one batch with its own page', async () => {
    const sellers = await shop.newSellers(3)
    const bob = await shop.newBuyer()
    for (const [number, seller] of sellers.entries()) {
      const items = await shop.register(seller, ...Array.from({ length: number + 1 }, () => ({})))
      await shop.purchase(bob, ...items.map((item): [number, number] => [item, 1]))
    }
    const calls = sellers.map(({ session }): RawCall => ['get_seller_sales', { session, limit: 2 }])
    const pages = (await callTogether(shop.sellers, calls)).map(({ result }) => result as { sales: unknown[] })
    assert.deepEqual(
      pages.map(({ sales, ...page }) => [sales.length, 'next_cursor' in page]),
      [
        [1, false],
        [2, false],
        [2, true],
      ],
    )
  })

  it('refuses cursors that it cannot have given, and limits beyond 100', async () => {
    for (const cursor of ['', '1', '1-', '-1', '0-1', '1-0', '1-1-1', '1 1', `${'9'.repeat(17)}-1`]) {
      const refusal = await shop.seller.refusal('get_seller_sales', { session: ann.session, cursor })
      assert.equal(refusal.code, 'invalid_params', cursor)
    }
    const refusal = await shop.seller.refusal('get_seller_sales', { session: ann.session, limit: 101 })
    assert.equal(refusal.code, 'invalid_params')
  })
})
