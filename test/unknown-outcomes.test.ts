/**
 * Connections that are cut while a call is under way, between client and server
 * and between server and database, at every stage; and servers that are killed
 * at the worst one. Nobody knows then whether the call was carried out: tried
 * again with its key, it turns out to have been carried out once, and answers
 * what it would have answered. Without a key it is told that nobody knows.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused } from '../src/connection.ts'
import type { Role } from '../src/operations.ts'
import { RetryingClient } from '../src/retrying.ts'
import { below, diceOf, oneOf, ROUNDS } from './chance.ts'
import { anItem, Caller } from './clients.ts'
import { Books, type Client, gather, newKey, WITHOUT_KEY } from './crowd.ts'
import { DatabaseProxy, isCommit, type Judge, type Link, type Packet, type Side } from './database-proxy.ts'
import { KEYED_CALLS, KEYED_OPERATIONS } from './keyed-calls.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from './marketplace.ts'
import { FaultyLink } from './proxy.ts'

/** How long a client that retries goes on, on a machine that may be busy. */
const PATIENCE_MS = 40_000
const REQUEST_MS = 3_000

let marketplace: TestMarketplace
let proxy: DatabaseProxy
let sellers: RunningServer<'seller'>
/** Reaches the product database by way of the proxy. */
let buyers: RunningServer<'buyer'>
let books: Books
let toClose: { close(): unknown }[] = []

before(async () => {
  marketplace = await startTestMarketplace()
  proxy = await DatabaseProxy.start(marketplace.urls.product)
  ;[sellers, buyers] = await Promise.all([marketplace.serve('seller'), serveBuyers()])
})
beforeEach(async () => {
  books = await Books.open(marketplace)
})
afterEach(async () => {
  proxy.judge = () => {}
  for (const one of toClose.reverse()) await one.close()
  toClose = []
})
after(async () => {
  await marketplace?.close()
  await proxy?.close()
})

function serveBuyers(port = 0): Promise<RunningServer<'buyer'>> {
  const settings = { productDbUrl: proxy.url, buyerPort: port, dbConnections: 2, limitRequestMs: REQUEST_MS }
  return marketplace.serve('buyer', settings)
}

/** A line that does not give up, closed after the test. */
function retrying<R extends Role>(role: R, { port }: { port: number }): RetryingClient<R> {
  const line = new RetryingClient({ role, host: '127.0.0.1', port, timeoutMs: PATIENCE_MS })
  toClose.push(line)
  return line
}

/** A line that gives up at once, closed after the test. */
async function plain(): Promise<Caller<'buyer'>> {
  const line = await Caller.connect(buyers)
  toClose.push(line)
  return line
}

/** A new client on a line that does not give up. */
async function newClient<R extends Role>(server: RunningServer<R>): Promise<Client<R>> {
  const [client] = await gather(marketplace, server.role, 1, books, () => retrying(server.role, server))
  return client
}

describe("a client's connection that is cut", () => {
  for (const [to, about, strideBytes] of [
    ['server', 'at any byte of the request', 30],
    ['client', 'before the reply or amid it', 10],
  ] as const) {
    for (const operation of KEYED_OPERATIONS) {
      it(`${about} leaves one effect and the answer that is stored: ${operation}`, async (test) => {
        const random = diceOf(test)
        const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
        const links = { seller: await FaultyLink.start(sellers.port), buyer: await FaultyLink.start(buyers.port) }
        const lines = { seller: retrying('seller', links.seller), buyer: retrying('buyer', links.buyer) }
        toClose.push(...Object.values(links))
        const link = operation in { update_units_for_sale: 1, register_item_for_sale: 1 } ? links.seller : links.buyer
        let cuts = 0
        for (let bytes = 0; ; bytes += 1 + below((2 * strideBytes) / ROUNDS, random)) {
          const call = await KEYED_CALLS[operation](seller, buyer)
          link.arm({ to, after: { bytes }, does: oneOf(['close', 'reset'], random) })
          await call(lines)
          if (link.armed) break // no request, or no reply, has so many bytes
          cuts += 1
        }
        assert.ok(cuts > 1, `${cuts} cuts`)
        await books.audit()
      })
    }
  }
})

/** Cuts the connection on which so many packets, from now on and over all connections, have gone that way. */
class Cut {
  done = false
  readonly judge: Judge

  constructor(to: Side, after: number) {
    let left = after
    this.judge = (packet) => {
      if (packet.to !== to || this.done) return
      if (left > 0) {
        left -= 1
        return
      }
      this.done = true
      packet.link.cut()
    }
  }
}

describe("the server's connection to the database that is cut at any packet of a purchase", () => {
  for (const to of ['database', 'server'] as const) {
    for (const keyed of [true, false]) {
      const about = keyed ? 'one purchase, with a key' : 'one purchase or none, without a key, and says which'
      it(`to the ${to}, leaves ${about}`, async (test) => {
        const random = diceOf(test)
        const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
        const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000 }))
        const impatient = buyer.over(await plain())
        const outcomes: Record<string, number> = {}
        for (let packets = 0; ; packets += 1 + below(6 / ROUNDS, random)) {
          await buyer.call('clear_cart', {})
          await buyer.call('add_item_to_cart', { item_id, quantity: 1 })
          const cut = new Cut(to, packets)
          proxy.judge = cut.judge
          const outcome = keyed
            ? await buyer.call('make_purchase', {})
            : await impatient.attempt('make_purchase', WITHOUT_KEY, 'timeout')
          proxy.judge = () => {}
          const what = String(outcomeOf(outcome))
          outcomes[what] = (outcomes[what] ?? 0) + 1
          if (!cut.done) break // no purchase has so many packets
        }
        test.diagnostic(JSON.stringify(outcomes))
        await books.audit()
      })
    }
  }
})

/** A packet that stands still until it is let go. */
interface Held {
  link: Link
  letGo(): void
}

/** Resolves with the next packet of this kind. */
function hold(isIt: (packet: Packet) => boolean): Promise<Held> {
  return new Promise((resolve) => {
    let done = false
    proxy.judge = (packet) => {
      if (done || !isIt(packet)) return
      done = true
      return new Promise<void>((letGo) => resolve({ link: packet.link, letGo }))
    }
  })
}

/** The COMMIT of a transaction that has locked a cart. */
function holdCommit(): Promise<Held> {
  const links = new Set<Link>()
  return hold((packet) => {
    if (packet.to === 'database' && packet.bytes.includes('FROM cart FORCE')) links.add(packet.link)
    return isCommit(packet) && links.has(packet.link)
  })
}

/** Lets the COMMIT go, and resolves with its answer. */
function holdAnswer(commit: Held): Promise<Held> {
  const answer = hold(({ to, link }) => to === 'server' && link === commit.link)
  commit.letGo()
  return answer
}

async function cutBeforeCommit(): Promise<void> {
  const commit = await holdCommit()
  commit.link.cut()
  commit.letGo()
}

async function cutBehindCommit(): Promise<void> {
  const answer = await holdAnswer(await holdCommit())
  answer.link.cut()
  answer.letGo()
}

/** A buyer with something in the cart. */
async function readyBuyer(): Promise<Client<'buyer'>> {
  const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
  const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 5 }))
  await buyer.call('add_item_to_cart', { item_id, quantity: 3 })
  return buyer
}

function purchasesOf({ accountId }: Client<'buyer'>): Promise<{ id: number }[]> {
  return marketplace.sql('product', 'SELECT id FROM purchase WHERE buyer_id = ?', [accountId])
}

async function storedAnswer({ accountId }: Client<'buyer'>, { idempotency_key }: { idempotency_key: string }) {
  const sql = "SELECT answer FROM idempotency WHERE role = 'buyer' AND account_id = ? AND idempotency_key = ?"
  const [row] = await marketplace.sql<{ answer: string }>('product', sql, [accountId, idempotency_key])
  return row === undefined ? undefined : JSON.parse(row.answer)
}

for (const [about, cut, carriedOut] of [
  ['a COMMIT that never arrives', cutBeforeCommit, 0],
  ['a COMMIT that is carried out, its answer lost', cutBehindCommit, 1],
] as const) {
  describe(about, () => {
    it('is found out about by the key: one purchase, and its client never knows', async () => {
      for (let round = 0; round < 3 * ROUNDS; round += 1) {
        const buyer = await readyBuyer()
        const key = newKey()
        const [result] = await Promise.all([buyer.call('make_purchase', key), cut()])
        assert.deepEqual(result, await storedAnswer(buyer, key))
      }
      await books.audit()
    })

    it('is told to a client without a key, and not repeated', async () => {
      for (let round = 0; round < 3 * ROUNDS; round += 1) {
        const buyer = await readyBuyer()
        const impatient = buyer.over(await plain())
        const [outcome] = await Promise.all([impatient.attempt('make_purchase', WITHOUT_KEY, 'timeout'), cut()])
        assert.deepEqual(outcomeOf(outcome), 'unknown')
        assert.equal((await purchasesOf(buyer)).length, carriedOut)
      }
      await books.audit()
    })
  })
}

describe('a COMMIT that arrives when its server has lost the connection', () => {
  for (const key of [newKey(), WITHOUT_KEY]) {
    it(`leaves a client ${key === WITHOUT_KEY ? 'without' : 'with'} a key in no false belief`, async () => {
      const buyer = await readyBuyer()
      const held = holdCommit()
      const calling = buyer.over(await plain()).attempt('make_purchase', key, 'timeout')
      const commit = await held
      commit.link.cut('server')
      assert.equal(outcomeOf(await calling), 'unknown')
      assert.deepEqual(await purchasesOf(buyer), [])
      commit.letGo()
      await until('the purchase is there', async () => (await purchasesOf(buyer)).length === 1)
      if (key.idempotency_key !== undefined)
        assert.deepEqual(await buyer.call('make_purchase', key), await storedAnswer(buyer, key))
      await books.audit()
    })
  }

  it('in time is found out about by the key', async () => {
    const buyer = await readyBuyer()
    const key = newKey()
    const held = holdCommit()
    const calling = buyer.call('make_purchase', key)
    const commit = await held
    commit.link.cut('server')
    await sleep(REQUEST_MS / 10)
    commit.letGo()
    assert.deepEqual(await calling, await storedAnswer(buyer, key))
    await books.audit()
  })
})

describe('a server that is killed with -9', () => {
  it('before its COMMIT arrives leaves nothing: the next one carries the call out', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const buyer = await readyBuyer()
      const key = newKey()
      const held = holdCommit()
      const calling = buyer.call('make_purchase', key)
      const commit = await held
      commit.link.cut('database')
      await buyers.program.end('SIGKILL')
      commit.letGo()
      assert.equal(await storedAnswer(buyer, key), undefined)
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await calling, await storedAnswer(buyer, key))
    }
    await books.audit()
  })

  it('between COMMIT and reply leaves the purchase: the next one gives the answer of the first', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const buyer = await readyBuyer()
      const key = newKey()
      const held = holdCommit()
      const calling = buyer.call('make_purchase', key)
      const answer = await holdAnswer(await held)
      const stored = await storedAnswer(buyer, key)
      assert.notEqual(stored, undefined)
      await buyers.program.end('SIGKILL')
      answer.letGo()
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await calling, stored)
    }
    await books.audit()
  })
})

function outcomeOf(answer: object): unknown {
  return answer instanceof CallRefused ? answer.details.outcome : 'done'
}
