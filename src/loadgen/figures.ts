/** The figures of a record: per run, and per cell over its runs. */

import { type AnyOperation, type Cell, type LatencySummary, merge, type Run, type StudyRecord } from './record.ts'
import { rolesIn, type ScenarioName } from './scenarios.ts'
import type { SystemName } from './systems.ts'

/** The figures of one operation, or of whole purchases: in one run, or over several. */
export interface Figures {
  calls: number
  throughput: number
  meanMs: number
  p50Ms: number
  p95Ms: number
  p99Ms: number
  maxMs: number
}

export function findCell(record: StudyRecord, scenario: ScenarioName, clients: number, system: SystemName): Cell {
  const cell = record.cells.find((one) => one.scenario === scenario && one.clients === clients && one.system === system)
  if (cell === undefined) throw new Error(`the record has no cell ${scenario}, ${clients} clients, ${system}`)
  return cell
}

/** Throughput is calls over wall time, never a sum of clients' rates. */
export function toFigures({ calls, wallS, meanUs, p50Us, p95Us, p99Us, maxUs }: LatencySummary): Figures {
  return {
    calls,
    throughput: calls / wallS,
    meanMs: meanUs / 1_000,
    p50Ms: p50Us / 1_000,
    p95Ms: p95Us / 1_000,
    p99Ms: p99Us / 1_000,
    maxMs: maxUs / 1_000,
  }
}

/** What has latencies: an operation, or whole purchases. */
export type Subject = AnyOperation | 'purchases'

/** The subject's summary, or none if it did not happen in the run. */
export function summariesIn({ operations, purchases }: Run, subject: Subject): LatencySummary[] {
  const summary = subject === 'purchases' ? purchases : operations[subject]
  return summary === undefined ? [] : [summary]
}

/** All subjects of these runs. */
export function subjectsIn(runs: readonly Run[]): Subject[] {
  const operations = new Set(runs.flatMap((run) => Object.keys(run.operations) as AnyOperation[]))
  return [...operations, ...(runs.some(({ purchases }) => purchases !== undefined) ? ['purchases' as const] : [])]
}

/** The subject's figures run by run. */
export function figuresByRun({ runs }: Cell, subject: Subject): Figures[] {
  return runs.flatMap((run) => summariesIn(run, subject).map(toFigures))
}

/**
 * The average over the runs, as in the original. Percentiles can't be averaged:
 * they are of all calls together. NaN for a subject that never happened.
 */
export function averageFigures(cell: Cell, subject: Subject): Figures {
  const each = figuresByRun(cell, subject)
  const histogram = merge(cell.runs.flatMap((run) => summariesIn(run, subject)))
  const at = (percentile: number) =>
    histogram.totalCount === 0 ? Number.NaN : histogram.getValueAtPercentile(percentile) / 1_000
  return {
    calls: histogram.totalCount,
    throughput: mean(each.map(({ throughput }) => throughput)),
    meanMs: mean(each.map(({ meanMs }) => meanMs)),
    p50Ms: at(50),
    p95Ms: at(95),
    p99Ms: at(99),
    maxMs: at(100),
  }
}

/** Calls per second of all operations together, each over the time in which it was called. */
export function callsPerS({ operations }: Run): number {
  return Object.values(operations).reduce((sum, { calls, wallS }) => sum + calls / wallS, 0)
}

export function countCalls({ operations }: Run): number {
  return Object.values(operations).reduce((sum, { calls }) => sum + calls, 0)
}

export function countPurchases({ purchases }: Run): number {
  return purchases?.calls ?? 0
}

/** Completed purchases per second. */
export function purchasesPerS({ purchases }: Run): number {
  return purchases === undefined ? 0 : purchases.calls / purchases.wallS
}

/** The 99th percentile of all calls of a run together. */
export function p99Ms({ operations }: Run): number {
  return merge(Object.values(operations)).getValueAtPercentile(99) / 1_000
}

/** One cell over another: the ratio of their medians, and the range of the ratios run by run. */
export interface Ratio {
  ofMedians: number
  least: number
  most: number
}

export function compare(over: Cell, under: Cell, measure: (run: Run) => number): Ratio {
  const [above, below] = [over.runs.map(measure), under.runs.map(measure)]
  const each = above.map((value, index) => value / (below[index] ?? Number.NaN))
  return { ofMedians: median(above) / median(below), least: Math.min(...each), most: Math.max(...each) }
}

/** Calls per second of all operations together, the median of the runs. */
export function medianThroughput(cell: Cell): number {
  return median(cell.runs.map(callsPerS))
}

/** Length of the tail: p99 over p50, the median of the runs. For scenarios with one operation. */
export function medianTail(cell: Cell): number {
  return median(cell.runs.flatMap((run) => Object.values(run.operations).map(({ p99Us, p50Us }) => p99Us / p50Us)))
}

/**
 * Little's law: in a closed loop without think time, throughput times mean
 * latency equals the number of clients. This is their quotient over all runs;
 * far from 1, time was spent outside of what was measured.
 */
export function littlesLaw({ scenario, clients, runs }: Cell): number {
  const present = clients * rolesIn(scenario).length
  const inFlight = runs.map(({ operations }) =>
    Object.values(operations).reduce(
      (sum, { calls, wallS, meanUs }) => sum + (calls / wallS) * (meanUs / 1_000_000),
      0,
    ),
  )
  return mean(inFlight) / present
}

/** Processor microseconds of a process per call, or per other unit that `count` counts; undefined if not measured. */
export function cpuPerUnitUs({ runs }: Cell, process: keyof Run['cpuS'], count = countCalls): number | undefined {
  const seconds = runs.map((run) => run.cpuS[process])
  if (seconds.some((some) => some === undefined)) return undefined
  const units = runs.reduce((sum, run) => sum + count(run), 0)
  return (seconds.reduce((sum: number, some) => sum + (some ?? 0), 0) / units) * 1_000_000
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
