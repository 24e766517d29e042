import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Arguments } from '../../../src/client/connection.ts'
import { repostItems } from '../../../src/server/market/items.ts'
import type { AccountSession, NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, resultOrCode, type Shop, withRowsHeld } from '../../support/shop.ts'

let shop: Shop
let ann: NamedSession
let bob: AccountSession

before(async () => {
  shop = await openShop()
  ann = await shop.newSeller()
  bob = await shop.newBuyer()
})
after(() => shop?.close())

type Changes = Omit<Arguments<'seller', 'edit_item'>, 'session' | 'item_id'>

const edit = (item_id: number, changes: Changes, { session }: AccountSession = ann) =>
  shop.seller.call('edit_item', { session, item_id, ...changes })
/** The ids that a search finds. */
const search = async (category: number, ...keywords: string[]) => {
  const { items } = await shop.buyer.call('search_items', { session: bob.session, category, keywords })
  return items.map(({ item_id }) => item_id)
}
const postings = (itemId: number) =>
  shop.rows('SELECT category, keyword FROM item_keyword WHERE item_id = ? ORDER BY category, keyword', [itemId])

describe('edit_item', () => {
  it('changes what is given, and nothing else', async () => {
    const [item] = (await shop.register(ann, { category: 1 })) as [number]
    let expected = await shop.item(item)
    const edits: Changes[] = [
      { name: 'Cafe\u0301 lamp' },
      { condition: 'used' },
      { keywords: ['Desk', 'desk', 'old'] },
      { category: 2 },
      { keywords: [] },
      { name: 'Lamp', category: 3, keywords: ['a'], condition: 'new' },
    ]
    for (const changes of edits) {
      expected = { ...expected, ...(changes as object) }
      if (changes.name !== undefined) expected.name = String(changes.name).normalize('NFC')
      if (changes.keywords?.length === 3) expected.keywords = ['desk', 'old']
      assert.deepEqual(await edit(item, changes), expected)
      assert.deepEqual(await shop.item(item), expected)
    }
  })

  it('moves an item on sale to its new keywords and category', async () => {
    const [item] = (await shop.register(ann, { category: 10, keywords: ['lamp', 'desk'] })) as [number]
    await edit(item, { keywords: ['desk', 'old'] })
    assert.deepEqual(await search(10, 'lamp'), [])
    for (const words of [['desk'], ['old'], []]) assert.deepEqual(await search(10, ...words), [item])
    await edit(item, { category: 11 })
    for (const words of [['desk'], ['old'], []]) {
      assert.deepEqual(await search(10, ...words), [])
      assert.deepEqual(await search(11, ...words), [item])
    }
    await edit(item, { keywords: [] })
    assert.deepEqual(await search(11, 'desk'), [])
    assert.deepEqual(await postings(item), [[11, '']])
  })

  it('neither deletes nor writes a posting that stays', () => {
    const before = { item_id: 1, category: 3, keywords: ['desk', 'lamp'] }
    const rows = (after: Partial<typeof before>) =>
      repostItems([{ before, after: { ...before, ...after } }]).map(
        (statement) => 'rows' in statement && statement.rows,
      )
    assert.deepEqual(rows({}), [[], []])
    assert.deepEqual(rows({ keywords: ['lamp', 'old'] }), [[[3, 'desk', 1]], [[3, 'old', 1]]])
    assert.deepEqual(rows({ category: 4, keywords: [] }), [
      [
        [3, '', 1],
        [3, 'desk', 1],
        [3, 'lamp', 1],
      ],
      [[4, '', 1]],
    ])
  })

  it('leaves a sold-out item unfound until it is on sale again, under its new keywords', async () => {
    const [item] = (await shop.register(ann, { category: 12, keywords: ['lamp'], quantity: 1 })) as [number]
    await shop.purchase(bob, [item, 1])
    await edit(item, { keywords: ['rug'], category: 13 })
    assert.deepEqual(await postings(item), [])
    await shop.seller.call('update_units_for_sale', { session: ann.session, item_id: item, change: 2 })
    assert.deepEqual(await postings(item), [
      [13, ''],
      [13, 'rug'],
    ])
  })

  it('shows in carts, and not in purchases from before', async () => {
    const seller = await shop.newSeller()
    const buyer = await shop.newBuyer()
    const [item] = (await shop.register(seller, { name: 'Lamp', quantity: 9 })) as [number]
    await shop.purchase(buyer, [item, 1])
    await shop.add(buyer, [item, 1])
    await edit(item, { name: 'Rug' }, seller)
    assert.equal((await shop.cart(buyer))[0]?.name, 'Rug')
    const { lines } = await shop.buyer.call('make_purchase', { session: buyer.session })
    assert.equal(lines[0]?.name, 'Rug')
    const { purchases } = await shop.buyer.call('get_buyer_purchases', { session: buyer.session })
    assert.deepEqual(
      purchases.map(({ lines }) => lines[0]?.name),
      ['Rug', 'Lamp'],
    )
    const { sales } = await shop.seller.call('get_seller_sales', { session: seller.session })
    assert.deepEqual(
      sales.map(({ name }) => name),
      ['Rug', 'Lamp'],
    )
  })

  it('refuses items of others and unknown ones with not_found, and changes nothing', async () => {
    const dan = await shop.newSeller()
    const [item] = (await shop.register(dan, {})) as [number]
    const before = await shop.item(item)
    for (const item_id of [item, 999_999_999]) {
      const params = { session: ann.session, item_id, name: 'Mine' }
      assert.equal((await shop.seller.refusal('edit_item', params)).code, 'not_found')
    }
    assert.deepEqual(await shop.item(item), before)
  })

  it('refuses to change nothing, and values that an item cannot have', async () => {
    const [item_id] = (await shop.register(ann, {})) as [number]
    const nothing = await shop.seller.refusal('edit_item', { session: ann.session, item_id })
    assert.equal(nothing.code, 'invalid_params')
    assert.deepEqual(nothing.details.fields, { '(fields)': 'give a name, category, keywords or condition' })
    for (const changes of [{ name: '' }, { category: 65_536 }, { keywords: ['toolongaword'] }, { price_cents: 1 }]) {
      const params = { session: ann.session, item_id, ...changes } as Arguments<'seller', 'edit_item'>
      assert.equal((await shop.seller.refusal('edit_item', params)).code, 'invalid_params')
    }
  })

  it('carries out several edits of an item in one batch in their order', async () => {
    const [item, other] = (await shop.register(ann, { category: 20 }, { category: 20 })) as [number, number]
    const call = (item_id: number, changes: Changes): RawCall => [
      'edit_item',
      { session: ann.session, item_id, ...changes },
    ]
    const replies = await callTogether(shop.sellers, [
      call(item, { category: 21, keywords: ['a'] }),
      call(999_999_999, { name: 'None' }),
      call(item, { keywords: ['b', 'c'] }),
      call(other, { name: 'Other' }),
      call(item, { category: 20, name: 'Last' }),
    ])
    assert.deepEqual(
      replies.map(resultOrCode).map((result) => (typeof result === 'object' ? 'ok' : result)),
      ['ok', 'not_found', 'ok', 'ok', 'ok'],
    )
    const { name, category, keywords } = await shop.item(item)
    assert.deepEqual([name, category, keywords], ['Last', 20, ['b', 'c']])
    assert.deepEqual(await postings(item), [
      [20, ''],
      [20, 'b'],
      [20, 'c'],
    ])
    assert.equal((await shop.item(other)).name, 'Other')
  })

  it('waits for an item that another transaction holds, and lets edits of others pass', async () => {
    const [held, free] = (await shop.register(ann, {}, {})) as [number, number]
    let isDone = false
    const waiting = await withRowsHeld(shop.marketplace, [{ table: 'item', key: 'id', id: held }], async () => {
      const waiting = edit(held, { name: 'Late' }).finally(() => {
        isDone = true
      })
      assert.equal((await edit(free, { name: 'Soon' })).name, 'Soon')
      assert.equal(isDone, false)
      return [waiting]
    })
    assert.equal((await waiting[0])?.name, 'Late')
  })

  it('loses no other change that is made at the same time', async () => {
    const [item] = (await shop.register(ann, { category: 30, quantity: 100, price_cents: 1 })) as [number]
    const buyers = await shop.newBuyers(10)
    await Promise.all(buyers.map((buyer) => shop.add(buyer, [item, 1])))
    const { session } = ann
    const work = buyers.flatMap((buyer, number) => [
      shop.buyer.call('make_purchase', { session: buyer.session }),
      shop.seller.call('update_units_for_sale', { session, item_id: item, change: 3 }),
      shop.seller.call('change_item_price', { session, item_id: item, price_cents: 50 }),
      edit(item, { name: `Lamp ${number}` }),
      edit(item, { keywords: [`w${number}`], category: 30 + (number % 2) }),
      edit(item, { condition: 'used' }),
    ])
    await Promise.all(work)
    const shown = await shop.item(item)
    assert.deepEqual([shown.quantity, shown.price_cents, shown.condition], [100 - 10 + 30, 50, 'used'])
    assert.match(shown.name, /^Lamp \d$/)
    const [word = ''] = shown.keywords
    assert.equal(shown.category, 30 + (Number(word.slice(1)) % 2), 'both of one edit')
    assert.deepEqual(await postings(item), [
      [shown.category, ''],
      [shown.category, word],
    ])
  })
})
