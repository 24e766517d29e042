/** The catalogue: putting items on sale, listing a seller's, showing one. */

import type { Item } from '../../contract/operations.ts'
import type { Answer } from '../../contract/refusals.ts'
import type { Lane } from '../../db/lane.ts'
import type { Handlers } from './handler.ts'
import type { IdBlocks } from './ids.ts'
import { ITEM_COLUMNS, type ItemRow, insertItems, readItems, toItem } from './items.ts'

/** Items of a listing that weigh as much as one ordinary call. */
const ITEMS_PER_WEIGHT = 100
/** Rows that a batch of listings asks for at once. Decoding more would keep the loop from other clients. */
const FETCH_ROWS = 1_024

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
        const items = calls.map(({ account, params }, index) => ({
          ...params,
          item_id: ids[index] as number,
          seller_id: account.id,
          seller_name: account.name,
        }))
        return { decisions: items.map(({ item_id }) => ({ ok: { item_id } })), writes: insertItems(items) }
      },
    },

    display_items_for_sale: {
      reads: 'product',
      cap: 50,
      inFlight: 2,
      weigh: ({ limit }) => Math.ceil(limit / ITEMS_PER_WEIGHT),
      async ask(lane, calls) {
        const listings = calls.map(
          ({ account, params }): Listing => ({
            sellerId: account.id,
            includesSoldOut: params.include_sold_out,
            limit: params.limit,
            belowId: Number(params.cursor ?? Number.MAX_SAFE_INTEGER),
            items: [],
          }),
        )
        for (let open = listings; open.length > 0; ) open = await fetchMore(lane, open)
        return listings.map(({ items, limit }) => ({ ok: toPage(items, limit) }))
      },
    },
  }
}

/** A listing in progress: the items fetched so far, and the id below which the next ones are. */
interface Listing {
  sellerId: number
  includesSoldOut: boolean
  limit: number
  belowId: number
  items: Item[]
}

/**
 * Fetches the next items of each listing, all with one statement: a SELECT for
 * each listing, whose last column is the listing's number. Returns the listings
 * that need more: they have filled their share of `FETCH_ROWS`.
 */
async function fetchMore(lane: Lane, listings: readonly Listing[]): Promise<Listing[]> {
  const share = Math.ceil(FETCH_ROWS / listings.length)
  const lengths = listings.map(({ items, limit }) => Math.min(items.length + share, limit + 1))
  const selects = listings.map(
    ({ includesSoldOut }, number) =>
      `(SELECT ${ITEM_COLUMNS}, ${number} FROM item FORCE INDEX (by_seller) WHERE seller_id = ? AND id < ?` +
      `${includesSoldOut ? '' : ' AND quantity > 0'} ORDER BY id DESC LIMIT ?)`,
  )
  const values = listings.flatMap(({ sellerId, belowId, items }, number) => [
    sellerId,
    belowId,
    (lengths[number] as number) - items.length,
  ])
  for (const row of await lane.rows<[...ItemRow, number]>(selects.join(' UNION ALL '), values)) {
    const listing = listings[row[11]] as Listing
    listing.items.push(toItem(row))
    listing.belowId = Math.min(listing.belowId, row[0])
  }
  return listings.filter(({ items, limit }, number) => items.length === lengths[number] && items.length <= limit)
}

/** Newest first, whatever order the branches of the UNION came in; with a cursor if there are more than the limit. */
function toPage(items: Item[], limit: number): { items: Item[]; next_cursor?: string } {
  items.sort((a, b) => b.item_id - a.item_id)
  const page = items.slice(0, limit)
  const last = page.at(-1)
  return items.length <= limit || last === undefined ? { items } : { items: page, next_cursor: String(last.item_id) }
}

export const buyerCatalogue: Handlers<'buyer', 'get_item'> = {
  get_item: {
    reads: 'product',
    cap: 200,
    inFlight: 2,
    async ask(lane, calls) {
      const ids = calls.map((call) => call.params.item_id)
      const items = await readItems(lane, ids, 'any')
      return ids.map((id): Answer<Item> => {
        const item = items.get(id)
        return item === undefined ? { refused: { code: 'not_found', message: 'no such item' } } : { ok: item }
      })
    },
  },
}
