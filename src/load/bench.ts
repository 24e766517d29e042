/**
 * The bench that systems are measured on: a private database with a study's own
 * databases in it, a catalogue of stated size, accounts that have logged in,
 * and systems that run side by side, so that their runs can take turns.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused, type Connection, connect } from '../connection.ts'
import { lockHome, startPrivateDatabase } from '../mariadbd.ts'
import { ROLES, type Role } from '../operations.ts'
import { encodeResult } from '../protocol.ts'
import { withConnection } from '../schema.ts'
import type { Settings } from '../settings.ts'
import { runScenario, type Scenario, type Session } from './fleet.ts'
import { figuresOf, type Run } from './record.ts'
import { countRegistered, fillCatalogue, makeDatabases, restoreCatalogue, type Urls } from './stock.ts'
import { cpuSecondsOf, type System, type SystemName, type SystemOptions, startSystem } from './systems.ts'
import { createWorkloads, OPERATIONS, type OperationName, seeded, type Workload } from './workload.ts'

export interface BenchOptions {
  /** Folder of the private database. */
  home: string
  /** Databases to use instead of private ones. */
  given: Pick<Settings, 'customerDbUrl' | 'productDbUrl'>
  seed: number
  /** Accounts of each role: as many as the largest run has clients. */
  accounts: number
  /** Once aborted, no further run begins. */
  signal: AbortSignal
}

export interface Bench {
  urls: Urls
  /** Bytes of the reply line to each operation. */
  replyBytes: Record<OperationName, number>
  start(name: SystemName, options?: Pick<SystemOptions, 'poolSize'>): Promise<System>
  /**
   * One run, on a catalogue of its stated size. Runs of one number draw the same calls, whatever the system.
   * Rejects with the first wrong reply, or if a write is missing.
   */
  run(system: System, scenario: Scenario, number: number): Promise<Run>
  /** Stops everything that was started here. */
  close(): Promise<void>
}

const SIGN_UPS_AT_ONCE = 2
const SIGN_UP_TRIES = 10

export async function openBench({ home, given, seed, accounts, signal }: BenchOptions): Promise<Bench> {
  const systems: Promise<System>[] = []
  const workloads = createWorkloads(seed)
  const { urls, pid: databasePid, release } = await openDatabases(home, given)

  async function start(name: SystemName, options: Partial<SystemOptions> = {}): Promise<System> {
    signal.throwIfAborted()
    const system = startSystem(name, { urls, nullResults: canned, ...options })
    systems.push(system)
    return system
  }

  async function close(): Promise<void> {
    const started = await Promise.allSettled(systems)
    await Promise.all(started.map((start) => (start.status === 'fulfilled' ? start.value.stop() : undefined)))
    await release()
  }

  let runs = 0
  let pristine = true

  async function run(system: System, scenario: Scenario, number: number): Promise<Run> {
    signal.throwIfAborted()
    const random = seeded(seed * 1_000 + number)
    if (!pristine) await restoreCatalogue(urls)
    const target = system.name === 'null' ? withoutChecks(workloads) : workloads
    const cpuBefore = cpuOf(system, databasePid)
    const { wallS, roleWallS, operations, generatorBusy } = await runScenario(
      system,
      scenario,
      target,
      sessions,
      random,
    )
    const cpuAfter = cpuOf(system, databasePid)
    const acknowledged = operations.get('register_item_for_sale')?.totalCount
    pristine = acknowledged === undefined || system.name === 'null'
    if (acknowledged !== undefined && !pristine) await verifyRegistered(urls, acknowledged)
    const figures = [...operations].map(([operation, histogram]) => [
      operation,
      figuresOf(histogram, roleWallS[workloads[operation].role] ?? wallS),
    ])
    const cpuS = Object.fromEntries(
      cpuAfter.map(([name, seconds], index) => [name, seconds - (cpuBefore[index]?.[1] ?? 0)]),
    )
    return { order: runs++, wallS, operations: Object.fromEntries(figures), cpuS, generatorBusy }
  }

  let sessions: Record<Role, Session[]> = { seller: [], buyer: [] }
  let canned: Record<string, unknown> = {}
  try {
    await makeDatabases(urls)
    const souk = await start('souk')
    sessions = await signUpAll(souk, accounts, signal)
    await fillCatalogue(urls)
    canned = await captureResults(souk, workloads, sessions)
    await restoreCatalogue(urls)
    await souk.stop()
  } catch (error) {
    await close()
    throw error
  }
  return { urls, replyBytes: bytesOf(canned), start, run, close }
}

async function openDatabases(home: string, { customerDbUrl, productDbUrl }: BenchOptions['given']) {
  if (customerDbUrl !== undefined && productDbUrl !== undefined) {
    return { urls: { customer: customerDbUrl, product: productDbUrl }, pid: undefined, release: async () => {} }
  }
  const unlock = lockHome(home)
  try {
    const { url, pid, stop } = await startPrivateDatabase(home)
    const release = async () => {
      await stop()
      unlock()
    }
    return { urls: { customer: url('souk_study_customer'), product: url('souk_study_product') }, pid, release }
  } catch (error) {
    unlock()
    throw error
  }
}

/** A few at a time: scrypt is slow on purpose, and a server hashes two passwords at once. */
async function signUpAll(
  { host, ports }: System,
  accounts: number,
  signal: AbortSignal,
): Promise<Record<Role, Session[]>> {
  const sessions = { seller: [] as Session[], buyer: [] as Session[] }
  const signUps = ROLES.map(async (role) => {
    const connection = (await connect({ host, port: ports[role] })) as Connection<Role>
    const numbers = Array.from({ length: accounts }, (_, index) => index + 1).values()
    const worker = async () => {
      for (const number of numbers) {
        signal.throwIfAborted()
        sessions[role].push(await signUp(connection, `${role}.${number}`))
      }
    }
    await Promise.all(Array.from({ length: SIGN_UPS_AT_ONCE }, worker))
    await connection.close()
  })
  await Promise.all(signUps)
  return sessions
}

async function signUp(connection: Connection<Role>, username: string): Promise<Session> {
  const credentials = { username, password: `password of ${username}` }
  await patiently(() => connection.call('create_account', { ...credentials, name: username }))
  const { session } = await patiently(() => connection.call('login', credentials))
  const { id: accountId } = await connection.call('whoami', { session })
  return { accountId, session }
}

/** Tries again while a busy machine is too slow for scrypt: signing up is harmless to repeat. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call()
    } catch (error) {
      const slow = error instanceof CallRefused && ['overloaded', 'timeout'].includes(error.code)
      if (!slow || tries === SIGN_UP_TRIES) throw error
      await sleep(Number(error.details.retry_after_ms ?? 0))
    }
  }
}

/** What souk answers to one call of each operation. */
async function captureResults(
  { host, ports }: System,
  workloads: Record<OperationName, Workload>,
  sessions: Record<Role, Session[]>,
): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {}
  for (const operation of OPERATIONS) {
    const { role, plan } = workloads[operation]
    const [first] = sessions[role]
    if (first === undefined) throw new Error(`no ${role} has signed up`)
    const connection = (await connect({ host, port: ports[role] })) as Connection<Role>
    const { params, isRight } = plan(seeded(0), first.accountId)
    results[operation] = await connection.call(operation as 'whoami', { session: first.session, ...params })
    if (!isRight(results[operation])) throw new Error(`wrong reply to ${operation}`)
    await connection.close()
  }
  return results
}

function bytesOf(results: Record<string, unknown>): Record<OperationName, number> {
  const lines = OPERATIONS.map((operation) => [operation, encodeResult(1_000, JSON.stringify(results[operation]))])
  return Object.fromEntries(lines.map(([operation, line = '']) => [operation, Buffer.byteLength(line)])) as Record<
    OperationName,
    number
  >
}

/** The null server has one answer to everything: of the right shape and size, but to another call. */
function withoutChecks(workloads: Record<OperationName, Workload>): Record<OperationName, Workload> {
  const entries = Object.entries(workloads).map(([operation, { role, plan }]) => [
    operation,
    { role, plan: (...known: Parameters<typeof plan>) => ({ ...plan(...known), isRight: () => true }) },
  ])
  return Object.fromEntries(entries)
}

function cpuOf({ processes }: System, databasePid: number | undefined): [string, number][] {
  const pids = { ...processes, database: databasePid, generator: process.pid }
  return Object.entries(pids).flatMap(([name, pid]) => {
    const seconds = pid === undefined ? undefined : cpuSecondsOf(pid)
    return seconds === undefined ? [] : [[name, seconds]]
  })
}

async function verifyRegistered(urls: Urls, acknowledged: number): Promise<void> {
  const registered = await countRegistered(urls)
  if (registered !== acknowledged) throw new Error(`${acknowledged} items were acknowledged, ${registered} are there`)
}

/** What the database says of the settings that decide its durability and its memory. */
export async function databaseSettings(urls: Urls): Promise<Record<string, string>> {
  const names = [
    'version',
    'innodb_flush_log_at_trx_commit',
    'innodb_buffer_pool_size',
    'innodb_flush_method',
    'sync_binlog',
  ]
  return withConnection(urls.product, async (connection) => {
    const sql = `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${names.map(() => '?').join(', ')})`
    const rows = await connection.query<{ Variable_name: string; Value: string }[]>(sql, names)
    return Object.fromEntries(rows.map((row) => [row.Variable_name, row.Value]))
  })
}
