/**
 * The schema: creates databases, and in them the tables of `schema.sql`. Tables
 * of an older version are brought up to date by the files of `migrations/`, in
 * the order of their numbers.
 *
 * Servers that start together take turns at a lock. A server changes no tables
 * that have its version: rights to create and alter are needed only for a change.
 */

import { readdirSync, readFileSync } from 'node:fs'
import type { Connection } from 'mariadb'
import { progress } from '../process/progress.ts'
import { SetUpError } from '../process/start.ts'
import { withConnection } from './connect.ts'
import { MIGRATING_CODE } from './migrations.ts'
import { connectionOptions } from './url.ts'

const SOURCE = new URL('../../schema.sql', import.meta.url)
const MIGRATIONS = new URL('../../migrations/', import.meta.url)
/** Before versions had numbers. */
const FIRST_VERSION = 1
const VERSION_TABLE = 'schema_version'
/** The table that `schema.sql` creates last: where it is missing, tables were not created, or not all. */
const LAST_TABLE: Readonly<Record<DatabaseName, string>> = { customer: 'session', product: 'idempotency' }
/** The version of `schema.sql`. */
export const SCHEMA_VERSION = Math.max(...migrationFiles().map((name) => Number.parseInt(name, 10)))
/** How long a server waits for another that creates or migrates the same tables. */
const LONGEST_LOCK_S = 600

export type DatabaseName = 'customer' | 'product'
export type DatabaseUrls = Readonly<Record<DatabaseName, string>>

/** Creates the database that the URL names, if it is missing. */
export async function createDatabase(url: string): Promise<void> {
  const { database } = connectionOptions(url)
  const server = new URL(url)
  server.pathname = '/'
  await withConnection(server.href, (connection) =>
    connection.query(`CREATE DATABASE IF NOT EXISTS ${connection.escapeId(database)}`),
  )
}

/**
 * Gives a database the tables of this version. Safe to repeat. Throws `SetUpError` if they have a newer one. Only a
 * migration of the product database needs the URL of the other.
 */
export async function applySchema(name: DatabaseName, urls: Partial<DatabaseUrls>): Promise<void> {
  await withConnection(urls[name] as string, async (connection) => {
    if ((await readVersion(connection, name)) === SCHEMA_VERSION) return
    await takeLock(connection)
    const version = await readVersion(connection, name) // another server may have changed it meanwhile
    if (version === undefined) await createTables(connection, name)
    else await migrate(connection, name, version, urls)
  })
}

/** The first column of each table of `schema.sql`, by table. A sequence has none. */
export function firstColumns(name: DatabaseName): ReadonlyMap<string, string[]> {
  const columns = readStatements(SOURCE, name).flatMap((statement): [string, string[]][] => {
    const [, table, column] = /^CREATE (?:TABLE|SEQUENCE) IF NOT EXISTS (\w+)(?: \(\s*(\w+))?/.exec(statement) ?? []
    return table === undefined ? [] : [[table, column === undefined ? [] : [column]]]
  })
  return new Map(columns)
}

/** The version of the tables; undefined if they are not there, or not all. Throws `SetUpError` for a newer one. */
async function readVersion(connection: Connection, name: DatabaseName): Promise<number | undefined> {
  const tables = (await connection.query<object[]>('SHOW TABLES')).map((row) => Object.values(row)[0])
  if (!tables.includes(LAST_TABLE[name])) return undefined
  if (!tables.includes(VERSION_TABLE)) return FIRST_VERSION
  const sql = 'SELECT MAX(version) AS version FROM schema_version WHERE part = ?'
  const [row] = await connection.query<{ version: number | null }[]>(sql, [name])
  const version = row?.version ?? FIRST_VERSION
  if (version <= SCHEMA_VERSION) return version
  throw new SetUpError(
    `the tables of ${await databaseName(connection)} have version ${version}, of a newer souk; ` +
      `this one knows versions up to ${SCHEMA_VERSION}`,
  )
}

async function createTables(connection: Connection, name: DatabaseName): Promise<void> {
  for (const statement of readStatements(SOURCE, name)) await connection.query(statement)
  await noteVersion(connection, name, SCHEMA_VERSION)
}

/** Each migration can be repeated: its version is noted when all of it is done. */
async function migrate(
  connection: Connection,
  name: DatabaseName,
  from: number,
  urls: Partial<DatabaseUrls>,
): Promise<void> {
  for (let version = from + 1; version <= SCHEMA_VERSION; version += 1) {
    progress.begin(`migrating ${await databaseName(connection)} to version ${version}`)
    for (const statement of readStatements(new URL(`${version}.sql`, MIGRATIONS), name)) {
      await connection.query(statement)
    }
    await MIGRATING_CODE[version]?.[name]?.(connection, urls)
    await noteVersion(connection, name, version)
  }
}

async function noteVersion(connection: Connection, name: DatabaseName, version: number): Promise<void> {
  const sql = 'INSERT INTO schema_version (part, version, applied_at) VALUES (?, ?, UNIX_TIMESTAMP())'
  await connection.query(sql, [name, version])
}

/** Held until the connection ends. */
async function takeLock(connection: Connection): Promise<void> {
  const lock = `souk schema ${await databaseName(connection)}`.slice(0, 64) // the longest name of a lock
  const [row] = await connection.query<{ taken: number | null }[]>('SELECT GET_LOCK(?, ?) AS taken', [
    lock,
    LONGEST_LOCK_S,
  ])
  if (row?.taken !== 1) throw new SetUpError(`another server has been changing the tables for ${LONGEST_LOCK_S} s`)
}

async function databaseName(connection: Connection): Promise<string> {
  const [row] = await connection.query<{ name: string }[]>('SELECT DATABASE() AS name')
  return row?.name ?? ''
}

/** Other files may have come into the folder: those of file managers and editors. */
function migrationFiles(): string[] {
  return readdirSync(MIGRATIONS).filter((name) => /^\d+\.sql$/.test(name))
}

/** The statements of a file below `-- database: …`. */
function readStatements(file: URL, name: DatabaseName): string[] {
  const sections = readFileSync(file, 'utf8').split(/^-- database: /m)
  const section = sections.find((text) => text.startsWith(`${name}\n`)) ?? name
  const withoutComments = section.slice(name.length).replace(/--.*$/gm, '')
  return withoutComments
    .split(';')
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}
