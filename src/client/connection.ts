/**
 * The client's end of a connection: sends requests, matches replies to them by
 * id, and rejects the unanswered calls when the connection is gone. Calls
 * pipeline; those made in one turn of the event loop leave in one write.
 */

import { createConnection, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { LineDecoder } from '../contract/lines.ts'
import { type Name, operationsByName, type Params, type Result, type Role } from '../contract/operations.ts'
import { decodeReply, encodeRequest, type Reply } from '../contract/protocol.ts'
import { CallRefused, ConnectionLost, ForeignServer } from './call-errors.ts'
import { lastingProblem, type TlsOptions, toNodeOptions } from './tls.ts'

export { CallRefused, ConnectionLost, ForeignServer }

/** Parameters as callers give them: those with a default may be left out. */
export type Arguments<R extends Role, N extends Name<R>> = Partial<Params<R, N>>

export interface ConnectionOptions<R extends Role> {
  host: string
  port: number
  /** Undefined: no TLS. */
  tls?: TlsOptions | undefined
  /** Results are checked against the contract of this role, if it is given. */
  role?: R
  /** Time limit for connecting, and for each reply. */
  timeoutMs?: number
}

interface Pending {
  method: string
  resolve(result: unknown): void
  reject(error: Error): void
  askedMs: number
}

const TIMEOUT_MS = 10_000
const SWEEP_MS = 500
/** Every line of a server begins with it. */
const OPEN_BRACE = 0x7b
/** A reply may be as long as a listing of 10,000 items; only a broken server sends more. */
const LONGEST_REPLY_BYTES = 16 * 1024 * 1024

/** Resolves when connected; rejects with `ConnectionLost`. */
export function connect<R extends Role>(options: ConnectionOptions<R>): Promise<Connection<R>> {
  const { host, port, tls, timeoutMs = TIMEOUT_MS } = options
  return new Promise((resolve, reject) => {
    const target = { host, port, timeout: timeoutMs }
    const socket = tls === undefined ? createConnection(target) : connectTls({ ...target, ...toNodeOptions(host, tls) })
    const fail = (reason: string, Kind = ConnectionLost) => {
      socket.destroy()
      reject(new Kind(`no connection to ${host}:${port}: ${reason}`, 'none'))
    }
    const failInTime = () => fail('timed out')
    const failWith = (error: NodeJS.ErrnoException) => {
      const lasting = tls && lastingProblem(error, host, tls)
      if (lasting === undefined) fail(error.code ?? error.message)
      else fail(lasting, ForeignServer)
    }
    socket.once('timeout', failInTime)
    socket.once('error', failWith)
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      socket.off('timeout', failInTime)
      socket.off('error', failWith)
      socket.setTimeout(0)
      socket.setNoDelay(true)
      resolve(new Connection<R>(socket, { ...options, timeoutMs }))
    })
  })
}

export class Connection<R extends Role> {
  readonly #socket: Socket
  readonly #timeoutMs: number
  /** Why a connection to a foreign server fails. */
  readonly #foreign: string
  readonly #operations: ReturnType<typeof operationsByName> | undefined
  readonly #decoder = new LineDecoder(LONGEST_REPLY_BYTES)
  readonly #pending = new Map<number, Pending>() // oldest first
  readonly #sweep: NodeJS.Timeout
  readonly #closed: Promise<void>
  #nextId = 1
  #output = ''
  #lost: ConnectionLost | CallRefused | undefined

  constructor(socket: Socket, { host, port, role, timeoutMs }: ConnectionOptions<R> & { timeoutMs: number }) {
    this.#socket = socket
    this.#timeoutMs = timeoutMs
    this.#foreign = `${host}:${port} does not speak souk's protocol`
    this.#operations = role && operationsByName(role)
    this.#sweep = setInterval(() => this.#enforceTimeout(), SWEEP_MS).unref()
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(lost(error.code ?? error.message)))
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#fail(lost('closed'))
        resolve()
      })
    })
  }

  /** Rejects with `CallRefused` or `ConnectionLost`. */
  call<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<Result<R, N>> {
    if (this.#lost instanceof ForeignServer) return Promise.reject(new ForeignServer(this.#lost.message, 'none'))
    if (this.#lost instanceof ConnectionLost) return Promise.reject(new ConnectionLost(this.#lost.message, 'none'))
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    const id = this.#nextId++
    if (this.#output === '') process.nextTick(() => this.#flush())
    this.#output += encodeRequest(id, method, params)
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { method, resolve: resolve as Pending['resolve'], reject, askedMs: performance.now() })
    })
  }

  /** Takes no more calls, and ends the connection when those under way are answered; resolves when it is gone. */
  async close(): Promise<void> {
    this.#flush()
    this.#lost ??= lost('closed')
    this.#socket.end()
    this.#socket.setTimeout(this.#timeoutMs, () => this.#socket.destroy()) // a server that hangs never ends its side
    await this.#closed
  }

  /** Ends the connection at once, and rejects the calls under way. */
  destroy(): void {
    this.#fail(lost('closed'))
  }

  /** Resolves when the connection is gone, whichever end closed it. */
  get closed(): Promise<void> {
    return this.#closed
  }

  #flush(): void {
    const output = this.#output
    this.#output = ''
    if (output !== '' && this.#socket.writable) this.#socket.write(output)
  }

  #read(chunk: Buffer): void {
    this.#decoder.push(chunk)
    for (let line = this.#decoder.next(); line !== undefined; line = this.#decoder.next()) this.#take(line)
    const { overlong, firstByte = OPEN_BRACE } = this.#decoder
    if (overlong || firstByte !== OPEN_BRACE) this.#failForeign()
  }

  #take(line: Buffer): void {
    const reply = decodeReply(line)
    if (reply === undefined) this.#failForeign()
    else if ('id' in reply) this.#settle(reply)
    else if (reply.method === 'shutting_down') this.#leave()
  }

  /** The server stops. It carries out nothing more: it refuses the calls that it still reads, and then closes. */
  #leave(): void {
    this.#flush()
    this.#lost ??= new ConnectionLost('the connection was lost: the server is stopping', 'none')
    this.#socket.end()
  }

  #settle({ id, result, error }: Reply): void {
    if (id === null && error !== undefined) {
      // A server with too many connections refuses this one before it reads anything.
      if (error.data.code === 'overloaded') return void this.#fail(new CallRefused(error.message, error.data))
      // It can't read any line: it wants TLS. Nothing was carried out.
      if (error.data.code === 'parse_error') return void this.#fail(new ForeignServer(error.message, 'none'))
      return void this.#fail(lost(error.message))
    }
    const pending = this.#pending.get(id as number)
    if (pending === undefined || (error === undefined && !this.#isInContract(pending.method, result))) {
      return void this.#failForeign()
    }
    this.#pending.delete(id as number)
    if (error === undefined) pending.resolve(result)
    else pending.reject(new CallRefused(error.message, error.data))
  }

  /** False if a field is missing or has another type. A newer server may send more fields, and other values. */
  #isInContract(method: string, result: object): boolean {
    const checked = this.#operations?.get(method)?.result.safeParse(result)
    return checked?.error?.issues.every(({ code }) => code !== 'invalid_type') ?? true
  }

  #enforceTimeout(): void {
    const [oldest] = this.#pending.values()
    if (oldest !== undefined && performance.now() - oldest.askedMs > this.#timeoutMs) {
      this.#fail(lost('no reply in time'))
    }
  }

  #failForeign(): void {
    this.#fail(new ForeignServer(this.#foreign, 'unknown'))
  }

  /** Every end of the connection passes here. Rejects all pending calls. */
  #fail(error: ConnectionLost | CallRefused): void {
    this.#lost ??= error
    clearInterval(this.#sweep)
    for (const { reject } of this.#pending.values()) reject(this.#lost)
    this.#pending.clear()
    this.#socket.destroy()
  }
}

function lost(reason: string): ConnectionLost {
  return new ConnectionLost(`the connection was lost: ${reason}`, 'unknown')
}
