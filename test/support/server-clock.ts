/**
 * Loaded into a server before it starts: its own clock. Measures the stalls of its event loop, and how long a refusal
 * of a sampled request takes, from its line being parsed to the reply being given to the socket. A sampled request has
 * an id of s and digits. To the message `clock` it answers with what it measured since the last one.
 */

import { Server, Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'

export interface ClockReading {
  longestStallMs: number
  p99StallMs: number
  /** Sampled refusals. */
  refusalsMs: { count: number; p50: number; p99: number; max: number }
}

const RESOLUTION_MS = 1
const REQUEST_ID = /"id":"s(\d+)"/
const REFUSED_ID = /"id":"s(\d+)","error"/g

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
const readMs = new Map<string, number>()
let refusals: number[] = []

const parse = JSON.parse
JSON.parse = (text, reviver) => {
  const id = REQUEST_ID.exec(text)?.[1]
  if (id !== undefined) readMs.set(id, performance.now())
  return parse(text, reviver)
}

const emit = Server.prototype.emit
Server.prototype.emit = function (name: string | symbol, ...values: unknown[]): boolean {
  const [socket] = values
  if (name === 'connection' && socket instanceof Socket) watch(socket)
  return (emit as (...all: unknown[]) => boolean).call(this, name, ...values)
}

function watch(socket: Socket): void {
  const write = socket.write
  socket.write = function (this: Socket, ...values: Parameters<Socket['write']>) {
    const [output] = values
    if (typeof output === 'string') {
      const nowMs = performance.now()
      for (const [, id = ''] of output.matchAll(REFUSED_ID)) {
        const begunMs = readMs.get(id)
        if (begunMs !== undefined) refusals.push(nowMs - begunMs)
      }
    }
    return write.apply(this, values)
  } as Socket['write']
}

process.on('message', (message) => {
  if (message !== 'clock') return
  const sorted = refusals.sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
  const clock: ClockReading = {
    longestStallMs: Math.max(0, delay.max / 1e6 - RESOLUTION_MS),
    p99StallMs: Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS),
    refusalsMs: { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) },
  }
  delay.reset()
  refusals = []
  readMs.clear()
  process.send?.({ clock })
})
