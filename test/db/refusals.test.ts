/**
 * A database that answers and refuses statements: its disk is full, it is
 * read-only, rights or tables are gone. Calls are refused typed, what the
 * database still does goes on, the log has one line for the begin and one for
 * the end, and nothing has to be restarted.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { prepareDatabases } from '../../src/db/prepare.ts'
import { connect } from '../../src/library.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../support/clients.ts'
import { type DatabaseServer, PASSWORD, startDatabaseServer, USER } from '../support/database-server.ts'
import { ServerProgram, temporaryHome, until } from '../support/marketplace.ts'

const DISK_MIB = 32
const MIB = Buffer.alloc(1_024 * 1_024)
const CALLS = 200

let home: string
let folder: string
let filler: string
let mountProblem: string | undefined
let database: DatabaseServer
let server: ServerProgram
let port: number
let caller: Caller<'seller'>
let ann: OpenAccount

/** The tables of the product database lie on a small disk of their own, where this user may mount one. */
before(async () => {
  home = temporaryHome()
  await (await startDatabaseServer(home)).stop()
  folder = join(home, 'mariadb', 'product')
  filler = join(folder, 'filler')
  mkdirSync(folder)
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', folder], { encoding: 'utf8' })
  if (mount.status !== 0) mountProblem = `no disk can be mounted: ${mount.stderr?.trim() ?? mount.error}`
  database = await startDatabaseServer(home)
  await database.sql(
    'CREATE DATABASE customer',
    'CREATE DATABASE IF NOT EXISTS product',
    `CREATE USER ${USER}@'%' IDENTIFIED BY '${PASSWORD}'`,
    `GRANT ALL ON *.* TO ${USER}@'%'`,
  )
  const urls = { customer: database.url('customer'), product: database.url('product') }
  await prepareDatabases(urls, urls, ['seller'])
  // Rights to a table, unlike those to a database, end for open connections too when they are taken back.
  const [tables] = await database.sql('SHOW TABLES FROM product')
  await database.sql(
    `REVOKE ALL ON *.* FROM ${USER}@'%'`,
    `GRANT ALL ON customer.* TO ${USER}@'%'`,
    ...(tables as object[]).map((row) => `GRANT ALL ON product.${Object.values(row)[0]} TO ${USER}@'%'`),
  )
  server = new ServerProgram(home, ['seller'], {
    SOUK_CUSTOMER_DB_URL: urls.customer,
    SOUK_PRODUCT_DB_URL: urls.product,
    SOUK_SELLER_PORT: '0',
    SOUK_LIMIT_REQUEST_MS: '10000',
  })
  const [, number] = await server.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
  port = Number(number)
  caller = await Caller.connect({ role: 'seller' as const, port })
  ann = await openAccount(caller)
  await register()
  await rate()
})
after(async () => {
  await server?.end('SIGKILL')
  await database?.stop('SIGKILL')
  if (mountProblem === undefined) spawnSync('umount', [folder])
  rmSync(home, { recursive: true, force: true })
})

const register = () => caller.call('register_item_for_sale', { session: ann.session, ...anItem() })
const list = () => caller.call('display_items_for_sale', { session: ann.session })
const rate = () => caller.call('get_seller_rating', { session: ann.session })

/** How many calls of each kind of answer: `ok`, or the code of the refusal. */
async function count(call: () => Promise<unknown>, times: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const answers = await Promise.allSettled(Array.from({ length: times }, call))
  for (const answer of answers) {
    const code = answer.status === 'fulfilled' ? 'ok' : (answer.reason.code ?? String(answer.reason))
    counts[code] = (counts[code] ?? 0) + 1
  }
  return counts
}

async function readStatus(name: string): Promise<number> {
  const [rows] = await database.sql(`SHOW GLOBAL STATUS LIKE '${name}'`)
  return Number((rows as { Value: string }[])[0]?.Value)
}

const isRejected = (answer: PromiseSettledResult<unknown>) => answer.status === 'rejected'

/** Makes every registration fail with an error number, as if the database had met that trouble. */
async function withError<T>(number: number, work: () => Promise<T>): Promise<T> {
  const signal = `SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = ${number}, MESSAGE_TEXT = 'of a test'`
  await database.sql(`CREATE TRIGGER product.trouble BEFORE INSERT ON product.item FOR EACH ROW ${signal}`)
  return work().finally(() => database.sql('DROP TRIGGER product.trouble'))
}

/** The words of everything logged from here on. */
function logFrom(): () => string[] {
  const from = server.log.length
  const lines = () => server.log.slice(from).split('\n').filter(Boolean)
  return () => lines().map((line) => JSON.parse(line).msg)
}

/** Waits until the end of the trouble is logged, while the calls go on that tell of it. */
/** Patiently: a refused statement that nobody repeats, as of a sweep, is forgotten after a minute. */
const untilLogged = (logged: () => string[], pattern: RegExp, call: () => Promise<unknown>) =>
  until(
    `${pattern} is logged`,
    async () => {
      await Promise.allSettled([call(), sleep(50)])
      return logged().some((line) => pattern.test(line))
    },
    90_000,
  )

function fillDisk(): void {
  const file = openSync(filler, 'w')
  try {
    for (;;) writeSync(file, MIB)
  } catch {
    closeSync(file) // the disk is full
  }
  assert.equal(statfsSync(folder).bavail, 0)
}

describe('a database whose disk is full', () => {
  it('refuses writes as unavailable, answers reads, logs one line, and goes on when there is room again', async (test) => {
    if (mountProblem !== undefined) return test.skip(mountProblem)
    const logged = logFrom()
    fillDisk()
    await until('writes are refused', async () => (await count(register, 50)).unavailable === 50)
    const rollbacks = await readStatus('Com_rollback')
    for (let round = 0; round < 5; round += 1) {
      const counts = await count(register, CALLS)
      assert.equal((counts.unavailable ?? 0) + (counts.ok ?? 0), CALLS, JSON.stringify(counts))
      assert.deepEqual(await count(list, 1), { ok: 1 })
    }
    const repeats = (await readStatus('Com_rollback')) - rollbacks
    assert.ok(repeats < CALLS, `${repeats} transactions for ${5 * CALLS} calls: their batches were repeated one by one`)
    const refusals = (await Promise.allSettled(Array.from({ length: CALLS }, register))).filter(isRejected)
    assert.deepEqual(refusals.at(-1)?.reason.details, { code: 'unavailable', retry_after_ms: 1_000 })
    assert.deepEqual(logged(), ['product database refuses writes: the disk of the database is full'])
    const shop = connect({ role: 'seller', host: '127.0.0.1', port })
    const item = { name: 'lamp', category: 3, keywords: [], condition: 'new' as const, price_cents: 100, quantity: 1 }
    const patient = Array.from({ length: CALLS }, () =>
      shop.call('register_item_for_sale', { session: ann.session, ...item }),
    )
    await sleep(100)
    rmSync(filler)
    await Promise.all(patient)
    await shop.close()
    await untilLogged(logged, /takes writes again/, register)
    assert.equal(logged().length, 2, logged().join('\n'))
    assert.match(logged()[1] as string, /^product database takes writes again after \d+ s$/)
  })
})

describe('a database that', () => {
  const OTHERS: readonly {
    about: string
    fail: string[]
    repair: string[]
    call(): Promise<unknown>
    goesOn?(): Promise<unknown>
    line: RegExp
  }[] = [
    {
      about: 'becomes read-only',
      fail: ['SET GLOBAL read_only = 1'],
      repair: ['SET GLOBAL read_only = 0'],
      call: register,
      goesOn: list,
      line: /^(product|customer) database refuses writes: the database is read-only$/,
    },
    {
      about: 'loses a table',
      fail: ['RENAME TABLE product.seller_score TO product.elsewhere'],
      repair: ['RENAME TABLE product.elsewhere TO product.seller_score'],
      call: rate,
      goesOn: list,
      line: /^product database refuses reads: the database can't be used: Table 'product\.seller_score' doesn't exist$/,
    },
    {
      about: 'loses a column',
      fail: ['ALTER TABLE product.seller_score RENAME COLUMN thumbs_up TO likes'],
      repair: ['ALTER TABLE product.seller_score RENAME COLUMN likes TO thumbs_up'],
      call: rate,
      goesOn: list,
      line: /^product database refuses reads: the database can't be used: Unknown column /,
    },
    {
      about: 'loses the data of a table',
      fail: ['ALTER TABLE product.seller_score DISCARD TABLESPACE'],
      repair: [
        'DROP TABLE product.seller_score',
        'CREATE TABLE product.seller_score LIKE product.kept',
        'INSERT INTO product.seller_score SELECT * FROM product.kept',
      ],
      call: rate,
      goesOn: list,
      line: /^product database refuses reads: the database can't be used: .+/,
    },
    {
      about: 'takes back rights',
      fail: [`REVOKE SELECT ON product.seller_score FROM ${USER}@'%'`],
      repair: [`GRANT SELECT ON product.seller_score TO ${USER}@'%'`],
      call: rate,
      goesOn: list,
      line: /^product database refuses reads: user "shop" has no right to SELECT on product\.seller_score$/,
    },
  ]
  before(() =>
    database.sql(
      'CREATE TABLE product.kept LIKE product.seller_score',
      'INSERT INTO product.kept SELECT * FROM product.seller_score',
    ),
  )
  for (const { about, fail, repair, call, goesOn, line } of OTHERS) {
    it(`${about} refuses calls as unavailable, with one line, and takes them again when that is mended`, async () => {
      const logged = logFrom()
      await database.sql(...fail)
      for (let round = 0; round < 3; round += 1) {
        const counts = await count(call, CALLS)
        assert.deepEqual(counts, { unavailable: CALLS })
        if (goesOn !== undefined) assert.deepEqual(await count(goesOn, 1), { ok: 1 })
      }
      await database.sql(...repair)
      assert.deepEqual(await count(call, 1), { ok: 1 })
      await untilLogged(logged, /takes (reads|writes) again/, call)
      const lines = logged().filter((text) => text.startsWith('product'))
      assert.equal(lines.length, 2, logged().join('\n'))
      assert.match(lines[0] as string, line)
      assert.match(lines[1] as string, /^product database takes (reads|writes) again after \d+ s$/)
    })
  }
})

describe('an error number', () => {
  /** As MariaDB's manual, and the header of its file layer, have them. */
  const TROUBLES = {
    'a full disk': [
      1, 3, 4, 14, 20, 27, 1004, 1021, 1023, 1026, 1114, 1180, 1181, 1182, 1530, 1534, 1598, 1811, 1878, 3019,
    ],
    'a read-only server': [1036, 1290, 1792, 1836, 1874],
    'rights that were taken back': [1142, 1143, 1227, 1370],
    'tables that somebody changed': [1046, 1054, 1146, 1176, 1364, 1932],
    'broken files': [
      2, 9, 15, 29, 1016, 1017, 1024, 1030, 1032, 1033, 1034, 1035, 1194, 1195, 1296, 1297, 1459, 1707, 1712, 1808,
      1810, 1812, 1814, 1815, 1817, 1877, 3000,
    ],
    'lack of memory, files, locks or a limit of the user': [5, 23, 1037, 1041, 1206, 1226, 1461, 1637, 3015, 3044],
    'a cluster': [1047],
  }
  for (const [about, numbers] of Object.entries(TROUBLES)) {
    it(`of ${about} refuses the calls as unavailable, with one line at most`, async () => {
      for (const number of numbers) {
        const logged = logFrom()
        const counts = await withError(number, () => count(register, 20))
        assert.deepEqual([number, counts], [number, { unavailable: 20 }])
        assert.ok(logged().length <= 1, logged().join('\n'))
      }
    })
  }

  it('of one transaction has it done again', async () => {
    for (const number of [1020, 1205, 1213, 1243, 1317, 1412, 1615, 1689, 1969]) {
      let counting: Promise<Record<string, number>> | undefined
      await withError(number, async () => {
        const before = await readStatus('Com_rollback')
        counting = count(register, 20)
        await until('it was tried again', async () => (await readStatus('Com_rollback')) > before + 2)
      })
      assert.deepEqual([number, await counting], [number, { ok: 20 }])
    }
  })

  it('of a value, a statement or nothing known fails each call that it is for, as internal', async () => {
    for (const number of [1038, 1048, 1064, 1136, 1153, 1197, 1222, 1264, 1366, 1406, 1452, 1690, 1713, 4025, 9_999]) {
      const counts = await withError(number, () => count(register, 5))
      assert.deepEqual([number, counts], [number, { internal: 5 }])
    }
  })
})
