/**
 * The protocol: JSON-RPC 2.0, one JSON text on each line. Decodes lines into
 * requests, and encodes requests, replies and notifications as lines. It is pure
 * and knows no sockets.
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

/** A line that is not a request, with the id that could be read from it. */
export interface Malformed {
  id: RequestId
  refusal: Refusal
}

/** List entries that are encoded at once, in a fraction of a millisecond. */
const SLICE_ENTRIES = 500

/** Decodes one line. Never throws. Its refusal never repeats the line's content. */
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

export function encodeNotification(method: string): string {
  return `${JSON.stringify({ jsonrpc: '2.0', method })}\n`
}
