/**
 * The settings of the servers: one table. Flags win over the environment, the
 * environment over `.env`. All settings are checked at start, and all problems
 * are shown at once.
 */

import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/addresses.ts'
import type { DatabaseName } from '../db/schema.ts'
import { databaseUrlProblem, maskPassword } from '../db/url.ts'
import { CLONE } from '../process/start.ts'
import { LIMIT_NAMES, LIMITS, type LimitName, type Limits } from './limits.ts'
import { SESSION_LIFE } from './market/sessions.ts'

const port = z.coerce.number().int().min(0).max(65_535)
const atLeast = (least: number) => z.coerce.number().int().min(least)
const databaseUrl = z
  .string()
  .superRefine((text, context) => {
    const message = databaseUrlProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })
  .optional()

/** Flag and environment variable follow from the name: sellerPort is --seller-port and SOUK_SELLER_PORT. */
const settings = z.object({
  host: z.coerce.string().min(1).default(DEFAULT_HOST).describe('address to listen on'),
  sellerPort: port.default(DEFAULT_PORTS.seller).describe('port of the seller server, 0 for any'),
  buyerPort: port.default(DEFAULT_PORTS.buyer).describe('port of the buyer server, 0 for any'),
  home: z.coerce.string().min(1).default(defaultHome()).describe('folder of the private database'),
  customerDbUrl: databaseUrl.describe('customer database, instead of the private one'),
  productDbUrl: databaseUrl.describe('product database, instead of the private one'),
  dbConnections: atLeast(1)
    .max(200)
    .default(8)
    .describe('connections of each pool; a server has four pools for each database'),
  queue: z.enum(['on', 'off']).default('on').describe('gather requests into batches'),
  sessionIdleS: atLeast(1).default(SESSION_LIFE.idleS).describe('seconds without a call that end a session'),
  sessionAbsoluteS: atLeast(1).default(SESSION_LIFE.absoluteS).describe('seconds after login that end a session'),
  sessionMemoryMs: atLeast(0)
    .max(1_000)
    .default(SESSION_LIFE.memoryMs)
    .describe('how long a session check is cached (ms)'),
  ...limitSettings(),
})

export type Settings = z.infer<typeof settings>

type LimitSetting<N extends LimitName> = `limit${Capitalize<N>}`

/** The setting of a limit: limitLineBytes for lineBytes. */
function limitSetting<N extends LimitName>(name: N): LimitSetting<N> {
  return `limit${name[0]?.toUpperCase()}${name.slice(1)}` as LimitSetting<N>
}

function limitSettings() {
  const entries = LIMIT_NAMES.map((name) => {
    const { least, about, default: value } = LIMITS[name]
    return [limitSetting(name), atLeast(least).default(value).describe(about)]
  })
  return Object.fromEntries(entries) as { [N in LimitName as LimitSetting<N>]: z.ZodDefault<z.ZodCoercedNumber> }
}

/** The limits as they are set. */
export function limitsFrom(settings: Settings): Limits {
  return Object.fromEntries(LIMIT_NAMES.map((name) => [name, settings[limitSetting(name)]])) as Limits
}

/** Every setting: name, flag, environment variable, help text, default. */
export const SETTINGS = Object.entries(settings.shape).map(([name, schema]) => ({
  name,
  flag: name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  variable: `SOUK_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
  about: schema.description ?? '',
  fallback: schema.safeParse(undefined).data,
}))

/** Returns the settings, or the problems with them. `flags` are those of the command line, by setting name. */
export function readSettings(flags: Record<string, unknown>, environment: NodeJS.ProcessEnv): Settings | string[] {
  const given: Record<string, unknown> = {}
  for (const { name, variable } of SETTINGS) given[name] = flags[name] ?? (environment[variable] || undefined)
  const checked = settings.safeParse(given)
  if (!checked.success)
    return checked.error.issues.map((issue) => `${nameSource(issue.path[0], flags)}: ${issue.message}`)
  const { customerDbUrl, productDbUrl } = checked.data
  if ((customerDbUrl === undefined) !== (productDbUrl === undefined)) {
    return ['SOUK_CUSTOMER_DB_URL and SOUK_PRODUCT_DB_URL: set both or neither']
  }
  return checked.data
}

/** The settings as environment variables, for another process. */
export function asEnvironment(some: Partial<Settings>): Record<string, string> {
  const pairs = SETTINGS.map(({ name, variable }) => [variable, some[name as keyof Settings]] as const)
  return Object.fromEntries(
    pairs.flatMap(([variable, value]) => (value === undefined ? [] : [[variable, String(value)]])),
  )
}

/** `name = value` lines, with passwords masked. */
export function describeSettings(effective: Settings): string {
  const shown = (name: string) => {
    const value = effective[name as keyof Settings]
    if (!name.endsWith('DbUrl')) return String(value)
    return value === undefined ? '(private database)' : maskPassword(String(value))
  }
  return SETTINGS.map(({ name, variable }) => `${variable}=${shown(name)}`).join('\n')
}

/** The settings that say where the databases are, by the flags or variables that gave them. */
export interface DatabaseSources extends Record<DatabaseName, string> {
  home: string
}

export function databaseSources(flags: Record<string, unknown>): DatabaseSources {
  const source = (name: keyof Settings) => nameSource(name, flags)
  return { customer: source('customerDbUrl'), product: source('productDbUrl'), home: source('home') }
}

/** The flag or the variable that gave a setting. */
function nameSource(name: PropertyKey | undefined, flags: Record<string, unknown>): string {
  const setting = SETTINGS.find((candidate) => candidate.name === name)
  return setting === undefined ? String(name) : String(name) in flags ? `--${setting.flag}` : setting.variable
}

function defaultHome(): string {
  if (CLONE !== undefined) return join(CLONE, '.souk')
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'souk')
}
