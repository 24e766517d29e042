/** What a fault is: an entry of the table in faults.ts; and what its judges count in the log. */

import { below, type Random } from '../../src/loadgen/random.ts'
import type { SomeSettings } from '../support/marketplace.ts'
import { TEMPORARY } from './client.ts'
import type { CallEntry, Entry, RequestEntry } from './log.ts'
import type { Stage } from './stage.ts'

/** One injection of a fault, as plain data: the calm before it, and its parameters. */
export type Step = Readonly<{ calmMs: number } & Record<string, number | string>>

/** What a fault must show beyond the invariants, with the figure. */
export interface Bound {
  what: string
  figure: string
  holds: boolean
}

export interface Fault {
  about: string
  /** Length of a usual chapter. */
  seconds: number
  /** Trading clients beside it, and the longest pause of each between two calls. */
  load: { sellers: number; buyers: number; pauseMs: number }
  settings?: SomeSettings
  /** The servers reach the product database through `stage.link`. */
  throughLink?: true
  /** The database lies on a small disk of its own. */
  onSmallDisk?: true
  /** What this machine lacks, if anything. */
  lacks?: () => string | undefined
  /** The steps of a chapter of about so many seconds. Pure. */
  plan(random: Random, seconds: number): Step[]
  /** Carries the steps out, under load. Resolves to the bounds that it measured. */
  run(stage: Stage, steps: readonly Step[]): Promise<Bound[]>
  /** Bounds on what the clients logged. */
  judge?(entries: readonly Entry[]): Bound[]
}

/** A run of clients against a marketplace of its own, which it judges itself. */
export type Trial = (options: { seed: number; seconds: number; clients: number }) => Promise<{
  /** What it has to show and does not. */
  problems: readonly string[]
  figures: Readonly<Record<string, number>>
}>

/** The limits on time that a trial waits for are about 10 s. */
const LEAST_TRIAL_S = 20

/** A fault that is a trial, with so many clients in a usual chapter. The stage stands beside it, without load. */
export function fromTrial(
  about: string,
  seconds: number,
  clients: { count: number; called: string },
  trial: Trial,
): Fault {
  return {
    about,
    seconds,
    load: { sellers: 0, buyers: 0, pauseMs: 0 },
    plan(random, length) {
      const lengthS = Math.max(LEAST_TRIAL_S, length)
      const count = Math.ceil((clients.count * lengthS) / seconds)
      return [{ calmMs: 0, seed: below(2 ** 32, random), seconds: lengthS, clients: count }]
    },
    async run(stage, steps) {
      const bounds: Bound[] = []
      for (const step of steps) {
        stage.signal.throwIfAborted()
        const options = { seed: Number(step.seed), seconds: Number(step.seconds), clients: Number(step.clients) }
        const { problems, figures } = await trial(options)
        stage.count(clients.called, options.clients)
        const shown = Object.entries(figures).map(([name, figure]) => `${name} ${Math.round(figure)}`)
        const figure = [...problems, ...shown].join(', ')
        bounds.push({
          what: 'the others are served, and what is held for these is bounded',
          figure,
          holds: problems.length === 0,
        })
      }
      return bounds
    },
  }
}

export const NORMAL_LOAD = { sellers: 4, buyers: 16, pauseMs: 40 }
export const LIGHT_LOAD = { sellers: 1, buyers: 2, pauseMs: 100 }

/** Draws steps until they fill the seconds; at least one. `takesMs` is what a step takes, with its calm. */
export function drawSteps(seconds: number, draw: (number: number) => Step, takesMs: (step: Step) => number): Step[] {
  const steps: Step[] = []
  for (let leftMs = seconds * 1_000; steps.length === 0 || leftMs > 0; ) {
    const step = draw(steps.length)
    leftMs -= takesMs(step)
    if (steps.length === 0 || leftMs >= 0) steps.push(step)
  }
  return steps
}

export async function eachStep(
  stage: Stage,
  steps: readonly Step[],
  inject: (step: Step) => Promise<void>,
): Promise<void> {
  for (const step of steps) {
    await stage.pause(step.calmMs)
    await inject(step)
  }
}

/** A bound on the longest of some times. */
export function atMostMs(what: string, timesMs: readonly number[], mostMs: number): Bound {
  const longestMs = Math.max(0, ...timesMs)
  return {
    what: `${what}: at most ${mostMs} ms`,
    figure: `${Math.round(longestMs)} ms of ${timesMs.length}`,
    holds: longestMs <= mostMs,
  }
}

export function atLeast(what: string, share: number, least: number): Bound {
  const percent = (part: number) => `${(part * 100).toFixed(2)} %`
  return { what: `${what}: at least ${percent(least)}`, figure: percent(share), holds: share >= least }
}

/** The times from each request on a bare connection to its reply; to its end, if none came. */
export function replyTimesMs(entries: readonly Entry[]): number[] {
  const requests = new Map<string, RequestEntry>()
  const waiting = new Map<string, Set<RequestEntry>>()
  const times: number[] = []
  for (const entry of entries) {
    if (entry.kind === 'call') continue
    const open = waiting.get(entry.connection) ?? new Set()
    waiting.set(entry.connection, open)
    if (entry.kind === 'request') {
      requests.set(`${entry.connection}/${entry.id}`, entry)
      open.add(entry)
    }
    if (entry.kind === 'reply') {
      const request = requests.get(`${entry.connection}/${entry.id}`)
      if (request !== undefined && open.delete(request)) times.push(entry.atMs - request.atMs)
    }
    if (entry.kind === 'end') for (const request of open) times.push(entry.atMs - request.atMs)
  }
  return times
}

/** The share of the calls of the load that were settled for good, in one of their attempts. */
export function shareSettled(entries: readonly Entry[]): number {
  const calls = entries.filter((entry): entry is CallEntry => entry.kind === 'call' && entry.purpose === 'load')
  return calls.filter(isSettled).length / Math.max(1, calls.length)
}

export function isSettled({ result, refused }: CallEntry): boolean {
  return result !== undefined || (refused !== undefined && !TEMPORARY.includes(refused.code))
}

/** How often each code of a temporary refusal, or of an error, was replied. */
export function troubleCodes(entries: readonly Entry[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const entry of entries) {
    if (entry.kind !== 'reply' || entry.code === undefined) continue
    if (entry.code === 'internal' || TEMPORARY.includes(entry.code)) counts[entry.code] = (counts[entry.code] ?? 0) + 1
  }
  return counts
}

export function formatCounts(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
  return parts.join(', ') || 'none'
}
