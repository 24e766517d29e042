/**
 * What a running server logs of its databases: their loss and their return, once
 * each, however many calls and sweeps fail meanwhile; and nothing of troubles that
 * are none of the database itself.
 */

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { withConnection } from '../../src/db/connect.ts'
import { watchOutages } from '../../src/db/outages.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../support/clients.ts'
import { type DatabaseServer, PASSWORD, startDatabaseServer, USER } from '../support/database-server.ts'
import { ServerProgram, temporaryHome, until } from '../support/marketplace.ts'

let home: string
let database: DatabaseServer
let server: ServerProgram
let caller: Caller<'seller'>
let ann: OpenAccount

before(async () => {
  home = temporaryHome()
  database = await startDatabaseServer(home)
  await database.sql(
    'CREATE DATABASE customer',
    'CREATE DATABASE product',
    `CREATE USER ${USER}@'%' IDENTIFIED BY '${PASSWORD}'`,
    `GRANT ALL ON customer.* TO ${USER}@'%'`,
    `GRANT ALL ON product.* TO ${USER}@'%'`,
  )
  server = new ServerProgram(home, ['seller'], {
    SOUK_CUSTOMER_DB_URL: database.url('customer'),
    SOUK_PRODUCT_DB_URL: database.url('product'),
    SOUK_SELLER_PORT: '0',
    SOUK_LIMIT_REQUEST_MS: '1500',
    SOUK_SESSION_MEMORY_MS: '0',
  })
  const [, port] = await server.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
  caller = await Caller.connect({ role: 'seller' as const, port: Number(port) })
  ann = await openAccount(caller)
})
after(async () => {
  await server?.end('SIGKILL')
  await database?.stop('SIGKILL')
  rmSync(home, { recursive: true, force: true })
})

const register = () => caller.call('register_item_for_sale', { session: ann.session, ...anItem() })
const answers = () =>
  register().then(
    () => true,
    () => false,
  )

/** Makes the database fail and work again; resolves to the lines logged, without their times and in order of the alphabet. */
async function logOf(fail: () => Promise<unknown>, repair: () => Promise<unknown>): Promise<string[]> {
  const before = server.log.length
  await fail()
  await repair()
  await until('calls are answered', answers)
  const lines = () => server.log.slice(before).split('\n').filter(Boolean)
  await until('its return is logged', () => lines().filter((line) => /is back/.test(line)).length === 2)
  await sleep(2_500)
  const logged = lines().map((line) => JSON.parse(line))
  for (const { level, role } of logged) assert.deepEqual([level, role], ['warn', 'seller'])
  return logged.map(({ msg }) => msg).toSorted()
}

async function killConnections(): Promise<void> {
  const [ids] = await database.sql(`SELECT id FROM information_schema.processlist WHERE user = '${USER}'`)
  for (const { id } of ids as { id: number }[]) await database.sql(`KILL CONNECTION ${id}`).catch(() => {}) // it may be gone
}

const isLogged = (pattern: RegExp, from: number) =>
  until(`${pattern} is logged`, () => pattern.test(server.log.slice(from)))

function assertOnce(lines: readonly string[], problems: readonly string[], leastS: number): void {
  assert.equal(lines.length, 4, lines.join('\n'))
  for (const [index, name] of ['customer', 'product'].entries()) {
    const [, seconds] = new RegExp(`^${name} database is back after (\\d+) s$`).exec(lines[index * 2] ?? '') ?? []
    assert.ok(Number(seconds) >= leastS, lines.join('\n'))
    assert.ok(
      problems.map((problem) => `${name} database lost: ${problem}`).includes(lines[index * 2 + 1] ?? ''),
      lines.join('\n'),
    )
  }
}

describe('the log of a running server', () => {
  it('has one line for the loss and one for the return of each database, also after calls and sweeps have failed', async () => {
    // A look at the moment of the kill is accepted by the kernel, and then cut.
    const refused = `connection refused: nothing listens on 127.0.0.1:${database.port}`
    const cut = `no MariaDB server answers on 127.0.0.1:${database.port}`
    const lines = await logOf(
      async () => {
        await database.stop('SIGKILL')
        const untilMs = performance.now() + 22_000 // a sweep begins every 10 s, and gives up after 10 s
        while (performance.now() < untilMs) {
          const refusals = await Promise.allSettled(Array.from({ length: 20 }, register))
          for (const refusal of refusals)
            assert.ok(refusal.status === 'rejected' && ['timeout', 'overloaded'].includes(refusal.reason.code))
        }
      },
      async () => {
        database = await startDatabaseServer(home, [], database.port)
      },
    )
    assertOnce(lines, [refused, cut], 20)
  })

  it('tells the loss of a database at once, without any call', async () => {
    const from = server.log.length
    const lines = await logOf(
      async () => {
        await database.stop('SIGTERM')
        await isLogged(/customer database lost/, from)
        await isLogged(/product database lost/, from)
      },
      async () => {
        database = await startDatabaseServer(home, [], database.port)
        await isLogged(/product database is back/, from)
      },
    )
    for (const line of lines) assert.match(line, /^(customer|product) database (lost: .+|is back after \d+ s)$/)
    assert.equal(lines.length, 4)
  })

  it('tells of a database that does not answer', async () => {
    const from = server.log.length
    const lines = await logOf(
      async () => {
        process.kill(database.pid, 'SIGSTOP')
        await until('its loss is logged', async () => {
          await answers()
          return (server.log.slice(from).match(/database lost/g) ?? []).length === 2
        })
      },
      async () => process.kill(database.pid, 'SIGCONT'),
    )
    assertOnce(lines, [`no MariaDB server answers on 127.0.0.1:${database.port}`], 1)
  })

  it('tells of a database that no longer takes the password', async () => {
    const from = server.log.length
    const lines = await logOf(
      async () => {
        await database.sql(`ALTER USER ${USER}@'%' IDENTIFIED BY 'other'`)
        await killConnections()
        await isLogged(/product database lost/, from)
        await isLogged(/customer database lost/, from)
      },
      () => database.sql(`ALTER USER ${USER}@'%' IDENTIFIED BY '${PASSWORD}'`),
    )
    assertOnce(lines, [`the database refuses the password of user "${USER}"`], 1)
  })

  it('has nothing of connections that were cut, nor of rows that others hold for long', async () => {
    const from = server.log.length
    const { item_id } = await register()
    await withConnection(database.url('product'), async (connection) => {
      await connection.beginTransaction()
      await connection.query('SELECT * FROM item WHERE id = ? FOR UPDATE', [item_id])
      for (let number = 0; number < 2; number += 1) {
        const params = { session: ann.session, item_id, change: 1 }
        assert.equal((await caller.refusal('update_units_for_sale', params)).code, 'timeout')
      }
    })
    await killConnections()
    await until('calls are answered', answers)
    await sleep(2_500)
    assert.equal(server.log.slice(from), '')
  })
})

describe('the watch of a database', () => {
  it('goes on when the file of its certificates is gone', async () => {
    const logged: string[] = []
    const url = `${database.url('customer')}?ca=${encodeURIComponent(`${home}/gone.pem`)}`
    const watches = watchOutages({ customer: url, product: database.url('product') }, (text) => logged.push(text))
    watches.customer.suspect()
    await until('the loss is logged', () => logged.length > 0)
    await sleep(1_500)
    watches.stop()
    assert.deepEqual(logged, ['customer database lost: the file that ca names does not exist'])
  })
})
