/**
 * The database goes away while clients work: nothing acknowledged is lost,
 * nothing is stored twice, every call is answered, and the servers go on by
 * themselves. In the end the clients' logs are compared with the tables.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { CallRefused } from '../../src/client/connection.ts'
import { withConnection } from '../../src/db/connect.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../support/clients.ts'
import { DatabaseProxy, type Link } from '../support/database-proxy.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'

const CLIENTS = 100

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let ann: OpenAccount
let callers: Caller<'seller'>[]

before(async () => {
  marketplace = await startTestMarketplace()
  sellers = await marketplace.serve('seller', { limitRequestMs: 2_000 })
  callers = await Promise.all(Array.from({ length: CLIENTS }, () => Caller.connect(sellers)))
  const patient = await marketplace.serve('seller') // hashing a password may take long on a busy machine
  ann = await openAccount(await Caller.connect(patient))
  await patient.program.end()
})
after(() => marketplace?.close())

/** The answers that clients got: the acknowledged ids by item name, and the rest. */
interface Log {
  acknowledged: Map<string, number>
  /** Names of items whose registration has an unknown outcome. */
  unknown: Set<string>
  codes: Map<string, number>
}

/**
 * Every client registers items with names of its own, one after the other, until `stop`. With keys it retries each
 * registration until it is acknowledged.
 */
function registerEverywhere(category: number, withKeys: boolean): { log: Log; stop(): Promise<void> } {
  const log: Log = { acknowledged: new Map(), unknown: new Set(), codes: new Map() }
  let stopping = false
  async function registerOne(caller: Caller<'seller'>, name: string): Promise<void> {
    const key = withKeys ? { idempotency_key: `${category} ${name}` } : {}
    const call = { session: ann.session, ...key, ...anItem({ name, category }) }
    try {
      const { item_id } = await caller.call('register_item_for_sale', call)
      log.acknowledged.set(name, item_id)
    } catch (error) {
      assert.ok(error instanceof CallRefused, `a call was not answered: ${error}`)
      assert.ok(['timeout', 'overloaded'].includes(error.code), `${error.code}: ${error.message}`)
      log.codes.set(error.code, (log.codes.get(error.code) ?? 0) + 1)
      if (error.details.outcome === 'unknown') log.unknown.add(name)
      await new Promise((resolve) => setTimeout(resolve, 50))
      if (withKeys) await registerOne(caller, name)
    }
  }
  const working = Promise.all(
    callers.map(async (caller, client) => {
      for (let number = 0; !stopping; number += 1) await registerOne(caller, `${client} ${number}`)
    }),
  )
  working.catch(() => {}) // `stop` rejects with it
  return {
    log,
    async stop() {
      stopping = true
      await working
    },
  }
}

/** Checks that a category has every acknowledged item once, and otherwise only items of unknown outcome. */
async function checkItems({ acknowledged, unknown }: Log, category: number): Promise<void> {
  const rows = await marketplace.sql<{ id: number; name: string; postings: number }>(
    'product',
    'SELECT id, name, (SELECT COUNT(*) FROM item_keyword WHERE item_id = item.id) AS postings FROM item WHERE category = ?',
    [category],
  )
  const stored = new Map(rows.map(({ id, name }) => [name, id]))
  assert.equal(stored.size, rows.length, 'an item is stored twice')
  for (const { name, postings } of rows) {
    assert.ok(acknowledged.has(name) || unknown.has(name), `"${name}" is stored, though its client was told otherwise`)
    assert.equal(postings, 2, `only a part of "${name}" is stored`)
  }
  for (const [name, id] of acknowledged) assert.equal(stored.get(name), id, `"${name}" was acknowledged`)
}

const moreThan = (log: Log, count: number) => () => log.acknowledged.size > count

describe('killing the database with -9', () => {
  for (const [about, category, withKeys] of [
    ['without keys', 10, false],
    ['with keys', 11, true],
  ] as const) {
    it(`neither loses nor doubles acknowledged items of 100 clients ${about}, and the same servers go on`, async () => {
      const { log, stop } = registerEverywhere(category, withKeys)
      await until('500 items are acknowledged', moreThan(log, 500))
      const database = marketplace.database()
      process.kill(database.pid, 'SIGKILL')
      await database.ended
      await until('calls are refused', () => log.codes.size > 0)
      await marketplace.restartDatabase()
      const before = log.acknowledged.size
      await until('the servers go on', moreThan(log, before + 500))
      await stop()
      if (withKeys) log.unknown.clear() // each was retried until it was acknowledged
      await checkItems(log, category)
      const [caller] = callers
      assert.equal((await caller?.call('whoami', { session: ann.session }))?.id, ann.id)
      assert.equal(await Promise.race([sellers.program.ended, 'lives']), 'lives')
    })
  }
})

describe('killing connections to the database at random', () => {
  it('neither loses nor doubles items that 100 clients register with keys, and every call succeeds in the end', async () => {
    const { log, stop } = registerEverywhere(12, true)
    await withConnection(marketplace.urls.product, async (connection) => {
      const mine = connection.threadId
      for (let kill = 0; kill < 40; kill += 1) {
        await until('the clients make progress', moreThan(log, kill * 20))
        const victims = await connection.query<{ id: number }[]>(
          "SELECT id FROM information_schema.processlist WHERE db = 'souk_test_product' AND id <> ? ORDER BY time_ms, id",
          [mine],
        )
        const victim = victims[kill % Math.max(1, victims.length)]
        if (victim !== undefined) await connection.query(`KILL CONNECTION ${victim.id}`).catch(() => {}) // it may be gone
      }
    })
    await stop()
    log.unknown.clear()
    await checkItems(log, 12)
  })
})

describe('stopping the database for a while', () => {
  it('delays no answer beyond its time limit, and late commits are found by their keys', async () => {
    const { log, stop } = registerEverywhere(13, true)
    await until('200 items are acknowledged', moreThan(log, 200))
    const { pid } = marketplace.database()
    process.kill(pid, 'SIGSTOP')
    try {
      const begunMs = performance.now()
      const refusal = await callers[0]?.refusal('register_item_for_sale', {
        session: ann.session,
        ...anItem({ category: 14 }),
      })
      assert.ok(['timeout', 'overloaded'].includes(refusal?.code ?? ''))
      assert.ok(performance.now() - begunMs < 3_000, 'a call was answered more than a second after its time limit')
      await until('calls time out', () => log.codes.has('timeout'))
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const before = log.acknowledged.size
    await until('the servers go on', moreThan(log, before + 200))
    await stop()
    log.unknown.clear()
    await checkItems(log, 13)
  })
})

describe('a call that runs out of time', () => {
  it('leaves its server running, even if its connection has ended at the database meanwhile', async () => {
    const proxy = await DatabaseProxy.start(marketplace.urls.product)
    const server = await marketplace.serve('seller', { productDbUrl: proxy.url, limitRequestMs: 1_000 })
    const caller = await Caller.connect(server)
    let cut: Link | undefined
    let killed = 0
    proxy.onPacket = ({ to, link, bytes }) => {
      if (bytes.includes('FROM item')) cut ??= link
      if (to === 'database' && bytes.includes('KILL ')) killed += 1
      if (to === 'database' || link !== cut) return undefined
      link.cut('database')
      return new Promise(() => {}) // the server does not hear of the end
    }
    const { session } = ann
    assert.equal((await caller.refusal('display_items_for_sale', { session })).code, 'timeout')
    await until('the driver has tried to kill the thread', () => killed > 0)
    for (let call = 0; call < 5; call += 1) await caller.call('display_items_for_sale', { session })
    assert.equal(server.program.log, '')
    await server.program.end()
    await proxy.close()
  })
})
