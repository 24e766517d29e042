/**
 * The tests' two kinds of clients: `Caller` calls operations over souk's own
 * connection and checks every result and refusal against the contract; `Wire`
 * sends and receives lines over a bare socket and checks the form of every reply.
 */

import assert from 'node:assert/strict'
import { createConnection, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsConnectionOptions } from 'node:tls'
import { z } from 'zod'
import { type Arguments, CallRefused, type Connection, connect } from '../../src/client/connection.ts'
import { type Name, operationsByName, type Result, type Role, refusalsOf } from '../../src/contract/operations.ts'
import { ERROR_NUMBERS, type ErrorCode, REFUSALS, type RefusalKind } from '../../src/contract/refusals.ts'
import type { RunningServer } from './marketplace.ts'

/** Calls operations. Every result and every refusal must match the contract. */
export class Caller<R extends Role> {
  readonly #role: R
  readonly #connection: Connection<R>

  private constructor(role: R, connection: Connection<R>) {
    this.#role = role
    this.#connection = connection
  }

  static async connect<R extends Role>(
    { role, port }: Pick<RunningServer<R>, 'role' | 'port'>,
    timeoutMs = 20_000,
  ): Promise<Caller<R>> {
    return new Caller(role, await connect<R>({ host: '127.0.0.1', port, timeoutMs }))
  }

  async call<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<Result<R, N>> {
    const operation = operationsByName(this.#role).get(method)
    const result = await this.#connection.call(method, params).catch((error) => {
      if (error instanceof CallRefused && operation !== undefined) checkRefusal(error, refusalsOf(operation))
      throw error
    })
    operation?.result.parse(result)
    return result
  }

  /** Resolves to the refusal of this call; fails if the call ends in any other way. */
  async refusal<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<CallRefused> {
    const answer = await this.call(method, params).catch((error) => {
      if (error instanceof CallRefused) return error
      throw error
    })
    assert.ok(answer instanceof CallRefused, `${method} was not refused: ${JSON.stringify(answer)}`)
    return answer
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  get closed(): Promise<void> {
    return this.#connection.closed
  }
}

/** Only codes that the contract lists, with the details that it lists. */
function checkRefusal({ code, details }: CallRefused, listed: readonly ErrorCode[]): void {
  assert.ok(listed.includes(code), `the contract does not list ${code} among ${listed.join(', ')}`)
  const { details: known = {} }: RefusalKind = REFUSALS[code]
  const unknown = Object.keys(details).filter((field) => field !== 'code' && !(field in known))
  assert.deepEqual(unknown, [], `details of ${code} that the contract does not list`)
}

export interface OpenAccount {
  id: number
  username: string
  password: string
  session: string
}

const PASSWORD = 'correct horse'
const MOST_ATTEMPTS = 20
let accountsOpened = 0

/**
 * Creates an account and logs in, again if need be: on a busy machine that takes longer than a server with short limits
 * allows. It costs two password hashes, so tests share accounts.
 */
export async function openAccount(caller: Caller<Role>): Promise<OpenAccount> {
  accountsOpened += 1
  const credentials = { username: `account-${process.pid}-${accountsOpened}`, password: PASSWORD }
  const created = await patiently(() => caller.call('create_account', { ...credentials, name: 'Ann' }))
  const { session } = await patiently(() => caller.call('login', credentials))
  return { ...credentials, id: Object.values(created)[0] as number, session }
}

async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call()
    } catch (error) {
      const isLate = error instanceof CallRefused && (error.code === 'timeout' || error.code === 'overloaded')
      if (!isLate || attempt === MOST_ATTEMPTS) throw error
    }
  }
}

export type ItemFields = Omit<Arguments<'seller', 'register_item_for_sale'>, 'session' | 'idempotency_key'>

/** An ordinary item, with the given fields in place of its own. */
export function anItem(fields: ItemFields = {}): ItemFields {
  return { name: 'Lamp', category: 1, keywords: ['lamp'], condition: 'new', price_cents: 1_999, quantity: 3, ...fields }
}

const replySchema = z.union([
  z.strictObject({
    jsonrpc: z.literal('2.0'),
    id: z.union([z.string(), z.number(), z.null()]),
    result: z.record(z.string(), z.unknown()),
  }),
  z.strictObject({
    jsonrpc: z.literal('2.0'),
    id: z.union([z.string(), z.number(), z.null()]),
    error: z
      .strictObject({ code: z.int(), message: z.string(), data: z.looseObject({ code: z.string() }) })
      .refine(({ code, data }) => ERROR_NUMBERS[data.code as ErrorCode] === code, 'code and data.code do not match'),
  }),
  z.strictObject({ jsonrpc: z.literal('2.0'), method: z.literal('shutting_down') }),
])

/** One line from the server. */
export interface Reply {
  id?: string | number | null
  result?: Record<string, unknown>
  error?: { code: number; message: string; data: { code: string } & Record<string, unknown> }
  method?: string
}

const PATIENCE_MS = 20_000

/** A bare socket, and the lines that it receives. */
export class Wire {
  readonly socket: Socket
  /** Resolves when the server has sent its FIN, or when the connection has broken. */
  readonly ended: Promise<void>
  readonly #lines: string[] = []
  /** The beginning of a line whose end has not arrived. */
  #partial = ''
  #isOver = false
  #onArrival = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setEncoding('utf8')
    socket.on('error', () => {}) // 'close' follows
    socket.on('data', (text: string) => {
      const lines = (this.#partial + text).split('\n')
      this.#partial = lines.pop() as string
      this.#lines.push(...lines)
      this.#onArrival()
    })
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.#isOver = true
        this.#onArrival()
        resolve()
      }
      socket.once('end', end)
      socket.once('close', end)
    })
  }

  /** Connects from a loopback address: each counts as a network of its own. */
  static connect({ port }: { port: number }, localAddress = '127.0.0.1'): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port, localAddress, noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => resolve(new Wire(socket)))
    })
  }

  /** With TLS. */
  static connectSecurely({ port }: { port: number }, options: TlsConnectionOptions): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = connectTls({ ...options, host: '127.0.0.1', port, allowHalfOpen: true } as TlsConnectionOptions)
      socket.once('error', reject)
      socket.once('secureConnect', () => resolve(new Wire(socket)))
    })
  }

  /** Sends the bytes unchanged. */
  send(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  request(id: string | number, method: string, params: object = {}): void {
    this.send(encodeRequest({ id, method, params }))
  }

  /** Resolves to the next line, or to undefined if the server ended the connection. */
  async reply(): Promise<Reply | undefined> {
    const next = await this.line()
    return next === undefined ? undefined : (replySchema.parse(JSON.parse(next)) as Reply)
  }

  /** Resolves to the replies in the next line, which must be an array. */
  async replyArray(): Promise<Reply[]> {
    return z.array(replySchema).parse(JSON.parse((await this.line()) ?? '')) as Reply[]
  }

  /** Resolves to the next line as text. */
  async line(): Promise<string | undefined> {
    const untilMs = performance.now() + PATIENCE_MS
    while (this.#lines.length === 0 && !this.#isOver) {
      assert.ok(performance.now() < untilMs, 'no reply in time')
      await new Promise<void>((resolve) => {
        const giveUp = setTimeout(resolve, PATIENCE_MS)
        this.#onArrival = () => {
          clearTimeout(giveUp)
          resolve()
        }
      })
    }
    return this.#lines.shift()
  }

  /** Resolves to the next `count` lines by their id, in any order. */
  async replies(count: number): Promise<Map<Reply['id'], Reply>> {
    const byId = new Map<Reply['id'], Reply>()
    for (let taken = 0; taken < count; taken += 1) {
      const reply = await this.reply()
      assert.ok(reply !== undefined, `the connection ended after ${taken} of ${count} replies`)
      assert.ok(!byId.has(reply.id), `two replies with id ${reply.id}`)
      byId.set(reply.id, reply)
    }
    return byId
  }

  /** Resolves to all lines until the server ends the connection. */
  async rest(): Promise<Reply[]> {
    const replies: Reply[] = []
    for (let next = await this.reply(); next !== undefined; next = await this.reply()) replies.push(next)
    return replies
  }

  /** Sends a FIN after everything sent before. */
  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }
}

/** A request as a line. A request without an id is a notification. */
export function encodeRequest(request: { id?: string | number | null; method: string; params?: object }): string {
  return `${JSON.stringify({ jsonrpc: '2.0', ...request })}\n`
}

/** Its own tokens, its clock, its version: other values on every server. */
const VARIABLE_FIELDS: readonly string[] = ['session', 'purchased_at', 'version']

/** A reply to compare with an example of one: of the values that vary, only the type is left. */
export function maskVariables(replyJson: string): unknown {
  return JSON.parse(replyJson, (name, value) => (VARIABLE_FIELDS.includes(name) ? typeof value : value))
}
