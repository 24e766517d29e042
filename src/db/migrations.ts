/**
 * The parts of migrations that SQL can't express: those that need both
 * databases, or souk's own rules. They run after the file of their number in
 * `migrations/`, and can be repeated like it.
 */

import type { Connection } from 'mariadb'
import { fold } from '../contract/text.ts'
import { withConnection } from './connect.ts'
import { placeholders } from './lane.ts'

type Code = (connection: Connection, urls: { customer?: string | undefined }) => Promise<void>

const SELLERS_AT_ONCE = 1_000
const ITEMS_AT_ONCE = 1_000

/** By version, then by database. */
export const MIGRATING_CODE: Readonly<Record<number, { customer?: Code; product?: Code }>> = {
  2: {
    product: async (connection, urls) => {
      await fillSellerNames(connection, urls)
      await foldKeywords(connection)
    },
  },
  3: { product: continueIds },
}

/** Items know their sellers' names since version 2. */
async function fillSellerNames(product: Connection, { customer }: { customer?: string | undefined }): Promise<void> {
  const sellers = await product.query<{ seller_id: number }[]>(
    "SELECT DISTINCT seller_id FROM item WHERE seller_name = ''",
  )
  if (sellers.length === 0) return
  if (customer === undefined) throw new Error('the names of sellers are in the customer database')
  await withConnection(customer, async (connection) => {
    for (let at = 0; at < sellers.length; at += SELLERS_AT_ONCE) {
      const ids = sellers.slice(at, at + SELLERS_AT_ONCE).map(({ seller_id }) => seller_id)
      const names = await connection.query<{ id: number; name: string }[]>(
        `SELECT id, name FROM seller WHERE id IN (${placeholders(ids)})`,
        ids,
      )
      await product.batch(
        'UPDATE item SET seller_name = ? WHERE seller_id = ?',
        names.map(({ id, name }) => [name, id]),
      )
    }
  })
}

/** Ids come from sequences since version 3. */
async function continueIds(product: Connection): Promise<void> {
  const [table] = await product.query<object[]>("SHOW TABLES LIKE 'id_block'")
  if (table === undefined) return // done already
  const counters = await product.query<{ name: string; next_id: number }[]>('SELECT name, next_id FROM id_block')
  for (const { name, next_id } of counters) await product.query(`SELECT SETVAL(${name}_id, ${next_id}, FALSE)`)
  await product.query('DROP TABLE id_block')
}

/** Items on sale stand under their keywords without case since version 2; ASCII was in lower case before. */
async function foldKeywords(product: Connection): Promise<void> {
  for (let last: number | undefined = 0; last !== undefined; ) {
    const items: { id: number; category: number; keywords: string }[] = await product.query(
      `SELECT id, category, keywords FROM item
       WHERE id > ? AND quantity > 0 AND LENGTH(keywords) > CHAR_LENGTH(keywords) ORDER BY id LIMIT ?`,
      [last, ITEMS_AT_ONCE],
    )
    const changed = items.flatMap(({ id, category, keywords }) =>
      keywords.split('\n').flatMap((word) => (fold(word) === word ? [] : [{ id, category, word }])),
    )
    if (changed.length > 0) {
      await product.beginTransaction() // one commit for all
      await product.batch(
        'INSERT IGNORE INTO item_keyword (category, keyword, item_id) VALUES (?, ?, ?)',
        changed.map(({ id, category, word }) => [category, fold(word), id]),
      )
      await product.batch(
        'DELETE FROM item_keyword WHERE category = ? AND keyword = ? AND item_id = ?',
        changed.map(({ id, category, word }) => [category, word, id]),
      )
      await product.commit()
    }
    last = items.at(-1)?.id
  }
}
