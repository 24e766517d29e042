/**
 * How souk's programs start: their version, how one starts another, how one ends
 * on a problem, or because its output is lost.
 */

import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { progress, writeLine } from './progress.ts'
import { onLostOutput, UNREAD } from './streams.ts'

const SELF = import.meta.url
/** The package's folder. This file lies one folder below it when bundled into souk.js, two otherwise. */
const ROOT = ['..', '../..']
  .map((above) => fileURLToPath(new URL(above, SELF)))
  .find((folder) => existsSync(join(folder, 'package.json'))) as string

/** The folder of the clone that runs; undefined in an installed package. */
export const CLONE: string | undefined = existsSync(join(ROOT, '.git')) ? ROOT : undefined

export const VERSION: string = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version

/** Problems that the user can mend: wrong settings, a missing program. They are shown as they are, one on each line. */
export class SetUpError extends Error {
  readonly problems: readonly string[]

  constructor(...problems: string[]) {
    super(problems.join('; '))
    this.problems = problems
  }
}

/** Node's arguments to run a program of souk, named without extension; compiled or not, like this process. */
export function programArguments(name: string, ...rest: string[]): string[] {
  return [...process.execArgv, programFile(name), ...rest]
}

/** The file of a program of souk. */
export function programFile(name: string): string {
  return fileURLToPath(new URL(`../${name}${extname(SELF)}`, SELF))
}

/** The home folder of the user; the working folder for a user without one, as containers may have. */
export function homeFolder(): string {
  try {
    return homedir()
  } catch {
    return process.cwd()
  }
}

/** What a person types for a program of souk: with npx, if this one was started by it. */
export function asTyped(program: 'souk' | 'souk-server' | 'souk-load'): string {
  return process.env.npm_command === 'exec' ? `npx ${program}` : program
}

/** What --version prints. */
export function formatVersion(program: string): string {
  return `${program}/${VERSION} ${process.platform}-${process.arch} node-${process.version}`
}

/** Prints the problems, one on each line, the last with the hint, and ends the process. */
export function fail(problems: readonly string[], exitCode: number, hint?: string): never {
  progress.end()
  const last = `${problems.at(-1)}${hint === undefined ? '' : `: ${hint}`}`
  for (const problem of [...problems.slice(0, -1), last]) writeLine(process.stderr, `souk: ${problem}`)
  process.exit(exitCode)
}

/** Makes a program that is run for its output end when that can't be written: quietly if nobody reads it. */
export function endWhenOutputIsLost(): void {
  onLostOutput(({ code, message }) => {
    if (code === 'EPIPE') process.exit(UNREAD)
    fail([`the output can't be written: ${message}`], 1)
  })
}
