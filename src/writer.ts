/**
 * How calls that change rows get done. They go in batches, and a batch passes
 * over rows that somebody else has locked (see locks.ts). A call that needs
 * such a row then waits for it in a second queue, that row's own, together with
 * all others that want the same one: whose turn it is, is the database's to
 * say, and nobody who wants other rows waits with them.
 */

import type { Database, Decision, Keyed, Lane, Plan, Row } from './db.ts'
import type { Answer } from './protocol.ts'
import { createQueue, type Queue, type QueueOptions } from './queue.ts'

type Decide<C, R> = (lane: Lane, calls: readonly C[], deadlineMs: number) => Promise<Plan<R>>

/** The function that has a call done by its deadline; rejects as a queue does. */
export function createWriter<C extends Keyed, R>(
  database: Database,
  decide: Decide<C, R>,
  queueOptions: Omit<QueueOptions<C, Decision<R>>, 'run'>,
): (call: C, deadlineMs: number) => Promise<Answer<R>> {
  const first = queueBehind(undefined)
  const byRow = new Map<string, Queue<C, Decision<R>>>()

  function queueBehind(row: Row | undefined): Queue<C, Decision<R>> {
    return createQueue({
      ...queueOptions,
      run: (calls, deadlineMs) =>
        database.write(calls, (lane, some) => decide(lane, some, deadlineMs), deadlineMs, row),
    })
  }

  /** The queue of those who wait for this row; it lasts as long as there are any. */
  function queueFor(row: Row): Queue<C, Decision<R>> {
    const name = `${row.table} ${row.id}`
    const known = byRow.get(name)
    if (known !== undefined) return known
    const queue = queueBehind(row)
    byRow.set(name, queue)
    setImmediate(async () => {
      await queue.drained()
      byRow.delete(name)
    })
    return queue
  }

  return async (call, deadlineMs) => {
    let decision = await first.ask(call, deadlineMs)
    while ('held' in decision) decision = await queueFor(decision.held).ask(call, deadlineMs)
    return decision
  }
}
