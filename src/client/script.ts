/** The commands of standard input, one a line; the first that fails is the last, unless told to go on. */

import { createInterface } from 'node:readline'
import type { Role } from '../contract/operations.ts'
import { Commands, type Options } from './commands.ts'
import { Desk } from './context.ts'
import { EXIT, UsageError } from './failures.ts'
import { builtinsOf, carryOutLine } from './lines.ts'

/** Resolves to the exit code: that of the first command that failed. Throws `UsageError`. */
export async function runScript(role: Role, options: Options): Promise<number> {
  const desk = new ScriptDesk(new Commands(role, { inShell: true }), options)
  process.once('SIGINT', () => desk.interrupt() || process.exit(EXIT.interrupted))
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  let isOver = false
  const builtins = builtinsOf(desk, options, () => {
    isOver = true
  })
  let exitCode = 0
  desk.lineNumber = 0
  for await (const line of lines) {
    desk.lineNumber += 1
    const failure = await carryOutLine(desk, line, options.json, builtins)
    exitCode = failure?.code === 'interrupted' ? EXIT.interrupted : exitCode || (failure?.exitCode ?? 0)
    isOver ||= failure?.code === 'interrupted' || (failure !== undefined && !options.keepGoing)
    if (isOver) break
  }
  desk.close()
  process.stdin.destroy() // whoever writes there may go on for long
  return exitCode
}

/** Standard input has commands in it, and no passwords. */
class ScriptDesk extends Desk {
  override password(): Promise<string> {
    return Promise.reject(new UsageError(['among commands of standard input a password needs --password-file <file>']))
  }
}
