#!/usr/bin/env node
/**
 * A server whose event loop is watched from within. It tells its parent what
 * was seen: each message is answered with the longest time that the loop did
 * not turn since the last one.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 1

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()

process.on('message', () => {
  const longestStallMs = Math.max(0, delay.max / 1e6 - RESOLUTION_MS)
  delay.reset()
  process.send?.({ longestStallMs })
})

await import('../../server.ts')
