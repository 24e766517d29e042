/** Items: putting them on sale, listing a seller's, showing one. */

import type { Item } from '../../contract/operations.ts'
import type { Answer } from '../../contract/refusals.ts'
import { type Lane, placeholders } from '../../db.ts'
import type { Handlers } from './handler.ts'
import type { IdBlocks } from './ids.ts'

export type ItemRow = [number, number, string, number, string, Item['condition'], number, number, number, number]
export const ITEM_COLUMNS =
  'id, seller_id, name, category, keywords, item_condition, price_cents, quantity, thumbs_up, thumbs_down'

/** What every item on sale stands under, beside its keywords: no keyword is empty. */
export const ANY_KEYWORD = ''
/** Items of a listing that weigh as much as one ordinary call. */
const ITEMS_PER_WEIGHT = 100
/** Rows of listings that are asked for at once: while more came in, nobody else would be served. */
const ROUND_ROWS = 1_024

export function sellerCatalogue(
  itemIds: IdBlocks,
): Handlers<'seller', 'register_item_for_sale' | 'display_items_for_sale'> {
  return {
    register_item_for_sale: {
      writes: 'product',
      cap: 500,
      inFlight: 2,
      async decide(_lane, calls, deadlineMs) {
        const ids = await itemIds.take(calls.length, deadlineMs)
        const registered = calls.map((call, index) => ({ ...call, id: ids[index] as number }))
        return {
          answers: ids.map((item_id) => ({ ok: { item_id } })),
          writes: [
            {
              sql:
                'INSERT INTO item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) ' +
                'VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
              rows: registered.map(({ id, account, params: item }) => [
                ...[id, account.id, item.name, item.category, item.keywords.join('\n')],
                ...[item.condition, item.price_cents, item.quantity],
              ]),
            },
            {
              sql: 'INSERT INTO item_keyword (category, keyword, item_id) VALUES (?, ?, ?)',
              rows: registered.flatMap(({ id, params }) => keywordRows({ item_id: id, ...params })),
            },
          ],
        }
      },
    },

    display_items_for_sale: {
      reads: 'product',
      cap: 50,
      inFlight: 2,
      weigh: ({ limit }) => Math.ceil(limit / ITEMS_PER_WEIGHT),
      async ask(lane, calls) {
        const listings = calls.map(({ account, params }): Listing => {
          const belowId = Number(params.cursor ?? Number.MAX_SAFE_INTEGER)
          return { sellerId: account.id, soldOutToo: params.include_sold_out, limit: params.limit, belowId, items: [] }
        })
        for (let open = listings; open.length > 0; ) open = await askRound(lane, open)
        return listings.map(({ items, limit }) => ({ ok: pageOf(items, limit) }))
      },
    },
  }
}

/** A listing on its way: the items that are there already, and the id below which to go on. */
interface Listing {
  sellerId: number
  soldOutToo: boolean
  limit: number
  belowId: number
  items: Item[]
}

/**
 * Asks for the next items of each listing, with one SELECT for each, whose last
 * column says whose row it is, as one statement. Returns the listings that are
 * not done: of small ones, none.
 */
async function askRound(lane: Lane, listings: readonly Listing[]): Promise<Listing[]> {
  const share = Math.ceil(ROUND_ROWS / listings.length)
  const lengths = listings.map(({ items, limit }) => Math.min(items.length + share, limit + 1))
  const selects = listings.map(
    ({ soldOutToo }, number) =>
      `(SELECT ${ITEM_COLUMNS}, ${number} FROM item FORCE INDEX (by_seller) WHERE seller_id = ? AND id < ?` +
      `${soldOutToo ? '' : ' AND quantity > 0'} ORDER BY id DESC LIMIT ?)`,
  )
  const values = listings.flatMap(({ sellerId, belowId, items }, number) => [
    ...[sellerId, belowId, (lengths[number] as number) - items.length],
  ])
  for (const row of await lane.rows<[...ItemRow, number]>(selects.join(' UNION ALL '), values)) {
    const listing = listings[row[10]] as Listing
    listing.items.push(itemOf(row))
    listing.belowId = Math.min(listing.belowId, row[0])
  }
  return listings.filter(({ items, limit }, number) => items.length === lengths[number] && items.length <= limit)
}

export const buyerCatalogue: Handlers<'buyer', 'get_item'> = {
  get_item: {
    reads: 'product',
    cap: 200,
    inFlight: 2,
    async ask(lane, calls) {
      const ids = calls.map((call) => call.params.item_id)
      const items = await itemsById(lane, ids, 'any')
      return ids.map((id): Answer<Item> => {
        const item = items.get(id)
        return item === undefined ? { refused: { code: 'not_found', message: 'no such item' } } : { ok: item }
      })
    },
  },
}

/** Rows of item_keyword under which an item stands while it is on sale. */
export function keywordRows({ item_id, category, keywords }: Pick<Item, 'item_id' | 'category' | 'keywords'>) {
  return [ANY_KEYWORD, ...keywords].map((keyword): [number, string, number] => [category, keyword, item_id])
}

export type ItemsById = ReadonlyMap<number, Item>

/** The items with these ids, equal ids asked once. */
export async function itemsById(lane: Lane, ids: readonly number[], which: 'any' | 'on sale'): Promise<ItemsById> {
  const distinct = [...new Set(ids)]
  if (distinct.length === 0) return new Map()
  const rows = await lane.rows<ItemRow>(
    `SELECT ${ITEM_COLUMNS} FROM item WHERE id IN (${placeholders(distinct)})${which === 'any' ? '' : ' AND quantity > 0'}`,
    distinct,
  )
  return new Map(rows.map((row) => [row[0], itemOf(row)]))
}

/** Newest first, whatever order the branches of a UNION came in, with a cursor when there are more than the limit. */
function pageOf(items: Item[], limit: number): { items: Item[]; next_cursor?: string } {
  items.sort((a, b) => b.item_id - a.item_id)
  const page = items.slice(0, limit)
  const last = page.at(-1)
  return items.length <= limit || last === undefined ? { items } : { items: page, next_cursor: String(last.item_id) }
}

export function itemOf(row: readonly [...ItemRow, ...unknown[]]): Item {
  const keywords = row[4]
  return {
    item_id: row[0],
    seller_id: row[1],
    name: row[2],
    category: row[3],
    keywords: keywords === '' ? [] : keywords.split('\n'),
    condition: row[5],
    price_cents: row[6],
    quantity: row[7],
    thumbs_up: row[8],
    thumbs_down: row[9],
  }
}
