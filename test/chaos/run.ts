/** Runs a chapter of a chaos run: the stage, the load, the fault, and then the checker. */

import { setTimeout as sleep } from 'node:timers/promises'
import { readSnapshot } from '../../src/loadgen/audit.ts'
import { DEFAULT_LIMITS } from '../../src/server/limits.ts'
import { check, type Evidence, type Violations } from './checker.ts'
import type { Bound, Fault } from './fault.ts'
import { makeSmallDisk } from './faults/disk.ts'
import { FAULTS, type FaultName } from './faults.ts'
import { PASSWORD_CANARY } from './load.ts'
import type { Entry } from './log.ts'
import type { Chapter } from './plan.ts'
import { type Resources, Stage } from './stage.ts'

export interface ChapterResult {
  fault: FaultName
  seed: number
  seconds: number
  counts: Readonly<Record<string, number>>
  bounds: readonly Bound[]
  violations: Violations
}

export const NO_UNASKED_END = 'no server ends unasked'

/** Lanes of all servers: four pools of 8 for each of two databases, and one of 1. */
const LANES = 4 * (2 * 4 * 8 + 4)
/** Of the servers' log. */
const ERRORS_SHOWN = 3
/** How long servers may take to let go of what clients left. */
const SETTLE_MS = 10_000

export async function runChapter({ fault: name, seed, steps }: Chapter, signal: AbortSignal): Promise<ChapterResult> {
  const fault: Fault = FAULTS[name]
  const beganMs = performance.now()
  const disk = fault.onSmallDisk ? makeSmallDisk() : undefined
  let stage: Stage | undefined
  try {
    stage = await Stage.open({
      seed,
      ...fault.load,
      settings: fault.settings ?? {},
      throughLink: fault.throughLink ?? false,
      ...(disk === undefined ? {} : { home: disk.home }),
      signal,
    })
    const resources = await stage.readResources()
    await stage.start()
    const bounds = await fault.run(stage, steps)
    await stage.stop()
    const evidence = await collectEvidence(stage, resources, fault.settings?.limitRequestMs)
    const { entries } = evidence
    const calls = entries.filter(({ kind }) => kind === 'call').length
    return {
      fault: name,
      seed,
      seconds: Math.round((performance.now() - beganMs) / 1_000),
      counts: { ...stage.counts, calls },
      bounds: [...bounds, ...(fault.judge?.(entries) ?? []), ...judgeServers(stage, entries)],
      violations: check(evidence),
    }
  } finally {
    await stage?.close()
    disk?.remove()
  }
}

async function collectEvidence(
  stage: Stage,
  before: Resources,
  requestMs: number = DEFAULT_LIMITS.requestMs,
): Promise<Evidence> {
  return {
    entries: stage.entries,
    before: stage.before,
    resources: { before, after: await settle(stage) },
    after: await readSnapshot(stage.marketplace.urls.product),
    accounts: await stage.readAccounts(),
    requestMs,
    lanes: LANES,
  }
}

/** What the servers hold when no client is connected any more, or when that takes too long. */
async function settle(stage: Stage): Promise<Resources> {
  const untilMs = performance.now() + SETTLE_MS
  for (;;) {
    const resources = await stage.readResources()
    if (resources.clientConnections === 0 || performance.now() > untilMs) return resources
    await sleep(100)
  }
}

/** What servers must show during every fault. */
function judgeServers({ lostServers, output }: Stage, entries: readonly Entry[]): Bound[] {
  const sessions = new Set(entries.map((entry) => (entry.kind === 'call' ? entry.session : '')))
  const secrets = [...sessions, PASSWORD_CANARY].filter((secret) => secret !== '' && output.includes(secret))
  const failed = entries.filter((entry) => entry.kind === 'call' && entry.refused?.code === 'internal')
  const withErrors = (count: number) => [count, ...(count === 0 ? [] : findErrors(output))].join('; ')
  return [
    { what: NO_UNASKED_END, figure: withErrors(lostServers.length), holds: lostServers.length === 0 },
    { what: 'no call ends as `internal`', figure: withErrors(failed.length), holds: failed.length === 0 },
    { what: 'no session and no password is in a log', figure: String(secrets.length), holds: secrets.length === 0 },
  ]
}

/** The errors in the log of servers, without their stacks, which tell where souk is installed. */
function findErrors(output: string): string[] {
  const lines = output.split('\n').filter((line) => line.includes('"level":"error"'))
  return lines.slice(0, ERRORS_SHOWN).map((line) => {
    const { err } = JSON.parse(line)
    return `${err?.type}: ${err?.message} (${err?.code} ${err?.errno})`
  })
}

/** What a chapter fails by, one sentence each. */
export function failuresOf({ bounds, violations }: ChapterResult): string[] {
  const missed = bounds.filter(({ holds }) => !holds).map(({ what, figure }) => `${what}: ${figure}`)
  const violated = Object.entries(violations).flatMap(([name, all]) => all.map((violation) => `${name}: ${violation}`))
  return [...missed, ...violated]
}
