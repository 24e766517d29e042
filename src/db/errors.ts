/**
 * What an error number of the database means: what is known of the transaction
 * that failed. `db.ts` acts on the meaning and knows no number.
 */

import type { SqlError } from 'mariadb'

/**
 * - `taken`: a unique value exists already; nothing was written.
 * - `undone`: surely nothing happened. No connection, a deadlock, a lock wait, a statement that took too long.
 * - `lost`: the connection broke. Whether anything happened depends on what had been sent.
 * - `fault`: the statement itself is wrong.
 */
export type Meaning = 'taken' | 'undone' | 'lost' | 'fault'

/** The deadline passed before the database answered; the connection is cut. */
export class DeadlinePassed extends Error {}

const DUPLICATE_KEY = 1062
const STATEMENT_TIMEOUT = 1969
/** Error numbers of server and driver, and error codes of the operating system. */
const UNDONE = new Set([
  1020, // record changed since it was read
  1205, // lock wait timeout
  1213, // deadlock
  1317, // statement interrupted
  STATEMENT_TIMEOUT,
  1047, // node not ready (Galera)
])
/** The same, because there is no connection. */
const UNCONNECTED = new Set<string | number>([
  1040, // too many connections
  1203, // too many connections of this user
  // Of the driver, when there was no connection to send on:
  45012, // ER_CONNECTION_TIMEOUT
  45013, // ER_CMD_CONNECTION_CLOSED
  45027, // ER_POOL_ALREADY_CLOSED
  45028, // ER_GET_CONNECTION_TIMEOUT
  45029, // ER_SETTING_SESSION_ERROR
  'ECONNREFUSED',
  'ENOENT',
  'EHOSTUNREACH',
  'ENETUNREACH',
])
const LOST = new Set<string | number>([
  1053, // server shutting down
  1927, // connection killed
  // Of the driver:
  45001, // ER_CONNECTION_ALREADY_CLOSED
  45004, // ER_CMD_NOT_EXECUTED_DESTROYED
  45009, // ER_SOCKET_UNEXPECTED_CLOSE
  45019, // ER_SOCKET
  45026, // ER_SOCKET_TIMEOUT
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
])

export function interpretError(error: unknown): Meaning {
  if (error instanceof DeadlinePassed) return 'lost'
  const { errno = 0, code = '' } = error as Partial<SqlError>
  const number = Math.abs(errno)
  if (number === DUPLICATE_KEY) return 'taken'
  if (UNDONE.has(number) || UNCONNECTED.has(number) || UNCONNECTED.has(code ?? '')) return 'undone'
  return LOST.has(number) || LOST.has(code ?? '') ? 'lost' : 'fault'
}

/** Whether the error says that there is no connection, or none any more: the database itself may be lost. */
export function isOfConnection(error: unknown): boolean {
  const { errno = 0, code } = error as Partial<SqlError>
  return interpretError(error) === 'lost' || UNCONNECTED.has(Math.abs(errno)) || UNCONNECTED.has(code ?? '')
}

export function isStatementTimeout(error: unknown): boolean {
  return (error as Partial<SqlError>).errno === STATEMENT_TIMEOUT
}
