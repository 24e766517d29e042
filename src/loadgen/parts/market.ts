/** The second part of the study: a marketplace under load, on all systems that have one. */

import { SALE_STOCK, SALES, SHARES } from '../behaviours.ts'
import type { MarketRecord } from '../record.ts'
import type { Load } from '../scenarios.ts'
import { type Profile, type ProfileName, runStudy, type StudyOptions } from '../study.ts'
import { measureScale, type ScaleProfile } from './scale.ts'

const COMMON = {
  systems: ['souk', 'queue-off', 'threads', 'pinned'],
  warmUp: { windowS: 0.3, windows: 4 },
} as const

const SCALE = {
  items: 1_000_000,
  searchers: [1, 10, 100],
  listings: [10, 100, 1_000, 7_000],
  others: 50,
}

export const MARKET_PROFILES = {
  /** About a second a run: minutes in all. */
  quick: {
    ...COMMON,
    ...createLoads([1, 10, 100], 200),
    name: 'quick',
    runs: 3,
    until: { seconds: 1 },
    pools: [8, 16, 32, 64],
    sweepS: 0.5,
    scale: { ...SCALE, runs: 3, until: { seconds: 1 }, listed: 15 },
  },
  full: {
    ...COMMON,
    ...createLoads([1, 10, 100], 200),
    name: 'full',
    runs: 10,
    until: { seconds: 5 },
    pools: [8, 16, 32, 64, 100],
    sweepS: 1.5,
    scale: { ...SCALE, runs: 10, until: { seconds: 3 }, listed: 50 },
  },
  /** Just large enough for every step of the study to happen. */
  tiny: {
    ...COMMON,
    ...createLoads([1, 3], 4),
    name: 'tiny',
    runs: 2,
    until: { calls: 20 },
    pools: [4],
    sweepS: 0.05,
    warmUp: { windowS: 0.05, windows: 1 },
    scale: {
      items: 20_000,
      searchers: [1, 3],
      listings: [10, 20, 700],
      listed: 3,
      others: 2,
      runs: 2,
      until: { calls: 20 },
    },
  },
} satisfies Record<ProfileName, MarketProfile>

export interface MarketProfile extends Profile {
  scale: ScaleProfile
}

/** Rejects with the first wrong reply or violation of any run. */
export function runMarket(options: StudyOptions & { profile: MarketProfile }): Promise<MarketRecord> {
  const { profile, seed, progress } = options
  return runStudy(options, async (bench) => {
    const scale = await measureScale(bench, profile.scale, seed, progress)
    return { kind: 'market' as const, shares: SHARES, sales: SALES, saleStock: SALE_STOCK, scale }
  })
}

/** The sales of one item and of all items are one group, whose runs take turns: they are compared with each other. */
function createLoads(mixedClients: readonly number[], buyers: number): Pick<Profile, 'loads' | 'rehearsals'> {
  const mixes = mixedClients.map((clients): Load => ({ scenario: 'mixed', clients }))
  const flash: Load = { scenario: 'flash-sale', clients: buyers }
  const hot: Load = { scenario: 'hot-item', clients: buyers }
  const wide: Load = { scenario: 'wide-sale', clients: buyers }
  return {
    loads: [...mixes.map((mix) => [mix]), [flash], [hot, wide]],
    rehearsals: [...mixes.slice(-1), flash, hot, wide],
  }
}
