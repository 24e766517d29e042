/**
 * What a study shows about the report's observations 1 to 4, and what of the
 * difference comes from gathering: sentences computed from the figures, each
 * with its figures in it.
 */

import { averageOf, cellOf, cpuPerUnitUs, medianThroughput } from '../figures.ts'
import type { Study } from '../record.ts'
import { CALLING, type ScenarioName } from '../scenarios.ts'
import { SYSTEMS, type SystemName } from '../systems.ts'
import { OPERATIONS, type OperationName } from '../workload.ts'
import { number, table, times } from './markdown.ts'

/** Two figures within this of each other are called equal: no more is claimed than runs on one machine carry. */
const EQUAL = 0.05

const READS: readonly OperationName[] = ['get_seller_rating', 'search_items', 'display_items_for_sale']
const WRITE: OperationName = 'register_item_for_sale'
const COMPARED = ['souk', 'threads', 'pinned'] as const satisfies readonly SystemName[]

export interface Finding {
  about: string
  sentences: string[]
  /** Figures that the sentences speak of. */
  table?: string
}

export function findingsOf(study: Study): Finding[] {
  const [few, some, many] = study.clients as [number, number, number]
  return [
    {
      about: `Observation 1: one client has the lowest latency, and a lower throughput than ${some}`,
      sentences: COMPARED.map((system) => lowestLoad(study, system, few, some)),
    },
    {
      about: `Observation 2: ${some} clients perform best`,
      sentences: COMPARED.map((system) => bestLoad(study, system, some)),
    },
    {
      about: `Observation 3: at ${many} clients performance degrades against ${some}`,
      sentences: COMPARED.map((system) => highestLoad(study, system, some, many)),
    },
    {
      about: 'Observation 4: reads have a higher throughput than writes, and writes a higher latency',
      sentences: COMPARED.flatMap((system) => study.clients.map((clients) => readsAndWrites(study, system, clients))),
    },
    {
      about: 'What comes from gathering, and what from the rest',
      sentences: [
        'souk over threads.py is what gathering gives (the queue on over off) times what the rest gives (the queue off over ' +
          'threads.py: event loop, language, driver; for search_items also that souk ranks in code what threads.py ranks in SQL).',
        processorTime(study, few, many),
      ],
      table: gathering(study),
    },
  ]
}

function lowestLoad(study: Study, system: SystemName, few: number, some: number): string {
  const others = study.clients.filter((clients) => clients !== few)
  const holding = OPERATIONS.filter(
    (operation) =>
      isMore(gain(study, operation, few, some, system)) &&
      others.every((clients) =>
        isMore(latency(study, operation, clients, system) / latency(study, operation, few, system)),
      ),
  )
  const gains = OPERATIONS.map((operation) => gain(study, operation, few, some, system))
  const slower = OPERATIONS.map((one) => latency(study, one, some, system) / latency(study, one, few, system))
  return (
    `${nameOf(system)}: from ${few} to ${some} clients the latency becomes ${range(slower)}, the throughput ${range(gains)} what it was: ` +
    `${verdict(holding.length, OPERATIONS.length)}.`
  )
}

function bestLoad(study: Study, system: SystemName, some: number): string {
  const others = study.clients.filter((clients) => clients !== some)
  const holding = OPERATIONS.filter((operation) =>
    others.every((clients) => isMore(gain(study, operation, clients, some, system))),
  )
  const peaks = OPERATIONS.map((operation) => {
    const best = study.clients.reduce((a, b) => (gain(study, operation, a, b, system) > 1 ? b : a))
    return `${operation} at ${best}`
  })
  return `${nameOf(system)}: the highest throughput was seen for ${peaks.join(', ')}: ${verdict(holding.length, OPERATIONS.length)}.`
}

function highestLoad(study: Study, system: SystemName, some: number, many: number): string {
  const gains = OPERATIONS.map((operation) => gain(study, operation, some, many, system))
  const each = OPERATIONS.map((operation, index) => `${operation} ${times(gains[index] as number)}`).join(', ')
  return (
    `${nameOf(system)}: from ${some} to ${many} clients throughput becomes ${each} what it was: ` +
    `${verdict(gains.filter(isLess).length, OPERATIONS.length)}${gains.every(isMore) ? '; all gain' : ''}.`
  )
}

function readsAndWrites(study: Study, system: SystemName, clients: number): string {
  const write = throughput(study, WRITE, clients, system)
  const reads = READS.map((operation) => throughput(study, operation, clients, system) / write)
  const holding = READS.filter(
    (operation, index) =>
      isMore(reads[index] as number) &&
      isMore(latency(study, WRITE, clients, system) / latency(study, operation, clients, system)),
  )
  const each = READS.map((operation, index) => `${operation} ${times(reads[index] as number)}`).join(', ')
  return `${nameOf(system)} at ${clients}: ${each} the throughput of ${WRITE}: ${verdict(holding.length, READS.length)}.`
}

function gathering(study: Study): string {
  const rows = CALLING.flatMap((experiment) =>
    study.clients.map((clients) => {
      const ratio = (over: SystemName, under: SystemName) =>
        times(throughput(study, experiment, clients, over) / throughput(study, experiment, clients, under))
      return [
        ...[`${experiment}, ${clients}`, ratio('souk', 'threads'), ratio('souk', 'queue-off')],
        ...[ratio('queue-off', 'threads'), ratio('souk', 'pinned'), ratio('queue-off', 'pinned')],
      ]
    }),
  )
  const heads = [
    ...['operation, clients', 'souk : threads.py', '= gathering (on : off)', '× the rest (off : threads.py)'],
    ...['souk : one CPU', 'off : one CPU'],
  ]
  return table(heads, rows)
}

function processorTime(study: Study, few: number, many: number): string {
  const used = (system: SystemName, operation: OperationName, clients: number) => {
    const cell = cellOf(study, operation, clients, system)
    const parts = (['seller', 'buyer', 'database'] as const).map((process) => cpuPerUnitUs(cell, process) ?? Number.NaN)
    return parts.reduce((sum, part) => sum + part, 0)
  }
  const ratios = (system: SystemName) =>
    OPERATIONS.map((operation) => used(system, operation, many) / used(system, operation, few))
  const all = [ratios('souk'), ratios('queue-off'), ratios('threads'), ratios('pinned')].flat()
  if (!all.every(Number.isFinite)) return 'The processor time of servers and database was not measured.'
  const cheaper = ratios('souk').filter(isLess).length
  return (
    `A call costs servers and database, at ${many} clients against ${few}, ${range(ratios('souk'))} the processor time in souk, ` +
    `${range(ratios('queue-off'))} with the queue off, ${range(ratios('threads'))} in threads.py, ${range(ratios('pinned'))} in it on one CPU: ` +
    `under load ${cheaper} of ${OPERATIONS.length} operations of souk get cheaper.`
  )
}

function throughput(study: Study, experiment: ScenarioName, clients: number, system: SystemName): number {
  return medianThroughput(cellOf(study, experiment, clients, system))
}

function latency(study: Study, operation: OperationName, clients: number, system: SystemName): number {
  return averageOf(cellOf(study, operation, clients, system), operation).meanMs
}

function gain(study: Study, operation: OperationName, from: number, to: number, system: SystemName): number {
  return throughput(study, operation, to, system) / throughput(study, operation, from, system)
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

function verdict(holding: number, of: number): string {
  if (holding === 0) return '**it does not hold for any**'
  return holding === of ? '**it holds for all**' : `**it holds for ${holding} of ${of}**`
}

export function nameOf(system: SystemName): string {
  return (SYSTEMS[system].split(':')[0] as string).replace(/^the /, '')
}
