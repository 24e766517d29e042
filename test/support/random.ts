/** How long the trials last, and by which dice. `npm run chaos` asks for more rounds, or for the dice of an earlier run. */

import type { TestContext } from 'node:test'
import { type Random, seeded } from '../../src/loadgen/workload.ts'

/** Trials last so many times as long as they do by default. */
export const ROUNDS = Number(process.env.SOUK_TEST_ROUNDS ?? 1)
const SEED = Number(process.env.SOUK_TEST_SEED ?? Date.now() % 1_000_000)

/** The dice of one trial. Its seed is told beside its result. */
export function diceOf(test: TestContext): Random {
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

/** So many of the things, each once, in any order. */
export function someOf<T>(things: readonly T[], count: number, random: Random): T[] {
  const left = [...things]
  return Array.from({ length: count }, () => left.splice(below(left.length, random), 1)).flat()
}
