/**
 * The client that retries: it keeps one connection, makes a new one when that
 * is lost, and sends a call again until it is answered or its time is up.
 * Sending again is harmless: operations that add something carry an
 * idempotency key, the same in every attempt, so they happen once; the others
 * set a value or only read.
 *
 * The final error is true of all attempts: if one of them may have carried the
 * call out, and no later one settled it, the call rejects with the error of
 * that attempt, whose outcome is `unknown`.
 */

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Name, operationsByName, type Result, type Role } from '../contract/operations.ts'
import type { ErrorCode } from '../contract/refusals.ts'
import { type Arguments, CallRefused, type Connection, ConnectionLost, connect, ForeignServer } from './connection.ts'
import type { TlsOptions } from './tls.ts'

export interface RetryingClientOptions<R extends Role> {
  role: R
  host: string
  port: number
  /** Undefined: no TLS. */
  tls?: TlsOptions | undefined
  /** Time limit of a call, with all its attempts. */
  timeoutMs?: number
  /** Time limit for connecting, and for the reply to one attempt: longer than the server takes to refuse a call. */
  attemptMs?: number
  /** Whether to retry even before the server has been reached for the first time (true). */
  waitForServer?: boolean
  /** Called when an attempt has failed and another follows. */
  onRetry?: (error: CallRefused | ConnectionLost) => void
  /** Called when there is a connection again after one was lost. */
  onReconnect?: () => void
}

const TIMEOUT_MS = 15_000
/**
 * The share of the whole time that one attempt may take. Two unanswered attempts fit into the whole, and the server has
 * time to refuse a call that it did not get to.
 */
const ATTEMPT_SHARE = 7 / 15
const RETRY_FIRST_MS = 20
const RETRY_LONGEST_MS = 1_000
const KEY_BYTES = 16
/** Refusals after which the same call may succeed. */
const TEMPORARY: readonly ErrorCode[] = ['overloaded', 'timeout', 'unavailable', 'shutting_down']
/** Refusals made before the server looks at the key of a call: they say nothing about its earlier attempts. */
const BEFORE_KEYS: readonly ErrorCode[] = ['unauthenticated', 'internal']

export class RetryingClient<R extends Role> {
  readonly #options: RetryingClientOptions<R>
  readonly #operations: ReturnType<typeof operationsByName>
  /** Connected or connecting: concurrent calls share it. */
  #connection: Promise<Connection<R>> | undefined
  readonly #closing = new AbortController()
  #reached = false

  constructor(options: RetryingClientOptions<R>) {
    this.#options = options
    this.#operations = operationsByName(options.role)
  }

  /**
   * Rejects with `CallRefused` or `ConnectionLost`. If `details.outcome` of the
   * one, or `outcome` of the other, is `unknown`, the call may have been
   * carried out; otherwise it was not, or calling again does no harm.
   */
  async call<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<Result<R, N>> {
    const deadlineMs = performance.now() + (this.#options.timeoutMs ?? TIMEOUT_MS)
    const keyed = this.#operations.get(method)?.keyed !== undefined
    const sent = keyed ? withKey(params) : params
    let unsettled: CallRefused | ConnectionLost | undefined
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#attempt(method, sent, deadlineMs)
      } catch (error) {
        if (unsettled !== undefined) {
          if (method === 'logout' && isRefused(error, ['unauthenticated'])) return { ok: true } as Result<R, N>
          if (keyed && isRefused(error, BEFORE_KEYS)) throw unsettled
        }
        if (!(error instanceof ConnectionLost || isRefused(error, TEMPORARY))) throw error
        if (readOutcome(error) === 'unknown') unsettled = error
        const isReachable = this.#reached || (this.#options.waitForServer ?? true)
        const hopeless = this.#closing.signal.aborted || !isReachable || error instanceof ForeignServer
        const again = hopeless ? undefined : this.#pause(attempt, readRetryAfterMs(error), deadlineMs)
        if (again === undefined) throw unsettled ?? error
        this.#options.onRetry?.(error)
        await again
      }
    }
  }

  /** Sends nothing more. Resolves when the calls that were sent are answered and the connection is gone; all others reject. */
  async close(): Promise<void> {
    this.#closing.abort()
    const connection = await this.#connection?.catch(() => undefined)
    await connection?.close()
  }

  /** Ends at once, and rejects the calls under way. */
  destroy(): void {
    this.#closing.abort()
    this.#connection?.then(
      (connection) => connection.destroy(),
      () => {}, // there is none
    )
  }

  async #attempt<N extends Name<R>>(method: N, params: Arguments<R, N>, deadlineMs: number): Promise<Result<R, N>> {
    const connection = await withDeadline(deadlineMs, this.#connected(), 'none')
    return await withDeadline(deadlineMs, connection.call(method, params), 'unknown')
  }

  /**
   * Sleeps before attempt + 1: as long as the server asks, and then with full
   * jitter up to a bound that doubles. Undefined if the deadline leaves no time.
   */
  #pause(attempt: number, leastMs: number, deadlineMs: number): Promise<void> | undefined {
    const waitMs = leastMs + Math.random() * Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** attempt)
    if (performance.now() + waitMs >= deadlineMs) return undefined
    return sleep(waitMs, undefined, { signal: this.#closing.signal }).catch(() => {}) // closed: the next attempt says so
  }

  #connected(): Promise<Connection<R>> {
    if (this.#closing.signal.aborted) return Promise.reject(new ConnectionLost('this client is closed', 'none'))
    this.#connection ??= this.#connect()
    return this.#connection
  }

  async #connect(): Promise<Connection<R>> {
    const { role, host, port, tls, timeoutMs = TIMEOUT_MS, attemptMs = timeoutMs * ATTEMPT_SHARE } = this.#options
    try {
      const connection = await connect<R>({ role, host, port, tls, timeoutMs: attemptMs })
      void connection.closed.then(() => {
        this.#connection = undefined
      })
      if (this.#reached) this.#options.onReconnect?.()
      this.#reached = true
      return connection
    } catch (error) {
      this.#connection = undefined
      throw error
    }
  }
}

function withKey<P extends { idempotency_key?: string | undefined }>(params: P): P {
  return { ...params, idempotency_key: params.idempotency_key ?? randomBytes(KEY_BYTES).toString('base64url') }
}

/** Rejects at the deadline if the work has not settled; the work goes on. */
function withDeadline<T>(deadlineMs: number, work: Promise<T>, outcome: ConnectionLost['outcome']): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expiry = new Promise<never>((_, reject) => {
    const expire = () => reject(new ConnectionLost('the call was not answered in time', outcome))
    timer = setTimeout(expire, Math.ceil(deadlineMs - performance.now())) // timers cut fractions off, and would be early
  })
  return Promise.race([work, expiry]).finally(() => clearTimeout(timer))
}

function isRefused(error: unknown, codes: readonly ErrorCode[]): error is CallRefused {
  return error instanceof CallRefused && codes.includes(error.code)
}

function readOutcome(error: CallRefused | ConnectionLost): unknown {
  return error instanceof ConnectionLost ? error.outcome : error.details.outcome
}

function readRetryAfterMs(error: CallRefused | ConnectionLost): number {
  const waitMs = error instanceof CallRefused ? Number(error.details.retry_after_ms) : 0
  return waitMs > 0 ? waitMs : 0
}
