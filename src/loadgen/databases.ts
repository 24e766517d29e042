/**
 * The databases of a study: made anew, filled to a stated size from a template,
 * and brought back to it before a run. Restoring replaces the tables: rows
 * deleted one by one would leave InnoDB cleaning up into what is measured next.
 */

import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mariadb'
import { ROLES, type Role } from '../contract/operations.ts'
import { connectionOptions, withConnection } from '../db/connect.ts'
import { applySchema, createDatabase, type DatabaseName } from '../db/schema.ts'
import { SetUpError } from '../process/start.ts'
import { SESSION_LIFE } from '../server/market/sessions.ts'
import type { Session } from './fleet.ts'
import { SESSION_IDLE_S } from './systems.ts'
import { CATALOGUE, type CatalogueItem, catalogueItems, ITEMS, scoreOf } from './workload.ts'

export type Urls = Record<DatabaseName, string>

/** What makes a database ours to empty. */
const OURS = 'souk_study_'
/** What a run may change: tables that begin it as the catalogue has them, and tables that begin it empty. */
const FILLED = ['item', 'item_keyword', 'seller_score'] as const
const EMPTIED = ['cart', 'saved_cart', 'purchase', 'purchase_line', 'feedback', 'buyer_score', 'idempotency'] as const
const ITEM_COLUMNS =
  'id, seller_id, name, category, keywords, item_condition, price_cents, quantity, thumbs_up, thumbs_down'
const SELLER_IDS = Array.from({ length: CATALOGUE.sellers }, (_, index) => index + 1)
/** Items that are sent at once when a database is filled. */
const CHUNK_ITEMS = 10_000
const SETTLE_MS = 5_000
const SETTLED_HISTORY = 100

/** Makes both databases anew. Throws `SetUpError` for one that is neither a study's nor empty. */
export async function makeDatabases(urls: Urls): Promise<void> {
  await makeDatabase(urls.customer, 'customer')
  await makeDatabase(urls.product, 'product')
}

/** Makes a database anew. Throws `SetUpError` if it is neither a study's nor empty. */
export async function makeDatabase(url: string, name: DatabaseName): Promise<void> {
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
  await applySchema(url, name)
}

/** Accounts with a session each, as if they had signed up and logged in, but without passwords: those are slow on purpose. */
export function openSessions(urls: Urls, accounts: Readonly<Record<Role, number>>): Promise<Record<Role, Session[]>> {
  return withConnection(urls.customer, async (connection) => {
    const sessions: Record<Role, Session[]> = { seller: [], buyer: [] }
    for (const role of ROLES) {
      const theirs = Array.from({ length: accounts[role] }, (_, index) => ({
        ...{ accountId: index + 1, session: randomBytes(32).toString('base64url') },
      }))
      await connection.batch(
        `INSERT INTO ${role} (id, username, name, password) VALUES (?, ?, ?, '')`,
        theirs.map(({ accountId }) => [accountId, `${role}.${accountId}`, `${role} ${accountId}`]),
      )
      await connection.batch(
        'INSERT INTO session (token_hash, role, account_id, ends_at, expires_at) ' +
          'VALUES (?, ?, ?, UNIX_TIMESTAMP() + ?, UNIX_TIMESTAMP() + ?)',
        theirs.map(({ accountId, session }) => [
          ...[createHash('sha256').update(session).digest('base64url'), role, accountId],
          ...[SESSION_LIFE.absoluteS, SESSION_IDLE_S],
        ]),
      )
      sessions[role] = theirs
    }
    return sessions
  })
}

/**
 * Fills the catalogue. Sellers that nobody signed up get rows that no password opens. Here and below `filled` is told
 * how many items there are.
 */
export async function fillCatalogue(urls: Urls, filled?: (items: number) => void): Promise<void> {
  await withConnection(urls.customer, (connection) =>
    connection.batch(
      'INSERT IGNORE INTO seller (id, username, name, password) VALUES (?, ?, ?, ?)',
      SELLER_IDS.map((id) => [id, `seller.of.study.${id}`, `Seller ${id}`, '']),
    ),
  )
  await withConnection(urls.product, async (connection) => {
    for (const table of FILLED) await connection.query(`CREATE TABLE template_${table} LIKE ${table}`)
    await fillTables(connection, 'template_', catalogueItems(), filled)
    await connection.query('UPDATE id_block SET next_id = ? WHERE name = ?', [ITEMS + 1, 'item'])
    await restore(connection)
  })
}

/** Fills a product database that is only read: no template is kept to bring it back from. */
export async function fillForReading(
  url: string,
  items: Iterable<CatalogueItem>,
  filled?: (items: number) => void,
): Promise<void> {
  await withConnection(url, async (connection) => {
    await fillTables(connection, '', items, filled)
    await connection.query(`ANALYZE TABLE ${FILLED.join(', ')}`)
    await settled(connection)
  })
}

/**
 * Brings the product database back to the catalogue, and waits until it has
 * nothing left to do. `stock` are the units of each item, if not the
 * catalogue's.
 */
export async function restoreCatalogue(urls: Urls, stock?: number): Promise<void> {
  await withConnection(urls.product, (connection) => restore(connection, stock))
}

async function fillTables(
  connection: Connection,
  prefix: string,
  items: Iterable<CatalogueItem>,
  filled: (items: number) => void = () => {},
): Promise<void> {
  let count = 0
  await connection.batch(
    `INSERT INTO ${prefix}seller_score (seller_id, thumbs_up, thumbs_down, items_sold) VALUES (?, ?, ?, ?)`,
    SELLER_IDS.map((id) => [id, ...Object.values(scoreOf(id))]),
  )
  for (const some of chunksOf(items, CHUNK_ITEMS)) {
    await connection.batch(
      `INSERT INTO ${prefix}item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) ` +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      some.map((item) => [
        ...[item.id, item.sellerId, item.name, item.category, item.keywords.join('\n')],
        ...[item.condition, item.priceCents, item.quantity],
      ]),
    )
    await connection.batch(
      `INSERT INTO ${prefix}item_keyword (category, keyword, item_id) VALUES (?, ?, ?)`,
      some.flatMap(({ id, category, keywords }) => ['', ...keywords].map((keyword) => [category, keyword, id])),
    )
    count += some.length
    filled(count)
  }
}

function* chunksOf<T>(things: Iterable<T>, size: number): Generator<T[]> {
  let chunk: T[] = []
  for (const thing of things) {
    chunk.push(thing)
    if (chunk.length < size) continue
    yield chunk
    chunk = []
  }
  if (chunk.length > 0) yield chunk
}

async function restore(connection: Connection, stock?: number): Promise<void> {
  for (const table of EMPTIED) {
    const rows = await connection.query<object[]>(`SELECT 1 FROM ${table} LIMIT 1`)
    if (rows.length > 0) await connection.query(`TRUNCATE TABLE ${table}`)
  }
  for (const table of FILLED) {
    await connection.query(`TRUNCATE TABLE ${table}`)
    const columns = table === 'item' && stock !== undefined ? ITEM_COLUMNS.replace('quantity', String(stock)) : '*'
    await connection.query(`INSERT INTO ${table} SELECT ${columns} FROM template_${table}`)
  }
  await connection.query(`ANALYZE TABLE ${FILLED.join(', ')}`)
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
