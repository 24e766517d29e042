/** Brings a database to souk's schema, from schema.sql, and tells what is in a database. */

import { readFileSync } from 'node:fs'
import { type Connection, createConnection } from 'mariadb'
import { connectionOptions } from '../db.ts'

const SOURCE = new URL('../../schema.sql', import.meta.url)

export type DatabaseName = 'customer' | 'product'

/** Creates what is missing; harmless when nothing is. */
export async function applySchema(url: string, database: DatabaseName): Promise<void> {
  await withConnection(url, async (connection) => {
    for (const statement of statementsOf(database)) await connection.query(statement)
  })
}

/** Creates the database that the URL names, if it is missing. */
export async function createDatabase(url: string): Promise<void> {
  const { database } = connectionOptions(url)
  const server = new URL(url)
  server.pathname = '/'
  await withConnection(server.href, (connection) =>
    connection.query(`CREATE DATABASE IF NOT EXISTS ${connection.escapeId(database)}`),
  )
}

/** A connection of its own, closed when `work` is done. */
export async function withConnection<T>(url: string, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await createConnection({ ...connectionOptions(url), bigIntAsNumber: true, connectTimeout: 5_000 })
  connection.on('error', () => {}) // whoever asks gets it too
  try {
    return await work(connection)
  } finally {
    connection.destroy()
  }
}

function statementsOf(database: DatabaseName): string[] {
  const sections = readFileSync(SOURCE, 'utf8').split(/^-- database: /m)
  const section = sections.find((text) => text.startsWith(`${database}\n`)) ?? ''
  const withoutComments = section.slice(database.length).replace(/--.*$/gm, '')
  return withoutComments
    .split(';')
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}
