/** Breaks the guards that matter, one after the other, in a copy of the project; tests must notice each: npm run mutants */

import { z } from 'zod'
import { progress, writeLine } from '../../src/process/progress.ts'
import { fail } from '../../src/process/start.ts'
import { FOLDER, wholeNumber } from '../../src/process/values.ts'
import { readOptions } from '../support/options.ts'
import { RECORDS_FOLDER, readCommit, type Verdict, writeRecord } from '../support/reliability.ts'
import { GUARDS, type Guard } from './guards.ts'
import { Tree } from './tree.ts'

const OPTIONS = {
  guard: { value: 'text', about: 'break only the guards whose name has this text', schema: z.string().default('') },
  parallel: {
    value: 'n',
    about: 'guards that are broken at the same time, each in its own copy',
    schema: wholeNumber(1, 8).default(2),
  },
  results: { value: 'folder', about: 'folder of the record (results/reliability)', schema: FOLDER.optional() },
}

async function main(): Promise<void> {
  const title = 'Breaks the guards that matter, one after the other; tests must notice each.'
  const { guard, parallel, results = RECORDS_FOLDER } = readOptions('npm run mutants --', title, OPTIONS)
  const guards = GUARDS.filter(({ name }) => name.includes(guard))
  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupted.abort())
  const date = new Date().toISOString()
  const beganMs = performance.now()
  const trees = Array.from({ length: Math.min(parallel, guards.length) }, () => new Tree())
  const verdicts: Verdict[] = []
  const open = groupByTest(guards)
  progress.begin('breaking guards', guards.length, 'guards')
  try {
    const work = async (tree: Tree) => {
      for (let group = open.shift(); group !== undefined && !interrupted.signal.aborted; group = open.shift()) {
        for await (const verdict of judge(tree, group, interrupted.signal)) {
          verdicts.push(verdict)
          progress.note(`${verdict.holds ? 'caught  ' : 'SURVIVES'}  ${verdict.of}: ${verdict.figure}`)
          progress.advance(verdicts.length)
        }
      }
    }
    await Promise.all(trees.map(work))
  } finally {
    for (const tree of trees) tree.remove()
    progress.end()
  }
  if (interrupted.signal.aborted) fail(['interrupted; no record is written'], 130)
  const survivors = verdicts.filter(({ holds }) => !holds)
  const seconds = Math.round((performance.now() - beganMs) / 1_000)
  writeLine(process.stdout, `${verdicts.length} guards broken in ${seconds} s, ${survivors.length} not noticed`)
  const counts = { 'guards broken': verdicts.length }
  const command = 'npm run mutants'
  const record = {
    kind: 'mutants',
    date,
    commit: readCommit(),
    command,
    seed: 0,
    options: {},
    counts,
    verdicts,
    skipped: [],
  }
  if (guard === '') writeLine(process.stdout, writeRecord(record, results))
  if (survivors.length > 0)
    fail(
      survivors.map(({ of }) => `no test noticed: ${of}`),
      1,
    )
}

/** The guards whose tests are the same, so that these are run whole only once. */
function groupByTest(guards: readonly Guard[]): Guard[][] {
  const groups = new Map<string, Guard[]>()
  for (const guard of guards) {
    const name = `${guard.test} ${guard.only}`
    groups.set(name, [...(groups.get(name) ?? []), guard])
  }
  return [...groups.values()]
}

/** The tests must pass first, and fail with each guard broken. */
async function* judge(tree: Tree, guards: readonly Guard[], signal: AbortSignal): AsyncGenerator<Verdict> {
  const whole = await tree.run(guards[0] as Guard, signal)
  for (const guard of guards) {
    if (signal.aborted) return
    const what = `${guard.file}: noticed by ${guard.test}`
    if (whole.failed > 0 || whole.passed === 0) {
      yield { of: guard.name, what, figure: `unbroken, ${whole.passed} pass and ${whole.failed} fail`, holds: false }
      continue
    }
    const { passed, failed } = await tree.withBroken(guard, () => tree.run(guard, signal))
    if (signal.aborted) return
    yield { of: guard.name, what, figure: `${failed} of ${failed + passed} fail`, holds: failed > 0 }
  }
}

await main()
