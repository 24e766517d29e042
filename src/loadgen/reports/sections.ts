/** Sections, tables and phrases that the reports share, computed from the record alone. */

import { callsPerS, countCalls, cpuPerUnitUs, littlesLaw, mean, median } from '../figures.ts'
import type { Cell, Run, StudyRecord } from '../record.ts'
import { SYSTEMS, type SystemName } from '../systems.ts'
import { count, list, number, table } from './markdown.ts'

export const CPU_PROCESSES = ['seller', 'buyer', 'database', 'generator'] as const satisfies (keyof Run['cpuS'])[]

/** Where the figures come from, for the top of a report. `source` is the name of the record's file. */
export function provenance(record: StudyRecord, source: string): string {
  const { profile, command, startedAt, tookS, seed, commit, machine, database } = record
  const took = `${number(tookS / 60)} minutes on ${startedAt.slice(0, 10)}`
  const versions = Object.entries(record.versions).map(([name, version]) => `${name} ${version}`)
  return `Written by \`souk-load report\` from [${source}](${source}); nothing here was typed by hand.
\`${command}\` (profile ${profile}, seed ${seed}) took ${took}, at commit ${commit}.

Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGib} GiB, ${machine.system}.
**Servers, database and load generator shared it.**
Versions: ${versions.join(', ')}, MariaDB ${database.version}.
Writes were acknowledged when durable (\`innodb_flush_log_at_trx_commit = ${database.innodb_flush_log_at_trx_commit}\`).`
}

export function listSystems(names: readonly SystemName[]): string {
  const lines = names.map((name) => `${SYSTEMS[name].label}: ${SYSTEMS[name].about}`)
  return `The systems, on the same databases, their runs taking turns:\n\n${list(lines)}`
}

/** The quality of the measurement, cell by cell. */
export function checksTable(cells: readonly Cell[]): string {
  const overloaded = ({ runs }: Cell) => runs.reduce((sum, run) => sum + (run.overloaded ?? 0), 0)
  const withOverload = cells.some((cell) => overloaded(cell) > 0)
  const rows = cells.map((cell) => [
    cellName(cell),
    littlesLaw(cell).toFixed(3),
    percent(mean(cell.runs.map((run) => run.generatorBusy))),
    spread(cell),
    count(cell.runs.reduce((sum, run) => sum + countCalls(run), 0)),
    ...(withOverload ? [count(overloaded(cell))] : []),
  ])
  const heads = [
    'cell',
    "Little's law (ideal: 1)",
    'load generator busy',
    'throughput of the runs, around their median',
    'calls',
    ...(withOverload ? ['refused as overloaded'] : []),
  ]
  const about =
    'A call refused as overloaded was made again after the delay that the server gave; its latency includes both.'
  return `${withOverload ? `${about}\n\n` : ''}${table(heads, rows)}`
}

function spread({ runs }: Cell): string {
  const perS = runs.map(callsPerS)
  const middle = median(perS)
  const around = (value: number) => Math.round((value / middle - 1) * 100)
  return `${around(Math.min(...perS))} to +${around(Math.max(...perS))} %`
}

/** Processor time per run and per call, or per other `unit` that `countUnits` counts; a row per cell. */
export function processorTime(cells: readonly Cell[], unit = 'call', countUnits = countCalls): string {
  const rows = cells.map((cell) => {
    const seconds = (process: (typeof CPU_PROCESSES)[number]) =>
      mean(cell.runs.map((run) => run.cpuS[process] ?? Number.NaN))
    return [
      cellName(cell),
      ...CPU_PROCESSES.map((process) => number(seconds(process))),
      number(mean(cell.runs.map((run) => run.wallS))),
      ...CPU_PROCESSES.map((process) => number(cpuPerUnitUs(cell, process, countUnits) ?? Number.NaN)),
    ]
  })
  const heads = [
    'cell',
    ...CPU_PROCESSES.map((process) => `${process}, s`),
    'wall, s',
    ...CPU_PROCESSES.map((process) => `${process}, µs per ${unit}`),
  ]
  return `Processor seconds of each process per run, on average, and microseconds per ${unit}.
The clock ticks every 10 ms.

${table(heads, rows)}`
}

export function describeCatalogue({ catalogue }: StudyRecord): string {
  return (
    `${count(catalogue.sellers)} sellers with ${catalogue.itemsPerSeller} items each, ` +
    `${catalogue.categories} categories of ${catalogue.keywordsPerCategory} keywords, ` +
    `${catalogue.keywordsPerItem} keywords per item`
  )
}

export function describeSearches({ search }: StudyRecord): string {
  const [one, two, three] = search.shares.map(percent)
  return (
    `${one} with 1 keyword, ${two} with 2, ${three} with 3, ` +
    `drawn from ${search.distinct.map(count).join(' + ')} distinct ones, ` +
    `whose popularity follows Zipf's law with exponent ${search.zipf}`
  )
}

export function describeWarmUps({ warmUps }: StudyRecord): string {
  const windows = warmUps.map(({ windows }) => windows.length)
  const [least, most] = [Math.min(...windows), Math.max(...windows)]
  const unsteady = warmUps
    .filter(({ steady }) => !steady)
    .map(({ system, scenario }) => `${scenario} on ${SYSTEMS[system].label}`)
  return (
    `${least === most ? '' : `${least} to `}${most} windows per system and scenario, ` +
    `until three in a row were within 10 % of each other or the limit was reached` +
    `${unsteady.length === 0 ? '' : `; never steady: ${unsteady.join(', ')}`}`
  )
}

/** The chosen pool size, and the sizes that were tried. */
export function describePools({ sweep, poolSize }: StudyRecord): string {
  const scenarios = [...new Set(sweep.flatMap(({ throughput }) => Object.keys(throughput)))]
  const rows = sweep.map(({ poolSize, throughput }) => [
    String(poolSize),
    ...scenarios.map((scenario) => number(throughput[scenario] ?? Number.NaN)),
  ])
  return `Pools of the systems that do not gather: ${poolSize} connections, the best of these sizes for threads.py
(by the geometric mean of its calls per second in these scenarios, each at its largest load). Each of souk's pools has 8.

${table(['connections', ...scenarios], rows)}`
}

export function describeUntil(until: Cell['until']): string {
  return 'calls' in until ? `${count(until.calls)} calls per client` : `${until.seconds} s`
}

export function cellName({ scenario, clients, system }: Cell): string {
  return `${scenario}, ${clients}, ${SYSTEMS[system].label}`
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
