/**
 * A marketplace for one test file: a private MariaDB in a temporary home,
 * databases named souk_test_…, and servers as separate processes on free ports.
 * `close()` ends every process started here, by its id, and removes the home.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { makeSchema } from '../../src/db/prepare.ts'
import { type PrivateDatabase, startPrivateDatabase } from '../../src/db/private-mariadb.ts'
import type { PrivateUser } from '../../src/db/private-users.ts'
import { createDatabase, type DatabaseName } from '../../src/db/schema.ts'
import { asEnvironment, type Settings } from '../../src/server/settings.ts'
import type { ClockReading } from './server-clock.ts'

export type SomeSettings = Partial<Settings>

/** How a process ended: with an exit code, or by a signal. */
export type Ending = number | NodeJS.Signals

/** The command that starts souk-server. */
export const SOURCE_SERVER = [
  process.execPath,
  `--import=${import.meta.resolve('tsx')}`,
  fileURLToPath(new URL('../../src/server.ts', import.meta.url)),
]
const BUFFER_POOL_MIB = 64
const PATIENCE_MS = 30_000

/** A folder for one test file. Its path is short, since the paths of Unix sockets are limited. */
export function temporaryHome(): string {
  return mkdtempSync(join(tmpdir(), 'souk-'))
}

/** souk-server as a process, with its output so far. It gets no settings but those given. */
export class ServerProgram {
  readonly ended: Promise<Ending>
  readonly #child: ChildProcess
  #ending: Ending | undefined
  #output = ''
  #log = ''

  /** `command` starts souk-server; `rest` are the arguments after it. */
  constructor(home: string, rest: readonly string[], environment: Record<string, string>, command = SOURCE_SERVER) {
    const [program = '', ...first] = command
    this.#child = spawn(program, [...first, ...rest], {
      cwd: home, // so that no .env of the repository is read
      env: { PATH: process.env.PATH, SOUK_HOME: home, SOUK_LIMIT_CONNECTIONS: '2000', ...environment },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'], // if the test process dies, the broken channel ends the server
    })
    this.ended = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null) => {
        this.#ending ??= code ?? signal ?? 'SIGKILL'
        resolve(this.#ending)
      }
      this.#child.once('close', end) // all its output has been read
      // After a kill its own children may keep its output open, so 'close' may not come.
      this.#child.once('exit', (code, signal) => signal !== null && end(code, signal))
    })
    this.#child.stdout?.on('data', (text) => {
      this.#output += text
    })
    this.#child.stderr?.on('data', (text) => {
      this.#log += text
    })
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get output(): string {
    return this.#output
  }

  /** Its output on stderr. */
  get log(): string {
    return this.#log
  }

  /** Waits until the output matches; rejects if the program ends before. */
  async says(pattern: RegExp): Promise<RegExpMatchArray> {
    let match: RegExpMatchArray | null = null
    await until(`the server says ${pattern}`, () => {
      match = this.#output.match(pattern)
      return match !== null || this.#ending !== undefined
    })
    if (match === null) throw new Error(`ended (${this.#ending}) without ${pattern}:\n${this.#output}\n${this.#log}`)
    return match
  }

  /** What the clock that was loaded into the server (server-clock.ts) has measured since the last call. */
  readClock(): Promise<ClockReading> {
    return this.ask('clock')
  }

  /** Asks what was loaded into the server; resolves to what it answers under this name. */
  ask<Answer>(name: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const receive = (message: Record<string, Answer>) => {
        if (!(name in message)) return
        this.#child.off('message', receive)
        this.#child.off('exit', giveUp)
        resolve(message[name] as Answer)
      }
      const giveUp = () => reject(new Error(`ended without an answer to ${name}`))
      this.#child.on('message', receive)
      this.#child.once('exit', giveUp)
      this.#child.send(name)
    })
  }

  /** Sends the signal, and resolves when the process has ended. */
  end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    this.#child.kill(signal)
    return this.ended
  }
}

/** A server of one role that accepts connections. */
export interface RunningServer<R extends Role = Role> {
  role: R
  port: number
  program: ServerProgram
}

export interface TestMarketplace {
  home: string
  /** As root. Servers are started with the users of their roles, who have only the rights that they need. */
  urls: Record<DatabaseName, string>
  /** The database server that runs now. */
  database(): PrivateDatabase
  /** Starts the database server again in its folder, after it has ended. */
  restartDatabase(): Promise<void>
  /** Resolves to the rows of a statement, as objects. */
  sql<Row = Record<string, unknown>>(database: DatabaseName, statement: string, values?: unknown[]): Promise<Row[]>
  /** Starts a server; resolves when it accepts connections. */
  serve<R extends Role>(role: R, settings?: SomeSettings, command?: readonly string[]): Promise<RunningServer<R>>
  close(): Promise<void>
}

export async function startTestMarketplace(home = temporaryHome()): Promise<TestMarketplace> {
  try {
    return await startIn(home)
  } catch (error) {
    rmSync(home, { recursive: true, force: true })
    throw error
  }
}

async function startIn(home: string): Promise<TestMarketplace> {
  const programs: ServerProgram[] = []
  let database = await startPrivateDatabase(home, BUFFER_POOL_MIB)
  const urlsOf = (user: PrivateUser) => ({
    customer: database.url('souk_test_customer', user),
    product: database.url('souk_test_product', user),
  })
  await Promise.all(Object.values(urlsOf('owner')).map(createDatabase))
  await makeSchema({ customer: 'customer', product: 'product' }, urlsOf('owner'))
  const urls = urlsOf('root')

  async function serve<R extends Role>(role: R, settings: SomeSettings = {}, command?: readonly string[]) {
    const { customer, product } = urlsOf(role)
    const databases = { customerDbUrl: customer, productDbUrl: product }
    const environment = asEnvironment({ ...databases, sellerPort: 0, buyerPort: 0, ...settings })
    const started = new ServerProgram(home, [role], environment, command === undefined ? undefined : [...command])
    programs.push(started)
    const [, port] = await started.says(/server accepts connections on 127\.0\.0\.1:(\d+)\n/)
    return { role, port: Number(port), program: started }
  }

  return {
    home,
    urls,
    database: () => database,
    async restartDatabase() {
      database = await startPrivateDatabase(home, BUFFER_POOL_MIB)
    },
    sql: (name, statement, values) => withConnection(urls[name], (connection) => connection.query(statement, values)),
    serve,
    async close() {
      await Promise.all(programs.map((program) => program.end('SIGKILL')))
      await database.stop()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

/** The number of client connections that a server has not closed. Linux only. */
export function openConnections({ port }: { port: number }): number {
  const [, ...rows] = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n')
  return rows.filter((row) => {
    const [, local, , state] = row.trim().split(/\s+/)
    const isOpen = state === '01' || state === '08' // established, or closed only by the client
    return isOpen && Number.parseInt(local?.split(':')[1] ?? '', 16) === port
  }).length
}

/** A process that belongs to a home. */
export interface HomeProcess {
  pid: number
  command: string
}

/** All live processes with this home in their environment. Linux only. */
export function findProcesses(home: string): HomeProcess[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`SOUK_HOME=${home}`)) return []
      return [{ pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() }]
    } catch {
      return [] // it has ended, or belongs to another user
    }
  })
}

/** Ports of the loopback address that nothing listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const listen = () =>
    new Promise<Server>((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
    })
  const servers = await Promise.all(Array.from({ length: count }, listen))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Waits until `isTrue`; rejects with `what` after 30 seconds, or the time given. */
export async function until(
  what: string,
  isTrue: () => boolean | Promise<boolean>,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const untilMs = performance.now() + patienceMs
  while (!(await isTrue())) {
    if (performance.now() > untilMs) throw new Error(`not true in ${patienceMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
