/** Sends servers lines that no good client sends, and judges every reply: npm run fuzz -- --lines 1000000 --seed 42 */

import { z } from 'zod'
import { ROLES } from '../../src/contract/operations.ts'
import { progress, writeLine } from '../../src/process/progress.ts'
import { fail } from '../../src/process/start.ts'
import { FOLDER, wholeNumber } from '../../src/process/values.ts'
import { readOptions } from '../support/options.ts'
import { RECORDS_FOLDER, readCommit, type Verdict, writeRecord } from '../support/reliability.ts'
import { escapeBytes, type Findings, fuzz } from './run.ts'

/** Of a quiet machine: on a busy one the loop also waits for its CPU. */
const LONGEST_STALL_MS = 20
const LONGEST_SHOWN_BYTES = 2_000

const OPTIONS = {
  lines: { value: 'n', about: 'least number of lines', schema: wholeNumber(1, 10 ** 10).default(100_000) },
  seed: {
    value: 'n',
    about: 'seed of all lines (a new one each time)',
    schema: wholeNumber(0, 2 ** 32 - 1).optional(),
  },
  results: { value: 'folder', about: 'folder of the record (results/reliability)', schema: FOLDER.optional() },
  verbose: { about: 'print how often each operation got each kind of answer', schema: z.boolean().default(false) },
}

async function main(): Promise<void> {
  const title = 'Sends servers of both roles lines that no good client sends, and judges every reply.'
  const options = readOptions('npm run fuzz --', title, OPTIONS)
  const { lines, seed = Date.now() % 1_000_000_000, results = RECORDS_FOLDER, verbose } = options
  writeLine(process.stdout, `seed ${seed}`)

  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupted.abort())
  const date = new Date().toISOString()
  progress.begin('fuzzing', lines, 'lines')
  const findings = await fuzz({ seed, lines, signal: interrupted.signal, progress: (done) => progress.advance(done) })
  progress.end()
  if (verbose)
    for (const [answer, times] of [...findings.answers].sort()) writeLine(process.stdout, `${times}\t${answer}`)
  const verdicts = judge(findings)
  show(findings, verdicts)
  if (interrupted.signal.aborted) fail(['interrupted; no record is written'], 130)
  const command = `npm run fuzz -- --lines ${lines} --seed ${seed}`
  const counts = { lines: findings.lines, batches: findings.batches, ...countKinds(findings) }
  const record = {
    kind: 'fuzz',
    date,
    commit: readCommit(),
    command,
    seed,
    options: { lines },
    counts,
    verdicts,
    skipped: [],
  }
  writeLine(process.stdout, writeRecord(record, results))
  if (findings.failure !== undefined) fail([`to repeat it: ${command}`], 1)
}

/** Answers by their kind, whatever the operation. */
function countKinds({ answers }: Findings): Record<string, number> {
  const kinds: Record<string, number> = {}
  for (const [answer, times] of answers) {
    const kind = `answers ${answer.split(' ').at(-1)}`
    kinds[kind] = (kinds[kind] ?? 0) + times
  }
  return kinds
}

function judge({ failure, longestStallMs, longestPingMs, heapBytes, lines }: Findings): Verdict[] {
  const stallMs = Math.max(...ROLES.map((role) => longestStallMs[role]))
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1)
  const heap = ROLES.map((role) => `${role} ${mib(heapBytes[role].early)} to ${mib(heapBytes[role].late)} MiB`)
  return [
    {
      of: 'fuzz',
      what: 'each request with an id gets one reply that fits the contract, nothing is logged, all servers live',
      figure: failure === undefined ? `${lines} lines` : failure.what.slice(0, 200),
      holds: failure === undefined,
    },
    {
      of: 'fuzz',
      what: `the longest stall of a loop, by its own clock: at most ${LONGEST_STALL_MS} ms on a quiet machine`,
      figure: `${stallMs.toFixed(1)} ms; a bystander's ping took ${longestPingMs.toFixed(1)} ms at most`,
      holds: stallMs <= LONGEST_STALL_MS,
    },
    {
      of: 'fuzz',
      what: 'the heap after a tenth of the lines, and at the end',
      figure: heap.join(', '),
      holds: failure === undefined,
    },
  ]
}

function show(findings: Findings, verdicts: readonly Verdict[]): void {
  const { lines, batches, seconds, failure } = findings
  writeLine(process.stdout, `${lines} lines in ${batches} batches, ${seconds.toFixed(1)} s`)
  for (const [kind, times] of Object.entries(countKinds(findings))) writeLine(process.stdout, `${times}\t${kind}`)
  for (const { what, figure, holds } of verdicts)
    writeLine(process.stdout, `${holds ? 'holds' : 'FAILS'}  ${what}: ${figure}`)
  if (failure === undefined) return
  writeLine(process.stdout, `${failure.at ?? 'at no batch in particular'}: ${failure.what}`)
  if (failure.bytes !== undefined)
    writeLine(process.stdout, escapeBytes(failure.bytes.subarray(0, LONGEST_SHOWN_BYTES)))
}

await main()
