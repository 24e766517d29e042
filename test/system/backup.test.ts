/**
 * What docs/operating.md tells to type at databases, typed as it stands there: its
 * rights are all that servers need, and its commands bring a marketplace back.
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

async function startSellers() {
  const [customer, product] = DATABASES.map((name) => database.url(name, 'souk:a%20password'))
  const environment = { SOUK_CUSTOMER_DB_URL: customer as string, SOUK_PRODUCT_DB_URL: product as string }
  const server = new ServerProgram(home, ['seller', '--seller-port', '0'], environment)
  const [, port] = await server.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
  return { server, caller: await Caller.connect({ role: 'seller' as const, port: Number(port) }) }
}

describe('a backup', () => {
  it('is made while a server runs, and restored by its user into empty databases, without sessions', async () => {
    const former = await startSellers()
    const { session, username, password } = await openAccount(former.caller)
    const { item_id } = await former.caller.call('register_item_for_sale', { session, ...anItem() })
    for (const command of linesOf(/^mariadb-dump .* > /)) type(command)
    await former.caller.call('register_item_for_sale', { session, ...anItem() })
    await former.caller.close()
    assert.equal(await former.server.end(), 0)
    for (const name of DATABASES) await database.sql(`DROP DATABASE ${name}`, `CREATE DATABASE ${name}`)
    for (const command of linesOf(/^mariadb /)) type(command)
    for (const name of DATABASES) await database.sql(`REVOKE CREATE, ALTER, DROP ON ${name}.* FROM souk@'%'`)
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
