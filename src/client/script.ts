/**
 * Carries out the input of the shell and of scripts: commands, and the built-in
 * ones. A script is standard input, one command a line; it stops at the first
 * that fails, unless --keep-going is given.
 */

import { split } from 'shlex'
import type { Role } from '../contract/operations.ts'
import { HELP_OPTION, parseArgv } from '../process/command-line.ts'
import { decodeLine, readLines } from '../process/text.ts'
import { carryOut } from './call.ts'
import { Commands, JSON_OPTION, type Options } from './commands.ts'
import { Context } from './context.ts'
import { EXIT, encodeFailure, type Failure, UsageError } from './failures.ts'

/** Resolves to the exit code, which is that of the first command that failed. Throws `UsageError`. */
export async function runScript(role: Role, options: Options): Promise<number> {
  const context = new Context(new Commands(role, { inShell: true }), options, {
    readPasswords: () => Promise.reject(new UsageError(['a password in a script needs --password-file <file>'])),
  })
  process.once('SIGINT', () => context.interrupt() || process.exit(EXIT.interrupted))
  let isOver = false
  const builtins = createBuiltins(context, options, () => {
    isOver = true
  })
  let exitCode = 0
  context.lineNumber = 0
  for await (const input of readLines(process.stdin)) {
    context.lineNumber += 1
    const failure = await carryOutInput(context, input, options.json, builtins)
    exitCode = failure?.code === 'interrupted' ? EXIT.interrupted : exitCode || (failure?.exitCode ?? 0)
    isOver ||= failure?.code === 'interrupted' || (failure !== undefined && !options.keepGoing)
    if (isOver) break
  }
  context.close()
  process.stdin.destroy() // its writer may keep it open for long
  return exitCode
}

/**
 * By name; each gets the words after it, and whether JSON is wanted. It may return a failure, which has been printed.
 */
export type Builtins = ReadonlyMap<
  string,
  (rest: readonly string[], json: boolean) => Promise<Failure | undefined> | undefined
>

/** `leave` is called for exit and quit. */
export function createBuiltins(context: Context, options: Options, leave: () => void): Builtins {
  const { commands, screen, address } = context
  const help = ([word]: readonly string[]) => {
    screen.print(commands.help(word))
    return undefined
  }
  const more = (_: readonly string[], json: boolean) => {
    const { nextPage } = context
    if (nextPage === undefined) throw new UsageError(['no list with a next page was shown'])
    return carryOut(context, { ...nextPage, options: { ...nextPage.options, json } })
  }
  const status = async (_: readonly string[], json: boolean) => {
    const { showStatus } = await import('./status.ts')
    const ports = { [commands.role]: String(address.port) }
    await context.waitFor(showStatus(screen, { ...options, json, host: address.host, ports }))
    return undefined
  }
  const exit = () => {
    leave()
    return undefined
  }
  return new Map(Object.entries({ help, more, status, exit, quit: exit }))
}

/** Resolves to the failure, which has been printed; to undefined also for help, comments and empty input. */
export async function carryOutInput(
  context: Context,
  input: string | Buffer,
  json: boolean,
  builtins: Builtins,
): Promise<Failure | undefined> {
  const { commands, screen } = context
  let words: string[] = []
  try {
    words = splitInput(decodeInput(input), commands.role)
    const [first] = words
    if (first === undefined) return undefined
    if (builtins.has(first)) {
      const given = parseBuiltin(first, words.slice(1))
      return await builtins.get(given.name)?.(given.args, json || given.json)
    }
    const parsed = commands.parse(words)
    if (parsed.kind === 'information') screen.print(parsed.text)
    if (parsed.kind !== 'command') return undefined
    return await carryOut(context, { ...parsed, options: { ...parsed.options, json: parsed.options.json || json } })
  } catch (error) {
    const failure = context.explain(error)
    context.printFailure(failure, json || words.includes('--json') ? encodeFailure : undefined)
    return failure
  }
}

/** The built-in command that is meant, and the words after it. Throws `UsageError`. */
function parseBuiltin(name: string, rest: readonly string[]): { name: string; args: readonly string[]; json: boolean } {
  const args = name === 'help' ? ['[command]'] : []
  const syntax = { commands: [], args, options: [JSON_OPTION, HELP_OPTION] }
  const { args: given, options, asksFor, problems } = parseArgv(syntax, rest)
  if (asksFor === 'help') return { name: 'help', args: name === 'help' ? [] : [name], json: false }
  if (problems.length > 0) throw new UsageError(problems, 'help')
  return { name, args: given, json: options.flag('json') }
}

/** What was typed on a terminal is text already; `Keyboard` marks what is none. Throws `UsageError`. */
function decodeInput(input: string | Buffer): string {
  if (typeof input !== 'string') return decodeLine(input, 'the input')
  if (!input.isWellFormed()) throw new UsageError(['the input is not UTF-8'])
  return input
}

/** The words of an input; a whole command line, with the program and the role, is understood too. */
function splitInput(input: string, role: string): string[] {
  if (/^\s*(#|$)/.test(input)) return []
  let words: string[]
  try {
    words = split(input)
  } catch {
    throw new UsageError(['a quote is not closed'])
  }
  const first = words[0] === 'npx' ? 1 : 0
  return words[first] === 'souk' && words[first + 1] === role ? words.slice(first + 2) : words
}
