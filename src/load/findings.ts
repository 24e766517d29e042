/**
 * What a study shows about the report's observations 1 to 4, and what of the
 * difference comes from gathering: sentences computed from the figures, each
 * with its figures in it.
 */

import { averageOf, cellOf, cpuPerCallUs, medianThroughput } from './figures.ts'
import { number, times } from './markdown.ts'
import type { Experiment, Study } from './record.ts'
import { SYSTEMS, type SystemName } from './systems.ts'
import { OPERATIONS, type OperationName } from './workload.ts'

/** Two throughputs within this of each other are called equal: no more is claimed than runs on one machine carry. */
const EQUAL = 0.05

const READS: readonly OperationName[] = ['get_seller_rating', 'search_items', 'display_items_for_sale']
const WRITE: OperationName = 'register_item_for_sale'
const COMPARED = ['souk', 'threads', 'pinned'] as const satisfies readonly SystemName[]

export interface Finding {
  about: string
  sentences: string[]
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
      sentences: COMPARED.map((system) => bestLoad(study, system)),
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
      sentences: [...study.clients.map((clients) => gathering(study, clients)), processorTime(study, few, many)],
    },
  ]
}

function lowestLoad(study: Study, system: SystemName, few: number, some: number): string {
  const lower = OPERATIONS.filter(
    (operation) => latency(study, operation, few, system) < latency(study, operation, some, system),
  )
  const gains = OPERATIONS.map((operation) => gain(study, operation, few, some, system))
  return (
    `${nameOf(system)}: the latency at ${few} is lower than at ${some} for ${ofAll(lower.length)} operations; ` +
    `throughput at ${some} is ${range(gains)} that at ${few}: ${verdict(lower.length === OPERATIONS.length && gains.every(isMore))}.`
  )
}

function bestLoad(study: Study, system: SystemName): string {
  const peaks = OPERATIONS.map((operation) => {
    const best = study.clients.reduce((a, b) =>
      throughput(study, operation, b, system) > throughput(study, operation, a, system) ? b : a,
    )
    return `${operation} at ${best}`
  })
  const [, some] = study.clients
  return `${nameOf(system)}: the highest throughput is reached by ${peaks.join(', ')}: ${verdict(peaks.every((peak) => peak.endsWith(` at ${some}`)))}.`
}

function highestLoad(study: Study, system: SystemName, some: number, many: number): string {
  const gains = OPERATIONS.map((operation) => gain(study, operation, some, many, system))
  const [more, less] = [gains.filter(isMore).length, gains.filter(isLess).length]
  const each = OPERATIONS.map((operation, index) => `${operation} ${times(gains[index] as number)}`).join(', ')
  return (
    `${nameOf(system)}: from ${some} to ${many} clients throughput changes to ${each} ` +
    `(more in ${more}, less in ${less}, the rest equal within ${EQUAL * 100} %): ${verdict(less === OPERATIONS.length)}.`
  )
}

function readsAndWrites(study: Study, system: SystemName, clients: number): string {
  const write = throughput(study, WRITE, clients, system)
  const reads = READS.map((operation) => throughput(study, operation, clients, system) / write)
  const slower = READS.filter(
    (operation) => latency(study, operation, clients, system) < latency(study, WRITE, clients, system),
  )
  return (
    `${nameOf(system)} at ${clients}: ${READS.map((operation, index) => `${operation} ${times(reads[index] as number)}`).join(', ')} ` +
    `the throughput of ${WRITE}, whose latency is higher than that of ${slower.length} of the ${READS.length} reads: ` +
    `${verdict(reads.every(isMore) && slower.length === READS.length)}.`
  )
}

function gathering(study: Study, clients: number): string {
  const ratios = (over: SystemName, under: SystemName) =>
    [...OPERATIONS, 'all' as const].map(
      (one) => throughput(study, one, clients, over) / throughput(study, one, clients, under),
    )
  return (
    `At ${clients}: souk has ${range(ratios('souk', 'threads'))} the throughput of threads.py, and ${range(ratios('souk', 'pinned'))} that of threads.py on one CPU. Gathering (the queue on against off) ` +
    `gives ${range(ratios('souk', 'queue-off'))} of it; the event loop, the language and the driver (the queue off against threads.py) ` +
    `give ${range(ratios('queue-off', 'threads'))}, and against threads.py on one CPU ${range(ratios('queue-off', 'pinned'))}.`
  )
}

function processorTime(study: Study, few: number, many: number): string {
  const used = (system: SystemName, clients: number) =>
    OPERATIONS.map((operation) => {
      const cell = cellOf(study, operation, clients, system)
      const parts = (['seller', 'buyer', 'database'] as const).map(
        (process) => cpuPerCallUs(cell, process) ?? Number.NaN,
      )
      return parts.reduce((sum, part) => sum + part, 0)
    })
  const ratios = (system: SystemName) =>
    used(system, many).map((us, index) => us / (used(system, few)[index] as number))
  return (
    `Processor time of server and database a call, at ${many} clients against ${few}: souk ${range(ratios('souk'))}, ` +
    `with the queue off ${range(ratios('queue-off'))}, threads.py ${range(ratios('threads'))}, on one CPU ${range(ratios('pinned'))}: under load ` +
    `${Math.max(...ratios('souk')) < 1 ? 'every operation of souk gets cheaper' : 'not every operation of souk gets cheaper'}.`
  )
}

function throughput(study: Study, experiment: Experiment, clients: number, system: SystemName): number {
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

function ofAll(count: number): string {
  return `${count} of ${OPERATIONS.length}`
}

function verdict(holds: boolean): string {
  return holds ? '**the observation holds**' : '**the observation does not hold**'
}

export function nameOf(system: SystemName): string {
  return (SYSTEMS[system].split(':')[0] as string).replace(/^the /, '')
}
