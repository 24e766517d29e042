/**
 * What one sequence of calls plays in: users, sessions and categories that no
 * other sequence has, with the reference of what is in them, so that many can
 * share a marketplace. Compares all that the databases have of it.
 */

import { createHash, randomBytes } from 'node:crypto'
import type { Connection } from 'mariadb'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import type { DatabaseName } from '../../src/db/schema.ts'
import { VERSION } from '../../src/process/start.ts'
import { type Cart, Reference } from './reference.ts'

export interface World {
  reference: Reference
  /** Begins every user name. */
  prefix: string
  categories: readonly number[]
  /** All tokens there were, in the order in which their sessions began. */
  sessions: Record<Role, string[]>
  keyedCalls: KnownCall[]
  /** Calls that were answered a part of a list, with the cursor that leads on. */
  pages: KnownCall[]
  tally: Tally
}

/** How often each operation came to each outcome. */
export type Tally = Map<string, number>

/** A call that a client remembers. */
export interface KnownCall {
  role: Role
  operation: string
  accountId: number
  /** As sent, without the session. */
  params: object
}

export type Databases = { [D in DatabaseName]: Connection }

/** Who is there at the beginning, in both roles. */
export const FIRST_USERS = ['ann', 'bob', 'cid'] as const
export const PASSWORD = 'correct horse'
const SESSIONS_A_USER = 5
const LIFE_S = 12 * 3_600
const CATEGORIES = 65_536
const CATEGORIES_A_WORLD = 2

let worldsOpened = 0

/** Users and first sessions go straight into the database: scrypt would take longer than the sequence. */
export async function openWorld({ customer }: Databases, passwordHash: string, tally: Tally): Promise<World> {
  const number = worldsOpened++
  const world: World = {
    reference: new Reference(VERSION),
    prefix: `${number}-`,
    categories: Array.from(
      { length: CATEGORIES_A_WORLD },
      (_, index) => (number * CATEGORIES_A_WORLD + index) % CATEGORIES,
    ),
    sessions: { seller: [], buyer: [] },
    keyedCalls: [],
    pages: [],
    tally,
  }
  for (const role of ROLES) await openAccounts(world, role, customer, passwordHash)
  return world
}

async function openAccounts({ reference, prefix, sessions }: World, role: Role, customer: Connection, hash: string) {
  const users = FIRST_USERS.map((name) => ({ username: prefix + name, name }))
  const rows: { id: number }[] = await customer.query(
    `INSERT INTO ${role} (username, name, password) VALUES ${users.map(() => '(?, ?, ?)').join(', ')} RETURNING id`,
    users.flatMap(({ username, name }) => [username, name, hash]),
  )
  const accounts = users.map((user, index) => ({ ...user, id: (rows[index] as { id: number }).id, password: PASSWORD }))
  reference.accounts[role].push(...accounts)
  for (const account of Array(SESSIONS_A_USER).fill(accounts).flat()) {
    const token = randomBytes(32).toString('base64url')
    reference.sessions.set(token, { role, account })
    sessions[role].push(token)
  }
  await customer.batch(
    'INSERT INTO session (token_hash, role, account_id, ends_at, expires_at) ' +
      'VALUES (?, ?, ?, UNIX_TIMESTAMP() + ?, UNIX_TIMESTAMP() + ?)',
    sessions[role].map((token) => [hashOf(token), role, reference.sessions.get(token)?.account.id, LIFE_S, LIFE_S]),
  )
}

/** Makes the categories free for another world. */
export async function closeWorld({ categories }: World, { product }: Databases): Promise<void> {
  await product.query('DELETE FROM item_keyword WHERE category IN (?)', [categories])
}

/** Each table as its rows, each as JSON, in no order. */
type Tables = Record<string, readonly string[]>

/** What the databases have of the world. */
export async function rowsStored({ reference, categories }: World, databases: Databases): Promise<Tables> {
  const values = {
    sellers: reference.accounts.seller.map(({ id }) => id),
    buyers: reference.accounts.buyer.map(({ id }) => id),
    sessions: [...reference.sessions.keys(), ''].map(hashOf),
    categories,
  }
  const tables = Object.entries(TABLES).map(async ([name, { database, sql }]) => {
    const rows: unknown[][] = await databases[database].query(
      { sql, namedPlaceholders: true, rowsAsArray: true },
      values,
    )
    return [name, asLines(rows)]
  })
  return Object.fromEntries(await Promise.all(tables))
}

/** What they should have. */
export function rowsExpected({ reference }: World): Tables {
  return Object.fromEntries(Object.entries(TABLES).map(([name, { rows }]) => [name, asLines(rows(reference))]))
}

function asLines(rows: readonly (readonly unknown[])[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort()
}

interface Table {
  database: DatabaseName
  sql: string
  rows(reference: Reference): unknown[][]
}

/** Scores without a row are zeros, and compared as such. Carts are those of the sessions that live. */
const TABLES: Readonly<Record<string, Table>> = {
  seller: {
    database: 'customer',
    sql: `SELECT id, username, name FROM seller WHERE id IN (:sellers)`,
    rows: ({ accounts }) => accounts.seller.map(({ id, username, name }) => [id, username, name]),
  },
  buyer: {
    database: 'customer',
    sql: `SELECT id, username, name FROM buyer WHERE id IN (:buyers)`,
    rows: ({ accounts }) => accounts.buyer.map(({ id, username, name }) => [id, username, name]),
  },
  session: {
    database: 'customer',
    sql: `SELECT token_hash, role, account_id FROM session
          WHERE role = 'seller' AND account_id IN (:sellers) OR role = 'buyer' AND account_id IN (:buyers)`,
    rows: ({ sessions }) => [...sessions].map(([token, { role, account }]) => [hashOf(token), role, account.id]),
  },
  item: {
    database: 'product',
    sql: `SELECT id, seller_id, name, category, keywords, item_condition, price_cents, quantity, thumbs_up, thumbs_down
          FROM item WHERE seller_id IN (:sellers)`,
    rows: (reference) =>
      [...reference.items.values()].map((item) => [
        ...[item.item_id, item.seller_id, item.name, item.category, item.keywords.join('\n'), item.condition],
        ...[item.price_cents, item.quantity, ...Object.values(reference.votesOn([item.item_id]))],
      ]),
  },
  item_keyword: {
    database: 'product',
    sql: `SELECT category, keyword, item_id FROM item_keyword WHERE category IN (:categories)`,
    rows: ({ items }) =>
      [...items.values()]
        .filter(({ quantity }) => quantity > 0)
        .flatMap(({ category, keywords, item_id }) => ['', ...keywords].map((keyword) => [category, keyword, item_id])),
  },
  purchase: {
    database: 'product',
    sql: `SELECT id, buyer_id, total_cents FROM purchase WHERE buyer_id IN (:buyers)`,
    rows: ({ purchases }) => purchases.map(({ id, buyerId, lines }) => [id, buyerId, totalOf(lines)]),
  },
  purchase_line: {
    database: 'product',
    sql: `SELECT purchase_id, item_id, buyer_id, quantity, price_cents FROM purchase_line WHERE buyer_id IN (:buyers)`,
    rows: ({ purchases }) =>
      purchases.flatMap(({ id, buyerId, lines }) =>
        lines.map(({ item_id, quantity, price_cents }) => [id, item_id, buyerId, quantity, price_cents]),
      ),
  },
  feedback: {
    database: 'product',
    sql: `SELECT buyer_id, item_id, vote FROM feedback WHERE buyer_id IN (:buyers)`,
    rows: ({ votes }) => [...votes.values()].map(({ buyerId, itemId, vote }) => [buyerId, itemId, vote]),
  },
  seller_score: {
    database: 'product',
    sql: `SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score
          WHERE seller_id IN (:sellers) AND thumbs_up + thumbs_down + items_sold > 0`,
    rows: (reference) =>
      reference.accounts.seller
        .map(({ id }) => [id, ...Object.values(reference.rating(id))])
        .filter(([, ...score]) => score.some((count) => count !== 0)),
  },
  buyer_score: {
    database: 'product',
    sql: `SELECT buyer_id, items_purchased FROM buyer_score WHERE buyer_id IN (:buyers) AND items_purchased > 0`,
    rows: (reference) =>
      reference.accounts.buyer.map(({ id }) => [id, reference.itemsPurchased(id)]).filter(([, units]) => units !== 0),
  },
  saved_cart: {
    database: 'product',
    sql: `SELECT buyer_id, content FROM saved_cart WHERE buyer_id IN (:buyers)`,
    rows: ({ savedCarts }) => [...savedCarts].map(([buyerId, cart]) => [buyerId, contentOf(cart)]),
  },
  cart: {
    database: 'product',
    sql: `SELECT session_hash, buyer_id, content FROM cart WHERE session_hash IN (:sessions)`,
    rows: ({ sessions }) =>
      [...sessions].flatMap(([token, { account, cart }]) =>
        cart === undefined ? [] : [[hashOf(token), account.id, contentOf(cart)]],
      ),
  },
  idempotency: {
    database: 'product',
    sql: `SELECT role, account_id, idempotency_key FROM idempotency
          WHERE role = 'seller' AND account_id IN (:sellers) OR role = 'buyer' AND account_id IN (:buyers)`,
    rows: ({ firstAnswers }) => [...firstAnswers.keys()].map((key) => JSON.parse(key)),
  },
}

function totalOf(lines: readonly { quantity: number; price_cents: number }[]): number {
  return lines.reduce((total, { quantity, price_cents }) => total + quantity * price_cents, 0)
}

function contentOf(cart: Cart): string {
  return [...cart].map((line) => line.join(':')).join(' ')
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
