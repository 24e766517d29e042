#!/usr/bin/env node
/**
 * souk: the command line for sellers and buyers. One command and its answer;
 * with a role alone, a shell, or the commands of standard input. What a single
 * command does not need is loaded only by what does.
 */

import { cac } from 'cac'
import { nearestOf, readWords } from './client/argv.ts'
import { type Command, carryOut, isCommand } from './client/call.ts'
import { aboutPort, addProgramOptions, Commands } from './client/commands.ts'
import { Desk } from './client/context.ts'
import { EXIT, errorJson, UsageError, usageFailure } from './client/failures.ts'
import { helpOfProgram } from './client/help.ts'
import { Screen } from './client/screen.ts'
import { ROLES, type Role } from './contract/operations.ts'
import { loadDotEnv, VERSION } from './process/start.ts'

/** What the program can be told first, and what that is about. */
const WORDS = {
  seller: 'act as a seller: one command, or a shell; souk seller --help lists the commands',
  buyer: 'act as a buyer: one command, or a shell; souk buyer --help lists the commands',
  status: 'tell which servers answer and how fast, and who is logged in',
  completion: 'print a script by which Tab completes commands, in bash, zsh or fish',
} as const

/** Resolves to the exit code. */
async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = roleFirst(words)
  const role = ROLES.find((known) => known === first)
  try {
    if (role !== undefined) return await actAs(role, rest)
    if (first === 'help') return await main([...rest, '--help'])
    if (first === 'complete') return await complete(rest)
    return await actForAll(words)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const screen = new Screen(!words.includes('--no-color'), process.env)
    if (words.includes('--json')) screen.line(errorJson(usageFailure(error)))
    else screen.failure(usageFailure(error))
    return EXIT.usage
  }
}

/** Options may stand before the role. */
function roleFirst(words: readonly string[]): readonly string[] {
  const at = words.findIndex((word) => ROLES.includes(word as Role))
  return at > 0 && words[0]?.startsWith('-') ? [words[at] as Role, ...words.toSpliced(at, 1)] : words
}

async function actAs(role: Role, words: readonly string[]): Promise<number> {
  const commands = new Commands(role, { inShell: false })
  const parsed = commands.parse(words[0] === 'help' ? [...words.slice(1), '--help'] : words)
  if (parsed === undefined) return 0
  if (isCommand(parsed)) return carryOutOnly(new Desk(commands, parsed.options), parsed)
  if (!process.stdin.isTTY) return (await import('./client/script.ts')).runScript(role, parsed.options)
  if (process.stdout.isTTY && !process.env.CI) return (await import('./client/shell.ts')).runShell(role, parsed.options)
  throw new UsageError(['a command is missing: the shell needs a terminal'], commands.line('--help'))
}

async function carryOutOnly(desk: Desk, command: Command): Promise<number> {
  process.once('SIGINT', () => desk.interrupt() || process.exit(EXIT.interrupted))
  const failure = await carryOut(desk, command)
  desk.close()
  return failure?.exitCode ?? 0
}

/** What is neither for sellers nor for buyers. */
async function actForAll(words: readonly string[]): Promise<number> {
  const program = cac('souk')
  for (const role of ROLES) program.command(role, WORDS[role])
  const status = program.command('status', WORDS.status).option('--json', 'print one JSON document')
  addProgramOptions(status, Object.fromEntries(ROLES.map((role) => [`${role}-port`, aboutPort(role)])))
  program.command('completion <shell>', WORDS.completion).example('  $ source <(souk completion bash)')
  program.help((sections) => helpOfProgram(sections, program.matchedCommand)).version(VERSION)

  const help = (command: { name: string } | undefined) =>
    `souk ${command === undefined ? '' : `${command.name} `}--help`
  const read = readWords({ cac: program, unknown: unknownWord, help }, words)
  if (read === undefined) return 0
  const { command, args, options } = read
  if (command === undefined) throw new UsageError(['who are you, a seller or a buyer?'], help(command))
  if (command.name === 'completion') return (await import('./client/completion.ts')).printScript(args)
  const ports = { seller: options.word('seller-port'), buyer: options.word('buyer-port') }
  const [host, timeout, json] = [options.word('host'), options.word('timeout'), options.flag('json') === true]
  const screen = new Screen(options.flag('color') !== false, process.env)
  return (await import('./client/status.ts')).showStatus(screen, { json, host, ports, timeout })
}

/** Perhaps it is a command of one of the roles. */
function unknownWord(word: string): UsageError {
  const role = ROLES.find((one) => new Commands(one, { inShell: false }).named(word) !== undefined)
  const nearest = role === undefined ? nearestOf(word, Object.keys(WORDS)) : `${role} ${word}`
  return new UsageError([`there is no command "${word}"`], `souk ${nearest ?? '--help'}`)
}

/** Answers one of the scripts of `souk completion`; the words follow "--". */
async function complete([, ...words]: readonly string[]): Promise<number> {
  const { printCandidates } = await import('./client/completion.ts')
  const programs = Object.entries(WORDS).map(([word, about]) => ({ word, about }))
  return printCandidates(words, programs)
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code !== 'EPIPE') process.stderr.write(`souk: ${message}\n`)
    process.exit(code === 'EPIPE' ? EXIT.unread : EXIT.failure)
  })
}
loadDotEnv()
process.exitCode = await main(process.argv.slice(2))
