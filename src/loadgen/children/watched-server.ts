#!/usr/bin/env node
/**
 * A server that watches its own event loop. It answers each message of its
 * parent with the longest time that the loop stood still since the message
 * before.
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
