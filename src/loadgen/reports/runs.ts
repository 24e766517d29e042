/** Tables of single runs: of one scenario on the terminal, and of a cell in a report. */

import {
  averageFigures,
  countCalls,
  type Figures,
  figuresByRun,
  type Subject,
  subjectsIn,
  summariesIn,
  toFigures,
} from '../figures.ts'
import { type Cell, merge, type Run } from '../record.ts'
import { count, number, table } from './markdown.ts'
import { CPU_PROCESSES, percent } from './sections.ts'

const HEADS = ['run', 'calls', 'latency ms', 'ops/s', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms']
/** With fewer calls, a p99.9 rests on a handful of them. */
const P999_CALLS = 10_000

/** The runs of one scenario, for the terminal: a table for each operation, and one of processor time. */
export function renderRuns(runs: readonly Run[]): string {
  const tables = subjectsIn(runs).map((subject) => {
    const rows = runs.flatMap((run, index) =>
      summariesIn(run, subject).map((summary) => formatRow(String(index + 1), toFigures(summary))),
    )
    return `${subject}\n\n${table(HEADS, rows)}`
  })
  const used = runs.map((run, index) => {
    const perCallUs = (process: (typeof CPU_PROCESSES)[number]) =>
      number(((run.cpuS[process] ?? Number.NaN) / countCalls(run)) * 1_000_000)
    return [String(index + 1), ...CPU_PROCESSES.map(perCallUs), percent(run.generatorBusy)]
  })
  const heads = ['run', ...CPU_PROCESSES.map((process) => `${process}, µs per call`), 'load generator busy']
  return [...tables, `processor time\n\n${table(heads, used)}`].join('\n\n')
}

/** The runs of a cell, with their average. */
export function runTable(cell: Cell, subject: Subject): string {
  const rows = figuresByRun(cell, subject).map((figures, index) => formatRow(String(index + 1), figures))
  const average = formatRow('**Average**, percentiles of all calls', averageFigures(cell, subject))
  const histogram = merge(cell.runs.flatMap((run) => summariesIn(run, subject)))
  const runs = table(HEADS, [...rows, average])
  if (histogram.totalCount < P999_CALLS) return runs
  const p999Ms = histogram.getValueAtPercentile(99.9) / 1_000
  return `${runs}\n\np99.9 of all ${number(histogram.totalCount)} calls: ${number(p999Ms)} ms.`
}

function formatRow(name: string, figures: Figures): string[] {
  const { calls, meanMs, throughput, p50Ms, p95Ms, p99Ms, maxMs } = figures
  return [name, count(calls), ...[meanMs, throughput, p50Ms, p95Ms, p99Ms, maxMs].map(number)]
}
