/**
 * The length and the random numbers of the randomised tests: SOUK_TEST_ROUNDS
 * makes them longer, SOUK_TEST_SEED repeats an earlier run.
 */

import type { TestContext } from 'node:test'
import { type Random, seeded } from '../../src/loadgen/random.ts'

/** The length of the randomised tests, as a multiple of the default. */
export const ROUNDS = Number(process.env.SOUK_TEST_ROUNDS ?? 1)
const SEED = Number(process.env.SOUK_TEST_SEED ?? Date.now() % 1_000_000)

/** The random numbers of one test. The seed is reported with the test's result. */
export function seedRandom(test: TestContext): Random {
  test.diagnostic(`seed ${SEED}`)
  return seeded(SEED)
}
