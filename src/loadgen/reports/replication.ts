/** The report of the replication, computed from its record alone: the same record gives the same text. */

import { OPERATIONS } from '../calls.ts'
import { averageFigures, type Figures, findCell, medianTail, medianThroughput } from '../figures.ts'
import type { ReplicationRecord } from '../record.ts'
import { OPERATION_SCENARIOS } from '../scenarios.ts'
import { SYSTEM_NAMES, SYSTEMS, type SystemName } from '../systems.ts'
import { count, list, number, plural, table, times } from './markdown.ts'
import { PUBLISHED } from './original-figures.ts'
import { EQUAL, type Finding, listFindings } from './replication-findings.ts'
import { runTable } from './runs.ts'
import {
  checksTable,
  describeCatalogue,
  describePools,
  describeSearches,
  describeUntil,
  describeWarmUps,
  listSystems,
  percent,
  processorTime,
  provenance,
} from './sections.ts'

/** `source` is the name of the record's file. */
export function renderReplication(record: ReplicationRecord, source: string): string {
  const sections = [
    introduction(record, source),
    '## What the figures show',
    `In the verdicts, figures within ${percent(EQUAL)} of each other count as equal.`,
    ...listFindings(record).map(formatFinding),
    '## Side by side',
    sideBySide(record),
    effectOfLoad(record),
    ...record.clients.flatMap((clients, index) => experiment(record, clients, index + 1)),
    '## Checks on the measurement',
    checks(record),
    '## Processor time',
    processorTime(record.cells),
    '## Set-up',
    setUp(record),
  ]
  return `${sections.join('\n\n')}\n`
}

function introduction(record: ReplicationRecord, source: string): string {
  return `# Results: the original's experiments, on souk

${provenance(record, source)}

${listSystems(SYSTEM_NAMES)}

N clients are N connections that call one operation in a closed loop, without think time; with \`all\` they are
N sellers and N buyers, who call all four operations.`
}

function formatFinding({ title, sentences, table }: Finding): string {
  return [`**${title}.**`, list(sentences), ...(table === undefined ? [] : [table])].join('\n\n')
}

function sideBySide(record: ReplicationRecord): string {
  const others = SYSTEM_NAMES.filter((name) => name !== 'souk')
  const rows = OPERATION_SCENARIOS.flatMap((scenario) =>
    record.clients.map((clients) => {
      const perS = (system: SystemName) => medianThroughput(findCell(record, scenario, clients, system))
      return [
        `${scenario}, ${clients}`,
        ...SYSTEM_NAMES.map((system) => number(perS(system))),
        ...others.map((system) => times(perS('souk') / perS(system))),
      ]
    }),
  )
  const heads = [
    'operation, clients',
    ...SYSTEM_NAMES.map((system) => SYSTEMS[system].label),
    ...others.map((system) => `souk : ${SYSTEMS[system].label}`),
  ]
  return `Throughput in operations per second, the median of the runs.\n\n${table(heads, rows)}`
}

function effectOfLoad(record: ReplicationRecord): string {
  const [, some, many] = record.clients as [number, number, number]
  const rows = OPERATIONS.map((operation) => {
    const cell = (clients: number, system: SystemName) => findCell(record, operation, clients, system)
    const growth = (system: SystemName) =>
      times(medianThroughput(cell(many, system)) / medianThroughput(cell(some, system)))
    return [
      operation,
      ...(['souk', 'queue-off', 'threads', 'pinned'] as const).map(growth),
      ...(['souk', 'threads', 'null'] as const).map((system) => number(medianTail(cell(many, system)))),
    ]
  })
  const heads = [
    'operation',
    ...['souk', 'queue off', 'threads.py', 'one CPU'].map((name) => `${name}, ${many} : ${some}`),
    ...['souk', 'threads.py', 'null'].map((name) => `p99 / p50 at ${many}, ${name}`),
  ]
  return `The effect of load: throughput at ${many} clients over that at ${some}, and the length of the tail at ${many}.

${table(heads, rows)}`
}

/** The original's tables for one number of clients. */
function experiment(record: ReplicationRecord, clients: number, index: number): string[] {
  const both = `${plural(clients, 'seller')} + ${plural(clients, 'buyer')}`
  return [
    `## Experiment ${index} (${both})`,
    comparison(record, clients),
    ...OPERATIONS.map((operation) => {
      const cell = findCell(record, operation, clients, 'souk')
      return `### ${operation}, ${plural(clients, 'client')}, souk\n\n${runTable(cell, operation)}`
    }),
    ...OPERATIONS.map((operation) => {
      const cell = findCell(record, 'all', clients, 'souk')
      return `### ${operation}, ${both}, all four operations at once, souk\n\n${runTable(cell, operation)}`
    }),
  ]
}

function comparison(record: ReplicationRecord, clients: number): string {
  const rows = OPERATIONS.flatMap((operation) => {
    const average = (system: SystemName) => averageFigures(findCell(record, operation, clients, system), operation)
    const souk = average('souk')
    const published = PUBLISHED[clients]?.[operation]
    const formatRow = (system: SystemName, figures: Figures) => [
      `${operation}, ${SYSTEMS[system].label}`,
      number(figures.meanMs),
      number(figures.throughput),
      times(souk.throughput / figures.throughput),
      times(souk.meanMs / figures.meanMs),
    ]
    return [
      ...(published === undefined
        ? []
        : [[`${operation}, the original`, number(published.latencyMs), number(published.throughput), '', '']]),
      ...(['threads', 'pinned', 'queue-off', 'souk'] as const).map((system) => formatRow(system, average(system))),
    ]
  })
  const heads = ['operation, system', 'latency ms', 'ops/s', 'ops/s, souk : this', 'latency, souk : this']
  return `Averages of the runs. **The original's figures come from another machine** and from MySQL: compare shapes, not
sizes. The ratios are between systems measured here, in turn. A run lasted ${describeLengths(record, clients)}.

${table(heads, rows)}`
}

/** How long runs lasted, and on which systems if that differs. */
function describeLengths(record: ReplicationRecord, clients: number): string {
  const systems = new Map<string, string[]>()
  for (const system of SYSTEM_NAMES) {
    const until = describeUntil(findCell(record, 'get_seller_rating', clients, system).until)
    systems.set(until, [...(systems.get(until) ?? []), SYSTEMS[system].label])
  }
  if (systems.size === 1) return [...systems.keys()].join()
  return [...systems].map(([until, names]) => `${until} (${names.join(', ')})`).join(' or ')
}

function checks({ cells }: ReplicationRecord): string {
  return `Little's law: throughput × mean latency / clients. Every reply was checked, except those of the null
server, which are always the same: a search had to find exactly the right items in their order, a rating had to be
that seller's, a listing had to have items of that seller, none twice. After each run that registered items, the
database had exactly the new items that were acknowledged. Where the load generator was busy all the time, the system
may be capable of more.

${checksTable(cells)}`
}

function setUp(record: ReplicationRecord): string {
  const { catalogue, search, replyBytes, cells } = record
  const untils = [...new Set(cells.map(({ until }) => describeUntil(until)))]
  const replies = OPERATIONS.map((operation) => `${operation} ${count(replyBytes[operation])} bytes`)
  const facts = [
    `Catalogue, restored before each run: ${describeCatalogue(record)}.`,
    `Ratings: of all ${count(catalogue.sellers)} sellers, equally often.`,
    `Searches: ${describeSearches(record)}; ${search.results} results each.`,
    `Listings: ${catalogue.itemsPerSeller} items.`,
    `Registrations: an item with ${catalogue.keywordsPerItem} keywords, in categories that are never searched.`,
    `Each client had an account and a session before the first run. A run lasted ${untils.join(' or ')}.`,
    `Reply lines: ${replies.join(', ')}; the null server's are as long.`,
    `Warm-up, not recorded: ${describeWarmUps(record)}.`,
  ]
  return `${list(facts)}\n\n${describePools(record)}`
}
