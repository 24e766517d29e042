/**
 * Records of long runs that look for faults, and docs/reliability.md, which is
 * computed from them. A run of any kind writes one file into
 * results/reliability/; the page has a section for each kind.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { list, table } from '../../src/loadgen/reports/markdown.ts'

/** What a run must show, and whether it did. */
export interface Verdict {
  /** A fault, an invariant, a guard. */
  of: string
  what: string
  figure: string
  holds: boolean
}

export interface Skipped {
  what: string
  why: string
}

export interface RunRecord {
  kind: string
  /** ISO 8601. */
  date: string
  /** The commit that was run; with a plus, if files were changed since. */
  commit: string
  /** What repeats the run. */
  command: string
  seed: number
  options: Readonly<Record<string, unknown>>
  /** What was done, and how often. */
  counts: Readonly<Record<string, number>>
  verdicts: readonly Verdict[]
  /** What this machine could not do. */
  skipped: readonly Skipped[]
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const RECORDS_FOLDER = join(ROOT, 'results', 'reliability')
export const PAGE_PATH = join(ROOT, 'docs', 'reliability.md')

/** Writes a record; returns its path. */
export function writeRecord(record: RunRecord, folder = RECORDS_FOLDER): string {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${record.kind}-${record.date.replace(/\..*$/, '').replace(/\D/g, '')}-${record.seed}.json`)
  writeFileSync(path, `${JSON.stringify(record, undefined, 2)}\n`)
  return path
}

/** All records, oldest first. */
export function readRecords(folder = RECORDS_FOLDER): RunRecord[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'))
  const records = names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as RunRecord)
  return records.sort((a, b) => (a.date < b.date ? -1 : 1))
}

/** The commit that is checked out; with a plus, if program files differ from it. */
export function readCommit(): string {
  const git = (...rest: string[]) => execFileSync('git', rest, { cwd: ROOT, encoding: 'utf8' }).trim()
  try {
    return (
      git('rev-parse', '--short=10', 'HEAD') + (git('status', '--porcelain', '--', 'src', 'test') === '' ? '' : '+')
    )
  } catch {
    return 'unknown'
  }
}

export function renderPage(records: readonly RunRecord[]): string {
  const kinds = [...new Set(records.map(({ kind }) => kind))].sort()
  return [
    '# Reliability',
    'Runs that look for a way to lose, to let in or to fall over: what was run, how often, and what it showed. `npm run docs` writes ' +
      'this page from the records in [results/reliability](../results/reliability). A verdict that does not hold stands here too.',
    ...kinds.map((kind) =>
      renderKind(
        kind,
        records.filter((record) => record.kind === kind),
      ),
    ),
  ]
    .join('\n\n')
    .concat('\n')
}

function renderKind(kind: string, records: readonly RunRecord[]): string {
  const counted = listCounts(sumCounts(records.map(({ counts }) => counts)))
  const runs = `${records.length} ${records.length === 1 ? 'run' : 'runs'}`
  return [
    `## ${kind[0]?.toUpperCase()}${kind.slice(1)}`,
    `${runs}, together:`,
    list(counted),
    ...records.map(renderRecord),
  ].join('\n\n')
}

function renderRecord({ date, commit, command, seed, counts, verdicts, skipped }: RunRecord): string {
  const missed = verdicts.filter(({ holds }) => !holds).length
  const summary =
    missed === 0 ? `all ${verdicts.length} verdicts hold` : `${missed} of ${verdicts.length} verdicts do not hold`
  const rows = verdicts.map(({ of, what, figure, holds }) => [of, what, figure, holds ? 'holds' : '**does not hold**'])
  return [
    `### ${date.slice(0, 10)}, seed ${seed}: ${summary}`,
    `Commit ${commit}: ${listCounts(counts).join(', ')}. To repeat it:`,
    `    ${command}`,
    table(['of', 'what', 'figure', 'verdict'], rows, 4),
    ...(skipped.length === 0 ? [] : [list(skipped.map(({ what, why }) => `Skipped: ${what}, because of ${why}`))]),
  ].join('\n\n')
}

function listCounts(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([what, count]) => `${count.toLocaleString('en')} ${what}`)
}

function sumCounts(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const counts of all) for (const [what, count] of Object.entries(counts)) total[what] = (total[what] ?? 0) + count
  return total
}
