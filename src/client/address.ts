/** The server of a command, whether to use TLS, and the time limit: from the options, else the environment, else the defaults. */

import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/addresses.ts'
import type { Role } from '../contract/operations.ts'
import { certificatesProblem } from '../process/certificates.ts'
import { decimalNumber, FILE, HOST, wholeNumber } from '../process/values.ts'
import { UsageError } from './failures.ts'
import type { TlsOptions } from './tls.ts'

export interface Address {
  host: string
  port: number
  /** Undefined: no TLS. */
  tls: TlsOptions | undefined
  /** How long a command may take. */
  timeoutMs: number
}

/** The options, as they were typed. */
export interface AddressOptions {
  host?: string | undefined
  port?: string | undefined
  tls?: boolean
  ca?: string | undefined
  tlsName?: string | undefined
  timeout?: string | undefined
}

const TIMEOUT_S = 15
const PORT = wholeNumber(1, 65_535)
/** Nobody waits for more than an hour. */
const TIMEOUT = decimalNumber(Number.MIN_VALUE, 3_600, 'seconds, above 0 and at most 3600')

const ON = z.enum(['on', 'off'])
const CERTIFICATES = FILE.superRefine((path, context) => {
  const problem = certificatesProblem(path)
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `the file ${problem}` })
})

/**
 * Either of the options `ca` and `tlsName` asks for TLS by itself. An empty variable counts as not set, an empty option is wrong. Throws `UsageError`, which names the port's option as
 * `portOption`.
 */
export function readAddress(
  role: Role,
  options: AddressOptions,
  environment: NodeJS.ProcessEnv,
  portOption = '--port',
): Address {
  const problems: string[] = []
  const read = <T>(
    schema: z.ZodType<T>,
    sources: readonly [name: string, word: string | undefined][],
    fallback: T,
  ): T => {
    const [name, word] = sources.find(([, word]) => word !== undefined) ?? []
    if (word === undefined) return fallback
    const checked = schema.safeParse(word)
    if (!checked.success) problems.push(`${name}: ${checked.error.issues[0]?.message}`)
    return checked.data ?? fallback
  }
  const variable = (name: string) => [name, environment[name] || undefined] as [string, string | undefined]
  const host = read(HOST, [['--host', options.host], variable('SOUK_HOST')], DEFAULT_HOST)
  const portVariable = variable(`SOUK_${role.toUpperCase()}_PORT`)
  const port = read(PORT, [[portOption, options.port], portVariable], DEFAULT_PORTS[role])
  const timeoutS = read(TIMEOUT, [['--timeout', options.timeout]], TIMEOUT_S)
  const ca = read(CERTIFICATES.optional(), [['--ca', options.ca], variable('SOUK_CA')], undefined)
  const name = read(HOST.optional(), [['--tls-name', options.tlsName], variable('SOUK_TLS_NAME')], undefined)
  const isOn = read(ON, [['--tls', options.tls ? 'on' : undefined], variable('SOUK_TLS')], 'off') === 'on'
  if (problems.length > 0) throw new UsageError(problems)
  const isWanted = isOn || ca !== undefined || name !== undefined
  const tls = isWanted ? { ca: ca === undefined ? undefined : readFileSync(ca, 'utf8'), name } : undefined
  return { host, port, tls, timeoutMs: timeoutS * 1_000 }
}

/** Whether a host is this machine, where the user can start a server. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
