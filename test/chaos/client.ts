/**
 * A client of a chaos run: one account in one session, whose calls are logged.
 * It calls through souk's own retrying client, or through `WireCaller`, which
 * retries by the same rules over a bare connection and logs every request and
 * every reply on it.
 */

import { createConnection, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { CallRefused, ConnectionLost } from '../../src/client/connection.ts'
import { RetryingClient } from '../../src/client/retrying-client.ts'
import { LineDecoder } from '../../src/contract/lines.ts'
import { operationsByName, type Role } from '../../src/contract/operations.ts'
import { decodeReply, encodeRequest } from '../../src/contract/protocol.ts'
import type { Random } from '../../src/loadgen/random.ts'
import { oneOf } from '../../src/loadgen/random.ts'
import { type CallEntry, clockMs, type Log, type Purpose } from './log.ts'

/** Time limit of a call, with all its attempts; and of the connecting, or the reply, of one. */
const CALL_MS = 15_000
const ATTEMPT_MS = 8_000
const LONGEST_PAUSE_MS = 200
const LONGEST_LINE_BYTES = 16 * 1_024 * 1_024
/** After these, a call is made again. */
export const TEMPORARY: readonly string[] = ['overloaded', 'timeout', 'unavailable', 'shutting_down', 'unreachable']

type Params = Record<string, unknown>
type Refusal = NonNullable<CallEntry['refused']>
/** Without result and refusal: unknown. */
export type Outcome = Pick<CallEntry, 'result' | 'refused'>

/** What a client calls operations through. */
export interface Caller {
  call(operation: string, params: Params): Promise<Outcome & { port: number; attempts: number }>
  close(): void
}

/** Who calls. Neither an account nor a session: somebody unknown. */
export interface Identity {
  role: Role
  id: number
  session: string
  /** The session has ended by itself at this time of the log's clock, if it was not used. */
  expiredMs?: number
}

export class Client {
  readonly identity: Identity
  readonly #caller: Caller
  readonly #log: Log

  constructor(identity: Identity, caller: Caller, log: Log) {
    this.identity = identity
    this.#caller = caller
    this.#log = log
  }

  async call(operation: string, params: Params = {}, purpose: Purpose = 'load'): Promise<Outcome> {
    const { role, id, session, expiredMs } = this.identity
    const begunMs = clockMs()
    const { port, attempts, ...outcome } = await this.#caller.call(
      operation,
      session === '' ? params : { ...params, session },
    )
    const { password: _, ...shown } = params
    const entry = {
      purpose,
      role,
      account: id,
      session,
      port,
      operation,
      params: shown,
      attempts,
      begunMs,
      settledMs: clockMs(),
    }
    this.#log.write({ kind: 'call', ...entry, ...outcome, ...(expiredMs === undefined ? {} : { expiredMs }) })
    return outcome
  }

  close(): void {
    this.#caller.close()
  }
}

/** Calls through souk's own client, which logs no single attempt. */
export class LibraryCaller implements Caller {
  readonly #client: RetryingClient<Role>
  readonly #port: number
  #retries = 0

  constructor(role: Role, port: number) {
    this.#port = port
    const onRetry = () => {
      this.#retries += 1
    }
    this.#client = new RetryingClient<Role>({ role, host: '127.0.0.1', port, timeoutMs: CALL_MS, onRetry })
  }

  async call(operation: string, params: Params) {
    const before = this.#retries
    const outcome = await this.#client
      .call(operation as 'whoami', params)
      .then((result): Outcome => ({ result }), readFailure)
    return { ...outcome, port: this.#port, attempts: 1 + this.#retries - before }
  }

  close(): void {
    this.#client.destroy()
  }
}

function readFailure(error: unknown): Outcome {
  if (error instanceof CallRefused && error.details.outcome !== 'unknown') return { refused: error.details as Refusal }
  if (error instanceof ConnectionLost && error.outcome === 'none') return { refused: { code: 'unreachable' } }
  if (error instanceof CallRefused || error instanceof ConnectionLost) return {}
  throw error
}

/** Calls over bare connections to any of the servers: after a loss, to another one. */
export class WireCaller implements Caller {
  readonly #role: Role
  readonly #ports: readonly number[]
  readonly #random: Random
  readonly #log: Log
  /** Open, or opening: calls made at the same time share it. */
  #connection: Promise<LoggedConnection> | undefined
  #isClosed = false

  constructor(role: Role, ports: readonly number[], random: Random, log: Log) {
    this.#role = role
    this.#ports = ports
    this.#random = random
    this.#log = log
  }

  async call(operation: string, params: Params) {
    const isKeyed = operationsByName(this.#role).get(operation)?.keyed !== undefined
    const untilMs = performance.now() + CALL_MS
    let isUncertain = false
    for (let attempts = 1; ; attempts += 1) {
      const { port, ...outcome } = await this.#attempt(operation, params)
      isUncertain ||= outcome.result === undefined && isUnsettledBy(outcome)
      if (outcome.result !== undefined) return { result: outcome.result, port, attempts }
      const { refused } = outcome
      if (refused !== undefined && !TEMPORARY.includes(refused.code)) {
        const isEnded = operation === 'logout' && isUncertain && refused.code === 'unauthenticated'
        if (isEnded) return { result: { ok: true }, port, attempts }
        const saysNothing = isKeyed && isUncertain && ['unauthenticated', 'internal'].includes(refused.code)
        return { ...(saysNothing ? {} : { refused }), port, attempts }
      }
      const waitMs = Number(refused?.retry_after_ms ?? 0) + this.#random() * LONGEST_PAUSE_MS
      if (this.#isClosed || performance.now() + waitMs >= untilMs) {
        return { ...(refused === undefined || isUncertain ? {} : { refused }), port, attempts }
      }
      await sleep(waitMs)
    }
  }

  close(): void {
    this.#isClosed = true
    this.#connection?.then(
      (connection) => connection.destroy(),
      () => {}, // there is none
    )
  }

  /** Without result and refusal: it was sent, and not answered. */
  async #attempt(operation: string, params: Params): Promise<Outcome & { port: number }> {
    const opening = this.#connection ?? LoggedConnection.open(oneOf(this.#ports, this.#random), this.#log)
    this.#connection = opening
    try {
      const connection = await opening
      const outcome = connection.isOpen ? await connection.request(operation, params) : UNREACHABLE
      if (!connection.isOpen && this.#connection === opening) this.#connection = undefined
      return { ...outcome, port: connection.port }
    } catch {
      if (this.#connection === opening) this.#connection = undefined
      return { ...UNREACHABLE, port: 0 }
    }
  }
}

/** The call was never sent. */
const UNREACHABLE: Outcome = { refused: { code: 'unreachable' } }

/** No reply came, or one that says that the call may have been carried out. */
function isUnsettledBy({ refused }: Outcome): boolean {
  return refused === undefined || refused.outcome === 'unknown'
}

let connectionsOpened = 0

/** A bare connection, which logs what it sends and what it receives. */
class LoggedConnection {
  readonly port: number
  isOpen = true
  readonly #name: string
  readonly #socket: Socket
  readonly #log: Log
  readonly #decoder = new LineDecoder(LONGEST_LINE_BYTES)
  readonly #waiting = new Map<number, (outcome: Outcome) => void>()
  #requests = 0

  private constructor(port: number, socket: Socket, log: Log) {
    connectionsOpened += 1
    this.port = port
    this.#name = `${process.pid}-${connectionsOpened}`
    this.#socket = socket
    this.#log = log
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => this.#end())
  }

  static open(port: number, log: Log): Promise<LoggedConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port, noDelay: true, timeout: ATTEMPT_MS })
      socket.once('timeout', () => socket.destroy(new Error('timed out')))
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.removeAllListeners()
        resolve(new LoggedConnection(port, socket.setTimeout(0), log))
      })
    })
  }

  request(operation: string, params: Params): Promise<Outcome> {
    this.#requests += 1
    const id = this.#requests
    this.#log.write({ kind: 'request', connection: this.#name, id, operation, atMs: clockMs() })
    this.#socket.write(encodeRequest(id, operation, params))
    return new Promise((resolve) => {
      const overdue = setTimeout(() => this.destroy(), ATTEMPT_MS)
      this.#waiting.set(id, (outcome) => {
        clearTimeout(overdue)
        resolve(outcome)
      })
    })
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #read(chunk: Buffer): void {
    this.#decoder.push(chunk)
    for (let line = this.#decoder.next(); line !== undefined; line = this.#decoder.next()) {
      const reply = decodeReply(line)
      if (reply !== undefined && !('id' in reply)) continue // the server says that it closes the connection
      const { id = 'unreadable', result, error } = reply ?? {}
      const code = error === undefined ? {} : { code: error.data.code }
      this.#log.write({ kind: 'reply', connection: this.#name, id, atMs: clockMs(), ...code })
      this.#waiting.get(id as number)?.(error === undefined ? { result: result as Params } : { refused: error.data })
      this.#waiting.delete(id as number)
    }
  }

  #end(): void {
    this.isOpen = false
    this.#log.write({ kind: 'end', connection: this.#name, atMs: clockMs() })
    for (const settle of this.#waiting.values()) settle({})
    this.#waiting.clear()
  }
}
