#!/usr/bin/env node
/**
 * souk: the command line for sellers and buyers. With a command it prints the
 * result; with a role alone it is a shell, or carries out a script. A single
 * command loads nothing that only the others need.
 */

import { type CommandSyntax, findNearest, parseArgv } from './client/argv.ts'
import { carryOut } from './client/call.ts'
import {
  type Command,
  Commands,
  connectionOptions,
  HELP_OPTION,
  JSON_OPTION,
  portOption,
  VERSION_OPTION,
  VERSION_TEXT,
} from './client/commands.ts'
import { Context } from './client/context.ts'
import { EXIT, encodeFailure, toUsageFailure, UsageError } from './client/failures.ts'
import { formatHelp } from './client/help.ts'
import { Screen } from './client/output.ts'
import { readPassword } from './client/prompt.ts'
import { ROLES, type Role } from './contract/operations.ts'
import { loadDotEnv, VERSION } from './process/start.ts'

const PORT_OPTIONS = ROLES.map((role) => portOption(`${role}-port`, role))

/** What may be typed first. */
const PROGRAMS: readonly (CommandSyntax & { about: string })[] = [
  {
    word: 'seller',
    args: [],
    options: [],
    about: 'Act as a seller: one command, or a shell; souk seller --help lists the commands',
  },
  {
    word: 'buyer',
    args: [],
    options: [],
    about: 'Act as a buyer: one command, or a shell; souk buyer --help lists the commands',
  },
  {
    word: 'status',
    args: [],
    options: [JSON_OPTION, ...connectionOptions(PORT_OPTIONS)],
    about: 'Show which servers answer and how fast, and who is logged in',
  },
  {
    word: 'completion',
    args: ['<shell>'],
    options: [],
    about: 'Print the script that makes Tab complete commands in bash, zsh or fish',
  },
]
const OPTIONS = [HELP_OPTION, VERSION_OPTION]

/** Resolves to the exit code. */
async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = putRoleFirst(words)
  const role = ROLES.find((known) => known === first)
  try {
    if (role !== undefined) return await actAs(role, rest)
    if (first === 'help') return await main([...rest, '--help'])
    if (first === 'complete') return await complete(rest)
    return await actWithoutRole(words)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const failure = toUsageFailure(error)
    const screen = new Screen(!words.includes('--no-color'), process.env)
    if (words.includes('--json')) screen.print(encodeFailure(failure))
    else screen.noteFailure(failure)
    return EXIT.usage
  }
}

/** Options may stand before the role. */
function putRoleFirst(words: readonly string[]): readonly string[] {
  const at = words.findIndex((word) => ROLES.includes(word as Role))
  return at > 0 && words[0]?.startsWith('-') ? [words[at] as Role, ...words.toSpliced(at, 1)] : words
}

async function actAs(role: Role, words: readonly string[]): Promise<number> {
  const commands = new Commands(role, { inShell: false })
  const parsed = commands.parse(words[0] === 'help' ? [...words.slice(1), '--help'] : words)
  if (parsed.kind === 'information') return printText(parsed.text)
  if (parsed.kind === 'command') return carryOutAlone(commands, parsed)
  if (!process.stdin.isTTY) return (await import('./client/script.ts')).runScript(role, parsed.options)
  if (process.stdout.isTTY && !process.env.CI) return (await import('./client/shell.ts')).runShell(role, parsed.options)
  throw new UsageError(['a command is missing: the shell needs a terminal'], commands.hint('--help'))
}

async function carryOutAlone(commands: Commands<Role>, command: Command<Role>): Promise<number> {
  const context = new Context(commands, command.options, { readPassword })
  process.once('SIGINT', () => context.interrupt() || process.exit(EXIT.interrupted))
  const failure = await carryOut(context, command)
  context.close()
  return failure?.exitCode ?? 0
}

async function actWithoutRole(words: readonly string[]): Promise<number> {
  const hint = (program: CommandSyntax | undefined) => `souk ${program === undefined ? '' : `${program.word} `}--help`
  const known = { commands: PROGRAMS, options: OPTIONS, unknown: toUnknown, hint }
  const { command: program, args, options, asksFor } = parseArgv<(typeof PROGRAMS)[number]>(known, words)
  if (asksFor === 'help') return printText(program === undefined ? formatOwnHelp() : formatProgramHelp(program))
  if (asksFor === 'version') return printText(VERSION_TEXT)
  if (program === undefined) throw new UsageError(['who are you, a seller or a buyer?'], hint(program))
  if (program.word === 'completion') return (await import('./client/completion.ts')).printScript(args)
  const screen = new Screen(options.flag('color') !== false, process.env)
  return (await import('./client/status.ts')).showStatus(screen, {
    json: options.flag('json') === true,
    host: options.word('host'),
    ports: { seller: options.word('seller-port'), buyer: options.word('buyer-port') },
    timeout: options.word('timeout'),
  })
}

/** The error for a word that no program has; it may be a command of a role. */
function toUnknown(word: string): UsageError {
  const role = ROLES.find((one) => new Commands(one, { inShell: false }).find(word) !== undefined)
  const names = PROGRAMS.map((program) => program.word)
  const nearest = role === undefined ? findNearest(word, names) : `${role} ${word}`
  return new UsageError([`there is no command "${word}"`], `souk ${nearest ?? '--help'}`)
}

function formatOwnHelp(): string {
  return formatHelp({
    title: `souk ${VERSION}, an online marketplace`,
    examples: [
      'souk buyer create-account ann "Ann Lee"',
      'souk buyer',
      'souk seller display-items-for-sale --json',
      'souk status',
    ],
    usage: 'souk <command> [options]',
    commands: PROGRAMS.map(({ word, args, about }) => [[word, ...args].join(' '), about]),
    options: OPTIONS.map(({ usage, about }) => [usage, about]),
  })
}

function formatProgramHelp({ word, args, options, about }: (typeof PROGRAMS)[number]): string {
  return formatHelp({
    title: `${about}.`,
    examples: word === 'completion' ? ['source <(souk completion bash)'] : [],
    usage: ['souk', word, ...args].join(' '),
    options: [...options, HELP_OPTION].map(({ usage, about }) => [usage, about]),
  })
}

/** Answers a script of `souk completion`; the words follow "--". */
async function complete([, ...words]: readonly string[]): Promise<number> {
  return (await import('./client/completion.ts')).printCandidates(words, PROGRAMS)
}

function printText(text: string): number {
  process.stdout.write(`${text}\n`)
  return 0
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code !== 'EPIPE') process.stderr.write(`souk: ${message}\n`)
    process.exit(code === 'EPIPE' ? EXIT.unread : EXIT.failure)
  })
}
loadDotEnv()
process.exitCode = await main(process.argv.slice(2))
