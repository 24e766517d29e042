/**
 * What can be set: one table, read from flags, environment and `.env`, in this
 * order. Everything is checked at start, and all problems are told at once.
 */

import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/operations.ts'
import { LIMITS } from '../contract/protocol.ts'
import { CLONE } from '../process/start.ts'
import { SESSION_LIFE } from './market/sessions.ts'

const port = z.coerce.number().int().min(0).max(65_535)
const atLeast = (least: number) => z.coerce.number().int().min(least)
const databaseUrl = z
  .string()
  .refine(isDatabaseUrl, 'must look like mariadb://user:password@host:port/database')
  .optional()

/** Flag and environment variable follow from the name: sellerPort is --seller-port and SOUK_SELLER_PORT. */
const settings = z.object({
  host: z.coerce.string().min(1).default(DEFAULT_HOST).describe('address to listen on'),
  sellerPort: port.default(DEFAULT_PORTS.seller).describe('port of the seller server, 0 for any'),
  buyerPort: port.default(DEFAULT_PORTS.buyer).describe('port of the buyer server, 0 for any'),
  home: z.coerce.string().min(1).default(defaultHome()).describe('folder of the private database'),
  customerDbUrl: databaseUrl.describe('customer database, instead of the private one'),
  productDbUrl: databaseUrl.describe('product database, instead of the private one'),
  dbConnections: atLeast(1).max(200).default(8).describe('connections of each pool: three for each database'),
  queue: z.enum(['on', 'off']).default('on').describe('gather requests into batches'),
  sessionIdleS: atLeast(1).default(SESSION_LIFE.idleS).describe('a session ends when unused for so long'),
  sessionAbsoluteS: atLeast(1).default(SESSION_LIFE.absoluteS).describe('a session ends so long after login'),
  sessionMemoryMs: atLeast(0).max(1_000).default(SESSION_LIFE.memoryMs).describe('a session is looked up so often'),
  limitLineBytes: atLeast(1_024).default(LIMITS.lineBytes).describe('longest line'),
  limitInFlight: atLeast(1).default(LIMITS.inFlight).describe('requests in flight on a connection'),
  limitUnsentBytes: atLeast(1).default(LIMITS.unsentBytes).describe('replies a client may leave untaken'),
  limitConnections: atLeast(1).default(LIMITS.connections).describe('connections of a server'),
  limitUnfinishedLineMs: atLeast(1).default(LIMITS.unfinishedLineMs).describe('longest pause within a line'),
  limitIdleMs: atLeast(1).default(LIMITS.idleMs).describe('longest time without a request'),
  limitStuckMs: atLeast(1).default(LIMITS.stuckMs).describe('longest time without taking a reply'),
  limitRequestMs: atLeast(1).default(LIMITS.requestMs).describe('longest time for one request'),
})

export type Settings = z.infer<typeof settings>

/** Every setting: its flag, its variable, what it is and what it is unless set. */
export const SETTINGS = Object.entries(settings.shape).map(([name, schema]) => ({
  name,
  flag: name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  variable: `SOUK_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
  about: schema.description ?? '',
  fallback: schema.safeParse(undefined).data,
}))

/** The settings, or what is wrong with them, one line each. `flags` by setting name, as given on the command line. */
export function readSettings(flags: Record<string, unknown>, environment: NodeJS.ProcessEnv): Settings | string[] {
  const given: Record<string, unknown> = {}
  for (const { name, variable } of SETTINGS) given[name] = flags[name] ?? (environment[variable] || undefined)
  const checked = settings.safeParse(given)
  if (!checked.success)
    return checked.error.issues.map((issue) => `${sourceOf(issue.path[0], flags)}: ${issue.message}`)
  const { customerDbUrl, productDbUrl } = checked.data
  if ((customerDbUrl === undefined) !== (productDbUrl === undefined)) {
    return ['SOUK_CUSTOMER_DB_URL and SOUK_PRODUCT_DB_URL: set both or neither']
  }
  return checked.data
}

/** The settings as environment variables, for a process that is to have the same. */
export function asEnvironment(some: Partial<Settings>): Record<string, string> {
  const pairs = SETTINGS.map(({ name, variable }) => [variable, some[name as keyof Settings]] as const)
  return Object.fromEntries(
    pairs.flatMap(([variable, value]) => (value === undefined ? [] : [[variable, String(value)]])),
  )
}

/** `name = value` lines, with passwords masked. */
export function describeSettings(effective: Settings): string {
  const masked = (value: unknown) => String(value ?? '(private database)').replace(/(:\/\/[^:@/]*):[^@]*@/, '$1:***@')
  return SETTINGS.map(({ name, variable }) => `${variable}=${masked(effective[name as keyof Settings])}`).join('\n')
}

function sourceOf(name: PropertyKey | undefined, flags: Record<string, unknown>): string {
  const setting = SETTINGS.find((candidate) => candidate.name === name)
  return setting === undefined ? String(name) : String(name) in flags ? `--${setting.flag}` : setting.variable
}

function isDatabaseUrl(text: string): boolean {
  return (
    URL.canParse(text) && ['mariadb:', 'mysql:'].includes(new URL(text).protocol) && new URL(text).pathname.length > 1
  )
}

function defaultHome(): string {
  if (CLONE !== undefined) return join(CLONE, '.souk')
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'souk')
}
