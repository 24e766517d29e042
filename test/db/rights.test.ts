/**
 * The rights of the servers' users: exactly those that the statements of their
 * servers take. The database's own log says which these are, while servers tell
 * the story of the contract's examples and sweep.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Connection, createConnection } from 'mariadb'
import { EXAMPLES } from '../../src/contract/examples.ts'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { isDenial } from '../../src/db/problems.ts'
import { checkRights, RIGHTS, SERVER_USERS } from '../../src/db/rights.ts'
import { type DatabaseName, firstColumns } from '../../src/db/schema.ts'
import { connectionOptions } from '../../src/db/url.ts'
import { anItem, Wire } from '../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'

const NAMES: readonly DatabaseName[] = ['customer', 'product']
const TABLES = NAMES.flatMap((name) => [...firstColumns(name).keys()])
/** A right on a table: "product.item UPDATE quantity", or without the column. */
type Use = `${DatabaseName}.${string} ${string}`

let marketplace: TestMarketplace
let servers: Record<Role, RunningServer>

before(async () => {
  marketplace = await startTestMarketplace()
  await marketplace.sql('product', "SET GLOBAL log_output = 'TABLE'")
  await marketplace.sql('product', 'SET GLOBAL general_log = 1')
  const [seller, buyer] = await Promise.all(ROLES.map((role) => marketplace.serve(role, { sessionMemoryMs: 0 })))
  servers = { seller: seller as RunningServer, buyer: buyer as RunningServer }
  await tellStory()
})
after(() => marketplace?.close())

/** The story, and what it leaves out: an item that is edited and sold out, and a session that is prolonged. */
async function tellStory(): Promise<void> {
  const real = new Map<string, unknown>()
  const ask = async (role: Role, method: string, params: object) => {
    const wire = await Wire.connect(servers[role])
    wire.request(1, method, 'session' in params ? { ...params, session: real.get(String(params.session)) } : params)
    const reply = await wire.reply()
    wire.destroy()
    assert.ok(reply?.result !== undefined, `${role} ${method}: ${JSON.stringify(reply)}`)
    return reply.result as { session?: unknown; item_id?: unknown }
  }
  for (const [key, { params, result }] of Object.entries(EXAMPLES)) {
    const [role, name] = key.split('.') as [Role, string]
    if (name === 'logout') continue
    const answer = await ask(role, name, params)
    if ('session' in result) real.set(result.session, answer.session)
  }
  const [ann, bob] = [{ session: 'session-of-ann' }, { session: 'session-of-bob' }]
  const { item_id } = await ask('seller', 'register_item_for_sale', { ...ann, ...anItem({ quantity: 1 }) })
  await ask('seller', 'edit_item', { ...ann, item_id, keywords: ['other'] })
  await ask('buyer', 'clear_cart', bob)
  await ask('buyer', 'add_item_to_cart', { ...bob, item_id, quantity: 1 })
  await ask('buyer', 'make_purchase', bob)
  await marketplace.sql('customer', 'UPDATE session SET expires_at = UNIX_TIMESTAMP() + 100')
  await ask('seller', 'whoami', ann)
  await ask('buyer', 'whoami', bob)
  await ask('seller', 'logout', ann)
  await ask('buyer', 'logout', bob)
}

/** Each statement on tables, of each role's server. */
async function loggedStatements(role: Role): Promise<{ database: DatabaseName; sql: string }[]> {
  const rows = await marketplace.sql<{ sql: string }>(
    'product',
    'SELECT DISTINCT CONVERT(argument USING utf8mb4) AS `sql` FROM mysql.general_log ' +
      "WHERE user_host LIKE ? AND command_type IN ('Query', 'Prepare') AND argument NOT LIKE '%WHERE FALSE'",
    [`${SERVER_USERS[role]}[%`],
  )
  return rows.flatMap(({ sql }) => {
    const tables = usesOf(sql)
    const [first] = tables
    return first === undefined ? [] : [{ database: first.split('.')[0] as DatabaseName, sql }]
  })
}

/** The rights that a statement takes, read from its text. */
function usesOf(sql: string): Use[] {
  const named = (pattern: RegExp) => [...sql.matchAll(pattern)].map(([, table = '', more = '']) => ({ table, more }))
  const inserted = named(/\bINSERT (?:IGNORE )?INTO (\w+)/g)
  const updated = named(/^UPDATE (\w+) SET (.*?)(?: WHERE|$)/g)
  const deleted = named(/\bDELETE FROM (\w+)/g)
  const read = named(/(?<!\bDELETE )\b(?:FROM|(?:STRAIGHT_)?JOIN) (\w+)/g)
  const drawn = named(/\bNEXT VALUE FOR (\w+)/g)
  const updates = [...updated, ...(sql.includes('ON DUPLICATE KEY UPDATE') ? inserted : [])]
  return [
    ...[...read, ...drawn, ...updates, ...deleted, ...(sql.includes(' RETURNING ') ? inserted : [])].map(
      ({ table }) => [table, 'SELECT'],
    ),
    ...[...inserted, ...drawn].map(({ table }) => [table, 'INSERT']),
    ...updates.map(({ table }) => [table, 'UPDATE']),
    ...deleted.map(({ table }) => [table, 'DELETE']),
  ].flatMap(([table = '', right]): Use[] => {
    const database = NAMES.find((name) => table in RIGHTS[name])
    return database === undefined ? [] : [`${database}.${table} ${right}`]
  })
}

/** The rights that a role has, without columns. */
function givenTo(role: Role): Set<Use> {
  return new Set(
    NAMES.flatMap((name) =>
      Object.entries(RIGHTS[name]).flatMap(([table, rights]) =>
        [...(rights[role] ?? '').matchAll(/[A-Z]+/g)].map(([right]): Use => `${name}.${table} ${right}`),
      ),
    ),
  )
}

async function asUser<T>(role: Role, database: DatabaseName, work: (connection: Connection) => Promise<T>): Promise<T> {
  const url = marketplace.database().url(`souk_test_${database}`, role)
  const connection = await createConnection({ ...connectionOptions(url), permitLocalInfile: true })
  try {
    return await work(connection)
  } finally {
    connection.destroy()
  }
}

/** Whether the database lets a user carry out a statement, which is not done. */
async function isAllowed(connection: Connection, sql: string): Promise<boolean> {
  try {
    await (await connection.prepare(sql)).close()
    return true
  } catch (error) {
    if (isDenial(error)) return false
    throw new Error(`${sql}: ${error}`)
  }
}

describe('the table of rights', () => {
  it('has a line for each table of schema.sql, and no other', () => {
    for (const name of NAMES) {
      assert.deepEqual(Object.keys(RIGHTS[name]).toSorted(), [...firstColumns(name).keys()].toSorted())
    }
  })

  for (const role of ROLES) {
    it(`gives ${role} servers the rights that their statements take, and no others`, async () => {
      const used = async () => new Set((await loggedStatements(role)).flatMap(({ sql }) => usesOf(sql)))
      const given = [...givenTo(role)].filter((use) => !use.endsWith('schema_version SELECT'))
      await until(`every right of ${role} servers was used: ${given}`, async () => {
        const now = await used()
        return given.every((use) => now.has(use))
      }).catch(async () => {})
      const now = [...(await used())].filter((use) => !use.endsWith('schema_version SELECT'))
      assert.deepEqual(now.toSorted(), given.toSorted())
    })
  }
})

describe('a user of servers', () => {
  for (const role of ROLES) {
    const other = ROLES.find((one) => one !== role) as Role

    it(`of ${role}s is let carry out the statements of its own servers, and refused those of ${other}s alone`, async () => {
      const refused: string[] = []
      for (const owner of ROLES) {
        for (const { database, sql } of await loggedStatements(owner)) {
          const allowed = await asUser(role, database, (connection) => isAllowed(connection, sql))
          if (owner === role) assert.ok(allowed, sql)
          const takes = usesOf(sql)
          if (!takes.every((use) => givenTo(role).has(use))) assert.ok(!allowed, sql)
          if (!allowed) refused.push(sql)
        }
      }
      assert.ok(refused.length > 3, 'statements of the other role')
    })

    it(`of ${role}s can't change tables, users, settings or files, and sees no other database`, async () => {
      const everywhere = TABLES.flatMap((table) => [
        `DROP TABLE ${table}`,
        `TRUNCATE TABLE ${table}`,
        `ALTER TABLE ${table} ADD COLUMN other INT`,
        `CREATE INDEX other ON ${table} (id)`,
        `LOCK TABLES ${table} WRITE`,
      ])
      const statements = [
        ...everywhere,
        'CREATE TABLE other (id INT)',
        'CREATE DATABASE souk_other',
        'DROP DATABASE souk_test_product',
        'CREATE USER other',
        `GRANT SELECT ON idempotency TO ${SERVER_USERS[other]}`,
        "SET PASSWORD FOR root@localhost = ''",
        'SELECT * FROM mysql.global_priv',
        'SET GLOBAL general_log = 0',
        "SELECT 1 INTO OUTFILE '/tmp/souk-outfile'",
        "SELECT LOAD_FILE('/etc/passwd') IS NULL OR 1 / 0",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE idempotency",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE idempotency",
        'SHUTDOWN',
        'FLUSH PRIVILEGES',
      ]
      for (const database of NAMES) {
        await asUser(role, database, async (connection) => {
          for (const sql of statements) {
            if (sql.includes('LOAD_FILE')) {
              assert.deepEqual(await connection.query("SELECT LOAD_FILE('/etc/passwd') AS file"), [{ file: null }])
            } else await assert.rejects(connection.query(sql), sql)
          }
          const seen = (await connection.query('SHOW DATABASES')).map(({ Database }: { Database: string }) => Database)
          assert.deepEqual(seen.toSorted(), ['information_schema', 'souk_test_customer', 'souk_test_product'])
        })
      }
    })
  }

  it('of buyers can’t read the passwords of sellers, nor change prices; that of sellers can’t change votes', async () => {
    const refused = [
      ['buyer', 'customer', 'SELECT password FROM seller'],
      ['buyer', 'customer', 'SELECT username FROM seller'],
      ['buyer', 'product', 'UPDATE item SET price_cents = 1'],
      ['seller', 'customer', 'SELECT password FROM buyer'],
      ['seller', 'product', 'UPDATE item SET thumbs_up = 9'],
      ['seller', 'product', 'SELECT content FROM cart'],
    ] as const
    for (const [role, database, sql] of refused) {
      await asUser(role, database, (connection) => assert.rejects(connection.query(sql), isDenial, sql))
    }
  })

  it('is missed at start, right by right', async () => {
    const url = marketplace.database().url('souk_test_product', 'buyer')
    await checkRights('product', url, ['buyer'])
    await assert.rejects(checkRights('product', url, ROLES), isDenial)
    for (const [table, { buyer = '' }] of Object.entries(RIGHTS.product)) {
      for (const [right] of buyer.matchAll(/[A-Z]+(?: \(.+?\))?/g)) {
        await marketplace.sql('product', `REVOKE ${right} ON ${table} FROM ${SERVER_USERS.buyer}`)
        await assert.rejects(checkRights('product', url, ['buyer']), isDenial, `${right} on ${table}`)
        await marketplace.sql('product', `GRANT ${right} ON ${table} TO ${SERVER_USERS.buyer}`)
      }
    }
    await checkRights('product', url, ['buyer'])
  })
})
