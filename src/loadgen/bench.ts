/**
 * The bench that systems are measured on: a private database with a study's own
 * databases in it, a catalogue of stated size, accounts with a session each,
 * and systems that run side by side, so that their runs can take turns.
 */

import { type Connection, connect } from '../client/connection.ts'
import type { Role } from '../contract/operations.ts'
import { encodeResult } from '../contract/protocol.ts'
import { withConnection } from '../db/connect.ts'
import { BUFFER_POOL_MIB, lockHome, startPrivateDatabase } from '../db/private.ts'
import type { Progress } from '../process/progress.ts'
import { SetUpError } from '../process/start.ts'
import type { Settings } from '../server/settings.ts'
import { type Ledger, readState, type State, violationsOf } from './audit.ts'
import { fillCatalogue, makeDatabases, openSessions, restoreCatalogue, type Urls } from './databases.ts'
import { runFleet, type Session } from './fleet.ts'
import { figuresOf, type Run } from './record.ts'
import { createPlays, isShopping, type Scenario } from './scenarios.ts'
import { cpuSecondsOf, type System, type SystemName, type SystemOptions, startSystem } from './systems.ts'
import {
  createPlanners,
  createSearches,
  ITEMS,
  OPERATIONS,
  type OperationName,
  type Planner,
  seeded,
} from './workload.ts'

export interface BenchOptions {
  /** Folder of the private database. */
  home: string
  /** Databases to use instead of private ones. */
  given: Pick<Settings, 'customerDbUrl' | 'productDbUrl'>
  seed: number
  /** As many as the largest run has clients, and one at least. */
  accounts: Readonly<Record<Role, number>>
  /** Once aborted, no further run begins. */
  signal: AbortSignal
  progress: Progress
}

export interface Bench {
  urls: Urls
  /** Bytes of the reply line to each operation. */
  replyBytes: Record<OperationName, number>
  /** By the number of the account, less one. */
  sessions: Readonly<Record<Role, readonly Session[]>>
  /** On the bench's own databases, unless given others. */
  start(name: SystemName, options?: Omit<SystemOptions, 'urls' | 'nullResults'> & { urls?: Urls }): Promise<System>
  /**
   * One run, on a catalogue of its stated size. In runs of one number clients draw the same, whatever the system.
   * Rejects with the first wrong reply, or with what the auditor finds amiss.
   */
  run(system: System, scenario: Scenario, number: number): Promise<Run>
  /** Stops everything that was started here, and ends what is shown. */
  close(): Promise<void>
}

const VIOLATIONS_SHOWN = 20

export async function openBench({ home, given, seed, accounts, signal, progress }: BenchOptions): Promise<Bench> {
  const systems: Promise<System>[] = []
  const pickSearch = createSearches(seed)
  const planners = createPlanners(pickSearch)
  const plays = createPlays(planners, pickSearch)
  const { urls, pid: databasePid, release } = await openDatabases(home, given, progress.begin)

  async function start(name: SystemName, options: Partial<SystemOptions> = {}): Promise<System> {
    signal.throwIfAborted()
    const system = startSystem(name, { urls, nullResults: canned, ...options })
    systems.push(system)
    return system
  }

  async function close(): Promise<void> {
    progress.end()
    progress.begin('stopping what was started')
    const started = await Promise.allSettled(systems)
    await Promise.all(started.map((start) => (start.status === 'fulfilled' ? start.value.stop() : undefined)))
    await release()
    progress.end()
  }

  let runs = 0
  /** What the database holds, while it is as the catalogue has it. */
  let restored: { stock: number | undefined } | undefined
  const catalogues = new Map<number | undefined, State>()

  async function restore(stock: number | undefined): Promise<State> {
    if (restored === undefined || restored.stock !== stock) {
      progress.begin('restoring the catalogue')
      await restoreCatalogue(urls, stock)
    }
    restored = { stock }
    const catalogue = catalogues.get(stock) ?? (await readState(urls.product))
    catalogues.set(stock, catalogue)
    return catalogue
  }

  async function run(system: System, scenario: Scenario, number: number): Promise<Run> {
    signal.throwIfAborted()
    const canned = system.name === 'null'
    if (canned && isShopping(scenario.name)) throw new SetUpError('the null server has no marketplace to shop in')
    const { behaviours, stock } = plays[scenario.name]
    const before = await restore(scenario.stock ?? stock)
    const cpuBefore = cpuOf(system, databasePid)
    const random = seeded(seed * 1_000 + number)
    const what = `${system.name}, ${scenario.name}, ${scenario.clients} clients`
    const done = await runFleet({ ...system, canned }, scenario, behaviours, sessions, random, (total, calls) =>
      progress.begin(what, total, 'calls', calls),
    )
    const cpuAfter = cpuOf(system, databasePid)
    if (done.ledger.length > 0) {
      restored = undefined
      progress.begin('auditing')
      audit(before, await readState(urls.product), done.ledger)
    }
    const { wallS, operations, purchases, overloaded, generatorBusy } = done
    const cpuS = cpuAfter.map(([name, seconds], index) => [name, seconds - (cpuBefore[index]?.[1] ?? 0)])
    return {
      ...{ order: runs++, wallS, overloaded, generatorBusy, cpuS: Object.fromEntries(cpuS) },
      operations: Object.fromEntries([...operations].map(([operation, tally]) => [operation, figuresOf(tally)])),
      ...(purchases.latenciesUs.totalCount === 0 ? {} : { purchases: figuresOf(purchases) }),
    }
  }

  let sessions: Record<Role, Session[]> = { seller: [], buyer: [] }
  let canned: Record<string, unknown> = {}
  try {
    progress.begin('making databases')
    await makeDatabases(urls)
    sessions = await openSessions(urls, accounts)
    progress.begin('filling the catalogue', ITEMS, 'items')
    await fillCatalogue(urls, progress.advance)
    progress.begin('starting servers')
    const souk = await start('souk')
    canned = await captureResults(souk, planners, sessions)
    await souk.stop()
  } catch (error) {
    await close()
    throw error
  }
  return { urls, replyBytes: bytesOf(canned), sessions, start, run, close }
}

async function openDatabases(
  home: string,
  { customerDbUrl, productDbUrl }: BenchOptions['given'],
  begins: (what: string) => void,
) {
  if (customerDbUrl !== undefined && productDbUrl !== undefined) {
    return { urls: { customer: customerDbUrl, product: productDbUrl }, pid: undefined, release: async () => {} }
  }
  const unlock = lockHome(home)
  try {
    const { url, pid, stop } = await startPrivateDatabase(home, BUFFER_POOL_MIB, begins)
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

/** What souk answers to one call of each operation. */
async function captureResults(
  { host, ports }: System,
  planners: readonly Planner[],
  sessions: Record<Role, Session[]>,
): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {}
  for (const { operation, role, plan } of planners) {
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

function cpuOf({ processes }: System, databasePid: number | undefined): [string, number][] {
  const pids = { ...processes, database: databasePid, generator: process.pid }
  return Object.entries(pids).flatMap(([name, pid]) => {
    const seconds = pid === undefined ? undefined : cpuSecondsOf(pid)
    return seconds === undefined ? [] : [[name, seconds]]
  })
}

function audit(before: State, after: State, ledger: Ledger): void {
  const violations = violationsOf(before, after, ledger)
  if (violations.length === 0) return
  const shown = violations.slice(0, VIOLATIONS_SHOWN).map((violation) => `\n- ${violation}`)
  throw new Error(`${violations.length} violations after ${ledger.length} writes:${shown.join('')}`)
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
