/**
 * What programs import: a client that makes its connection at the first call and
 * anew when it is lost, and sends calls again, with idempotency keys of its own,
 * until they are answered or their time is up.
 */

import { RetryingClient } from './client/retrying-client.ts'
import { DEFAULT_HOST, DEFAULT_PORTS } from './contract/addresses.ts'
import type { Calls } from './contract/calls.ts'
import { ROLES } from './contract/operations.ts'

export { CallRefused as Refused, ConnectionLost } from './client/call-errors.ts'
export type { Calls }

export interface ConnectOptions<R extends keyof Calls> {
  role: R
  /** 127.0.0.1 unless given. */
  host?: string
  /** 7101 for sellers and 7102 for buyers, unless given. */
  port?: number
  /** Connect with TLS. The certificate and its name are checked. */
  tls?: boolean
  /** Certificates of the signers to trust, in PEM format, instead of the usual ones. Asks for TLS by itself. */
  ca?: string
  /** Time limit of a call, with all its attempts; 15,000 unless given. */
  timeoutMs?: number
}

export interface Client<R extends keyof Calls> {
  /** Rejects with `Refused` or `ConnectionLost`. Calls may be made together: they share the connection. */
  call<N extends keyof Calls[R] & string>(
    operation: N,
    params: Part<Calls[R][N], 'params'>,
  ): Promise<Part<Calls[R][N], 'result'>>
  /** Resolves when the calls under way are answered and the connection is closed. */
  close(): Promise<void>
}

type Part<Call, P extends string> = Call extends { readonly [K in P]: infer T } ? T : never

/** Throws if there is no such role. */
export function connect<R extends keyof Calls>(options: ConnectOptions<R>): Client<R> {
  const { role, host = DEFAULT_HOST, port = DEFAULT_PORTS[role], ca, tls = ca !== undefined } = options
  if (!ROLES.includes(role)) throw new TypeError(`role must be one of ${ROLES.join(', ')}`)
  return new RetryingClient<R>({ ...options, host, port, tls: tls ? { ca } : undefined }) as Client<R>
}
