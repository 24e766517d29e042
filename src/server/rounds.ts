/**
 * Rounds: how a call passes through the queues of its operation. The first
 * round does what can be done at once. What it leaves open goes to the second,
 * in a queue of its own, so that no other call waits for it.
 *
 * Reads: an operation with a cheap first look answers what it can, and the
 * second round answers the rest.
 *
 * Writes: in the first round a batch skips rows that other transactions hold.
 * A call that needs such a row waits until the row is free, together with the
 * other calls that need it, and holds nothing meanwhile. Then it goes to the
 * second round, whose batches block on their locks: by now other batches hold
 * them, not a transaction that keeps a row for long. A call whose key an earlier
 * call of its batch had, with other parameters, goes to the second round too,
 * unless the earlier call succeeded.
 */

import type { Answer } from '../contract/refusals.ts'
import type { Keyed } from '../db/idempotency.ts'
import type { Lane } from '../db/lane.ts'
import type { Plan, RowId } from '../db/plan.ts'
import type { BatchResult, Database, Locking } from '../db.ts'
import { createQueue, type Queue, type QueueOptions } from './batch-queue.ts'
import type { QueueWatch } from './observe/counts.ts'

/** Does a call by its deadline. Rejects as a queue does. */
type Ask<C, A> = (call: C, deadlineMs: number) => Promise<A>

export type Round = 1 | 2

interface Gathering<C> extends Omit<QueueOptions<C, never>, 'run' | 'changes' | 'watch'> {
  watch(round: Round): QueueWatch | undefined
}

interface ReadRound<C, A> {
  ask(lane: Lane, calls: readonly C[], deadlineMs: number): Promise<readonly A[]>
  gathering: Gathering<C>
}

/** Reads in one round, or in two. The first of two answers undefined for a call that it leaves open. */
export function createReads<C, A>(
  database: Database,
  last: ReadRound<C, A>,
  first: ReadRound<C, A | undefined> | undefined,
): Ask<C, A> {
  const createRound = <T>({ ask, gathering }: ReadRound<C, T>, round: Round): Queue<C, T> =>
    createQueue({
      ...gathering,
      watch: gathering.watch(round),
      run: (calls, deadlineMs) => database.read((lane) => ask(lane, calls, deadlineMs), deadlineMs),
    })
  if (first === undefined) return createRound(last, 1).ask
  return inRounds<C, A, undefined>(
    createRound(first, 1),
    createRound(last, 2),
    (result): result is undefined => result === undefined,
  )
}

/** `decide` is asked for a plan of each batch, on a lane that skips held rows or blocks on them. */
export function createWrites<C extends Keyed, R>(
  database: Database,
  decide: (lane: Lane, calls: readonly C[], deadlineMs: number) => Promise<Plan<R>>,
  gathering: Gathering<C>,
): Ask<C, Answer<R>> {
  const createRound = (locking: Locking, round: Round): Queue<C, BatchResult<R>> =>
    createQueue({
      ...gathering,
      watch: gathering.watch(round),
      changes: true,
      run: (calls, deadlineMs) =>
        database.write(calls, (lane, some) => decide(lane, some, deadlineMs), deadlineMs, locking),
    })
  const untilFree = createRowWaits(database)
  return inRounds<C, Answer<R>, Undecided>(
    createRound('skip', 1),
    createRound('block', 2),
    (result): result is Undecided => 'held' in result || 'again' in result,
    async (open, deadlineMs) => {
      if ('held' in open) await untilFree(open.held, deadlineMs)
    },
  )
}

/** A call that its batch did not decide. */
type Undecided = { held: RowId } | { again: true }

/** Asks the first queue, then the second until it leaves nothing open. `untilReady` delays the second. */
function inRounds<C, A, Open>(
  first: Queue<C, A | Open>,
  second: Queue<C, A | Open>,
  isOpen: (result: A | Open) => result is Open,
  untilReady?: (open: Open, deadlineMs: number) => Promise<void>,
): Ask<C, A> {
  return async (call, deadlineMs) => {
    let result = await first.ask(call, deadlineMs)
    while (isOpen(result)) {
      await untilReady?.(result, deadlineMs)
      result = await second.ask(call, deadlineMs)
    }
    return result
  }
}

/** Waits for held rows. All calls that wait for one row share one wait, and one lane. */
function createRowWaits(database: Database): (row: RowId, deadlineMs: number) => Promise<void> {
  const waits = new Map<string, Queue<RowId, void>>()

  return (row, deadlineMs) => {
    const name = `${row.table} ${row.id}`
    const known = waits.get(name)
    const wait = known ?? createRowWait(database)
    const free = wait.ask(row, deadlineMs)
    if (known === undefined) {
      waits.set(name, wait)
      wait.drained().then(() => waits.delete(name))
    }
    return free
  }
}

/**
 * A queue whose batch is all calls that wait for one row. A long wait there is no
 * sign of load, so no call is refused for it.
 */
function createRowWait(database: Database): Queue<RowId, void> {
  return createQueue({
    cap: Number.POSITIVE_INFINITY,
    inFlight: 1,
    longestWaitMs: Number.POSITIVE_INFINITY,
    async run(rows, deadlineMs) {
      await database.untilFree(rows[0] as RowId, deadlineMs)
      return rows.map(() => undefined)
    },
  })
}
