/**
 * The catalogue that is measured on, and the operations that are measured one
 * by one: what their clients ask, and which replies are right. Everything
 * follows from a seed and from the numbers below, which the report states.
 * A reply is right when it is the one that this catalogue must give, not
 * merely when it is no error.
 */

import type { Item, Role } from '../contract/operations.ts'
import type { Behaviour } from './fleet.ts'

export const CATALOGUE = {
  sellers: 1_000,
  itemsPerSeller: 10,
  categories: 10,
  keywordsPerCategory: 50,
  keywordsPerItem: 2,
} as const
export const ITEMS = CATALOGUE.sellers * CATALOGUE.itemsPerSeller

export const SEARCH = {
  /** Distinct searches of 1, 2 and 3 keywords. */
  distinct: [500, 6_000, 3_500],
  /** Share of the calls that are searches of 1, 2 and 3 keywords. */
  shares: [0.6, 0.3, 0.1],
  /** Popularity within each class: the n-th most popular is asked proportionally to n^-zipf. */
  zipf: 1,
  results: 20,
  /** By the contract a search of several keywords ranks the newest so many items of each. */
  ranked: 2_000,
} as const

/** Items registered during a run stand in categories that nobody searches, so that they don't change what a search costs. */
const REGISTERED_CATEGORY = 1_000

export const OPERATIONS = [
  'get_seller_rating',
  'search_items',
  'display_items_for_sale',
  'register_item_for_sale',
] as const
export type OperationName = (typeof OPERATIONS)[number]

/** One call: the parameters beside the session, and whether a result is the right one. */
export interface PlannedCall {
  params: object
  isRight(result: unknown): boolean
}

/** How an operation is called. `accountId` is the caller's own. */
export interface Planner {
  operation: OperationName
  role: Role
  plan(random: Random, accountId: number): PlannedCall
}

/** Uniform in [0, 1). */
export type Random = () => number

/** Mulberry32, by Tommy Ettinger: a small generator that gives the same numbers for the same seed everywhere. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

export type CatalogueItem = ReturnType<typeof catalogueItem>

/**
 * The catalogue's items, ids from 1. Every keyword of a category has at least
 * 20 of them. Of a larger catalogue there are as many sellers, categories and
 * keywords, so each has more items.
 */
export function* catalogueItems(count = ITEMS): Generator<CatalogueItem> {
  for (let index = 0; index < count; index += 1) yield catalogueItem(index)
}

/** A seller's items of the catalogue. */
export function itemsOfSeller(sellerId: number) {
  const { sellers, itemsPerSeller } = CATALOGUE
  return Array.from({ length: itemsPerSeller }, (_, nth) => catalogueItem(nth * sellers + sellerId - 1))
}

function catalogueItem(index: number) {
  const { sellers, categories, keywordsPerCategory: keywords } = CATALOGUE
  const category = index % categories
  const nth = Math.floor(index / categories)
  const first = nth % keywords
  const second = (first + 1 + (Math.floor(nth / keywords) % (keywords - 1))) % keywords
  return {
    id: index + 1,
    sellerId: (index % sellers) + 1,
    name: `Item ${index + 1}`,
    category,
    keywords: [keywordName(first), keywordName(second)],
    condition: index % 3 === 0 ? ('used' as const) : ('new' as const),
    priceCents: 100 + ((index * 7_919) % 100_000),
    quantity: 1 + (index % 50),
  }
}

export function scoreOf(sellerId: number) {
  return { thumbs_up: (sellerId * 7) % 1_000, thumbs_down: (sellerId * 3) % 100, items_sold: (sellerId * 11) % 5_000 }
}

/** Draws a search. */
export type Searches = (random: Random) => KnownSearch

export function createPlanners(pickSearch: Searches): Planner[] {
  const pickSeller = (random: Random) => 1 + Math.floor(random() * CATALOGUE.sellers)
  return [
    { operation: 'get_seller_rating', role: 'buyer', plan: (random) => planRating(pickSeller(random)) },
    { operation: 'search_items', role: 'buyer', plan: (random) => planSearch(pickSearch(random)) },
    { operation: 'display_items_for_sale', role: 'seller', plan: (_random, accountId) => planListing(accountId) },
    { operation: 'register_item_for_sale', role: 'seller', plan: (random) => planRegistration(random) },
  ]
}

/** A client that remembers nothing: its calls take turns among these operations of one role. */
export function takingTurns(planners: readonly Planner[]): Behaviour<Role> {
  return async (client) => {
    for (let turn = 0; client.more(); turn += 1) {
      const { operation, plan } = planners[turn % planners.length] as Planner
      const { params, isRight } = plan(client.random, client.accountId)
      await client.call(operation as 'whoami', params, isRight) // planned for its role, which the type can't say
    }
  }
}

export interface Search {
  category: number
  keywords: string[]
}

/** A search, and the items it must find, best first, while all items are on sale. */
export interface KnownSearch {
  search: Search
  itemIds: readonly number[]
}

function planRating(sellerId: number): PlannedCall {
  return {
    params: { seller_id: sellerId },
    isRight(result) {
      const score = scoreOf(sellerId)
      const { thumbs_up, thumbs_down, items_sold } = result as typeof score
      return thumbs_up === score.thumbs_up && thumbs_down === score.thumbs_down && items_sold === score.items_sold
    },
  }
}

function planSearch({ search, itemIds }: KnownSearch): PlannedCall {
  return {
    params: search,
    isRight(result) {
      const { items } = result as { items: Item[] }
      return items.length === SEARCH.results && items.every((item, index) => item.item_id === itemIds[index])
    },
  }
}

/** The seller's own, each once: which are the newest changes while the seller registers more. */
function planListing(accountId: number): PlannedCall {
  return {
    params: { limit: CATALOGUE.itemsPerSeller },
    isRight(result) {
      const { items } = result as { items: Item[] }
      const isNext = (item: Item, index: number) =>
        item.seller_id === accountId && (index === 0 || item.item_id < (items[index - 1] as Item).item_id)
      return items.length === CATALOGUE.itemsPerSeller && items.every(isNext)
    },
  }
}

function planRegistration(random: Random): PlannedCall {
  const params = newItem(random)
  return { params, isRight: (result) => Number((result as { item_id: number }).item_id) > ITEMS }
}

/** An item to register. */
export function newItem(random: Random) {
  const { categories, keywordsPerCategory } = CATALOGUE
  const first = Math.floor(random() * keywordsPerCategory)
  return {
    name: 'Registered item',
    category: REGISTERED_CATEGORY + Math.floor(random() * categories),
    keywords: [keywordName(first), keywordName((first + 1) % keywordsPerCategory)],
    condition: 'new' as const,
    price_cents: Math.floor(random() * 100_000),
    quantity: 1 + Math.floor(random() * 50),
  }
}

/** Draws from the distinct searches of a seed, as popular as SEARCH says, in a catalogue of so many items. */
export function createSearches(seed: number, catalogueSize = ITEMS): Searches {
  const random = seeded(seed)
  const answerOf = answers(catalogueSize)
  const classes = SEARCH.distinct.map((count, index) => ({
    searches: distinctSearches(count, index + 1, random).map((search) => ({ search, itemIds: answerOf(search) })),
    rank: zipf(count, SEARCH.zipf),
  }))
  const [one, two] = SEARCH.shares
  return (random) => {
    const share = random()
    const chosen = classes[share < one ? 0 : share < one + two ? 1 : 2] as (typeof classes)[number]
    return chosen.searches[chosen.rank(random)] as KnownSearch
  }
}

function distinctSearches(count: number, keywordCount: number, random: Random): Search[] {
  const { categories, keywordsPerCategory } = CATALOGUE
  const found = new Map<string, Search>()
  while (found.size < count) {
    const category = Math.floor(random() * categories)
    const keywords = new Set<string>()
    while (keywords.size < keywordCount) keywords.add(keywordName(Math.floor(random() * keywordsPerCategory)))
    const search = { category, keywords: [...keywords].sort() }
    found.set(JSON.stringify(search), search)
  }
  return [...found.values()]
}

/** What searches must find, worked out from the catalogue by the contract's rule, not by the server's code. */
function answers(catalogueSize: number): (search: Search) => readonly number[] {
  const newest = newestOfKeywords(catalogueSize)
  const matches = new Uint8Array(catalogueSize + 1) // by item id, of one search
  return ({ category, keywords }) => {
    const lists = keywords.map((keyword) => newest.get(`${category} ${keyword}`) ?? [])
    for (const list of lists) for (const id of list) matches[id] = (matches[id] as number) + 1
    const best: number[] = []
    for (let count = keywords.length; count > 0 && best.length < SEARCH.results; count -= 1) {
      const equals = lists.flatMap((list) => list.filter((id) => matches[id] === count))
      best.push(...[...new Set(equals)].sort((a, b) => b - a))
    }
    for (const list of lists) for (const id of list) matches[id] = 0
    return best.slice(0, SEARCH.results)
  }
}

/** The items that searches rank, of each keyword of each category, newest first. */
function newestOfKeywords(catalogueSize: number): ReadonlyMap<string, readonly number[]> {
  const newest = new Map<string, number[]>()
  for (let index = catalogueSize - 1; index >= 0; index -= 1) {
    const { id, category, keywords } = catalogueItem(index)
    for (const keyword of keywords) {
      const name = `${category} ${keyword}`
      const ids = newest.get(name) ?? []
      if (ids.length < SEARCH.ranked) ids.push(id)
      newest.set(name, ids)
    }
  }
  return newest
}

/** A draw of ranks 0 to count - 1 under Zipf's law, by inverting its cumulative distribution. */
function zipf(count: number, exponent: number): (random: Random) => number {
  const cumulative = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank += 1) cumulative[rank] = sum += (rank + 1) ** -exponent
  return (random) => {
    const drawn = random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((cumulative[middle] as number) <= drawn) low = middle + 1
      else high = middle
    }
    return low
  }
}

function keywordName(index: number): string {
  return `word${String(index).padStart(2, '0')}`
}
