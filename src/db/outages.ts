/**
 * Outages of the databases while a server runs. Each has one line in the log for
 * its begin and one for its end, however many calls fail meanwhile.
 *
 * A database is lost when it takes no connections. Whoever meets trouble with a
 * connection says so; only a connection of our own then tells whether the
 * database is lost, or just that connection.
 *
 * A database that answers may refuse statements: its disk is full, it is
 * read-only, rights are missing. No look tells when that ends, because small
 * writes may succeed on a full disk. It ends when every statement that was
 * refused has been accepted again.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { SqlError } from 'mariadb'
import { withConnection } from './connect.ts'
import { findTrouble } from './errors.ts'
import { explainError } from './problems.ts'
import type { DatabaseName, DatabaseUrls } from './schema.ts'
import { databaseUrlProblem } from './url.ts'

const BETWEEN_LOOKS_MS = 1_000
const LONGEST_LOOK_MS = 2_000
/** One could fall into the moment in which a database goes down. */
const GOOD_LOOKS = 2
/** On a full disk, one statement may now be refused and now be accepted. */
const CALM_MS = 3_000
/** Nobody waits any more for a statement that was refused so long ago. */
const STALE_MS = 60_000
/** Tells one statement from another. Behind it, the number of values differs. */
const STATEMENT_START = 60

/** How the log says that statements are refused, and taken again. */
const SAID = {
  reads: { refused: 'refuses reads', accepted: 'takes reads again' },
  writes: { refused: 'refuses writes', accepted: 'takes writes again' },
} as const

export interface DatabaseWatch {
  /** A connection failed: has a look at the database, if that is not being done. */
  suspect(): void
  /** Whether the last look found it lost. */
  readonly isLost: boolean
  /** The database refused a statement with this error. */
  refuses(error: unknown): void
  /** While `isRefusing`: a statement was carried out. */
  accepts(sql: string): void
  /** Whether statements were refused, and not all of them accepted since. */
  readonly isRefusing: boolean
}

export type OutageWatches = Readonly<Record<DatabaseName, DatabaseWatch>> & {
  /** From now on, nothing is logged. */
  stop(): void
}

/** Trouble with a connection to one database is a reason to look at both: calls may never reach the other. */
export function watchOutages(urls: DatabaseUrls, log: (text: string) => void): OutageWatches {
  let stopped = false
  const say = (text: string) => {
    if (!stopped) log(text)
  }
  const watchLoss = (name: DatabaseName) => watchLosses(`${name} database`, urls[name], say, () => stopped)
  const losses = { customer: watchLoss('customer'), product: watchLoss('product') }
  const suspect = () => {
    losses.customer.look()
    losses.product.look()
  }
  const watch = (name: DatabaseName): DatabaseWatch => {
    const refusals = watchRefusals(`${name} database`, urls[name], say)
    return {
      suspect,
      refuses: refusals.refuses,
      accepts: refusals.accepts,
      get isLost() {
        return losses[name].isLost
      },
      get isRefusing() {
        return refusals.isRefusing
      },
    }
  }
  return {
    customer: watch('customer'),
    product: watch('product'),
    stop() {
      stopped = true
    },
  }
}

/** The returned `look` begins to look at the database. */
function watchLosses(
  what: string,
  url: string,
  log: (text: string) => void,
  isStopped: () => boolean,
): { look(): void; readonly isLost: boolean } {
  let looking = false
  let lostMs: number | undefined

  async function lookUntilGood(): Promise<void> {
    for (let good = 0; good < GOOD_LOOKS && !isStopped(); ) {
      const problem = await findProblem(url)
      good = problem === undefined ? good + 1 : 0
      if (problem !== undefined && lostMs === undefined) {
        log(`${what} lost: ${problem}`)
        lostMs = performance.now()
      }
      if (problem === undefined && lostMs !== undefined) {
        log(`${what} is back after ${secondsSince(lostMs)} s`)
        lostMs = undefined
      }
      if (good < GOOD_LOOKS) await sleep(BETWEEN_LOOKS_MS, undefined, { ref: false })
    }
  }

  return {
    look() {
      if (looking || isStopped()) return
      looking = true
      void lookUntilGood().finally(() => {
        looking = false
      })
    },
    get isLost() {
      return lostMs !== undefined
    },
  }
}

async function findProblem(url: string): Promise<string | undefined> {
  const problem = databaseUrlProblem(url) // the file that it names may be gone by now
  if (problem !== undefined) return problem
  try {
    await withConnection(url, async () => {}, LONGEST_LOOK_MS)
    return undefined
  } catch (error) {
    return explainError(error, url) ?? String(error)
  }
}

/** Statements of one kind that are refused for one reason. */
interface Refusals {
  kind: keyof typeof SAID
  begunMs: number
  /** When each statement was refused last, by its start. */
  refusedMs: Map<string, number>
}

function watchRefusals(
  what: string,
  url: string,
  log: (text: string) => void,
): Pick<DatabaseWatch, 'refuses' | 'accepts' | 'isRefusing'> {
  const open = new Map<string, Refusals>()

  return {
    get isRefusing() {
      return open.size > 0
    },
    refuses(error) {
      const { sql = '' } = error as Partial<SqlError>
      const kind = isRead(sql ?? '') ? 'reads' : 'writes'
      const name = `${kind} ${findTrouble(error)}`
      const nowMs = performance.now()
      const refusals = open.get(name) ?? { kind, begunMs: nowMs, refusedMs: new Map() }
      if (!open.has(name)) log(`${what} ${SAID[kind].refused}: ${explainError(error, url) ?? String(error)}`)
      open.set(name, refusals)
      refusals.refusedMs.set(startOf(sql ?? ''), nowMs)
    },
    accepts(sql) {
      const nowMs = performance.now()
      for (const [name, { kind, begunMs, refusedMs }] of open) {
        if (nowMs - (refusedMs.get(startOf(sql)) ?? nowMs) > CALM_MS) refusedMs.delete(startOf(sql))
        for (const [start, atMs] of refusedMs) if (nowMs - atMs > STALE_MS) refusedMs.delete(start)
        if (refusedMs.size > 0) continue
        open.delete(name)
        log(`${what} ${SAID[kind].accepted} after ${secondsSince(begunMs)} s`)
      }
    },
  }
}

function isRead(sql: string): boolean {
  return /^\W*SELECT/.test(sql) && !/FOR UPDATE|SHARE MODE|NEXT VALUE/.test(sql)
}

function startOf(sql: string): string {
  return sql.slice(0, STATEMENT_START)
}

function secondsSince(beganMs: number): number {
  return Math.ceil((performance.now() - beganMs) / 1_000)
}
