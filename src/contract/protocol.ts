/**
 * The protocol: JSON-RPC 2.0, one JSON text on each line. Decodes lines into
 * requests and replies, and encodes requests, replies and notifications as
 * lines. It is pure and knows no sockets.
 */

import { isUtf8 } from 'node:buffer'
import { ERROR_NUMBERS, type ErrorCode, type Refusal } from './refusals.ts'

export type RequestId = string | number | null

/** Without an `id` it is a notification: it is carried out, and gets no reply. */
export interface Request {
  id: RequestId | undefined
  method: string
  params: object
}

/** What is no request. Its id is null if none could be read, and undefined if it gets no reply. */
export interface Malformed {
  id: RequestId | undefined
  refusal: Refusal
}

/** A reply to a call. */
export type Reply =
  | { id: RequestId; result: object; error?: never }
  | { id: RequestId; result?: never; error: ReplyError }
interface ReplyError {
  message: string
  data: { code: ErrorCode } & Record<string, unknown>
}

/** What a server says of its own accord. */
export interface Notification {
  method: string
}

/** List entries that are encoded at once, in a fraction of a millisecond. */
const SLICE_ENTRIES = 500

/**
 * Decodes one line: into a request, or into the entries of an array, each for `toRequest`. Never throws. A refusal
 * never repeats the line's content.
 */
export function decodeLine(line: Buffer): Request | Malformed | unknown[] {
  if (!isUtf8(line)) return malformed('parse_error', 'the line is not UTF-8', null)
  let value: unknown
  try {
    value = JSON.parse(line.toString())
  } catch {
    return malformed('parse_error', 'the line is not JSON', null)
  }
  if (!Array.isArray(value)) return toRequest(value)
  return value.length > 0 ? value : malformed('invalid_request', 'an array has at least one request', null)
}

/** An object without an id is never answered, whatever is wrong with it. Nor is a reply: two peers would go on forever. */
export function toRequest(value: unknown): Request | Malformed {
  if (!isObject(value)) return malformed('invalid_request', 'a request is a JSON object', null)
  const { jsonrpc, id, method, params = {} } = value
  if (method === undefined && ('result' in value || 'error' in value)) {
    return malformed('invalid_request', 'a reply is no request', undefined)
  }
  if (!isRequestId(id)) return malformed('invalid_request', 'id must be a string, a whole number or null', null)
  if (jsonrpc !== '2.0') return malformed('invalid_request', 'jsonrpc must be "2.0"', id)
  if (typeof method !== 'string') return malformed('invalid_request', 'method must be a string', id)
  if (!isObject(params)) return malformed('invalid_params', 'params must be an object', id)
  return { id, method, params }
}

/** Decodes one line of a server. Never throws; undefined if no server of souk sends such a line. */
export function decodeReply(line: Buffer): Reply | Notification | undefined {
  if (!isUtf8(line)) return undefined
  let value: unknown
  try {
    value = JSON.parse(line.toString())
  } catch {
    return undefined
  }
  if (!isObject(value) || value.jsonrpc !== '2.0') return undefined
  const { id, method, result, error } = value
  if (id === undefined) return typeof method === 'string' ? { method } : undefined
  if (!isRequestId(id) || method !== undefined) return undefined
  const isReply = error === undefined ? isObject(result) : result === undefined && isReplyError(error)
  return isReply ? (value as Record<string, unknown> as Reply) : undefined
}

function isReplyError(error: unknown): error is ReplyError {
  if (!isObject(error) || !Number.isInteger(error.code) || typeof error.message !== 'string') return false
  return isObject(error.data) && typeof error.data.code === 'string'
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isRequestId(id: unknown): id is RequestId | undefined {
  return id === undefined || id === null || typeof id === 'string' || Number.isSafeInteger(id)
}

function malformed(code: ErrorCode, message: string, id: RequestId | undefined): Malformed {
  return { id, refusal: { code, message } }
}

/** A line to send: text, or bytes if it was encoded in slices. */
export type EncodedLine = string | Buffer

export function encodeRequest(id: RequestId, method: string, params: object): string {
  return `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`
}

/** Encodes a reply. Its result is JSON already. */
export function encodeResult(id: RequestId, resultJson: string): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${resultJson}}\n`
}

/** Whether a result holds a long list: encoding it at once would keep the loop from other clients. */
export function isLong(result: object): boolean {
  return Object.values(result).some(isLongList)
}

/** Encodes like `encodeResult`, in slices of `SLICE_ENTRIES` of each long list. */
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

/**
 * Encodes the reply to an array of requests: their replies, each of which is a line, as one line, in slices of
 * `SLICE_ENTRIES`.
 */
export function* encodeArray(replies: readonly EncodedLine[]): Generator<Buffer> {
  for (let at = 0; at < replies.length; at += SLICE_ENTRIES) {
    const pieces = replies.slice(at, at + SLICE_ENTRIES).flatMap((reply, index) => {
      const before = at + index === 0 ? '[' : ','
      return [Buffer.from(before), Buffer.from(reply as string).subarray(0, -1)]
    })
    if (at + SLICE_ENTRIES >= replies.length) pieces.push(Buffer.from(']\n'))
    yield Buffer.concat(pieces)
  }
}

export function encodeNotification(method: string): string {
  return `${JSON.stringify({ jsonrpc: '2.0', method })}\n`
}
