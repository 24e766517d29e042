/**
 * Outages of a database while a server runs: its loss and its return are logged,
 * once each. Whoever meets trouble with a connection says so. Only a connection
 * of our own then tells whether the database is lost, or just that connection.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { withConnection } from './connect.ts'
import { explainError } from './problems.ts'
import { databaseUrlProblem } from './url.ts'

const BETWEEN_LOOKS_MS = 1_000
const LONGEST_LOOK_MS = 2_000
/** One could fall into the moment in which a database goes down. */
const GOOD_LOOKS = 2

export interface OutageWatch {
  /** Has a look at the database, if that is not being done. */
  suspect(): void
  /** Whether the last look found it lost. */
  readonly isLost: boolean
  /** From now on, nothing is logged. */
  stop(): void
}

/** `what` is the database's name in the log. */
export function watchOutages(what: string, url: string, log: (text: string) => void): OutageWatch {
  let looking = false
  let stopped = false

  let lostMs: number | undefined

  async function look(): Promise<void> {
    for (let good = 0; good < GOOD_LOOKS && !stopped; ) {
      const problem = await findProblem(url)
      if (stopped) return
      good = problem === undefined ? good + 1 : 0
      if (problem !== undefined && lostMs === undefined) {
        log(`${what} lost: ${problem}`)
        lostMs = performance.now()
      }
      if (problem === undefined && lostMs !== undefined) {
        log(`${what} is back after ${Math.ceil((performance.now() - lostMs) / 1_000)} s`)
        lostMs = undefined
      }
      await sleep(BETWEEN_LOOKS_MS, undefined, { ref: false })
    }
  }

  return {
    suspect() {
      if (looking || stopped) return
      looking = true
      void look().finally(() => {
        looking = false
      })
    },
    get isLost() {
      return lostMs !== undefined
    },
    stop() {
      stopped = true
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
