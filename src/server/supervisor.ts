/**
 * The supervisor: runs the whole marketplace on one machine. It starts the
 * private database, unless real ones are set, and the two servers. It restarts
 * any of them that ends unasked. At the end it stops everything that it started,
 * the servers before the database.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { ROLES, type Role } from '../contract/operations.ts'
import { forBoth, makeSchema, prepareDatabases } from '../db/prepare.ts'
import { BUFFER_POOL_MIB, inHome, lockHome, type PrivateDatabase, startPrivateDatabase } from '../db/private-mariadb.ts'
import type { PrivateUser } from '../db/private-users.ts'
import { createDatabase, type DatabaseUrls } from '../db/schema.ts'
import { progress, writeLine } from '../process/progress.ts'
import { programArguments, SetUpError } from '../process/start.ts'
import { onStop, type Remaining, showStopping } from '../process/stop.ts'
import { fitConnections } from './open-files.ts'
import { asEnvironment, type SettingSources, type Settings } from './settings.ts'

const RESTART_MS = 50
/** What ends sooner after its start is not started again at once. */
const STEADY_MS = 5_000
const LONGEST_RESTART_MS = 10_000
const LONGEST_STOP_MS = 11_000

/** Runs until told to stop, then ends the process. Throws `SetUpError`. */
export async function runMarketplace(wanted: Settings, sources: SettingSources): Promise<void> {
  const settings = fitConnections(wanted) // here, so that it is said once for both servers
  const servers = new Map<Role, ChildProcess>()
  let database: Promise<PrivateDatabase> | undefined // set as soon as it starts
  let unlock = () => {}
  let stopping = false
  const remaining = new Map<Role, Remaining>()

  /** Once stopping, show only the shutdown. */
  function showStep(what: string): void {
    if (!stopping) progress.begin(what)
  }

  async function stop(exitCode: number): Promise<void> {
    stopping = true
    showStopping([])
    await Promise.all([...servers.values()].map(stopServer))
    if (database !== undefined) progress.begin('stopping the private database')
    const running = await database?.catch(() => undefined)
    await running?.stop()
    unlock()
    process.exit(exitCode)
  }

  async function start(): Promise<void> {
    const urlsOf = await prepare()
    if (stopping) return
    showStep('starting the servers')
    const starts = await Promise.allSettled(ROLES.map((role) => keepServer(role, urlsOf(role))))
    for (const started of starts) if (started.status === 'rejected') throw started.reason
  }

  /** Returns the URLs of both databases for a server: its user has no other rights than it needs, if that is ours to say. */
  async function prepare(): Promise<(role: Role) => DatabaseUrls> {
    if (settings.customerDbUrl !== undefined && settings.productDbUrl !== undefined) {
      const given = { customer: settings.customerDbUrl, product: settings.productDbUrl }
      showStep('checking tables')
      await prepareDatabases(sources, given, ROLES)
      return () => given
    }
    unlock = await inHome(sources.home, () => lockHome(settings.home))
    const { url } = await inHome(sources.home, keepDatabase)
    const urlsOf = (user: PrivateUser) => ({ customer: url('souk_customer', user), product: url('souk_product', user) })
    const settingNames = { customer: sources.home, product: sources.home }
    showStep('creating databases')
    await forBoth(settingNames, urlsOf('owner'), (_name, url) => createDatabase(url))
    await makeSchema(settingNames, urlsOf('owner'))
    return urlsOf
  }

  async function keepDatabase(): Promise<PrivateDatabase> {
    database = startPrivateDatabase(settings.home, BUFFER_POOL_MIB, showStep)
    const running = await database
    if (running.adopted) say(`took over the running database of an earlier souk (process ${running.pid})`)
    const beganMs = performance.now()
    void running.ended.then(() => restartDatabase(beganMs))
    return running
  }

  async function restartDatabase(beganMs: number): Promise<void> {
    if (stopping) return
    say('database ended; starting it again')
    let said = ''
    for (let attempt = firstAttempt(beganMs); !stopping; attempt += 1) {
      await sleep(pauseMs(attempt))
      try {
        if (!stopping) await keepDatabase()
        if (!stopping) progress.end()
        return
      } catch (error) {
        const { message } = error as Error
        if (message !== said) say(message)
        said = message
      }
    }
  }

  /** Resolves when the server accepts connections. From then on, restarts it whenever it ends. */
  async function keepServer(role: Role, urls: DatabaseUrls): Promise<void> {
    const environment = asEnvironment({ ...settings, customerDbUrl: urls.customer, productDbUrl: urls.product })
    const server = spawn(process.execPath, programArguments('server', role), {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true, // Ctrl-C reaches only the supervisor, which stops the server; if it is dead, the broken channel does
    })
    servers.set(role, server)
    server.on('message', (message: { port: number } | { remaining: Remaining }) => {
      if (!stopping || !('remaining' in message)) return
      remaining.set(role, message.remaining)
      showStopping([...remaining.values()])
    })
    server.once('exit', () => remaining.delete(role))
    const ready = new Promise<boolean>((resolve) => {
      server.once('message', () => resolve(true))
      server.once('exit', () => resolve(false))
    })
    const beganMs = performance.now()
    if (await ready) return void server.once('exit', () => void restart(role, urls, beganMs))
    const hasSaidWhy = server.exitCode === 2
    throw hasSaidWhy ? new SetUpError() : new Error(`the ${role} server did not start`)
  }

  async function restart(role: Role, urls: DatabaseUrls, beganMs: number): Promise<void> {
    if (stopping) return
    say(`${role} server ended; starting it again`)
    for (let attempt = firstAttempt(beganMs); !stopping; attempt += 1) {
      await sleep(pauseMs(attempt))
      try {
        if (!stopping) return await keepServer(role, urls)
      } catch {} // the server said why; try again
    }
  }

  onStop(() => stop(0))
  process.once('uncaughtException', (error) => {
    writeLine(process.stderr, `souk: ${error.stack}`)
    void stop(1)
  })
  try {
    await start()
    if (stopping) return
    progress.end()
    say('souk is ready')
  } catch (error) {
    if (stopping) return
    for (const problem of problemsIn(error)) writeLine(process.stderr, `souk: ${problem}`)
    await stop(error instanceof SetUpError ? 2 : 1)
  }
}

/** 0, which is at once, for what ran steadily until it ended. */
function firstAttempt(beganMs: number): number {
  return performance.now() - beganMs > STEADY_MS ? 0 : 1
}

/** Doubles, since what prevents a start may last. */
function pauseMs(attempt: number): number {
  return attempt === 0 ? 0 : Math.min(LONGEST_RESTART_MS, RESTART_MS * 2 ** (attempt - 1))
}

function problemsIn(error: unknown): readonly string[] {
  return error instanceof SetUpError ? error.problems : [(error as Error).message]
}

async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const exited = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGTERM')
  const overdue = setTimeout(() => server.kill('SIGKILL'), LONGEST_STOP_MS)
  await exited
  clearTimeout(overdue)
}

function say(line: string): void {
  writeLine(process.stdout, line)
}
