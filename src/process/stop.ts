/** How souk's programs stop: what tells them to, and what they show while they wait. */

import { progress } from './progress.ts'

/**
 * Calls `stop` once on Ctrl-C, SIGTERM, or when a parent that holds a channel
 * to us is gone; the second Ctrl-C ends the process at once.
 */
export function onStop(stop: () => Promise<void>): void {
  let stopping = false
  const begin = (signal?: NodeJS.Signals) => {
    if (stopping && signal === 'SIGINT') process.exit(130)
    if (stopping) return
    stopping = true
    void stop()
  }
  process.on('SIGINT', begin)
  process.on('SIGTERM', begin)
  process.on('disconnect', () => begin())
}

/** What a server that was told to stop waits for: requests in flight and open connections, for so long at most. */
export interface Remaining {
  requests: number
  connections: number
  leftS: number
}

/** Shows what is waited for, of all servers together. */
export function showStopping(servers: readonly Remaining[]): void {
  const sum = (of: 'requests' | 'connections') => servers.reduce((total, server) => total + server[of], 0)
  const [requests, connections] = [sum('requests'), sum('connections')]
  const waits = requests + connections > 0
  const what = waits
    ? `stopping · ${some(requests, 'request')} in flight, ${some(connections, 'connection')} open`
    : 'stopping'
  progress.begin(what, waits ? { seconds: Math.max(...servers.map(({ leftS }) => leftS)) } : undefined)
}

function some(count: number, thing: string): string {
  return `${count.toLocaleString('en')} ${thing}${count === 1 ? '' : 's'}`
}
