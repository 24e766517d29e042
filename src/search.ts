/**
 * Search: posting lists, ranked in code. A batch asks for the posting lists of
 * all its searches as one statement, equal ones once, each straight off an
 * index; ranks them; and fetches the items that are on some page as a second
 * one. The database never sorts or groups, whatever is searched for.
 */

import { ANY_KEYWORD, type ItemsById, itemsById } from './catalogue.ts'
import type { Lane, Value } from './db.ts'
import type { Handlers } from './handlers.ts'
import type { Item, Params, Result } from './operations.ts'

type Search = Params<'buyer', 'search_items'>
type Page = Result<'buyer', 'search_items'>

/** How many items of each keyword a search of several keywords ranks, newest first. */
const RANKED = 2_000

export const buyerSearch: Handlers<'buyer', 'search_items'> = {
  search_items: {
    reads: 'product',
    cap: 50,
    inFlight: 2,
    async ask(lane, calls) {
      const searches = calls.map(({ params }) => params)
      const postings = await askPostings(lane, searches.flatMap(postingListsOf))
      const hits = searches.map((search) =>
        rank(
          search,
          postingListsOf(search).map((list) => postings.get(keyOf(list)) ?? []),
        ),
      )
      const items = await itemsById(
        lane,
        hits.flatMap((best) => best.map(({ itemId }) => itemId)),
        'on sale',
      )
      return searches.map((search, index) => ({ ok: pageOf(search, hits[index] ?? [], items) }))
    },
  },
}

/** The newest `depth` items on sale under a keyword, below an id if one is given; ids descend. */
interface PostingList {
  category: number
  keyword: string
  belowId: number | undefined
  depth: number
}

export interface Hit {
  itemId: number
  /** How many of the keywords it has. */
  matches: number
}

/** One keyword: just the page, and one more to know whether there is another. Several: all that are ranked. */
function postingListsOf({ category, keywords, limit, cursor }: Search): PostingList[] {
  if (keywords.length > 1) return keywords.map((keyword) => ({ category, keyword, belowId: undefined, depth: RANKED }))
  const [keyword = ANY_KEYWORD] = keywords
  return [{ category, keyword, belowId: cursor === undefined ? undefined : hitOf(cursor).itemId, depth: limit + 1 }]
}

async function askPostings(lane: Lane, lists: readonly PostingList[]): Promise<ReadonlyMap<string, readonly number[]>> {
  const distinct = new Map(lists.map((list) => [keyOf(list), list]))
  const postings = [...distinct.keys()].map((key): [string, number[]] => [key, []])
  const selects = [...distinct.values()].map(
    ({ belowId }, number) =>
      `(SELECT ${number}, item_id FROM item_keyword WHERE category = ? AND keyword = ?` +
      `${belowId === undefined ? '' : ' AND item_id < ?'} ORDER BY item_id DESC LIMIT ?)`,
  )
  const values = [...distinct.values()].flatMap(({ category, keyword, belowId, depth }): Value[] =>
    belowId === undefined ? [category, keyword, depth] : [category, keyword, belowId, depth],
  )
  for (const [number, itemId] of await lane.rows<[number, number]>(selects.join(' UNION ALL '), values)) {
    postings[number]?.[1].push(itemId)
  }
  return new Map(postings)
}

/** The best hits behind the cursor, and one more than the page holds: more matching keywords first, then the newer. */
export function rank(
  { limit, cursor }: Pick<Search, 'limit' | 'cursor'>,
  lists: readonly (readonly number[])[],
): Hit[] {
  const matches = new Map<number, number>()
  for (const list of lists) for (const itemId of list) matches.set(itemId, (matches.get(itemId) ?? 0) + 1)
  const hits = [...matches].map(([itemId, matches]) => ({ itemId, matches }))
  const last = cursor === undefined ? undefined : hitOf(cursor)
  const behind = last === undefined ? hits : hits.filter((hit) => bestFirst(last, hit) < 0)
  return behind.sort(bestFirst).slice(0, limit + 1)
}

function bestFirst(a: Hit, b: Hit): number {
  return b.matches - a.matches || b.itemId - a.itemId
}

/** An item that was sold out since its posting was read is left out; the cursor stands on hits, so no other is lost. */
function pageOf({ limit }: Search, hits: readonly Hit[], byId: ItemsById): Page {
  const shown = hits.slice(0, limit)
  const items = shown.map(({ itemId }) => byId.get(itemId)).filter((item): item is Item => item !== undefined)
  const last = shown.at(-1)
  return hits.length <= limit || last === undefined ? { items } : { items, next_cursor: cursorOf(last) }
}

function cursorOf({ matches, itemId }: Hit): string {
  return `${matches}-${itemId}`
}

function hitOf(cursor: string): Hit {
  const [matches = 0, itemId = 0] = cursor.split('-').map(Number)
  return { matches, itemId }
}

function keyOf({ category, keyword, belowId, depth }: PostingList): string {
  return JSON.stringify([category, keyword, belowId, depth])
}
