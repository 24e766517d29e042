/** Runs the tests of races, cuts and kills with any number of rounds and any seed: npm run chaos -- --rounds 20 --seed 42 */

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { cac } from 'cac'
import { z } from 'zod'
import { fail } from '../../src/process/start.ts'

const FILES = ['races', 'unknown-outcomes', 'server-kills'].map((name) =>
  fileURLToPath(new URL(`./${name}.test.ts`, import.meta.url)),
)

const options = z.object({
  rounds: z.coerce.number().int().min(1).default(10),
  seed: z.coerce
    .number()
    .int()
    .min(0)
    .default(() => Date.now() % 1_000_000),
})

function main(): void {
  const program = cac('npm run chaos --')
  program
    .option('--rounds <n>', 'how many times as long as in npm test (10)')
    .option('--seed <n>', 'seed of all random choices (a new one each time)')
  const checked = options.safeParse(program.help().parse().options)
  if (program.options.help) return
  if (!checked.success) fail([z.prettifyError(checked.error)], 2)
  const { rounds, seed } = checked.data
  process.stdout.write(`seed ${seed}\n`)
  const flags = [`--import=${import.meta.resolve('tsx')}`, '--test', '--test-concurrency=1', '--test-reporter=spec']
  const tests = spawn(process.execPath, [...flags, ...FILES], {
    env: { ...process.env, SOUK_TEST_ROUNDS: String(rounds), SOUK_TEST_SEED: String(seed) },
    stdio: 'inherit',
  })
  tests.once('exit', (code) => {
    process.exitCode = code ?? 1
  })
}

main()
