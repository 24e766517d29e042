/**
 * The operations that are measured one by one: the parameters of each call, and
 * its right result. It is not enough that a result is no error: it must be the
 * one that follows from the catalogue.
 */

import type { Item, Result, Role } from '../contract/operations.ts'
import {
  CATALOGUE,
  ITEMS,
  type KnownSearch,
  newItem,
  type PickSearch,
  SEARCH,
  sellerName,
  sellerScore,
} from './catalogue.ts'
import type { Behaviour } from './fleet.ts'
import { below, type Random } from './random.ts'

export const OPERATIONS = [
  'get_seller_rating',
  'search_items',
  'display_items_for_sale',
  'register_item_for_sale',
] as const
export type OperationName = (typeof OPERATIONS)[number]

/** One call: its parameters without the session, and whether a result is right. */
export interface PlannedCall {
  params: object
  isRight(result: unknown): boolean
}

/** Plans the calls of one operation. `accountId` is the caller's. */
export interface Planner {
  operation: OperationName
  role: Role
  plan(random: Random, accountId: number): PlannedCall
}

export function createPlanners(pickSearch: PickSearch): Planner[] {
  const pickSeller = (random: Random) => 1 + below(CATALOGUE.sellers, random)
  return [
    { operation: 'get_seller_rating', role: 'buyer', plan: (random) => planRating(pickSeller(random)) },
    { operation: 'search_items', role: 'buyer', plan: (random) => planSearch(pickSearch(random)) },
    { operation: 'display_items_for_sale', role: 'seller', plan: (_random, accountId) => planListing(accountId) },
    { operation: 'register_item_for_sale', role: 'seller', plan: (random) => planRegistration(random) },
  ]
}

/** A client without memory calls these operations, all of its own role, in turn, again and again. */
export function callingInTurn(planners: readonly Planner[]): Behaviour<Role> {
  return async (client) => {
    for (let turn = 0; client.more(); turn += 1) {
      const { operation, plan } = planners[turn % planners.length] as Planner
      const { params, isRight } = plan(client.random, client.accountId)
      await client.call(operation as 'whoami', params, isRight) // planned for its role, which the type can't say
    }
  }
}

/** Whether all items are this seller's, newest first, none twice: true of every right listing. */
export function isListing(items: readonly Item[], sellerId: number): boolean {
  return items.every(
    (item, index) =>
      item.seller_id === sellerId &&
      isSellerNamed(item) &&
      (index === 0 || item.item_id < (items[index - 1] as Item).item_id),
  )
}

/** Whether the item has its seller's name. */
export function isSellerNamed({ seller_id, seller_name }: Item): boolean {
  return seller_name === sellerName(seller_id)
}

function planRating(sellerId: number): PlannedCall {
  return {
    params: { seller_id: sellerId },
    isRight(result) {
      const score = sellerScore(sellerId)
      const { seller_name, thumbs_up, thumbs_down, items_sold } = result as Result<'buyer', 'get_seller_rating'>
      const isSameScore =
        thumbs_up === score.thumbs_up && thumbs_down === score.thumbs_down && items_sold === score.items_sold
      return isSameScore && seller_name === sellerName(sellerId)
    },
  }
}

function planSearch({ search, itemIds }: KnownSearch): PlannedCall {
  return {
    params: search,
    isRight(result) {
      const { items } = result as { items: Item[] }
      const isRightItem = (item: Item, index: number) => item.item_id === itemIds[index] && isSellerNamed(item)
      return items.length === SEARCH.results && items.every(isRightItem)
    },
  }
}

/** The items must be the seller's; which of them are the newest changes while the seller registers more. */
function planListing(accountId: number): PlannedCall {
  return {
    params: { limit: CATALOGUE.itemsPerSeller },
    isRight(result) {
      const { items } = result as { items: Item[] }
      return items.length === CATALOGUE.itemsPerSeller && isListing(items, accountId)
    },
  }
}

function planRegistration(random: Random): PlannedCall {
  const params = newItem(random)
  return { params, isRight: (result) => Number((result as { item_id: number }).item_id) > ITEMS }
}
