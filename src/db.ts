/**
 * The database: everything that is asked of MariaDB goes through here. It owns
 * pools and lanes, transactions, idempotency keys, retries and deadlines, once
 * for all operations, and knows no operation.
 *
 * Each database has four pools: one that reads, one that writes, one for writes
 * that may wait for a lock, and one that watches rows which others hold for
 * long, so that those who wait leave lanes to those who need not. A *lane* is a
 * pooled connection held by one batch, which pipelines its statements over it.
 * Connections that write run with autocommit off: a statement piped behind one
 * that failed can then never commit by itself. A batch's writes go out in one
 * pipe, and COMMIT only after all of them have answered.
 *
 * What an error means decides what happens next:
 *   - surely nothing happened (no connection, deadlock, lock wait, connection
 *     lost before COMMIT was sent): roll back, wait with jitter, decide again,
 *     as long as the deadline allows;
 *   - a key is taken: somebody was here before. Read the stored answers, take
 *     the replays out, decide the rest again;
 *   - the connection was lost behind COMMIT: the outcome is unknown. Calls with
 *     a key are sent again and their key decides; a call without one is
 *     answered `timeout` with outcome `unknown`, and never redone;
 *   - anything else is the statement's own fault, and thrown.
 */

import { type Connection, createPool, type Pool, type PoolConfig, type PoolConnection, type SqlError } from 'mariadb'
import type { Role } from './contract/operations.ts'
import { type Answer, type Refusal, Refused } from './contract/refusals.ts'

export type Value = string | number | null

/** One statement with its values, or one that is carried out for each of many rows (none: nothing is sent). */
export type Statement = { sql: string; values: readonly Value[] } | { sql: string; rows: readonly (readonly Value[])[] }

export interface Lane {
  /** Whether who locks rows over it waits for those that somebody else holds, or passes over them. */
  readonly waits: boolean
  /** Rows as arrays of column values, in the order of the SELECT. */
  rows<T extends readonly Value[]>(sql: string, values?: readonly Value[]): Promise<readonly T[]>
}

/** A row by its table, the table's key column, and its value. Tables and columns are named in code only. */
export interface Row {
  table: string
  key: string
  id: string | number
}

/** What becomes of a call: its answer, or the row that it needs and that somebody else has locked. */
export type Decision<R> = Answer<R> | { held: Row }

/** What comes of a call; `again`: nothing yet, for another one with its key, of the same batch, was in its way. */
export type Outcome<R> = Decision<R> | { again: true }

/** What a batch of writes comes to: a decision for each call, in order, and what must be written for them. */
export interface Plan<R> {
  answers: readonly Decision<R>[]
  writes: readonly Statement[]
}

/** The key of a call, whose it is, and a fingerprint of what was called with it. */
export interface IdempotencyKey {
  role: Role
  accountId: number
  key: string
  fingerprint: string
}

/** A call as writes see it: anything that may carry a key. */
export interface Keyed {
  key?: IdempotencyKey | undefined
}

export interface DatabaseOptions {
  /** mariadb://user:password@host:port/database, or ?socketPath=… */
  url: string
  /** Connections of each pool. */
  connections: number
}

const KEY_LIFE_S = 24 * 3_600
const KEYS_FORGOTTEN_AT_ONCE = 1_000
const RETRY_FIRST_MS = 5
const RETRY_LONGEST_MS = 250
const WATCH_TURN_S = 0.1

/** How every connection talks to the database. */
export const POOL: PoolConfig = {
  charset: 'utf8mb4',
  collation: 'utf8mb4_nopad_bin',
  timezone: 'Z',
  rowsAsArray: true,
  bigIntAsNumber: true,
  insertIdAsNumber: true,
  checkNumberRange: true,
  logParam: false, // otherwise error messages carry passwords
  multipleStatements: false,
  permitSetMultiParamEntries: false,
  permitLocalInfile: false,
  pipelining: true,
  acquireTimeout: 2_000,
  connectTimeout: 2_000,
  pingTimeout: 2_000,
  minDelayValidation: 5_000, // shorter, and it throws healthy connections away under load
}

const SESSION = [
  'SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin',
  'SET SESSION max_statement_time = 5',
  'SET SESSION group_concat_max_len = 1048576', // what is longer is cut, and that is no error
]
const READING = [...SESSION, 'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED']
const WRITING = [...READING, 'SET SESSION innodb_lock_wait_timeout = 2', 'SET autocommit = 0']

export class Database {
  readonly #reading: Pool
  readonly #writing: Pool
  readonly #waiting: Pool
  readonly #watching: Pool

  constructor({ url, connections }: DatabaseOptions) {
    const options = { ...connectionOptions(url), ...POOL, connectionLimit: connections }
    this.#reading = createPool({ ...options, initSql: READING })
    this.#writing = createPool({ ...options, initSql: WRITING })
    this.#waiting = createPool({ ...options, initSql: WRITING, minimumIdle: 0 })
    this.#watching = createPool({ ...options, initSql: WRITING, minimumIdle: 0 })
    // The pool replaces what it loses, and whoever asks gets the error; unheard, one of these would end the process.
    for (const pool of this.#pools) {
      pool.on('connection', (connection: Connection) => connection.on('error', () => {}))
      pool.on('error' as 'connection', () => {})
    }
  }

  /** Asks what changes nothing, so it may be asked again. Rejects with `Refused` `timeout`, or with the statement's error. */
  read<T>(ask: (lane: Lane) => Promise<T>, deadlineMs: number): Promise<T> {
    return again(this.#reading, deadlineMs, (connection) => ask(laneOf(connection, false)))
  }

  /**
   * Waits until nobody holds the row, holding nothing itself: no lane either,
   * but for turns, since more rows may be held, and for long, than there are
   * lanes. Rows that are held for longer than a turn have lanes of their own.
   * Rejects as `read` does.
   */
  async freed({ table, key, id }: Row, deadlineMs: number): Promise<void> {
    const lock = `SELECT 1 FROM ${table} WHERE ${key} = ? FOR UPDATE`
    const turn = async (connection: PoolConnection): Promise<boolean> => {
      try {
        await connection.query(`SET STATEMENT max_statement_time = ${WATCH_TURN_S} FOR ${lock}`, [id])
        return true
      } catch (error) {
        if ((error as SqlError).errno === STATEMENT_TIMEOUT) return false
        throw error
      } finally {
        await connection.rollback()
      }
    }
    if (await again(this.#waiting, deadlineMs, turn)) return
    while (!(await again(this.#watching, deadlineMs, turn)));
  }

  /**
   * Decides the calls together and commits what they come to as one
   * transaction. Resolves to an outcome for each call, in order, once it is
   * durable; a call with a key has one effect however often it comes. `decide`
   * may be called again, with fewer calls. Locks are waited for if `waiting`
   * says so, but not again after a wait that was too long.
   */
  async write<C extends Keyed, R>(
    calls: readonly C[],
    decide: (lane: Lane, calls: readonly C[]) => Promise<Plan<R>>,
    deadlineMs: number,
    waiting = false,
  ): Promise<readonly Outcome<R>[]> {
    const { first, repeats } = foldEqualKeys(calls)
    const decisions = await this.#writeDistinct(first, decide, deadlineMs, waiting)
    return calls.map((call) => {
      const original = repeats.get(call) ?? call
      const decision = decisions.get(original) as Decision<R>
      if (call.key?.fingerprint === original.key?.fingerprint) return decision
      return 'ok' in decision ? { refused: MISMATCH } : { again: true } // a refused call does not use its key up
    })
  }

  /** Writes calls of which no two have the same key. */
  async #writeDistinct<C extends Keyed, R>(
    calls: readonly C[],
    decide: (lane: Lane, calls: readonly C[]) => Promise<Plan<R>>,
    deadlineMs: number,
    waiting: boolean,
  ): Promise<ReadonlyMap<C, Decision<R>>> {
    const pool = waiting ? this.#waiting : this.#writing
    const answers = new Map<C, Decision<R>>()
    let uncertain = false // whether a COMMIT was sent and not answered
    let refused: readonly C[] = [] // by `decide`, though they carry a key
    for (let attempt = 0; answers.size < calls.length; attempt += 1) {
      const open = calls.filter((call) => !answers.has(call))
      const progress = { commitSent: false }
      const waits = waiting && attempt % 2 === 0
      try {
        const decided = await onLane(pool, deadlineMs, (connection) =>
          transact(connection, laneOf(connection, waits), open, decide, progress),
        )
        for (const [index, call] of open.entries()) {
          const decision = decided[index] as Decision<R>
          // What holds its row may be the transaction that was lost: whoever waited for it there would forget that.
          answers.set(call, uncertain && 'held' in decision ? { refused: late('unknown') } : decision)
        }
        refused = open.filter((call, index) => call.key !== undefined && 'refused' in (decided[index] as Decision<R>))
        break
      } catch (error) {
        const plain = meaning(error)
        const what = plain === 'fault' && progress.commitSent ? 'lost' : plain
        if (what === 'fault' && !uncertain) throw error // thrown when uncertain, it would have calls done twice
        if (what === 'taken') {
          const stored = await this.#storedAnswers<C, R>(open, deadlineMs)
          if (stored?.size === 0 && !uncertain) throw error // it was no key of ours that is taken
          for (const [call, answer] of stored ?? []) answers.set(call, answer)
        }
        if (what === 'fault') for (const call of open) answers.set(call, { refused: late('unknown') })
        if (what === 'lost' && progress.commitSent) {
          uncertain = true
          for (const call of open) if (call.key === undefined) answers.set(call, { refused: late('unknown') })
        }
      }
      if (!(await pause(attempt, deadlineMs))) {
        for (const call of open)
          if (!answers.has(call)) answers.set(call, { refused: late(uncertain ? 'unknown' : 'none') })
      }
    }
    if (refused.length > 0) {
      // Done before under its key, a call may well be refused now; its answer is the first one.
      const stored = await this.#storedAnswers<C, R>(refused, deadlineMs)
      for (const call of refused) {
        const answer = stored === undefined ? { refused: late('unknown') } : stored.get(call)
        if (answer !== undefined) answers.set(call, answer)
      }
    }
    return answers
  }

  /** Commits statements that need no decision, as one transaction. Rejects with `Refused` `timeout`. */
  async change(statements: readonly Statement[], deadlineMs: number): Promise<void> {
    const plan: Plan<undefined> = { answers: [{ ok: undefined }], writes: statements }
    const [answer] = await this.write([{}], async () => plan, deadlineMs)
    if (answer !== undefined && 'refused' in answer) throw new Refused(answer.refused)
  }

  /** Forgets a slice of the keys that are older than anybody retries. */
  forgetOldKeys(deadlineMs: number): Promise<void> {
    const sql = 'DELETE FROM idempotency WHERE created_at < UNIX_TIMESTAMP() - ? ORDER BY created_at LIMIT ?'
    return this.change([{ sql, values: [KEY_LIFE_S, KEYS_FORGOTTEN_AT_ONCE] }], deadlineMs)
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#pools.map((pool) => pool.end()))
  }

  get #pools(): readonly Pool[] {
    return [this.#reading, this.#writing, this.#waiting, this.#watching]
  }

  /** What earlier calls with the same keys were answered; undefined when that could not be read in time. */
  async #storedAnswers<C extends Keyed, R>(
    calls: readonly C[],
    deadlineMs: number,
  ): Promise<Map<C, Answer<R>> | undefined> {
    const keyed = calls.filter((call) => call.key !== undefined)
    if (keyed.length === 0) return new Map()
    const sql =
      'SELECT role, account_id, idempotency_key, fingerprint, answer FROM idempotency ' +
      `WHERE (role, account_id, idempotency_key) IN (${placeholders(keyed, '(?, ?, ?)')})`
    const values = keyed.flatMap(({ key }) => (key === undefined ? [] : [key.role, key.accountId, key.key]))
    // Thrown from here, an error would be taken for one of the writes, and redo what is committed.
    const reading = this.read((lane) => lane.rows<[Role, number, string, string, string]>(sql, values), deadlineMs)
    const found = await reading.catch(() => undefined)
    if (found === undefined) return undefined
    const byKey = new Map(found.map((row) => [JSON.stringify(row.slice(0, 3)), row]))
    const answers = new Map<C, Answer<R>>()
    for (const call of keyed) {
      const row = byKey.get(nameOf(call.key as IdempotencyKey))
      if (row === undefined) continue
      const [, , , fingerprint, answer] = row
      answers.set(call, fingerprint === call.key?.fingerprint ? { ok: JSON.parse(answer) } : { refused: MISMATCH })
    }
    return answers
  }
}

/** `?, ?, …`, as many as there are things to put in. */
export function placeholders(things: readonly unknown[], each = '?'): string {
  return Array(things.length).fill(each).join(', ')
}

/** The driver's options for a URL: mariadb://user:password@host:port/database?socketPath=… */
export function connectionOptions(url: string): { database: string } & PoolConfig {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const socketPath = searchParams.get('socketPath')
  return {
    ...(socketPath === null ? { host: hostname, port: Number(port || 3306) } : { socketPath }),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  }
}

/** Does what leaves nothing behind, as often as it takes. */
async function again<T>(pool: Pool, deadlineMs: number, work: (lane: PoolConnection) => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await onLane(pool, deadlineMs, work)
    } catch (error) {
      if (meaning(error) === 'fault') throw error
      if (!(await pause(attempt, deadlineMs))) throw new Refused(late('none'))
    }
  }
}

/** Lends a pooled connection to `work`. Past the deadline it rejects, and cuts the connection if it has one. */
async function onLane<T>(pool: Pool, deadlineMs: number, work: (lane: PoolConnection) => Promise<T>): Promise<T> {
  let connection: PoolConnection | undefined
  let expired = false
  let timer: NodeJS.Timeout | undefined
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      expired = true
      connection?.destroy()
      reject(new Expired())
    }, deadlineMs - performance.now())
  })
  const working = (async () => {
    connection = await pool.getConnection()
    try {
      if (expired) throw new Expired()
      return await work(connection)
    } finally {
      await connection.release()
      await new Promise<void>((resolve) => process.nextTick(resolve)) // only then the pool hands it on: nobody overtakes
    }
  })()
  return Promise.race([working, expiry]).finally(() => clearTimeout(timer))
}

class Expired extends Error {}

function laneOf(connection: PoolConnection, waits: boolean): Lane {
  return { waits, rows: (sql, values) => connection.query(sql, values) }
}

async function transact<C extends Keyed, R>(
  connection: PoolConnection,
  lane: Lane,
  calls: readonly C[],
  decide: (lane: Lane, calls: readonly C[]) => Promise<Plan<R>>,
  progress: { commitSent: boolean },
): Promise<readonly Decision<R>[]> {
  try {
    const { answers, writes } = await decide(lane, calls)
    if (answers.length !== calls.length) throw new Error(`${answers.length} answers to ${calls.length} calls`)
    const replies = await Promise.allSettled(
      [keyRows(calls, answers), ...writes].map((write) => send(connection, write)),
    )
    for (const reply of replies) if (reply.status === 'rejected') throw reply.reason
    progress.commitSent = true
    await connection.commit()
    return answers
  } catch (error) {
    if (connection.isValid()) await connection.rollback().catch(() => connection.destroy())
    throw error
  }
}

function send(connection: PoolConnection, statement: Statement): Promise<unknown> {
  if ('values' in statement) return connection.query(statement.sql, statement.values)
  if (statement.rows.length === 0) return Promise.resolve()
  return connection.batch(statement.sql, statement.rows)
}

/** The INSERT that decides whose effect a key stands for. Refusals are not kept: they may be different next time. */
function keyRows<C extends Keyed, R>(calls: readonly C[], answers: readonly Decision<R>[]): Statement {
  const rows = calls.flatMap(({ key }, index) => {
    const answer = answers[index] as Decision<R>
    if (key === undefined || !('ok' in answer)) return []
    return [[key.role, key.accountId, key.key, key.fingerprint, JSON.stringify(answer.ok)]]
  })
  return {
    sql:
      'INSERT INTO idempotency (role, account_id, idempotency_key, fingerprint, answer, created_at) ' +
      'VALUES (?, ?, ?, ?, ?, UNIX_TIMESTAMP())',
    rows,
  }
}

/** Of calls with one key only the first is carried out; `repeats` says whose answer each other one gets. */
function foldEqualKeys<C extends Keyed>(calls: readonly C[]): { first: readonly C[]; repeats: ReadonlyMap<C, C> } {
  const firstByKey = new Map<string, C>()
  const repeats = new Map<C, C>()
  const first = calls.filter((call) => {
    if (call.key === undefined) return true
    const name = nameOf(call.key)
    const earlier = firstByKey.get(name)
    if (earlier === undefined) firstByKey.set(name, call)
    else repeats.set(call, earlier)
    return earlier === undefined
  })
  return { first, repeats }
}

function nameOf({ role, accountId, key }: IdempotencyKey): string {
  return JSON.stringify([role, accountId, key])
}

const MISMATCH: Refusal = { code: 'idempotency_mismatch', message: 'this key was used with other parameters' }

function late(outcome: 'none' | 'unknown'): Refusal {
  return { code: 'timeout', message: 'the database did not answer in time', details: { outcome } }
}

/** Sleeps before attempt + 1: doubling, with full jitter. False, at once, when the deadline leaves no time for it. */
async function pause(attempt: number, deadlineMs: number): Promise<boolean> {
  const longestMs = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** attempt)
  const waitMs = Math.random() * longestMs
  if (performance.now() + waitMs >= deadlineMs) return false
  await new Promise((resolve) => setTimeout(resolve, waitMs))
  return true
}

const TAKEN = 1062
const STATEMENT_TIMEOUT = 1969
const NOTHING_HAPPENED = new Set<string | number>([
  ...[1020, 1205, 1213], // record changed, lock wait, deadlock: rolled back by the server or by us
  ...[1317, STATEMENT_TIMEOUT], // interrupted, statement time exceeded
  ...[1040, 1047, 1203, 45012, 45013, 45027, 45028, 45029], // no connection to be had
  ...['ECONNREFUSED', 'ENOENT', 'EHOSTUNREACH', 'ENETUNREACH'],
])
const CONNECTION_LOST = new Set<string | number>([
  ...[1053, 1927, 45001, 45004, 45009, 45019, 45026],
  ...['ECONNRESET', 'EPIPE', 'ETIMEDOUT'],
])

/** What is known after an error; see the top of this file. */
function meaning(error: unknown): 'taken' | 'nothing happened' | 'lost' | 'fault' {
  if (error instanceof Expired) return 'lost'
  const { errno = 0, code = '' } = error as Partial<SqlError>
  const number = Math.abs(errno)
  if (number === TAKEN) return 'taken'
  if (NOTHING_HAPPENED.has(number) || NOTHING_HAPPENED.has(code ?? '')) return 'nothing happened'
  return CONNECTION_LOST.has(number) || CONNECTION_LOST.has(code ?? '') ? 'lost' : 'fault'
}
