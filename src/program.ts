/** What souk's programs have in common: how they begin, start each other, and are told to stop. */

import { existsSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

const SELF = import.meta.url

export const VERSION: string = JSON.parse(readFileSync(new URL('../package.json', SELF), 'utf8')).version

/** Reads `.env` in the working folder into the environment, which wins over it. */
export function loadDotEnv(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

/** The arguments that make this Node run a program of souk, given without its extension: compiled or not, as we are. */
export function programArguments(name: string, ...rest: string[]): string[] {
  return [...process.execArgv, fileURLToPath(new URL(`./${name}${extname(SELF)}`, SELF)), ...rest]
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

/** Tells what is wrong, one line each, and ends the process. */
export function fail(problems: readonly string[], exitCode: number): never {
  for (const problem of problems) process.stderr.write(`souk: ${problem}\n`)
  process.exit(exitCode)
}
