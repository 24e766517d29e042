/**
 * What a fault meets: a private MariaDB, two supervisors with a seller and a
 * buyer server each, all on the same databases, and a process with clients.
 * `stop()` ends the clients and collects their log; `close()` ends everything.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '../../src/client/connection.ts'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { connectionOptions } from '../../src/db/url.ts'
import { readSnapshot, type Snapshot } from '../../src/loadgen/audit.ts'
import { type Random, seeded } from '../../src/loadgen/random.ts'
import { asEnvironment } from '../../src/server/settings.ts'
import { FaultyLink } from '../support/faulty-link.ts'
import {
  findProcesses,
  freePorts,
  openConnections,
  ServerProgram,
  type SomeSettings,
  startTestMarketplace,
  type TestMarketplace,
  temporaryHome,
} from '../support/marketplace.ts'
import { createAccounts, openSessions } from '../support/sessions.ts'
import type { Identity } from './client.ts'
import type { LoadOptions } from './load.ts'
import type { LoadOrder } from './load-process.ts'
import { clockMs, type Entry, MemoryLog, readLog } from './log.ts'

export interface StageOptions {
  seed: number
  /** Trading clients of each role; 0: no load. */
  sellers: number
  buyers: number
  pauseMs: number
  settings: SomeSettings
  /** The servers reach the product database through `link`. */
  throughLink: boolean
  /** Folder of the database; a temporary one by default. */
  home?: string
  /** Ends whatever waits. */
  signal: AbortSignal
}

export interface StageServer {
  role: Role
  port: number
  /** Number of its supervisor. */
  supervisor: number
}

/** What should not grow: of all servers together, and of the database. */
export interface Resources {
  rssMib: number
  descriptors: number
  clientConnections: number
  databaseConnections: number
  preparedStatements: number
}

/** A row of the customer database. */
export interface Account {
  role: Role
  id: number
  username: string
}

const SUPERVISORS = 2
const COMPILED_SERVER = [process.execPath, fileURLToPath(new URL('../../dist/server.js', import.meta.url))]
/** One address, from which all clients come, may have three quarters of them. */
const MOST_CONNECTIONS = 16_000
const LEAVING = 40
const EXPIRED = 4
const EXPIRED_IDLE_S = 1
/** The database counts whole seconds. */
const CLOCK_STEP_S = 1
/** Of sessions of the load: longer than any chapter. */
const SESSION_IDLE_S = 7_200
const PROBE_PAUSE_MS = 5
const PROBE_MS = 1_000
const PATIENCE_MS = 60_000

export class Stage {
  readonly random: Random
  readonly signal: AbortSignal
  readonly marketplace: TestMarketplace
  readonly servers: readonly StageServer[]
  readonly link: FaultyLink | undefined
  /** Of calls made in this process. */
  readonly log = new MemoryLog()
  /** What was done, by name. */
  readonly counts: Record<string, number> = {}
  /** The product database before the load. */
  readonly before: Snapshot
  readonly #options: StageOptions
  readonly #supervisors: ServerProgram[] = []
  /** What supervisors and servers wrote that were replaced. */
  #outputs = ''
  /** The process of each server, by port, as far as it was started on purpose. */
  readonly #expectedPids = new Map<number, number | undefined>()
  readonly #homes = Array.from({ length: SUPERVISORS }, temporaryHome)
  #load: ChildProcess | undefined
  #loadEntries: Entry[] = []

  private constructor(
    options: StageOptions,
    marketplace: TestMarketplace,
    link: FaultyLink | undefined,
    before: Snapshot,
    ports: readonly number[],
  ) {
    this.#options = options
    this.before = before
    this.random = seeded(options.seed)
    this.signal = options.signal
    this.marketplace = marketplace
    this.link = link
    this.servers = ports.map((port, number) => {
      return { port, role: ROLES[number % ROLES.length] as Role, supervisor: Math.floor(number / ROLES.length) }
    })
  }

  static async open(options: StageOptions): Promise<Stage> {
    const marketplace = await startTestMarketplace(options.home)
    const { socketPath } = connectionOptions(marketplace.urls.product)
    const link = options.throughLink ? await FaultyLink.start({ path: socketPath as string }) : undefined
    const before = await readSnapshot(marketplace.urls.product)
    const stage = new Stage(options, marketplace, link, before, await freePorts(SUPERVISORS * ROLES.length))
    try {
      await Promise.all(stage.#homes.map((_, number) => stage.startSupervisor(number)))
      return stage
    } catch (error) {
      await stage.close()
      throw error
    }
  }

  ports(role: Role): readonly number[] {
    return this.servers.filter((server) => server.role === role).map(({ port }) => port)
  }

  pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.signal })
  }

  count(what: string, times = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + times
  }

  async startSupervisor(number: number): Promise<void> {
    const { customer, product } = this.marketplace.urls
    const own = this.servers.filter((server) => server.supervisor === number)
    const [sellerPort, buyerPort] = own.map(({ port }) => port) as [number, number]
    const environment = asEnvironment({
      customerDbUrl: customer,
      productDbUrl: this.link === undefined ? product : linkUrl(product, this.link),
      limitConnections: MOST_CONNECTIONS,
      sellerPort,
      buyerPort,
      ...this.#options.settings,
    })
    const supervisor = new ServerProgram(this.#homes[number] as string, [], environment, COMPILED_SERVER)
    const replaced = this.#supervisors[number]
    if (replaced !== undefined) this.#outputs += replaced.output + replaced.log
    this.#supervisors[number] = supervisor
    await supervisor.says(/souk is ready/)
    for (const server of own) this.expectProcess(server)
  }

  /** From now on, the process of this server is the one that must live on. */
  expectProcess(server: StageServer): void {
    this.#expectedPids.set(server.port, this.findPid(server))
  }

  /** The servers whose processes ended though nobody ended them. */
  get lostServers(): readonly StageServer[] {
    return this.servers.filter((server) => this.findPid(server) !== this.#expectedPids.get(server.port))
  }

  /** All that supervisors and servers wrote. */
  get output(): string {
    return this.#outputs + this.#supervisors.map(({ output, log }) => output + log).join('')
  }

  /** Tells a supervisor to stop, and resolves to its exit code. */
  stopSupervisor(number: number) {
    return this.#supervisors[number]?.end('SIGTERM')
  }

  /** The process of a server; undefined while it does not run. */
  findPid({ role, supervisor }: StageServer): number | undefined {
    const processes = findProcesses(this.#homes[supervisor] as string)
    return processes.find(({ command }) => command.endsWith(`server.js ${role}`))?.pid
  }

  /** Resolves to the milliseconds until a server answers, asked again and again from now on. */
  async answersAfterMs({ port, role }: StageServer, databases = false): Promise<number> {
    const beganMs = performance.now()
    while (performance.now() - beganMs < PATIENCE_MS) {
      this.signal.throwIfAborted()
      const answered = await ping(port, role, databases)
      if (answered) return performance.now() - beganMs
      await sleep(PROBE_PAUSE_MS)
    }
    return Number.POSITIVE_INFINITY
  }

  /** Accounts with a session each. */
  async newIdentities(role: Role, count: number, idleS = SESSION_IDLE_S): Promise<Identity[]> {
    if (count === 0) return []
    return withConnection(this.marketplace.urls.customer, async (customer) => {
      const sessions = await openSessions(customer, role, await createAccounts(customer, role, count), { idleS })
      const expiry = idleS === EXPIRED_IDLE_S ? { expiredMs: clockMs() + (idleS + CLOCK_STEP_S) * 1_000 } : {}
      return sessions.map(({ id, session }) => ({ role, id, session, ...expiry }))
    })
  }

  /** Starts the load; resolves when it runs. */
  async start(): Promise<void> {
    const { sellers, buyers, pauseMs, seed } = this.#options
    if (sellers + buyers === 0) return
    const leaving = [await this.newIdentities('seller', LEAVING), await this.newIdentities('buyer', LEAVING)]
    const options: LoadOptions = {
      seed,
      ports: { seller: this.ports('seller'), buyer: this.ports('buyer') },
      sellers: await this.newIdentities('seller', sellers),
      buyers: await this.newIdentities('buyer', buyers),
      leaving: Array.from({ length: 2 * LEAVING }, (_, number) => leaving[number % 2]?.[number >> 1] as Identity),
      expired: await this.newIdentities('buyer', EXPIRED, EXPIRED_IDLE_S),
      pauseMs,
    }
    const execArgv = [`--import=${import.meta.resolve('tsx')}`]
    this.#load = fork(fileURLToPath(new URL('load-process.ts', import.meta.url)), { execArgv })
    this.#load.send({ start: options, logPath: this.#logPath } satisfies LoadOrder)
    await once(this.#load, 'message', { signal: this.signal })
  }

  /** Ends the load when all its calls are settled. */
  async stop(): Promise<void> {
    const load = this.#load
    if (load === undefined) return
    const ended = once(load, 'exit', { signal: this.signal })
    load.send({ stop: true } satisfies LoadOrder)
    const [code] = await ended
    if (code !== 0) throw new Error(`the process of the clients ended with ${code}`)
    this.#load = undefined
    this.#loadEntries = readLog(this.#logPath)
  }

  /** What all clients logged. */
  get entries(): readonly Entry[] {
    return [...this.#loadEntries, ...this.log.entries]
  }

  get #logPath(): string {
    return join(this.#homes[0] as string, 'clients.log')
  }

  async readAccounts(): Promise<Account[]> {
    const select = (role: Role) => `SELECT '${role}' AS role, id, username FROM ${role}`
    return this.marketplace.sql<Account>('customer', ROLES.map(select).join(' UNION ALL '))
  }

  /** Memory of all servers that run now. */
  readRssMib(): number {
    return sum(this.servers.flatMap((server) => this.findPid(server) ?? []).map(readRssMib))
  }

  /** What servers and database hold now. */
  async readResources(): Promise<Resources> {
    const pids = this.servers.flatMap((server) => this.findPid(server) ?? [])
    const status = await this.marketplace.sql<{ Variable_name: string; Value: string }>(
      'product',
      "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Prepared_stmt_count')",
    )
    const read = (name: string) => Number(status.find((row) => row.Variable_name === name)?.Value)
    return {
      rssMib: sum(pids.map(readRssMib)),
      descriptors: sum(pids.map(countDescriptors)),
      clientConnections: sum(this.servers.map(openConnections)),
      databaseConnections: read('Threads_connected'),
      preparedStatements: read('Prepared_stmt_count'),
    }
  }

  async close(): Promise<void> {
    this.#load?.kill('SIGKILL')
    await Promise.all(this.#supervisors.map((supervisor) => supervisor.end('SIGTERM')))
    await this.link?.close()
    await this.marketplace.close()
    for (const home of this.#homes) rmSync(home, { recursive: true, force: true })
  }
}

async function ping(port: number, role: Role, databases: boolean): Promise<boolean> {
  try {
    const connection = await connect({ host: '127.0.0.1', port, role, timeoutMs: PROBE_MS })
    try {
      const { databases: reached } = await connection.call('ping', { databases })
      return !databases || (reached?.customer === true && reached.product)
    } finally {
      connection.destroy()
    }
  } catch {
    return false
  }
}

/** The URL of the same database through the link. */
function linkUrl(databaseUrl: string, { port }: FaultyLink): string {
  const url = new URL(databaseUrl)
  url.searchParams.delete('socketPath')
  url.host = `127.0.0.1:${port}`
  return url.href
}

function readRssMib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024
}

function countDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((name) => isSocket(`/proc/${pid}/fd/${name}`)).length
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:')
  } catch {
    return false // closed meanwhile
  }
}

export function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
