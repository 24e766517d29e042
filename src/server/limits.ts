/**
 * The limits on what clients may ask of a server: one table, from which
 * settings, help, listener and documentation read. Beyond each limit the client
 * gets an answer of its own (see DESIGN of the wire in the protocol's document).
 */

interface Limit {
  default: number
  /** The lowest value that makes sense. */
  least: number
  about: string
}

export const LIMITS = {
  lineBytes: { default: 64 * 1024, least: 1_024, about: 'longest line' },
  inFlight: { default: 256, least: 1, about: 'requests in flight on a connection' },
  unsentBytes: { default: 4 * 1024 * 1024, least: 1, about: 'replies a client may leave untaken' },
  connections: { default: 20_000, least: 1, about: 'connections of a server' },
  unfinishedLineMs: { default: 10_000, least: 1, about: 'longest pause within a line' },
  idleMs: { default: 600_000, least: 1, about: 'longest time without a request' },
  stuckMs: { default: 30_000, least: 1, about: 'longest time without taking a reply' },
  requestMs: { default: 5_000, least: 1, about: 'longest time for one request' },
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof LIMITS
export const LIMIT_NAMES = Object.keys(LIMITS) as LimitName[]

/** A value for each limit. */
export type Limits = Readonly<Record<LimitName, number>>

export const DEFAULT_LIMITS = Object.fromEntries(LIMIT_NAMES.map((name) => [name, LIMITS[name].default])) as Limits
