/** Every scenario by its name: what the clients of each role do, and how much stock there is. */

import { ROLES, type Role } from '../contract/operations.ts'
import { browsing, buyingIn, SALE_STOCK, type SaleName, selling } from './behaviours.ts'
import { callingInTurn, OPERATIONS, type Planner } from './calls.ts'
import type { PickSearch } from './catalogue.ts'
import type { Behaviours } from './fleet.ts'

/** The original's: one operation each, or all four. */
export const OPERATION_SCENARIOS = [...OPERATIONS, 'all'] as const
/** A whole marketplace: clients act on the replies they get. */
export const MARKET_SCENARIOS = ['mixed', 'flash-sale', 'hot-item', 'wide-sale'] as const
export const SCENARIO_NAMES = [...OPERATION_SCENARIOS, ...MARKET_SCENARIOS] as const
export type ScenarioName = (typeof SCENARIO_NAMES)[number]

export interface Scenario {
  behaviours: Behaviours
  /** Units of each item on sale at the start; undefined: the catalogue's. */
  stock?: number
}

/** A scenario, and the number of clients of each of its roles. */
export interface Load {
  scenario: ScenarioName
  clients: number
}

export function isMarketScenario(name: ScenarioName): boolean {
  return MARKET_SCENARIOS.includes(name as (typeof MARKET_SCENARIOS)[number])
}

/** The roles that a scenario's clients have. */
export function rolesIn(name: ScenarioName): readonly Role[] {
  if (name === 'all' || name === 'mixed') return ROLES
  return name === 'display_items_for_sale' || name === 'register_item_for_sale' ? ['seller'] : ['buyer']
}

/** Accounts of each role that these loads need, at least one: a bench tries each operation once. */
export function accountsFor(loads: readonly Load[]): Record<Role, number> {
  const most = (role: Role) =>
    Math.max(1, ...loads.map(({ scenario, clients }) => (rolesIn(scenario).includes(role) ? clients : 0)))
  return { seller: most('seller'), buyer: most('buyer') }
}

export function createScenarios(
  planners: readonly Planner[],
  pickSearch: PickSearch,
): Readonly<Record<ScenarioName, Scenario>> {
  const single = OPERATIONS.map((name) => [name, calling(planners.filter(({ operation }) => operation === name))])
  return {
    ...(Object.fromEntries(single) as Record<(typeof OPERATIONS)[number], Scenario>),
    all: calling(planners),
    mixed: { behaviours: { buyer: browsing(pickSearch), seller: selling } },
    'flash-sale': sale('flash-sale'),
    'hot-item': sale('hot-item'),
    'wide-sale': sale('wide-sale'),
  }
}

/** Each role calls its own operations in turn; a role without any has no clients. */
function calling(planners: readonly Planner[]): Scenario {
  const byRole = ROLES.map((role) => [role, planners.filter((planner) => planner.role === role)] as const)
  const used = byRole.filter(([, own]) => own.length > 0)
  return { behaviours: Object.fromEntries(used.map(([role, own]) => [role, callingInTurn(own)])) }
}

function sale(name: SaleName): Scenario {
  return { behaviours: { buyer: buyingIn(name) }, stock: SALE_STOCK }
}
