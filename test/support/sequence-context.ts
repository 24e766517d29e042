/**
 * The context of one random sequence of calls: accounts, sessions and categories
 * of its own, so that many sequences can share a marketplace, and the reference
 * to compare with. Also reads all rows of the sequence from the databases, and
 * computes the rows that the reference expects.
 */

import type { Connection } from 'mariadb'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { toSessionKey } from '../../src/db/idempotency.ts'
import type { DatabaseName } from '../../src/db/schema.ts'
import { VERSION } from '../../src/process/start.ts'
import { hashToken } from '../../src/server/market/sessions.ts'
import { type Cart, Reference } from './reference.ts'
import { openSessions } from './sessions.ts'

export interface SequenceContext {
  reference: Reference
  /** The prefix of every user name. */
  prefix: string
  categories: readonly number[]
  /** All tokens ever given out, the oldest first. */
  sessions: Record<Role, string[]>
  keyedCalls: KnownCall[]
  /** Calls that were answered with one page of several, with the cursor of the next page. */
  pages: KnownCall[]
  answerCounts: AnswerCounts
}

/** The number of calls by operation and kind of answer, as `possibleAnswers` names them. */
export type AnswerCounts = Map<string, number>

/** A call that a client remembers. */
export interface KnownCall {
  role: Role
  operation: string
  accountId: number
  /** As sent, without the session. */
  params: object
}

export type Databases = { [D in DatabaseName]: Connection }

/** The accounts at the beginning, in both roles. */
export const FIRST_USERS = ['ann', 'bob', 'cid'] as const
export const PASSWORD = 'correct horse'
const SESSIONS_A_USER = 5
const SESSION_IDLE_S = 12 * 3_600
const CATEGORIES = 65_536
const CATEGORIES_A_CONTEXT = 2

let contextsOpened = 0

/** Accounts and first sessions go straight into the database: scrypt would take longer than the sequence. */
export async function openContext(
  { customer }: Databases,
  passwordHash: string,
  answerCounts: AnswerCounts,
): Promise<SequenceContext> {
  const number = contextsOpened++
  const context: SequenceContext = {
    reference: new Reference(VERSION),
    prefix: `${number}-`,
    categories: Array.from(
      { length: CATEGORIES_A_CONTEXT },
      (_, index) => (number * CATEGORIES_A_CONTEXT + index) % CATEGORIES,
    ),
    sessions: { seller: [], buyer: [] },
    keyedCalls: [],
    pages: [],
    answerCounts,
  }
  for (const role of ROLES) await openAccounts(context, role, customer, passwordHash)
  return context
}

async function openAccounts(
  { reference, prefix, sessions }: SequenceContext,
  role: Role,
  customer: Connection,
  hash: string,
) {
  const users = FIRST_USERS.map((name) => ({ username: prefix + name, name }))
  const rows: { id: number }[] = await customer.query(
    `INSERT INTO ${role} (username, name, password) VALUES ${users.map(() => '(?, ?, ?)').join(', ')} RETURNING id`,
    users.flatMap(({ username, name }) => [username, name, hash]),
  )
  const accounts = users.map((user, index) => ({ ...user, id: (rows[index] as { id: number }).id, password: PASSWORD }))
  reference.accounts[role].push(...accounts)
  const owners: typeof accounts = Array(SESSIONS_A_USER).fill(accounts).flat()
  const opened = await openSessions(customer, role, owners, { idleS: SESSION_IDLE_S })
  for (const [index, { session }] of opened.entries()) {
    reference.sessions.set(session, { role, account: owners[index] as (typeof owners)[number] })
    sessions[role].push(session)
  }
}

/** Frees the categories for another context. */
export async function closeContext({ categories }: SequenceContext, { product }: Databases): Promise<void> {
  await product.query('DELETE FROM item_keyword WHERE category IN (?)', [categories])
}

/** The rows of each table, as sorted JSON texts. */
type Tables = Record<string, readonly string[]>

/** All rows of this context in the databases. */
export async function readStoredRows(
  { reference, categories }: SequenceContext,
  databases: Databases,
): Promise<Tables> {
  const values = {
    sellers: reference.accounts.seller.map(({ id }) => id),
    buyers: reference.accounts.buyer.map(({ id }) => id),
    sessions: [...reference.sessions.keys(), ''].map(hashToken),
    categories,
  }
  const tables = Object.entries(TABLES).map(async ([name, { database, sql }]) => {
    const rows: unknown[][] = await databases[database].query(
      { sql, namedPlaceholders: true, rowsAsArray: true },
      values,
    )
    return [name, toSortedTexts(rows)]
  })
  return Object.fromEntries(await Promise.all(tables))
}

/** The rows that the reference expects. */
export function toExpectedRows({ reference }: SequenceContext): Tables {
  return Object.fromEntries(Object.entries(TABLES).map(([name, { rows }]) => [name, toSortedTexts(rows(reference))]))
}

function toSortedTexts(rows: readonly (readonly unknown[])[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort()
}

interface Table {
  database: DatabaseName
  sql: string
  rows(reference: Reference): unknown[][]
}

/** A score without a row equals zeros, so rows of zeros are left out. Carts are those of live sessions. */
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
    rows: ({ sessions }) => [...sessions].map(([token, { role, account }]) => [hashToken(token), role, account.id]),
  },
  item: {
    database: 'product',
    sql: `SELECT id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity,
            thumbs_up, thumbs_down FROM item WHERE seller_id IN (:sellers)`,
    rows: (reference) =>
      [...reference.items.values()].map((item) => [
        item.item_id,
        item.seller_id,
        item.seller_name,
        item.name,
        item.category,
        item.keywords.join('\n'),
        item.condition,
        item.price_cents,
        item.quantity,
        ...Object.values(reference.countVotes([item.item_id])),
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
    rows: ({ purchases }) => purchases.map(({ id, buyerId, lines }) => [id, buyerId, sumCents(lines)]),
  },
  purchase_line: {
    database: 'product',
    sql: `SELECT purchase_id, item_id, buyer_id, seller_id, name, quantity, price_cents
          FROM purchase_line WHERE buyer_id IN (:buyers)`,
    rows: ({ purchases, items }) =>
      purchases.flatMap(({ id, buyerId, lines }) =>
        lines.map(({ item_id, name, quantity, price_cents }) => {
          return [id, item_id, buyerId, items.get(item_id)?.seller_id, name, quantity, price_cents]
        }),
      ),
  },
  feedback: {
    database: 'product',
    sql: `SELECT buyer_id, item_id, vote FROM feedback WHERE buyer_id IN (:buyers)`,
    rows: ({ votes }) => [...votes.values()].map(({ buyerId, itemId, vote }) => [buyerId, itemId, vote]),
  },
  seller_score: {
    database: 'product',
    sql: `SELECT seller_id, thumbs_up, thumbs_down, items_sold, sales_cents FROM seller_score
          WHERE seller_id IN (:sellers) AND thumbs_up + thumbs_down + items_sold > 0`,
    rows: (reference) =>
      reference.accounts.seller
        .map(({ id }) => [id, ...Object.values(reference.rateSeller(id)), reference.sumSales(id)])
        .filter(([, ...score]) => score.some((count) => count !== 0)),
  },
  buyer_score: {
    database: 'product',
    sql: `SELECT buyer_id, items_purchased FROM buyer_score WHERE buyer_id IN (:buyers) AND items_purchased > 0`,
    rows: (reference) =>
      reference.accounts.buyer
        .map(({ id }) => [id, reference.countItemsPurchased(id)])
        .filter(([, units]) => units !== 0),
  },
  saved_cart: {
    database: 'product',
    sql: `SELECT buyer_id, content FROM saved_cart WHERE buyer_id IN (:buyers)`,
    rows: ({ savedCarts }) => [...savedCarts].map(([buyerId, cart]) => [buyerId, encodeCart(cart)]),
  },
  cart: {
    database: 'product',
    sql: `SELECT session_hash, buyer_id, content FROM cart WHERE session_hash IN (:sessions)`,
    rows: ({ sessions }) =>
      [...sessions].flatMap(([token, { account, cart }]) =>
        cart === undefined ? [] : [[hashToken(token), account.id, encodeCart(cart)]],
      ),
  },
  idempotency: {
    database: 'product',
    sql: `SELECT role, account_id, idempotency_key FROM idempotency
          WHERE role = 'seller' AND account_id IN (:sellers) OR role = 'buyer' AND account_id IN (:buyers)`,
    rows: ({ firstAnswers }) =>
      [...firstAnswers.values()].map(({ role, accountId, key, session }) => [
        role,
        accountId,
        session === undefined ? key : toSessionKey(hashToken(session), key),
      ]),
  },
}

function sumCents(lines: readonly { quantity: number; price_cents: number }[]): number {
  return lines.reduce((total, { quantity, price_cents }) => total + quantity * price_cents, 0)
}

function encodeCart(cart: Cart): string {
  return [...cart].map((line) => line.join(':')).join(' ')
}
