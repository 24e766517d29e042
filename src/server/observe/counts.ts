/**
 * What a server counts while it works: plain numbers in arrays, since the path of
 * a request must not pay for metrics. Somebody else reads them (metrics.ts).
 */

/** Values counted by size: how many were at most each bound, as differences between neighbours. */
export interface Distribution {
  readonly bounds: readonly number[]
  /** One more than there are bounds: the last is for what is beyond them. */
  readonly counts: number[]
  sum: number
}

export interface CallCounts {
  /** By outcome: `ok`, or the code of the refusal. */
  readonly outcomes: Map<string, number>
  readonly seconds: Distribution
}

export interface QueueCounts {
  readonly batchSizes: Distribution
  /** Calls that wait now. */
  waiting(): number
}

/** Tells how a call ended, and after how many milliseconds. */
export type OnAnswer = (outcome: string, ms: number) => void

/** What the sender of batches tells: itself once, then the size of each batch. */
export interface QueueWatch {
  begin(queue: { readonly waiting: number }): void
  sent(count: number): void
}

const ALWAYS_COUNTED = ['ok', 'internal']
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]

export class Counts {
  /** By operation. Only names of the contract come in, and `unknown`. */
  readonly calls = new Map<string, CallCounts>()
  /** By operation, or by another name of a queue, and its round. */
  readonly queues = new Map<string, QueueCounts>()
  /** Refusals outside calls, by code: lines that are no requests, connections too many. */
  readonly refusals = new Map<string, number>()
  /** By table. Old rows are deleted in slices. */
  readonly sweeps = new Map<string, { slices: number; rows: number }>()

  operation(name: string): OnAnswer {
    // Prometheus sees a counter grow only if it has seen it before.
    const outcomes = new Map<string, number>(ALWAYS_COUNTED.map((outcome) => [outcome, 0]))
    const seconds = newDistribution(SECONDS)
    this.calls.set(name, { outcomes, seconds })
    return (outcome, ms) => {
      increase(outcomes, outcome)
      observe(seconds, ms / 1_000)
    }
  }

  queue(name: string): QueueWatch {
    const batchSizes = newDistribution(BATCH_SIZES)
    return {
      begin: (queue) => void this.queues.set(name, { batchSizes, waiting: () => queue.waiting }),
      sent: (count) => observe(batchSizes, count),
    }
  }

  refused(code: string): void {
    increase(this.refusals, code)
  }

  swept(table: string, rows: number): void {
    const sweeps = this.sweeps.get(table) ?? { slices: 0, rows: 0 }
    sweeps.slices += 1
    sweeps.rows += rows
    this.sweeps.set(table, sweeps)
  }
}

function increase(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}

function newDistribution(bounds: readonly number[]): Distribution {
  return { bounds, counts: Array(bounds.length + 1).fill(0), sum: 0 }
}

function observe(distribution: Distribution, value: number): void {
  const { bounds, counts } = distribution
  let at = 0
  while (at < bounds.length && value > (bounds[at] as number)) at += 1
  counts[at] = (counts[at] as number) + 1
  distribution.sum += value
}
