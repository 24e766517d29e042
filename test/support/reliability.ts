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
  const [runs, verdicts] = [records.length, records.flatMap((record) => record.verdicts)]
  return [
    `## ${kind[0]?.toUpperCase()}${kind.slice(1)}`,
    `${runs} ${runs === 1 ? 'run' : 'runs'}, together:`,
    list(listCounts(sumCounts(records.map(({ counts }) => counts)))),
    table(['of', 'what', 'figure', 'verdict'], groupVerdicts(verdicts).map(renderVerdicts), 4),
    list(records.map(renderRecord)),
  ].join('\n\n')
}

/** Verdicts of several runs on the same thing, by what they are of. */
function groupVerdicts(verdicts: readonly Verdict[]): Verdict[][] {
  const groups = new Map<string, Verdict[]>()
  for (const verdict of verdicts) {
    const name = JSON.stringify([verdict.of, verdict.what])
    groups.set(name, [...(groups.get(name) ?? []), verdict])
  }
  const byName = ([a]: Verdict[], [b]: Verdict[]) => (a?.of ?? '').localeCompare(b?.of ?? '', 'en', { numeric: true })
  return [...groups.values()].sort(byName)
}

/** A row, with the figures of the runs that do not hold, or else of all. */
function renderVerdicts(verdicts: readonly Verdict[]): string[] {
  const [{ of, what }] = verdicts as [Verdict]
  const missed = verdicts.filter(({ holds }) => !holds)
  const figures = new Set((missed.length > 0 ? missed : verdicts).map(({ figure }) => figure))
  const verdict = missed.length === 0 ? 'holds' : '**does not hold**'
  const share = verdicts.length > 1 && missed.length > 0 ? ` in ${missed.length} of ${verdicts.length} runs` : ''
  return [of, what, [...figures].join('; '), verdict + share]
}

function renderRecord({ date, commit, command, counts, skipped }: RunRecord): string {
  const left = skipped.map(({ what, why }) => `; skipped: ${what}, because of ${why}`)
  return `${date.slice(0, 10)}, commit ${commit}, \`${command}\`: ${listCounts(counts).join(', ')}${left.join('')}`
}

function listCounts(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([what, count]) => `${count.toLocaleString('en')} ${what}`)
}

function sumCounts(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const counts of all) for (const [what, count] of Object.entries(counts)) total[what] = (total[what] ?? 0) + count
  return total
}
