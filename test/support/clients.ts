/**
 * The tests' two kinds of clients: `Caller` calls operations over souk's own
 * connection, `Wire` sends and receives lines over a bare socket. Both check
 * every reply against the contract or the shape that the protocol gives it.
 */

import assert from 'node:assert/strict'
import { createConnection, type Socket } from 'node:net'
import { z } from 'zod'
import { type Arguments, CallRefused, type Connection, connect } from '../../src/client/connection.ts'
import { type Name, operationsByName, type Result, type Role } from '../../src/contract/operations.ts'
import { ERROR_NUMBERS, type ErrorCode } from '../../src/contract/refusals.ts'
import type { RunningServer } from './marketplace.ts'

/** Calls operations; every result must be just what the contract says. */
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
    const result = await this.#connection.call(method, params)
    operationsByName(this.#role).get(method)?.result.parse(result)
    return result
  }

  /** The refusal that this call comes to; fails if it comes to anything else. */
  async refusal<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<CallRefused> {
    const outcome = await this.call(method, params).catch((error) => error)
    assert.ok(outcome instanceof CallRefused, `${method} was not refused: ${JSON.stringify(outcome)}`)
    return outcome
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  get closed(): Promise<void> {
    return this.#connection.closed
  }
}

export interface OpenAccount {
  id: number
  username: string
  password: string
  session: string
}

const PASSWORD = 'correct horse'
let accountsOpened = 0

/** An account and a session; each costs two password hashes, so share them. */
export async function openAccount(caller: Caller<Role>): Promise<OpenAccount> {
  accountsOpened += 1
  const credentials = { username: `account-${process.pid}-${accountsOpened}`, password: PASSWORD }
  const created = await caller.call('create_account', { ...credentials, name: 'Ann' })
  const { session } = await caller.call('login', credentials)
  return { ...credentials, id: Object.values(created)[0] as number, session }
}

export type ItemFields = Omit<Arguments<'seller', 'register_item_for_sale'>, 'session' | 'idempotency_key'>

/** An item like any other, but for the fields given. */
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
      .refine(({ code, data }) => ERROR_NUMBERS[data.code as ErrorCode] === code, 'code and data.code do not fit'),
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

/** A bare socket, and the lines that come over it. */
export class Wire {
  readonly socket: Socket
  /** Resolves when the server has sent its FIN, or the connection is gone. */
  readonly ended: Promise<void>
  readonly #lines: string[] = []
  #begun = ''
  #over = false
  #arrived = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setEncoding('utf8')
    socket.on('error', () => {}) // 'close' follows
    socket.on('data', (text: string) => {
      const lines = (this.#begun + text).split('\n')
      this.#begun = lines.pop() as string
      this.#lines.push(...lines)
      this.#arrived()
    })
    this.ended = new Promise((resolve) => {
      const over = () => {
        this.#over = true
        this.#arrived()
        resolve()
      }
      socket.once('end', over)
      socket.once('close', over)
    })
  }

  static connect({ port }: { port: number }): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => resolve(new Wire(socket)))
    })
  }

  /** Bytes as they are. */
  send(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  request(id: string | number, method: string, params: object = {}): void {
    this.send(line({ id, method, params }))
  }

  /** The next line; undefined when the server has ended the connection instead. */
  async reply(): Promise<Reply | undefined> {
    const untilMs = performance.now() + PATIENCE_MS
    while (this.#lines.length === 0 && !this.#over) {
      assert.ok(performance.now() < untilMs, 'no reply in time')
      await new Promise<void>((resolve) => {
        const giveUp = setTimeout(resolve, PATIENCE_MS)
        this.#arrived = () => {
          clearTimeout(giveUp)
          resolve()
        }
      })
    }
    const next = this.#lines.shift()
    if (next === undefined) return undefined
    return replySchema.parse(JSON.parse(next)) as Reply
  }

  /** So many lines, by their id, whatever their order. */
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

  /** Every line until the server ends the connection. */
  async rest(): Promise<Reply[]> {
    const replies: Reply[] = []
    for (let next = await this.reply(); next !== undefined; next = await this.reply()) replies.push(next)
    return replies
  }

  /** Our FIN, behind what was sent. */
  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }
}

/** A request as a line. Without an id it is a notification. */
export function line(request: { id?: string | number | null; method: string; params?: object }): string {
  return `${JSON.stringify({ jsonrpc: '2.0', ...request })}\n`
}
