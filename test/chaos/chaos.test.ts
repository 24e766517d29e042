/**
 * Short chapters of the chaos run: whatever the machine does beside them, no
 * invariant is violated. And the program: what it says, writes and leaves.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { seeded } from '../../src/loadgen/random.ts'
import { temporaryHome, until } from '../support/marketplace.ts'
import type { RunRecord } from '../support/reliability.ts'
import { INVARIANTS } from './checker.ts'
import type { FaultName } from './faults.ts'
import { makeChapter } from './plan.ts'
import { NO_UNASKED_END, runChapter } from './run.ts'

const SECONDS = 4
const SEED = Date.now() % 1_000_000
const PROGRAM = [`--import=${import.meta.resolve('tsx')}`, fileURLToPath(new URL('chaos.ts', import.meta.url))]

describe('a marketplace under load', () => {
  for (const fault of ['F1', 'F2', 'F6'] as const satisfies readonly FaultName[]) {
    it(`violates no invariant during ${fault}`, async (test) => {
      test.diagnostic(`seed ${SEED}`)
      const chapter = makeChapter(fault, SECONDS, seeded(SEED))
      const { violations, counts, bounds } = await runChapter(chapter, new AbortController().signal)
      test.diagnostic(JSON.stringify({ counts, bounds }))
      assert.deepEqual(violations, Object.fromEntries(Object.keys(INVARIANTS).map((name) => [name, []])))
      assert.ok(Object.keys(counts).length > 1, 'no fault was injected')
      assert.ok(Number(counts.calls) > 100, `only ${counts.calls} calls were made`)
      assert.equal(bounds.find(({ what }) => what === NO_UNASKED_END)?.figure, '0')
    })
  }
})

describe('npm run chaos', () => {
  let folder: string

  before(() => {
    folder = temporaryHome()
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  /** The temporary folders of a run. */
  const homes = () => readdirSync(folder).filter((name) => name.startsWith('souk-'))

  function start(...rest: string[]): { child: ChildProcess; output(): string } {
    const env = { ...process.env, TMPDIR: folder }
    const child = spawn(process.execPath, [...PROGRAM, ...rest], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    return { child, output: () => output }
  }

  it('says what it did, and writes a record with a verdict for each bound and each invariant', async () => {
    const results = join(folder, 'records')
    const { child, output } = start('--seed', '1', '--minutes', '1', '--fault', 'F16', '--results', results)
    const [code] = await once(child, 'close')
    assert.equal(code, 0, output())
    assert.match(output(), /^seed 1: \d+ chapters in about 1 min$/m)
    assert.match(output(), /^F16 {2}holds {2}\d+ s, seed \d+: [\d,]+ poisoned batches, [\d,]+ calls$/m)
    const [name = ''] = readdirSync(results)
    const record = JSON.parse(readFileSync(join(results, name), 'utf8')) as RunRecord
    assert.equal(record.command, 'npm run chaos -- --seed 1 --minutes 1 --fault F16')
    assert.ok(Number(record.counts['poisoned batches']) > 10)
    const about = new Set(record.verdicts.map(({ of }) => of.split(',')[0]))
    assert.deepEqual([...about], ['F16', ...Object.keys(INVARIANTS)])
    assert.deepEqual(
      record.verdicts.filter(({ holds }) => !holds),
      [],
    )
    assert.deepEqual(homes(), [])
  })

  it('ends on Ctrl-C, says what was done, and leaves nothing behind', async () => {
    const { child, output } = start('--seed', '1', '--minutes', '2', '--fault', 'F3', '--results', join(folder, 'none'))
    const isRunning = () => homes().some((name) => readdirSync(join(folder, name)).includes('clients.log'))
    await until('the clients are at work', isRunning)
    child.kill('SIGINT')
    const [code] = await once(child, 'close')
    assert.equal(code, 130, output())
    assert.match(output(), /^\d+ of \d+ chapters, \d+ calls: \d+ verdicts missed$/m)
    assert.deepEqual(homes(), [])
  })

  it('refuses a fault that does not exist, with 2', async () => {
    const { child, output } = start('--fault', 'F18')
    assert.equal((await once(child, 'close'))[0], 2)
    assert.match(output(), /--fault: must be of F1 F2/)
  })
})
