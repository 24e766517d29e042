import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { after, before, beforeEach, describe, it } from 'node:test'
import { withConnection } from '../../src/db/connect.ts'
import { type PrivateDatabase, startPrivateDatabase } from '../../src/db/private-mariadb.ts'
import {
  applySchema,
  createDatabase,
  type DatabaseName,
  type DatabaseUrls,
  SCHEMA_VERSION,
} from '../../src/db/schema.ts'
import { SetUpError } from '../../src/process/start.ts'
import { ServerProgram, temporaryHome } from '../support/marketplace.ts'

const NAMES: readonly DatabaseName[] = ['customer', 'product']
const FIRST_SCHEMA = readFileSync(new URL('schema-1.sql', import.meta.url), 'utf8')
const home = temporaryHome()
let mariadb: PrivateDatabase
let number = 0
let urls: DatabaseUrls

before(async () => {
  mariadb = await startPrivateDatabase(home, 64)
})
beforeEach(async () => {
  number += 1
  urls = { customer: mariadb.url(`souk_test_customer_${number}`), product: mariadb.url(`souk_test_product_${number}`) }
  await Promise.all(Object.values(urls).map(createDatabase))
})
after(async () => {
  await mariadb.stop()
  rmSync(home, { recursive: true, force: true })
})

function sql<Row = Record<string, unknown>>(url: string, statement: string): Promise<Row[]> {
  return withConnection(url, (connection) => connection.query<Row[]>(statement))
}

/** Gives both databases their tables. */
async function applyBoth(some: DatabaseUrls): Promise<void> {
  for (const name of NAMES) await applySchema(name, some)
}

/** Carries out statements separated by semicolons. */
async function runAll(url: string, statements: string): Promise<void> {
  const each = statements.replace(/--.*$/gm, '').split(';')
  await withConnection(url, async (connection) => {
    for (const statement of each) if (statement.trim() !== '') await connection.query(statement)
  })
}

/** Creates the tables of version 1: a marketplace with a seller, a sold-out item, a purchase. */
async function createFirstVersion(): Promise<void> {
  const [, customer = '', product = ''] = FIRST_SCHEMA.split(/^-- database: \w+$/m)
  await runAll(urls.customer, customer)
  await runAll(urls.product, product)
  await runAll(
    urls.customer,
    `INSERT INTO seller VALUES (7, 'ann', 'Ann Lee', ''), (8, 'dan', 'Dan', '');
     INSERT INTO buyer VALUES (1, 'bob', 'Bob', '')`,
  )
  await runAll(
    urls.product,
    `INSERT INTO item VALUES (1, 7, 'Lamp', 3, 'desk', 'new', 500, 0, 0, 0), (2, 8, 'Chair', 3, '', 'used', 9, 4, 0, 0);
     INSERT INTO item_keyword VALUES (3, '', 2);
     INSERT INTO purchase VALUES (5, 1, 1018, 1700000000);
     INSERT INTO purchase_line VALUES (5, 1, 1, 2, 500), (5, 2, 1, 2, 9);
     INSERT INTO seller_score VALUES (7, 0, 0, 2), (8, 1, 0, 2)`,
  )
}

/** Every table of both databases, as the database describes it. */
async function describeTables(): Promise<Record<string, string>> {
  const descriptions: Record<string, string> = {}
  for (const name of NAMES) {
    for (const row of await sql(urls[name], 'SHOW TABLES')) {
      const [table] = Object.values(row)
      const [description] = await sql<{ 'Create Table': string }>(urls[name], `SHOW CREATE TABLE ${table}`)
      const withoutCounters = description?.['Create Table'].replace(/ AUTO_INCREMENT=\d+/, '')
      descriptions[`${name}.${table}`] = withoutCounters ?? ''
    }
  }
  return descriptions
}

function versions(name: DatabaseName): Promise<{ version: number }[]> {
  return sql(urls[name], `SELECT version FROM schema_version WHERE part = '${name}' ORDER BY version`)
}

describe('the schema', () => {
  it('of a new database has the newest version', async () => {
    await applyBoth(urls)
    for (const name of NAMES) assert.deepEqual(await versions(name), [{ version: SCHEMA_VERSION }])
  })

  it('of an older version becomes the same as that of a new database', async () => {
    await applyBoth(urls)
    const expected = await describeTables()
    await Promise.all(NAMES.map((name) => sql(urls[name], `DROP DATABASE ${new URL(urls[name]).pathname.slice(1)}`)))
    await Promise.all(Object.values(urls).map(createDatabase))
    await createFirstVersion()
    await applyBoth(urls)
    assert.deepEqual(await describeTables(), expected)
  })

  it('keeps all rows of an older version, and fills the new columns', async () => {
    await createFirstVersion()
    await applyBoth(urls)
    assert.deepEqual(await sql(urls.product, 'SELECT id, name, seller_name, price_cents FROM item ORDER BY id'), [
      { id: 1, name: 'Lamp', seller_name: 'Ann Lee', price_cents: 500 },
      { id: 2, name: 'Chair', seller_name: 'Dan', price_cents: 9 },
    ])
    assert.deepEqual(await sql(urls.product, 'SELECT item_id, seller_id, name, quantity FROM purchase_line'), [
      { item_id: 1, seller_id: 7, name: 'Lamp', quantity: 2 },
      { item_id: 2, seller_id: 8, name: 'Chair', quantity: 2 },
    ])
    assert.deepEqual(await sql(urls.product, 'SELECT seller_id, items_sold, sales_cents FROM seller_score'), [
      { seller_id: 7, items_sold: 2, sales_cents: 1_000 },
      { seller_id: 8, items_sold: 2, sales_cents: 18 },
    ])
  })

  it('of an older version puts items under their keywords without case, also when that was interrupted', async () => {
    const keywords = ['straße', 'strasse', 'οδος', 'i\u0307i\u0307i\u0307', 'film']
    const postings = (words: readonly string[]) => words.map((word) => `(4, '${word}', 9)`).join()
    await createFirstVersion()
    await runAll(
      urls.product,
      `INSERT INTO item VALUES (9, 7, 'Map', 4, '${keywords.join('\n')}', 'new', 5, 1, 0, 0),
         (10, 7, 'Sold', 4, 'öl\nσας', 'new', 5, 0, 0, 0);
       INSERT INTO item_keyword VALUES ${postings(['', ...keywords])}`,
    )
    const folded = ['', 'film', 'iii', 'strasse', 'οδοσ'].map((keyword) => ({ keyword, item_id: 9 }))
    const select = 'SELECT keyword, item_id FROM item_keyword WHERE category = 4 ORDER BY keyword'
    await applyBoth(urls)
    assert.deepEqual(await sql(urls.product, select), folded)
    await runAll(
      urls.product,
      `INSERT INTO item_keyword VALUES ${postings(['straße'])}; DELETE FROM item_keyword WHERE keyword = 'iii';
       DELETE FROM schema_version`,
    )
    await applyBoth(urls)
    assert.deepEqual(await sql(urls.product, select), folded)
    assert.deepEqual(await sql(urls.product, 'SELECT keywords FROM item WHERE id = 9'), [
      { keywords: keywords.join('\n') },
    ])
  })

  it('of an older version with many items is migrated in parts', async () => {
    await createFirstVersion()
    await runAll(
      urls.product,
      `INSERT INTO item SELECT seq, 7, 'Öl', 5, 'größe', 'new', 5, 1, 0, 0 FROM seq_100_to_2599;
       INSERT INTO item_keyword SELECT 5, 'größe', seq FROM seq_100_to_2599`,
    )
    await applyBoth(urls)
    assert.deepEqual(
      await sql(
        urls.product,
        'SELECT keyword, COUNT(*) AS items FROM item_keyword WHERE category = 5 GROUP BY keyword',
      ),
      [{ keyword: 'grösse', items: 2_500 }],
    )
  })

  it('of an older version is migrated also with items whose seller is missing, and with sales beyond any number', async () => {
    await createFirstVersion()
    await runAll(
      urls.product,
      `UPDATE item SET seller_id = 99 WHERE id = 2; DELETE FROM item WHERE id = 1;
       INSERT INTO seller_score VALUES (99, 0, 0, 0);
       INSERT INTO purchase_line SELECT seq, 2, 1, 4000000000, 1000000000 FROM seq_10_to_19`,
    )
    await applyBoth(urls)
    assert.deepEqual(await sql(urls.product, 'SELECT id, seller_id, seller_name FROM item'), [
      { id: 2, seller_id: 99, seller_name: '' },
    ])
    assert.deepEqual(await sql(urls.product, 'SELECT sales_cents FROM seller_score WHERE seller_id = 99'), [
      { sales_cents: Number.MAX_SAFE_INTEGER },
    ])
  })

  it('of an older version counts on where it stood, also when that was interrupted', async () => {
    await createFirstVersion()
    await runAll(urls.product, "UPDATE id_block SET next_id = 4712 WHERE name = 'item'")
    await applyBoth(urls)
    const ids = 'SELECT NEXT VALUE FOR item_id AS item, NEXT VALUE FOR purchase_id AS purchase'
    assert.deepEqual(await sql(urls.product, ids), [{ item: 4_712, purchase: 1 }])
    await runAll(urls.product, 'DELETE FROM schema_version')
    await applyBoth(urls)
    assert.deepEqual(await sql(urls.product, ids), [{ item: 4_713, purchase: 2 }])
  })

  it('is migrated once, by the first of several servers that start at once', async () => {
    await createFirstVersion()
    await Promise.all(Array.from({ length: 6 }, () => applyBoth(urls)))
    const applied = Array.from({ length: SCHEMA_VERSION - 1 }, (_, index) => ({ version: index + 2 }))
    for (const name of NAMES) assert.deepEqual(await versions(name), applied)
  })

  it('is completed when its creation was interrupted', async () => {
    await applyBoth(urls)
    const expected = await describeTables()
    await runAll(urls.customer, 'DROP TABLE session; DELETE FROM schema_version')
    await runAll(urls.product, 'DROP TABLE purchase_line; DROP TABLE idempotency; DELETE FROM schema_version')
    await applyBoth(urls)
    assert.deepEqual(await describeTables(), expected)
    for (const name of NAMES) assert.deepEqual(await versions(name), [{ version: SCHEMA_VERSION }])
  })

  it('may have both parts in one database', async () => {
    const both = { customer: urls.product, product: urls.product }
    await applyBoth(both)
    const tables = (await sql(urls.product, 'SHOW TABLES')).map((row) => Object.values(row)[0])
    assert.ok(tables.includes('session') && tables.includes('idempotency'))
  })

  it('is refused when it is newer than this souk', async () => {
    await applyBoth(urls)
    await sql(urls.product, `INSERT INTO schema_version VALUES ('product', ${SCHEMA_VERSION + 1}, 0)`)
    await assert.rejects(applyBoth(urls), (error) => {
      assert.ok(error instanceof SetUpError)
      assert.match(error.message, new RegExp(`souk_test_product_${number} have version ${SCHEMA_VERSION + 1}`))
      return true
    })
    const program = new ServerProgram(home, ['seller'], {
      SOUK_CUSTOMER_DB_URL: urls.customer,
      SOUK_PRODUCT_DB_URL: urls.product,
      SOUK_SELLER_PORT: '0',
    })
    assert.equal(await program.ended, 2)
    assert.match(program.log, /^souk: .*of a newer souk.*\n$/m)
  })

  it('needs no rights to create or alter when it is there', async () => {
    await applyBoth(urls)
    const [customer, product] = NAMES.map((name) => new URL(urls[name]).pathname.slice(1))
    await runAll(
      mariadb.url('mysql', 'root'),
      `CREATE USER clerk_${number} IDENTIFIED BY 'secret';
       GRANT SELECT, INSERT, UPDATE, DELETE ON ${customer}.* TO clerk_${number};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ${product}.* TO clerk_${number}`,
    )
    const asClerk = (url: string) => {
      const changed = new URL(url)
      changed.username = `clerk_${number}`
      changed.password = 'secret'
      return changed.href
    }
    const clerks = { customer: asClerk(urls.customer), product: asClerk(urls.product) }
    await applyBoth(clerks)
    await assert.rejects(sql(clerks.product, 'DROP TABLE item'), /denied/)
  })
})
