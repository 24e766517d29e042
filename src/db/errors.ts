/**
 * What an error of the database means: what is known of the transaction that
 * failed, and whether the database as a whole is in trouble. Every error number
 * of MariaDB 10.6 to 11.8 that souk's statements can meet stands in the table
 * here. `db.ts` acts on the meaning and knows no number.
 */

import type { SqlError } from 'mariadb'

/**
 * - `taken`: a unique value exists already; nothing was written.
 * - `undone`: surely nothing happened, and the next attempt may succeed. No connection, a deadlock, a lock wait, a
 *   statement that took too long.
 * - `lost`: the connection broke. Whether anything happened depends on what had been sent.
 * - `unusable`: the database refuses the statement, whosever call it is for: see `Trouble`.
 * - `fault`: the statement itself is wrong, or a value in it. So is every error that the table does not have.
 */
export type Meaning = 'taken' | 'undone' | 'lost' | 'unusable' | 'fault'

/** Why a database that answers refuses a statement. It lasts until somebody mends it, or a disk has room again. */
export type Trouble = 'disk' | 'readOnly' | 'rights' | 'tables' | 'storage' | 'resources' | 'cluster'

/** The deadline passed before the database answered; the connection is cut. */
export class DeadlinePassed extends Error {}

const STATEMENT_TIMEOUT = 1969

/** Errors of one transaction. */
const TAKEN = new Set([
  1022, // can't write; duplicate key in table
  1062, // duplicate entry
  1169, // duplicate entry of a unique constraint
  1586, // duplicate entry for key
])
const UNDONE = new Set([
  1020, // record changed since it was read
  1205, // lock wait timeout
  1213, // deadlock; in a cluster also another node's write to the same row
  1243, // prepared statement unknown
  1317, // statement interrupted: KILL QUERY
  1412, // table definition changed since the transaction began
  1615, // prepared statement needs to be prepared again
  1689, // wait for a lock aborted
  STATEMENT_TIMEOUT,
])

/** Errors of the database as a whole. The numbers below 120 are those of MariaDB's file layer, which reach clients too. */
const TROUBLES: Readonly<Record<Trouble, readonly number[]>> = {
  disk: [
    1, // can't create a file
    3, // can't write a file
    4, // can't close a file
    14, // can't change the size of a file
    20, // disk full
    27, // can't sync a file
    1004, // can't create a file
    1021, // disk full
    1023, // can't close a file
    1026, // can't write a file
    1114, // table full
    1180, // error during COMMIT
    1181, // error during ROLLBACK
    1182, // error during the flush of the logs
    1530, // tablespace can't grow
    1534, // binary log can't be written
    1598, // binary logging impossible
    1811, // write error
    1878, // temporary file can't be written
    3019, // undo log full
    4139, // index file full
  ],
  readOnly: [
    1036, // table is read only
    1290, // server runs with --read-only
    1792, // transaction is read only
    1836, // server in read-only mode
    1874, // InnoDB in read-only mode
  ],
  rights: [
    1142, // no right to the table
    1143, // no right to the column
    1227, // no such privilege
    1370, // no right to the routine
  ],
  /** Somebody changed the tables. */
  tables: [
    1046, // no database selected: it was dropped
    1054, // unknown column
    1146, // unknown table
    1176, // unknown index
    1364, // a column without default that souk does not know
    1932, // unknown table in the engine
  ],
  storage: [
    2, // can't read a file
    9, // unexpected end of a file
    15, // can't open a stream
    29, // file not found
    1015, // can't lock a file
    1016, // can't open a file
    1017, // can't find a file
    1024, // can't read a file
    1030, // error of the storage engine, such as 145 (crashed table) or 194 (tablespace missing)
    1032, // can't find a record
    1033, // wrong information in a file
    1034, // index corrupt
    1035, // old key file
    1194, // table crashed
    1195, // table crashed, and its repair failed
    1286, // unknown storage engine
    1296, // error of the storage engine, such as 192 (decryption failed: no key)
    1297, // temporary error of the storage engine
    1459, // table needs an upgrade
    1707, // table needs a rebuild
    1712, // index corrupt
    1808, // table does not fit its tablespace
    1810, // read error
    1812, // tablespace missing
    1814, // tablespace discarded
    1815, // internal error
    1817, // index corrupt
    1877, // table corrupt
    3000, // file corrupt
    4182, // storage engine disabled
  ],
  resources: [
    5, // out of memory
    23, // out of file resources
    1037, // out of memory
    1041, // out of resources
    1206, // lock table full
    1226, // limit of the user reached
    1461, // too many prepared statements
    1637, // too many transactions
    3015, // engine out of memory
    3044, // out of memory
  ],
  cluster: [
    1047, // node not ready
  ],
}

/** Errors of a connection that could not be made. */
const UNCONNECTED = new Set<string | number>([
  1040, // too many connections
  1044, // no right to the database
  1045, // wrong user or password
  1049, // unknown database
  1129, // host blocked
  1130, // host not allowed
  1135, // can't create a thread
  1203, // too many connections of this user
  1524, // plugin of the user not loaded
  1698, // wrong user, no password given
  1820, // the password must be changed first
  1862, // the password must be changed first
  3159, // TLS required
  4150, // user blocked after too many wrong passwords
  4151, // user locked
  // Of the driver, when there was no connection to send on:
  45012, // ER_CONNECTION_TIMEOUT
  45013, // ER_CMD_CONNECTION_CLOSED
  45027, // ER_POOL_ALREADY_CLOSED
  45028, // ER_GET_CONNECTION_TIMEOUT
  45029, // ER_SETTING_SESSION_ERROR
  45030, // ER_INITIAL_SQL_ERROR
  45035, // ER_ADD_CONNECTION_CLOSED_POOL
  45037, // ER_CLOSING_POOL
  45039, // ER_INITIAL_TIMEOUT_ERROR
  45042, // ER_PING_TIMEOUT
  45060, // ER_POOL_NOT_INITIALIZED
  45061, // ER_POOL_NO_CONNECTION
  'ECONNREFUSED',
  'ENOENT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EMFILE',
])
/** Errors of a connection that broke. */
const LOST = new Set<string | number>([
  1053, // server shutting down
  1077, // normal shutdown
  1079, // shutdown complete
  1080, // connection closed by force
  1152, // connection aborted
  1156, // packets out of order
  1158, // error while the server read
  1159, // timeout while the server read
  1160, // error while the server wrote
  1161, // timeout while the server wrote
  1184, // connection aborted
  1927, // connection killed
  // Of the driver:
  45001, // ER_CONNECTION_ALREADY_CLOSED
  45004, // ER_CMD_NOT_EXECUTED_DESTROYED
  45009, // ER_SOCKET_UNEXPECTED_CLOSE
  45011, // ER_UNEXPECTED_PACKET
  45019, // ER_SOCKET
  45020, // ER_EOF_EXPECTED
  45026, // ER_SOCKET_TIMEOUT
  45051, // ER_PREPARE_CLOSED
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
])
const TROUBLE_BY_NUMBER = new Map(
  Object.entries(TROUBLES).flatMap(([trouble, numbers]) => numbers.map((number) => [number, trouble as Trouble])),
)

export function interpretError(error: unknown): Meaning {
  if (error instanceof DeadlinePassed) return 'lost'
  const { errno = 0, code } = error as Partial<SqlError>
  if (TAKEN.has(errno)) return 'taken'
  if (UNDONE.has(errno) || isUnconnected(error)) return 'undone'
  if (LOST.has(errno) || LOST.has(code ?? '')) return 'lost'
  return TROUBLE_BY_NUMBER.has(errno) ? 'unusable' : 'fault'
}

/** Why the database refuses the statement, if the error says that. */
export function findTrouble(error: unknown): Trouble | undefined {
  return TROUBLE_BY_NUMBER.get((error as Partial<SqlError>).errno ?? 0)
}

/** Whether the error says that there is no connection, or none any more: the database itself may be lost. */
export function isOfConnection(error: unknown): boolean {
  return interpretError(error) === 'lost' || isUnconnected(error)
}

function isUnconnected(error: unknown): boolean {
  const { errno = 0, code } = error as Partial<SqlError>
  return UNCONNECTED.has(errno) || UNCONNECTED.has(code ?? '')
}

export function isStatementTimeout(error: unknown): boolean {
  return (error as Partial<SqlError>).errno === STATEMENT_TIMEOUT
}
