/** Where the server is that a command talks to, and how long it waits: flags, then the environment, then what souk-server has unless set. */

import { DEFAULT_HOST, DEFAULT_PORTS } from '../contract/addresses.ts'
import type { Role } from '../contract/operations.ts'
import { UsageError } from './failures.ts'

export interface Address {
  host: string
  port: number
  /** Longest time until a command is answered. */
  timeoutMs: number
}

/** As it was typed. */
interface Where {
  host?: string | undefined
  port?: string | undefined
  timeout?: string | undefined
}

const TIMEOUT_S = 15
const LONGEST_TIMEOUT_S = 3_600

/** Throws `UsageError`. */
export function readAddress(
  role: Role,
  options: Where,
  environment: NodeJS.ProcessEnv,
  portOption = '--port',
): Address {
  const variable = `SOUK_${role.toUpperCase()}_PORT`
  const port = wholeNumber(String(options.port ?? (environment[variable] || DEFAULT_PORTS[role])))
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

/** Not a number for whatever has more than digits. */
function wholeNumber(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN
}

/** Whether it is this machine, where a server can be started. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
