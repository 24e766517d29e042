/**
 * Why a database can't be used, in words for the person who set it up: one line,
 * which holds no password.
 */

import type { SqlError } from 'mariadb'
import { connectionOptions } from './url.ts'

/** What an error of server, driver or operating system means; undefined for an error that is none of these. */
export function explainError(error: unknown, url: string): string | undefined {
  const { code, message = '', sqlMessage } = error as Partial<SqlError>
  if (typeof code !== 'string') return undefined
  const text = sqlMessage ?? message
  const { host = '', port, socketPath, user, password, database } = connectionOptions(url)
  const place = socketPath === undefined ? `${host}:${port}` : 'its socket'
  if (FULL_DISK.test(text)) return DISK_IS_FULL
  const meaning = MEANINGS.find(([codes]) => codes.includes(code))?.[1]
  const asked = { host, place, user, database, hasPassword: password !== '', text }
  return meaning?.(asked) ?? `the database can't be used: ${text.split('\n')[0]}`
}

/** Whether the error says that the user has no right to something. */
export function isDenial(error: unknown): boolean {
  return DENIALS.includes((error as Partial<SqlError>).code ?? '')
}

/** What was asked for, and the text of the error. */
interface Asked {
  host: string
  /** Where the database should answer. */
  place: string
  user: string
  database: string
  hasPassword: boolean
  text: string
}

const DENIED_DATABASE = ['ER_DBACCESS_DENIED_ERROR']
const DENIED_TABLE = ['ER_TABLEACCESS_DENIED_ERROR', 'ER_COLUMNACCESS_DENIED_ERROR']
const DENIALS = [...DENIED_DATABASE, ...DENIED_TABLE]
const FULL_DISK = /No space left|\b(errno:|errcode:|error) 28\b/i
const DISK_IS_FULL = 'the disk of the database is full'
/** Codes of server, driver, Node and operating system, with their meaning. */
const MEANINGS: readonly (readonly [codes: readonly string[], meaning: (asked: Asked) => string])[] = [
  [['ECONNREFUSED'], ({ place }) => `connection refused: nothing listens on ${place}`],
  [['ENOENT'], () => 'there is no socket at its socketPath'],
  [['EACCES', 'EPERM'], ({ place }) => `no right to connect to ${place}`],
  [['ENOTFOUND', 'EAI_AGAIN'], ({ host }) => `unknown host ${host}`],
  [['EHOSTUNREACH', 'ENETUNREACH'], ({ place }) => `${place} can't be reached`],
  [
    ['ETIMEDOUT', 'ECONNRESET', 'EPIPE', 'ER_CONNECTION_TIMEOUT', 'ER_SOCKET_UNEXPECTED_CLOSE', 'ER_UNEXPECTED_PACKET'],
    ({ place }) => `no MariaDB server answers on ${place}`,
  ],
  [
    ['ER_ACCESS_DENIED_ERROR', 'ER_ACCESS_DENIED_NO_PASSWORD_ERROR'],
    ({ user, hasPassword }) =>
      `the database refuses ${hasPassword ? `the password of user "${user}"` : `user "${user}" without a password`}`,
  ],
  [DENIED_DATABASE, ({ user, database }) => `user "${user}" has no right to use or create database "${database}"`],
  [['ER_BAD_DB_ERROR'], ({ database }) => `there is no database "${database}"`],
  [DENIED_TABLE, ({ user, text }) => `user "${user}" has no right to ${explainDenial(text)}`],
  [['ER_HOST_NOT_PRIVILEGED', 'ER_HOST_IS_BLOCKED'], () => 'the database accepts no connections from this host'],
  [['ER_CON_COUNT_ERROR'], () => 'the database has too many connections'],
  [['ER_TOO_MANY_USER_CONNECTIONS'], ({ user }) => `user "${user}" has too many connections to the database`],
  [['ER_SERVER_SHUTDOWN'], () => 'the database is shutting down'],
  [
    [
      'ER_OPTION_PREVENTS_STATEMENT',
      'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION',
      'ER_READ_ONLY_MODE',
      'ER_INNODB_READ_ONLY',
      'ER_OPEN_AS_READONLY',
    ],
    () => 'the database is read-only',
  ],
  [['ER_DISK_FULL', 'ER_RECORD_FILE_FULL', 'ER_INDEX_FILE_FULL', 'ER_INNODB_UNDO_LOG_FULL'], () => DISK_IS_FULL],
  [
    ['ER_OUTOFMEMORY', 'ER_OUT_OF_RESOURCES', 'ER_ENGINE_OUT_OF_MEMORY', 'ER_STD_BAD_ALLOC_ERROR'],
    () => 'the database has no memory left',
  ],
  [['ER_UNKNOWN_COM_ERROR'], () => 'the database is a node that is not in its cluster'],
  [['ER_SERVER_SSL_DISABLED'], () => 'the database offers no TLS'],
  [['CERT_HAS_EXPIRED'], () => 'the certificate of the database has expired'],
  [
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'ER_TLS_IDENTITY_ERROR'],
    ({ host }) => `the certificate of the database is not for ${host}`,
  ],
  [
    [
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'UNABLE_TO_GET_ISSUER_CERT',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'CERT_SIGNATURE_FAILURE',
      'ER_SELF_SIGNED',
      'ER_SELF_SIGNED_NO_PWD',
    ],
    () => "the certificate of the database has an unknown signer; ca can name a file with the signer's certificate",
  ],
]

/** `SELECT on shop.item`, of "SELECT command denied to user 'ann'@'%' for table `shop`.`item`". */
function explainDenial(text: string): string {
  const [, right, thing] = /^(.+) command denied to user .+ for (?:table|column) (\S+)/.exec(text) ?? []
  return right === undefined ? text : `${right} on ${thing?.replaceAll(/[`']/g, '')}`
}
