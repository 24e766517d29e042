/**
 * The databases of a study: made anew, filled to a stated size from a template,
 * and brought back to it before a run. Restoring replaces the tables: rows
 * deleted one by one would leave InnoDB cleaning up into what is measured next.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mariadb'
import { connectionOptions } from '../db.ts'
import { SetUpError } from '../mariadbd.ts'
import { applySchema, createDatabase, type DatabaseName, withConnection } from '../schema.ts'
import { CATALOGUE, catalogueItems, ITEMS, scoreOf } from './workload.ts'

export type Urls = Record<DatabaseName, string>

/** What makes a database ours to empty. */
const OURS = 'souk_study_'
const RESTORED = ['item', 'item_keyword'] as const
const SETTLE_MS = 5_000
const SETTLED_HISTORY = 100

/** Makes both databases anew. Throws `SetUpError` for one that is neither a study's nor empty. */
export async function makeDatabases(urls: Urls): Promise<void> {
  for (const url of Object.values(urls)) {
    const { database } = connectionOptions(url)
    await createDatabase(url)
    await withConnection(url, async (connection) => {
      const tables = await connection.query<object[]>('SHOW TABLES')
      if (tables.length > 0 && !database.startsWith(OURS)) {
        throw new SetUpError(`${database} is not empty: a study uses empty databases, or ones named ${OURS}…`)
      }
      await connection.query(`DROP DATABASE ${connection.escapeId(database)}`)
    })
    await createDatabase(url)
  }
  await Promise.all([applySchema(urls.customer, 'customer'), applySchema(urls.product, 'product')])
}

/** Fills the catalogue. Sellers that nobody signed up get rows that no password opens. */
export async function fillCatalogue(urls: Urls): Promise<void> {
  const sellers = Array.from({ length: CATALOGUE.sellers }, (_, index) => index + 1)
  await withConnection(urls.customer, (connection) =>
    connection.batch(
      'INSERT IGNORE INTO seller (id, username, name, password) VALUES (?, ?, ?, ?)',
      sellers.map((id) => [id, `seller.of.study.${id}`, `Seller ${id}`, '']),
    ),
  )
  await withConnection(urls.product, async (connection) => {
    await connection.batch(
      'INSERT INTO seller_score (seller_id, thumbs_up, thumbs_down, items_sold) VALUES (?, ?, ?, ?)',
      sellers.map((id) => [id, ...Object.values(scoreOf(id))]),
    )
    for (const table of RESTORED) await connection.query(`CREATE TABLE template_${table} LIKE ${table}`)
    await fillTemplate(connection)
    await connection.query('UPDATE id_block SET next_id = ? WHERE name = ?', [ITEMS + 1, 'item'])
    await restore(connection)
  })
}

/** Brings the catalogue back to its size, and waits until the database has nothing left to do. */
export async function restoreCatalogue(urls: Urls): Promise<void> {
  await withConnection(urls.product, restore)
}

/** How many items there are beyond the catalogue. */
export async function countRegistered(urls: Urls): Promise<number> {
  return withConnection(urls.product, async (connection) => {
    const sql = 'SELECT COUNT(*) AS count FROM item JOIN item_keyword ON item_id = id WHERE id > ?'
    const [row] = await connection.query<{ count: number }[]>(sql, [ITEMS])
    return (row?.count ?? 0) / (CATALOGUE.keywordsPerItem + 1)
  })
}

async function fillTemplate(connection: Connection): Promise<void> {
  const items = [...catalogueItems()]
  await connection.batch(
    'INSERT INTO template_item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) ' +
      'VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    items.map((item) => [
      ...[item.id, item.sellerId, item.name, item.category, item.keywords.join('\n')],
      ...[item.condition, item.priceCents, item.quantity],
    ]),
  )
  await connection.batch(
    'INSERT INTO template_item_keyword (category, keyword, item_id) VALUES (?, ?, ?)',
    items.flatMap(({ id, category, keywords }) => ['', ...keywords].map((keyword) => [category, keyword, id])),
  )
}

async function restore(connection: Connection): Promise<void> {
  for (const table of RESTORED) {
    await connection.query(`TRUNCATE TABLE ${table}`)
    await connection.query(`INSERT INTO ${table} SELECT * FROM template_${table}`)
  }
  await connection.query(`ANALYZE TABLE ${RESTORED.join(', ')}`)
  await settled(connection)
}

async function settled(connection: Connection): Promise<void> {
  const untilMs = performance.now() + SETTLE_MS
  while (performance.now() < untilMs) {
    const [row] = await connection.query<{ Value: string }[]>("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
    if (Number(row?.Value ?? 0) <= SETTLED_HISTORY) return
    await sleep(20)
  }
}
