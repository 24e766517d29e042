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
import { CallRefused } from '../../src/client/connection.ts'
import { RetryingClient } from '../../src/client/retrying.ts'
import { operationsByName, type Role } from '../../src/contract/operations.ts'
import { anItem, Caller } from '../support/clients.ts'
import { DatabaseProxy, isCommit, type Judge, type Link, type Packet, type Side } from '../support/database-proxy.ts'
import { KEYED_CALLS, KEYED_OPERATIONS, type Lines } from '../support/keyed-calls.ts'
import { Books, type Client, gather, newKey, WITHOUT_KEY } from '../support/ledger-clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { FaultyLink } from '../support/proxy.ts'
import { below, diceOf, oneOf, ROUNDS } from '../support/random.ts'

/** How long a client that retries goes on, on a machine that may be busy. */
const PATIENCE_MS = 40_000
const REQUEST_MS = 3_000
/** Long enough for a server to notice, and to begin again. */
const LATE_MS = 200
const OF_BUYERS = KEYED_OPERATIONS.filter((operation) => operationsByName('buyer').has(operation))

let marketplace: TestMarketplace
let proxy: DatabaseProxy
/** These reach the product database by way of the proxy. */
let sellers: RunningServer<'seller'>
let buyers: RunningServer<'buyer'>
let books: Books
let toClose: { close(): unknown }[] = []

before(async () => {
  marketplace = await startTestMarketplace()
  proxy = await DatabaseProxy.start(marketplace.urls.product)
  ;[sellers, buyers] = await Promise.all([marketplace.serve('seller', throughProxy()), serveBuyers()])
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

function throughProxy() {
  return { productDbUrl: proxy.url, dbConnections: 2, limitRequestMs: REQUEST_MS }
}

function serveBuyers(port = 0): Promise<RunningServer<'buyer'>> {
  return marketplace.serve('buyer', { ...throughProxy(), buyerPort: port })
}

/** A line that does not give up, closed after the test. */
function retrying<R extends Role>(role: R, port: number): RetryingClient<R> {
  const line = new RetryingClient({ role, host: '127.0.0.1', port, timeoutMs: PATIENCE_MS })
  toClose.push(line)
  return line
}

/** Such lines, to the servers or what stands before them. */
function linesTo({ seller = sellers.port, buyer = buyers.port } = {}): Lines {
  return { seller: retrying('seller', seller), buyer: retrying('buyer', buyer) }
}

/** A line that gives up at once, closed after the test. */
async function plain<R extends Role>(server: RunningServer<R>): Promise<Caller<R>> {
  const line = await Caller.connect(server)
  toClose.push(line)
  return line
}

/** A new client on a line that does not give up. */
async function newClient<R extends Role>(server: RunningServer<R>): Promise<Client<R>> {
  const [client] = await gather(marketplace, server.role, 1, books, () => retrying(server.role, server.port))
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
        const link = await FaultyLink.start((OF_BUYERS.includes(operation) ? buyers : sellers).port)
        toClose.push(link)
        const lines = linesTo({ seller: link.port, buyer: link.port })
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
        const impatient = buyer.over(await plain(buyers))
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

/** The COMMIT of a call: not of ids that are reserved, nor of sweeping. */
function holdCommit(): Promise<Held> {
  const others = new Set<Link>()
  return hold((packet) => {
    if (/id_block|DELETE FROM (idempotency|cart)/.test(packet.bytes.toString('latin1'))) others.add(packet.link)
    return isCommit(packet) && !others.delete(packet.link)
  })
}

/** Lets the COMMIT go, and resolves with its answer. */
function holdAnswer(commit: Held): Promise<Held> {
  const answer = hold(({ to, link }) => to === 'server' && link === commit.link)
  commit.letGo()
  return answer
}

/** What a call comes to while the next COMMIT meets its fate. */
async function during(fate: () => Promise<void>, call: () => Promise<object>): Promise<unknown> {
  const [outcome] = await Promise.all([call().catch(refused), fate()])
  return outcomeOf(outcome)
}

function refused(error: unknown): CallRefused {
  assert.ok(error instanceof CallRefused, String(error))
  return error
}

function outcomeOf(answer: object): unknown {
  return answer instanceof CallRefused ? (answer.details.outcome ?? answer.code) : 'done'
}

const FATES = {
  'that never arrives': async () => {
    const commit = await holdCommit()
    commit.link.cut()
    commit.letGo()
  },
  'that is carried out, its answer lost': async () => {
    const answer = await holdAnswer(await holdCommit())
    answer.link.cut()
    answer.letGo()
  },
  'that arrives when its server has lost the connection': async () => {
    const commit = await holdCommit()
    commit.link.cut('server')
    await sleep(LATE_MS)
    commit.letGo()
  },
}

for (const [about, fate] of Object.entries(FATES)) {
  describe(`a COMMIT ${about}`, () => {
    it('is found out about by the key, and leaves one effect', async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const lines = linesTo()
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const operation of KEYED_OPERATIONS) {
          const call = await KEYED_CALLS[operation](seller, buyer)
          assert.equal(await during(fate, () => call(lines)), 'done', operation)
        }
      }
      await books.audit()
    })

    it('is told to a client without a key, and not repeated', async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const lines = { seller: await plain(sellers), buyer: await plain(buyers) }
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const operation of KEYED_OPERATIONS) {
          const call = await KEYED_CALLS[operation](seller, buyer, WITHOUT_KEY)
          assert.equal(await during(fate, () => call(lines)), 'unknown', operation)
        }
      }
      await books.audit()
    })
  })
}

describe('a COMMIT that arrives after the call was answered', () => {
  it('was not called impossible, and is found out about by the key', async () => {
    const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
    const lines = { seller: await plain(sellers), buyer: await plain(buyers) }
    for (const operation of KEYED_OPERATIONS) {
      const call = await KEYED_CALLS[operation](seller, buyer)
      const held = holdCommit()
      const calling = call(lines).catch(refused)
      const commit = await held
      commit.link.cut('server')
      assert.equal(outcomeOf(await calling), 'unknown', operation)
      commit.letGo()
      await call(linesTo())
    }
    await books.audit()
  })
})

describe('a call that is tried again at another server while the first is about to COMMIT', () => {
  let other: RunningServer<'buyer'>
  before(async () => {
    other = await marketplace.serve('buyer')
  })

  for (const cut of [false, true]) {
    it(`has one effect and one answer, if the first ${cut ? 'loses its connection' : 'goes on'}`, async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const [lines, others] = [linesTo(), linesTo({ buyer: other.port })]
      for (const operation of OF_BUYERS) {
        const call = await KEYED_CALLS[operation](seller, buyer)
        const held = holdCommit()
        const first = call(lines)
        const commit = await held
        const second = call(others)
        await sleep(LATE_MS)
        if (cut) commit.link.cut()
        commit.letGo()
        assert.deepEqual(await first, await second, operation)
      }
      await books.audit()
    })
  }
})

/** A purchase that is ready to be made, and what is stored of it. */
async function readyPurchase() {
  const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
  const key = newKey()
  const call = await KEYED_CALLS.make_purchase(seller, buyer, key)
  const sql = "SELECT answer FROM idempotency WHERE role = 'buyer' AND idempotency_key = ?"
  return {
    make: () => call(linesTo()),
    async stored(): Promise<object | undefined> {
      const [row] = await marketplace.sql<{ answer: string }>('product', sql, [key.idempotency_key])
      return row === undefined ? undefined : JSON.parse(row.answer)
    },
  }
}

describe('a server that is killed with -9', () => {
  it('before its COMMIT arrives leaves nothing: the next one carries the call out', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { make, stored } = await readyPurchase()
      const held = holdCommit()
      const making = make()
      const commit = await held
      commit.link.cut('database')
      await buyers.program.end('SIGKILL')
      commit.letGo()
      assert.equal(await stored(), undefined)
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await making, await stored())
    }
    await books.audit()
  })

  it('between COMMIT and reply leaves the purchase: the next one gives the answer of the first', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { make, stored } = await readyPurchase()
      const held = holdCommit()
      const making = make()
      const answer = await holdAnswer(await held)
      const first = await stored()
      assert.notEqual(first, undefined)
      await buyers.program.end('SIGKILL')
      answer.letGo()
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await making, first)
    }
    await books.audit()
  })
})
