/**
 * The bench that systems are measured on: the study's own databases with the
 * catalogue in them, accounts with a session each, and systems that run side by
 * side, so that their runs can take turns.
 */

import { type Connection, connect } from '../client/connection.ts'
import type { Role } from '../contract/operations.ts'
import { encodeResult } from '../contract/protocol.ts'
import { withConnection } from '../db/connect.ts'
import { forBoth } from '../db/prepare.ts'
import { BUFFER_POOL_MIB, inHome, lockHome, startPrivateDatabase } from '../db/private-mariadb.ts'
import type { Progress } from '../process/progress.ts'
import { SetUpError } from '../process/start.ts'
import { type Settings, settingSources } from '../server/settings.ts'
import { findViolations, type Ledger, readSnapshot, type Snapshot } from './audit.ts'
import { createPlanners, OPERATIONS, type OperationName, type Planner } from './calls.ts'
import { createSearches, ITEMS } from './catalogue.ts'
import { createStudyDatabase, fillCatalogue, openSessions, restoreCatalogue, type Urls } from './databases.ts'
import { type Measurement, type RunSize, runFleet, type Session } from './fleet.ts'
import { seeded } from './random.ts'
import { type Run, summarise } from './record.ts'
import { createScenarios, isMarketScenario, type ScenarioName } from './scenarios.ts'
import { readCpuSeconds, type System, type SystemName, type SystemOptions, startSystem } from './systems.ts'

export interface BenchOptions {
  /** Folder of the private database. */
  home: string
  /** Databases to use instead of private ones. */
  given: Pick<Settings, 'customerDbUrl' | 'productDbUrl'>
  seed: number
  /** At least one, and as many as the largest run has clients. */
  accounts: Readonly<Record<Role, number>>
  /** Once aborted, no further run starts. */
  signal: AbortSignal
  progress: Progress
}

export interface Bench {
  urls: Urls
  /** Bytes of souk's reply line, by operation. */
  replyBytes: Record<OperationName, number>
  /** Indexed by account id, less one. */
  sessions: Readonly<Record<Role, readonly Session[]>>
  /** Starts a system, on the bench's own databases unless given others. */
  start(name: SystemName, options?: Omit<SystemOptions, 'urls' | 'nullResults'> & { urls?: Urls }): Promise<System>
  /**
   * One run, on the restored catalogue. In all runs of a round, the clients draw
   * the same random numbers on every system. Rejects with the first wrong reply,
   * or with the violations that the auditor finds.
   */
  run(system: System, scenario: ScenarioName, size: RunSize, round: number): Promise<Run>
  /** Stops everything that was started here, and the progress line. */
  close(): Promise<void>
}

const VIOLATIONS_SHOWN = 20
/** souk-load has no flags for settings. */
const SOURCES = settingSources({})

export async function openBench({ home, given, seed, accounts, signal, progress }: BenchOptions): Promise<Bench> {
  const systems: Promise<System>[] = []
  const pickSearch = createSearches(seed)
  const planners = createPlanners(pickSearch)
  const scenarios = createScenarios(planners, pickSearch)
  const { urls, settingNames, pid: databasePid, release } = await openDatabases(home, given, progress.begin)

  async function start(name: SystemName, options: Partial<SystemOptions> = {}): Promise<System> {
    signal.throwIfAborted()
    const system = startSystem(name, { urls, nullResults: cannedResults, ...options })
    systems.push(system)
    return system
  }

  async function close(): Promise<void> {
    progress.end()
    progress.begin('stopping servers and database')
    const started = await Promise.allSettled(systems)
    await Promise.all(started.map((start) => (start.status === 'fulfilled' ? start.value.stop() : undefined)))
    await release()
    progress.end()
  }

  let runs = 0
  /** Set while the database holds the catalogue with this stock, and nothing else. */
  let restored: { stock: number | undefined } | undefined
  const catalogues = new Map<number | undefined, Snapshot>()

  async function restore(stock: number | undefined): Promise<Snapshot> {
    if (restored === undefined || restored.stock !== stock) {
      progress.begin('restoring the catalogue')
      await restoreCatalogue(urls, stock)
    }
    restored = { stock }
    const catalogue = catalogues.get(stock) ?? (await readSnapshot(urls.product))
    catalogues.set(stock, catalogue)
    return catalogue
  }

  async function run(system: System, scenario: ScenarioName, size: RunSize, round: number): Promise<Run> {
    signal.throwIfAborted()
    const canned = system.name === 'null'
    if (canned && isMarketScenario(scenario))
      throw new SetUpError(`the null server can't answer the calls of ${scenario}`)
    const { behaviours, stock } = scenarios[scenario]
    const before = await restore(size.stock ?? stock)
    const cpuBefore = readCpu(system, databasePid)
    const random = seeded(seed * 1_000 + round)
    const title = `${system.name}, ${scenario}, ${size.clients} clients`
    const measured = await runFleet({ ...system, canned }, size, behaviours, sessions, random, (total, calls) =>
      progress.begin(title, total, 'calls', calls),
    )
    const cpuAfter = readCpu(system, databasePid)
    if (measured.ledger.length > 0) {
      restored = undefined
      progress.begin('auditing')
      audit(before, await readSnapshot(urls.product), measured.ledger)
    }
    const cpuS = cpuAfter.map(([name, seconds], index) => [name, seconds - (cpuBefore[index]?.[1] ?? 0)])
    return toRun(measured, runs++, Object.fromEntries(cpuS))
  }

  let sessions: Record<Role, Session[]> = { seller: [], buyer: [] }
  let cannedResults: Record<string, unknown> = {}
  try {
    progress.begin('making databases')
    await forBoth(settingNames, urls, (name, url) => createStudyDatabase(url, name))
    sessions = await openSessions(urls, accounts)
    progress.begin('filling the catalogue', ITEMS, 'items')
    await fillCatalogue(urls, progress.advance)
    progress.begin('starting servers')
    const souk = await start('souk')
    cannedResults = await captureResults(souk, planners, sessions)
    await souk.stop()
  } catch (error) {
    await close()
    throw error
  }
  return { urls, replyBytes: countBytes(cannedResults), sessions, start, run, close }
}

async function openDatabases(
  home: string,
  { customerDbUrl, productDbUrl }: BenchOptions['given'],
  onBegin: (what: string) => void,
) {
  if (customerDbUrl !== undefined && productDbUrl !== undefined) {
    const urls = { customer: customerDbUrl, product: productDbUrl }
    return { urls, settingNames: SOURCES, pid: undefined, release: async () => {} }
  }
  const unlock = await inHome(SOURCES.home, () => lockHome(home))
  try {
    const { url, pid, stop } = await inHome(SOURCES.home, () => startPrivateDatabase(home, BUFFER_POOL_MIB, onBegin))
    const release = async () => {
      await stop()
      unlock()
    }
    const urls = { customer: url('souk_study_customer'), product: url('souk_study_product') }
    return { urls, settingNames: { customer: SOURCES.home, product: SOURCES.home }, pid, release }
  } catch (error) {
    unlock()
    throw error
  }
}

/** Souk's result of one call of each operation. */
async function captureResults(
  { host, ports }: System,
  planners: readonly Planner[],
  sessions: Record<Role, Session[]>,
): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {}
  for (const { operation, role, plan } of planners) {
    const [first] = sessions[role]
    if (first === undefined) throw new Error(`there is no ${role} account`)
    const connection = (await connect({ host, port: ports[role] })) as Connection<Role>
    const { params, isRight } = plan(seeded(0), first.accountId)
    results[operation] = await connection.call(operation as 'whoami', { session: first.session, ...params })
    if (!isRight(results[operation])) throw new Error(`wrong reply to ${operation}`)
    await connection.close()
  }
  return results
}

function countBytes(results: Record<string, unknown>): Record<OperationName, number> {
  const entries = OPERATIONS.map((operation) => {
    const line = encodeResult(1_000, JSON.stringify(results[operation]))
    return [operation, Buffer.byteLength(line)]
  })
  return Object.fromEntries(entries) as Record<OperationName, number>
}

function readCpu({ processes }: System, databasePid: number | undefined): [string, number][] {
  const pids = { ...processes, database: databasePid, generator: process.pid }
  return Object.entries(pids).flatMap(([name, pid]) => {
    const seconds = pid === undefined ? undefined : readCpuSeconds(pid)
    return seconds === undefined ? [] : [[name, seconds]]
  })
}

function audit(before: Snapshot, after: Snapshot, ledger: Ledger): void {
  const violations = findViolations(before, after, ledger)
  if (violations.length === 0) return
  const shown = violations.slice(0, VIOLATIONS_SHOWN).map((violation) => `\n- ${violation}`)
  throw new Error(`${violations.length} violations after ${ledger.length} writes:${shown.join('')}`)
}

function toRun(
  { wallS, operations, purchases, overloaded, generatorBusy }: Measurement,
  order: number,
  cpuS: Run['cpuS'],
): Run {
  return {
    order,
    wallS,
    overloaded,
    generatorBusy,
    cpuS,
    operations: Object.fromEntries([...operations].map(([name, latencies]) => [name, summarise(latencies)])),
    ...(purchases.latenciesUs.totalCount === 0 ? {} : { purchases: summarise(purchases) }),
  }
}

/** The database's version, and its settings that decide durability and memory. */
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
