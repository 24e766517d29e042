/** The commands of standard input, one a line; the first that fails is the last, unless told to go on. */

import { createInterface } from 'node:readline'
import type { Role } from '../operations.ts'
import { EXIT, type Failure } from './advice.ts'
import { Commands, type Options, UsageError } from './commands.ts'
import { Desk } from './desk.ts'
import { carryOutLine } from './lines.ts'
import { isUnanswered } from './run.ts'

/** Resolves to the exit code: that of the first command that failed. Throws `UsageError`. */
export async function runScript(role: Role, options: Options): Promise<number> {
  const desk = new ScriptDesk(new Commands(role, { inShell: true }), options)
  process.once('SIGINT', () => desk.interrupt() || process.exit(EXIT.interrupted))
  let exitCode = 0
  let number = 0
  let failure: Failure | undefined
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    number += 1
    desk.place = `line ${number}: `
    failure = await carryOutLine(desk, line, options.json)
    exitCode ||= failure?.exitCode ?? 0
    if (failure?.code === 'interrupted' || (failure !== undefined && !options.keepGoing)) break
  }
  if (isUnanswered(failure)) process.exit(exitCode)
  await desk.close()
  return exitCode
}

/** Standard input has commands in it, and no passwords. */
class ScriptDesk extends Desk {
  override password(): Promise<string> {
    return Promise.reject(new UsageError(['among commands of standard input a password needs --password-file <file>']))
  }
}
