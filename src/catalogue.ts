/**
 * Items: putting them on sale, listing, searching and showing them. Reads that
 * arrive together are asked as one UNION ALL whose first column says whose row
 * it is; equal calls are asked once.
 */

import { type Lane, placeholders, type Value } from './db.ts'
import type { Call, Handlers } from './handlers.ts'
import type { IdBlocks } from './ids.ts'
import type { Item, Params } from './operations.ts'
import type { Answer } from './protocol.ts'

type Search = Params<'buyer', 'search_items'>
type Listing = Params<'seller', 'display_items_for_sale'>
type ItemRow = [number, number, string, number, string, Item['condition'], number, number, number, number]

const COLUMNS =
  'item.id, item.seller_id, item.name, item.category, item.keywords, item.item_condition, ' +
  'item.price_cents, item.quantity, item.thumbs_up, item.thumbs_down'

/** How many items of each keyword a search of several keywords ranks, newest first. */
const RANKED = 2_000
/** A keyword no item can have: every item on sale stands under it. */
const ANY = ''
/** Items of a listing that weigh as much as one ordinary call. */
const ITEMS_PER_WEIGHT = 100

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
              rows: registered.flatMap(({ id, params: { category, keywords } }) =>
                [ANY, ...keywords].map((keyword) => [category, keyword, id]),
              ),
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
        const pages = await askTogether(lane, calls, ({ account, params }) => listing(account.id, params))
        return pages.map((rows, index) => {
          const { limit } = (calls[index] as Call<Listing>).params
          return { ok: pageOf(rows, limit, (item) => String(item.item_id)) }
        })
      },
    },
  }
}

export const buyerCatalogue: Handlers<'buyer', 'search_items' | 'get_item'> = {
  search_items: {
    reads: 'product',
    cap: 50,
    inFlight: 2,
    async ask(lane, calls) {
      const pages = await askTogether(lane, calls, ({ params }) => search(params))
      return pages.map((rows, index) => {
        const { limit } = (calls[index] as Call<Search>).params
        return { ok: pageOf(rows, limit, (item, matches) => `${matches}-${item.item_id}`) }
      })
    },
  },

  get_item: {
    reads: 'product',
    cap: 200,
    inFlight: 2,
    async ask(lane, calls) {
      const ids = [...new Set(calls.map((call) => call.params.item_id))]
      const rows = await lane.rows<ItemRow>(`SELECT ${COLUMNS} FROM item WHERE id IN (${placeholders(ids)})`, ids)
      const found = new Map(rows.map((row) => [row[0], itemOf(row)]))
      return calls.map(({ params }): Answer<Item> => {
        const item = found.get(params.item_id)
        return item === undefined ? { refused: { code: 'not_found', message: 'no such item' } } : { ok: item }
      })
    },
  },
}

/** One call's SELECT: after the number of matching keywords come the item's columns. One row more than its limit. */
interface Select {
  sql: string
  values: readonly Value[]
}

function listing(sellerId: number, { limit, cursor, include_sold_out }: Listing): Select {
  return {
    sql:
      `SELECT 0, ${COLUMNS} FROM item FORCE INDEX (by_seller) WHERE seller_id = ?` +
      `${cursor === undefined ? '' : ' AND id < ?'}${include_sold_out ? '' : ' AND quantity > 0'} ORDER BY id DESC LIMIT ?`,
    values: [sellerId, ...(cursor === undefined ? [] : [Number(cursor)]), limit + 1],
  }
}

function search({ category, keywords, limit, cursor }: Search): Select {
  const [matches, itemId] = (cursor ?? '').split('-').map(Number)
  const [first = ANY, ...others] = keywords
  if (others.length === 0) {
    return {
      sql:
        `SELECT 1, ${COLUMNS} FROM item_keyword JOIN item ON item.id = item_keyword.item_id ` +
        `WHERE item_keyword.category = ? AND keyword = ?${cursor === undefined ? '' : ' AND item_id < ?'} ` +
        'ORDER BY item_id DESC LIMIT ?',
      values: [category, first, ...(cursor === undefined ? [] : [itemId as number]), limit + 1],
    }
  }
  const newest = `(SELECT item_id FROM item_keyword WHERE category = ? AND keyword = ? ORDER BY item_id DESC LIMIT ${RANKED})`
  return {
    sql:
      `SELECT matches, ${COLUMNS} FROM (SELECT item_id, COUNT(*) AS matches ` +
      `FROM (${keywords.map(() => newest).join(' UNION ALL ')}) AS candidate GROUP BY item_id ` +
      `${cursor === undefined ? '' : 'HAVING (matches, item_id) < (?, ?) '}ORDER BY matches DESC, item_id DESC LIMIT ?) AS hit ` +
      'JOIN item ON item.id = hit.item_id',
    values: [
      ...keywords.flatMap((keyword) => [category, keyword]),
      ...(cursor === undefined ? [] : [matches as number, itemId as number]),
      limit + 1,
    ],
  }
}

type FoundRow = [number, ...ItemRow]

/** Asks all SELECTs as one statement, equal ones once. The rows of each call, in the order of the calls. */
async function askTogether<P>(
  lane: Lane,
  calls: readonly Call<P>[],
  select: (call: Call<P>) => Select,
): Promise<readonly (readonly FoundRow[])[]> {
  const numbers = new Map<string, number>()
  const selects: Select[] = []
  const asked = calls.map((call) => {
    const one = select(call)
    const key = `${one.values.join('\n')}\n${one.sql}`
    const number = numbers.get(key) ?? selects.push(one) - 1
    numbers.set(key, number)
    return number
  })
  const rows = await lane.rows<[number, ...FoundRow]>(
    selects.map(({ sql }, number) => `(${sql.replace('SELECT', `SELECT ${number},`)})`).join(' UNION ALL '),
    selects.flatMap(({ values }) => values),
  )
  const found: FoundRow[][] = selects.map(() => [])
  for (const [number, ...row] of rows) found[number]?.push(row)
  for (const page of found) page.sort(bestFirst)
  return asked.map((number) => found[number] as FoundRow[])
}

/** A branch of a UNION ALL may come in any order, whatever its own ORDER BY says. */
function bestFirst([matchesA, idA]: FoundRow, [matchesB, idB]: FoundRow): number {
  return matchesB - matchesA || idB - idA
}

/** A page of items, with the cursor behind its last one when there are more. */
function pageOf(rows: readonly FoundRow[], limit: number, cursorOf: (last: Item, matches: number) => string) {
  const items = rows.slice(0, limit).map(([, ...row]) => itemOf(row))
  const last = rows[limit - 1]
  if (rows.length <= limit || last === undefined) return { items }
  return { items, next_cursor: cursorOf(items[limit - 1] as Item, last[0]) }
}

function itemOf(row: ItemRow): Item {
  const [item_id, seller_id, name, category, keywords, condition, price_cents, quantity, thumbs_up, thumbs_down] = row
  return {
    ...{ item_id, seller_id, name, category, keywords: keywords === '' ? [] : keywords.split('\n'), condition },
    ...{ price_cents, quantity, thumbs_up, thumbs_down },
  }
}
