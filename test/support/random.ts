/**
 * The length and the random numbers of the randomised tests. `npm run chaos`
 * asks for more rounds, and can ask for the seed of an earlier run.
 */

import type { TestContext } from 'node:test'
import { type Random, seeded } from '../../src/loadgen/workload.ts'

/** How many times as long as by default the randomised tests last. */
export const ROUNDS = Number(process.env.SOUK_TEST_ROUNDS ?? 1)
const SEED = Number(process.env.SOUK_TEST_SEED ?? Date.now() % 1_000_000)

/** The random numbers of one test. The seed is reported with the test's result. */
export function seedRandom(test: TestContext): Random {
  test.diagnostic(`seed ${SEED}`)
  return seeded(SEED)
}

/** A whole number below the limit. */
export function below(limit: number, random: Random): number {
  return Math.floor(random() * limit)
}

export function oneOf<T>(things: readonly T[], random: Random): T {
  return things[below(things.length, random)] as T
}

/** `count` different ones of the things, in random order. */
export function someOf<T>(things: readonly T[], count: number, random: Random): T[] {
  const left = [...things]
  return Array.from({ length: count }, () => left.splice(below(left.length, random), 1)).flat()
}
