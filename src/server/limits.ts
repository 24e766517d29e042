/**
 * The limits on what clients may ask of a server: one table of names, defaults,
 * bounds and help texts, which settings, help and listener read. A client that goes
 * beyond a limit is refused, not read for a while, or disconnected.
 */

import type { DescribedLimit } from '../contract/openrpc.ts'

interface Limit {
  default: number
  /** The lowest and the highest value that make sense. */
  least: number
  most: number
  about: string
}

const KIB = 1_024
const MIB = 1_024 * KIB
const HOUR_MS = 3_600_000

export const LIMITS = {
  /** A begun line is held in memory. A whole one is parsed at once: names, the slowest content, take 5 ms for 64 KiB. */
  lineBytes: { default: 64 * KIB, least: 1_024, most: 128 * KIB, about: 'longest line (bytes)' },
  /** In weight: a long listing counts as many requests. */
  inFlight: { default: 256, least: 1, most: 100_000, about: 'requests in flight on a connection' },
  unsentBytes: {
    default: 4 * MIB,
    least: 1,
    most: 1_024 * MIB,
    about: 'bytes of replies that a client may leave unread',
  },
  heldBytes: {
    default: 256 * MIB,
    least: MIB,
    most: 64 * 1_024 * MIB,
    about: 'bytes of lines and replies that a server holds for all clients',
  },
  /** No system opens more files. */
  connections: { default: 20_000, least: 1, most: 1_000_000, about: 'connections to a server' },
  addressShare: {
    default: 3,
    least: 1,
    most: 1_000_000,
    about: 'connections of one address, for each that is free',
  },
  unfinishedLineMs: {
    default: 10_000,
    least: 1,
    most: HOUR_MS,
    about: 'longest time until a begun line, or a TLS handshake, is complete (ms)',
  },
  idleMs: { default: 600_000, least: 1, most: 24 * HOUR_MS, about: 'longest time without a request (ms)' },
  stuckMs: {
    default: 30_000,
    least: 1,
    most: HOUR_MS,
    about: 'longest time in which less than 64 KiB of waiting replies is taken (ms)',
  },
  /** No client waits longer. */
  requestMs: { default: 5_000, least: 1, most: 600_000, about: 'longest time until a request is answered (ms)' },
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof LIMITS
export const LIMIT_NAMES = Object.keys(LIMITS) as LimitName[]

/** A value for each limit. */
export type Limits = Readonly<Record<LimitName, number>>

export const DEFAULT_LIMITS = Object.fromEntries(LIMIT_NAMES.map((name) => [name, LIMITS[name].default])) as Limits

/** What happens to a client beyond each limit. */
const BEYOND: Readonly<Record<LimitName, string>> = {
  lineBytes: 'the reply `invalid_request`, and the connection is closed after the replies under way',
  inFlight: 'the connection is not read until a request is answered; nothing is lost',
  unsentBytes: 'the connection is not read until the client reads; nothing is lost',
  heldBytes:
    'the reply `overloaded` to requests for long pages; clients with unread replies are not read, and after a second ' +
    'the connections with the oldest replies or lines are closed',
  connections: 'the reply `overloaded` with the id null, and the connection is closed',
  addressShare: 'the reply `overloaded` with the id null, and the connection is closed',
  unfinishedLineMs: 'the line is dropped, and the connection is closed after the replies under way',
  idleMs: 'the connection is closed; the session lives on',
  stuckMs: 'the connection is closed',
  requestMs: 'the reply `timeout`',
}

/** The limits of a server, for its document. */
export function describeLimits(
  limits: Limits,
  session: { idleS: number; absoluteS: number },
): Readonly<Record<string, DescribedLimit>> {
  const own = LIMIT_NAMES.map((name) => {
    return [name, { value: limits[name], about: LIMITS[name].about, beyond: BEYOND[name] }]
  })
  const beyond = 'the session has ended: the reply `unauthenticated`'
  return {
    ...Object.fromEntries(own),
    sessionIdleS: { value: session.idleS, about: 'longest time between two calls of a session (seconds)', beyond },
    sessionAbsoluteS: { value: session.absoluteS, about: 'longest time after login (seconds)', beyond },
  }
}
