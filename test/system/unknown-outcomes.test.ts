/**
 * Connections that are cut during a call, between client and server or between
 * server and database, at every stage; and servers that are killed at the worst
 * moment. The outcome of such a call is unknown. A retry with the same key finds
 * that the call was carried out once, and gets its answer. A call without a key
 * is refused with the outcome `unknown`.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused } from '../../src/client/connection.ts'
import { RetryingClient } from '../../src/client/retrying-client.ts'
import { operationsByName, type Role } from '../../src/contract/operations.ts'
import { below, oneOf } from '../../src/loadgen/random.ts'
import { anItem, Caller } from '../support/clients.ts'
import {
  DatabaseProxy,
  isCommit,
  type Link,
  type Packet,
  type PacketHook,
  type Side,
} from '../support/database-proxy.ts'
import { FaultyLink } from '../support/faulty-link.ts'
import { KEYED_CALLS, KEYED_OPERATIONS, type RoleCallers } from '../support/keyed-calls.ts'
import { AuditedLedger, type LedgerClient, newKey, openLedgerClients, WITHOUT_KEY } from '../support/ledger-clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { ROUNDS, seedRandom } from '../support/random.ts'

/** How long a retrying client goes on. Long, since the machine may be busy. */
const PATIENCE_MS = 40_000
const REQUEST_MS = 3_000
/** Long enough for a server to notice that its connection is cut, and to try again. */
const LATE_MS = 200
const BUYER_OPERATIONS = KEYED_OPERATIONS.filter((operation) => operationsByName('buyer').has(operation))

let marketplace: TestMarketplace
let proxy: DatabaseProxy
/** Both connect to the product database through the proxy. */
let sellers: RunningServer<'seller'>
let buyers: RunningServer<'buyer'>
let ledger: AuditedLedger
let toClose: { close(): unknown }[] = []

before(async () => {
  marketplace = await startTestMarketplace()
  proxy = await DatabaseProxy.start(marketplace.urls.product)
  ;[sellers, buyers] = await Promise.all([marketplace.serve('seller', throughProxy()), serveBuyers()])
})
beforeEach(async () => {
  ledger = await AuditedLedger.open(marketplace)
})
afterEach(async () => {
  proxy.onPacket = () => {}
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

/** A client that retries, closed after the test. */
function retrying<R extends Role>(role: R, port: number): RetryingClient<R> {
  const client = new RetryingClient({ role, host: '127.0.0.1', port, timeoutMs: PATIENCE_MS })
  toClose.push(client)
  return client
}

/** Retrying clients of both roles, by default to the servers themselves. */
function retryingBoth({ seller = sellers.port, buyer = buyers.port } = {}): RoleCallers {
  return { seller: retrying('seller', seller), buyer: retrying('buyer', buyer) }
}

/** A connection without retries, closed after the test. */
async function plain<R extends Role>(server: RunningServer<R>): Promise<Caller<R>> {
  const caller = await Caller.connect(server)
  toClose.push(caller)
  return caller
}

/** A new client that retries. */
async function newClient<R extends Role>(server: RunningServer<R>): Promise<LedgerClient<R>> {
  const [client] = await openLedgerClients(marketplace, server.role, 1, ledger, () =>
    retrying(server.role, server.port),
  )
  return client
}

describe('a call', () => {
  for (const [to, moment, strideBytes] of [
    ['server', 'at any byte of the request', 30],
    ['client', 'before the reply or at any byte of it', 10],
  ] as const) {
    for (const operation of KEYED_OPERATIONS) {
      it(`has one effect and gets the stored answer when the client’s connection is cut ${moment}, for ${operation}`, async (test) => {
        const random = seedRandom(test)
        const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
        const link = await FaultyLink.start((BUYER_OPERATIONS.includes(operation) ? buyers : sellers).port)
        toClose.push(link)
        const callers = retryingBoth({ seller: link.port, buyer: link.port })
        let cuts = 0
        for (let bytes = 0; ; bytes += 1 + below((2 * strideBytes) / ROUNDS, random)) {
          const call = await KEYED_CALLS[operation](seller, buyer)
          link.arm({ to, after: { bytes }, does: oneOf(['close', 'reset'], random) })
          await call(callers)
          if (link.armed) break // no request, or no reply, is this long
          cuts += 1
        }
        assert.ok(cuts > 1, `${cuts} cuts`)
        await ledger.audit()
      })
    }
  }
})

/** Cuts a connection when `after` more packets have gone to that side, counted over all connections. */
class Cut {
  done = false
  readonly onPacket: PacketHook

  constructor(to: Side, after: number) {
    let left = after
    this.onPacket = (packet) => {
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

describe('a purchase during which the server’s connection to the database is cut', () => {
  for (const to of ['database', 'server'] as const) {
    for (const keyed of [true, false]) {
      const about = keyed
        ? `is made once if it has a key, at any packet to the ${to}`
        : `is made once or not at all if it has no key, at any packet to the ${to}, and the answer fits`
      it(about, async (test) => {
        const random = seedRandom(test)
        const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
        const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000 }))
        const withoutRetries = buyer.through(await plain(buyers))
        const endings: Record<string, number> = {}
        for (let packets = 0; ; packets += 1 + below(6 / ROUNDS, random)) {
          await buyer.call('clear_cart', {})
          await buyer.call('add_item_to_cart', { item_id, quantity: 1 })
          const cut = new Cut(to, packets)
          proxy.onPacket = cut.onPacket
          const answer = keyed
            ? await buyer.call('make_purchase', {})
            : await withoutRetries.attempt('make_purchase', WITHOUT_KEY, 'timeout')
          proxy.onPacket = () => {}
          const ending = String(summarise(answer))
          endings[ending] = (endings[ending] ?? 0) + 1
          if (!cut.done) break // no purchase has this many packets
        }
        test.diagnostic(JSON.stringify(endings))
        await ledger.audit()
      })
    }
  }
})

/** A packet that the proxy holds until it is released. */
interface HeldPacket {
  link: Link
  release(): void
}

/** Resolves when the proxy holds the next packet that matches. */
function hold(matches: (packet: Packet) => boolean): Promise<HeldPacket> {
  return new Promise((resolve) => {
    let done = false
    proxy.onPacket = (packet) => {
      if (done || !matches(packet)) return
      done = true
      return new Promise<void>((release) => resolve({ link: packet.link, release }))
    }
  })
}

/** Holds the COMMIT of a call. */
function holdCommit(): Promise<HeldPacket> {
  return hold(isCommit)
}

/** Releases the COMMIT, and holds the database's response to it. */
function holdResponse(commit: HeldPacket): Promise<HeldPacket> {
  const response = hold(({ to, link }) => to === 'server' && link === commit.link)
  commit.release()
  return response
}

/** Makes a call while the fault happens to the next COMMIT; resolves to a summary of the answer. */
async function callDuring(fault: () => Promise<void>, call: () => Promise<object>): Promise<unknown> {
  const [answer] = await Promise.all([call().catch(asRefusal), fault()])
  return summarise(answer)
}

function asRefusal(error: unknown): CallRefused {
  assert.ok(error instanceof CallRefused, String(error))
  return error
}

function summarise(answer: object): unknown {
  return answer instanceof CallRefused ? (answer.details.outcome ?? answer.code) : 'done'
}

const COMMIT_FAULTS = {
  'never reaches the database': async () => {
    const commit = await holdCommit()
    commit.link.cut()
    commit.release()
  },
  'is carried out, but its response is lost': async () => {
    const response = await holdResponse(await holdCommit())
    response.link.cut()
    response.release()
  },
  'reaches the database after the server has lost the connection': async () => {
    const commit = await holdCommit()
    commit.link.cut('server')
    await sleep(LATE_MS)
    commit.release()
  },
}

for (const [about, fault] of Object.entries(COMMIT_FAULTS)) {
  describe(`a call whose COMMIT ${about}`, () => {
    it('is resolved by its key and has one effect', async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const callers = retryingBoth()
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const operation of KEYED_OPERATIONS) {
          const call = await KEYED_CALLS[operation](seller, buyer)
          assert.equal(await callDuring(fault, () => call(callers)), 'done', operation)
        }
      }
      await ledger.audit()
    })

    it('is refused with the outcome unknown if it has no key, and is not repeated', async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const callers = { seller: await plain(sellers), buyer: await plain(buyers) }
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const operation of KEYED_OPERATIONS) {
          const call = await KEYED_CALLS[operation](seller, buyer, WITHOUT_KEY)
          assert.equal(await callDuring(fault, () => call(callers)), 'unknown', operation)
        }
      }
      await ledger.audit()
    })
  })
}

describe('a call whose COMMIT reaches the database after the call was answered', () => {
  it('was refused with the outcome unknown, and is resolved by its key', async () => {
    const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
    const callers = { seller: await plain(sellers), buyer: await plain(buyers) }
    for (const operation of KEYED_OPERATIONS) {
      const call = await KEYED_CALLS[operation](seller, buyer)
      const held = holdCommit()
      const calling = call(callers).catch(asRefusal)
      const commit = await held
      commit.link.cut('server')
      assert.equal(summarise(await calling), 'unknown', operation)
      commit.release()
      await call(retryingBoth())
    }
    await ledger.audit()
  })
})

describe('a call that is retried at another server while the first server is about to COMMIT', () => {
  let other: RunningServer<'buyer'>
  before(async () => {
    other = await marketplace.serve('buyer')
  })

  for (const cut of [false, true]) {
    it(`has one effect and one answer if the first server ${cut ? 'loses its connection' : 'goes on'}`, async () => {
      const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
      const [callers, others] = [retryingBoth(), retryingBoth({ buyer: other.port })]
      for (const operation of BUYER_OPERATIONS) {
        const call = await KEYED_CALLS[operation](seller, buyer)
        const held = holdCommit()
        const first = call(callers)
        const commit = await held
        const second = call(others)
        await sleep(LATE_MS)
        if (cut) commit.link.cut()
        commit.release()
        assert.deepEqual(await first, await second, operation)
      }
      await ledger.audit()
    })
  }
})

/** A purchase that is ready to be made, and the answer stored under its key. */
async function preparePurchase() {
  const [seller, buyer] = await Promise.all([newClient(sellers), newClient(buyers)])
  const key = newKey()
  const call = await KEYED_CALLS.make_purchase(seller, buyer, key)
  const sql = "SELECT answer FROM idempotency WHERE role = 'buyer' AND idempotency_key = ?"
  return {
    make: () => call(retryingBoth()),
    async readStored(): Promise<object | undefined> {
      const [row] = await marketplace.sql<{ answer: string }>('product', sql, [key.idempotency_key])
      return row === undefined ? undefined : JSON.parse(row.answer)
    },
  }
}

describe('a server that is killed with -9', () => {
  it('leaves nothing if its COMMIT has not arrived, and the next server carries the call out', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { make, readStored } = await preparePurchase()
      const held = holdCommit()
      const making = make()
      const commit = await held
      commit.link.cut('database')
      await buyers.program.end('SIGKILL')
      commit.release()
      assert.equal(await readStored(), undefined)
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await making, await readStored())
    }
    await ledger.audit()
  })

  it('leaves the purchase if it dies between COMMIT and reply, and the next server gives the first answer', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { make, readStored } = await preparePurchase()
      const held = holdCommit()
      const making = make()
      const response = await holdResponse(await held)
      const first = await readStored()
      assert.notEqual(first, undefined)
      await buyers.program.end('SIGKILL')
      response.release()
      buyers = await serveBuyers(buyers.port)
      assert.deepEqual(await making, first)
    }
    await ledger.audit()
  })
})
