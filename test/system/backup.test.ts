/**
 * What docs/operating.md tells to type at databases, typed as it stands there: its
 * users are all that servers need, and its commands bring a marketplace back.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { anItem, Caller, openAccount } from '../support/clients.ts'
import { type DatabaseServer, startDatabaseServer } from '../support/database-server.ts'
import { ServerProgram, temporaryHome } from '../support/marketplace.ts'

const LINES = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8').match(/(?<=^ {4}).+$/gm) ?? []
const linesOf = (start: RegExp) => LINES.filter((line) => start.test(line))
const DATABASES = ['souk_customer', 'souk_product'] as const

let home: string
let database: DatabaseServer

before(async () => {
  home = temporaryHome()
  database = await startDatabaseServer(home)
  await database.sql(...linesOf(/^(CREATE|GRANT) /).map((line) => line.replace(/;$/, '')))
})
after(async () => {
  await database?.stop()
  rmSync(home, { recursive: true, force: true })
})

/** Types a command; the password goes where no prompt asks for it. */
function type(command: string): void {
  const typed = command.replace('HOST', `127.0.0.1 --port=${database.port}`).replace(' --password', '')
  const env = { ...process.env, MYSQL_PWD: 'a password' }
  const { status, stderr } = spawnSync('sh', ['-c', typed], { cwd: home, env, encoding: 'utf8' })
  assert.equal(status, 0, `${typed}\n${stderr}`)
}

function startAs(user: string, ...rest: string[]): ServerProgram {
  const [customer, product] = DATABASES.map((name) => database.url(name, user))
  const environment = { SOUK_CUSTOMER_DB_URL: customer as string, SOUK_PRODUCT_DB_URL: product as string }
  return new ServerProgram(home, rest, environment)
}

const makeSchema = () => startAs('souk_owner:a%20password', 'schema')
const startSellerProgram = () => startAs('souk_seller:another%20password', 'seller', '--seller-port', '0')

async function startSellers() {
  const server = startSellerProgram()
  const [, port] = await server.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
  return { server, caller: await Caller.connect({ role: 'seller' as const, port: Number(port) }) }
}

describe('the users', () => {
  const WHAT_TO_RUN = '"souk-server schema", run by the owner of the tables, makes them and gives rights'

  it('of servers can’t start without tables, and are told in a line each what to run', async () => {
    const server = startSellerProgram()
    assert.equal(await server.ended, 2)
    const bothSay = DATABASES.map((name) => {
      const setting = `SOUK_${name === 'souk_customer' ? 'CUSTOMER' : 'PRODUCT'}_DB_URL`
      return `souk: ${setting}: user "souk_seller" has no right to use or create database "${name}"; ${WHAT_TO_RUN}\n`
    })
    assert.equal(server.log, bothSay.join(''))
  })

  it('of servers start when the owner has made the tables, which may be repeated', async () => {
    for (const _ of ['first', 'again']) {
      const schema = makeSchema()
      assert.equal(await schema.ended, 0, schema.log)
      assert.match(schema.output, /^the tables have version \d+; rights given to souk_seller and souk_buyer\n$/)
    }
    const servers = [startSellerProgram(), startAs('souk_buyer:a%20third%20password', 'buyer', '--buyer-port', '0')]
    for (const server of servers) await server.says(/accepts connections/)
    for (const server of servers) assert.equal(await server.end(), 0, server.log)
  })

  it('of servers can’t bring older tables up to date, which the owner does', async () => {
    await database.sql(
      'DELETE FROM souk_product.schema_version',
      'ALTER TABLE souk_product.seller_score DROP COLUMN sales_cents',
    )
    const server = startSellerProgram()
    assert.equal(await server.ended, 2)
    assert.match(
      server.log,
      /^souk: SOUK_PRODUCT_DB_URL: user "souk_seller" has no right to \w+ on souk_product\.\w+; "souk-server schema", .+\n$/,
    )
    assert.equal(await makeSchema().ended, 0)
    const again = await startSellers()
    await again.caller.close()
    assert.equal(await again.server.end(), 0)
  })

  it('of one role are no users of the other', async () => {
    const server = startAs('souk_buyer:a%20third%20password', 'seller', '--seller-port', '0')
    assert.equal(await server.ended, 2)
    assert.match(server.log, /^souk: SOUK_CUSTOMER_DB_URL: user "souk_buyer" has no right to .+$/m)
  })

  it('must be there when their rights are to be given', async () => {
    await database.sql("RENAME USER souk_buyer@'%' TO other@'%'")
    const schema = makeSchema()
    assert.equal(await schema.ended, 2)
    const problem = (setting: string) => `souk: ${setting}: there is no user souk_buyer@'%'\n`
    assert.equal(schema.log, problem('SOUK_CUSTOMER_DB_URL') + problem('SOUK_PRODUCT_DB_URL'))
    await database.sql("RENAME USER other@'%' TO souk_buyer@'%'")
  })
})

describe('a backup', () => {
  it('is made while a server runs, and restored by the owner into empty databases, without sessions', async () => {
    const former = await startSellers()
    const { session, username, password } = await openAccount(former.caller)
    const { item_id } = await former.caller.call('register_item_for_sale', { session, ...anItem() })
    for (const command of linesOf(/^mariadb-dump .* > /)) type(command)
    await former.caller.call('register_item_for_sale', { session, ...anItem() })
    await former.caller.close()
    assert.equal(await former.server.end(), 0)
    for (const name of DATABASES) await database.sql(`DROP DATABASE ${name}`, `CREATE DATABASE ${name}`)
    for (const command of linesOf(/^mariadb /)) type(command)
    assert.equal(await makeSchema().ended, 0)
    const { server, caller } = await startSellers()
    await assert.rejects(caller.call('whoami', { session }), { code: 'unauthenticated' })
    const { session: next } = await caller.call('login', { username, password })
    const { items } = await caller.call('display_items_for_sale', { session: next })
    assert.deepEqual(
      items.map((item) => item.item_id),
      [item_id],
    )
    await caller.close()
    assert.equal(await server.end(), 0)
  })
})
