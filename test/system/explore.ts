/** Runs the model test with any number of operations and any seed: npm run model -- --operations 1000000 --seed 42 */

import { z } from 'zod'
import { fail } from '../../src/process/start.ts'
import { wholeNumber } from '../../src/process/values.ts'
import { explore } from '../support/model.ts'
import { readOptions } from '../support/options.ts'

const PROGRESS_EVERY_MS = 5_000

const OPTIONS = {
  operations: { value: 'n', about: 'least number of operations', schema: wholeNumber(1, 10 ** 12).default(100_000) },
  seed: {
    value: 'n',
    about: 'seed of the first sequence; later ones have the following seeds (a new one each time)',
    schema: wholeNumber(0, 2 ** 31 - 1).optional(),
  },
  verbose: { about: 'print how often each operation got each kind of answer', schema: z.boolean().default(false) },
}

async function main(): Promise<void> {
  const title = 'Runs the model test with any number of operations.'
  const { operations, seed = Date.now() % 1_000_000_000, verbose } = readOptions('npm run model --', title, OPTIONS)

  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort())
  const beganMs = performance.now()
  const secondsSince = () => (performance.now() - beganMs) / 1_000
  let printedMs = beganMs
  const findings = await explore({
    seed,
    operations,
    signal: interrupted.signal,
    progress(done) {
      if (performance.now() - printedMs < PROGRESS_EVERY_MS) return
      printedMs = performance.now()
      process.stderr.write(`${done} operations, ${Math.round(done / secondsSince())} a second\n`)
    },
  })
  if (interrupted.signal.aborted) fail(['interrupted'], 130)
  if (verbose)
    for (const [answer, times] of [...findings.answerCounts].sort()) process.stdout.write(`${times}\t${answer}\n`)
  process.stdout.write(
    `seed ${seed}: ${findings.operations} operations in ${findings.sequences} sequences, ${secondsSince().toFixed(1)} s\n`,
  )
  if (findings.failure !== undefined) fail([findings.failure], 1)
  if (findings.neverReached.length > 0) fail(['never reached:', ...findings.neverReached], 1)
}

await main()
