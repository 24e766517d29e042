/**
 * Everybody wants the same things at the same moment, over several servers:
 * one gets the last unit, nothing is sold that is not there, no call fails for
 * the sake of another, and one key has one effect. In the end what clients were
 * told is audited against the database.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { CallRefused } from '../../src/client/connection.ts'
import type { Role } from '../../src/contract/operations.ts'
import { anItem, Caller } from '../support/clients.ts'
import { FlashSale } from '../support/flash-sale.ts'
import { KEYED_CALLS, KEYED_OPERATIONS, type Lines } from '../support/keyed-calls.ts'
import { Books, type Client, gather, WITHOUT_KEY } from '../support/ledger-clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { below, diceOf, ROUNDS } from '../support/random.ts'

const BUYERS = 200
const SELLERS = 4
const PATIENCE_MS = 40_000
/** Whatever the machine is busy with: what is tested is not how fast it is. */
const PATIENT = { limitRequestMs: 30_000 }

let marketplace: TestMarketplace
let sellerServers: [RunningServer<'seller'>, RunningServer<'seller'>]
let buyerServers: [RunningServer<'buyer'>, RunningServer<'buyer'>]

before(async () => {
  marketplace = await startTestMarketplace()
  sellerServers = await Promise.all([marketplace.serve('seller', PATIENT), marketplace.serve('seller', PATIENT)])
  buyerServers = await Promise.all([marketplace.serve('buyer', PATIENT), marketplace.serve('buyer', PATIENT)])
})
after(() => marketplace?.close())
afterEach(() => {
  for (const { program } of [...sellerServers, ...buyerServers]) assert.equal(program.log, '')
})

function lineTo<R extends Role>(servers: readonly RunningServer<R>[], number: number): Promise<Caller<R>> {
  return Caller.connect(servers[number % servers.length] as RunningServer<R>, PATIENCE_MS)
}

/** New clients, in equal parts on the two servers, each with a connection of its own. */
const newSellers = (books: Books, count: number) =>
  gather(marketplace, 'seller', count, books, (number) => lineTo(sellerServers, number))
const newBuyers = (books: Books, count: number) =>
  gather(marketplace, 'buyer', count, books, (number) => lineTo(buyerServers, number))

describe('200 buyers over two servers', () => {
  it('who want the last unit at the same time: one gets it, all others are told that none is left', async (test) => {
    const random = diceOf(test)
    const books = await Books.open(marketplace)
    const [seller] = await newSellers(books, 1)
    const buyers = await newBuyers(books, BUYERS)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1 }))
    let empty: readonly Client<'buyer'>[] = buyers // those whose cart is
    for (let round = 0; round < 10 * ROUNDS; round += 1) {
      await Promise.all(empty.map((buyer) => buyer.call('add_item_to_cart', { item_id, quantity: 1 })))
      const outcomes = await Promise.all(
        buyers.map((buyer) => buyer.attempt('make_purchase', random() < 0.5 ? {} : WITHOUT_KEY, 'out_of_stock')),
      )
      empty = buyers.filter((_, number) => !(outcomes[number] instanceof CallRefused))
      assert.equal(empty.length, 1, `${empty.length} got it in round ${round}`)
      const short = { item_id, requested: 1, available: 0 }
      for (const refused of outcomes.filter((outcome) => outcome instanceof CallRefused)) {
        assert.deepEqual(refused.details, { code: 'out_of_stock', ...short, items: [short] })
      }
      await seller.call('update_units_for_sale', { item_id, change: 1 })
    }
    await books.audit()
  })

  it('at a flash sale buy all there is, each cart whole, while sellers change prices and units', async (test) => {
    const random = diceOf(test)
    const books = await Books.open(marketplace)
    const [sellers, buyers] = await Promise.all([newSellers(books, SELLERS), newBuyers(books, BUYERS)])
    for (let round = 0; round < ROUNDS; round += 1) {
      const sale = new FlashSale({ sellers, buyers, items: 10, units: 100, changes: 40, random })
      const begunMs = performance.now()
      await sale.hold()
      test.diagnostic(`${sale.toString()}, ${Math.round(performance.now() - begunMs)} ms`)
      assert.deepEqual(sale.failures, {})
    }
    const { item } = await books.audit()
    assert.deepEqual(
      item.filter(({ name, quantity }) => name.startsWith('Offer') && quantity > 0),
      [],
    )
  })
})

describe('a cart', () => {
  it('bought at the same time over several connections without a key is bought once', async (test) => {
    const random = diceOf(test)
    const books = await Books.open(marketplace)
    const [seller] = await newSellers(books, 1)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000_000 }))
    const lines = await Promise.all([0, 0, 1, 1].map((number) => lineTo(buyerServers, number)))
    for (let round = 0; round < 20 * ROUNDS; round += 1) {
      const [buyer] = await newBuyers(books, 1)
      await buyer.call('add_item_to_cart', { item_id, quantity: 1 + below(5, random) })
      const outcomes = await Promise.all(
        lines.map((line) => buyer.over(line).attempt('make_purchase', WITHOUT_KEY, 'cart_empty')),
      )
      assert.equal(outcomes.filter((outcome) => !(outcome instanceof CallRefused)).length, 1)
    }
    await books.audit()
  })

  it('filled at the same time over several connections, its first calls, has every unit', async () => {
    const books = await Books.open(marketplace)
    const [seller] = await newSellers(books, 1)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000_000 }))
    const lines = await Promise.all([0, 0, 1, 1].map((number) => lineTo(buyerServers, number)))
    for (let round = 0; round < 10 * ROUNDS; round += 1) {
      const [buyer] = await newBuyers(books, 1)
      const calls = Array.from({ length: 12 }, (_, number) => buyer.over(lines[number % 4] as Caller<'buyer'>))
      const answers = await Promise.all(calls.map((each) => each.call('add_item_to_cart', { item_id, quantity: 1 })))
      assert.deepEqual(
        answers.map(({ quantity }) => quantity).toSorted((a, b) => a - b),
        calls.map((_, number) => number + 1),
      )
    }
    await books.audit()
  })
})

describe('equal keys at the same time, over two connections to one server or to two', () => {
  for (const operation of KEYED_OPERATIONS) {
    it(`have one effect and equal answers: ${operation}`, async () => {
      const books = await Books.open(marketplace)
      const [[seller], [buyer]] = await Promise.all([newSellers(books, 1), newBuyers(books, 1)])
      const lines = await Promise.all([0, 0, 1].map(linesTo))
      for (let round = 0; round < 20 * ROUNDS; round += 1) {
        const call = await KEYED_CALLS[operation](seller, buyer)
        const racing = round % 2 === 0 ? lines.slice(0, 2) : lines.slice(1, 3)
        const [one, other] = await Promise.all(racing.map(call))
        assert.deepEqual(one, other)
      }
      await books.audit()
    })
  }
})

async function linesTo(number: number): Promise<Lines> {
  const [seller, buyer] = await Promise.all([lineTo(sellerServers, number), lineTo(buyerServers, number)])
  return { seller, buyer }
}
