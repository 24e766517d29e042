/** The schema: creates databases, and in them the tables of `schema.sql`. */

import { readFileSync } from 'node:fs'
import { connectionOptions, withConnection } from './connect.ts'

const SOURCE = new URL('../../schema.sql', import.meta.url)

export type DatabaseName = 'customer' | 'product'

/** Creates the tables that are missing. Safe to repeat. */
export async function applySchema(url: string, database: DatabaseName): Promise<void> {
  await withConnection(url, async (connection) => {
    for (const statement of readStatements(database)) await connection.query(statement)
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

function readStatements(database: DatabaseName): string[] {
  const sections = readFileSync(SOURCE, 'utf8').split(/^-- database: /m)
  const section = sections.find((text) => text.startsWith(`${database}\n`)) ?? ''
  const withoutComments = section.slice(database.length).replace(/--.*$/gm, '')
  return withoutComments
    .split(';')
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}
