/** What souk's programs have in common: how they begin, start each other, are told to stop, and what they show of it. */

import { existsSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createProgress, writeLine } from './progress.ts'

const SELF = import.meta.url
/** The package's folder. This file lies one or two folders below it: bundled, or compiled and as source. */
const ROOT = ['..', '../..']
  .map((above) => fileURLToPath(new URL(above, SELF)))
  .find((folder) => existsSync(join(folder, 'package.json'))) as string

/** The folder of the clone we are run from; undefined in an installed package. */
export const CLONE: string | undefined = existsSync(join(ROOT, '.git')) ? ROOT : undefined

export const VERSION: string = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version

/** Of this process, and of those it holds channels to. */
export const progress = createProgress(process.stderr)

/** Reads `.env` in the working folder into the environment, which wins over it. */
export function loadDotEnv(): void {
  try {
    if (existsSync('.env')) process.loadEnvFile('.env')
  } catch (error) {
    fail([`.env can't be read: ${(error as Error).message}`], 2)
  }
}

/** The arguments that make this Node run a program of souk, given without its extension: compiled or not, as we are. */
export function programArguments(name: string, ...rest: string[]): string[] {
  return [...process.execArgv, fileURLToPath(new URL(`../${name}${extname(SELF)}`, SELF)), ...rest]
}

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

/** Tells what is wrong, one line each, and ends the process. */
export function fail(problems: readonly string[], exitCode: number): never {
  progress.end()
  for (const problem of problems) writeLine(process.stderr, `souk: ${problem}`)
  process.exit(exitCode)
}
