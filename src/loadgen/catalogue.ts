/**
 * The catalogue of all measurements, and searches in it with their right
 * results. Everything follows from a seed and from the numbers below, which the
 * reports state.
 */

import { below, type Random, seeded, zipf } from './random.ts'

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
  /** Share of searches of 1, 2 and 3 keywords. */
  shares: [0.6, 0.3, 0.1],
  /** Within each class, the n-th most popular search is drawn in proportion to n^-zipf. */
  zipf: 1,
  results: 20,
  /** By the contract, a search of several keywords ranks only this many of the newest items of each. */
  ranked: 2_000,
} as const

/** Registered items get categories that are never searched, so that they don't change the cost of a search. */
const REGISTERED_CATEGORY = 1_000

export type CatalogueItem = ReturnType<typeof catalogueItem>

/**
 * The catalogue's items, ids from 1. Every keyword of a category has at least
 * 20 items. A larger catalogue has the same sellers, categories and keywords,
 * with more items each.
 */
export function* catalogueItems(count = ITEMS): Generator<CatalogueItem> {
  for (let index = 0; index < count; index += 1) yield catalogueItem(index)
}

/** One seller's items of the catalogue. */
export function sellerItems(sellerId: number): CatalogueItem[] {
  const { sellers, itemsPerSeller } = CATALOGUE
  return Array.from({ length: itemsPerSeller }, (_, nth) => catalogueItem(nth * sellers + sellerId - 1))
}

/** A seller's name, of which the catalogue's items have a copy. */
export function sellerName(sellerId: number): string {
  return `Seller ${sellerId}`
}

/** A seller's score in the catalogue. */
export function sellerScore(sellerId: number) {
  return { thumbs_up: (sellerId * 7) % 1_000, thumbs_down: (sellerId * 3) % 100, items_sold: (sellerId * 11) % 5_000 }
}

/** An item to register during a run. */
export function newItem(random: Random) {
  const { categories, keywordsPerCategory } = CATALOGUE
  const first = below(keywordsPerCategory, random)
  return {
    name: 'Registered item',
    category: REGISTERED_CATEGORY + below(categories, random),
    keywords: [keywordName(first), keywordName((first + 1) % keywordsPerCategory)],
    condition: 'new' as const,
    price_cents: below(100_000, random),
    quantity: 1 + below(50, random),
  }
}

export interface Search {
  category: number
  keywords: string[]
}

/** A search and the items it must find, best first, while all items are on sale. */
export interface KnownSearch {
  search: Search
  itemIds: readonly number[]
}

/** Draws a search. */
export type PickSearch = (random: Random) => KnownSearch

/** Draws from the distinct searches of a seed, with the popularity that SEARCH states, in a catalogue of this size. */
export function createSearches(seed: number, catalogueSize = ITEMS): PickSearch {
  const random = seeded(seed)
  const find = createFinder(catalogueSize)
  const classes = SEARCH.distinct.map((count, index) => ({
    searches: distinctSearches(count, index + 1, random).map((search) => ({ search, itemIds: find(search) })),
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
    const category = below(categories, random)
    const keywords = new Set<string>()
    while (keywords.size < keywordCount) keywords.add(keywordName(below(keywordsPerCategory, random)))
    const search = { category, keywords: [...keywords].sort() }
    found.set(JSON.stringify(search), search)
  }
  return [...found.values()]
}

/** Finds the right results of a search: computed from the catalogue by the contract's rule, not by the server's code. */
function createFinder(catalogueSize: number): (search: Search) => readonly number[] {
  const newest = newestByKeyword(catalogueSize)
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

/** The items that searches rank, by category and keyword, newest first. */
function newestByKeyword(catalogueSize: number): ReadonlyMap<string, readonly number[]> {
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

function keywordName(index: number): string {
  return `word${String(index).padStart(2, '0')}`
}
