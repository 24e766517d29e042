/** The process in which the load runs: begins when it gets its options, ends its work when told to, and says so. */

import { Load, type LoadOptions } from './load.ts'
import { FileLog } from './log.ts'

export type LoadOrder = { start: LoadOptions; logPath: string } | { stop: true }

let load: Load | undefined
let log: FileLog | undefined

process.on('message', async (order: LoadOrder) => {
  if ('start' in order) {
    log = new FileLog(order.logPath)
    load = new Load(order.start, log)
    load.start()
    process.send?.('started')
    return
  }
  await load?.stop()
  log?.close()
  process.send?.('stopped', () => process.exit(0))
})
process.on('disconnect', () => process.exit(1))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}) // the parent decides
