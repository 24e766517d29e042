#!/usr/bin/env node
/**
 * souk: the command line for sellers and buyers. One command and its answer;
 * with a role alone, a shell, or the commands of standard input. What a single
 * command does not need is loaded only by what does.
 */

import { cac } from 'cac'
import { EXIT, usageFailure } from './cli/advice.ts'
import { Commands, checkOptions, nearestOf, PROGRAM_OPTIONS, UsageError } from './cli/commands.ts'
import { Desk } from './cli/desk.ts'
import { helpOfProgram } from './cli/help.ts'
import { type Command, carryOut, isCommand, isUnanswered, refuse } from './cli/run.ts'
import { Screen } from './cli/screen.ts'
import { ROLES, type Role } from './operations.ts'
import { loadDotEnv, VERSION } from './program.ts'

/** What the program can be told first, and what that is about. */
const WORDS = {
  seller: 'act as a seller: one command, or a shell; souk seller --help lists the commands',
  buyer: 'act as a buyer: one command, or a shell; souk buyer --help lists the commands',
  status: 'tell which servers answer and how fast, and who is logged in',
  completion: 'print a script by which Tab completes commands, in bash, zsh or fish',
} as const

/** Resolves to the exit code. */
async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words
  const role = ROLES.find((known) => known === first)
  try {
    if (role !== undefined) return await actAs(role, rest)
    if (first === 'complete') return await complete(rest)
    return await actForAll(words)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const told = { screen: new Screen(!words.includes('--no-color'), process.env), place: '' }
    return refuse(told, usageFailure(error), words.includes('--json')).exitCode
  }
}

async function actAs(role: Role, words: readonly string[]): Promise<number> {
  const commands = new Commands(role, { inShell: false })
  const parsed = commands.parse(words)
  if (parsed === undefined) return 0
  if (isCommand(parsed)) return carryOutOnly(new Desk(commands, parsed.options), parsed)
  if (process.stdin.isTTY && process.stdout.isTTY)
    process.exit(await (await import('./cli/shell.ts')).runShell(role, parsed.options)) // connections may hang
  return (await import('./cli/script.ts')).runScript(role, parsed.options)
}

async function carryOutOnly(desk: Desk, command: Command): Promise<number> {
  process.once('SIGINT', () => desk.interrupt() || process.exit(EXIT.interrupted))
  const failure = await carryOut(desk, command)
  if (isUnanswered(failure)) process.exit(failure?.exitCode)
  await desk.close()
  return failure?.exitCode ?? 0
}

/** What is neither for sellers nor for buyers. */
async function actForAll(words: readonly string[]): Promise<number> {
  const program = cac('souk')
  for (const role of ROLES) program.command(role, WORDS[role])
  const status = program.command('status', WORDS.status).option('--json', 'print one JSON document')
  for (const [option, about] of PROGRAM_OPTIONS.filter(([option]) => !option.startsWith('--port')))
    status.option(option, about)
  for (const role of ROLES) status.option(`--${role}-port <port>`, `port of the ${role} server`)
  program.command('completion <shell>', WORDS.completion).example('  $ source <(souk completion bash)')
  program.help((sections) => helpOfProgram(sections, program.matchedCommand)).version(VERSION)

  const { args, options } = program.parse(['', '', ...words], { run: false })
  if (options.help || options.version) return 0
  const command = program.matchedCommand
  if (command === undefined) throw unknownWord(args[0])
  try {
    checkOptions(words, program)
    command.checkOptionValue()
    const surplus = args[command.args.length]
    if (surplus !== undefined) throw new Error(`"${surplus}" is too much`)
  } catch (error) {
    throw new UsageError([(error as Error).message], `souk ${command.name} --help`)
  }
  if (command.name === 'completion') return (await import('./cli/completion.ts')).printScript(args)
  return (await import('./cli/status.ts')).showStatus(new Screen(options.color !== false, process.env), options)
}

function unknownWord(word: string | undefined): UsageError {
  const nearest = nearestOf(word ?? '', Object.keys(WORDS))
  const problem = word === undefined ? 'who are you, a seller or a buyer?' : `there is no command "${word}"`
  return new UsageError([problem], `souk ${nearest ?? '--help'}`)
}

/** Answers one of the scripts of `souk completion`; the words follow "--". */
async function complete([, ...words]: readonly string[]): Promise<number> {
  const { printCandidates } = await import('./cli/completion.ts')
  return printCandidates(
    words,
    Object.entries(WORDS).map(([word, about]) => ({ word, about })),
  )
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0) // who read the results has had enough
  throw error
})
loadDotEnv()
process.exitCode = await main(process.argv.slice(2))
