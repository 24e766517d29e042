/**
 * The databases of a study: created anew, filled with the catalogue, and
 * restored to it before a run. Restoring replaces whole tables: after deleting
 * row by row, InnoDB would still be purging during the next run.
 */

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mariadb'
import { ROLES, type Role } from '../contract/operations.ts'
import { withConnection } from '../db/connect.ts'
import { applySchema, createDatabase, type DatabaseName } from '../db/schema.ts'
import { connectionOptions } from '../db/url.ts'
import { SetUpError } from '../process/start.ts'
import { hashToken, INSERT_SESSION, SESSION_LIFE } from '../server/market/sessions.ts'
import { CATALOGUE, type CatalogueItem, catalogueItems, ITEMS, sellerName, sellerScore } from './catalogue.ts'
import type { Session } from './fleet.ts'

export type Urls = Record<DatabaseName, string>

/** How long sessions may be idle in seconds: clients log in once for the whole study. */
export const SESSION_IDLE_S = 3_600
/** Databases with this prefix belong to a study, and may be emptied. */
const OURS = 'souk_study_'
/** The tables that a run may change: filled by the catalogue, or empty at the start. */
const FILLED = ['item', 'item_keyword', 'seller_score'] as const
const EMPTIED = ['cart', 'saved_cart', 'purchase', 'purchase_line', 'feedback', 'buyer_score', 'idempotency'] as const
const SELLER_IDS = Array.from({ length: CATALOGUE.sellers }, (_, index) => index + 1)
/** Items per batch of INSERTs when a database is filled. */
const CHUNK_ITEMS = 10_000
/** How long to wait for InnoDB to purge old versions of rows, and how many transactions may remain unpurged. */
const SETTLE_MS = 5_000
const SETTLED_HISTORY = 100

/** Creates a database anew. Throws `SetUpError` if it is neither a study's nor empty. */
export async function createStudyDatabase(url: string, name: DatabaseName): Promise<void> {
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
  await applySchema(name, { [name]: url })
}

/** Accounts, logged in with a session each. Written to the database directly: hashing passwords is slow on purpose. */
export function openSessions(urls: Urls, accounts: Readonly<Record<Role, number>>): Promise<Record<Role, Session[]>> {
  return withConnection(urls.customer, async (connection) => {
    const sessions: Record<Role, Session[]> = { seller: [], buyer: [] }
    for (const role of ROLES) {
      const toName = role === 'seller' ? sellerName : (id: number) => `Buyer ${id}`
      const opened = Array.from({ length: accounts[role] }, (_, index) => ({
        accountId: index + 1,
        session: randomBytes(32).toString('base64url'),
      }))
      await connection.batch(
        `INSERT INTO ${role} (id, username, name, password) VALUES (?, ?, ?, '')`,
        opened.map(({ accountId }) => [accountId, `${role}.${accountId}`, toName(accountId)]),
      )
      await connection.batch(
        INSERT_SESSION,
        opened.map(({ accountId, session }) => [
          hashToken(session),
          role,
          accountId,
          SESSION_LIFE.absoluteS,
          SESSION_IDLE_S,
        ]),
      )
      sessions[role] = opened
    }
    return sessions
  })
}

/**
 * Fills the catalogue, and keeps a template of it to restore from. Sellers without an account get one that no password
 * opens. Here and below, `onFilled` is called with the number of items so far.
 */
export async function fillCatalogue(urls: Urls, onFilled?: (items: number) => void): Promise<void> {
  await withConnection(urls.customer, (connection) =>
    connection.batch(
      'INSERT IGNORE INTO seller (id, username, name, password) VALUES (?, ?, ?, ?)',
      SELLER_IDS.map((id) => [id, `seller.of.study.${id}`, sellerName(id), '']),
    ),
  )
  await withConnection(urls.product, async (connection) => {
    for (const table of FILLED) await connection.query(`CREATE TABLE template_${table} LIKE ${table}`)
    await fillTables(connection, 'template_', catalogueItems(), onFilled)
    await connection.query(`SELECT SETVAL(item_id, ${ITEMS})`)
    await restore(connection)
  })
}

/** Fills a product database that is only read: it needs no template. */
export async function fillForReading(
  url: string,
  items: Iterable<CatalogueItem>,
  onFilled?: (items: number) => void,
): Promise<void> {
  await withConnection(url, async (connection) => {
    await fillTables(connection, '', items, onFilled)
    await connection.query(`ANALYZE TABLE ${FILLED.join(', ')}`)
    await settle(connection)
  })
}

/**
 * Restores the catalogue in the product database, and waits until the database
 * is idle. `stock`: the units of each item, instead of the catalogue's.
 */
export async function restoreCatalogue(urls: Urls, stock?: number): Promise<void> {
  await withConnection(urls.product, (connection) => restore(connection, stock))
}

async function fillTables(
  connection: Connection,
  prefix: string,
  items: Iterable<CatalogueItem>,
  onFilled: (items: number) => void = () => {},
): Promise<void> {
  let count = 0
  await connection.batch(
    `INSERT INTO ${prefix}seller_score (seller_id, thumbs_up, thumbs_down, items_sold) VALUES (?, ?, ?, ?)`,
    SELLER_IDS.map((id) => [id, ...Object.values(sellerScore(id))]),
  )
  for (const chunk of inChunks(items, CHUNK_ITEMS)) {
    await connection.batch(
      `INSERT INTO ${prefix}item ` +
        '(id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity) ' +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      chunk.map((item) => [
        item.id,
        item.sellerId,
        sellerName(item.sellerId),
        item.name,
        item.category,
        item.keywords.join('\n'),
        item.condition,
        item.priceCents,
        item.quantity,
      ]),
    )
    await connection.batch(
      `INSERT INTO ${prefix}item_keyword (category, keyword, item_id) VALUES (?, ?, ?)`,
      chunk.flatMap(({ id, category, keywords }) => ['', ...keywords].map((keyword) => [category, keyword, id])),
    )
    count += chunk.length
    onFilled(count)
  }
}

function* inChunks<T>(things: Iterable<T>, size: number): Generator<T[]> {
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
    await connection.query(`INSERT INTO ${table} SELECT * FROM template_${table}`)
  }
  if (stock !== undefined) await connection.query('UPDATE item SET quantity = ?', [stock])
  await connection.query(`ANALYZE TABLE ${FILLED.join(', ')}`)
  await settle(connection)
}

async function settle(connection: Connection): Promise<void> {
  const untilMs = performance.now() + SETTLE_MS
  while (performance.now() < untilMs) {
    const [row] = await connection.query<{ Value: string }[]>("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
    if (Number(row?.Value ?? 0) <= SETTLED_HISTORY) return
    await sleep(20)
  }
}
