/** Whether the servers answer and how fast, and who is logged in at them. */

import { ROLES, type Role } from '../contract/operations.ts'
import { progress, whileWaiting } from '../process/progress.ts'
import { readAddress } from './address.ts'
import { CallRefused, type Connection, ConnectionLost, connect } from './connection.ts'
import { localTime } from './display.ts'
import { EXIT } from './failures.ts'
import { State } from './memory.ts'
import type { Screen } from './screen.ts'
import { Table } from './table.ts'

interface ServerStatus {
  role: Role
  host: string
  port: number
  reachable: boolean
  /** Why it is not. */
  problem?: string
  version?: string
  /** The shortest of a few. */
  round_trip_ms?: number
  /** Absent when nobody is logged in. */
  username?: string
  session_ends_at?: number
}

export interface StatusOptions {
  json: boolean
  host: string | undefined
  /** Of each role, where it is another than usual. */
  ports: { readonly [R in Role]?: string | undefined }
  timeout: string | undefined
}

const PINGS = 5
const COLUMNS = [
  { title: 'ROLE' },
  { title: 'SERVER' },
  { title: 'ANSWERS', shrinks: true },
  { title: 'ROUND TRIP', right: true },
  { title: 'LOGGED IN', shrinks: true },
  { title: 'UNTIL' },
] as const

/** Resolves to the exit code. Throws `UsageError`. */
export async function showStatus(screen: Screen, options: StatusOptions): Promise<number> {
  const addresses = ROLES.map((role) => {
    const where = { ...options, port: options.ports[role] }
    return { role, ...readAddress(role, where, process.env, `--${role}-port`) }
  })
  const servers = await whileWaiting(progress, 'asking the servers', Promise.all(addresses.map(statusOf)))
  if (options.json) screen.line(JSON.stringify({ servers }))
  else
    for (const line of new Table(COLUMNS, screen.columns).lines(servers.map(rowOf), (text) => screen.heading(text)))
      screen.line(line)
  return servers.every(({ reachable }) => reachable) ? 0 : EXIT.unreachable
}

async function statusOf({ role, host, port, timeoutMs }: ReturnType<typeof readAddress> & { role: Role }) {
  const status: ServerStatus = { role, host, port, reachable: false }
  let connection: Connection<Role> | undefined
  try {
    connection = await connect<Role>({ host, port, timeoutMs })
    Object.assign(status, await pinged(connection), { reachable: true }, await who(connection, role, { host, port }))
  } catch (error) {
    if (!(error instanceof ConnectionLost || error instanceof CallRefused)) throw error
    status.problem = error.message
  }
  connection?.destroy()
  return status
}

async function pinged(connection: Connection<Role>): Promise<Pick<ServerStatus, 'version' | 'round_trip_ms'>> {
  let version = ''
  let shortestMs = Number.POSITIVE_INFINITY
  for (let ping = 0; ping < PINGS; ping += 1) {
    const beganMs = performance.now()
    version = (await connection.call('ping', {})).version
    shortestMs = Math.min(shortestMs, performance.now() - beganMs)
  }
  return { version, round_trip_ms: Math.round(shortestMs * 100) / 100 }
}

async function who(connection: Connection<Role>, role: Role, address: { host: string; port: number }) {
  const { session } = new State(process.env, role, address).session ?? {}
  if (session === undefined) return {}
  try {
    const { username, expires_in_s } = await connection.call('whoami', { session })
    return { username, session_ends_at: Math.floor(Date.now() / 1_000) + expires_in_s }
  } catch (error) {
    if (error instanceof CallRefused && error.code === 'unauthenticated') return {}
    throw error
  }
}

function rowOf({
  role,
  host,
  port,
  reachable,
  problem,
  version,
  round_trip_ms,
  username,
  session_ends_at,
}: ServerStatus) {
  return [
    ...[role, `${host}:${port}`, reachable ? `souk ${version}` : (problem ?? '')],
    ...[round_trip_ms === undefined ? '' : `${round_trip_ms} ms`, username ?? ''],
    session_ends_at === undefined ? '' : localTime(session_ends_at),
  ]
}
