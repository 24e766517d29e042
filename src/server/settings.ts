/**
 * The settings of the servers: one table. Flags win over the environment, the
 * environment over `.env`. All settings are checked at start, and all problems
 * are shown at once.
 */

import { join } from 'node:path'
import { z } from 'zod'
import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/addresses.ts'
import type { Role } from '../contract/operations.ts'
import type { DatabaseName } from '../db/schema.ts'
import { databaseUrlProblem, maskPassword } from '../db/url.ts'
import '../contract/complaints.ts'
import { defineOption } from '../process/command-line.ts'
import { CLONE, homeFolder } from '../process/start.ts'
import { describeValue, FILE, FOLDER, HOST, wholeNumber } from '../process/values.ts'
import { LIMIT_NAMES, LIMITS, type LimitName, type Limits } from './limits.ts'
import { SESSION_LIFE } from './market/sessions.ts'
import { tlsProblems } from './tls.ts'

const port = wholeNumber(0, 65_535)
const DAY_S = 86_400
const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const
const databaseUrl = z
  .string()
  .superRefine((text, context) => {
    const message = databaseUrlProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })
  .meta({ value: 'url' })
  .optional()

/** Flag and environment variable follow from the name: sellerPort is --seller-port and SOUK_SELLER_PORT. */
const settings = z.object({
  host: HOST.default(DEFAULT_HOST).describe('address to listen on'),
  sellerPort: port.default(DEFAULT_PORTS.seller).describe('port of the seller server, 0 for any'),
  buyerPort: port.default(DEFAULT_PORTS.buyer).describe('port of the buyer server, 0 for any'),
  home: FOLDER.default(defaultHome()).describe('folder of the private database'),
  customerDbUrl: databaseUrl.describe('customer database, instead of the private one'),
  productDbUrl: databaseUrl.describe('product database, instead of the private one'),
  tlsCertificate: FILE.optional().describe('certificate, with the chain of its signers: clients then need TLS'),
  tlsKey: FILE.optional().describe('private key of the certificate'),
  dbConnections: wholeNumber(1, 200)
    .default(8)
    .describe('connections of each pool; a server has four pools for each database'),
  queue: z.enum(['on', 'off']).meta({ value: 'on|off' }).default('on').describe('gather requests into batches'),
  sessionIdleS: wholeNumber(1, 365 * DAY_S)
    .default(SESSION_LIFE.idleS)
    .describe('seconds without a call that end a session'),
  sessionAbsoluteS: wholeNumber(1, 365 * DAY_S)
    .default(SESSION_LIFE.absoluteS)
    .describe('seconds after login that end a session'),
  sessionMemoryMs: wholeNumber(0, 1_000)
    .default(SESSION_LIFE.memoryMs)
    .describe('how long a session check is cached (ms)'),
  logLevel: z
    .enum(LOG_LEVELS)
    .meta({ value: LOG_LEVELS.join('|') })
    .default('info')
    .describe('the least that is logged'),
  httpHost: HOST.default(DEFAULT_HOST).describe('address of the HTTP port'),
  sellerHttpPort: port.optional().describe('HTTP port of the seller server for probes and metrics, 0 for any'),
  buyerHttpPort: port.optional().describe('HTTP port of the buyer server for probes and metrics, 0 for any'),
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
    const { least, most, about, default: value } = LIMITS[name]
    return [limitSetting(name), wholeNumber(least, most).default(value).describe(about)]
  })
  return Object.fromEntries(entries) as { [N in LimitName as LimitSetting<N>]: z.ZodDefault<typeof port> }
}

/** The limits as they are set. */
export function limitsFrom(settings: Settings): Limits {
  return Object.fromEntries(LIMIT_NAMES.map((name) => [name, settings[limitSetting(name)]])) as Limits
}

/** Every setting: name, flag, environment variable, and its option on the command line. */
export const SETTINGS = Object.entries(settings.shape).map(([name, schema]) => {
  const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  const variable = `SOUK_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
  const { value, bounds } = describeValue(schema)
  const about = `${schema.description}${bounds === undefined ? '' : `: ${bounds}`}`
  const source = [variable, schema.safeParse(undefined).data].filter((part) => part !== undefined).join(', ')
  return { name, flag, variable, option: defineOption(`--${flag} <${value}>`, `${about} (${source})`) }
})

/** The variables that souk's programs read: the settings, and those of the command line alone. */
export const VARIABLES = [
  ...SETTINGS.map(({ variable }) => variable),
  'SOUK_SESSION',
  'SOUK_TLS',
  'SOUK_CA',
  'SOUK_TLS_NAME',
]

/** The words of the command line, by setting name. */
export type Flags = Readonly<Record<string, string | undefined>>

/** Returns the settings, or the problems with them. An empty variable counts as not set. */
export function readSettings(flags: Flags, environment: NodeJS.ProcessEnv): Settings | string[] {
  const given: Record<string, string | undefined> = {}
  for (const { name, variable } of SETTINGS) given[name] = flags[name] ?? (environment[variable] || undefined)
  const checked = settings.safeParse(given)
  if (!checked.success)
    return checked.error.issues.map((issue) => `${nameSource(issue.path[0], flags)}: ${issue.message}`)
  const { customerDbUrl, productDbUrl, tlsCertificate, tlsKey, sessionIdleS, sessionAbsoluteS } = checked.data
  if ((customerDbUrl === undefined) !== (productDbUrl === undefined)) {
    return ['SOUK_CUSTOMER_DB_URL and SOUK_PRODUCT_DB_URL: set both or neither']
  }
  if ((tlsCertificate === undefined) !== (tlsKey === undefined)) {
    return ['SOUK_TLS_CERTIFICATE and SOUK_TLS_KEY: set both or neither']
  }
  const tls = tlsProblems(checked.data)
  if (tls.length > 0) return tls.map(({ setting, problem }) => `${nameSource(setting, flags)}: ${problem}`)
  if (given.sessionIdleS !== undefined && sessionIdleS > sessionAbsoluteS) {
    const absolute = nameSource('sessionAbsoluteS', flags)
    return [`${nameSource('sessionIdleS', flags)}: must be at most ${absolute}, which is ${sessionAbsoluteS}`]
  }
  return { ...checked.data, sessionIdleS: Math.min(sessionIdleS, sessionAbsoluteS) }
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
    if (name.startsWith('tls')) return String(value ?? '(no TLS)')
    if (name.endsWith('HttpPort')) return value ?? '(off)'
    if (!name.endsWith('DbUrl')) return String(value)
    return value === undefined ? '(private database)' : maskPassword(String(value))
  }
  return SETTINGS.map(({ name, variable }) => `${variable}=${shown(name)}`).join('\n')
}

/** The flags or variables that gave the settings whose values may turn out wrong only when they are used. */
export type SettingSources = Readonly<Record<DatabaseName | 'home' | ServerSetting, string>>
type ServerSetting = 'host' | 'httpHost' | 'sellerHttpPort' | 'buyerHttpPort' | Role

export function settingSources(flags: Flags): SettingSources {
  const source = (name: keyof Settings) => nameSource(name, flags)
  return {
    customer: source('customerDbUrl'),
    product: source('productDbUrl'),
    home: source('home'),
    host: source('host'),
    seller: source('sellerPort'),
    buyer: source('buyerPort'),
    httpHost: source('httpHost'),
    sellerHttpPort: source('sellerHttpPort'),
    buyerHttpPort: source('buyerHttpPort'),
  }
}

/** The flag or the variable that gave a setting. */
function nameSource(name: PropertyKey | undefined, flags: Flags): string {
  const setting = SETTINGS.find((candidate) => candidate.name === name)
  return setting === undefined
    ? String(name)
    : flags[setting.name] !== undefined
      ? `--${setting.flag}`
      : setting.variable
}

function defaultHome(): string {
  if (CLONE !== undefined) return join(CLONE, '.souk')
  return join(process.env.XDG_DATA_HOME || join(homeFolder(), '.local', 'share'), 'souk')
}
