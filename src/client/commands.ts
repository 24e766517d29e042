/**
 * The commands of a role: one for each operation of the contract, with the
 * operation's parameters as its arguments and options. Parsing turns the typed
 * words into a call that the contract allows, or throws `UsageError`.
 */

import * as z from 'zod'
import { DEFAULT_PORTS } from '../contract/addresses.ts'
import { type Name, operationsByName, ROLES, type Role } from '../contract/operations.ts'
import {
  type CommandSyntax,
  defineOption,
  findNearest,
  type GivenOptions,
  HELP_OPTION,
  type OptionSyntax,
  parseArgv,
  VERSION_OPTION,
  withHint,
} from '../process/command-line.ts'
import { formatHelp, type HelpRow } from '../process/help.ts'
import { asTyped, formatVersion, VERSION } from '../process/start.ts'
import { UsageError } from './failures.ts'
import {
  describeField,
  describeOption,
  type Field,
  formatArgument,
  formatOption,
  NEVER_TYPED,
  parseValue,
  toFields,
} from './fields.ts'
import { findPhrase } from './phrases.ts'

/** The typed words as a command, as options without one, or as the text that --help or --version asks for. */
export type Parsed<R extends Role> =
  | Command<R>
  | { kind: 'options'; options: Options }
  | { kind: 'information'; text: string }

export interface Command<R extends Role> {
  kind: 'command'
  operation: Name<R>
  /** As the contract has them, but without session and passwords. */
  params: Readonly<Record<string, unknown>>
  options: Options
}

export interface Options {
  json: boolean
  /** Every page of a list. */
  all: boolean
  keepGoing: boolean
  color: boolean
  passwordFile: string | undefined
  host: string | undefined
  port: string | undefined
  tls: boolean
  ca: string | undefined
  tlsName: string | undefined
  timeout: string | undefined
}

export interface CommandEntry<R extends Role> extends CommandSyntax {
  operation: Name<R>
  about: string
  /** Fields that need no name, in the order in which they are typed. */
  positional: readonly Field[]
  /** Fields that are given as options. */
  named: readonly Field[]
  takesPassword: boolean
  examples: readonly string[]
}

/** Commands that only the shell and scripts have. */
export const BUILTINS = [
  { word: 'help', alias: undefined, about: 'List the commands or explain one' },
  { word: 'more', alias: undefined, about: 'Show the next page of the list shown last' },
  { word: 'status', alias: undefined, about: 'Show which servers answer and how fast' },
  { word: 'exit', alias: 'quit', about: 'Leave' },
] as const

export const VERSION_TEXT = formatVersion('souk')

export const JSON_OPTION = defineOption('--json', 'print one JSON document')
const KEEP_GOING_OPTION = defineOption('--keep-going', 'continue after a command of standard input fails')
/** Options that are used only without a command. */
const WITHOUT_COMMAND: readonly OptionSyntax[] = [KEEP_GOING_OPTION, VERSION_OPTION]

/** The options for connecting and printing; `ports` are those for the ports of the servers. */
export function connectionOptions(ports: readonly OptionSyntax[]): OptionSyntax[] {
  return [
    defineOption('--host <host>', 'host of the server (SOUK_HOST, 127.0.0.1)'),
    ...ports,
    defineOption('--tls', 'connect with TLS (SOUK_TLS=on)'),
    defineOption('--ca <file>', 'trust the signers in this file instead of the usual ones, with TLS (SOUK_CA)'),
    defineOption('--tls-name <name>', "name in the server's certificate, if not the host (SOUK_TLS_NAME)"),
    defineOption('--timeout <seconds>', 'time limit of a command, an hour at most (15)'),
    defineOption('--no-color', 'print no colours, as with NO_COLOR'),
  ]
}

export function portOption(name: string, role: Role): OptionSyntax {
  const about = `port of the ${role} server: 1 to 65535 (SOUK_${role.toUpperCase()}_PORT, ${DEFAULT_PORTS[role]})`
  return defineOption(`--${name} <port>`, about)
}

export class Commands<R extends Role> {
  readonly role: R
  readonly entries: readonly CommandEntry<R>[]
  /** Options of every command, which may also stand without one. */
  readonly options: readonly OptionSyntax[]
  readonly #inShell: boolean
  /** The --host, --port and options for TLS that were parsed last: hints repeat them. */
  #givenServer = ''

  /** In the shell, commands are typed without the program and the role, and talk to the shell's server. */
  constructor(role: R, { inShell }: { inShell: boolean }) {
    this.role = role
    this.#inShell = inShell
    this.entries = [...operationsByName(role)].map(([name, { about, params }]) =>
      toEntry(role, name as Name<R>, about, params),
    )
    this.options = inShell
      ? [JSON_OPTION, HELP_OPTION, VERSION_OPTION]
      : [JSON_OPTION, ...connectionOptions([portOption('port', role)]), KEEP_GOING_OPTION, HELP_OPTION, VERSION_OPTION]
  }

  /** By name or short name. */
  find(word: string | undefined): CommandEntry<R> | undefined {
    return this.entries.find((entry) => entry.word === word || (entry.alias !== undefined && entry.alias === word))
  }

  /** What to type for the next page of a list. */
  hintForMore(cursor: string): string {
    return this.#inShell ? 'type more' : `add --all, or --cursor ${cursor}`
  }

  /** What to type to see which servers answer. */
  hintForStatus(): string {
    const servers = this.#givenServer.replace(' --port ', ` --${this.role}-port `)
    return this.#inShell ? 'status' : `${asTyped('souk')} status${servers}`
  }

  /** The input to suggest; outside the shell, with the program, the role, and the server's options as given. */
  hint(words: string): string {
    return this.#typed(words) + this.#givenServer
  }

  /** Throws `UsageError`. */
  parse(words: readonly string[]): Parsed<R> {
    const hint = (entry: CommandSyntax | undefined) =>
      this.hint(entry === undefined ? '--help' : `${entry.word} --help`)
    const argv = parseArgv<CommandEntry<R>>({ commands: this.entries, options: this.options }, words)
    const { command: entry, args, options: given, asksFor } = argv
    if (asksFor === 'help') return { kind: 'information', text: this.help(entry?.word) }
    if (asksFor === 'version') return { kind: 'information', text: VERSION_TEXT }
    if (argv.unknown !== undefined) throw this.#unknown(argv.unknown, argv.problems)
    return withHint(hint(entry), () => {
      const options = toOptions(given)
      this.#givenServer = formatServer(options)
      if (entry === undefined && argv.problems.length > 0) throw new UsageError(argv.problems)
      if (entry === undefined) return { kind: 'options', options }
      const params = toParams(this.role, entry, args, given, argv.problems, (words) => this.hint(words))
      return { kind: 'command', operation: entry.operation, params, options }
    })
  }

  /** The help of a command, or of all. Throws `UsageError` if there is no such command. */
  help(word?: string): string {
    const entry = this.find(word)
    if (entry !== undefined) return this.#helpFor(entry)
    if (word === undefined) return this.#overview()
    const builtin = this.#inShell ? findBuiltin(word) : undefined
    if (builtin === undefined) throw this.#unknown(word, [])
    return `${builtin.about}.`
  }

  #overview(): string {
    return formatHelp({
      title: `souk ${VERSION}, for ${this.role}s`,
      examples: this.#firstSession().map((example) => this.#typed(example)),
      usage: this.#typed('<command> [options]'),
      commands: [...this.entries, ...(this.#inShell ? BUILTINS : [])].map(toSummary),
      options: this.options.map(toRow),
    })
  }

  #helpFor(entry: CommandEntry<R>): string {
    const { word, alias, about, args, positional, named, options, examples } = entry
    const needed = named.filter(({ required, list }) => required && !list).map(formatOption)
    return formatHelp({
      title: `${about}.`,
      examples: examples.map((example) => this.#typed(example)),
      usage: this.#typed([word, ...args, ...needed, '[options]'].join(' ')),
      alias: alias === undefined ? undefined : this.#typed(alias),
      args: positional.map((field) => [field.list ? field.name : field.label, describeField(field)]),
      options: [...options, ...this.options.filter((option) => !WITHOUT_COMMAND.includes(option))].map(toRow),
    })
  }

  #typed(words: string): string {
    return this.#inShell ? words : `${asTyped('souk')} ${this.role} ${words}`
  }

  /** Examples of the commands that a person types first. */
  #firstSession(): string[] {
    const words =
      this.role === 'buyer' ? ['login', 'search-items', 'make-purchase'] : ['login', 'register-item-for-sale']
    return words.flatMap((word) => this.find(word)?.examples[0] ?? [])
  }

  #unknown(word: string, problems: readonly string[]): UsageError {
    const other = ROLES.find(
      (role) => role !== this.role && new Commands(role, { inShell: false }).find(word) !== undefined,
    )
    if (other !== undefined) {
      return new UsageError(
        [...problems, `"${word}" is a command of ${other}s`],
        `${asTyped('souk')} ${other} ${word} --help`,
      )
    }
    if (word === 'status') return new UsageError([...problems, 'status is of both roles'], this.hintForStatus())
    if (findBuiltin(word) !== undefined) {
      return new UsageError([...problems, `"${word}" is a command of the shell`], `${asTyped('souk')} ${this.role}`)
    }
    const all = [...this.entries, ...(this.#inShell ? BUILTINS : [])]
    const words = all.flatMap(({ word: long, alias }) => (alias === undefined ? [long] : [long, alias]))
    return new UsageError(
      [...problems, `there is no command "${word}"`],
      this.hint(findNearest(word, words) ?? '--help'),
    )
  }
}

function findBuiltin(word: string): (typeof BUILTINS)[number] | undefined {
  return BUILTINS.find(({ word: name, alias }) => word === name || word === alias)
}

function toEntry<R extends Role>(role: R, operation: Name<R>, about: string, params: z.ZodObject): CommandEntry<R> {
  const { alias, positional: order = [], examples } = findPhrase(role, operation)
  const fields = toFields(params)
  const positional = order.map((wanted) => fields.find(({ name }) => name === wanted) as Field)
  const named = fields.filter((field) => !positional.includes(field))
  const options = named.map((field) =>
    defineOption(formatOption(field), describeOption(field), { repeats: field.list }),
  )
  const takesPassword = 'password' in params.shape
  if ('cursor' in params.shape) options.push(defineOption('--all', 'every page, printed as it comes'))
  if (takesPassword) {
    const lines =
      'new_password' in params.shape
        ? 'the current password from the first line of this file, the new one from the second'
        : 'the password from the first line of this file'
    options.push(defineOption('--password-file <file>', `read ${lines}`))
  }
  return {
    operation,
    word: operation.replaceAll('_', '-'),
    alias,
    about,
    args: positional.map(formatArgument),
    options,
    positional,
    named,
    takesPassword,
    examples,
  }
}

/** A row in the list of commands; its description ends before the first detail. */
function toSummary({ word, alias, about }: Pick<CommandEntry<Role>, 'word' | 'alias' | 'about'>): HelpRow {
  return [alias === undefined ? word : `${word}, ${alias}`, about.split(/[:;,]/)[0] ?? about]
}

function toRow({ usage, about }: OptionSyntax): HelpRow {
  return [usage, about]
}

function formatServer({ host, port, tls, ca, tlsName }: Options): string {
  const given = Object.entries({ host, port, ca, 'tls-name': tlsName })
  const options = given.flatMap(([name, value]) => (value === undefined ? [] : [` --${name} ${value}`]))
  return options.join('') + (tls ? ' --tls' : '')
}

function toOptions(given: GivenOptions): Options {
  return {
    json: given.flag('json'),
    all: given.flag('all'),
    keepGoing: given.flag('keep-going'),
    color: !given.flag('no-color'),
    passwordFile: given.word('password-file'),
    host: given.word('host'),
    port: given.word('port'),
    tls: given.flag('tls'),
    ca: given.word('ca'),
    tlsName: given.word('tls-name'),
    timeout: given.word('timeout'),
  }
}

/** The parameters that were typed, as the contract has them. Throws `UsageError`. */
function toParams<R extends Role>(
  role: R,
  { operation, positional, named }: CommandEntry<R>,
  args: readonly string[],
  given: GivenOptions,
  earlierProblems: readonly string[],
  hint: (words: string) => string,
): Record<string, unknown> {
  const params: Record<string, unknown> = {}
  const add = (field: Field, words: readonly string[]) => {
    const values = words.map((word) => parseValue(field, word))
    if (field.list && (values.length > 0 || field.required)) params[field.name] = values
    else if (values.length > 0) params[field.name] = values[0]
  }
  for (const [index, field] of positional.entries()) {
    add(field, args.slice(index, field.list ? undefined : index + 1))
  }
  for (const field of named) {
    if (isCleared(field, given)) params[field.name] = []
    else if (field.kind !== 'flag') add(field, given.words(field.label))
    else if (given.flag(field.label)) params[field.name] = true
  }
  return checkParams(role, operation, params, [...positional, ...named], earlierProblems, hint)
}

/** An empty word alone is how an optional list is given without any word. */
function isCleared({ list, required, label }: Field, given: GivenOptions): boolean {
  const words = given.words(label)
  return list && !required && words.length === 1 && words[0] === ''
}

/** The parameters in normal form. Throws `UsageError` with everything that is wrong, and with the earlier problems. */
function checkParams(
  role: Role,
  operation: string,
  params: object,
  fields: readonly Field[],
  earlierProblems: readonly string[],
  hint: (words: string) => string,
): Record<string, unknown> {
  const schema = operationsByName(role).get(operation)?.params
  const hidden = NEVER_TYPED.filter((name) => schema !== undefined && name in schema.shape)
  const absent = Object.fromEntries(hidden.map((name) => [name, z.never().optional()]))
  const checked = schema?.safeExtend(absent).safeParse(params)
  if (checked?.success && earlierProblems.length === 0) return checked.data as Record<string, unknown>
  const issues = checked?.error?.issues ?? []
  const problems = issues.flatMap(({ path, message }) => {
    const field = fields.find(({ name }) => name === path[0])
    if (field === undefined) return [message]
    const condition = field.expected === undefined ? message : `must be ${field.expected}`
    if (field.name in params) return [`${field.label}: ${condition}`]
    return earlierProblems.length > 0 ? [] : [`${field.label} is missing`] // a misspelt option may have been it
  })
  const isOnlyCategory = earlierProblems.length === 0 && issues.every(({ path }) => path[0] === 'category')
  throw new UsageError([...earlierProblems, ...problems], isOnlyCategory ? hint('list-categories') : undefined)
}
