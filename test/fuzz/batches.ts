/**
 * Batches for a connection: some lines, in pieces, and how the connection goes
 * on. A batch follows from its seed alone, so that it can be sent again.
 */

import type { Role } from '../../src/contract/operations.ts'
import { below, oneOf, type Random, weighted } from '../../src/loadgen/random.ts'
import { drawLine } from './lines.ts'
import type { World } from './values.ts'

/**
 * - `open`: more batches follow on the connection.
 * - `finished`: the client sends its FIN; the last line may lack its end.
 * - `broken`: the client is gone in the midst of it, and sees no reply.
 */
export type Ending = 'open' | 'finished' | 'broken'

export interface Batch {
  bytes: Buffer
  /** Where the bytes are cut into pieces, each of which is written by itself. */
  cuts: readonly number[]
  ending: Ending
  lines: number
}

const MOST_LINES = 48
const LINE_LIMIT_BYTES = 65_536

const drawKind = weighted({ lines: 80, sliced: 6, finished: 4, broken: 3, overlong: 2, atLimit: 1, http: 2, tls: 2 })

export function drawBatch(role: Role, random: Random, world: World): Batch {
  const kind = drawKind(random)
  const lines = 1 + below(MOST_LINES, random)
  const drawn = Array.from({ length: lines }, (_, number) => drawLine(role, number + 1, random, world))
  if (kind === 'overlong' || kind === 'atLimit')
    drawn.splice(below(lines, random), 0, padPing(kind === 'overlong' ? 1 : 0))
  if (kind === 'http') drawn.splice(below(lines, random), 0, Buffer.from(oneOf(HTTP, random)))
  if (kind === 'tls') drawn.splice(below(lines, random), 0, Buffer.from('\x16\x03\x01\x02\x00\x01\x00\n', 'latin1'))
  const whole = Buffer.concat(drawn)
  if (kind === 'broken')
    return { bytes: whole.subarray(0, below(whole.length, random)), cuts: [], ending: 'broken', lines }
  if (kind === 'finished') return { bytes: cutEnd(whole, random), cuts: [], ending: 'finished', lines }
  return { bytes: whole, cuts: kind === 'sliced' ? drawCuts(whole, random) : [], ending: 'open', lines }
}

const HTTP = ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'HEAD / HTTP/1.0\r\n', 'POST /x HTTP/1.1\n', 'PRI * HTTP/2.0\r\n']

/** A request of the longest line, or with more bytes. */
function padPing(more: number): Buffer {
  const request = '{"jsonrpc":"2.0","id":"long","method":"ping"}'
  return Buffer.from(`${request}${' '.repeat(LINE_LIMIT_BYTES - request.length + more)}\n`)
}

function cutEnd(bytes: Buffer, random: Random): Buffer {
  return bytes.subarray(0, random() < 0.7 ? bytes.lastIndexOf(0x0a) : Math.max(1, below(bytes.length, random)))
}

function drawCuts(bytes: Buffer, random: Random): number[] {
  return Array.from({ length: 1 + below(20, random) }, () => below(bytes.length, random)).sort((a, b) => a - b)
}
