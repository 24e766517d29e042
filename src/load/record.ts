/**
 * What a study writes down: one JSON file, from which everything that is said
 * about it is computed. Latencies are kept as histograms, so that they can be
 * merged; averages of percentiles mean nothing.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'
import type { SystemName } from './systems.ts'
import type { CATALOGUE, OperationName, SEARCH } from './workload.ts'

export const FORMAT = 1

/** N clients of one operation, or N sellers and N buyers with all four. */
export type Experiment = OperationName | 'all'

export interface Study {
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
  /** Bytes of a reply line of souk, as captured, which is also what the null server answers. */
  replyBytes: Record<OperationName, number>
  /** threads.py at its largest load, by connections in each of its pools; the best was taken. */
  sweep: { poolSize: number; throughput: Record<string, number> }[]
  poolSize: number
  clients: number[]
  warmUps: { system: SystemName; experiment: Experiment; windows: number[]; steady: boolean }[]
  cells: Cell[]
}

/** One system at one load. Its runs took turns with those of the other systems. */
export interface Cell {
  experiment: Experiment
  clients: number
  system: SystemName
  /** How a run ended: 'calls' a client, or 'seconds'. */
  until: { calls: number } | { seconds: number }
  runs: Run[]
}

export interface Run {
  /** Its place among all runs of the study. */
  order: number
  wallS: number
  operations: Partial<Record<OperationName, Figures>>
  /** Processor seconds used during the run, by process. */
  cpuS: Partial<Record<'seller' | 'buyer' | 'database' | 'generator', number>>
  generatorBusy: number
}

/** Latencies of one operation in one run, in integer microseconds. */
export interface Figures {
  calls: number
  /** From the first call of the run to the last reply to a client of the operation's role. */
  wallS: number
  meanUs: number
  p50Us: number
  p95Us: number
  p99Us: number
  maxUs: number
  /** All latencies: HdrHistogram, its compressed encoding, base64. */
  histogram: string
}

export function figuresOf(histogram: Histogram, wallS: number): Figures {
  const at = (percentile: number) => histogram.getValueAtPercentile(percentile)
  return {
    calls: histogram.totalCount,
    wallS,
    meanUs: Math.round(histogram.mean),
    ...{ p50Us: at(50), p95Us: at(95), p99Us: at(99), maxUs: at(100) },
    histogram: encodeIntoCompressedBase64(histogram),
  }
}

/** All latencies of several runs together. */
export function merged(figures: readonly Figures[]): Histogram {
  const [first, ...others] = figures.map(({ histogram }) => decodeFromCompressedBase64(histogram))
  if (first === undefined) throw new Error('nothing to merge')
  for (const other of others) first.add(other)
  return first
}

/** Writes the study into a file named for its start; returns its path. */
export function saveStudy(folder: string, study: Study): string {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `study-${study.startedAt.slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}.json`)
  writeWhole(path, `${JSON.stringify(study, null, 1)}\n`)
  return path
}

export function loadStudy(path: string): Study {
  const study: Study = JSON.parse(readFileSync(path, 'utf8'))
  if (study.format !== FORMAT) throw new Error(`${path} is not a study of format ${FORMAT}`)
  return study
}

/** The path of the study that was started last; undefined when there is none. */
export function newestStudy(folder: string): string | undefined {
  if (!existsSync(folder)) return undefined
  const names = readdirSync(folder).filter((name) => /^study-.*\.json$/.test(name))
  const newest = names.sort().at(-1)
  return newest === undefined ? undefined : join(folder, newest)
}

/** So that nobody reads half a file. */
export function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}
