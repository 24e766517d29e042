#!/usr/bin/env node
/**
 * souk: the command line for sellers and buyers. With a command it prints the
 * result; with a role alone it runs a shell, or a script from standard input. A
 * single command loads no code that only the shell and scripts need.
 */

import { carryOut } from './client/call.ts'
import { type Command, Commands } from './client/commands.ts'
import { Context } from './client/context.ts'
import { EXIT, encodeFailure, toUsageFailure, UsageError } from './client/failures.ts'
import { Screen } from './client/output.ts'
import { completeWords, runProgram } from './client/programs.ts'
import { confirm, isAttended, readPasswords } from './client/prompt.ts'
import { ROLES, type Role } from './contract/operations.ts'
import { loadEnvironment, readArguments } from './process/environment.ts'
import { endWhenOutputIsLost } from './process/start.ts'

/** The variables that this program reads. */
const VARIABLES = [
  'SOUK_HOST',
  'SOUK_SELLER_PORT',
  'SOUK_BUYER_PORT',
  'SOUK_TLS',
  'SOUK_CA',
  'SOUK_TLS_NAME',
  'SOUK_SESSION',
]

/** Resolves to the exit code. */
async function main(): Promise<number> {
  try {
    loadEnvironment(VARIABLES)
    return await run(readArguments())
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const failure = toUsageFailure(error)
    const screen = new Screen(!process.argv.includes('--no-color'), process.env)
    if (process.argv.includes('--json')) screen.print(encodeFailure(failure))
    else screen.noteFailure(failure)
    return EXIT.usage
  }
}

async function run(words: readonly string[]): Promise<number> {
  const [first, ...rest] = putRoleFirst(words)
  const role = ROLES.find((known) => known === first)
  if (role !== undefined) return actAs(role, rest)
  if (first === 'help') return run([...rest, '--help'])
  if (first === 'complete') return completeWords(rest)
  return runProgram(words)
}

/** Options may stand before the role. */
function putRoleFirst(words: readonly string[]): readonly string[] {
  const at = words.findIndex((word) => ROLES.includes(word as Role))
  return at > 0 && words[0]?.startsWith('-') ? [words[at] as Role, ...words.toSpliced(at, 1)] : words
}

async function actAs(role: Role, words: readonly string[]): Promise<number> {
  const commands = new Commands(role, { inShell: false })
  const parsed = commands.parse(words[0] === 'help' ? [...words.slice(1), '--help'] : words)
  if (parsed.kind === 'information') {
    process.stdout.write(`${parsed.text}\n`)
    return 0
  }
  if (parsed.kind === 'command') return carryOutAlone(commands, parsed)
  if (!process.stdin.isTTY) return (await import('./client/script.ts')).runScript(role, parsed.options)
  if (process.stdout.isTTY && !process.env.CI) return (await import('./client/shell.ts')).runShell(role, parsed.options)
  throw new UsageError(['a command is missing: the shell needs a terminal'], commands.hint('--help'))
}

async function carryOutAlone(commands: Commands<Role>, command: Command<Role>): Promise<number> {
  const context = new Context(commands, command.options, { readPasswords, ...(isAttended() ? { confirm } : {}) })
  process.once('SIGINT', () => context.interrupt() || process.exit(EXIT.interrupted))
  const failure = await carryOut(context, command)
  context.close()
  return failure?.exitCode ?? 0
}

endWhenOutputIsLost()
process.exitCode = await main()
