/**
 * Search: posting lists, ranked in code. A batch asks for the posting lists of
 * all its searches with one statement, equal lists once, each read straight off
 * an index. It ranks them, and fetches the items of all pages with a second
 * statement. The database never sorts or groups.
 *
 * A search of several keywords would rank long lists. So the first round reads
 * only the newest of each list: most lists are no longer, or their newest
 * postings settle the page. The second round reads deeper; for two keywords in
 * two steps, since a page of items with both settles the search.
 */

import type { Item, Params, Result } from '../../contract/operations.ts'
import { fold } from '../../contract/text.ts'
import type { Lane, Value } from '../../db/lane.ts'
import type { Handlers } from './handler.ts'
import { ANY_KEYWORD, type ItemsById, readItems } from './items.ts'

type Search = Params<'buyer', 'search_items'>
type Page = Result<'buyer', 'search_items'>

/** Postings of each keyword that a search of several keywords ranks, newest first. The contract says so. */
const RANKED = 2_000
/** Postings read in the first round: one more than the longest page has. */
const FIRST_ROUND = 101
/** Postings read per wanted item in the second round of two keywords; usually enough if one in fifty has both. */
const READ_PER_ITEM = 60
/** Items of a page that weigh as much as one ordinary call: a batch of long pages would keep the loop for itself. */
const ITEMS_PER_WEIGHT = 20

export const buyerSearch: Handlers<'buyer', 'search_items'> = {
  search_items: {
    reads: 'product',
    cap: 25,
    inFlight: 2,
    weigh: ({ limit }) => Math.ceil(limit / ITEMS_PER_WEIGHT),
    async ask(lane, calls) {
      const found = await findAll(lane, calls)
      return found.map((page) => ({ ok: page }))
    },
    firstRound: {
      cap: 50,
      inFlight: 2,
      async ask(lane, calls) {
        const found = await find(lane, calls, () => FIRST_ROUND)
        return found.map((page) => (page === undefined ? undefined : { ok: page }))
      },
    },
  },
}

/** A page for each search. */
async function findAll(lane: Lane, calls: readonly { params: Search }[]): Promise<readonly Page[]> {
  const found = await find(lane, calls, ({ keywords, limit }) =>
    keywords.length === 2 ? Math.min(RANKED, READ_PER_ITEM * (limit + 1)) : RANKED,
  )
  const open = calls.filter((_, index) => found[index] === undefined)
  const rest = (open.length === 0 ? [] : await find(lane, open, () => RANKED)).values()
  return found.map((page) => page ?? (rest.next().value as Page))
}

/** A page for each search; undefined where postings read to this depth don't settle it. */
async function find(
  lane: Lane,
  calls: readonly { params: Search }[],
  chooseDepth: (search: Search) => number,
): Promise<readonly (Page | undefined)[]> {
  const searches = calls.map(({ params }) => {
    const depth = chooseDepth(params)
    return { search: params, depth, lists: toPostingLists(params, depth) }
  })
  const postings = await readPostings(
    lane,
    searches.flatMap(({ lists }) => lists),
  )
  const hits = searches.map(({ search, depth, lists }) => {
    const known = lists.map((list) => postings.get(listKey(list)) ?? [])
    return rank(search, known, depth)
  })
  const items = await readItems(
    lane,
    hits.flatMap((best = []) => best.map(({ itemId }) => itemId)),
    'on sale',
  )
  return searches.map(({ search }, index) => {
    const best = hits[index]
    return best === undefined ? undefined : toPage(search, best, items)
  })
}

/** The newest `depth` items on sale under a keyword, below an id if one is given. Ids descend. */
interface PostingList {
  category: number
  keyword: string
  belowId: number | undefined
  depth: number
}

export interface Hit {
  itemId: number
  /** The number of keywords that the item has. */
  matches: number
}

/** One keyword: just the page, and one posting more to know whether another page follows. Several: to the depth. */
function toPostingLists({ category, keywords, limit, cursor }: Search, depth: number): PostingList[] {
  const folded = keywords.map(fold)
  if (folded.length > 1) return folded.map((keyword) => ({ category, keyword, belowId: undefined, depth }))
  const [keyword = ANY_KEYWORD] = folded
  return [
    { category, keyword, belowId: cursor === undefined ? undefined : decodeCursor(cursor).itemId, depth: limit + 1 },
  ]
}

async function readPostings(
  lane: Lane,
  lists: readonly PostingList[],
): Promise<ReadonlyMap<string, readonly number[]>> {
  const distinct = new Map(lists.map((list) => [listKey(list), list]))
  const postings = [...distinct.keys()].map((key): [string, number[]] => [key, []])
  const selects = [...distinct.values()].map(selectPostings)
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

/** A short list comes as rows, a long one as a single value: decoding thousands of rows would keep the loop busy. */
function selectPostings({ belowId, depth }: PostingList, number: number): string {
  const newest =
    'FROM item_keyword WHERE category = ? AND keyword = ?' +
    `${belowId === undefined ? '' : ' AND item_id < ?'} ORDER BY item_id DESC LIMIT ?`
  return depth <= FIRST_ROUND
    ? `(SELECT ${number}, item_id ${newest})`
    : `(SELECT ${number}, GROUP_CONCAT(item_id) FROM (SELECT item_id ${newest}) AS newest)`
}

function unpack(packed: string): number[] {
  const ids: number[] = JSON.parse(`[${packed}]`)
  return ids.sort((a, b) => b - a)
}

/**
 * The best hits behind the cursor, one more than the page holds: more matching
 * keywords first, then newer items. Undefined if the lists, read no deeper than
 * `depth`, don't settle which.
 */
export function rank(
  { limit, cursor }: Pick<Search, 'limit' | 'cursor'>,
  lists: readonly (readonly number[])[],
  depth = RANKED,
): Hit[] | undefined {
  const last = cursor === undefined ? { matches: lists.length, itemId: Number.POSITIVE_INFINITY } : decodeCursor(cursor)
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

/** Walks down several descending lists together. */
class Merge {
  /** The item reached; 0 behind the end of all lists. */
  itemId = 0
  readonly #lists: readonly (readonly number[])[]
  readonly #at: number[]
  readonly #heads: number[]

  constructor(lists: readonly (readonly number[])[]) {
    this.#lists = lists
    this.#at = lists.map(() => 0)
    this.#heads = lists.map(([first = 0]) => first)
  }

  /** Goes on to the next newest item. Returns how many lists have it. */
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

/** Leaves out items that have sold out since their postings were read. The cursor counts hits, so no other is lost. */
function toPage({ limit }: Search, hits: readonly Hit[], byId: ItemsById): Page {
  const shown = hits.slice(0, limit)
  const items = shown.map(({ itemId }) => byId.get(itemId)).filter((item): item is Item => item !== undefined)
  const last = shown.at(-1)
  return hits.length <= limit || last === undefined ? { items } : { items, next_cursor: encodeCursor(last) }
}

function encodeCursor({ matches, itemId }: Hit): string {
  return `${matches}-${itemId}`
}

function decodeCursor(cursor: string): Hit {
  const [matches = 0, itemId = 0] = cursor.split('-').map(Number)
  return { matches, itemId }
}

function listKey({ category, keyword, belowId, depth }: PostingList): string {
  return JSON.stringify([category, keyword, belowId, depth])
}
