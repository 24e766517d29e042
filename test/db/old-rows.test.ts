/** Sweeps: all that is old goes, however much it is, nothing else does, and nobody waits for it. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { withConnection } from '../../src/db/connect.ts'
import { OLD_KEYS } from '../../src/db/idempotency.ts'
import { keepSweeping, type OldRows, sweep } from '../../src/db/old-rows.ts'
import { oldCarts } from '../../src/server/market/carts.ts'
import { OLD_SESSIONS } from '../../src/server/market/sessions.ts'
import { startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'

const SLICE_ROWS = 1_000
const never = new AbortController().signal
const OLD_CARTS = oldCarts(300)

let marketplace: TestMarketplace

before(async () => {
  marketplace = await startTestMarketplace()
})
after(() => marketplace?.close())

/** Inserts rows into each table, so much older than their life; negative: younger. */
async function insertRows(count: number, beyondLifeS: number): Promise<void> {
  const rows = `FROM seq_1_to_${count}`
  const name = `CONCAT('${beyondLifeS} ', seq)`
  const age = ({ lifeS }: OldRows) => `UNIX_TIMESTAMP() - ${lifeS + beyondLifeS}`
  await marketplace.sql('product', `INSERT INTO cart SELECT ${name}, 1, '', ${age(OLD_CARTS)} ${rows}`)
  await marketplace.sql(
    'product',
    `INSERT INTO idempotency SELECT 'seller', 1, ${name}, 'f', '{}', ${age(OLD_KEYS)} ${rows}`,
  )
  await marketplace.sql('customer', `INSERT INTO session SELECT ${name}, 'seller', 1, 0, ${age(OLD_SESSIONS)} ${rows}`)
}

async function countRows(): Promise<number[]> {
  const count = async (database: 'customer' | 'product', table: string) => {
    const [row] = await marketplace.sql<{ rows: number }>(database, `SELECT COUNT(*) AS \`rows\` FROM ${table}`)
    return Number(row?.rows)
  }
  return Promise.all([count('customer', 'session'), count('product', 'idempotency'), count('product', 'cart')])
}

/** The connection of a sweep that has ended holds its lock for a moment. */
const untilUnlocked = () =>
  until('nobody sweeps', async () => {
    const isFree = (database: 'customer' | 'product') =>
      marketplace.sql<{ free: number }>(database, "SELECT IS_FREE_LOCK(CONCAT('souk sweep ', DATABASE())) AS free")
    return (await Promise.all([isFree('customer'), isFree('product')])).flat().every(({ free }) => Number(free) === 1)
  })

async function sweepAll(): Promise<Record<string, number[]>> {
  await untilUnlocked()
  const slices: Record<string, number[]> = {}
  const onSwept = (table: string, rows: number) => {
    slices[table] = [...(slices[table] ?? []), rows]
  }
  await sweep(marketplace.urls.customer, [OLD_SESSIONS], onSwept, never)
  await sweep(marketplace.urls.product, [OLD_KEYS, OLD_CARTS], onSwept, never)
  return slices
}

describe('a sweep', () => {
  it('deletes in slices all rows that are old, and no others', async () => {
    await insertRows(3_500, 20)
    await insertRows(700, -20)
    const slices = [SLICE_ROWS, SLICE_ROWS, SLICE_ROWS, 500]
    assert.deepEqual(await sweepAll(), { session: slices, idempotency: slices, cart: slices })
    assert.deepEqual(await countRows(), [700, 700, 700])
    assert.deepEqual(await sweepAll(), { session: [0], idempotency: [0], cart: [0] })
  })

  it('leaves the work to another server that does it', async () => {
    await insertRows(1, 20)
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.query("SELECT GET_LOCK(CONCAT('souk sweep ', DATABASE()), 0)")
      const swept: string[] = []
      await sweep(marketplace.urls.product, [OLD_KEYS, OLD_CARTS], (table) => swept.push(table), never)
      assert.deepEqual(swept, [])
    })
    await sweepAll()
    assert.deepEqual(await countRows(), [700, 700, 700])
  })

  it('holds its locks for a slice only', async () => {
    await marketplace.sql('product', 'DELETE FROM cart')
    await insertRows(SLICE_ROWS, 60)
    await insertRows(1, 40)
    await insertRows(5 * SLICE_ROWS, -60)
    await marketplace.sql('product', 'ANALYZE TABLE cart') // of few rows, the database would read and lock all
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.beginTransaction()
      await connection.query("SELECT * FROM cart WHERE session_hash = '40 1' FOR UPDATE")
      const sweeping = sweepAll()
      await until('the first slice is gone for all', async () => (await countRows())[2] === 5 * SLICE_ROWS + 1)
      await connection.rollback()
      await sweeping
    })
    assert.equal((await countRows())[2], 5 * SLICE_ROWS)
  })

  it('ends when it is told to, also while it waits for rows that others hold', async () => {
    await insertRows(1, 60)
    const ended = new AbortController()
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.beginTransaction()
      await connection.query("SELECT * FROM cart WHERE session_hash = '60 1' FOR UPDATE")
      await untilUnlocked()
      const sweeping = assert.rejects(
        sweep(marketplace.urls.product, [OLD_CARTS], () => {}, ended.signal),
        isCut,
      )
      await until('it waits', async () => (await waitingSweeps()) > 0)
      ended.abort()
      await sweeping
    })
  })

  it('tells once of trouble that the next sweep would meet again', async () => {
    for (const [table, expected] of [
      ['missing', 'unusable'],
      ['cart WHERE', 'fault'],
    ] as const) {
      const meanings: string[] = []
      await untilUnlocked()
      const old = { table, age: 'created_at', lifeS: 1 }
      const stop = keepSweeping(
        marketplace.urls.product,
        [old],
        () => {},
        (_, meaning) => meanings.push(meaning),
      )
      await until('it has failed', () => meanings.length > 0)
      stop()
      assert.deepEqual(meanings, [expected])
    }
  })
})

/** Not the end of a wait for a lock. */
const isCut = (error: Error) => !/Lock wait timeout/.test(error.message)

async function waitingSweeps(): Promise<number> {
  const sql = "SELECT id FROM information_schema.processlist WHERE info LIKE 'DELETE FROM cart WHERE created_at%'"
  return (await marketplace.sql('product', sql)).length
}
