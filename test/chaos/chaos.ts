/**
 * Injects faults at random into a marketplace under load, and checks every
 * invariant afterwards: npm run chaos -- --minutes 30 --seed 42 --fault F2
 */

import { z } from 'zod'
import { progress, writeLine } from '../../src/process/progress.ts'
import { fail } from '../../src/process/start.ts'
import { FOLDER, wholeNumber } from '../../src/process/values.ts'
import { readOptions } from '../support/options.ts'
import { RECORDS_FOLDER, type RunRecord, readCommit, writeRecord } from '../support/reliability.ts'
import { INVARIANTS, type Invariant } from './checker.ts'
import type { Fault } from './fault.ts'
import { FAULT_NAMES, FAULTS, type FaultName } from './faults.ts'
import { type Chapter, makePlan } from './plan.ts'
import { type ChapterResult, failuresOf, runChapter } from './run.ts'

const MOST_SHOWN = 10
const LONGEST_SHOWN = 2_000

const OPTIONS = {
  minutes: { value: 'n', about: 'how long it runs, about', schema: wholeNumber(1, 10_000).default(10) },
  seed: {
    value: 'n',
    about: 'seed of the plan, and of all random choices (a new one each time)',
    schema: wholeNumber(0, 2 ** 32 - 1).optional(),
  },
  fault: {
    value: 'name',
    repeats: true,
    about: `a fault to inject, of ${FAULT_NAMES.join(' ')} (all); may be given several times`,
    schema: z.array(z.enum(FAULT_NAMES, `must be of ${FAULT_NAMES.join(' ')}`)),
  },
  results: { value: 'folder', about: 'folder of the record (results/reliability)', schema: FOLDER.optional() },
  plan: { about: 'print the plan, and run nothing', schema: z.boolean().default(false) },
}

async function main(): Promise<void> {
  const title = 'Injects faults into a marketplace under load, and checks that nothing is lost, doubled or mixed up.'
  const options = readOptions('npm run chaos --', title, OPTIONS)
  const { minutes, seed = Date.now() % 1_000_000, results = RECORDS_FOLDER } = options
  const asked = options.fault.length === 0 ? FAULT_NAMES : [...new Set(options.fault)]
  const skipped = asked.flatMap((name) => {
    const why = (FAULTS[name] as Fault).lacks?.()
    return why === undefined ? [] : [{ what: name, why: `this machine lacks ${why}` }]
  })
  const faults = asked.filter((name) => !skipped.some(({ what }) => what === name))
  const chapters = faults.length === 0 ? [] : makePlan({ seed, minutes, faults })
  if (options.plan) {
    process.stdout.write(`${JSON.stringify(chapters, undefined, 2)}\n`)
    return
  }
  writeLine(process.stdout, `seed ${seed}: ${chapters.length} chapters in about ${minutes} min`)
  for (const { what, why } of skipped) writeLine(process.stdout, `${what}  skipped: ${why}`)
  if (chapters.length === 0) fail(['nothing can be run on this machine'], 1)

  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupted.abort())
  const date = new Date().toISOString()
  const done = await runAll(chapters, interrupted.signal)
  const command = `npm run chaos -- --seed ${seed} --minutes ${minutes}${options.fault.length === 0 ? '' : asked.map((name) => ` --fault ${name}`).join('')}`
  const record = makeRecord(done, { date, command, seed, options: { minutes, faults: asked }, skipped })
  const missed = record.verdicts.filter(({ holds }) => !holds).length
  writeLine(
    process.stdout,
    `${done.length} of ${chapters.length} chapters, ${record.counts.calls ?? 0} calls: ${missed} verdicts missed`,
  )
  if (interrupted.signal.aborted) fail(['interrupted; no record is written'], 130)
  writeLine(process.stdout, writeRecord(record, results))
  if (missed > 0) fail([`not all that was to be shown holds; to repeat it: ${command}`], 1)
}

/** Resolves to the results of the chapters that were run to their end. */
async function runAll(chapters: readonly Chapter[], signal: AbortSignal): Promise<ChapterResult[]> {
  const done: ChapterResult[] = []
  progress.plan('chapters', chapters.length)
  for (const chapter of chapters) {
    progress.begin(`${chapter.fault}, ${FAULTS[chapter.fault].about}`)
    try {
      const result = await runChapter(chapter, signal)
      done.push(result)
      show(result)
    } catch (error) {
      if (signal.aborted) break
      progress.end()
      throw error
    }
    progress.step()
  }
  progress.end()
  return done
}

function show(result: ChapterResult): void {
  const counts = Object.entries(result.counts).map(([what, count]) => `${count.toLocaleString('en')} ${what}`)
  const failures = failuresOf(result)
  const verdict = failures.length === 0 ? 'holds' : 'FAILS'
  writeLine(
    process.stdout,
    `${result.fault.padEnd(4)} ${verdict}  ${result.seconds} s, seed ${result.seed}: ${counts.join(', ')}`,
  )
  for (const { what, figure } of result.bounds) writeLine(process.stdout, `       ${what}: ${figure}`)
  for (const failure of failures.slice(0, MOST_SHOWN))
    writeLine(process.stdout, `     ! ${failure.slice(0, LONGEST_SHOWN)}`)
  if (failures.length > MOST_SHOWN) writeLine(process.stdout, `     ! and ${failures.length - MOST_SHOWN} more`)
}

/** One verdict for each fault and bound, with the figure of the worst chapter; and one for each invariant. */
function makeRecord(
  results: readonly ChapterResult[],
  about: Pick<RunRecord, 'date' | 'command' | 'seed' | 'options' | 'skipped'>,
): RunRecord {
  const counts: Record<string, number> = { chapters: results.length }
  for (const result of results) {
    for (const [what, count] of Object.entries(result.counts)) counts[what] = (counts[what] ?? 0) + count
  }
  const names = FAULT_NAMES.filter((name) => results.some(({ fault }) => fault === name))
  return {
    kind: 'chaos',
    ...about,
    commit: readCommit(),
    counts,
    verdicts: [...names.flatMap((name) => judgeFault(name, results)), ...judgeInvariants(results)],
  }
}

function judgeFault(name: FaultName, results: readonly ChapterResult[]): RunRecord['verdicts'][number][] {
  const bounds = results.filter(({ fault }) => fault === name).flatMap((result) => result.bounds)
  const of = `${name}, ${FAULTS[name].about}`
  return [...new Set(bounds.map(({ what }) => what))].map((what) => {
    const all = bounds.filter((bound) => bound.what === what)
    const missed = all.filter(({ holds }) => !holds)
    const shown = [...new Set((missed.length > 0 ? missed : all).map(({ figure }) => figure))].sort(worseFirst(what))
    return { of, what, figure: shown.slice(0, 3).join('; '), holds: missed.length === 0 }
  })
}

/** Compares figures that begin with a number; a bound says which of them is worse. */
function worseFirst(what: string): (a: string, b: string) => number {
  const sign = what.includes('at least') ? 1 : -1
  return (a, b) => sign * (Number.parseFloat(a) - Number.parseFloat(b)) || 0
}

function judgeInvariants(results: readonly ChapterResult[]): RunRecord['verdicts'][number][] {
  return (Object.keys(INVARIANTS) as Invariant[]).map((name) => {
    const all = results.flatMap(({ violations }) => violations[name])
    return { of: name, what: INVARIANTS[name], figure: `${all.length} violations`, holds: all.length === 0 }
  })
}

await main()
