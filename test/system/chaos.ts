/** Runs the tests of races, cuts and kills with any number of rounds and any seed: npm run chaos -- --rounds 20 --seed 42 */

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { wholeNumber } from '../../src/process/values.ts'
import { readOptions } from '../support/options.ts'

const FILES = ['races', 'unknown-outcomes', 'server-kills'].map((name) =>
  fileURLToPath(new URL(`./${name}.test.ts`, import.meta.url)),
)

const OPTIONS = {
  rounds: { value: 'n', about: 'how many times as long as in npm test', schema: wholeNumber(1, 100_000).default(10) },
  seed: {
    value: 'n',
    about: 'seed of all random choices (a new one each time)',
    schema: wholeNumber(0, 2 ** 32 - 1).optional(),
  },
}

function main(): void {
  const title = 'Runs the tests of races, cuts and kills for long.'
  const { rounds, seed = Date.now() % 1_000_000 } = readOptions('npm run chaos --', title, OPTIONS)
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
