/**
 * The wire, pure: JSON-RPC 2.0, one JSON text a line. Cuts bytes into lines,
 * lines into requests, and writes replies and errors as lines. It owns the
 * error codes and the limits, and knows no sockets, so tests feed it raw bytes.
 */

import { isUtf8 } from 'node:buffer'

/** Bounds on what one client may ask of a server; each has an answer of its own beyond it. */
export interface Limits {
  lineBytes: number
  /** Requests in flight on one connection, in weight: a long listing counts for many. */
  inFlight: number
  unsentBytes: number
  connections: number
  unfinishedLineMs: number
  idleMs: number
  /** How long a client may leave its replies untaken. */
  stuckMs: number
  requestMs: number
}

export const LIMITS: Readonly<Limits> = {
  lineBytes: 64 * 1024,
  inFlight: 256,
  unsentBytes: 4 * 1024 * 1024,
  connections: 20_000,
  unfinishedLineMs: 10_000,
  idleMs: 600_000,
  stuckMs: 30_000,
  requestMs: 5_000,
}

/** What `error.data.code` may say, each with its `error.code`. Never renumbered, only added to. */
export const ERROR_NUMBERS = {
  parse_error: -32700,
  invalid_request: -32600,
  unknown_method: -32601,
  invalid_params: -32602,
  internal: -32603,
  unauthenticated: -32001,
  not_found: -32002,
  username_taken: -32003,
  out_of_stock: -32004,
  not_in_cart: -32005,
  cart_empty: -32006,
  not_purchased: -32007,
  limit_exceeded: -32008,
  idempotency_mismatch: -32009,
  overloaded: -32011,
  timeout: -32012,
  shutting_down: -32013,
} as const

export type ErrorCode = keyof typeof ERROR_NUMBERS

/** Why a request was not done. `details` are further fields of `error.data`. */
export interface Refusal {
  code: ErrorCode
  message: string
  details?: object
}

/** What became of one request: an answer either way, so that in a batch it can't fail a neighbour. */
export type Answer<R> = { ok: R } | { refused: Refusal }

/** A refusal on its way up, from where no answer can be returned. */
export class Refused extends Error {
  readonly refusal: Refusal
  constructor(refusal: Refusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}

export type RequestId = string | number | null

/** `id` is absent in a notification: it is carried out, and nothing is replied. */
export interface Request {
  id: RequestId | undefined
  method: string
  params: object
}

/** A line that is no request, with whatever id could be read from it. */
export interface Malformed {
  id: RequestId
  refusal: Refusal
}

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
/** Entries of a list that are encoded at once: a fraction of a millisecond. */
const SLICE_ENTRIES = 500

/**
 * Cuts a stream of bytes into lines. Lines are pulled, not pushed: a server
 * that has enough in flight leaves the rest in here. After `next()` answered
 * undefined, `overlong` says that the line begun has outgrown its limit;
 * nothing more comes out then.
 */
export class LineDecoder {
  overlong = false
  readonly #limitBytes: number
  #begun: Buffer[] = []
  #begunBytes = 0
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  push(chunk: Buffer): void {
    this.#chunk = this.#at === this.#chunk.length ? chunk : Buffer.concat([this.#chunk.subarray(this.#at), chunk])
    this.#at = 0
  }

  /** The next whole line that is not empty, without its line end. */
  next(): Buffer | undefined {
    while (!this.overlong) {
      const end = this.#chunk.indexOf(NEWLINE, this.#at)
      const piece = this.#chunk.subarray(this.#at, end < 0 ? undefined : end)
      this.#at = end < 0 ? this.#chunk.length : end + 1
      if (this.#begunBytes + piece.length > this.#limitBytes) {
        this.overlong = true
        this.#forget()
      } else if (end >= 0) {
        const line = this.#finish(piece)
        if (line.length > 0) return line
      } else {
        if (piece.length > 0) this.#begun.push(piece)
        this.#begunBytes += piece.length
        return undefined
      }
    }
    return undefined
  }

  /** True while a line has begun and its end has not come. */
  get unfinished(): boolean {
    return this.#begunBytes > 0
  }

  /** True when `next()` may have more to give without another `push()`. */
  get more(): boolean {
    return this.#at < this.#chunk.length
  }

  /** What stands after the last line end, at the end of the stream. */
  rest(): Buffer {
    return this.#finish(Buffer.alloc(0))
  }

  #finish(piece: Buffer): Buffer {
    const line = this.#begun.length === 0 ? piece : Buffer.concat([...this.#begun, piece])
    this.#forget()
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line
  }

  #forget(): void {
    this.#begun = []
    this.#begunBytes = 0
  }
}

/** Reads one line as a request. Never throws, and never repeats in its refusal what the line said. */
export function decodeRequest(line: Buffer): Request | Malformed {
  if (!isUtf8(line)) return malformed('parse_error', 'the line is not UTF-8')
  let value: unknown
  try {
    value = JSON.parse(line.toString())
  } catch {
    return malformed('parse_error', 'the line is not JSON')
  }
  if (Array.isArray(value)) return malformed('invalid_request', 'batches are not supported: send one request a line')
  if (typeof value !== 'object' || value === null) return malformed('invalid_request', 'a request is a JSON object')
  const { jsonrpc, id, method, params = {} } = value as Record<string, unknown>
  if (!isRequestId(id)) return malformed('invalid_request', 'id must be a string, a whole number or null')
  if (jsonrpc !== '2.0') return malformed('invalid_request', 'jsonrpc must be "2.0"', id)
  if (typeof method !== 'string') return malformed('invalid_request', 'method must be a string', id)
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    return malformed('invalid_params', 'params must be an object', id)
  }
  return { id, method, params }
}

function isRequestId(id: unknown): id is RequestId | undefined {
  return id === undefined || id === null || typeof id === 'string' || Number.isSafeInteger(id)
}

function malformed(code: ErrorCode, message: string, id: RequestId = null): Malformed {
  return { id, refusal: { code, message } }
}

/** A line that goes out; one that was encoded in slices is bytes already. */
export type Line = string | Buffer

export function encodeRequest(id: RequestId, method: string, params: object): string {
  return `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`
}

/** A reply whose result is JSON already. */
export function encodeResult(id: RequestId, resultJson: string): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${resultJson}}\n`
}

/** Whether a result has a list so long that all others would wait while it is encoded at once. */
export function isLong(result: object): boolean {
  return Object.values(result).some(isLongList)
}

/** The bytes that `encodeResult` would give, in slices of so many entries of a long list. */
export function* encodeSlices(id: RequestId, result: object): Generator<Buffer> {
  let text = `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":`
  for (const [index, [name, value]] of Object.entries(result).entries()) {
    text += `${index === 0 ? '{' : ','}${JSON.stringify(name)}:`
    if (!isLongList(value)) {
      text += JSON.stringify(value)
      continue
    }
    for (let at = 0; at < value.length; at += SLICE_ENTRIES) {
      const slice = JSON.stringify(value.slice(at, at + SLICE_ENTRIES))
      yield Buffer.from(`${text}${at === 0 ? '[' : ','}${slice.slice(1, -1)}`)
      text = ''
    }
    text = ']'
  }
  yield Buffer.from(`${text}}}\n`)
}

function isLongList(value: unknown): value is unknown[] {
  return Array.isArray(value) && value.length > SLICE_ENTRIES
}

export function encodeRefusal(id: RequestId, { code, message, details }: Refusal): string {
  const error = { code: ERROR_NUMBERS[code], message, data: { code, ...details } }
  return `${JSON.stringify({ jsonrpc: '2.0', id, error })}\n`
}

export function encodeNotification(method: string): string {
  return `${JSON.stringify({ jsonrpc: '2.0', method })}\n`
}
