/**
 * Items as rows: their columns, how a row becomes an item, and the keywords
 * under which an item on sale is found.
 */

import type { Item } from '../../contract/operations.ts'
import { fold } from '../../contract/text.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'

export type ItemRow = [
  number,
  number,
  string,
  string,
  number,
  string,
  Item['condition'],
  number,
  number,
  number,
  number,
]
export const ITEM_COLUMNS =
  'id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity, thumbs_up, thumbs_down'

/**
 * Every item on sale stands under this keyword too, so that a search without
 * keywords needs no second mechanism. A seller's keyword is never empty.
 */
export const ANY_KEYWORD = ''

type NewItem = Omit<Item, 'thumbs_up' | 'thumbs_down'>
type Posted = Pick<Item, 'item_id' | 'category' | 'keywords'>
/** Category, keyword, item. */
type Posting = [number, string, number]

const INSERT_POSTING = 'INSERT INTO item_keyword (category, keyword, item_id) VALUES (?, ?, ?)'
const DELETE_POSTING = 'DELETE FROM item_keyword WHERE category = ? AND keyword = ? AND item_id = ?'

export type ItemsById = ReadonlyMap<number, Item>

/** Reads the items with these ids, equal ids once. */
export async function readItems(lane: Lane, ids: readonly number[], which: 'any' | 'on sale'): Promise<ItemsById> {
  const distinct = [...new Set(ids)]
  if (distinct.length === 0) return new Map()
  const rows = await lane.rows<ItemRow>(
    `SELECT ${ITEM_COLUMNS} FROM item WHERE id IN (${placeholders(distinct)})${which === 'any' ? '' : ' AND quantity > 0'}`,
    distinct,
  )
  return new Map(rows.map((row) => [row[0], toItem(row)]))
}

export function toItem(row: readonly [...ItemRow, ...unknown[]]): Item {
  const keywords = row[5]
  return {
    item_id: row[0],
    seller_id: row[1],
    seller_name: row[2],
    name: row[3],
    category: row[4],
    keywords: keywords === '' ? [] : keywords.split('\n'),
    condition: row[6],
    price_cents: row[7],
    quantity: row[8],
    thumbs_up: row[9],
    thumbs_down: row[10],
  }
}

/** Writes new items, and puts them on sale. */
export function insertItems(items: readonly NewItem[]): Statement[] {
  return [
    {
      sql:
        'INSERT INTO item (id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity) ' +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      rows: items.map((item) => [
        item.item_id,
        item.seller_id,
        item.seller_name,
        item.name,
        item.category,
        item.keywords.join('\n'),
        item.condition,
        item.price_cents,
        item.quantity,
      ]),
    },
    postItems(items),
  ]
}

/** Puts items under their keywords without case, where searches find them. */
export function postItems(items: readonly Posted[]): Statement {
  return { sql: INSERT_POSTING, rows: toPostings(items) }
}

/** Takes items from under their keywords. */
export function unpostItems(items: readonly Posted[]): Statement {
  return { sql: DELETE_POSTING, rows: toPostings(items) }
}

/** Moves items to other keywords. No posting is in both statements, since the driver may send the second one first. */
export function repostItems(moves: readonly { before: Posted; after: Posted }[]): Statement[] {
  const old = toPostings(moves.map(({ before }) => before))
  const next = toPostings(moves.map(({ after }) => after))
  const without = (postings: readonly Posting[], others: readonly Posting[]) => {
    const names = new Set(others.map((posting) => JSON.stringify(posting)))
    return postings.filter((posting) => !names.has(JSON.stringify(posting)))
  }
  return [
    { sql: DELETE_POSTING, rows: without(old, next) },
    { sql: INSERT_POSTING, rows: without(next, old) },
  ]
}

function toPostings(items: readonly Posted[]): Posting[] {
  return items.flatMap(({ item_id, category, keywords }) => {
    const distinct = new Set([ANY_KEYWORD, ...keywords.map(fold)])
    return [...distinct].map((keyword): Posting => [category, keyword, item_id])
  })
}
