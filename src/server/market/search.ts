/**
 * Search: posting lists, ranked in code. A batch asks for the posting lists of
 * all its searches as one statement, equal ones once, each straight off an
 * index; ranks them; and fetches the items that are on some page as a second
 * one. The database never sorts or groups, whatever is searched for.
 *
 * A search of several keywords ranks long lists. So it first glances at the
 * newest of each: most keywords have no more, or these settle which are best.
 * A search of two looks deeper by steps: it is settled as soon as a page of
 * items with both has been found.
 */

import type { Item, Params, Result } from '../../contract/operations.ts'
import type { Lane, Value } from '../../db.ts'
import { ANY_KEYWORD, type ItemsById, itemsById } from './catalogue.ts'
import type { Handlers } from './handler.ts'

type Search = Params<'buyer', 'search_items'>
type Page = Result<'buyer', 'search_items'>

/** How many items of each keyword a search of several keywords ranks, newest first. */
const RANKED = 2_000
/** How many of them it looks at first: one more than there are on the longest page. */
const GLANCED = 101
/** How many a search of two keywords looks at next, for each item that it wants: mostly enough when every fiftieth has both. */
const LOOKED_AT_PER_ITEM = 60

export const buyerSearch: Handlers<'buyer', 'search_items'> = {
  search_items: {
    reads: 'product',
    cap: 25,
    inFlight: 2,
    async ask(lane, calls) {
      const found = await findAll(lane, calls)
      return found.map((page) => ({ ok: page }))
    },
    glance: {
      cap: 50,
      inFlight: 2,
      async ask(lane, calls) {
        const found = await find(lane, calls, () => GLANCED)
        return found.map((page) => (page === undefined ? undefined : { ok: page }))
      },
    },
  },
}

/** A page for each search, as deep as it takes. */
async function findAll(lane: Lane, calls: readonly { params: Search }[]): Promise<readonly Page[]> {
  const found = await find(lane, calls, ({ keywords, limit }) =>
    keywords.length === 2 ? Math.min(RANKED, LOOKED_AT_PER_ITEM * (limit + 1)) : RANKED,
  )
  const open = calls.filter((_, index) => found[index] === undefined)
  const rest = (open.length === 0 ? [] : await find(lane, open, () => RANKED)).values()
  return found.map((page) => page ?? (rest.next().value as Page))
}

/** A page for each search; undefined where the newest of its keywords, to this depth, don't settle what is on it. */
async function find(
  lane: Lane,
  calls: readonly { params: Search }[],
  depthOf: (search: Search) => number,
): Promise<readonly (Page | undefined)[]> {
  const searches = calls.map(({ params }) => {
    const depth = depthOf(params)
    return { search: params, depth, lists: postingListsOf(params, depth) }
  })
  const postings = await askPostings(
    lane,
    searches.flatMap(({ lists }) => lists),
  )
  const hits = searches.map(({ search, depth, lists }) => {
    const known = lists.map((list) => postings.get(keyOf(list)) ?? [])
    return rank(search, known, depth)
  })
  const items = await itemsById(
    lane,
    hits.flatMap((best = []) => best.map(({ itemId }) => itemId)),
    'on sale',
  )
  return searches.map(({ search }, index) => {
    const best = hits[index]
    return best === undefined ? undefined : pageOf(search, best, items)
  })
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

/** One keyword: just the page, and one more to know whether there is another. Several: as deep as is looked. */
function postingListsOf({ category, keywords, limit, cursor }: Search, depth: number): PostingList[] {
  if (keywords.length > 1) return keywords.map((keyword) => ({ category, keyword, belowId: undefined, depth }))
  const [keyword = ANY_KEYWORD] = keywords
  return [{ category, keyword, belowId: cursor === undefined ? undefined : hitOf(cursor).itemId, depth: limit + 1 }]
}

async function askPostings(lane: Lane, lists: readonly PostingList[]): Promise<ReadonlyMap<string, readonly number[]>> {
  const distinct = new Map(lists.map((list) => [keyOf(list), list]))
  const postings = [...distinct.keys()].map((key): [string, number[]] => [key, []])
  const selects = [...distinct.values()].map(selectOf)
  const values = [...distinct.values()].flatMap(({ category, keyword, belowId, depth }): Value[] =>
    belowId === undefined ? [category, keyword, depth] : [category, keyword, belowId, depth],
  )
  const rows = await lane.rows<[number, number | string | null]>(selects.join(' UNION ALL '), values)
  for (const [number, ids] of rows) {
    const list = postings[number] as [string, number[]]
    if (typeof ids === 'number') list[1].push(ids)
    else list[1] = unpack(ids ?? '')
  }
  return new Map(postings)
}

/** A short list comes as rows, a long one as one value: thousands of rows would keep the loop busy. */
function selectOf({ belowId, depth }: PostingList, number: number): string {
  const newest =
    'FROM item_keyword WHERE category = ? AND keyword = ?' +
    `${belowId === undefined ? '' : ' AND item_id < ?'} ORDER BY item_id DESC LIMIT ?`
  return depth <= GLANCED
    ? `(SELECT ${number}, item_id ${newest})`
    : `(SELECT ${number}, GROUP_CONCAT(item_id) FROM (SELECT item_id ${newest}) AS newest)`
}

function unpack(packed: string): number[] {
  const ids: number[] = JSON.parse(`[${packed}]`)
  return ids.sort((a, b) => b - a)
}

/**
 * The best hits behind the cursor, and one more than the page holds: more
 * matching keywords first, then the newer. Undefined if lists that were read
 * no deeper than `depth` don't settle that.
 */
export function rank(
  { limit, cursor }: Pick<Search, 'limit' | 'cursor'>,
  lists: readonly (readonly number[])[],
  depth = RANKED,
): Hit[] | undefined {
  const last = cursor === undefined ? { matches: lists.length, itemId: Number.POSITIVE_INFINITY } : hitOf(cursor)
  const hits = Array.from({ length: lists.length + 1 }, (): Hit[] => []) // by matches
  const best = hits[Math.min(last.matches, lists.length)] as Hit[]
  const settledTo = depth === RANKED ? 1 : Math.max(1, ...lists.map((list) => list[depth - 1] ?? 1))
  const merge = new Merge(lists)
  for (let matches = merge.next(); merge.itemId >= settledTo; matches = merge.next()) {
    const { itemId } = merge
    if (matches > last.matches || (matches === last.matches && itemId >= last.itemId)) continue
    const equals = hits[matches] as Hit[]
    if (equals.length <= limit) equals.push({ itemId, matches })
    if (best.length > limit) return best
  }
  if (settledTo > 1) return undefined
  const bestFirst = hits.toReversed().flat()
  return bestFirst.slice(0, limit + 1)
}

/** Walks through descending lists together. */
class Merge {
  /** Where the walk is; 0 behind the end of all lists. */
  itemId = 0
  readonly #lists: readonly (readonly number[])[]
  readonly #at: number[]
  readonly #heads: number[]

  constructor(lists: readonly (readonly number[])[]) {
    this.#lists = lists
    this.#at = lists.map(() => 0)
    this.#heads = lists.map(([first = 0]) => first)
  }

  /** Goes on to the next newest item; returns how many lists have it. */
  next(): number {
    let newest = 0
    for (const head of this.#heads) if (head > newest) newest = head
    let matches = 0
    for (let number = 0; number < this.#heads.length; number += 1) {
      if (this.#heads[number] !== newest) continue
      const at = (this.#at[number] as number) + 1
      this.#at[number] = at
      this.#heads[number] = this.#lists[number]?.[at] ?? 0
      matches += 1
    }
    this.itemId = newest
    return matches
  }
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
