/**
 * Votes and scores: who may vote, what a vote changes, and that scores are
 * always the sums of the purchases and votes.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { CallRefused } from '../../../src/client/connection.ts'
import { seeded } from '../../../src/loadgen/random.ts'
import { Caller, openAccount } from '../../support/clients.ts'
import type { AccountSession, NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, resultOrCode, SHOP_SETTINGS, type Shop } from '../../support/shop.ts'

let shop: Shop
let ann: AccountSession

before(async () => {
  shop = await openShop()
  ann = await shop.newSeller()
})
after(() => shop?.close())

type Vote = 'up' | 'down'
const vote = ({ session }: AccountSession, item_id: number, vote: Vote) =>
  shop.buyer.call('provide_feedback', { session, item_id, vote })

/** Registers an item of a new seller, which each of `count` new buyers purchases. */
async function sellTo(count: number): Promise<{ seller: NamedSession; item: number; buyers: AccountSession[] }> {
  const seller = await shop.newSeller()
  const [item] = (await shop.register(seller, { quantity: 100 })) as [number]
  const buyers = await shop.newBuyers(count)
  await Promise.all(buyers.map((bob) => shop.purchase(bob, [item, 1])))
  return { seller, item, buyers }
}

/** The thumbs up and down of an item and of its seller. Sellers and buyers must see the same. */
async function readThumbs({ id, session }: AccountSession, item: number) {
  const visitor = await shop.newBuyer()
  const [shown, seenBySeller, seenByBuyer] = await Promise.all([
    shop.item(item),
    shop.seller.call('get_seller_rating', { session }),
    shop.buyer.call('get_seller_rating', { session: visitor.session, seller_id: id }),
  ])
  assert.deepEqual(seenByBuyer, seenBySeller)
  const { thumbs_up, thumbs_down } = seenBySeller
  return { item: [shown.thumbs_up, shown.thumbs_down], seller: [thumbs_up, thumbs_down] }
}

describe('provide_feedback', () => {
  it('changes the votes of the item and of its seller together', async () => {
    const { seller, item, buyers } = await sellTo(3)
    const [bob, carl, eve] = buyers as [AccountSession, AccountSession, AccountSession]
    assert.deepEqual(await vote(bob, item, 'up'), { ok: true })
    assert.deepEqual(await readThumbs(seller, item), { item: [1, 0], seller: [1, 0] })
    await vote(carl, item, 'down')
    await vote(eve, item, 'up')
    assert.deepEqual(await readThumbs(seller, item), { item: [2, 1], seller: [2, 1] })
  })

  it('adds up the votes on all items of a seller', async () => {
    const { seller, item, buyers } = await sellTo(1)
    const [bob] = buyers as [AccountSession]
    const [other] = (await shop.register(seller, {})) as [number]
    await shop.purchase(bob, [other, 1])
    await vote(bob, item, 'up')
    await vote(bob, other, 'up')
    assert.deepEqual(await readThumbs(seller, other), { item: [1, 0], seller: [2, 0] })
  })

  it('counts one vote per buyer and item, which a later vote replaces', async () => {
    const { seller, item, buyers } = await sellTo(2)
    const [bob, carl] = buyers as [AccountSession, AccountSession]
    await vote(carl, item, 'up')
    for (const [given, up, down] of [
      ['up', 2, 0],
      ['up', 2, 0],
      ['down', 1, 1],
      ['down', 1, 1],
      ['up', 2, 0],
    ] as const) {
      await vote(bob, item, given)
      assert.deepEqual(await readThumbs(seller, item), { item: [up, down], seller: [up, down] })
    }
    const later = await shop.newSession(bob)
    await shop.purchase(later, [item, 1])
    await vote(later, item, 'down')
    assert.deepEqual(await readThumbs(seller, item), { item: [1, 1], seller: [1, 1] })
    const rows = await shop.rows('SELECT buyer_id, vote FROM feedback WHERE item_id = ? ORDER BY buyer_id', [item])
    assert.deepEqual(rows, [
      [bob.id, 'down'],
      [carl.id, 'up'],
    ])
  })

  it('counts the last vote, once, when one batch replaces a vote many times', async () => {
    const { seller, item, buyers } = await sellTo(2)
    const [bob, carl] = buyers as [AccountSession, AccountSession]
    const votes: [AccountSession, Vote][] = [
      [bob, 'up'],
      [bob, 'down'],
      [carl, 'down'],
      [bob, 'up'],
      [carl, 'down'],
      [bob, 'down'],
      [carl, 'up'],
    ]
    const calls = votes.map(([{ session }, vote]): RawCall => ['provide_feedback', { session, item_id: item, vote }])
    for (const reply of await callTogether(shop.buyers, calls)) assert.deepEqual(resultOrCode(reply), { ok: true })
    assert.deepEqual(await readThumbs(seller, item), { item: [1, 1], seller: [1, 1] })
  })

  it('refuses votes on items that the buyer has not purchased, and changes nothing', async () => {
    const { item, buyers } = await sellTo(1)
    const [bob] = buyers as [AccountSession]
    const [never] = (await shop.register(ann, { quantity: 5 })) as [number]
    await shop.add(bob, [never, 1]) // in the cart, but not purchased
    const before = await shop.snapshot()
    const carl = await shop.newBuyer()
    const refusal = async ({ session }: AccountSession, item_id: number) =>
      (await shop.buyer.refusal('provide_feedback', { session, item_id, vote: 'up' })).details
    assert.deepEqual(await refusal(carl, item), { code: 'not_purchased' })
    assert.deepEqual(await refusal(bob, never), { code: 'not_purchased' })
    assert.deepEqual(await refusal(bob, 999_999_999), { code: 'not_found' })
    assert.deepEqual(await shop.snapshot(), before)
  })

  it('tells valid votes from invalid ones within one batch', async () => {
    const { seller, item, buyers } = await sellTo(1)
    const [bob] = buyers as [AccountSession]
    const carl = await shop.newBuyer()
    const calls = [
      { session: bob.session, item_id: 999_999_999, vote: 'up' },
      { session: carl.session, item_id: item, vote: 'up' },
      { session: bob.session, item_id: item, vote: 'down' },
    ].map((params): RawCall => ['provide_feedback', params])
    const answers = (await callTogether(shop.buyers, calls)).map(resultOrCode)
    assert.deepEqual(answers, ['not_found', 'not_purchased', { ok: true }])
    assert.deepEqual(await readThumbs(seller, item), { item: [0, 1], seller: [0, 1] })
  })

  it('accepts votes on an item that is sold out', async () => {
    const [item] = (await shop.register(ann, { quantity: 1 })) as [number]
    const bob = await shop.newBuyer()
    await shop.purchase(bob, [item, 1])
    await vote(bob, item, 'down')
    assert.equal((await shop.item(item)).thumbs_down, 1)
  })

  it('accepts only up and down', async () => {
    const { item, buyers } = await sellTo(1)
    const [bob] = buyers as [AccountSession]
    for (const vote of ['', 'UP', 'sideways', 1, true, null]) {
      const params = { session: bob.session, item_id: item, vote: vote as Vote }
      assert.equal((await shop.buyer.refusal('provide_feedback', params)).code, 'invalid_params')
    }
  })
})

describe('get_seller_rating', () => {
  const getRating = async (seller_id: number) => {
    const { session } = await shop.newBuyer()
    return shop.buyer.call('get_seller_rating', { session, seller_id })
  }

  it('counts the units sold', async () => {
    const { seller, item, buyers } = await sellTo(2)
    await shop.purchase(buyers[0] as AccountSession, [item, 40])
    const rating = { seller_name: seller.name, thumbs_up: 0, thumbs_down: 0, items_sold: 42 }
    assert.deepEqual(await shop.seller.call('get_seller_rating', { session: seller.session }), rating)
    assert.deepEqual(await getRating(seller.id), rating)
  })

  it('gives zeros for a seller who sold nothing, and refuses an unknown seller with not_found', async () => {
    const { id, session } = await openAccount(shop.seller)
    const zeros = { seller_name: 'Ann', thumbs_up: 0, thumbs_down: 0, items_sold: 0 }
    assert.deepEqual(await shop.seller.call('get_seller_rating', { session }), zeros)
    assert.deepEqual(await getRating(id), zeros)
    await assert.rejects(getRating(999_999_999), { code: 'not_found' })
  })

  it('answers each of many calls in one batch with its own seller', async () => {
    const { id } = await openAccount(shop.seller)
    const { seller, item, buyers } = await sellTo(1)
    await vote(buyers[0] as AccountSession, item, 'up')
    const { session } = await shop.newBuyer()
    const asked = [seller.id, 999_999_999, id, seller.id]
    const calls = asked.map((seller_id): RawCall => ['get_seller_rating', { session, seller_id }])
    const rated = { seller_name: seller.name, thumbs_up: 1, thumbs_down: 0, items_sold: 1 }
    const zeros = { seller_name: 'Ann', thumbs_up: 0, thumbs_down: 0, items_sold: 0 }
    assert.deepEqual((await callTogether(shop.buyers, calls)).map(resultOrCode), [rated, 'not_found', zeros, rated])
  })
})

describe('after many random concurrent calls,', () => {
  it('scores and quantities are the sums of the registrations, changes, purchases and votes', async () => {
    const random = seeded(20_261_122)
    const pick = <T>(things: readonly T[]) => things[Math.floor(random() * things.length)] as T
    const servers = [shop.buyers, await shop.marketplace.serve('buyer', SHOP_SETTINGS)]
    const buyers = await Promise.all(
      (await shop.newBuyers(16)).map(async (bob, index) => {
        const caller = await Caller.connect(servers[index % 2] ?? shop.buyers)
        return { caller, ...bob }
      }),
    )
    const seller = await shop.newSeller()
    const also = await shop.newSeller()
    const fields = Array.from({ length: 6 }, () => ({ quantity: 30, category: 80 }))
    const items = [...(await shop.register(seller, ...fields)), ...(await shop.register(also, ...fields))]
    const weighted: [weight: number, call: (buyer: (typeof buyers)[number], item_id: number) => Promise<unknown>][] = [
      [
        9,
        ({ caller, session }, item_id) =>
          caller.call('add_item_to_cart', { session, item_id, quantity: pick([1, 2, 5]) }),
      ],
      [5, ({ caller, session }) => caller.call('make_purchase', { session })],
      [
        3,
        ({ caller, session }, item_id) =>
          caller.call('provide_feedback', { session, item_id, vote: pick(['up', 'down']) }),
      ],
      [1, ({ caller, session }) => caller.call('clear_cart', { session })],
      [2, (_, item_id) => changeUnits(item_id, pick([-3, 2, 4]))],
    ]
    const calls = weighted.flatMap(([weight, call]) => Array<typeof call>(weight).fill(call))
    let changed = 0
    async function changeUnits(item_id: number, change: number): Promise<void> {
      await shop.seller.call('update_units_for_sale', { session: seller.session, item_id, change })
      changed += change
    }
    const codes: string[] = []
    await Promise.all(
      buyers.map(async (buyer) => {
        for (let call = 0; call < 40; call += 1) {
          const answer = await pick(calls)(buyer, pick(items)).catch((error) => error)
          codes.push(answer instanceof CallRefused ? answer.code : 'ok')
        }
      }),
    )
    assert.deepEqual([...new Set(codes)].toSorted(), ['cart_empty', 'not_found', 'not_purchased', 'ok', 'out_of_stock'])
    assert.ok(codes.filter((code) => code === 'ok').length > codes.length / 3, 'too few calls succeeded')

    const differences = {
      'seller scores and purchase lines': `SELECT seller_id, items_sold, sales_cents, sold, cents FROM seller_score
        LEFT JOIN (SELECT seller_id, SUM(quantity) AS sold, SUM(quantity * price_cents) AS cents FROM purchase_line
        GROUP BY seller_id) AS sums USING (seller_id)
        WHERE items_sold <> COALESCE(sold, 0) OR sales_cents <> COALESCE(cents, 0)`,
      'purchase lines and their items': `SELECT item_id FROM purchase_line LEFT JOIN item ON item.id = item_id
        WHERE NOT (purchase_line.seller_id <=> item.seller_id AND purchase_line.name <=> item.name)`,
      'purchase lines of sellers without a score': `SELECT item_id FROM purchase_line
        LEFT JOIN seller_score USING (seller_id) WHERE seller_score.seller_id IS NULL`,
      'buyer scores and purchase lines': `SELECT buyer_id, items_purchased, purchased FROM (
        SELECT buyer_id, SUM(quantity) AS purchased FROM purchase_line GROUP BY buyer_id) AS sums
        LEFT JOIN buyer_score USING (buyer_id) WHERE COALESCE(items_purchased, 0) <> purchased`,
      'buyer scores without purchases': `SELECT buyer_id FROM buyer_score
        WHERE buyer_id NOT IN (SELECT buyer_id FROM purchase_line)`,
      'purchases and their purchase lines': `SELECT id, total_cents FROM purchase LEFT JOIN (
        SELECT purchase_id, SUM(quantity * price_cents) AS cents FROM purchase_line GROUP BY purchase_id) AS sums
        ON purchase_id = id WHERE total_cents <> COALESCE(cents, -1)`,
      'votes on items and feedback': `SELECT id, thumbs_up, up, thumbs_down, down FROM item LEFT JOIN (
        SELECT item_id, SUM(vote = 'up') AS up, SUM(vote = 'down') AS down FROM feedback GROUP BY item_id) AS sums
        ON item_id = id WHERE thumbs_up <> COALESCE(up, 0) OR thumbs_down <> COALESCE(down, 0)`,
      'votes on sellers and feedback': `SELECT seller_id, thumbs_up, up, thumbs_down, down FROM seller_score LEFT JOIN (
        SELECT seller_id, SUM(vote = 'up') AS up, SUM(vote = 'down') AS down
        FROM feedback JOIN item ON item.id = item_id GROUP BY seller_id) AS sums
        USING (seller_id) WHERE thumbs_up <> COALESCE(up, 0) OR thumbs_down <> COALESCE(down, 0)`,
      'votes without a purchase': `SELECT buyer_id, item_id FROM feedback
        WHERE (buyer_id, item_id) NOT IN (SELECT buyer_id, item_id FROM purchase_line)`,
      'items on sale without all their keywords, or the other way round': `SELECT id, quantity, words FROM item LEFT JOIN (
        SELECT item_id, COUNT(*) AS words FROM item_keyword GROUP BY item_id) AS sums
        ON item_id = id WHERE COALESCE(words, 0) <> IF(quantity > 0, 2, 0)`,
    }
    for (const [what, sql] of Object.entries(differences)) assert.deepEqual(await shop.rows(sql), [], what)
    const [row] = await shop.rows(
      `SELECT (SELECT SUM(quantity) FROM item WHERE category = 80) + (SELECT SUM(purchase_line.quantity)
       FROM purchase_line JOIN item ON item.id = item_id WHERE category = 80)`,
    )
    assert.equal(Number(row?.[0]), items.length * 30 + changed)
    await Promise.all(buyers.map(({ caller }) => caller.close()))
  })
})
