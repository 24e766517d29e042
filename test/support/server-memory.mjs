/**
 * Loaded into a server before it starts: to the message `memory` it answers with the MiB that it uses, in objects and
 * buffers, without garbage. What the system holds for the process is more: the C library keeps what was freed.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

process.on('message', (message) => {
  if (message !== 'memory') return
  collectGarbage()
  setImmediate(() => {
    collectGarbage() // buffers are freed after the objects that have held them
    const { heapUsed, external } = process.memoryUsage()
    process.send?.({ memory: (heapUsed + external) / 2 ** 20 })
  })
})
