/**
 * The systems under comparison: how to start each on the same databases, and
 * how much processor time it has used. Each has a server for sellers and one
 * for buyers, in processes of their own.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { TlsOptions } from '../client/tls.ts'
import { ROLES, type Role } from '../contract/operations.ts'
import { howToInstall, NEEDS } from '../process/needs.ts'
import { programArguments, programFile, SetUpError } from '../process/start.ts'
import type { RunCertificate } from './certificate.ts'
import { SESSION_IDLE_S, type Urls } from './databases.ts'

/** The name and the description of each system in the reports. */
export const SYSTEMS = {
  souk: { label: 'souk', about: 'one event loop, requests gathered into batches' },
  'queue-off': { label: 'souk with the queue off', about: 'the same handlers, one statement per request' },
  threads: { label: 'threads.py', about: "the original's architecture, a thread per connection, in Python" },
  pinned: {
    label: 'threads.py on one CPU',
    about: 'the same, pinned so that its interpreter lock does not move between CPUs',
  },
  null: { label: 'null server', about: "souk's wire without a database, a canned reply at once" },
} as const
export type SystemName = keyof typeof SYSTEMS
export const SYSTEM_NAMES = Object.keys(SYSTEMS) as SystemName[]

export interface System {
  name: SystemName
  host: string
  ports: Record<Role, number>
  /** Undefined: no TLS. */
  tls?: TlsOptions | undefined
  /** Process ids by role. */
  processes: Record<Role, number>
  /** The longest stall of a watched server's event loop since the previous call. */
  longestStallMs(role: Role): Promise<number>
  stop(): Promise<void>
}

export interface SystemOptions {
  urls: Urls
  /** Results of the null server, by operation. */
  nullResults?: object
  /** Connections in each pool of the systems that don't gather. */
  poolSize?: number
  /** Whether souk watches its event loops, for `longestStallMs`. */
  watched?: boolean
  /** With which souk uses TLS. The other systems have none. */
  certificate?: RunCertificate | undefined
}

const HOST = '127.0.0.1'
/** The CPUs of the two servers of the pinned system: different ones if there is more than one. */
const CPU: Record<Role, string> = { seller: String(availableParallelism() - 1), buyer: '0' }
const START_MS = 15_000
/** More than any run has. The usual limit needs more open files than many machines allow, and every server would say so. */
const CONNECTIONS = 2_000
const THREADS = fileURLToPath(new URL('../../baseline/threads.py', import.meta.url))
/** The unit of times in /proc, on every Linux that Node runs on. */
const TICKS_PER_S = 100

/** Starts both servers of a system on free ports. Throws `SetUpError`. */
export async function startSystem(name: SystemName, options: SystemOptions): Promise<System> {
  const children = ROLES.map((role) => startServer(name, role, options))
  const { certificate } = options
  try {
    const [seller, buyer] = (await Promise.all(children.map(waitForPort))) as [number, number]
    const [sellerPid, buyerPid] = children.map((child) => child.pid) as [number, number]
    return {
      name,
      host: HOST,
      ports: { seller, buyer },
      tls: certificate && { ca: readFileSync(certificate.certificate, 'utf8') },
      processes: { seller: sellerPid, buyer: buyerPid },
      longestStallMs: (role) => longestStallMs(children[ROLES.indexOf(role)] as ChildProcess),
      stop: () => stopAll(children),
    }
  } catch (error) {
    await stopAll(children)
    throw error
  }
}

/** Processor time that a process has used, in user and kernel mode; undefined where there is no /proc. */
export function readCpuSeconds(pid: number): number | undefined {
  if (!existsSync('/proc/self/stat')) return undefined
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S
}

/**
 * A Python with the MariaDB driver. Debian's package belongs to /usr/bin/python3,
 * which need not be the first on PATH. Throws `SetUpError`.
 */
export function findPython(): { program: string; version: string } {
  for (const program of ['/usr/bin/python3', 'python3']) {
    const question = 'import sys, MySQLdb; print(sys.version.split()[0], "with mysqlclient", MySQLdb.__version__)'
    const { status, stdout } = spawnSync(program, ['-c', question], { encoding: 'utf8' })
    if (status === 0) return { program, version: stdout.trim() }
  }
  throw new SetUpError(`threads.py needs a Python with MySQLdb, and none was found; ${howToInstall(NEEDS.baseline)}`)
}

function startServer(
  name: SystemName,
  role: Role,
  { urls, nullResults, poolSize, watched = false, certificate }: SystemOptions,
): ChildProcess {
  const [program, ...rest] = commandLine(name, role, watched, poolSize)
  const environment = {
    SOUK_HOST: HOST,
    SOUK_SELLER_PORT: '0',
    SOUK_BUYER_PORT: '0',
    SOUK_LIMIT_CONNECTIONS: String(CONNECTIONS),
    SOUK_CUSTOMER_DB_URL: urls.customer,
    SOUK_PRODUCT_DB_URL: urls.product,
    SOUK_SESSION_IDLE_S: String(SESSION_IDLE_S),
    SOUK_NULL_RESULTS: JSON.stringify(nullResults ?? {}),
    ...(certificate && { SOUK_TLS_CERTIFICATE: certificate.certificate, SOUK_TLS_KEY: certificate.key }),
  }
  const clean = Object.entries(process.env).filter(([variable]) => !variable.startsWith('SOUK_'))
  return spawn(program, rest, {
    env: { ...Object.fromEntries(clean), ...environment },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'], // if this process is killed, the closed channel ends the server
    detached: true, // so that Ctrl-C reaches this process only
  })
}

function commandLine(name: SystemName, role: Role, watched: boolean, poolSize = 16): [string, ...string[]] {
  const node = process.execPath
  const watch = watched ? [`--import=${programFile('loadgen/children/loop-watch')}`] : []
  const server = [...process.execArgv, ...watch, programFile('server'), role]
  switch (name) {
    case 'souk':
      return [node, ...server]
    case 'queue-off':
      return [node, ...server, '--queue', 'off', '--db-connections', String(poolSize)]
    case 'null':
      return [node, ...programArguments('loadgen/children/null-server')]
    case 'threads':
      return [findPython().program, THREADS, role, '--pool', String(poolSize)]
    case 'pinned':
      return [findPython().program, THREADS, role, '--pool', String(poolSize), '--cpu', CPU[role]]
  }
}

/** Waits until a server says that it accepts connections, and on which port. */
async function waitForPort(child: ChildProcess): Promise<number> {
  let said = ''
  const listening = new Promise<number>((resolve) => {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const port = /accepts connections on \S+:(\d+)/.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
  })
  const timeout = AbortSignal.timeout(START_MS)
  const failed = Promise.race([once(child, 'exit', { signal: timeout }), once(child, 'error', { signal: timeout })])
  const port = await Promise.race([listening, failed.catch(() => undefined)])
  if (typeof port !== 'number') throw new SetUpError(`a server did not start: ${child.spawnargs.join(' ')}`)
  return port
}

async function longestStallMs(child: ChildProcess): Promise<number> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(START_MS) })
  child.send('longest stall')
  const [{ longestStallMs }] = await answer
  return longestStallMs
}

async function stopAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(
    children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }),
  )
}
