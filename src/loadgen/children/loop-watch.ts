/**
 * Loaded into a server before it starts: watches its event loop. To each message
 * from its parent it replies with the loop's longest stall since the previous message.
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
