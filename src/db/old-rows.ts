/**
 * Old rows: those that no call needs any more. A sweep deletes them as fast as
 * they come, in slices, so that it holds no lock for long; on a connection of its
 * own, so that no call waits for it. Of several servers, one sweeps at a time.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mariadb'
import { withConnection } from './connect.ts'
import { interpretError } from './errors.ts'

/** The rows of a table whose `age` column, in seconds since 1970, is more than `lifeS` ago. The column has an index. */
export interface OldRows {
  table: string
  age: string
  lifeS: number
}

const BETWEEN_SWEEPS_MS = 10_000
/** By then a sweep has lost its database, or its rows are held. The next one goes on. */
const LONGEST_SWEEP_MS = 60_000
const SLICE_ROWS = 1_000
const SESSION = ['SET SESSION max_statement_time = 5', 'SET SESSION innodb_lock_wait_timeout = 2']
const LOCK = "GET_LOCK(CONCAT('souk sweep ', LEFT(DATABASE(), 48)), 0)"

/**
 * Sweeps repeatedly, until the returned function is called. `onSwept` is told how
 * many rows of a table are gone, `onTrouble` of errors that the next sweep would
 * meet again: of the database, or of the sweep itself.
 */
export function keepSweeping(
  url: string,
  olds: readonly OldRows[],
  onSwept: (table: string, rows: number) => void,
  onTrouble: (error: unknown, meaning: 'unusable' | 'fault') => void,
): () => void {
  const stopped = new AbortController()
  const repeat = async () => {
    while (!stopped.signal.aborted) {
      const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(LONGEST_SWEEP_MS)])
      await sweep(url, olds, onSwept, signal).catch((error) => {
        const meaning = interpretError(error)
        if (!signal.aborted && (meaning === 'unusable' || meaning === 'fault')) onTrouble(error, meaning)
      })
      await sleep(BETWEEN_SWEEPS_MS, undefined, { ref: false, signal: stopped.signal }).catch(() => {})
    }
  }
  void repeat()
  return () => stopped.abort()
}

/** Deletes all old rows, unless another server is doing so. Rejects when `signal` ends it, or the database fails. */
export async function sweep(
  url: string,
  olds: readonly OldRows[],
  onSwept: (table: string, rows: number) => void,
  signal: AbortSignal,
): Promise<void> {
  await withConnection(url, async (connection) => {
    signal.addEventListener('abort', () => connection.destroy(), { once: true })
    for (const statement of SESSION) await connection.query(statement)
    const [lock] = await connection.query<{ taken: number }[]>(`SELECT ${LOCK} AS taken`)
    if (lock?.taken !== 1) return
    for (const old of olds) {
      for (let rows = SLICE_ROWS; rows === SLICE_ROWS && !signal.aborted; ) {
        const begunMs = performance.now()
        rows = await deleteSlice(connection, old)
        onSwept(old.table, rows)
        await sleep(performance.now() - begunMs) // half of the time is for calls
      }
    }
  })
}

async function deleteSlice(connection: Connection, { table, age, lifeS }: OldRows): Promise<number> {
  const sql = `DELETE FROM ${table} WHERE ${age} < UNIX_TIMESTAMP() - ? ORDER BY ${age} LIMIT ?`
  const { affectedRows } = await connection.query<{ affectedRows: number }>(sql, [lifeS, SLICE_ROWS])
  return affectedRows
}
