/**
 * The plan of a chaos run: its chapters, and in each the steps of one fault. A
 * pure function of seed, length and faults, so the seed of a run replays it.
 */

import { below, type Random, seeded, someOf } from '../../src/loadgen/random.ts'
import type { Fault, Step } from './fault.ts'
import { FAULTS, type FaultName } from './faults.ts'

export interface Chapter {
  fault: FaultName
  seed: number
  steps: readonly Step[]
}

export interface PlanOptions {
  seed: number
  minutes: number
  faults: readonly FaultName[]
}

/** What a chapter takes beside its steps: databases and servers start, outcomes are resolved, the checker runs. */
const AROUND_S = 10
const LEAST_S = 4

/** All faults in random order, and again, until the time is used up. When it is short, chapters are shorter than usual. */
export function makePlan({ seed, minutes, faults }: PlanOptions): Chapter[] {
  const random = seeded(seed)
  const round = faults.reduce((total, name) => total + FAULTS[name].seconds + AROUND_S, 0)
  const scale = Math.min(1, (minutes * 60) / round)
  const chapters: Chapter[] = []
  let leftS = minutes * 60
  while (leftS > 0) {
    for (const name of someOf(faults, faults.length, random)) {
      const seconds = Math.max(LEAST_S, Math.round(FAULTS[name].seconds * scale))
      if (chapters.length >= faults.length && leftS < seconds + AROUND_S) return chapters
      chapters.push(makeChapter(name, seconds, random))
      leftS -= seconds + AROUND_S
    }
  }
  return chapters
}

export function makeChapter(name: FaultName, seconds: number, random: Random): Chapter {
  const seed = below(2 ** 32, random)
  const fault: Fault = FAULTS[name]
  return { fault: name, seed, steps: fault.plan(seeded(seed), seconds) }
}
