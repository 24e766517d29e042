/** How souk's programs stop: on which signal, and what they show until then. */

import { progress } from './progress.ts'
import { ENDING_SIGNALS } from './streams.ts'

/**
 * Calls `stop` once: on Ctrl-C or another signal that ends processes, when the
 * terminal is closed, except under nohup, or when the parent at the other end of
 * the IPC channel is gone. A second Ctrl-C ends the process at once.
 */
export function onStop(stop: () => Promise<void>): void {
  let stopping = false
  const begin = (signal?: NodeJS.Signals) => {
    if (stopping && signal === 'SIGINT') process.exit(130)
    if (stopping) return
    stopping = true
    void stop()
  }
  for (const signal of ENDING_SIGNALS) process.on(signal, begin)
  process.on('disconnect', () => begin())
}

/** What a stopping server still has open, and the seconds left until it ends anyway. */
export interface Remaining {
  requests: number
  connections: number
  leftS: number
}

/** Shows what all stopping servers still have open. */
export function showStopping(servers: readonly Remaining[]): void {
  const sum = (field: 'requests' | 'connections') => servers.reduce((total, server) => total + server[field], 0)
  const [requests, connections] = [sum('requests'), sum('connections')]
  const isOpen = requests + connections > 0
  const what = isOpen
    ? `stopping · ${formatCount(requests, 'request')} in flight, ${formatCount(connections, 'connection')} open`
    : 'stopping'
  progress.begin(what, isOpen ? { seconds: Math.max(...servers.map(({ leftS }) => leftS)) } : undefined)
}

function formatCount(count: number, thing: string): string {
  return `${count.toLocaleString('en')} ${thing}${count === 1 ? '' : 's'}`
}
