/**
 * The first word of a command line: a role, or a program that needs no role.
 * Those programs run from here; their code is loaded only when it is needed.
 */

import { ROLES } from '../contract/operations.ts'
import { type CommandSyntax, findNearest, HELP_OPTION, parseArgv, VERSION_OPTION } from '../process/command-line.ts'
import { formatHelp } from '../process/help.ts'
import { asTyped, VERSION } from '../process/start.ts'
import { Commands, connectionOptions, JSON_OPTION, portOption, VERSION_TEXT } from './commands.ts'
import { UsageError } from './failures.ts'
import { Screen } from './output.ts'

interface Program extends CommandSyntax {
  about: string
}

const SOUK = asTyped('souk')
const PORT_OPTIONS = ROLES.map((role) => portOption(`${role}-port`, role))

const PROGRAMS: readonly Program[] = [
  {
    word: 'seller',
    args: [],
    options: [],
    about: `Act as a seller: one command, or a shell; ${SOUK} seller --help lists the commands`,
  },
  {
    word: 'buyer',
    args: [],
    options: [],
    about: `Act as a buyer: one command, or a shell; ${SOUK} buyer --help lists the commands`,
  },
  {
    word: 'status',
    args: [],
    options: [JSON_OPTION, ...connectionOptions(PORT_OPTIONS)],
    about: 'Show which servers and databases answer, how fast, and who is logged in',
  },
  {
    word: 'completion',
    args: ['<shell>'],
    options: [],
    about: 'Print the script that makes Tab complete commands in bash, zsh or fish',
  },
]
const OPTIONS = [HELP_OPTION, VERSION_OPTION]

/** Runs what is typed without a role; resolves to the exit code. Throws `UsageError`. */
export async function runProgram(words: readonly string[]): Promise<number> {
  const hint = (program: CommandSyntax | undefined) =>
    `${SOUK} ${program === undefined ? '' : `${program.word} `}--help`
  const argv = parseArgv<Program>({ commands: PROGRAMS, options: OPTIONS }, words)
  const { command: program, args, options, asksFor } = argv
  if (asksFor === 'help' || words.length === 0)
    return printText(program === undefined ? formatOverview() : formatProgramHelp(program))
  if (asksFor === 'version') return printText(VERSION_TEXT)
  if (argv.unknown !== undefined) throw toUnknown(argv.unknown, argv.problems)
  if (argv.problems.length > 0) throw new UsageError(argv.problems, hint(program))
  if (program === undefined) throw new UsageError(['choose a role, seller or buyer'], hint(program))
  if (program.word === 'completion') return (await import('./completion.ts')).printScript(args)
  const screen = new Screen(!options.flag('no-color'), process.env)
  return (await import('./status.ts')).showStatus(screen, {
    json: options.flag('json'),
    host: options.word('host'),
    ports: { seller: options.word('seller-port'), buyer: options.word('buyer-port') },
    tls: options.flag('tls'),
    ca: options.word('ca'),
    tlsName: options.word('tls-name'),
    timeout: options.word('timeout'),
  })
}

/** The error for a word that names no program. If a role has such a command, its hint suggests that. */
function toUnknown(word: string, problems: readonly string[]): UsageError {
  const role = ROLES.find((one) => new Commands(one, { inShell: false }).find(word) !== undefined)
  const names = PROGRAMS.map((program) => program.word)
  const nearest = role === undefined ? findNearest(word, names) : `${role} ${word}`
  return new UsageError([...problems, `there is no command "${word}"`], `${SOUK} ${nearest ?? '--help'}`)
}

function formatOverview(): string {
  return formatHelp({
    title: `souk ${VERSION}, an online marketplace`,
    examples: [
      `${SOUK} buyer create-account ann "Ann Lee"`,
      `${SOUK} buyer`,
      `${SOUK} seller display-items-for-sale --json`,
      `${SOUK} status`,
    ],
    usage: `${SOUK} <command> [options]`,
    commands: PROGRAMS.map(({ word, args, about }) => [[word, ...args].join(' '), about]),
    options: OPTIONS.map(({ usage, about }) => [usage, about]),
  })
}

function formatProgramHelp({ word, args, options, about }: Program): string {
  return formatHelp({
    title: `${about}.`,
    examples: word === 'completion' ? [`source <(${SOUK} completion bash)`] : [],
    usage: [SOUK, word, ...args].join(' '),
    options: [...options, HELP_OPTION].map(({ usage, about }) => [usage, about]),
  })
}

/** Answers a script of `souk completion`; the words follow "--". */
export async function completeWords([, ...words]: readonly string[]): Promise<number> {
  return (await import('./completion.ts')).printCandidates(words, PROGRAMS)
}

function printText(text: string): number {
  process.stdout.write(`${text}\n`)
  return 0
}
