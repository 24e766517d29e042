/**
 * The database goes away while clients work: nothing acknowledged is lost,
 * nothing is there twice, every call is answered, and the servers go on by
 * themselves. The clients' own logs are held against the tables in the end.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { CallRefused } from '../../src/client/connection.ts'
import { withConnection } from '../../src/db/connect.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../support/clients.ts'
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
  const unhurried = await marketplace.serve('seller') // hashing passwords takes long where other tests run too
  ann = await openAccount(await Caller.connect(unhurried))
  await unhurried.program.end()
})
after(() => marketplace?.close())

/** What clients were told: the ids acknowledged by item name, and what else became of calls. */
interface Log {
  acknowledged: Map<string, number>
  /** Names of items whose registration may or may not have happened. */
  unknown: Set<string>
  codes: Map<string, number>
}

/** Every client registers items of its own names, one after the other, until told to stop. With keys it retries until it knows. */
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
  working.catch(() => {}) // whoever stops them gets it
  return {
    log,
    async stop() {
      stopping = true
      await working
    },
  }
}

/** The items of a category are those acknowledged, each once, and besides at most those of unknown outcome. */
async function checkAgainst({ acknowledged, unknown }: Log, category: number): Promise<void> {
  const rows = await marketplace.sql<{ id: number; name: string; postings: number }>(
    'product',
    'SELECT id, name, (SELECT COUNT(*) FROM item_keyword WHERE item_id = item.id) AS postings FROM item WHERE category = ?',
    [category],
  )
  const stored = new Map(rows.map(({ id, name }) => [name, id]))
  assert.equal(stored.size, rows.length, 'an item is there twice')
  for (const { name, postings } of rows) {
    assert.ok(acknowledged.has(name) || unknown.has(name), `"${name}" is there, and its client was told that it is not`)
    assert.equal(postings, 2, `"${name}" is there by halves`)
  }
  for (const [name, id] of acknowledged) assert.equal(stored.get(name), id, `"${name}" was acknowledged`)
}

const moreThan = (log: Log, count: number) => () => log.acknowledged.size > count

describe('the database killed with -9 while 100 clients register items', () => {
  for (const [about, category, withKeys] of [
    ['without keys', 10, false],
    ['with keys', 11, true],
  ] as const) {
    it(`loses and doubles nothing that was acknowledged, ${about}, and the same servers go on`, async () => {
      const { log, stop } = registerEverywhere(category, withKeys)
      await until('there is work to lose', moreThan(log, 500))
      const database = marketplace.database()
      process.kill(database.pid, 'SIGKILL')
      await database.ended
      await until('calls are refused meanwhile', () => log.codes.size > 0)
      await marketplace.restartDatabase()
      const before = log.acknowledged.size
      await until('the servers go on', moreThan(log, before + 500))
      await stop()
      if (withKeys) log.unknown.clear() // each was tried again until it was known
      await checkAgainst(log, category)
      const [caller] = callers
      assert.equal((await caller?.call('whoami', { session: ann.session }))?.id, ann.id)
      assert.equal(await Promise.race([sellers.program.ended, 'lives']), 'lives')
    })
  }
})

describe('connections to the database killed at random while 100 clients register items with keys', () => {
  it('lose and double nothing, and every call succeeds in the end', async () => {
    const { log, stop } = registerEverywhere(12, true)
    await withConnection(marketplace.urls.product, async (connection) => {
      const mine = connection.threadId
      for (let kill = 0; kill < 40; kill += 1) {
        await until('the clients get on', moreThan(log, kill * 20))
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
    await checkAgainst(log, 12)
  })
})

describe('the database stopped for a while', () => {
  it('has every call answered within its time, and late commits found by their keys', async () => {
    const { log, stop } = registerEverywhere(13, true)
    await until('there is work', moreThan(log, 200))
    const { pid } = marketplace.database()
    process.kill(pid, 'SIGSTOP')
    try {
      const begunMs = performance.now()
      const held = await callers[0]?.refusal('register_item_for_sale', {
        session: ann.session,
        ...anItem({ category: 14 }),
      })
      assert.ok(['timeout', 'overloaded'].includes(held?.code ?? ''))
      assert.ok(performance.now() - begunMs < 3_000, 'a call was answered more than a second after its time')
      await until('calls time out', () => log.codes.has('timeout'))
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const before = log.acknowledged.size
    await until('the servers go on', moreThan(log, before + 200))
    await stop()
    log.unknown.clear()
    await checkAgainst(log, 13)
  })
})
