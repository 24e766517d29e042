/** A command as a line: of a person in the shell, or of a script. */

import { split } from 'shlex'
import { type Failure, failureOf } from './advice.ts'
import { UsageError } from './commands.ts'
import type { Desk } from './desk.ts'
import { carryOut, isCommand, refuse } from './run.ts'

/** What only lines can say, by its name. */
export type Builtins = ReadonlyMap<string, (rest: readonly string[]) => void | Promise<void>>

/** Resolves to what went wrong, when that has been told; help, comments and empty lines are no failure. */
export async function carryOutLine(
  desk: Desk,
  line: string,
  json: boolean,
  builtins: Builtins = new Map(),
): Promise<Failure | undefined> {
  const { commands, address } = desk
  try {
    const words = wordsOf(line, commands.role)
    const builtin = builtins.get(words[0] ?? '')
    if (builtin !== undefined) return void (await builtin(words.slice(1)))
    const parsed = words.length === 0 ? undefined : commands.parse(words)
    if (parsed === undefined || !isCommand(parsed)) return undefined
    return await carryOut(desk, { ...parsed, options: { ...parsed.options, json: parsed.options.json || json } })
  } catch (error) {
    const tried = { commands, ...address, operation: undefined, params: {}, username: undefined }
    return refuse(desk, failureOf(error, tried), json)
  }
}

/** Who has copied a whole command line, with program and role, is understood. */
function wordsOf(line: string, role: string): string[] {
  if (/^\s*(#|$)/.test(line)) return []
  let words: string[]
  try {
    words = split(line)
  } catch {
    throw new UsageError(['a quote is not closed'])
  }
  return words[0] === 'souk' && words[1] === role ? words.slice(2) : words
}
