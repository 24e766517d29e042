/** The memory of a process that the system holds for it. Linux only. */

import { readFileSync } from 'node:fs'

export function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(status.match(/^VmRSS:\s+(\d+) kB$/m)?.[1]) / 1_024
}

/** Looks again and again, until stopped; then tells the most that it saw. */
export function watchResidentMib(pid: number): () => number {
  let most = residentMib(pid)
  const look = () => {
    most = Math.max(most, residentMib(pid))
  }
  const looking = setInterval(look, 50).unref()
  return () => {
    look()
    clearInterval(looking)
    return most
  }
}
