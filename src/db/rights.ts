/**
 * The rights of the servers' users: what a server of each role does with each
 * table, and nothing else. Both the GRANT statements and the check at start come
 * from this table. A new table of `schema.sql` is a line here.
 */

import type { SqlError } from 'mariadb'
import { ROLES, type Role } from '../contract/operations.ts'
import { SetUpError } from '../process/start.ts'
import { withConnection } from './connect.ts'
import { type DatabaseName, firstColumns } from './schema.ts'
import { connectionOptions } from './url.ts'

/** A database user for the servers of each role. The owner of the tables is another. */
export const SERVER_USERS: Readonly<Record<Role, string>> = { seller: 'souk_seller', buyer: 'souk_buyer' }

type Rights = Readonly<Record<string, Partial<Record<Role, string>>>>

/**
 * By database and table, as GRANT has them. A role that is not named has none. INSERT … ON DUPLICATE KEY UPDATE takes
 * the right to update every column that it inserts, and the next value of a sequence those to read and to insert.
 */
export const RIGHTS: Readonly<Record<DatabaseName, Rights>> = {
  customer: {
    schema_version: { seller: 'SELECT', buyer: 'SELECT' },
    seller: { seller: 'SELECT, INSERT, UPDATE', buyer: 'SELECT (id, name)' },
    buyer: { buyer: 'SELECT, INSERT, UPDATE' },
    password_guess: { seller: 'SELECT, INSERT, UPDATE, DELETE', buyer: 'SELECT, INSERT, UPDATE, DELETE' },
    session: {
      seller: 'SELECT, INSERT, UPDATE (expires_at), DELETE',
      buyer: 'SELECT, INSERT, UPDATE (expires_at), DELETE',
    },
  },
  product: {
    schema_version: { seller: 'SELECT', buyer: 'SELECT' },
    item: {
      seller: 'SELECT, INSERT, UPDATE (name, category, keywords, item_condition, price_cents, quantity)',
      buyer: 'SELECT, UPDATE (quantity, thumbs_up, thumbs_down)',
    },
    item_keyword: { seller: 'SELECT, INSERT, DELETE', buyer: 'SELECT, DELETE' },
    cart: { buyer: 'SELECT, INSERT, UPDATE (content), DELETE' },
    saved_cart: { buyer: 'SELECT, INSERT, UPDATE' },
    purchase: { seller: 'SELECT', buyer: 'SELECT, INSERT' },
    purchase_line: { seller: 'SELECT', buyer: 'SELECT, INSERT' },
    feedback: { buyer: 'SELECT, INSERT, UPDATE' },
    seller_score: {
      seller: 'SELECT',
      buyer: 'SELECT, INSERT, UPDATE',
    },
    buyer_score: { buyer: 'SELECT, INSERT, UPDATE' },
    item_id: { seller: 'SELECT, INSERT' },
    purchase_id: { buyer: 'SELECT, INSERT' },
    idempotency: { seller: 'SELECT, INSERT, DELETE', buyer: 'SELECT, INSERT, DELETE' },
  },
}

/**
 * Gives the users of the servers their rights. The tables are there, and the URL's user may grant. A user is named
 * without a host: it is the one of all hosts, or else a role of that name.
 */
export async function grantRights(name: DatabaseName, url: string): Promise<void> {
  const { database } = connectionOptions(url)
  await withConnection(url, async (connection) => {
    for (const { table, role, rights } of listRights(name, ROLES)) {
      const user = SERVER_USERS[role]
      const place = `${connection.escapeId(database)}.${table}`
      await connection.query(`GRANT ${rights} ON ${place} TO ${user}`).catch((error: SqlError) => {
        throw error.code === 'ER_PASSWORD_NO_MATCH' ? new SetUpError(`there is no user ${user}@'%'`) : error
      })
    }
  })
}

/** Checks all rights of the roles, with statements that change nothing. Rejects with the error of a missing one. */
export async function checkRights(name: DatabaseName, url: string, roles: readonly Role[]): Promise<void> {
  const columns = firstColumns(name)
  const statements = listRights(name, roles).flatMap(({ table, rights }) =>
    splitRights(rights).map(({ right, columns: named }) => using(right, table, named ?? columns.get(table) ?? [])),
  )
  await withConnection(url, (connection) => Promise.all(statements.map((statement) => connection.query(statement))))
}

function listRights(name: DatabaseName, roles: readonly Role[]): { table: string; role: Role; rights: string }[] {
  return Object.entries(RIGHTS[name]).flatMap(([table, byRole]) =>
    roles.flatMap((role) => {
      const rights = byRole[role]
      return rights === undefined ? [] : [{ table, role, rights }]
    }),
  )
}

/** `SELECT, UPDATE (id, name)` in parts; without columns, a right is one on all of them. */
function splitRights(rights: string): { right: string; columns: string[] | undefined }[] {
  return [...rights.matchAll(/([A-Z]+)(?: \((.+?)\))?/g)].map(([, right = '', columns]) => ({
    right,
    columns: columns?.split(', '),
  }))
}

/** A statement that needs the right, and does nothing. */
function using(right: string, table: string, columns: readonly string[]): string {
  switch (right) {
    case 'INSERT':
      if (columns.length === 0) return `SELECT NEXT VALUE FOR ${table} FROM DUAL WHERE FALSE`
      return `INSERT INTO ${table} SELECT * FROM ${table} WHERE FALSE`
    case 'UPDATE':
      return `UPDATE ${table} SET ${columns.map((column) => `${column} = ${column}`).join(', ')} WHERE FALSE`
    case 'DELETE':
      return `DELETE FROM ${table} WHERE FALSE`
    default:
      return `SELECT ${columns.join(', ') || '*'} FROM ${table} WHERE FALSE`
  }
}
