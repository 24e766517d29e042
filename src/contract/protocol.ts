/**
 * The wire, pure: JSON-RPC 2.0, one JSON text a line. Cuts bytes into lines,
 * lines into requests, and writes replies and errors as lines. It owns the
 * error codes and the limits, and knows no sockets, so tests feed it raw bytes.
 */

import { isUtf8 } from 'node:buffer'
import { ERROR_NUMBERS, type ErrorCode, type Refusal } from './refusals.ts'

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

/** Entries of a list that are encoded at once: a fraction of a millisecond. */
const SLICE_ENTRIES = 500

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
export type EncodedLine = string | Buffer

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
