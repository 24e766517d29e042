/** The first part of the study: the original's experiments, on all systems. */

import { OPERATIONS } from '../calls.ts'
import type { ReplicationRecord } from '../record.ts'
import { type Load, OPERATION_SCENARIOS } from '../scenarios.ts'
import { type Profile, type ProfileName, runStudy, type StudyOptions } from '../study.ts'
import { SYSTEM_NAMES } from '../systems.ts'

const COMMON = {
  systems: SYSTEM_NAMES,
  loads: createLoads([1, 10, 100]),
  rehearsals: OPERATIONS.map((scenario) => ({ scenario, clients: 100 })),
  warmUp: { windowS: 0.12, windows: 12 },
}

export const REPLICATION_PROFILES = {
  /** Runs of less than a second: minutes in all. */
  quick: { ...COMMON, name: 'quick', runs: 3, until: { seconds: 0.65 }, pools: [8, 16, 32, 64], sweepS: 0.5 },
  /** As in the original: ten runs of a thousand calls per client. */
  full: {
    ...COMMON,
    name: 'full',
    runs: 10,
    until: { calls: 1_000 },
    ungatheredUntil: { fromClients: 100, until: { calls: 100 } },
    pools: [8, 16, 32, 64, 100],
    sweepS: 1.5,
  },
  /** Just large enough for every step of a study to happen. */
  tiny: {
    ...COMMON,
    name: 'tiny',
    loads: createLoads([1, 2, 3]),
    rehearsals: OPERATIONS.map((scenario) => ({ scenario, clients: 3 })),
    runs: 2,
    until: { calls: 20 },
    pools: [2, 4],
    sweepS: 0.05,
  },
} satisfies Record<ProfileName, Profile>

/** Rejects with the first wrong reply or violation of any run. */
export function runReplication(options: StudyOptions): Promise<ReplicationRecord> {
  const clients = [...new Set(options.profile.loads.flat().map((load) => load.clients))]
  return runStudy(options, async ({ replyBytes }) => ({ replyBytes, clients }))
}

/** N clients of each operation, and N sellers and N buyers with all four. */
function createLoads(clientCounts: readonly number[]): Load[][] {
  return clientCounts.flatMap((clients) => OPERATION_SCENARIOS.map((scenario) => [{ scenario, clients }]))
}
