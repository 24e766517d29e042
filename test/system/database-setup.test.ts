/**
 * Programs on databases that they can't use: one line for each setting, which
 * says what is wrong in plain words, exit code 2, no stack, and no password. And
 * TLS: encrypted and checked, or refused, never silently plain.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection } from 'mariadb'
import type { CallRefused } from '../../src/client/connection.ts'
import { withConnection } from '../../src/db/connect.ts'
import { connectionOptions } from '../../src/db/url.ts'
import { anItem, Caller, openAccount } from '../support/clients.ts'
import {
  type DatabaseServer,
  makeCertificates,
  PASSWORD,
  startDatabaseServer,
  USER,
} from '../support/database-server.ts'
import { ServerProgram, SOURCE_SERVER, temporaryHome } from '../support/marketplace.ts'
import { SOUK_LOAD } from '../support/souk-load.ts'

const FOR_THE_OWNER = '"souk-server schema", run by the owner of the tables, makes them and gives rights'

let home: string
let database: DatabaseServer
let certificates: ReturnType<typeof makeCertificates>

const tlsOptions = () => [`--ssl-cert=${certificates.certificate}`, `--ssl-key=${certificates.key}`]
const accept = (...rights: string[]) => [
  'CREATE DATABASE IF NOT EXISTS customer',
  'CREATE DATABASE IF NOT EXISTS product',
  `CREATE OR REPLACE USER ${USER}@'%' IDENTIFIED BY '${PASSWORD}'`,
  ...rights.map((right) => `GRANT ${right} TO ${USER}@'%'`),
]
const NOBODY = 65_534
const EVERYTHING = accept('ALL ON customer.*', 'ALL ON product.*')

before(async () => {
  home = temporaryHome()
  certificates = makeCertificates(join(home, 'tls'))
  database = await startDatabaseServer(home, tlsOptions())
  await database.sql(...EVERYTHING)
})
after(async () => {
  await database?.stop()
  rmSync(home, { recursive: true, force: true })
})

/** Starts the database server again, with other options. */
async function restart(...options: string[]): Promise<void> {
  await database.stop()
  database = await startDatabaseServer(home, options, database.port)
}

type Urls = readonly [customer: string, product: string]

/** Runs a program until it ends, which it must by itself with exit code 2; resolves to the lines that it prints. */
async function problemsOf(urls: Urls, rest: readonly string[] = ['seller'], command?: string[]): Promise<string[]> {
  const environment = { SOUK_CUSTOMER_DB_URL: urls[0], SOUK_PRODUCT_DB_URL: urls[1] }
  return readProblems(new ServerProgram(home, rest, environment, command))
}

async function readProblems(program: ServerProgram): Promise<string[]> {
  assert.equal(await program.ended, 2, program.log)
  assert.equal(program.output, '')
  assert.doesNotMatch(program.log, new RegExp(PASSWORD))
  return program.log.trimEnd().split('\n')
}

/** The same line for both settings. */
const bothSay = (problem: string) => ['CUSTOMER', 'PRODUCT'].map((name) => `souk: SOUK_${name}_DB_URL: ${problem}`)
const good = (parameters = ''): Urls => [
  database.url('customer', undefined, parameters),
  database.url('product', undefined, parameters),
]

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

describe('a database that can’t be used', () => {
  it('is explained in one line by souk-server without a role, and by souk-load', async () => {
    const urls = [
      'mariadb://shop:canary@127.0.0.1:1/customer',
      'mariadb://shop:canary@no.host.invalid/product',
    ] as const
    const expected = [
      'souk: SOUK_CUSTOMER_DB_URL: connection refused: nothing listens on 127.0.0.1:1',
      'souk: SOUK_PRODUCT_DB_URL: unknown host no.host.invalid',
    ]
    assert.deepEqual(await problemsOf(urls, []), expected)
    assert.deepEqual(await problemsOf(urls, ['buyer']), expected)
    const load = await problemsOf(urls, ['run', '--clients', '1'], [process.execPath, ...SOUK_LOAD])
    assert.deepEqual(
      load.filter((line) => line !== 'making databases'),
      expected,
    )
  })

  it('is named by the flag that gave it', async () => {
    const flags = ['--customer-db-url', 'mariadb://a:canary@127.0.0.1:1/c', '--product-db-url', database.url('none')]
    assert.deepEqual(await readProblems(new ServerProgram(home, ['seller', ...flags], {})), [
      'souk: --customer-db-url: connection refused: nothing listens on 127.0.0.1:1',
      `souk: --product-db-url: user "shop" has no right to use or create database "none"; ${FOR_THE_OWNER}`,
    ])
  })

  it('refuses the password, the user, or a user without password', async () => {
    assert.deepEqual(
      await problemsOf([database.url('customer', 'shop:canary2'), database.url('product', 'nobody:canary')]),
      [
        'souk: SOUK_CUSTOMER_DB_URL: the database refuses the password of user "shop"',
        'souk: SOUK_PRODUCT_DB_URL: the database refuses the password of user "nobody"',
      ],
    )
    assert.deepEqual(
      await problemsOf([database.url('customer', 'shop'), database.url('product', 'shop')]),
      bothSay('the database refuses user "shop" without a password'),
    )
  })

  it('is not there, or its socket is not', async () => {
    await database.sql(...accept('ALL ON *.*'))
    assert.deepEqual(await problemsOf([database.url('nix'), 'mariadb://a@localhost/c?socketPath=/nix']), [
      'souk: SOUK_CUSTOMER_DB_URL: there is no database "nix"',
      'souk: SOUK_PRODUCT_DB_URL: there is no socket at its socketPath',
    ])
    await database.sql(...EVERYTHING)
  })

  it('lacks rights: the first missing one is named, for a change of tables and for tables in use', async () => {
    await database.sql(...accept('SELECT ON customer.*', 'ALL ON product.*'))
    assert.deepEqual(await problemsOf(good()), [
      `souk: SOUK_CUSTOMER_DB_URL: user "shop" has no right to CREATE on customer.schema_version; ${FOR_THE_OWNER}`,
    ])
    await database.sql(...EVERYTHING)
    const server = new ServerProgram(home, ['seller', '--seller-port', '0'], {
      SOUK_CUSTOMER_DB_URL: good()[0],
      SOUK_PRODUCT_DB_URL: good()[1],
    })
    await server.says(/accepts connections/)
    await server.end()
    const inUse = 'INSERT, UPDATE, DELETE'
    await database.sql(...accept(`SELECT, ${inUse} ON customer.*`, 'SELECT, UPDATE, DELETE ON product.*'))
    assert.deepEqual(await problemsOf(good()), [
      `souk: SOUK_PRODUCT_DB_URL: user "shop" has no right to INSERT on product.item; ${FOR_THE_OWNER}`,
    ])
    await database.sql(...accept(`${inUse} ON customer.*`, 'SELECT ON customer.schema_version', 'ALL ON product.*'))
    const problems = await problemsOf(good())
    assert.match(
      problems[0] ?? '',
      /^souk: SOUK_CUSTOMER_DB_URL: user "shop" has no right to SELECT on customer\.\w+; /,
    )
    assert.equal(problems.length, 1)
    await database.sql(...EVERYTHING)
  })

  it('is no MariaDB: it says nothing, something else, or hangs up', async () => {
    const others = [
      createHttpServer(),
      createServer((socket) => socket.on('error', () => {}).write('SSH-2.0-OpenSSH_9.2p1\r\n')),
      createServer((socket) => socket.end()),
      createServer((socket) => socket.on('error', () => {}).write('HTTP/1.1 400 Bad Request\r\n\r\n')),
    ]
    const ports = await Promise.all(others.map(listen))
    const at = (index: number) => `mariadb://shop:canary@127.0.0.1:${ports[index]}/customer`
    for (const pair of [
      [0, 1],
      [2, 3],
    ] as const) {
      assert.deepEqual(await problemsOf([at(pair[0]), at(pair[1])]), [
        `souk: SOUK_CUSTOMER_DB_URL: no MariaDB server answers on 127.0.0.1:${ports[pair[0]]}`,
        `souk: SOUK_PRODUCT_DB_URL: no MariaDB server answers on 127.0.0.1:${ports[pair[1]]}`,
      ])
    }
    for (const other of others) other.close()
  })

  it('is too old, or no MariaDB by its version', async () => {
    for (const version of ['10.5.20-MariaDB', '8.0.36']) {
      await restart(`--version=${version}`)
      assert.deepEqual(
        await problemsOf(good()),
        bothSay(`souk needs MariaDB 10.6 or newer, and this server is ${version}`),
      )
    }
  })

  it('hangs, before or while it is asked', async () => {
    const asking = withConnection(good()[0], (connection) => connection.query('SELECT SLEEP(60)'))
    const hanging = assert.rejects(asking, { code: 'ER_CONNECTION_TIMEOUT' })
    await sleep(500)
    process.kill(database.pid, 'SIGSTOP')
    try {
      assert.deepEqual(await problemsOf(good()), bothSay(`no MariaDB server answers on 127.0.0.1:${database.port}`))
      await hanging
    } finally {
      process.kill(database.pid, 'SIGCONT')
    }
  })

  it('has too many connections, or is read-only', async () => {
    await restart('--max-connections=10', '--read-only')
    assert.deepEqual(await problemsOf(good()), bothSay('the database is read-only'))
    const [, product] = good()
    const open = await Promise.all(Array.from({ length: 10 }, () => createConnection(connectionOptions(product))))
    assert.deepEqual(await problemsOf(good()), bothSay('the database has too many connections'))
    for (const connection of open) connection.destroy()
  })
})

describe('TLS to the database', () => {
  before(async () => {
    await restart(...tlsOptions())
    await database.sql(...EVERYTHING)
  })

  it('encrypts every connection of a server, with a certificate that is checked against ca', async () => {
    const [customer, product] = good(`ca=${certificates.ca}`)
    const environment = { SOUK_CUSTOMER_DB_URL: customer, SOUK_PRODUCT_DB_URL: product, SOUK_SELLER_PORT: '0' }
    await database.sql(`ALTER USER ${USER}@'%' REQUIRE SSL`)
    const server = new ServerProgram(home, ['seller'], environment)
    const [, port] = await server.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
    const caller = await Caller.connect({ role: 'seller' as const, port: Number(port) })
    const { session } = await openAccount(caller)
    const connection = await createConnection(connectionOptions(product))
    const [cipher] = await connection.query<{ Value: string }[]>("SHOW STATUS LIKE 'Ssl_cipher'")
    assert.match(cipher?.Value ?? '', /^TLS_|AES/)
    connection.destroy()
    const [ids] = (await database.sql(`SELECT id FROM information_schema.processlist WHERE user = '${USER}'`)) as [
      { id: number }[],
    ]
    assert.ok(ids.length > 2)
    const registering = Promise.all(
      Array.from({ length: 200 }, () => caller.call('register_item_for_sale', { session, ...anItem() })),
    ).catch((error: CallRefused) => assert.equal(error.code, 'timeout'))
    for (const { id } of ids) await database.sql(`KILL CONNECTION ${id}`).catch(() => {}) // it may have ended
    await registering
    await caller.call('register_item_for_sale', { session, ...anItem() })
    await caller.close()
    assert.equal(await server.end(), 0)
    await database.sql(`ALTER USER ${USER}@'%' REQUIRE NONE`)
  })

  it('is refused with a certificate of an unknown signer, or for another host', async () => {
    const unknown =
      "the certificate of the database has an unknown signer; ca can name a file with the signer's certificate"
    assert.deepEqual(await problemsOf(good('ssl=true')), bothSay(unknown))
    assert.deepEqual(await problemsOf(good(`ca=${certificates.otherCa}`)), bothSay(unknown))
    const elsewhere = good(`ca=${certificates.ca}`).map((url) => url.replace('127.0.0.1', 'localhost'))
    assert.deepEqual(
      await problemsOf(elsewhere as unknown as Urls),
      bothSay('the certificate of the database is not for localhost'),
    )
  })

  it('is never left out when the database offers none', async () => {
    await restart('--skip-ssl')
    assert.deepEqual(await problemsOf(good(`ca=${certificates.ca}`)), bothSay('the database offers no TLS'))
    assert.deepEqual(await problemsOf(good('ssl=true')), bothSay('the database offers no TLS'))
  })
})

describe('a private database that can’t start', () => {
  const problemOf = (folder: string, environment: Record<string, string> = {}, ...rest: string[]) =>
    readProblems(new ServerProgram(home, rest, { SOUK_HOME: folder, ...environment }))

  it('names its setting when the home is a file, or can’t be written to', async () => {
    const file = join(home, 'file')
    writeFileSync(file, '')
    assert.deepEqual(await problemOf(file), [`souk: SOUK_HOME: ${file}: not a folder`])
    assert.deepEqual(await problemOf(join(file, 'below')), [`souk: SOUK_HOME: ${join(file, 'below')}: not a folder`])
    assert.deepEqual(await problemOf('/proc/souk'), ['souk: SOUK_HOME: /proc/souk: nothing can be written there'])
    assert.deepEqual(await problemOf('/nix', {}, '--home', file), [`souk: --home: ${file}: not a folder`])
  })

  it('names what it can’t use: a folder of another user, a file or a link in the place of a folder', async (test) => {
    if (process.getuid?.() !== 0) return test.skip('only root can start a program as another user')
    chmodSync(home, 0o755)
    const asNobody = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...SOURCE_SERVER]
    const problemOfNobody = async (folder: string) =>
      readProblems(new ServerProgram(home, [], { SOUK_HOME: folder }, asNobody))
    const make = (name: string, mode: number, owner: number) => {
      const folder = join(home, name)
      mkdirSync(folder)
      chmodSync(folder, mode)
      chownSync(folder, owner, owner)
      return folder
    }
    const closed = make('closed', 0o700, 0)
    const unwritable = make('unwritable', 0o555, 0)
    for (const folder of [closed, unwritable])
      assert.deepEqual(await problemOfNobody(folder), [`souk: SOUK_HOME: ${folder} belongs to another user`])
    const own = make('read-only', 0o500, NOBODY)
    assert.deepEqual(await problemOfNobody(own), [`souk: SOUK_HOME: ${own}/owner: nothing can be written there`])
    const below = join(unwritable, 'below')
    assert.deepEqual(await problemOfNobody(below), [`souk: SOUK_HOME: ${below}: nothing can be written there`])
    const foreign = make('foreign', 0o700, NOBODY)
    mkdirSync(join(foreign, 'mariadb'), { mode: 0o700 })
    assert.deepEqual(await problemOfNobody(foreign), [`souk: SOUK_HOME: ${foreign}/mariadb belongs to another user`])
    const withFile = make('with-file', 0o700, NOBODY)
    writeFileSync(join(withFile, 'mariadb'), '')
    assert.deepEqual(await problemOfNobody(withFile), [`souk: SOUK_HOME: ${withFile}/mariadb: not a folder`])
    const link = join(home, 'link')
    symlinkSync(link, link)
    assert.deepEqual(await problemOfNobody(link), [`souk: SOUK_HOME: ${link}: a symbolic link that leads nowhere`])
    const dangling = join(home, 'dangling')
    symlinkSync(join(home, 'nix'), dangling)
    assert.deepEqual(await problemOfNobody(dangling), [`souk: SOUK_HOME: ${dangling}: not a folder`])
    const withFolder = make('with-folder', 0o700, NOBODY)
    mkdirSync(join(withFolder, 'owner'))
    assert.deepEqual(await problemOfNobody(withFolder), [`souk: SOUK_HOME: a folder stands where a file should`])
  })

  it('starts for a user without a name, as containers have', async (test) => {
    if (process.getuid?.() !== 0) return test.skip('only root can start a program as another user')
    const own = join(home, 'own')
    mkdirSync(own)
    chownSync(own, 54_321, 54_321)
    const ports = { SOUK_SELLER_PORT: '0', SOUK_BUYER_PORT: '0' }
    const nameless = ['setpriv', '--reuid=54321', '--regid=54321', '--clear-groups', ...SOURCE_SERVER]
    const program = new ServerProgram(home, [], { SOUK_HOME: own, ...ports }, nameless)
    await program.says(/souk is ready\n/)
    assert.equal(await program.end(), 0)
  })

  it('says that the disk is full', async (test) => {
    const small = join(home, 'small')
    mkdirSync(small)
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs', small], { encoding: 'utf8' })
    if (mount.status !== 0) return test.skip(`no disk can be mounted: ${mount.stderr?.trim() ?? mount.error}`)
    const [problem, ...others] = await problemOf(small)
    spawnSync('umount', [small])
    const said = 'the private database could not be made: the disk is full'
    assert.equal(problem, `souk: SOUK_HOME: ${said}; its log is ${small}/mariadb.log`)
    assert.deepEqual(others, [])
  })

  it('says why and where its log is when its data is broken, or the path of its socket too long', async () => {
    const broken = join(home, 'broken')
    const log = join(broken, 'mariadb.log')
    mkdirSync(join(broken, 'mariadb'), { recursive: true })
    writeFileSync(join(broken, 'mariadb', 'ibdata1'), 'nothing of MariaDB')
    const [problem, ...others] = await problemOf(broken)
    assert.match(
      problem ?? '',
      new RegExp(`^souk: SOUK_HOME: the private database did not start: .+; its log is ${log}$`),
    )
    assert.deepEqual(others, [])
    assert.equal(existsSync(join(broken, 'owner')), false)
    const long = join(home, 'x'.repeat(100))
    mkdirSync(long)
    assert.deepEqual(await problemOf(long, { TMPDIR: long }), [
      `souk: SOUK_HOME: the private database did not start: the path of its socket is too long; its log is ${long}/mariadb.log`,
    ])
  })
})
