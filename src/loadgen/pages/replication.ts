/** A study's report, computed from its record alone: the same record gives the same text. */

import {
  averageOf,
  callsIn,
  cellOf,
  cpuPerUnitUs,
  figuresOn,
  littleOf,
  mean,
  median,
  medianTail,
  medianThroughput,
  type Row,
  rowOf,
  rowsOf,
  subjectsOf,
  throughputOf,
} from '../figures.ts'
import { type Cell, type Measured, merged, type Run, type Study } from '../record.ts'
import { CALLING } from '../scenarios.ts'
import { SYSTEM_NAMES, SYSTEMS, type SystemName } from '../systems.ts'
import { OPERATIONS, type OperationName } from '../workload.ts'
import { type Finding, findingsOf, nameOf } from './findings.ts'
import { number, table, times } from './markdown.ts'
import { PUBLISHED } from './published.ts'

/** A p99.9 of fewer calls is made of a handful of them. */
const P999_CALLS = 10_000
const COLUMNS = ['calls', 'latency ms', 'ops/s', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms']
const CPU_PROCESSES = ['seller', 'buyer', 'database', 'generator'] as const

/** `source` is the name of the record's file. */
export function renderStudy(study: Study, source: string): string {
  const sections = [
    introduction(study, source),
    '## What the figures show',
    ...findingsOf(study).map(findingText),
    '## Side by side',
    sideBySide(study),
    ratios(study),
    ...study.clients.flatMap((clients, index) => experiment(study, clients, index + 1)),
    '## Checks on the measurement',
    checks(study),
    '## Processor time',
    processorTime(study.cells),
    '## Set-up of the study',
    setUp(study),
  ]
  return `${sections.join('\n\n')}\n`
}

/** The tables of one scenario's runs, for the terminal. */
export function renderRuns(runs: readonly Run[]): string {
  const tables = subjectsOf(runs).map((subject) => {
    const lines = runs.flatMap((run, index) =>
      figuresOn(run, subject).map((figures) => cells(String(index + 1), rowOf(figures))),
    )
    return `${subject}\n\n${table(['run', ...COLUMNS], lines)}`
  })
  const used = runs.map((run, index) => {
    const perCallUs = (process: (typeof CPU_PROCESSES)[number]) =>
      number(((run.cpuS[process] ?? Number.NaN) / callsIn(run)) * 1_000_000)
    return [String(index + 1), ...CPU_PROCESSES.map(perCallUs), `${Math.round(run.generatorBusy * 100)} %`]
  })
  const heads = ['run', ...CPU_PROCESSES.map((process) => `${process}, µs a call`), 'load generator busy']
  return [...tables, `processor time\n\n${table(heads, used)}`].join('\n\n')
}

function findingText({ about, sentences, table }: Finding): string {
  const list = sentences.map((sentence) => `- ${sentence}`).join('\n')
  return [`**${about}.**`, list, ...(table === undefined ? [] : [table])].join('\n\n')
}

function introduction(study: Study, source: string): string {
  return `# Results: the report's study, on souk

${provenance(study, source)}

The systems, on the same databases, their runs taking turns: ${SYSTEM_NAMES.map((name) => SYSTEMS[name]).join('; ')}.
N clients stands for N connections that call one operation in a closed loop, without think time; "all" for N sellers and N buyers
with all four operations at once.`
}

/** Where a record comes from, for the top of its page. */
export function provenance(
  { profile, command, startedAt, tookS, seed, commit, versions, machine, database }: Measured,
  source: string,
): string {
  return `Written by \`souk-load report\` from [${source}](${source}); nothing here was typed in by hand. \`${command}\` (profile ${profile},
seed ${seed}) took ${number(tookS / 60)} minutes on ${startedAt.slice(0, 10)}, at commit ${commit}.

Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGib} GiB, ${machine.system}. **Everything ran on it together**: servers, database and load generator.
Versions: ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}, MariaDB ${database.version}.
A write was answered when it was durable (\`innodb_flush_log_at_trx_commit = ${database.innodb_flush_log_at_trx_commit}\`).`
}

function sideBySide(study: Study): string {
  const others = SYSTEM_NAMES.filter((name) => name !== 'souk')
  const rows = CALLING.flatMap((experiment) =>
    study.clients.map((clients) => {
      const perS = (system: SystemName) => medianThroughput(cellOf(study, experiment, clients, system))
      return [
        ...[`${experiment}, ${clients}`, ...SYSTEM_NAMES.map((system) => number(perS(system)))],
        ...others.map((system) => times(perS('souk') / perS(system))),
      ]
    }),
  )
  const heads = [
    'operation, clients',
    ...SYSTEM_NAMES.map(nameOf),
    ...others.map((system) => `souk : ${nameOf(system)}`),
  ]
  return `Throughput in operations a second, the median of the runs.\n\n${table(heads, rows)}`
}

function ratios(study: Study): string {
  const [, some, many] = study.clients as [number, number, number]
  const rows = OPERATIONS.map((operation) => {
    const cell = (clients: number, system: SystemName) => cellOf(study, operation, clients, system)
    const grows = (system: SystemName) =>
      times(medianThroughput(cell(many, system)) / medianThroughput(cell(some, system)))
    return [
      ...[operation, ...(['souk', 'queue-off', 'threads', 'pinned'] as const).map(grows)],
      ...(['souk', 'threads', 'null'] as const).map((system) => number(medianTail(cell(many, system)))),
    ]
  })
  const heads = [
    ...[
      'operation',
      `souk, ${many} : ${some}`,
      `queue off, ${many} : ${some}`,
      `threads.py, ${many} : ${some}`,
      `one CPU, ${many} : ${some}`,
    ],
    ...['souk', 'threads.py', 'null'].map((system) => `p99 / p50 at ${many}, ${system}`),
  ]
  return `What load does: throughput at ${many} clients over that at ${some}, and the length of the tail.\n\n${table(heads, rows)}`
}

/** The report's tables for one number of clients. */
function experiment(study: Study, clients: number, index: number): string[] {
  return [
    `## Experiment ${index} (${clients} ${clients === 1 ? 'seller' : 'sellers'} + ${clients} ${clients === 1 ? 'buyer' : 'buyers'})`,
    comparison(study, clients),
    ...OPERATIONS.map(
      (operation) =>
        `### ${operation}, ${clients} clients, souk\n\n${runTable(cellOf(study, operation, clients, 'souk'), operation)}`,
    ),
    ...OPERATIONS.map(
      (operation) =>
        `### ${operation}, ${clients} + ${clients} clients, all four operations at once, souk\n\n${runTable(cellOf(study, 'all', clients, 'souk'), operation)}`,
    ),
  ]
}

function comparison(study: Study, clients: number): string {
  const published = PUBLISHED[clients]
  const rows = OPERATIONS.flatMap((operation) => {
    const here = (system: SystemName) => averageOf(cellOf(study, operation, clients, system), operation)
    const souk = here('souk')
    const theirs = published?.[operation]
    const line = (name: string, row: Row) => [
      `${operation}, ${name}`,
      ...[
        number(row.meanMs),
        number(row.throughput),
        times(souk.throughput / row.throughput),
        times(row.meanMs / souk.meanMs),
      ],
    ]
    return [
      ...(theirs === undefined
        ? []
        : [[`${operation}, as the report published it`, number(theirs.latencyMs), number(theirs.throughput), '', '']]),
      line('threads.py here', here('threads')),
      line('threads.py on one CPU here', here('pinned')),
      line('souk with the queue off here', here('queue-off')),
      line('souk here', souk),
    ]
  })
  const untils = SYSTEM_NAMES.map((system) => {
    const { until } = cellOf(study, 'get_seller_rating', clients, system)
    return `${nameOf(system)} ${untilText(until)}`
  })
  return (
    "Averages of the runs. **The report's figures come from another machine** and from MySQL: compare shapes with them, not sizes. " +
    `The ratios are between systems measured here, in turn. A run: ${untils.join(', ')}.\n\n` +
    table(['', 'latency ms', 'ops/s', 'souk has × the throughput', 'and 1/× the latency'], rows)
  )
}

function runTable(cell: Cell, operation: OperationName): string {
  const rows = rowsOf(cell, operation).map((row, index) => cells(String(index + 1), row))
  const average = averageOf(cell, operation)
  const histogram = merged(cell.runs.flatMap((run) => run.operations[operation] ?? []))
  const p999 =
    histogram.totalCount < P999_CALLS
      ? ''
      : `\n\np99.9 of all ${number(histogram.totalCount)} calls: ${number(histogram.getValueAtPercentile(99.9) / 1_000)} ms.`
  return `${table(['run', ...COLUMNS], [...rows, cells('**Average**, percentiles of all calls', average)])}${p999}`
}

function cells(name: string, row: Row): string[] {
  return [
    ...[name, String(row.calls), number(row.meanMs), number(row.throughput)],
    ...[number(row.p50Ms), number(row.p95Ms), number(row.p99Ms), number(row.maxMs)],
  ]
}

function checks({ cells }: Study): string {
  return (
    "Little's law: throughput times mean latency over the number of clients. Every reply of every system but the null server, which has one answer to everything, " +
    'was checked: the very items a search must find, in their order; the rating of that seller; items of that seller, each once. After each run that ' +
    'registered items, as many new ones stood in the database as were acknowledged. Where the load generator is busy all the time, the system could do ' +
    `more than is shown.\n\n${checksTable(cells)}`
  )
}

export function checksTable(cells: readonly Cell[]): string {
  const overloaded = ({ runs }: Cell) => runs.reduce((sum, run) => sum + (run.overloaded ?? 0), 0)
  const withOverload = cells.some((cell) => overloaded(cell) > 0)
  const rows = cells.map((cell) => [
    nameOfCell(cell),
    ...[littleOf(cell).toFixed(3), `${Math.round(mean(cell.runs.map((run) => run.generatorBusy)) * 100)} %`],
    ...[spread(cell), cell.runs.reduce((sum, run) => sum + callsIn(run), 0).toLocaleString('en')],
    ...(withOverload ? [overloaded(cell).toLocaleString('en')] : []),
  ])
  const heads = [
    'cell',
    "Little's law (1 is right)",
    'load generator busy',
    'throughput, min to max of the runs',
    'calls',
    ...(withOverload ? ['refused as overloaded'] : []),
  ]
  const about =
    'A call that was refused as overloaded was made again when the server said, and lasted from the first time.'
  return `${withOverload ? `${about}\n\n` : ''}${table(heads, rows)}`
}

function spread({ runs }: Cell): string {
  const perS = runs.map(throughputOf)
  const middle = median(perS)
  return `${Math.round((Math.min(...perS) / middle - 1) * 100)} to +${Math.round((Math.max(...perS) / middle - 1) * 100)} %`
}

/** A row a cell, with the time per piece of work: per call, unless another `unit` is counted by `unitsIn`. */
export function processorTime(cells: readonly Cell[], unit = 'call', unitsIn = callsIn): string {
  const rows = cells.map((cell) => {
    const seconds = (process: (typeof CPU_PROCESSES)[number]) =>
      mean(cell.runs.map((run) => run.cpuS[process] ?? Number.NaN))
    return [
      nameOfCell(cell),
      ...CPU_PROCESSES.map((process) => number(seconds(process))),
      number(mean(cell.runs.map((run) => run.wallS))),
      ...CPU_PROCESSES.map((process) => number(cpuPerUnitUs(cell, process, unitsIn) ?? Number.NaN)),
    ]
  })
  const heads = [
    ...['cell', ...CPU_PROCESSES.map((process) => `${process}, s`), 'wall, s'],
    ...CPU_PROCESSES.map((process) => `${process}, µs a ${unit}`),
  ]
  return `Processor seconds of each process in a run, on average, and microseconds a ${unit}. The clock ticks every 10 ms.\n\n${table(heads, rows)}`
}

function nameOfCell({ experiment, clients, system }: Cell): string {
  return `${experiment}, ${clients}, ${nameOf(system)}`
}

function setUp({ catalogue, search, replyBytes, sweep, poolSize, warmUps, cells }: Study): string {
  const untils = [...new Set(cells.map(({ until }) => untilText(until)))]
  return `- Catalogue, before each run: ${catalogueText(catalogue)}.
- Ratings: over all ${catalogue.sellers} sellers alike. Searches: ${searchesText(search)}; ${search.results} results each. Listings: ${catalogue.itemsPerSeller} items. Registrations: an item with ${catalogue.keywordsPerItem} keywords, in categories that nobody searches.
- Each client had an account and a session before the first run; a run ended after ${untils.join(', for some ')}.
- Reply lines: ${OPERATIONS.map((operation) => `${operation} ${replyBytes[operation].toLocaleString('en')} bytes`).join(', ')}. The null server answers as many.
- Warm-up, not recorded: ${warmUpText(warmUps)}.
- The systems that don't gather had pools of ${poolSize} connections, the best of these for threads.py (operations a second at its largest load, geometric mean); souk has 8:

${poolTable(sweep, OPERATIONS)}`
}

export function catalogueText(catalogue: Measured['catalogue']): string {
  return `${catalogue.sellers} sellers with ${catalogue.itemsPerSeller} items each, in ${catalogue.categories} categories of ${catalogue.keywordsPerCategory} keywords, ${catalogue.keywordsPerItem} keywords an item`
}

export function searchesText({ shares, distinct, zipf }: Measured['search']): string {
  return `of 1, 2 and 3 keywords at ${shares.map((share) => `${share * 100} %`).join(', ')}, from ${distinct.join(' + ')} distinct ones, popular by Zipf's law with exponent ${zipf}`
}

export function warmUpText(warmUps: Measured['warmUps']): string {
  const windows = warmUps.map(({ windows }) => windows.length)
  const unsteady = warmUps
    .filter(({ steady }) => !steady)
    .map(({ system, experiment }) => `${experiment} on ${nameOf(system)}`)
  return `${Math.min(...windows)} to ${Math.max(...windows)} windows a system and operation, until three lay within 10 % of each other${unsteady.length === 0 ? '' : `; never steady: ${unsteady.join(', ')}`}`
}

export function poolTable(sweep: Measured['sweep'], experiments: readonly string[]): string {
  const rows = sweep.map(({ poolSize, throughput }) => [
    String(poolSize),
    ...experiments.map((experiment) => number(throughput[experiment] ?? Number.NaN)),
  ])
  return table(['connections', ...experiments], rows)
}

export function untilText(until: Cell['until']): string {
  return 'calls' in until ? `${until.calls.toLocaleString('en')} calls a client` : `${until.seconds} s`
}
