/**
 * souk-server without a role: the whole marketplace from one command. What it
 * prints when it is ready or cannot start, and that it never leaves a process
 * behind without an owner.
 */

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { findPrograms } from '../../src/db/private-mariadb.ts'
import { SetUpError } from '../../src/process/start.ts'
import { anItem, Caller, openAccount } from '../support/clients.ts'
import {
  findProcesses,
  type HomeProcess,
  ServerProgram,
  SOURCE_SERVER,
  temporaryHome,
  until,
} from '../support/marketplace.ts'

let home: string
let ports: { SOUK_SELLER_PORT: string; SOUK_BUYER_PORT: string }

before(async () => {
  home = temporaryHome()
  const [one, two] = await Promise.all([listen(), listen()])
  ports = { SOUK_SELLER_PORT: String(getPort(one)), SOUK_BUYER_PORT: String(getPort(two)) }
  await Promise.all([one, two].map((server) => new Promise((resolve) => server.close(resolve))))
})
afterEach(() => {
  for (const { pid } of findProcesses(home)) process.kill(pid, 'SIGKILL')
  return until('all processes of the home have ended', () => findProcesses(home).length === 0)
})
after(() => rmSync(home, { recursive: true, force: true }))

const start = (environment: Record<string, string> = {}, ...flags: string[]) =>
  new ServerProgram(home, flags, { ...ports, ...environment })

/** Resolves when the marketplace is ready. */
async function startReady(): Promise<ServerProgram> {
  const program = start()
  await program.says(/souk is ready\n/)
  return program
}

/** The process of a part of the marketplace. */
function find(part: 'mariadbd' | 'seller' | 'buyer'): HomeProcess | undefined {
  const named = part === 'mariadbd' ? /mariadbd --/ : new RegExp(`server\\.ts ${part}$`)
  return findProcesses(home).find(({ command }) => named.test(command))
}

const sellers = () => Caller.connect({ role: 'seller' as const, port: Number(ports.SOUK_SELLER_PORT) })
const buyers = () => Caller.connect({ role: 'buyer' as const, port: Number(ports.SOUK_BUYER_PORT) })

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
  })
}

function getPort(server: Server): number {
  return (server.address() as { port: number }).port
}

describe('a marketplace', () => {
  it('prints one line for each server and then that it is ready, and serves sellers and buyers', async () => {
    const program = await startReady()
    const lines = program.output.trim().split('\n')
    assert.deepEqual(lines.slice(0, 2).toSorted(), [
      `buyer server accepts connections on 127.0.0.1:${ports.SOUK_BUYER_PORT}`,
      `seller server accepts connections on 127.0.0.1:${ports.SOUK_SELLER_PORT}`,
    ])
    assert.deepEqual(lines.slice(2), ['souk is ready'])
    const [seller, buyer] = await Promise.all([sellers(), buyers()])
    const [ann, bob] = await Promise.all([openAccount(seller), openAccount(buyer)])
    const { item_id } = await seller.call('register_item_for_sale', { session: ann.session, ...anItem() })
    assert.equal((await buyer.call('get_item', { session: bob.session, item_id })).seller_id, ann.id)
    await program.end()
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends all its processes on ${signal}, exits with 0, and starts with the same data the next time`, async () => {
      const program = await startReady()
      assert.equal(findProcesses(home).length, 4)
      assert.equal(await program.end(signal), 0)
      assert.deepEqual(findProcesses(home), [])
      assert.equal(program.log, '')
    })
  }

  it('leaves nothing running when it is stopped while its database starts', async () => {
    const program = start()
    await until('the database server was started', () => find('mariadbd') !== undefined)
    assert.equal(await program.end(), 0)
    assert.deepEqual(findProcesses(home), [])
  })

  it('leaves nothing running when it is stopped while its servers start', async () => {
    const program = start()
    await until('a server was started', () => find('seller') !== undefined)
    assert.equal(await program.end(), 0)
    assert.deepEqual(findProcesses(home), [])
  })

  it('does not start twice in one home: the second says so, exits with 2 and disturbs nothing', async () => {
    const first = await startReady()
    const second = start({ SOUK_SELLER_PORT: '0', SOUK_BUYER_PORT: '0' })
    assert.equal(await second.ended, 2)
    assert.equal(second.log, `souk: SOUK_HOME: ${home} is in use by another souk, process ${first.pid}\n`)
    assert.equal(findProcesses(home).length, 4)
    const seller = await sellers()
    await seller.call('ping', {})
    assert.equal(await first.end(), 0)
  })

  it('names a port that is in use, exits with 2, and leaves nothing running', async () => {
    const taken = await listen()
    const port = getPort(taken)
    const program = start({ SOUK_BUYER_PORT: String(port) })
    assert.equal(await program.ended, 2)
    taken.close()
    assert.equal(program.log, `souk: SOUK_BUYER_PORT: something else listens on 127.0.0.1:${port}\n`)
    assert.deepEqual(findProcesses(home), [])
  })

  it('says once how many connections the limit on open files leaves to its servers', async () => {
    const command = ['sh', '-c', 'ulimit -n 1000; exec "$0" "$@"', ...SOURCE_SERVER]
    const program = new ServerProgram(home, [], ports, command)
    await program.says(/souk is ready\n/)
    assert.equal(program.log, 'souk: at most 744 connections: the limit on open files is 1000 (ulimit -n)\n')
    assert.equal(await program.end(), 0)
  })

  it('names the programs of MariaDB that it does not find, and what to install', () => {
    const problem = new SetUpError(
      'mariadbd, mariadb-install-db, my_print_defaults not found; install the MariaDB server: ' +
        'apt-get install mariadb-server-core mariadb-client-core, or brew install mariadb',
    )
    assert.throws(() => findPrograms([home]), problem)
  })

  it('reports all invalid settings at once, and exits with 2', async () => {
    const program = start({ SOUK_SELLER_PORT: 'x', SOUK_QUEUE: 'maybe' })
    assert.equal(await program.ended, 2)
    assert.deepEqual(program.log.match(/SOUK_\w+/g), ['SOUK_SELLER_PORT', 'SOUK_QUEUE'])
  })

  it('takes its servers down with it when it is killed with -9, and the next one takes over its database', async () => {
    const first = await startReady()
    const database = find('mariadbd')
    const seller = await sellers()
    const { session, id } = await openAccount(seller)
    await first.end('SIGKILL')
    await until('its servers have ended', () => findProcesses(home).length === 1)
    assert.deepEqual(find('mariadbd'), database)
    const second = await startReady()
    assert.match(second.output, new RegExp(`took over .* \\(process ${database?.pid}\\)`))
    assert.deepEqual(find('mariadbd'), database)
    assert.equal((await (await sellers()).call('whoami', { session })).id, id)
    assert.equal(await second.end(), 0)
    assert.deepEqual(findProcesses(home), [])
  })

  it('restarts a server that was killed, and its database too', async () => {
    const program = await startReady()
    const { session, id } = await openAccount(await sellers())
    for (const part of ['seller', 'mariadbd'] as const) {
      const killed = find(part)
      process.kill(killed?.pid as number, 'SIGKILL')
      await until(`there is another ${part}`, () => ![undefined, killed?.pid].includes(find(part)?.pid))
      await until('the session is served', async () => {
        try {
          const caller = await sellers()
          const who = await caller.call('whoami', { session })
          await caller.close()
          return who.id === id
        } catch {
          return false
        }
      })
    }
    assert.equal(await program.end(), 0)
    assert.deepEqual(findProcesses(home), [])
  })

  it('ends within its time when its database hangs', async () => {
    const program = await startReady()
    process.kill(find('mariadbd')?.pid as number, 'SIGSTOP')
    assert.equal(await program.end(), 0)
    assert.deepEqual(findProcesses(home), [])
  })

  it('names a database that hangs, left by an owner that was killed, and exits with 2', async () => {
    const first = await startReady()
    const pid = find('mariadbd')?.pid as number
    process.kill(pid, 'SIGSTOP')
    await first.end('SIGKILL')
    const second = start()
    assert.equal(await second.ended, 2)
    assert.equal(second.log, `souk: SOUK_HOME: its database, process ${pid}, does not answer; end it: kill -9 ${pid}\n`)
    assert.equal(find('mariadbd')?.pid, pid)
  })

  it('shares its database with a server of one role that is started in the same home', async () => {
    const program = await startReady()
    const { session, id } = await openAccount(await sellers())
    const another = new ServerProgram(home, ['seller'], { SOUK_SELLER_PORT: '0' })
    const [, port] = await another.says(/accepts connections on 127\.0\.0\.1:(\d+)\n/)
    const caller = await Caller.connect({ role: 'seller' as const, port: Number(port) })
    assert.equal((await caller.call('whoami', { session })).id, id)
    assert.equal(await another.end(), 0)
    assert.equal(await program.end(), 0)
  })
})
