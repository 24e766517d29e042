/**
 * A server that watches itself. To each message it replies with the longest
 * stall of its event loop since the previous one, its heap after a collection,
 * and what has been added to the prototypes of all objects and arrays.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'

export interface Watched {
  longestStallMs: number
  heapBytes: number
  added: string[]
}

const RESOLUTION_MS = 1

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
const prototypes = [Object.prototype, Array.prototype, Function.prototype, String.prototype]
const names = prototypes.map((prototype) => new Set(Reflect.ownKeys(prototype)))

process.on('message', () => {
  const longestStallMs = Math.max(0, delay.max / 1e6 - RESOLUTION_MS)
  globalThis.gc?.()
  const added = prototypes.flatMap((prototype, index) =>
    Reflect.ownKeys(prototype)
      .filter((name) => !names[index]?.has(name))
      .map(String),
  )
  const watched: Watched = { longestStallMs, heapBytes: process.memoryUsage().heapUsed, added }
  process.send?.({ watched })
  setImmediate(() => delay.reset()) // the collection is no stall of the server's own
})

await import('../../src/server.ts')
