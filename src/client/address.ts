/** The server of a command, and its time limit: from the options, else the environment, else the defaults. */

import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/addresses.ts'
import type { Role } from '../contract/operations.ts'
import { UsageError } from './failures.ts'

export interface Address {
  host: string
  port: number
  /** How long a command may take. */
  timeoutMs: number
}

/** The options, as they were typed. */
interface AddressOptions {
  host?: string | undefined
  port?: string | undefined
  timeout?: string | undefined
}

const TIMEOUT_S = 15
const LONGEST_TIMEOUT_S = 3_600

/** Throws `UsageError`, which names the port's option as `portOption`. */
export function readAddress(
  role: Role,
  options: AddressOptions,
  environment: NodeJS.ProcessEnv,
  portOption = '--port',
): Address {
  const variable = `SOUK_${role.toUpperCase()}_PORT`
  const port = parseWholeNumber(String(options.port ?? (environment[variable] || DEFAULT_PORTS[role])))
  const timeoutS = Number(options.timeout ?? TIMEOUT_S)
  const problems: string[] = []
  if (!(port >= 1 && port <= 65_535)) {
    problems.push(`${options.port === undefined ? variable : portOption}: must be a whole number from 1 to 65535`)
  }
  if (!(timeoutS > 0 && timeoutS <= LONGEST_TIMEOUT_S)) {
    problems.push(`--timeout: must be seconds, above 0 and at most ${LONGEST_TIMEOUT_S}`)
  }
  if (problems.length > 0) throw new UsageError(problems)
  return {
    host: options.host || environment.SOUK_HOST || DEFAULT_HOST,
    port,
    timeoutMs: timeoutS * 1_000,
  }
}

/** NaN for text that is not all digits. */
function parseWholeNumber(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN
}

/** Whether a host is this machine, where the user can start a server. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
