/** The limit on open files, and the connections that it leaves to a server's clients. */

import { existsSync, readFileSync } from 'node:fs'
import { writeLine } from '../process/progress.ts'
import type { Settings } from './settings.ts'

/** Descriptors that are no connections of clients: those to the database, and files. */
const OWN_DESCRIPTORS = 256

/** The settings with as many connections as are wanted or, with a notice, as the limit on open files allows. */
export function fitConnections(settings: Settings): Settings {
  const limits = existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : ''
  const openFiles = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
  const possible = Math.max(1, openFiles - OWN_DESCRIPTORS)
  if (possible >= settings.limitConnections) return settings
  writeLine(
    process.stderr,
    `souk: at most ${possible} connections: the limit on open files is ${openFiles} (ulimit -n)`,
  )
  return { ...settings, limitConnections: possible }
}
