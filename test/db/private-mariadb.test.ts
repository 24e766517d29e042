/**
 * The private database is closed to everybody but the user who runs it: its
 * socket, its files, its users. What an older souk left open is closed at the
 * next start.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { type Connection, createConnection } from 'mariadb'
import { withConnection } from '../../src/db/connect.ts'
import { findPrograms, findRunning, type PrivateDatabase, startPrivateDatabase } from '../../src/db/private-mariadb.ts'
import { createDatabase } from '../../src/db/schema.ts'
import { connectionOptions } from '../../src/db/url.ts'
import { findProcesses, freePorts, ServerProgram, temporaryHome, until } from '../support/marketplace.ts'

/** Another user of the machine; only root can act as one. */
const NOBODY = 65_534
const asRoot = { skip: process.getuid?.() === 0 ? false : 'only root can act as another user' }

let folder: string
let home: string
let database: PrivateDatabase | undefined
let older: ChildProcess | undefined

beforeEach(() => {
  folder = temporaryHome()
  home = join(folder, 'home')
})
afterEach(async () => {
  await database?.stop()
  older?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

const start = async (where = home) => {
  database = await startPrivateDatabase(where, 64)
  return database
}
const stop = () => database?.stop()
const modeOf = (path: string) => statSync(path).mode & 0o777
const socketOf = ({ url }: PrivateDatabase) => connectionOptions(url('')).socketPath as string

function connectWithout(socketPath: string, user: string): Promise<Connection> {
  return createConnection({ socketPath, user, connectTimeout: 5_000 })
}

async function rows(url: string, sql: string): Promise<unknown[]> {
  const found = await withConnection(url, (connection) => connection.query<object[]>(sql))
  return found.map((row) => Object.values(row).join(' '))
}

/** Whether only we can reach the database; nobody without a password, and no user can who is not meant to be there. */
async function assertClosed(running: PrivateDatabase): Promise<void> {
  const socket = socketOf(running)
  assert.equal(modeOf(dirname(socket)), 0o700)
  assert.equal(statSync(dirname(socket)).uid, process.getuid?.())
  for (const user of ['root', 'souk_owner', 'souk_seller', 'souk_buyer', '', 'anyone']) {
    await assert.rejects(connectWithout(socket, user), /Access denied/, user)
  }
  const url = running.url('mysql', 'root')
  assert.deepEqual(await rows(url, 'SELECT User, Host FROM mysql.global_priv ORDER BY User'), [
    'mariadb.sys localhost',
    'root localhost',
    'souk_buyer %',
    'souk_owner %',
    'souk_seller %',
  ])
  assert.deepEqual(await rows(url, 'SELECT @@local_infile, @@skip_networking'), ['0 1'])
  const global = "SELECT GRANTEE, PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE LIKE '%souk%'"
  assert.deepEqual((await rows(url, global)).toSorted(), [
    "'souk_buyer'@'%' USAGE",
    "'souk_owner'@'%' USAGE",
    "'souk_seller'@'%' USAGE",
  ])
}

/** A data folder and its server as souk 0.1.0 left them: root without password, the socket where anyone may enter. */
async function leaveOlder(socket: string): Promise<void> {
  mkdirSync(join(home, 'tmp'), { recursive: true })
  const data = join(home, 'mariadb')
  const asUser = process.getuid?.() === 0 ? ['--user=root'] : []
  const programs = findPrograms()
  const made = spawnSync(programs['mariadb-install-db'], [
    '--no-defaults',
    `--datadir=${data}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    ...asUser,
  ])
  assert.equal(made.status, 0, String(made.stderr))
  chmodSync(data, 0o755)
  const flags = [`--datadir=${data}`, `--socket=${socket}`, `--pid-file=${join(data, 'pid')}`]
  const child = spawn(programs.mariadbd, ['--no-defaults', '--skip-networking', ...asUser, ...flags], {
    stdio: 'ignore',
  })
  older = child
  await until('the older server answers', () =>
    connectWithout(socket, 'root').then(
      async (connection) => {
        await connection.query('CREATE DATABASE souk_kept')
        await connection.query("CREATE USER ''@localhost")
        connection.destroy()
        return true
      },
      () => false,
    ),
  )
}

describe('a private database', () => {
  it('can be reached only by its own users, with their passwords, which only we can read', async () => {
    const running = await start()
    await assertClosed(running)
    assert.equal(modeOf(home), 0o700)
    assert.equal(modeOf(join(home, 'users.cnf')), 0o600)
    assert.equal(existsSync(join(home, 'tmp', 'users.sql')), false)
    const command = readFileSync(`/proc/${running.pid}/cmdline`, 'utf8')
    for (const user of ['root', 'owner', 'seller', 'buyer'] as const) {
      const { password } = connectionOptions(running.url('', user))
      assert.match(String(password), /^\w{48}$/)
      assert.ok(!command.includes(String(password)))
      assert.ok(!readFileSync(join(home, 'mariadb.log'), 'utf8').includes(String(password)))
    }
  })

  it('has its socket in a folder of its own, which is kept, when its home has a long path', async () => {
    const long = join(folder, 'x'.repeat(100))
    const running = await start(long)
    const socket = socketOf(running)
    try {
      assert.equal(dirname(dirname(socket)), tmpdir())
      await assertClosed(running)
      assert.equal((await findRunning(long))?.(''), running.url(''))
      await stop()
      assert.equal(socketOf(await start(long)), socket)
      await stop()
      chmodSync(dirname(socket), 0o755)
      assert.notEqual(dirname(socketOf(await start(long))), dirname(socket), 'others could have put a socket there')
    } finally {
      for (const one of [socket, socketOf(database as PrivateDatabase)])
        rmSync(dirname(one), { recursive: true, force: true })
    }
  })

  it('closes its own folders in a home that others can read', async () => {
    mkdirSync(home, { mode: 0o755 })
    await assertClosed(await start())
    await stop()
    for (const name of ['mariadb', 'tmp']) chmodSync(join(home, name), 0o755)
    await assertClosed(await start())
    assert.deepEqual([modeOf(home), modeOf(join(home, 'tmp'))], [0o755, 0o700])
  })

  it('keeps its passwords, except when others could have read or written them', async () => {
    const first = (await start()).url('')
    await stop()
    assert.equal((await start()).url(''), first)
    await stop()
    chmodSync(join(home, 'users.cnf'), 0o644)
    const running = await start()
    assert.notEqual(running.url(''), first)
    await assertClosed(running)
    assert.equal(modeOf(join(home, 'users.cnf')), 0o600)
    await assert.rejects(
      createConnection({ ...connectionOptions(running.url('')), password: String(connectionOptions(first).password) }),
    )
  })

  it('that an older souk left is closed, and its data is kept', async () => {
    await leaveOlder(join(folder, 'open.sock'))
    const ended = new Promise((resolve) => older?.once('exit', resolve))
    older?.kill()
    await ended
    const running = await start()
    await assertClosed(running)
    assert.deepEqual(await rows(running.url(''), "SHOW DATABASES LIKE 'souk_kept'"), ['souk_kept'])
  })

  it('that an older souk left running is ended and started again, closed', async () => {
    await leaveOlder(join(folder, 'open.sock'))
    assert.equal(await findRunning(home), undefined)
    const running = await start()
    assert.equal(running.adopted, false)
    assert.notEqual(running.pid, older?.pid)
    assert.equal(existsSync(join(folder, 'open.sock')), false)
    await assertClosed(running)
    assert.deepEqual(await rows(running.url(''), "SHOW DATABASES LIKE 'souk_kept'"), ['souk_kept'])
  })

  it('is backed up and restored with MariaDB’s own programs, as docs/operating.md says', async () => {
    const running = await start()
    await createDatabase(running.url('souk_product'))
    await withConnection(running.url('souk_product'), (connection) =>
      connection.query('CREATE TABLE note AS SELECT 7 AS id'),
    )
    const [, options = ''] =
      /private database, use `(--defaults-file=\S+)`/.exec(
        readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8'),
      ) ?? []
    const file = options.replace('.souk', home)
    const run = (command: string, input = '') => {
      const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', input })
      assert.equal(status, 0, stderr)
      return stdout
    }
    const dump = run(`mariadb-dump ${file} --single-transaction --skip-add-locks souk_product`)
    run(`mariadb ${file} souk_product`, dump)
    assert.equal(run(`mariadb ${file} -N -e 'SELECT id FROM note' souk_product`), '7\n')
    assert.match(
      run(`mariadb ${file} --defaults-group-suffix=-root -N -e 'SELECT CURRENT_USER()'`),
      /^root@localhost\n$/,
    )
  })
})

describe('the home of a private database', () => {
  const problemOf = async (): Promise<string> => {
    const program = new ServerProgram(folder, [], { SOUK_HOME: home })
    assert.equal(await program.ended, 2, program.log)
    assert.equal(existsSync(join(home, 'mariadb')), false)
    return program.log
  }

  it('is refused when others can write to it', async () => {
    mkdirSync(home)
    chmodSync(home, 0o777)
    assert.equal(await problemOf(), `souk: SOUK_HOME: others can write to ${home}: chmod go-w ${home}\n`)
  })

  it('is refused when it belongs to another user', asRoot, async () => {
    mkdirSync(home)
    chownSync(home, NOBODY, NOBODY)
    assert.equal(await problemOf(), `souk: SOUK_HOME: ${home} belongs to another user\n`)
  })

  it('is refused when it is a link of another user', asRoot, async () => {
    mkdirSync(join(folder, 'ours'), { mode: 0o700 })
    symlinkSync(join(folder, 'ours'), home)
    lchownSync(home, NOBODY, NOBODY)
    assert.equal(await problemOf(), `souk: SOUK_HOME: ${home} belongs to another user\n`)
  })

  it('may be a link of our own, and so may its data folder', async () => {
    mkdirSync(join(folder, 'ours'), { mode: 0o700 })
    symlinkSync(join(folder, 'ours'), home)
    await assertClosed(await start())
    await stop()
    renameSync(join(home, 'mariadb'), join(folder, 'data'))
    symlinkSync(join(folder, 'data'), join(home, 'mariadb'))
    await assertClosed(await start())
    assert.ok((await findRunning(home)) !== undefined)
  })

  it('takes no passwords that another user put there', asRoot, async () => {
    const first = (await start()).url('')
    await stop()
    chownSync(join(home, 'users.cnf'), NOBODY, NOBODY)
    assert.notEqual((await start()).url(''), first)
  })

  it('lets no other user of the machine reach the database', asRoot, async () => {
    chmodSync(folder, 0o755)
    mkdirSync(home, { mode: 0o755 })
    const running = await start()
    const script = join(mkdtempSync(join(folder, 'script-')), 'connect.cjs')
    chmodSync(dirname(script), 0o755)
    writeFileSync(
      script,
      `require('node:net').connect(${JSON.stringify(socketOf(running))}).on('error', ({ code }) => process.exit(code === 'EACCES' ? 7 : 8))`,
    )
    const { status } = spawnSync(process.execPath, [script], { uid: NOBODY, gid: NOBODY, timeout: 20_000 })
    assert.equal(status, 7)
  })
})

describe('the servers of a marketplace', () => {
  it('have each the password of its own database user, and none on a command line', async () => {
    const [seller, buyer] = await freePorts(2)
    const ports = { SOUK_SELLER_PORT: String(seller), SOUK_BUYER_PORT: String(buyer) }
    const program = new ServerProgram(folder, [], { SOUK_HOME: home, ...ports })
    try {
      await program.says(/souk is ready\n/)
      const url = (await findRunning(home)) as PrivateDatabase['url']
      const passwords = { owner: '', root: '', seller: '', buyer: '' }
      for (const user of ['owner', 'root', 'seller', 'buyer'] as const) {
        passwords[user] = String(connectionOptions(url('', user)).password)
      }
      for (const { pid, command } of findProcesses(home)) {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
        const role = /(seller|buyer)$/.exec(command)?.[1]
        const known = Object.entries(passwords).filter(([, password]) => environment.includes(password))
        assert.deepEqual(
          known.map(([user]) => user),
          role === undefined ? [] : [role],
          command,
        )
        for (const password of Object.values(passwords)) assert.ok(!command.includes(password), command)
      }
      for (const password of Object.values(passwords)) assert.ok(!(program.output + program.log).includes(password))
    } finally {
      await program.end()
    }
  })
})
