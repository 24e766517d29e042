/**
 * The findings of a replication: whether the original's observations 1 to 4
 * hold for each system, and how much of the difference comes from gathering.
 * Sentences computed from the figures, with the figures in them.
 */

import { OPERATIONS, type OperationName } from '../calls.ts'
import { averageFigures, cpuPerUnitUs, findCell, medianThroughput } from '../figures.ts'
import type { ReplicationRecord } from '../record.ts'
import { OPERATION_SCENARIOS, type ScenarioName } from '../scenarios.ts'
import { SYSTEMS, type SystemName } from '../systems.ts'
import { number, plural, table, times } from './markdown.ts'

/** Two figures within this of each other count as equal: runs on one machine do not support more. */
export const EQUAL = 0.05

const READS: readonly OperationName[] = ['get_seller_rating', 'search_items', 'display_items_for_sale']
const WRITE: OperationName = 'register_item_for_sale'
const COMPARED = ['souk', 'threads', 'pinned'] as const satisfies readonly SystemName[]

export interface Finding {
  title: string
  sentences: string[]
  /** The figures behind the sentences. */
  table?: string
}

export function listFindings(record: ReplicationRecord): Finding[] {
  const [few, some, many] = record.clients as [number, number, number]
  return [
    {
      title: `Observation 1: latency is lowest at ${plural(few, 'client')}, and throughput lower than at ${some}`,
      sentences: COMPARED.map((system) => lowestLoad(record, system, few, some)),
    },
    {
      title: `Observation 2: throughput is highest at ${plural(some, 'client')}`,
      sentences: COMPARED.map((system) => bestLoad(record, system, some)),
    },
    {
      title: `Observation 3: throughput falls from ${some} to ${plural(many, 'client')}`,
      sentences: COMPARED.map((system) => highestLoad(record, system, some, many)),
    },
    {
      title: 'Observation 4: reads have a higher throughput and a lower latency than writes',
      sentences: COMPARED.flatMap((system) => record.clients.map((clients) => readsAndWrites(record, system, clients))),
    },
    {
      title: 'What gathering contributes, and what the rest contributes',
      sentences: [
        'The ratio of souk to threads.py is a product: gathering (queue on over queue off) times the rest (queue off ' +
          'over threads.py). The rest is event loop, language and driver; for search_items it is also that souk ranks ' +
          'in code and threads.py in SQL.',
        processorTime(record, few, many),
      ],
      table: gathering(record),
    },
  ]
}

function lowestLoad(record: ReplicationRecord, system: SystemName, few: number, some: number): string {
  const others = record.clients.filter((clients) => clients !== few)
  const holding = OPERATIONS.filter(
    (operation) =>
      isMore(gain(record, operation, few, some, system)) &&
      others.every((clients) =>
        isMore(latency(record, operation, clients, system) / latency(record, operation, few, system)),
      ),
  )
  const gains = OPERATIONS.map((operation) => gain(record, operation, few, some, system))
  const slower = OPERATIONS.map((one) => latency(record, one, some, system) / latency(record, one, few, system))
  return (
    `${SYSTEMS[system].label}, ${some} clients over ${few}: latency ${range(slower)}, ` +
    `throughput ${range(gains)}. ${verdict(holding, OPERATIONS)}`
  )
}

function bestLoad(record: ReplicationRecord, system: SystemName, some: number): string {
  const others = record.clients.filter((clients) => clients !== some)
  const holding = OPERATIONS.filter((operation) =>
    others.every((clients) => isMore(gain(record, operation, clients, some, system))),
  )
  const peaks = new Map<number, OperationName[]>()
  for (const operation of OPERATIONS) {
    const best = record.clients.reduce((a, b) => (gain(record, operation, a, b, system) > 1 ? b : a))
    peaks.set(best, [...(peaks.get(best) ?? []), operation])
  }
  const each = [...peaks].map(([clients, operations]) => `${plural(clients, 'client')} for ${operations.join(', ')}`)
  return `${SYSTEMS[system].label}: highest at ${each.join('; at ')}. ${verdict(holding, OPERATIONS)}`
}

function highestLoad(record: ReplicationRecord, system: SystemName, some: number, many: number): string {
  const gains = OPERATIONS.map((operation) => gain(record, operation, some, many, system))
  const falling = OPERATIONS.filter((_, index) => isLess(gains[index] as number))
  const each = OPERATIONS.map((operation, index) => `${operation} ${times(gains[index] as number)}`)
  return (
    `${SYSTEMS[system].label}, ${many} clients over ${some}: ${each.join(', ')}. ` +
    `${verdict(falling, OPERATIONS)}${gains.every(isMore) ? ' Throughput rises for all.' : ''}`
  )
}

function readsAndWrites(record: ReplicationRecord, system: SystemName, clients: number): string {
  const write = throughput(record, WRITE, clients, system)
  const ratios = READS.map((operation) => throughput(record, operation, clients, system) / write)
  const holding = READS.filter(
    (operation, index) =>
      isMore(ratios[index] as number) &&
      isMore(latency(record, WRITE, clients, system) / latency(record, operation, clients, system)),
  )
  const each = READS.map((operation, index) => `${operation} ${times(ratios[index] as number)}`)
  return (
    `${SYSTEMS[system].label}, ${plural(clients, 'client')}, throughput over that of ${WRITE}: ${each.join(', ')}. ` +
    verdict(holding, READS)
  )
}

function gathering(record: ReplicationRecord): string {
  const rows = OPERATION_SCENARIOS.flatMap((scenario) =>
    record.clients.map((clients) => {
      const ratio = (over: SystemName, under: SystemName) =>
        times(throughput(record, scenario, clients, over) / throughput(record, scenario, clients, under))
      return [
        `${scenario}, ${clients}`,
        ratio('souk', 'threads'),
        ratio('souk', 'queue-off'),
        ratio('queue-off', 'threads'),
        ratio('souk', 'pinned'),
        ratio('queue-off', 'pinned'),
      ]
    }),
  )
  const heads = [
    'operation, clients',
    'souk : threads.py',
    '= gathering (on : off)',
    '× the rest (off : threads.py)',
    'souk : one CPU',
    'off : one CPU',
  ]
  return table(heads, rows)
}

function processorTime(record: ReplicationRecord, few: number, many: number): string {
  const used = (system: SystemName, operation: OperationName, clients: number) => {
    const cell = findCell(record, operation, clients, system)
    const parts = (['seller', 'buyer', 'database'] as const).map((process) => cpuPerUnitUs(cell, process) ?? Number.NaN)
    return parts.reduce((sum, part) => sum + part, 0)
  }
  const ratios = (system: SystemName) =>
    OPERATIONS.map((operation) => used(system, operation, many) / used(system, operation, few))
  const all = [ratios('souk'), ratios('queue-off'), ratios('threads'), ratios('pinned')].flat()
  if (!all.every(Number.isFinite)) return 'The processor time of servers and database was not measured.'
  const cheaper = ratios('souk').filter(isLess).length
  return (
    `Processor time of servers and database per call, ${many} clients over ${few}: ` +
    `souk ${range(ratios('souk'))}, the queue off ${range(ratios('queue-off'))}, ` +
    `threads.py ${range(ratios('threads'))}, on one CPU ${range(ratios('pinned'))}. ` +
    `Under load ${cheaper} of souk's ${OPERATIONS.length} operations become cheaper.`
  )
}

function throughput(record: ReplicationRecord, scenario: ScenarioName, clients: number, system: SystemName): number {
  return medianThroughput(findCell(record, scenario, clients, system))
}

function latency(record: ReplicationRecord, operation: OperationName, clients: number, system: SystemName): number {
  return averageFigures(findCell(record, operation, clients, system), operation).meanMs
}

/** Throughput at `to` clients over that at `from`. */
function gain(
  record: ReplicationRecord,
  operation: OperationName,
  from: number,
  to: number,
  system: SystemName,
): number {
  return throughput(record, operation, to, system) / throughput(record, operation, from, system)
}

function isMore(ratio: number): boolean {
  return ratio > 1 + EQUAL
}

function isLess(ratio: number): boolean {
  return ratio < 1 - EQUAL
}

function range(ratios: readonly number[]): string {
  return `${number(Math.min(...ratios))} to ${times(Math.max(...ratios))}`
}

function verdict(holding: readonly OperationName[], all: readonly OperationName[]): string {
  if (holding.length === 0) return '**Holds for none.**'
  if (holding.length === all.length) return '**Holds for all.**'
  const others = all.filter((operation) => !holding.includes(operation))
  return `**Holds for ${holding.join(', ')}; not for ${others.join(', ')}.**`
}
