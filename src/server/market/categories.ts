/**
 * Categories: which ones have items on sale, and how many. Both come off the
 * keyword index, where every item on sale stands once under `ANY_KEYWORD`: the
 * database jumps from category to category, and counts no further than it must.
 */

import { MOST_COUNTED, type Params, type Result } from '../../contract/operations.ts'
import type { Lane } from '../../db/lane.ts'
import type { AnyHandler } from './handler.ts'
import { ANY_KEYWORD } from './items.ts'

type Ask = Params<'buyer', 'list_categories'>
type Page = Result<'buyer', 'list_categories'>

/** Categories on a page that weigh as much as one ordinary call. */
const CATEGORIES_PER_WEIGHT = 10

export const categories: { list_categories: AnyHandler<Ask, Page> } = {
  list_categories: {
    reads: 'product',
    cap: 20,
    inFlight: 1,
    weigh: ({ limit }) => Math.ceil(limit / CATEGORIES_PER_WEIGHT),
    async ask(lane, calls) {
      const asks = new Map(calls.map(({ params }) => [askKey(params), params]))
      const found = await readCategories(lane, asks)
      const counts = await countItems(lane, new Set([...found.values()].flat()))
      return calls.map(({ params }) => ({ ok: toPage(params, found.get(askKey(params)) ?? [], counts) }))
    },
  },
}

/** Names what is asked for: equal questions are asked once. */
function askKey({ cursor = '', limit }: Ask): string {
  return `${cursor} ${limit}`
}

/**
 * Ascending, for each question; one more than its page has, if there is one more. Only a DISTINCT of nothing but the
 * column makes the database jump: hence the inner SELECT.
 */
async function readCategories(lane: Lane, asks: ReadonlyMap<string, Ask>): Promise<ReadonlyMap<string, number[]>> {
  const found = [...asks.keys()].map((key): [string, number[]] => [key, []])
  const selects = found.map(
    (_, number) =>
      `(SELECT ${number}, category FROM ` +
      '(SELECT DISTINCT category FROM item_keyword WHERE category >= ? ORDER BY category LIMIT ?) AS listed)',
  )
  const values = [...asks.values()].flatMap(({ cursor, limit }) => [
    cursor === undefined ? 0 : Number(cursor) + 1,
    limit + 1,
  ])
  for (const [number, category] of await lane.rows<[number, number]>(selects.join(' UNION ALL '), values)) {
    found[number]?.[1].push(category)
  }
  for (const [, some] of found) some.sort((a, b) => a - b)
  return new Map(found)
}

/** The items on sale of each category, counted to one more than `MOST_COUNTED`. */
async function countItems(lane: Lane, wanted: ReadonlySet<number>): Promise<ReadonlyMap<number, number>> {
  if (wanted.size === 0) return new Map()
  const counts = [...wanted].map(
    () => 'SELECT ?, COUNT(*) FROM (SELECT 1 FROM item_keyword WHERE category = ? AND keyword = ? LIMIT ?) AS counted',
  )
  const values = [...wanted].flatMap((category) => [category, category, ANY_KEYWORD, MOST_COUNTED + 1])
  return new Map(await lane.rows<[number, number]>(counts.join(' UNION ALL '), values))
}

/** Leaves out categories that have sold out since they were found. */
function toPage({ limit }: Ask, found: readonly number[], counts: ReadonlyMap<number, number>): Page {
  const shown = found.slice(0, limit)
  const last = shown.at(-1)
  const categories = shown.flatMap((category) => {
    const count = counts.get(category) ?? 0
    if (count > MOST_COUNTED) return [{ category, items_on_sale: MOST_COUNTED, or_more: true as const }]
    return count === 0 ? [] : [{ category, items_on_sale: count }]
  })
  return found.length <= limit || last === undefined ? { categories } : { categories, next_cursor: String(last) }
}
