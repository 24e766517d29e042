/** The figures that a study's record comes to: per run, and per cell over its runs. */

import { type Called, type Cell, type Figures, type Measured, merged, type Run } from './record.ts'
import { rolesOf, type ScenarioName } from './scenarios.ts'
import type { SystemName } from './systems.ts'

/** What a row of a table says of one operation in one run. */
export interface Row {
  calls: number
  throughput: number
  meanMs: number
  p50Ms: number
  p95Ms: number
  p99Ms: number
  maxMs: number
}

export function cellOf(study: Measured, experiment: ScenarioName, clients: number, system: SystemName): Cell {
  const cell = study.cells.find(
    (one) => one.experiment === experiment && one.clients === clients && one.system === system,
  )
  if (cell === undefined) throw new Error(`the study has no cell ${experiment}, ${clients} clients, ${system}`)
  return cell
}

/** Throughput is calls over wall time, never a sum of clients' rates. */
export function rowOf({ calls, wallS, meanUs, p50Us, p95Us, p99Us, maxUs }: Figures): Row {
  return {
    ...{ calls, throughput: calls / wallS, meanMs: meanUs / 1_000, p50Ms: p50Us / 1_000 },
    ...{ p95Ms: p95Us / 1_000, p99Ms: p99Us / 1_000, maxMs: maxUs / 1_000 },
  }
}

/** What latencies are of: an operation, or whole purchases. */
export type Subject = Called | 'purchases'

/** Nothing for what did not happen in the run. */
export function figuresOn({ operations, purchases }: Run, subject: Subject): Figures[] {
  const figures = subject === 'purchases' ? purchases : operations[subject]
  return figures === undefined ? [] : [figures]
}

/** All subjects of these runs. */
export function subjectsOf(runs: readonly Run[]): Subject[] {
  const operations = new Set(runs.flatMap((run) => Object.keys(run.operations) as Called[]))
  return [...operations, ...(runs.some(({ purchases }) => purchases !== undefined) ? ['purchases' as const] : [])]
}

export function rowsOf({ runs }: Cell, subject: Subject): Row[] {
  return runs.flatMap((run) => figuresOn(run, subject).map(rowOf))
}

/** The average of the runs, as in the report; percentiles come from all calls together, for theirs can't be averaged. Of nothing, NaN. */
export function averageOf(cell: Cell, subject: Subject): Row {
  const rows = rowsOf(cell, subject)
  const histogram = merged(cell.runs.flatMap((run) => figuresOn(run, subject)))
  const at = (percentile: number) =>
    histogram.totalCount === 0 ? Number.NaN : histogram.getValueAtPercentile(percentile) / 1_000
  return {
    calls: histogram.totalCount,
    throughput: mean(rows.map((row) => row.throughput)),
    meanMs: mean(rows.map((row) => row.meanMs)),
    ...{ p50Ms: at(50), p95Ms: at(95), p99Ms: at(99), maxMs: at(100) },
  }
}

/** All operations of a run together, in calls a second; each over the time in which it was called. */
export function throughputOf({ operations }: Run): number {
  return Object.values(operations).reduce((sum, { calls, wallS }) => sum + calls / wallS, 0)
}

export function callsIn({ operations }: Run): number {
  return Object.values(operations).reduce((sum, { calls }) => sum + calls, 0)
}

export function purchasesIn({ purchases }: Run): number {
  return purchases?.calls ?? 0
}

/** Completed purchases a second. */
export function purchasesPerS({ purchases }: Run): number {
  return purchases === undefined ? 0 : purchases.calls / purchases.wallS
}

/** The 99th percentile of all calls of a run together, in milliseconds. */
export function p99MsOf({ operations }: Run): number {
  return merged(Object.values(operations)).getValueAtPercentile(99) / 1_000
}

/** One cell over another: of the medians of their runs, and between which the runs lie that took turns. */
export interface Ratio {
  ofMedians: number
  least: number
  most: number
}

export function ratioOf(over: Cell, under: Cell, measure: (run: Run) => number): Ratio {
  const [above, below] = [over.runs.map(measure), under.runs.map(measure)]
  const each = above.map((value, index) => value / (below[index] ?? Number.NaN))
  return { ofMedians: median(above) / median(below), least: Math.min(...each), most: Math.max(...each) }
}

/** The median over the runs of a cell, all operations together, in calls a second. */
export function medianThroughput(cell: Cell): number {
  return median(cell.runs.map(throughputOf))
}

/** How long the tail is: p99 over p50, the median over the runs. Of experiments with one operation. */
export function medianTail(cell: Cell): number {
  return median(cell.runs.flatMap((run) => Object.values(run.operations).map(({ p99Us, p50Us }) => p99Us / p50Us)))
}

/**
 * Little's law: in a closed loop without think time, throughput times mean
 * latency is the number of clients. This is their quotient, over all runs; far
 * from 1, time was spent where nobody measured it.
 */
export function littleOf({ experiment, clients, runs }: Cell): number {
  const present = clients * rolesOf(experiment).length
  const inFlight = runs.map(({ operations }) =>
    Object.values(operations).reduce(
      (sum, { calls, wallS, meanUs }) => sum + (calls / wallS) * (meanUs / 1_000_000),
      0,
    ),
  )
  return mean(inFlight) / present
}

/** Processor microseconds a piece of work, by process, over all runs of the cell. */
export function cpuPerUnitUs({ runs }: Cell, process: keyof Run['cpuS'], unitsIn = callsIn): number | undefined {
  const seconds = runs.map((run) => run.cpuS[process])
  if (seconds.some((some) => some === undefined)) return undefined
  const units = runs.reduce((sum, run) => sum + unitsIn(run), 0)
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
