/**
 * Many clients want the same items at the same time, over several servers: one
 * buyer gets the last unit, nothing is sold that is not in stock, no call makes
 * another fail, and one key has one effect. In the end the auditor holds the
 * clients' ledger against the database.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { CallRefused } from '../../src/client/connection.ts'
import type { Role } from '../../src/contract/operations.ts'
import { below } from '../../src/loadgen/random.ts'
import { anItem, Caller } from '../support/clients.ts'
import { FlashSale } from '../support/flash-sale.ts'
import { KEYED_CALLS, KEYED_OPERATIONS, type RoleCallers } from '../support/keyed-calls.ts'
import { AuditedLedger, type LedgerClient, openLedgerClients, WITHOUT_KEY } from '../support/ledger-clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { ROUNDS, seedRandom } from '../support/random.ts'

const BUYERS = 200
const SELLERS = 4
const PATIENCE_MS = 40_000
/** Long, since the machine may be busy and these tests are not about speed. */
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

function connectTo<R extends Role>(servers: readonly RunningServer<R>[], number: number): Promise<Caller<R>> {
  return Caller.connect(servers[number % servers.length] as RunningServer<R>, PATIENCE_MS)
}

/** New clients, each with a connection of its own, half of them to each server. */
const newSellers = (ledger: AuditedLedger, count: number) =>
  openLedgerClients(marketplace, 'seller', count, ledger, (number) => connectTo(sellerServers, number))
const newBuyers = (ledger: AuditedLedger, count: number) =>
  openLedgerClients(marketplace, 'buyer', count, ledger, (number) => connectTo(buyerServers, number))

describe('two servers with 200 buyers', () => {
  it('sell the last unit to one buyer when all want it at the same time, and tell the others that none is left', async (test) => {
    const random = seedRandom(test)
    const ledger = await AuditedLedger.open(marketplace)
    const [seller] = await newSellers(ledger, 1)
    const buyers = await newBuyers(ledger, BUYERS)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1 }))
    let withEmptyCart: readonly LedgerClient<'buyer'>[] = buyers
    for (let round = 0; round < 10 * ROUNDS; round += 1) {
      await Promise.all(withEmptyCart.map((buyer) => buyer.call('add_item_to_cart', { item_id, quantity: 1 })))
      const answers = await Promise.all(
        buyers.map((buyer) => buyer.attempt('make_purchase', random() < 0.5 ? {} : WITHOUT_KEY, 'out_of_stock')),
      )
      withEmptyCart = buyers.filter((_, number) => !(answers[number] instanceof CallRefused))
      assert.equal(withEmptyCart.length, 1, `${withEmptyCart.length} got it in round ${round}`)
      const shortage = { item_id, requested: 1, available: 0 }
      for (const refused of answers.filter((answer) => answer instanceof CallRefused)) {
        assert.deepEqual(refused.details, { code: 'out_of_stock', ...shortage, items: [shortage] })
      }
      await seller.call('update_units_for_sale', { item_id, change: 1 })
    }
    await ledger.audit()
  })

  it('sell the whole stock at a flash sale, each cart whole, while sellers change prices and units', async (test) => {
    const random = seedRandom(test)
    const ledger = await AuditedLedger.open(marketplace)
    const [sellers, buyers] = await Promise.all([newSellers(ledger, SELLERS), newBuyers(ledger, BUYERS)])
    for (let round = 0; round < ROUNDS; round += 1) {
      const sale = new FlashSale({ sellers, buyers, items: 10, units: 100, changes: 40, random })
      const begunMs = performance.now()
      await sale.run()
      test.diagnostic(`${sale.toString()}, ${Math.round(performance.now() - begunMs)} ms`)
      assert.deepEqual(sale.failures, {})
    }
    const { item } = await ledger.audit()
    assert.deepEqual(
      item.filter(({ name, quantity }) => name.startsWith('Offer') && quantity > 0),
      [],
    )
  })
})

describe('a cart', () => {
  it('is purchased once when several connections purchase it at the same time without a key', async (test) => {
    const random = seedRandom(test)
    const ledger = await AuditedLedger.open(marketplace)
    const [seller] = await newSellers(ledger, 1)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000_000 }))
    const callers = await Promise.all([0, 0, 1, 1].map((number) => connectTo(buyerServers, number)))
    for (let round = 0; round < 20 * ROUNDS; round += 1) {
      const [buyer] = await newBuyers(ledger, 1)
      await buyer.call('add_item_to_cart', { item_id, quantity: 1 + below(5, random) })
      const answers = await Promise.all(
        callers.map((caller) => buyer.through(caller).attempt('make_purchase', WITHOUT_KEY, 'cart_empty')),
      )
      assert.equal(answers.filter((answer) => !(answer instanceof CallRefused)).length, 1)
    }
    await ledger.audit()
  })

  it('holds every unit when its first calls add units at the same time over several connections', async () => {
    const ledger = await AuditedLedger.open(marketplace)
    const [seller] = await newSellers(ledger, 1)
    const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000_000 }))
    const callers = await Promise.all([0, 0, 1, 1].map((number) => connectTo(buyerServers, number)))
    for (let round = 0; round < 10 * ROUNDS; round += 1) {
      const [buyer] = await newBuyers(ledger, 1)
      const clients = Array.from({ length: 12 }, (_, number) => buyer.through(callers[number % 4] as Caller<'buyer'>))
      const answers = await Promise.all(
        clients.map((client) => client.call('add_item_to_cart', { item_id, quantity: 1 })),
      )
      assert.deepEqual(
        answers.map(({ quantity }) => quantity).toSorted((a, b) => a - b),
        clients.map((_, number) => number + 1),
      )
    }
    await ledger.audit()
  })
})

describe('two calls with one key, made at the same time over two connections to one server or to two', () => {
  for (const operation of KEYED_OPERATIONS) {
    it(`have one effect and equal answers, for ${operation}`, async () => {
      const ledger = await AuditedLedger.open(marketplace)
      const [[seller], [buyer]] = await Promise.all([newSellers(ledger, 1), newBuyers(ledger, 1)])
      const callers = await Promise.all([0, 0, 1].map(connectBoth))
      for (let round = 0; round < 20 * ROUNDS; round += 1) {
        const call = await KEYED_CALLS[operation](seller, buyer)
        const racing = round % 2 === 0 ? callers.slice(0, 2) : callers.slice(1, 3)
        const [one, other] = await Promise.all(racing.map(call))
        assert.deepEqual(one, other)
      }
      await ledger.audit()
    })
  }
})

async function connectBoth(number: number): Promise<RoleCallers> {
  const [seller, buyer] = await Promise.all([connectTo(sellerServers, number), connectTo(buyerServers, number)])
  return { seller, buyer }
}
