/** The program `status`: whether servers and their databases answer and how fast, and who is logged in. */

import { ROLES, type Role } from '../contract/operations.ts'
import { progress, whileWaiting } from '../process/progress.ts'
import { type Address, type AddressOptions, readAddress } from './address.ts'
import { CallRefused, type Connection, ConnectionLost, connect } from './connection.ts'
import { EXIT } from './failures.ts'
import type { Screen } from './output.ts'
import { formatHealth, formatLocalTime } from './phrases.ts'
import { SavedSession } from './saved-session.ts'
import { printable } from './terminal-text.ts'

export interface StatusOptions extends Omit<AddressOptions, 'port'> {
  json: boolean
  /** The ports that are not the usual ones. */
  ports: { readonly [R in Role]?: string | undefined }
}

/** As `--json` prints it. */
interface ServerStatus {
  role: Role
  host: string
  port: number
  reachable: boolean
  /** Why it is not reachable. */
  problem?: string
  version?: string
  /** Whether each of its databases answers. */
  databases?: { customer: boolean; product: boolean }
  /** The shortest of several. */
  round_trip_ms?: number
  /** Absent when nobody is logged in. */
  username?: string
  session_ends_at?: number
}

const PINGS = 5
const COLUMNS = [
  { title: 'ROLE' },
  { title: 'SERVER' },
  { title: 'ANSWERS', shrinks: true },
  { title: 'ROUND TRIP', right: true },
  { title: 'DATABASES', shrinks: true },
  { title: 'LOGGED IN', shrinks: true },
  { title: 'UNTIL' },
] as const

/** Resolves to the exit code. Throws `UsageError`. */
export async function showStatus(screen: Screen, options: StatusOptions): Promise<number> {
  const addresses = ROLES.map((role) => {
    const typed = { ...options, port: options.ports[role] }
    return { role, ...readAddress(role, typed, process.env, `--${role}-port`) }
  })
  const servers = await whileWaiting(progress, 'asking the servers', Promise.all(addresses.map(examine)))
  if (options.json) screen.print(printable(JSON.stringify({ servers })))
  else screen.printTable(screen.createTable(COLUMNS), servers.map(toRow))
  return servers.every(isHealthy) ? 0 : EXIT.unreachable
}

function isHealthy({ reachable, databases }: ServerStatus): boolean {
  return reachable && databases?.customer === true && databases.product
}

async function examine({ role, host, port, tls, timeoutMs }: Address & { role: Role }): Promise<ServerStatus> {
  const status: ServerStatus = { role, host, port, reachable: false }
  let connection: Connection<Role> | undefined
  try {
    connection = await connect<Role>({ role, host, port, tls, timeoutMs })
    const pinged = await ping(connection)
    const isAskable = pinged.databases?.customer !== false // that database has the sessions
    const session = isAskable ? await examineSession(connection, role, { host, port, tls }) : {}
    Object.assign(status, pinged, { reachable: true }, session)
  } catch (error) {
    if (!(error instanceof ConnectionLost || error instanceof CallRefused)) throw error
    status.problem = error.message
  }
  connection?.destroy()
  return status
}

async function ping(
  connection: Connection<Role>,
): Promise<Pick<ServerStatus, 'version' | 'databases' | 'round_trip_ms'>> {
  const { version, databases } = await connection.call('ping', { databases: true })
  let shortestMs = Number.POSITIVE_INFINITY
  for (let sent = 0; sent < PINGS; sent += 1) {
    const beganMs = performance.now()
    await connection.call('ping', {})
    shortestMs = Math.min(shortestMs, performance.now() - beganMs)
  }
  return { version, ...(databases && { databases }), round_trip_ms: Math.round(shortestMs * 100) / 100 }
}

async function examineSession(
  connection: Connection<Role>,
  role: Role,
  address: Omit<Address, 'timeoutMs'>,
): Promise<Pick<ServerStatus, 'username' | 'session_ends_at'>> {
  const { session } = new SavedSession(process.env, role, address).session ?? {}
  if (session === undefined) return {}
  try {
    const { username, expires_in_s } = await connection.call('whoami', { session })
    return { username, session_ends_at: Math.floor(Date.now() / 1_000) + expires_in_s }
  } catch (error) {
    if (error instanceof CallRefused && error.code === 'unauthenticated') return {}
    throw error
  }
}

function toRow(status: ServerStatus): string[] {
  const { role, host, port, reachable, problem, version, databases, round_trip_ms, username, session_ends_at } = status
  return [
    role,
    `${host}:${port}`,
    reachable ? `souk ${version}` : (problem ?? ''),
    round_trip_ms === undefined ? '' : `${round_trip_ms} ms`,
    databases === undefined ? '' : formatHealth(databases),
    username ?? '',
    session_ends_at === undefined ? '' : formatLocalTime(session_ends_at),
  ]
}
