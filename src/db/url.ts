/**
 * The URL of a database: what it may say, and what that means to the driver.
 *
 *     mariadb://user:password@host:port/database
 *
 * with the parameters `ssl=true` (TLS, with the server's certificate checked),
 * `ca` (a file with the certificates to check it against, instead of the usual
 * ones) or `socketPath` (a Unix socket, instead of host and port).
 */

import { readFileSync } from 'node:fs'
import type { PoolConfig } from 'mariadb'
import { certificatesProblem } from '../process/certificates.ts'

const SHAPE =
  'must look like mariadb://user:password@host:port/database; in user and password, / ? # % are written %2F %3F %23 %25'
const PARAMETERS = ['ssl', 'ca', 'socketPath'] as const
const USUAL_PORT = 3_306

/** What is wrong with the URL, without any part that may be secret; undefined if nothing is. */
export function databaseUrlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return SHAPE
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text)
  const [, database, ...others] = pathname.split('/')
  const isOurs = protocol === 'mariadb:' || protocol === 'mysql:'
  if (!isOurs || hostname === '' || port === '0' || !database || hash !== '') return SHAPE
  if (![username, password, database, search].every(canDecode)) return 'has a % that is no part of a code like %25'
  if (others.length > 0) return 'must name one database; a / in its name is written %2F'
  if (username === '') return 'must name a user'
  return parametersProblem(readParameters(search))
}

/** The driver's options for a URL. The database may be missing. */
export function connectionOptions(url: string): { user: string; database: string } & PoolConfig {
  const { hostname, port, username, password, pathname, search } = new URL(url)
  const { ssl, ca, socketPath } = Object.fromEntries(readParameters(search))
  const host = hostname.replace(/^\[|\]$/g, '') // around an IPv6 address
  const isEncrypted = ssl === 'true' || ca !== undefined
  // With the host, because otherwise Node checks that the certificate is for localhost.
  const tls = { host, ...(ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') }) }
  return {
    ...(socketPath === undefined ? { host, port: Number(port || USUAL_PORT) } : { socketPath }),
    ...(isEncrypted ? { ssl: tls } : {}),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  }
}

/** The URL to be shown: without the password. */
export function maskPassword(url: string): string {
  const masked = new URL(url)
  if (masked.password !== '') masked.password = '***'
  return masked.href
}

function parametersProblem(given: readonly (readonly [string, string])[]): string | undefined {
  const names = given.map(([name]) => name)
  const unknown = names.find((name) => !PARAMETERS.some((known) => known === name))
  if (unknown !== undefined) return `unknown parameter "${unknown}"; known are ${PARAMETERS.join(', ')}`
  const repeated = names.find((name, index) => names.indexOf(name) !== index)
  if (repeated !== undefined) return `${repeated} is given twice`
  const { ssl, ca, socketPath } = Object.fromEntries(given)
  if (ssl !== undefined && ssl !== 'true' && ssl !== 'false') return 'ssl must be true or false'
  if (ssl === 'false' && ca !== undefined) return 'ssl=false and ca exclude each other'
  if (socketPath === '') return 'socketPath must be a path'
  if (socketPath !== undefined && (ssl === 'true' || ca !== undefined)) return 'a socketPath needs neither ssl nor ca'
  const problem = ca === undefined ? undefined : certificatesProblem(ca)
  return problem === undefined ? undefined : `the file that ca names ${problem}`
}

/** Decoded by hand: to URLSearchParams, a plus is a space. */
function readParameters(search: string): readonly (readonly [string, string])[] {
  const pairs = search.slice(1).split('&')
  return pairs.filter(Boolean).map((pair) => {
    const [name = '', ...value] = pair.split('=')
    return [decodeURIComponent(name), decodeURIComponent(value.join('='))]
  })
}

function canDecode(text: string): boolean {
  try {
    return decodeURIComponent(text) !== undefined
  } catch {
    return false
  }
}
