/**
 * What a study writes down: one JSON file, from which everything that is said
 * about it is computed. Latencies are kept as histograms, so that they can be
 * merged; averages of percentiles mean nothing.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'
import type { Name } from '../contract/operations.ts'
import type { SALES, SHARES } from './behaviours.ts'
import type { Tally } from './fleet.ts'
import type { ScenarioName } from './scenarios.ts'
import type { SystemName } from './systems.ts'
import type { CATALOGUE, OperationName, SEARCH } from './workload.ts'

export const FORMAT = 1

/** What is written down of any part of the study. */
export interface Measured {
  format: typeof FORMAT
  profile: string
  command: string
  startedAt: string
  tookS: number
  seed: number
  commit: string
  versions: Record<string, string>
  machine: { processor: string; cores: number; memoryGib: number; system: string }
  /** What of the database's settings decides durability and memory. */
  database: Record<string, string>
  catalogue: typeof CATALOGUE
  search: typeof SEARCH
  /** threads.py by connections in each of its pools: throughput by experiment; the best was taken. */
  sweep: { poolSize: number; throughput: Record<string, number> }[]
  poolSize: number
  warmUps: { system: SystemName; experiment: ScenarioName; windows: number[]; steady: boolean }[]
  cells: Cell[]
}

/** The part that repeats the original's experiments. */
export interface Study extends Measured {
  /** Bytes of a reply line of souk, as captured, which is also what the null server answers. */
  replyBytes: Record<OperationName, number>
  clients: number[]
}

/** The part on what goes on in a marketplace. */
export interface Market extends Measured {
  kind: 'market'
  shares: typeof SHARES
  sales: typeof SALES
  /** Units of each item on sale when a sale begins. */
  saleStock: number
  scale: Scale
}

/** What size does. Runs of what stands together in a list took turns. */
export interface Scale {
  searches: { items: number; clients: number; runs: Figures[] }[]
  /** Of the large catalogue's tables, and how long filling them took. */
  largeBytes: number
  filledS: number
  /** One client; of the driver alone, without any server. */
  listings: { system: 'souk' | 'threads' | 'driver'; items: number; bytes: number; runs: Figures[] }[]
  /** Clients who ask for their rating; beside them one who lists so many items, or nobody. */
  stalls: { listed: number; clients: number; runs: { longestStallMs: number; rating: Figures }[] }[]
}

/** One system at one load. Its runs took turns with those of the other systems. */
export interface Cell {
  experiment: ScenarioName
  clients: number
  system: SystemName
  /** How a run ended: 'calls' a client, or 'seconds'. */
  until: { calls: number } | { seconds: number }
  runs: Run[]
}

/** An operation of either role. */
export type Called = Name<'seller'> | Name<'buyer'>

export interface Run {
  /** Its place among all runs of the study. */
  order: number
  wallS: number
  operations: Partial<Record<Called, Figures>>
  /** Purchases with the calls that filled their carts, in scenarios that have them. */
  purchases?: Figures
  /** Processor seconds used during the run, by process. */
  cpuS: Partial<Record<'seller' | 'buyer' | 'database' | 'generator', number>>
  generatorBusy: number
  /** Calls that were refused because too much was waiting, and made again. */
  overloaded?: number
}

/** Latencies of one operation in one run, or of its purchases, in integer microseconds. */
export interface Figures {
  calls: number
  /** From the first call of the run to the last reply to a client that has part in it. */
  wallS: number
  meanUs: number
  p50Us: number
  p95Us: number
  p99Us: number
  maxUs: number
  /** All latencies: HdrHistogram, its compressed encoding, base64. */
  histogram: string
}

export function figuresOf({ latenciesUs, wallS }: Tally): Figures {
  const at = (percentile: number) => latenciesUs.getValueAtPercentile(percentile)
  return {
    calls: latenciesUs.totalCount,
    wallS,
    meanUs: Math.round(latenciesUs.mean),
    ...{ p50Us: at(50), p95Us: at(95), p99Us: at(99), maxUs: at(100) },
    histogram: encodeIntoCompressedBase64(latenciesUs),
  }
}

/** All latencies of several runs together; none for what never happened. */
export function merged(figures: readonly Figures[]): Histogram {
  const [first, ...others] = figures.map(({ histogram }) => decodeFromCompressedBase64(histogram))
  for (const other of others) first?.add(other)
  return first ?? build()
}

export function isMarket(record: Study | Market): record is Market {
  return 'kind' in record
}

/** Writes the record into a file named for its kind and its start; returns its path. */
export function saveRecord(folder: string, record: Study | Market): string {
  mkdirSync(folder, { recursive: true })
  const startedAt = record.startedAt.slice(0, 19).replace(/[-:]/g, '').replace('T', '-')
  const path = join(folder, `${isMarket(record) ? 'market' : 'study'}-${startedAt}.json`)
  writeWhole(path, `${JSON.stringify(record, null, 1)}\n`)
  return path
}

export function loadRecord(path: string): Study | Market {
  const record: Study | Market = JSON.parse(readFileSync(path, 'utf8'))
  if (record.format !== FORMAT) throw new Error(`${path} is not a study of format ${FORMAT}`)
  return record
}

/** The paths of the newest record of each kind that there is. */
export function newestRecords(folder: string): string[] {
  if (!existsSync(folder)) return []
  const names = readdirSync(folder).sort()
  const newest = [/^study-.*\.json$/, /^market-.*\.json$/].map((kind) => names.findLast((name) => kind.test(name)))
  return newest.flatMap((name) => (name === undefined ? [] : [join(folder, name)]))
}

/** So that nobody reads half a file. */
export function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}
