/** A command as a line: of a person in the shell, or of a script. */

import { split } from 'shlex'
import { carryOut, isCommand } from './call.ts'
import type { Options } from './commands.ts'
import type { Desk } from './context.ts'
import { errorJson, type Failure, UsageError } from './failures.ts'

/** What only lines can say, by its name. Each is given the words behind it. */
export type Builtins = ReadonlyMap<string, (rest: readonly string[]) => void | Promise<void>>

/** `leave` is what ends the lines. */
export function builtinsOf(desk: Desk, { json, timeout }: Options, leave: () => void): Builtins {
  const help = ([word]: readonly string[]) => {
    const isThere = word === undefined || desk.commands.named(word) !== undefined
    desk.commands.parse([word ?? [], isThere ? '--help' : []].flat())
  }
  const status = async () => {
    const { showStatus } = await import('./status.ts')
    const { host, port } = desk.address
    const ports = { [desk.commands.role]: String(port) }
    await desk.answer(showStatus(desk.screen, { json, host, ports, timeout }))
  }
  return new Map(Object.entries({ help, status, exit: leave, quit: leave }))
}

/** Resolves to what went wrong, when that has been told; help, comments and empty lines are no failure. */
export async function carryOutLine(
  desk: Desk,
  line: string,
  json: boolean,
  builtins: Builtins,
): Promise<Failure | undefined> {
  const { commands } = desk
  let words: string[] = []
  try {
    words = wordsOf(line, commands.role)
    const builtin = builtins.get(words[0] ?? '')
    await builtin?.(words.slice(1))
    const parsed = builtin !== undefined || words.length === 0 ? undefined : commands.parse(words)
    if (parsed === undefined || !isCommand(parsed)) return undefined
    return await carryOut(desk, { ...parsed, options: { ...parsed.options, json: parsed.options.json || json } })
  } catch (error) {
    return desk.tell(desk.failureOf(error), json || words.includes('--json') ? errorJson : undefined)
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
