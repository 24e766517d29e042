/** Connections to a database, and the settings that every connection has. */

import { type Connection, createConnection, type PoolConfig, type SqlError } from 'mariadb'
import { connectionOptions } from './url.ts'

/** How every connection of a server talks to the database. */
export const DRIVER_OPTIONS: PoolConfig = {
  charset: 'utf8mb4',
  collation: 'utf8mb4_nopad_bin',
  timezone: 'Z',
  rowsAsArray: true,
  bigIntAsNumber: true,
  insertIdAsNumber: true,
  checkNumberRange: true,
  logParam: false, // otherwise error messages carry passwords
  multipleStatements: false,
  permitSetMultiParamEntries: false,
  permitLocalInfile: false,
  pipelining: true,
  acquireTimeout: 2_000,
  connectTimeout: 2_000,
  pingTimeout: 2_000,
  minDelayValidation: 5_000, // shorter, and the pool throws healthy connections away under load
}

const EVERY_SESSION = [
  'SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin',
  'SET SESSION max_statement_time = 5',
  'SET SESSION group_concat_max_len = 1048576', // a longer value would be cut without an error
]

/** Statements that a new connection begins with: one that only reads, and one that writes. */
export const READING_SESSION = [...EVERY_SESSION, 'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED']
export const WRITING_SESSION = [
  ...READING_SESSION,
  'SET SESSION innodb_lock_wait_timeout = 2',
  'SET autocommit = 0', // a statement piped behind one that failed can then never commit by itself
]

/**
 * When a connection is destroyed at work, the driver kills its thread over a connection of its own, and leaves it to
 * nobody to hear that this has failed: the thread may have ended by itself, or the database be out of reach. That must
 * not end the process.
 */
process.on('unhandledRejection', (error) => {
  if (!/^KILL \d/.test((error as Partial<SqlError>)?.sql ?? '')) throw error
})

/** Work may wait long, for locks or while tables change. So often, another connection tells whether the server hangs. */
const BETWEEN_LOOKS_MS = 5_000

/** Does `work` on a connection of its own, which it then closes. Rejects when the server hangs. */
export async function withConnection<T>(
  url: string,
  work: (connection: Connection) => Promise<T>,
  connectTimeout = 5_000,
): Promise<T> {
  const options = { ...connectionOptions(url), bigIntAsNumber: true, connectTimeout }
  const connection = await createConnection(options)
  connection.on('error', () => {}) // the pending query rejects with it too
  let looks: NodeJS.Timeout | undefined
  const hangs = new Promise<never>((_, reject) => {
    const look = () =>
      createConnection(options).then(
        (another) => another.destroy(),
        (error) => error.code === 'ER_CONNECTION_TIMEOUT' && reject(error),
      )
    looks = setInterval(look, BETWEEN_LOOKS_MS).unref()
  })
  try {
    return await Promise.race([work(connection), hangs])
  } finally {
    clearInterval(looks)
    connection.destroy()
  }
}
