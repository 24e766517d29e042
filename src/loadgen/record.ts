/**
 * The record of a study: one JSON file, from which its report is computed.
 * Latencies are kept as histograms, which can be merged; averages of
 * percentiles mean nothing.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'
import type { Name } from '../contract/operations.ts'
import { decodeText } from '../process/text.ts'
import type { SALES, SHARES } from './behaviours.ts'
import type { OperationName } from './calls.ts'
import type { CATALOGUE, SEARCH } from './catalogue.ts'
import type { Latencies, Until } from './fleet.ts'
import type { Load, ScenarioName } from './scenarios.ts'
import type { SystemName } from './systems.ts'

export const FORMAT = 1

/** What every part of the study records. */
export interface StudyRecord {
  format: typeof FORMAT
  profile: string
  command: string
  startedAt: string
  tookS: number
  seed: number
  commit: string
  versions: Record<string, string>
  machine: { processor: string; cores: number; memoryGib: number; system: string }
  /** The database's settings that decide durability and memory. */
  database: Record<string, string>
  catalogue: typeof CATALOGUE
  search: typeof SEARCH
  /** Throughput of threads.py by scenario, for each size of its pools that was tried; the best was taken. */
  sweep: { poolSize: number; throughput: Record<string, number> }[]
  poolSize: number
  warmUps: { system: SystemName; scenario: ScenarioName; windows: number[]; steady: boolean }[]
  cells: Cell[]
}

/** The part that repeats the original's experiments. */
export interface ReplicationRecord extends StudyRecord {
  /** Bytes of a reply line of souk, and of the null server, which has the same results. */
  replyBytes: Record<OperationName, number>
  clients: number[]
}

/** The part that measures a whole marketplace. */
export interface MarketRecord extends StudyRecord {
  kind: 'market'
  shares: typeof SHARES
  sales: typeof SALES
  /** Units of each item on sale when a sale begins. */
  saleStock: number
  scale: ScaleRecord
}

/** The effect of size. The runs within a list took turns. */
export interface ScaleRecord {
  searches: { items: number; clients: number; runs: LatencySummary[] }[]
  /** The size of the large catalogue's tables, and the time that filling them took. */
  largeBytes: number
  filledS: number
  /** By one client; `driver`: the database's driver alone, without a server. */
  listings: { system: 'souk' | 'threads' | 'driver'; items: number; bytes: number; runs: LatencySummary[] }[]
  /** Clients that ask for their rating, beside one that lists this many items; 0: beside none. */
  stalls: { listed: number; clients: number; runs: { longestStallMs: number; rating: LatencySummary }[] }[]
}

/** The runs of one system under one load. They took turns with those of the other systems. */
export interface Cell extends Load {
  system: SystemName
  until: Until
  runs: Run[]
}

/** An operation of either role. */
export type AnyOperation = Name<'seller'> | Name<'buyer'>

/** One load, carried out once on one system. */
export interface Run {
  /** Its place among all runs of the study. */
  order: number
  wallS: number
  operations: Partial<Record<AnyOperation, LatencySummary>>
  /** Whole purchases, with the calls that filled their carts; absent if there were none. */
  purchases?: LatencySummary
  /** Processor time used during the run, by process. */
  cpuS: Partial<Record<'seller' | 'buyer' | 'database' | 'generator', number>>
  generatorBusy: number
  /** Refusals of calls as overloaded; such calls were made again. */
  overloaded?: number
}

/** Latencies of one operation, or of whole purchases, in one run, in integer microseconds. */
export interface LatencySummary {
  calls: number
  /** From the first call of the run to the last reply to any client that has latencies here. */
  wallS: number
  meanUs: number
  p50Us: number
  p95Us: number
  p99Us: number
  maxUs: number
  /** All latencies: an HdrHistogram, compressed, as base64. */
  histogram: string
}

export function summarise({ latenciesUs, wallS }: Latencies): LatencySummary {
  const at = (percentile: number) => latenciesUs.getValueAtPercentile(percentile)
  return {
    calls: latenciesUs.totalCount,
    wallS,
    meanUs: Math.round(latenciesUs.mean),
    p50Us: at(50),
    p95Us: at(95),
    p99Us: at(99),
    maxUs: at(100),
    histogram: encodeIntoCompressedBase64(latenciesUs),
  }
}

/** All latencies together; an empty histogram for no summaries. */
export function merge(summaries: readonly LatencySummary[]): Histogram {
  const [first, ...others] = summaries.map(({ histogram }) => decodeFromCompressedBase64(histogram))
  for (const other of others) first?.add(other)
  return first ?? build()
}

export function isMarket(record: ReplicationRecord | MarketRecord): record is MarketRecord {
  return 'kind' in record
}

/** Writes the record to a file named after its part and its start. Returns the path. */
export function saveRecord(folder: string, record: ReplicationRecord | MarketRecord): string {
  mkdirSync(folder, { recursive: true })
  const startedAt = record.startedAt.slice(0, 19).replace(/[-:]/g, '').replace('T', '-')
  const path = join(folder, `${isMarket(record) ? 'market' : 'study'}-${startedAt}.json`)
  writeWhole(path, `${JSON.stringify(record, null, 1)}\n`)
  return path
}

export function loadRecord(path: string): ReplicationRecord | MarketRecord {
  const record = JSON.parse(decodeText(readFileSync(path), path))
  if (record.format !== FORMAT) throw new Error(`it is not of format ${FORMAT}`)
  return { ...record, warmUps: record.warmUps.map(withScenario), cells: record.cells.map(withScenario) }
}

/** Older records call the scenario of a load its experiment. */
function withScenario<T extends object>({ experiment, ...load }: T & { experiment?: ScenarioName }): object {
  return experiment === undefined ? load : { scenario: experiment, ...load }
}

/** The path of the newest record of each part. */
export function newestRecords(folder: string): string[] {
  if (!existsSync(folder)) return []
  const names = readdirSync(folder).sort()
  const newest = [/^study-.*\.json$/, /^market-.*\.json$/].map((kind) => names.findLast((name) => kind.test(name)))
  return newest.flatMap((name) => (name === undefined ? [] : [join(folder, name)]))
}

/** Writes a file by renaming, so that no reader ever sees half of it. */
export function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}
