/**
 * The database: every statement of a running server goes through here. It owns
 * pools and lanes, transactions, retries and deadlines, once for all
 * operations, and knows no operation.
 *
 * Each database has four pools. Batches that read take a lane of `reading`.
 * Batches that write take one of `writing` and skip the rows that others hold;
 * calls that need such a row come back in a batch of `blocking`, which waits
 * for its locks. `watching` waits for rows that are held for long, so that such
 * a wait takes no lane from other calls.
 *
 * A batch pipelines its statements over its lane. Its writes go out in one
 * pipe, and COMMIT only after all of them have answered. An attempt to write
 * ends in one of six ways:
 *
 *     committed → done
 *     undone    → surely nothing was committed; so too if the connection broke
 *                 before COMMIT was sent. Roll back, pause with jitter, decide
 *                 again, within the deadline
 *     taken     → a key was used before: read the stored answers, take those
 *                 calls out, decide the rest again
 *     lost      → COMMIT was sent and not answered. Send calls with a key again:
 *                 the key decides. Answer the others `timeout` with the outcome
 *                 `unknown`; they are never sent again
 *     refused   → the database refuses it, whosever calls they are: answer
 *                 `unavailable`, and try nothing again
 *     fault     → the statement's own: throw
 */

import { type Connection, createPool, type Pool, type PoolConnection } from 'mariadb'
import { type Refusal, Refused, timedOut, unavailable } from './contract/refusals.ts'
import { DRIVER_OPTIONS, READING_SESSION, WRITING_SESSION } from './db/connect.ts'
import { DeadlinePassed, findTrouble, interpretError, isOfConnection, isStatementTimeout } from './db/errors.ts'
import { foldEqualKeys, insertKeys, type Keyed, MISMATCH, readStoredAnswers } from './db/idempotency.ts'
import type { Lane, Statement } from './db/lane.ts'
import type { DatabaseWatch } from './db/outages.ts'
import type { Decision, Plan, RowId } from './db/plan.ts'
import { connectionOptions } from './db/url.ts'

/** What a batch does about rows that others hold: skip them, or block until they are free. */
export type Locking = 'skip' | 'block'

/**
 * `again`: undecided, because an earlier call of the batch had the same key with
 * other parameters, and did not succeed.
 */
export type BatchResult<R> = Decision<R> | { again: true }

/** Decides the calls on rows that it locks over the lane. May run again, with fewer calls. */
export type Decide<C, R> = (lane: Lane, calls: readonly C[]) => Promise<Plan<R>>

/** How one attempt to write ended. */
type Attempt<R> =
  | { ended: 'committed'; decisions: readonly Decision<R>[] }
  | { ended: 'undone' | 'lost' | 'refused' }
  | { ended: 'taken' | 'fault'; error: unknown }

export interface DatabaseOptions {
  /** See db/url.ts. */
  url: string
  /** Connections of each pool. */
  connections: number
  /** Is told of trouble with connections and statements. */
  watch?: DatabaseWatch
}

/** The connections of a pool, and the batches that wait for one. */
export interface PoolUse {
  pool: 'reading' | 'writing' | 'blocking' | 'watching'
  active: number
  idle: number
  waiting: number
}

const RETRY_FIRST_MS = 5
const RETRY_LONGEST_MS = 250
const WATCH_TURN_S = 0.1
const UNWATCHED: DatabaseWatch = { suspect() {}, isLost: false, refuses() {}, accepts() {}, isRefusing: false }

export class Database {
  readonly #reading: Pool
  readonly #writing: Pool
  readonly #blocking: Pool
  readonly #watching: Pool
  readonly #watch: DatabaseWatch
  #losses = 0

  constructor({ url, connections, watch = UNWATCHED }: DatabaseOptions) {
    this.#watch = watch
    const options = { ...connectionOptions(url), ...DRIVER_OPTIONS, connectionLimit: connections }
    this.#reading = createPool({ ...options, initSql: READING_SESSION })
    this.#writing = createPool({ ...options, initSql: WRITING_SESSION })
    this.#blocking = createPool({ ...options, initSql: WRITING_SESSION, minimumIdle: 0 })
    this.#watching = createPool({ ...options, initSql: WRITING_SESSION, minimumIdle: 0 })
    // The pool replaces lost connections, and pending queries reject. Without a listener the error would end the process.
    for (const pool of this.#pools) {
      pool.on('connection', (connection: Connection) => connection.on('error', this.#onLoss))
      pool.on('error' as 'connection', this.#onLoss)
    }
  }

  /** Grows whenever a connection is lost: the database may have crashed, and forgotten what no transaction made durable. */
  get losses(): number {
    return this.#losses
  }

  readonly #onLoss = (): void => {
    this.#losses += 1
    this.#watch.suspect()
  }

  /**
   * Reads, again if an attempt failed in passing. Rejects with `Refused`, `timeout` or `unavailable`, or with the
   * statement's error.
   */
  read<T>(ask: (lane: Lane) => Promise<T>, deadlineMs: number): Promise<T> {
    return this.#retried(this.#reading, deadlineMs, (connection) => ask(createLane(connection, true, this.#watch)))
  }

  /**
   * Resolves when nobody holds the row. The wait keeps neither a lock nor a lane:
   * it takes turns on a lane, because more rows may be held for long than there
   * are lanes. From the second turn on it uses `watching`. Rejects like `read`.
   */
  async untilFree({ table, key, id }: RowId, deadlineMs: number): Promise<void> {
    const lock = `SELECT 1 FROM ${table} WHERE ${key} = ? FOR UPDATE`
    const takeTurn = async (connection: PoolConnection): Promise<boolean> => {
      try {
        await connection.query(`SET STATEMENT max_statement_time = ${WATCH_TURN_S} FOR ${lock}`, [id])
        return true
      } catch (error) {
        if (isStatementTimeout(error)) return false
        throw error
      } finally {
        await connection.rollback()
      }
    }
    if (await this.#retried(this.#blocking, deadlineMs, takeTurn)) return
    while (!(await this.#retried(this.#watching, deadlineMs, takeTurn)));
  }

  /**
   * Decides the calls together and commits their writes as one transaction.
   * Resolves, once that is durable, to a result for each call, in order. A call
   * with a key has one effect, however often it is sent. With `block`, every
   * second attempt skips held rows, so that a lock wait that timed out is not
   * repeated.
   */
  async write<C extends Keyed, R>(
    calls: readonly C[],
    decide: Decide<C, R>,
    deadlineMs: number,
    locking: Locking = 'skip',
  ): Promise<readonly BatchResult<R>[]> {
    const { first, repeats } = foldEqualKeys(calls)
    const decisions = await this.#writeDistinct(first, decide, deadlineMs, locking)
    return calls.map((call) => {
      const original = repeats.get(call) ?? call
      const decision = decisions.get(original) as Decision<R>
      if (call.key?.fingerprint === original.key?.fingerprint) return decision
      return 'ok' in decision ? { refused: MISMATCH } : { again: true } // only a success uses up the key
    })
  }

  /** Writes calls of which no two have the same key. */
  async #writeDistinct<C extends Keyed, R>(
    calls: readonly C[],
    decide: Decide<C, R>,
    deadlineMs: number,
    locking: Locking,
  ): Promise<ReadonlyMap<C, Decision<R>>> {
    const decisions = new Map<C, Decision<R>>()
    const refuseOpen = (some: readonly C[], refusal: Refusal) => {
      for (const call of some) if (!decisions.has(call)) decisions.set(call, { refused: refusal })
    }
    let isUncertain = false // a COMMIT was sent and not answered
    for (let number = 0; decisions.size < calls.length; number += 1) {
      const open = calls.filter((call) => !decisions.has(call))
      const skipsHeldRows = locking === 'skip' || number % 2 === 1
      const attempt = await this.#attempt(open, decide, deadlineMs, locking, skipsHeldRows)
      switch (attempt.ended) {
        case 'committed':
          for (const [index, call] of open.entries()) {
            const decision = attempt.decisions[index] as Decision<R>
            // The lost transaction itself may hold the row. A wait for it would forget that the call may have happened.
            const isUnknown = isUncertain && 'held' in decision
            decisions.set(call, isUnknown ? { refused: timedOut('unknown') } : decision)
          }
          await this.#replaceRepeats(open, decisions, deadlineMs)
          return decisions
        case 'taken': {
          const stored = await this.#storedAnswers<C, R>(open, deadlineMs)
          if (stored?.size === 0 && !isUncertain) throw attempt.error // the duplicate is not a key of ours
          for (const [call, answer] of stored ?? []) decisions.set(call, answer)
          break
        }
        case 'lost':
          isUncertain = true
          refuseOpen(
            open.filter((call) => call.key === undefined),
            timedOut('unknown'),
          )
          break
        case 'refused':
          refuseOpen(open, isUncertain ? timedOut('unknown') : unavailable())
          break
        case 'fault':
          if (!isUncertain) throw attempt.error
          refuseOpen(open, timedOut('unknown')) // after a throw, the queue might run the calls again
      }
      if (!(await pause(number, deadlineMs))) refuseOpen(open, timedOut(isUncertain ? 'unknown' : 'none'))
    }
    return decisions
  }

  /** One transaction, and how it ended. */
  async #attempt<C extends Keyed, R>(
    calls: readonly C[],
    decide: Decide<C, R>,
    deadlineMs: number,
    locking: Locking,
    skipsHeldRows: boolean,
  ): Promise<Attempt<R>> {
    const pool = locking === 'block' ? this.#blocking : this.#writing
    const progress = { commitSent: false }
    try {
      const decisions = await this.#onLane(pool, deadlineMs, (connection) =>
        transact(connection, createLane(connection, skipsHeldRows, this.#watch), calls, decide, progress, this.#watch),
      )
      return { ended: 'committed', decisions }
    } catch (error) {
      const meaning = interpretError(error)
      if (meaning === 'undone') return { ended: 'undone' }
      if (meaning === 'taken') return { ended: 'taken', error }
      // A read-only database refuses COMMIT itself, and rolls back. Nothing is known after other errors of COMMIT.
      const isRefused = meaning === 'unusable' && (!progress.commitSent || findTrouble(error) === 'readOnly')
      if (isRefused) return { ended: 'refused' }
      if (progress.commitSent) return { ended: 'lost' }
      return meaning === 'lost' ? { ended: 'undone' } : { ended: 'fault', error }
    }
  }

  /** A call that was carried out before, under its key, may be refused now: its answer is the first one. */
  async #replaceRepeats<C extends Keyed, R>(
    calls: readonly C[],
    decisions: Map<C, Decision<R>>,
    deadlineMs: number,
  ): Promise<void> {
    const refused = calls.filter((call) => call.key !== undefined && 'refused' in (decisions.get(call) as Decision<R>))
    if (refused.length === 0) return
    const stored = await this.#storedAnswers<C, R>(refused, deadlineMs)
    for (const call of refused) {
      const answer = stored === undefined ? { refused: timedOut('unknown') } : stored.get(call)
      if (answer !== undefined) decisions.set(call, answer)
    }
  }

  /**
   * The answers stored for the calls' keys; undefined when they could not be read
   * in time. Never rejects: the error would pass for one of the writes.
   */
  async #storedAnswers<C extends Keyed, R>(calls: readonly C[], deadlineMs: number) {
    const keyed = calls.filter((call) => call.key !== undefined)
    if (keyed.length === 0) return new Map<C, never>()
    return this.read((lane) => readStoredAnswers<C, R>(lane, keyed), deadlineMs).catch(() => undefined)
  }

  /** Commits statements that need no decision, as one transaction. Rejects like `read`. */
  async change(statements: readonly Statement[], deadlineMs: number): Promise<void> {
    const plan: Plan<undefined> = { decisions: [{ ok: undefined }], writes: statements }
    const [result] = await this.write([{}], async () => plan, deadlineMs)
    if (result !== undefined && 'refused' in result) throw new Refused(result.refused)
  }

  /** Repeats `work`, which must change nothing, until it succeeds, faults, or is out of time. */
  async #retried<T>(pool: Pool, deadlineMs: number, work: (lane: PoolConnection) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#onLane(pool, deadlineMs, work)
      } catch (error) {
        const meaning = interpretError(error)
        if (meaning === 'fault') throw error
        if (meaning === 'unusable') throw new Refused(unavailable())
        if (!(await pause(attempt, deadlineMs))) throw new Refused(timedOut('none'))
      }
    }
  }

  async #onLane<T>(pool: Pool, deadlineMs: number, work: (lane: PoolConnection) => Promise<T>): Promise<T> {
    try {
      return await onLane(pool, deadlineMs, work)
    } catch (error) {
      if (isOfConnection(error)) this.#onLoss()
      if (interpretError(error) === 'unusable') this.#watch.refuses(error)
      throw error
    }
  }

  /** How the pools are used at the moment. */
  uses(): readonly PoolUse[] {
    const pools = { reading: this.#reading, writing: this.#writing, blocking: this.#blocking, watching: this.#watching }
    return Object.entries(pools).map(([name, pool]) => ({
      pool: name as PoolUse['pool'],
      active: pool.activeConnections(),
      idle: pool.idleConnections(),
      waiting: pool.taskQueueSize(),
    }))
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#pools.map((pool) => pool.end()))
  }

  get #pools(): readonly Pool[] {
    return [this.#reading, this.#writing, this.#blocking, this.#watching]
  }
}

/** Lends a pooled connection to `work`. Past the deadline it rejects, and cuts the connection if it has one. */
async function onLane<T>(pool: Pool, deadlineMs: number, work: (lane: PoolConnection) => Promise<T>): Promise<T> {
  let connection: PoolConnection | undefined
  let isExpired = false
  let timer: NodeJS.Timeout | undefined
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      isExpired = true
      connection?.destroy()
      reject(new DeadlinePassed())
    }, deadlineMs - performance.now())
  })
  const working = (async () => {
    connection = await pool.getConnection()
    try {
      if (isExpired) throw new DeadlinePassed()
      return await work(connection)
    } finally {
      await connection.release()
      // The pool re-lends on nextTick; wait for it, so waiters stay FIFO.
      await new Promise<void>((resolve) => process.nextTick(resolve))
    }
  })()
  return Promise.race([working, expiry]).finally(() => clearTimeout(timer))
}

function createLane(connection: PoolConnection, skipsHeldRows: boolean, watch: DatabaseWatch): Lane {
  return { skipsHeldRows, rows: (sql, values) => watched(sql, connection.query(sql, values), watch) }
}

/** While statements are refused, tells which are accepted again. */
function watched<T>(sql: string, answer: Promise<T>, watch: DatabaseWatch): Promise<T> {
  if (watch.isRefusing) answer.then(() => watch.accepts(sql)).catch(() => {}) // whoever waits for the answer gets the error
  return answer
}

/** Decides, writes, commits; rolls back on any error. `progress` tells the caller how far it came. */
async function transact<C extends Keyed, R>(
  connection: PoolConnection,
  lane: Lane,
  calls: readonly C[],
  decide: Decide<C, R>,
  progress: { commitSent: boolean },
  watch: DatabaseWatch,
): Promise<readonly Decision<R>[]> {
  try {
    const { decisions, writes } = await decide(lane, calls)
    if (decisions.length !== calls.length) throw new Error(`${decisions.length} decisions for ${calls.length} calls`)
    const replies = await Promise.allSettled(
      [insertKeys(calls, decisions), ...writes].map((write) => watched(write.sql, send(connection, write), watch)),
    )
    for (const reply of replies) if (reply.status === 'rejected') throw reply.reason
    progress.commitSent = true
    await watched('COMMIT', connection.commit(), watch)
    return decisions
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

/** Sleeps before attempt + 1: doubling, with full jitter. Returns false at once if the deadline leaves no time for it. */
async function pause(attempt: number, deadlineMs: number): Promise<boolean> {
  const longestMs = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** attempt)
  const waitMs = Math.random() * longestMs
  if (performance.now() + waitMs >= deadlineMs) return false
  await new Promise((resolve) => setTimeout(resolve, waitMs))
  return true
}
