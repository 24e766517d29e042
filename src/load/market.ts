/** The second part of the study: what goes on in a marketplace, on all systems that have one. */

import type { Progress } from './progress.ts'
import type { Market } from './record.ts'
import type { Load } from './scenarios.ts'
import { SALE_STOCK, SALES, SHARES } from './shopping.ts'
import { measure, type Profile, type StudyOptions } from './study.ts'

const MARKET = { systems: ['souk', 'queue-off', 'threads', 'pinned'], warmUp: { windowS: 0.4, windows: 6 } } as const

export const MARKET_PROFILES = {
  quick: {
    ...MARKET,
    ...loadsOf([1, 10, 100], 200),
    name: 'quick',
    runs: 3,
    until: { seconds: 1.2 },
    pools: [8, 16, 32, 64],
    sweepS: 0.5,
  },
  full: {
    ...MARKET,
    ...loadsOf([1, 10, 100], 200),
    name: 'full',
    runs: 10,
    until: { seconds: 5 },
    pools: [8, 16, 32, 64, 100],
    sweepS: 1.5,
  },
  tiny: {
    ...MARKET,
    ...loadsOf([1, 2, 3], 4),
    name: 'tiny',
    runs: 2,
    until: { calls: 30 },
    pools: [2, 4],
    sweepS: 0.05,
  },
} satisfies Record<string, Profile>

/** Rejects with the first wrong reply of any run, and with the first thing that its auditor finds amiss. */
export function runMarket(options: StudyOptions, progress: Progress): Promise<Market> {
  return measure(options, progress, async () => {
    return { kind: 'market', shares: SHARES, sales: SALES, saleStock: SALE_STOCK } as const
  })
}

/** The sales of one item and of all items take turns with each other, for they are compared. */
function loadsOf(mixed: readonly number[], buyers: number): Pick<Profile, 'loads' | 'rehearsals'> {
  const mixes = mixed.map((clients): Load => ({ experiment: 'mixed', clients }))
  const flash: Load = { experiment: 'flash-sale', clients: buyers }
  const hot: Load = { experiment: 'hot-item', clients: buyers }
  const wide: Load = { experiment: 'wide-sale', clients: buyers }
  return {
    loads: [...mixes.map((mix) => [mix]), [flash], [hot, wide]],
    rehearsals: [...mixes.slice(-1), flash, hot, wide],
  }
}
