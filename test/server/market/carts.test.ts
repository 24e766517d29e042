/**
 * Carts: adding and removing items, the limits of a cart, and how a saved cart
 * is copied into the buyer's later sessions.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Caller, openAccount } from '../../support/clients.ts'
import { type RunningServer, until } from '../../support/marketplace.ts'
import type { AccountSession, NamedSession } from '../../support/sessions.ts'
import { callTogether, openShop, type RawCall, resultOrCode, SHOP_SETTINGS, type Shop } from '../../support/shop.ts'

let shop: Shop
/** Another server. Its sessions last ten minutes at most, and ten seconds after its start it sweeps older carts. */
let elsewhere: RunningServer<'buyer'>
let ann: NamedSession
/** Items with 100, 20 and 1,000,000 units. */
let lamp: number
let chair: number
let nail: number

before(async () => {
  shop = await openShop()
  elsewhere = await shop.marketplace.serve('buyer', { ...SHOP_SETTINGS, sessionAbsoluteS: 600 })
  await insertCarts('over ', 3, 601)
  await insertCarts('still ', 3, 280)
  ann = await shop.newSeller()
  const items = [
    { name: 'Lamp', price_cents: 1_999, quantity: 100 },
    { name: 'Chair', price_cents: 5_000, quantity: 20 },
    { name: 'Nail', price_cents: 1, quantity: 1_000_000 },
  ]
  ;[lamp, chair, nail] = (await shop.register(ann, ...items)) as [number, number, number]
})
after(() => shop?.close())

const add = (session: string, item_id: number, quantity: number, more = {}) =>
  shop.buyer.call('add_item_to_cart', { session, item_id, quantity, ...more })
const refusedAdd = (session: string, item_id: number, quantity: number) =>
  shop.buyer.refusal('add_item_to_cart', { session, item_id, quantity })
const remove = (session: string, item_id: number, quantity: number, more = {}) =>
  shop.buyer.call('remove_item_from_cart', { session, item_id, quantity, ...more })
const save = ({ session }: AccountSession) => shop.buyer.call('save_cart', { session })
const clear = ({ session }: AccountSession) => shop.buyer.call('clear_cart', { session })

describe('add_item_to_cart', () => {
  it('answers with the units of the item that are now in the cart', async () => {
    const bob = await shop.newBuyer()
    assert.deepEqual(await add(bob.session, lamp, 2), { quantity: 2 })
    assert.deepEqual(await add(bob.session, chair, 5), { quantity: 5 })
    assert.deepEqual(await add(bob.session, lamp, 3), { quantity: 5 })
    assert.deepEqual(await shop.cartLines(bob), [
      [lamp, 5],
      [chair, 5],
    ])
  })

  it('reserves nothing, so that several carts can hold all units of an item', async () => {
    for (const bob of await shop.newBuyers(3)) assert.deepEqual(await add(bob.session, chair, 20), { quantity: 20 })
    assert.equal((await shop.item(chair)).quantity, 20)
  })

  it('refuses an unknown item with not_found', async () => {
    const bob = await shop.newBuyer()
    assert.equal((await refusedAdd(bob.session, 999_999_999, 1)).code, 'not_found')
    assert.deepEqual(await shop.cartLines(bob), [])
  })

  it('refuses more units than are on sale, counting those in the cart, and leaves the cart unchanged', async () => {
    const bob = await shop.newBuyer()
    await add(bob.session, chair, 15)
    const refusal = await refusedAdd(bob.session, chair, 6)
    const shortage = { item_id: chair, requested: 21, available: 20 }
    assert.deepEqual(refusal.details, { code: 'out_of_stock', ...shortage, items: [shortage] })
    assert.deepEqual(await shop.cartLines(bob), [[chair, 15]])
    assert.deepEqual(await add(bob.session, chair, 5), { quantity: 20 })
  })

  it('compares with the units now on sale, also when they have become fewer than those in the cart', async () => {
    const [item] = (await shop.register(ann, { quantity: 5 })) as [number]
    const bob = await shop.newBuyer()
    await add(bob.session, item, 4)
    await shop.seller.call('update_units_for_sale', { session: ann.session, item_id: item, change: -5 })
    const shortage = { item_id: item, requested: 5, available: 0 }
    const refusal = await refusedAdd(bob.session, item, 1)
    assert.deepEqual(refusal.details, { code: 'out_of_stock', ...shortage, items: [shortage] })
    assert.deepEqual(await shop.cartLines(bob), [[item, 4]])
  })

  it('accepts up to 10,000 units of an item in a cart', async () => {
    const bob = await shop.newBuyer()
    await add(bob.session, nail, 9_999)
    assert.equal((await refusedAdd(bob.session, nail, 2)).code, 'limit_exceeded')
    assert.deepEqual(await add(bob.session, nail, 1), { quantity: 10_000 })
    assert.equal((await refusedAdd(bob.session, nail, 1)).code, 'limit_exceeded')
    assert.deepEqual(await shop.cartLines(bob), [[nail, 10_000]])
  })

  it('accepts up to 100 items in a cart, and then still adds units of these', async () => {
    const items = await shop.register(ann, ...Array.from({ length: 101 }, () => ({ quantity: 10_000 })))
    const last = items.pop() as number
    const bob = await shop.newBuyer()
    const calls = items.map((item_id): RawCall => ['add_item_to_cart', { session: bob.session, item_id, quantity: 1 }])
    for (const reply of await callTogether(shop.buyers, calls)) assert.deepEqual(resultOrCode(reply), { quantity: 1 })
    assert.equal((await refusedAdd(bob.session, last, 1)).code, 'limit_exceeded')
    const most = calls.map(([method, params]): RawCall => [method, { ...params, quantity: 9_999 }])
    for (const reply of await callTogether(shop.buyers, most))
      assert.deepEqual(resultOrCode(reply), { quantity: 10_000 })
    assert.deepEqual(
      await shop.cartLines(bob),
      items.map((item) => [item, 10_000]),
    )
    await remove(bob.session, items[50] as number, 10_000)
    assert.deepEqual(await add(bob.session, last, 1), { quantity: 1 })
  })

  it('counts the units of earlier calls in the same batch', async () => {
    const bob = await shop.newBuyer()
    const calls = [8, 8, 8, 4, 1].map(
      (quantity): RawCall => ['add_item_to_cart', { session: bob.session, item_id: chair, quantity }],
    )
    const answers = (await callTogether(shop.buyers, calls)).map(resultOrCode)
    assert.deepEqual(answers, [{ quantity: 8 }, { quantity: 16 }, 'out_of_stock', { quantity: 20 }, 'out_of_stock'])
  })
})

describe('the quantity', () => {
  for (const operation of ['add_item_to_cart', 'remove_item_from_cart'] as const) {
    it(`of ${operation} must be a whole number from 1 to 10,000`, async () => {
      const bob = await shop.newBuyer()
      await add(bob.session, nail, 5_000)
      const wrong = [0, -1, 1.5, 10_001, 2 ** 53].map((quantity) => ({ item_id: nail, quantity }))
      for (const fields of [...wrong, { item_id: 0, quantity: 1 }, { item_id: -nail, quantity: 1 }]) {
        const refusal = await shop.buyer.refusal(operation, { session: bob.session, ...fields })
        assert.equal(refusal.code, 'invalid_params', JSON.stringify(fields))
      }
      assert.deepEqual(await shop.cartLines(bob), [[nail, 5_000]])
    })
  }
})

describe('remove_item_from_cart', () => {
  it('answers with the units that are left, and removes the cart line with the last of them', async () => {
    const bob = await shop.newBuyer()
    await shop.add(bob, [lamp, 5], [chair, 1])
    assert.deepEqual(await remove(bob.session, lamp, 2), { quantity: 3 })
    assert.deepEqual(await shop.cartLines(bob), [
      [lamp, 3],
      [chair, 1],
    ])
    assert.deepEqual(await remove(bob.session, lamp, 3), { quantity: 0 })
    assert.deepEqual(await shop.cartLines(bob), [[chair, 1]])
  })

  it('refuses to remove more units than the cart has, and says how many it has', async () => {
    const [bob, carl] = (await shop.newBuyers(2)) as [NamedSession, NamedSession]
    await shop.add(bob, [lamp, 2])
    await shop.add(carl, [chair, 2])
    for (const [item_id, quantity, units] of [
      [lamp, 3, 2],
      [chair, 1, 0],
      [999_999_999, 1, 0],
    ] as const) {
      const refusal = await shop.buyer.refusal('remove_item_from_cart', { session: bob.session, item_id, quantity })
      assert.deepEqual(refusal.details, { code: 'not_in_cart', item_id, quantity: units })
    }
    assert.deepEqual(await shop.cartLines(bob), [[lamp, 2]])
  })

  it('removes no more units than there are when one batch has many calls', async () => {
    const bob = await shop.newBuyer()
    await shop.add(bob, [lamp, 7])
    const call: RawCall = ['remove_item_from_cart', { session: bob.session, item_id: lamp, quantity: 3 }]
    const answers = (await callTogether(shop.buyers, [call, call, call])).map(resultOrCode)
    assert.deepEqual(answers, [{ quantity: 4 }, { quantity: 1 }, 'not_in_cart'])
  })

  it('removes also items that are sold out', async () => {
    const [item] = (await shop.register(ann, { quantity: 5 })) as [number]
    const bob = await shop.newBuyer()
    await add(bob.session, item, 4)
    await shop.seller.call('update_units_for_sale', { session: ann.session, item_id: item, change: -5 })
    assert.deepEqual(await remove(bob.session, item, 1), { quantity: 3 })
  })
})

describe('a key', () => {
  it('makes an addition or removal happen once, whatever happens to the cart later', async () => {
    const bob = await shop.newBuyer()
    const key = { idempotency_key: 'add' }
    assert.deepEqual(await add(bob.session, chair, 15, key), { quantity: 15 })
    assert.deepEqual(await add(bob.session, chair, 15, key), { quantity: 15 }) // a second addition would exceed the stock
    assert.deepEqual(await add(bob.session, lamp, 9, { idempotency_key: 'lamps' }), { quantity: 9 })
    assert.deepEqual(await remove(bob.session, lamp, 9, { idempotency_key: 'remove' }), { quantity: 0 })
    assert.deepEqual(await remove(bob.session, lamp, 9, { idempotency_key: 'remove' }), { quantity: 0 })
    await clear(bob)
    assert.deepEqual(await add(bob.session, chair, 15, key), { quantity: 15 })
    assert.deepEqual(await shop.cartLines(bob), [])
  })

  it('is refused with other parameters or for another operation, and changes nothing', async () => {
    const bob = await shop.newBuyer()
    const key = { idempotency_key: 'mine' }
    await add(bob.session, chair, 2, key)
    for (const other of [
      { item_id: chair, quantity: 3 },
      { item_id: lamp, quantity: 2 },
    ]) {
      const refusal = await shop.buyer.refusal('add_item_to_cart', { session: bob.session, ...key, ...other })
      assert.equal(refusal.code, 'idempotency_mismatch')
    }
    const same = { session: bob.session, ...key, item_id: chair, quantity: 2 }
    assert.equal((await shop.buyer.refusal('remove_item_from_cart', same)).code, 'idempotency_mismatch')
    assert.deepEqual(await shop.cartLines(bob), [[chair, 2]])
  })

  it('belongs to the session whose cart it changed: in another session it is another key', async () => {
    const bob = await shop.newBuyer()
    const [also, carl] = [await shop.newSession(bob), await shop.newBuyer()]
    const key = { idempotency_key: 'of the session' }
    assert.deepEqual(await add(bob.session, lamp, 1, key), { quantity: 1 })
    for (const other of [also, carl]) {
      assert.deepEqual(await add(other.session, lamp, 1, key), { quantity: 1 })
      assert.deepEqual(await add(other.session, lamp, 1, key), { quantity: 1 })
      assert.deepEqual(await shop.cartLines(other), [[lamp, 1]])
    }
    const removal = { idempotency_key: 'of the session too' }
    for (const session of [bob.session, also.session, bob.session]) {
      assert.deepEqual(await remove(session, lamp, 1, removal), { quantity: 0 })
    }
    const calls = [bob, also, bob, also].map(({ session }): RawCall => {
      return ['add_item_to_cart', { session, item_id: lamp, quantity: 3, idempotency_key: 'in one batch' }]
    })
    for (const reply of await callTogether(shop.buyers, calls)) assert.deepEqual(resultOrCode(reply), { quantity: 3 })
    for (const each of [bob, also]) assert.deepEqual(await shop.cartLines(each), [[lamp, 3]])
  })

  it('can be used again after its call was refused', async () => {
    const [item] = (await shop.register(ann, { quantity: 1 })) as [number]
    const bob = await shop.newBuyer()
    const call = { session: bob.session, idempotency_key: 'try', item_id: item, quantity: 2 }
    assert.equal((await shop.buyer.refusal('add_item_to_cart', call)).code, 'out_of_stock')
    await shop.seller.call('update_units_for_sale', { session: ann.session, item_id: item, change: 1 })
    assert.deepEqual(await shop.buyer.call('add_item_to_cart', call), { quantity: 2 })
  })
})

describe('display_cart', () => {
  it('shows the cart lines in the order in which their items were first added', async () => {
    const bob = await shop.newBuyer()
    await shop.add(bob, [nail, 1], [lamp, 1], [chair, 1], [lamp, 1])
    assert.deepEqual(
      (await shop.cartLines(bob)).map(([item]) => item),
      [nail, lamp, chair],
    )
    await remove(bob.session, nail, 1)
    await add(bob.session, nail, 1)
    assert.deepEqual(
      (await shop.cartLines(bob)).map(([item]) => item),
      [lamp, chair, nail],
    )
  })

  it('shows the name, the current price, and the units now on sale', async () => {
    const fields = { name: 'Sofa "old" ü', price_cents: 30_000, quantity: 4 }
    const [item] = (await shop.register(ann, fields)) as [number]
    const bob = await shop.newBuyer()
    await add(bob.session, item, 3)
    const line = { item_id: item, name: fields.name, quantity: 3, price_cents: 30_000, available: 4 }
    assert.deepEqual(await shop.cart(bob), [line])
    await shop.seller.call('change_item_price', { session: ann.session, item_id: item, price_cents: 0 })
    await shop.purchase(await shop.newBuyer(), [item, 4])
    assert.deepEqual(await shop.cart(bob), [{ ...line, price_cents: 0, available: 0 }])
  })

  it('shows each session its own cart when many are displayed at the same time', async () => {
    const buyers = await shop.newBuyers(50)
    await Promise.all(buyers.map((bob, index) => add(bob.session, nail, index + 1)))
    const carts = await Promise.all(buyers.map((bob) => shop.cartLines(bob)))
    assert.deepEqual(
      carts,
      buyers.map((_, index) => [[nail, index + 1]]),
    )
  })
})

/** The possible first operations of a session on its cart, and the lamps that each leaves of a saved cart with 2. */
const firstOperations: [about: string, operation: (buyer: AccountSession) => Promise<unknown>, left: number][] = [
  ['display_cart', ({ session }) => shop.buyer.call('display_cart', { session }), 2],
  ['clear_cart', ({ session }) => shop.buyer.call('clear_cart', { session }), 0],
  ['save_cart', ({ session }) => shop.buyer.call('save_cart', { session }), 2],
  ['make_purchase', ({ session }) => shop.buyer.call('make_purchase', { session }), 0],
  ['add_item_to_cart', ({ session }) => add(session, lamp, 1), 3],
  ['a refused add_item_to_cart', ({ session }) => refusedAdd(session, 999_999_999, 1), 2],
  ['remove_item_from_cart', ({ session }) => remove(session, lamp, 1), 1],
  [
    'a refused remove_item_from_cart',
    ({ session }) => shop.buyer.refusal('remove_item_from_cart', { session, item_id: lamp, quantity: 3 }),
    2,
  ],
]

describe('a saved cart', () => {
  for (const [about, operation, left] of firstOperations) {
    it(`is copied into a later session by ${about}, as its first operation on the cart`, async () => {
      const bob = await shop.newBuyer()
      await shop.add(bob, [lamp, 2])
      await save(bob)
      const later = await shop.newSession(bob)
      await operation(later)
      await add(bob.session, chair, 1)
      await save(bob) // too late for the later session
      assert.deepEqual(await shop.cartLines(later), left === 0 ? [] : [[lamp, left]])
      assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), [
        [lamp, 2],
        [chair, 1],
      ])
    })
  }

  it('is copied in its order, and not before the first operation on the cart', async () => {
    const bob = await shop.newBuyer()
    const later = await shop.newSession(bob)
    await shop.buyer.call('search_items', { session: later.session, category: 1 })
    await shop.add(bob, [chair, 1], [lamp, 2])
    await save(bob)
    assert.deepEqual(await shop.cartLines(later), [
      [chair, 1],
      [lamp, 2],
    ])
  })

  it('does not change when the session goes on or clears its cart', async () => {
    const bob = await shop.newBuyer()
    await shop.add(bob, [lamp, 2])
    await save(bob)
    await shop.add(bob, [lamp, 5])
    assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), [[lamp, 2]])
    await clear(bob)
    assert.deepEqual(await shop.cartLines(bob), [])
    assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), [[lamp, 2]])
  })

  it('is replaced by each save, from any session, also by an empty cart', async () => {
    const bob = await shop.newBuyer()
    const also = await shop.newSession(bob)
    await shop.add(bob, [lamp, 1])
    await shop.add(also, [chair, 1])
    for (const [from, saved] of [
      [bob, [[lamp, 1]]],
      [also, [[chair, 1]]],
      [bob, [[lamp, 1]]],
    ] as const) {
      await save(from)
      assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), saved)
    }
    await clear(also)
    await save(also)
    assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), [])
    assert.deepEqual(await shop.cartLines(bob), [[lamp, 1]])
  })

  it('is the last one when one buyer saves many in one batch', async () => {
    const bob = await shop.newBuyer()
    const sessions = await Promise.all(Array.from({ length: 10 }, () => shop.newSession(bob)))
    for (const [index, session] of sessions.entries()) await shop.add(session, [nail, index + 1])
    const calls = sessions.map(({ session }): RawCall => ['save_cart', { session }])
    for (const reply of await callTogether(shop.buyers, calls)) assert.deepEqual(resultOrCode(reply), { ok: true })
    assert.deepEqual(await shop.cartLines(await shop.newSession(bob)), [[nail, 10]])
  })

  it('is not copied into the sessions of other buyers', async () => {
    const [bob, carl] = (await shop.newBuyers(2)) as [NamedSession, NamedSession]
    await shop.add(bob, [lamp, 1])
    await save(bob)
    assert.deepEqual(await shop.cartLines(carl), [])
  })
})

describe('a cart', () => {
  it('belongs to a session, so that two sessions of one buyer have two carts', async () => {
    const bob = await shop.newBuyer()
    const also = await shop.newSession(bob)
    await shop.add(bob, [lamp, 1])
    await shop.add(also, [chair, 2])
    assert.deepEqual(await shop.cartLines(bob), [[lamp, 1]])
    assert.deepEqual(await shop.cartLines(also), [[chair, 2]])
  })

  it('is lost with its session unless it was saved', async () => {
    const { username, password, session } = await openAccount(shop.buyer)
    await add(session, lamp, 2)
    await shop.buyer.call('save_cart', { session })
    await add(session, chair, 1)
    await shop.buyer.call('logout', { session })
    const later = await shop.buyer.call('login', { username, password })
    assert.deepEqual(await shop.cartLines({ id: 0, ...later }), [[lamp, 2]])
  })

  it('is the same on every server', async () => {
    const there = await Caller.connect(elsewhere)
    const { session, ...bob } = await shop.newBuyer()
    await add(session, lamp, 1)
    assert.deepEqual(await there.call('add_item_to_cart', { session, item_id: lamp, quantity: 1 }), { quantity: 2 })
    assert.deepEqual(await remove(session, lamp, 1), { quantity: 1 })
    await there.call('save_cart', { session })
    await clear({ session, ...bob })
    assert.deepEqual((await there.call('display_cart', { session })).lines, [])
    assert.deepEqual(await shop.cartLines(await shop.newSession({ session, ...bob })), [[lamp, 1]])
    await there.close()
  })

  it('counts every unit that is added at the same time over two servers', async () => {
    const { session, ...bob } = await shop.newBuyer()
    const call: RawCall = ['add_item_to_cart', { session, item_id: nail, quantity: 1 }]
    const counts: number[] = []
    await Promise.all(
      [shop.buyers, elsewhere].map(async (server) => {
        for (let round = 0; round < 15; round += 1) {
          const replies = await callTogether(server, [call, call, call, call])
          counts.push(...replies.map(({ result }) => result?.quantity as number))
        }
      }),
    )
    assert.deepEqual(
      counts.toSorted((a, b) => a - b),
      Array.from({ length: 120 }, (_, index) => index + 1),
    )
    assert.deepEqual(await shop.cartLines({ session, ...bob }), [[nail, 120]])
  })

  it('is opened once, as a copy of the saved one, when its first calls come at the same time over two servers', async () => {
    const buyers = await shop.newBuyers(20)
    for (const bob of buyers) {
      await shop.add(bob, [nail, 10])
      await save(bob)
    }
    await Promise.all(
      buyers.map(async (bob) => {
        const { session } = await shop.newSession(bob)
        const calls: RawCall[] = [
          ['display_cart', { session }],
          ['add_item_to_cart', { session, item_id: nail, quantity: 5 }],
          ['remove_item_from_cart', { session, item_id: nail, quantity: 3 }],
          ['save_cart', { session }],
        ]
        const replies = await Promise.all([callTogether(shop.buyers, calls), callTogether(elsewhere, calls)])
        for (const { error } of replies.flat()) assert.equal(error, undefined)
        assert.deepEqual(await shop.cartLines({ id: bob.id, session }), [[nail, 14]])
      }),
    )
  })
})

describe('old carts', () => {
  it('are swept by a server when they are older than its sessions can be, and fresh ones are not', async () => {
    const bob = await shop.newBuyer()
    await shop.add(bob, [lamp, 2])
    await until('the old carts have been swept', async () => (await countCarts('over ')) === 0)
    assert.equal(await countCarts('still '), 3)
    assert.deepEqual(await shop.cartLines(bob), [[lamp, 2]])
    await elsewhere.program.end()
  })
})

/** Writes carts of this age straight into the table. */
async function insertCarts(name: string, count: number, ageS: number): Promise<void> {
  const sql = "INSERT INTO cart SELECT CONCAT(?, seq), 1, '', UNIX_TIMESTAMP() - ? FROM seq_1_to_1000 WHERE seq <= ?"
  await shop.marketplace.sql('product', sql, [name, ageS, count])
}

async function countCarts(name: string): Promise<number> {
  const rows = await shop.rows("SELECT 1 FROM cart WHERE session_hash LIKE CONCAT(?, '%')", [name])
  return rows.length
}
