/**
 * How calls that change rows get done. They go in batches, and a batch passes
 * over rows that somebody else has locked (see locks.ts). A call that needs
 * such a row waits until it is free, holding nothing, together with the others
 * that want the same one. Then it goes to a second queue, whose batches wait
 * for their locks: what they wait for then are other batches, not somebody who
 * sits on a row. A call whose key another one of its batch had first, with
 * other parameters, and did not use up, comes there as well.
 */

import type { Answer } from '../contract/refusals.ts'
import type { Database, Keyed, Lane, Outcome, Plan, Row } from '../db.ts'
import { createQueue, type Queue, type QueueOptions } from './queue.ts'

type Decide<C, R> = (lane: Lane, calls: readonly C[], deadlineMs: number) => Promise<Plan<R>>

/** The function that has a call done by its deadline; rejects as a queue does. */
export function createWriter<C extends Keyed, R>(
  database: Database,
  decide: Decide<C, R>,
  queueOptions: Omit<QueueOptions<C, Outcome<R>>, 'run' | 'changes'>,
): (call: C, deadlineMs: number) => Promise<Answer<R>> {
  const [passing, waiting] = [false, true].map((waits) =>
    createQueue<C, Outcome<R>>({
      ...queueOptions,
      changes: true,
      run: (calls, deadlineMs) =>
        database.write(calls, (lane, some) => decide(lane, some, deadlineMs), deadlineMs, waits),
    }),
  ) as [Queue<C, Outcome<R>>, Queue<C, Outcome<R>>]
  const untilFree = createWaitingRooms(database)

  return async (call, deadlineMs) => {
    let outcome = await passing.ask(call, deadlineMs)
    while ('held' in outcome || 'again' in outcome) {
      if ('held' in outcome) await untilFree(outcome.held, deadlineMs)
      outcome = await waiting.ask(call, deadlineMs)
    }
    return outcome
  }
}

/** For each row that is waited for one queue, which lasts as long as anybody waits, and one lane. */
function createWaitingRooms(database: Database): (row: Row, deadlineMs: number) => Promise<void> {
  const rooms = new Map<string, Queue<Row, void>>()

  return (row, deadlineMs) => {
    const name = `${row.table} ${row.id}`
    const known = rooms.get(name)
    const room = known ?? createRoom(database)
    const freed = room.ask(row, deadlineMs)
    if (known === undefined) {
      rooms.set(name, room)
      room.drained().then(() => rooms.delete(name))
    }
    return freed
  }
}

/** All who wait for one row: the wait of one is the wait of all. That it is long says nothing of the load. */
function createRoom(database: Database): Queue<Row, void> {
  return createQueue({
    cap: Number.POSITIVE_INFINITY,
    inFlight: 1,
    longestWaitMs: Number.POSITIVE_INFINITY,
    async run(rows, deadlineMs) {
      await database.freed(rows[0] as Row, deadlineMs)
      return rows.map(() => undefined)
    },
  })
}
