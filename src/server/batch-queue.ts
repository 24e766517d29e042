/**
 * The request queue: gathers requests of one kind into batches. It knows no
 * SQL and no sockets; what a batch does, how large it may be and how many may
 * be under way at once are given to it.
 *
 * When does a batch leave?
 *   - When none is under way: at the end of this turn of the event loop. So all
 *     requests read in one turn travel together, and a lone request waits for no other.
 *   - When a batch comes back: at once, before its answers are handed out, so
 *     that the database works while this process writes replies.
 *   - Beside a batch that is under way, up to `inFlight`: as soon as it holds as
 *     many requests as the last one did. A smaller batch would cost its
 *     neighbours a round trip and gather nothing.
 * There is no timer: batches grow with the load, because the work before them
 * takes time.
 *
 * Which requests does it take? All that wait, if they fit. Otherwise senders
 * have turns, by weight: one who asks for much waits longer, and nobody else does.
 *
 * Every waiter is settled exactly once, and at its own deadline at the latest:
 * a batch has time until the latest of its requests' deadlines. Waiting requests
 * are bounded, in weight and in age; beyond that a request is refused at once.
 */

import { Refused, timedOut } from '../contract/refusals.ts'
import type { QueueWatch } from './observe/counts.ts'

export interface QueueOptions<Q, A> {
  /** Does a batch: as many answers as requests, in their order, by the deadline (of `now`'s clock). */
  run(batch: readonly Q[], deadlineMs: number): Promise<readonly A[]>
  /** The largest batch, in weight. A request heavier than that travels alone. */
  cap: number
  /** How many batches may be under way at once. */
  inFlight: number
  /** The most weight that may wait; beyond it requests are refused as `overloaded`. */
  bound?: number
  /** The longest wait of the oldest request; beyond it requests are refused as `overloaded`. */
  longestWaitMs?: number
  /** Weight of a request; 1 unless given. */
  weigh?(request: Q): number
  /** Who sent a request. Unless given, all are taken in order of arrival. */
  sender?(request: Q): unknown
  /** Whether `run` changes anything. If so, the outcome of a request that it does not answer in time is unknown. */
  changes?: boolean
  /** Whether to run the batch's requests one by one, once, after this error. */
  alone?(error: unknown): boolean
  endOfTurn?(go: () => void): void
  now?(): number
  watch?: QueueWatch | undefined
}

export interface Queue<Q, A> {
  /**
   * Rejects with `Refused`: `overloaded` at once, `timeout` when not sent, or not
   * answered, in time; or with what `run` threw.
   */
  ask(request: Q, deadlineMs: number): Promise<A>
  readonly waiting: number
  /** Resolves when nothing waits and nothing is under way. */
  drained(): Promise<void>
}

const BOUND = 10_000
const LONGEST_WAIT_MS = 1_000
const SWEEP_MS = 100

interface Waiter<Q, A> {
  request: Q
  weight: number
  askedMs: number
  deadlineMs: number
  resolve(answer: A): void
  reject(error: unknown): void
}

type Settlement<A> = { answer: A } | { error: unknown }

export function createQueue<Q, A>(options: QueueOptions<Q, A>): Queue<Q, A> {
  const { run, cap, inFlight, bound = BOUND, weigh = () => 1, changes = false, alone = () => false } = options
  const { longestWaitMs = LONGEST_WAIT_MS, endOfTurn = setImmediate, now = () => performance.now(), sender } = options
  let waiting: Waiter<Q, A>[] = []
  let waitingWeight = 0
  const underWay = new Set<readonly Waiter<Q, A>[]>()
  let lastCount = 0
  let dispatchPlanned = false
  let sweep: NodeJS.Timeout | undefined
  let onDrained: (() => void)[] = []

  function ask(request: Q, deadlineMs: number): Promise<A> {
    const askedMs = now()
    const weight = weigh(request)
    const oldestWaitMs = waiting.length === 0 ? 0 : askedMs - (waiting[0] as Waiter<Q, A>).askedMs
    if (waitingWeight + weight > bound || oldestWaitMs > longestWaitMs) return Promise.reject(overloaded(oldestWaitMs))
    return new Promise((resolve, reject) => {
      waiting.push({ request, weight, askedMs, deadlineMs, resolve, reject })
      waitingWeight += weight
      sweep ??= setInterval(sweepLate, SWEEP_MS).unref()
      planDispatch()
    })
  }

  function planDispatch(): void {
    if (dispatchPlanned || underWay.size >= inFlight) return
    dispatchPlanned = true
    endOfTurn(() => {
      dispatchPlanned = false
      while (underWay.size < inFlight && hasWork() && (underWay.size === 0 || waiting.length >= lastCount)) {
        void dispatch(takeBatch())
      }
    })
  }

  /** Rejects late requests first, so that none is sent. */
  function hasWork(): boolean {
    rejectLateWaiting()
    return waiting.length > 0
  }

  function takeBatch(): Waiter<Q, A>[] {
    const inOrder = sender === undefined || waitingWeight <= cap ? waiting : inTurns(sender)
    let weight = 0
    let count = 0
    for (const waiter of inOrder) {
      if (count > 0 && weight + waiter.weight > cap) break
      weight += waiter.weight
      count += 1
    }
    const batch = inOrder.slice(0, count)
    waiting = inOrder === waiting ? waiting.slice(count) : withoutAll(waiting, batch)
    waitingWeight -= weight
    lastCount = count
    options.watch?.sent(count)
    return batch
  }

  /** All that wait, by the weight that the same sender has under way or asked for before; equals in order of arrival. */
  function inTurns(senderOf: (request: Q) => unknown): Waiter<Q, A>[] {
    const asked = new Map<unknown, number>()
    const weightBefore = new Map<Waiter<Q, A>, number>()
    for (const waiter of [...[...underWay].flat(), ...waiting]) {
      const sender = senderOf(waiter.request)
      const before = asked.get(sender) ?? 0
      weightBefore.set(waiter, before)
      asked.set(sender, before + waiter.weight)
    }
    const before = (waiter: Waiter<Q, A>) => weightBefore.get(waiter) as number
    return [...waiting].sort((one, other) => before(one) - before(other))
  }

  async function dispatch(batch: readonly Waiter<Q, A>[]): Promise<void> {
    underWay.add(batch)
    const settlements = await runBatch(batch)
    underWay.delete(batch)
    if (hasWork()) void dispatch(takeBatch())
    settle(batch, settlements)
    if (underWay.size === 0 && waiting.length === 0) becomeIdle()
  }

  async function runBatch(batch: readonly Waiter<Q, A>[]): Promise<readonly Settlement<A>[]> {
    const deadlineMs = Math.max(...batch.map((waiter) => waiter.deadlineMs))
    try {
      const answers = await run(
        batch.map((waiter) => waiter.request),
        deadlineMs,
      )
      if (answers.length !== batch.length) throw new Error(`${answers.length} answers to ${batch.length} requests`)
      return answers.map((answer) => ({ answer }))
    } catch (error) {
      if (batch.length === 1 || !alone(error)) return batch.map(() => ({ error }))
    }
    const settlements: Settlement<A>[] = []
    for (const waiter of batch) settlements.push(...(await runBatch([waiter])))
    return settlements
  }

  function settle(batch: readonly Waiter<Q, A>[], settlements: readonly Settlement<A>[]): void {
    batch.forEach((waiter, index) => {
      const settlement = settlements[index] as Settlement<A>
      if ('answer' in settlement) waiter.resolve(settlement.answer)
      else waiter.reject(settlement.error)
    })
  }

  function sweepLate(): void {
    rejectLateWaiting()
    rejectLateUnderWay()
    if (underWay.size > 0 || waiting.length > 0) return
    clearInterval(sweep)
    sweep = undefined
    becomeIdle()
  }

  /**
   * Rejects late requests whose neighbours have more time. A batch that is late
   * as a whole rejects them itself, and knows more.
   */
  function rejectLateUnderWay(): void {
    const overdueSinceMs = now() - SWEEP_MS
    for (const batch of underWay) {
      for (const { deadlineMs, reject } of batch)
        if (deadlineMs <= overdueSinceMs) reject(new Refused(timedOut(changes ? 'unknown' : 'none')))
    }
  }

  function rejectLateWaiting(): void {
    const nowMs = now()
    const overdue = waiting.filter((waiter) => waiter.deadlineMs <= nowMs)
    if (overdue.length === 0) return
    waiting = waiting.filter((waiter) => waiter.deadlineMs > nowMs)
    for (const waiter of overdue) {
      waitingWeight -= waiter.weight
      waiter.reject(new Refused(timedOut('none')))
    }
  }

  function becomeIdle(): void {
    for (const resolve of onDrained) resolve()
    onDrained = []
  }

  const queue: Queue<Q, A> = {
    ask,
    get waiting() {
      return waiting.length
    },
    drained: () =>
      underWay.size === 0 && waiting.length === 0
        ? Promise.resolve()
        : new Promise((resolve) => onDrained.push(resolve)),
  }
  options.watch?.begin(queue)
  return queue
}

function withoutAll<T>(all: readonly T[], some: readonly T[]): T[] {
  const left = new Set(some)
  return all.filter((one) => !left.has(one))
}

function overloaded(oldestWaitMs: number): Refused {
  const retryAfterMs = Math.max(100, Math.round(oldestWaitMs))
  const details = { retry_after_ms: retryAfterMs }
  return new Refused({ code: 'overloaded', message: 'too many requests are waiting', details })
}
