/** Every scenario by its name: what the clients of each role do, and on how large a stock. */

import { ROLES, type Role } from '../contract/operations.ts'
import { browsing, buyingIn, SALE_STOCK, type SaleName, selling } from './behaviours.ts'
import type { Behaviours, Extent } from './fleet.ts'
import { OPERATIONS, type Planner, type Searches, takingTurns } from './workload.ts'

/** One operation each, or all four of them. */
export const CALLING = [...OPERATIONS, 'all'] as const
/** What goes on in a marketplace: clients act on what they were told. */
export const SHOPPING = ['mixed', 'flash-sale', 'hot-item', 'wide-sale'] as const
export const SCENARIOS = [...CALLING, ...SHOPPING] as const
export type ScenarioName = (typeof SCENARIOS)[number]

/** A scenario, and how many clients there are of each of its roles. */
export interface Load {
  experiment: ScenarioName
  clients: number
}

export interface Scenario extends Extent {
  name: ScenarioName
  /** Units of each item on sale at the start; unless given, as many as the scenario has. */
  stock?: number | undefined
}

/** What a scenario is, however large. */
export interface Play {
  behaviours: Behaviours
  /** Units of each item on sale at the start; undefined: as the catalogue has it. */
  stock?: number
}

export function isShopping(name: ScenarioName): boolean {
  return SHOPPING.includes(name as (typeof SHOPPING)[number])
}

/** The roles that a scenario's clients have. */
export function rolesOf(name: ScenarioName): readonly Role[] {
  if (name === 'all' || name === 'mixed') return ROLES
  return name === 'display_items_for_sale' || name === 'register_item_for_sale' ? ['seller'] : ['buyer']
}

/** Accounts of each role that such loads need; one at least, for whoever tries something out. */
export function accountsFor(loads: readonly Load[]): Record<Role, number> {
  const most = (role: Role) =>
    Math.max(1, ...loads.map(({ experiment, clients }) => (rolesOf(experiment).includes(role) ? clients : 0)))
  return { seller: most('seller'), buyer: most('buyer') }
}

export function createPlays(planners: readonly Planner[], pickSearch: Searches): Readonly<Record<ScenarioName, Play>> {
  const single = OPERATIONS.map((name) => [name, calling(planners.filter(({ operation }) => operation === name))])
  return {
    ...(Object.fromEntries(single) as Record<(typeof OPERATIONS)[number], Play>),
    all: calling(planners),
    mixed: { behaviours: { buyer: browsing(pickSearch), seller: selling } },
    'flash-sale': sale('flash-sale'),
    'hot-item': sale('hot-item'),
    'wide-sale': sale('wide-sale'),
  }
}

function calling(planners: readonly Planner[]): Play {
  const theirs = ROLES.map((role) => [role, planners.filter((planner) => planner.role === role)] as const)
  const busy = theirs.filter(([, some]) => some.length > 0)
  return { behaviours: Object.fromEntries(busy.map(([role, some]) => [role, takingTurns(some)])) }
}

function sale(name: SaleName): Play {
  return { behaviours: { buyer: buyingIn(name) }, stock: SALE_STOCK }
}
