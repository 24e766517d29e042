/**
 * The commands of a role: one for each operation of the contract, with the
 * operation's parameters as its arguments and options. Parsing turns the typed
 * words into a call that the contract allows, or throws `UsageError`.
 */

import type { ZodObject } from 'zod'
import { DEFAULT_PORTS } from '../contract/addresses.ts'
import { type Name, operationsByName, ROLES, type Role } from '../contract/operations.ts'
import { asTyped, VERSION } from '../process/start.ts'
import {
  type CommandSyntax,
  defineOption,
  findNearest,
  type GivenOptions,
  type OptionSyntax,
  parseArgv,
  withHint,
} from './argv.ts'
import { UsageError } from './failures.ts'
import {
  describeField,
  describeOption,
  type Field,
  formatArgument,
  formatOption,
  parseValue,
  toFields,
} from './fields.ts'
import { formatHelp, type HelpRow } from './help.ts'
import { findPhrase } from './phrases.ts'

/** The typed words as a command, as options without one, or as the text that --help or --version asks for. */
export type Parsed<R extends Role> =
  | Command<R>
  | { kind: 'options'; options: Options }
  | { kind: 'information'; text: string }

export interface Command<R extends Role> {
  kind: 'command'
  operation: Name<R>
  /** As the contract has them, but without session and password. */
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

export const VERSION_TEXT = `souk/${VERSION} ${process.platform}-${process.arch} node-${process.version}`

export const HELP_OPTION = defineOption('-h, --help', 'print this help')
export const VERSION_OPTION = defineOption('-v, --version', 'print the version')
export const JSON_OPTION = defineOption('--json', 'print one JSON document')
const KEEP_GOING_OPTION = defineOption('--keep-going', 'continue after a command of standard input fails')
/** Options that are used only without a command. */
const WITHOUT_COMMAND: readonly OptionSyntax[] = [KEEP_GOING_OPTION, VERSION_OPTION]

/** The options for connecting and printing; `ports` are those for the ports of the servers. */
export function connectionOptions(ports: readonly OptionSyntax[]): OptionSyntax[] {
  return [
    defineOption('--host <host>', 'host of the server (SOUK_HOST, 127.0.0.1)'),
    ...ports,
    defineOption('--timeout <seconds>', 'time limit of a command (15)'),
    defineOption('--no-color', 'print no colours, as with NO_COLOR'),
  ]
}

export function portOption(name: string, role: Role): OptionSyntax {
  const about = `port of the ${role} server (SOUK_${role.toUpperCase()}_PORT, ${DEFAULT_PORTS[role]})`
  return defineOption(`--${name} <port>`, about)
}

export class Commands<R extends Role> {
  readonly role: R
  readonly entries: readonly CommandEntry<R>[]
  /** Options of every command, which may also stand without one. */
  readonly options: readonly OptionSyntax[]
  readonly #inShell: boolean
  /** The --host and --port that were parsed last: hints repeat them. */
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

  /** The input to suggest; outside the shell, with the program, the role, and the --host and --port given. */
  hint(words: string): string {
    return this.#typed(words) + this.#givenServer
  }

  /** Throws `UsageError`. */
  parse(words: readonly string[]): Parsed<R> {
    const hint = (entry: CommandSyntax | undefined) =>
      this.hint(entry === undefined ? '--help' : `${entry.word} --help`)
    const unknown = (word: string) => this.#unknown(word)
    const syntax = { commands: this.entries, options: this.options, unknown, hint }
    const { command: entry, args, options: given, asksFor } = parseArgv<CommandEntry<R>>(syntax, words)
    if (asksFor === 'help')
      return { kind: 'information', text: entry === undefined ? this.#help() : this.#helpFor(entry) }
    if (asksFor === 'version') return { kind: 'information', text: VERSION_TEXT }
    return withHint(hint(entry), () => {
      const options = toOptions(given)
      this.#givenServer = formatServer(options)
      if (entry === undefined) return { kind: 'options', options }
      const params = toParams(this.role, entry, args, given, (words) => this.hint(words))
      return { kind: 'command', operation: entry.operation, params, options }
    })
  }

  #help(): string {
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

  #unknown(word: string): UsageError {
    const other = ROLES.find(
      (role) => role !== this.role && new Commands(role, { inShell: false }).find(word) !== undefined,
    )
    if (other !== undefined) {
      return new UsageError([`"${word}" is a command of ${other}s`], `${asTyped('souk')} ${other} ${word} --help`)
    }
    const words = this.entries.flatMap(({ word: long, alias }) => (alias === undefined ? [long] : [long, alias]))
    return new UsageError([`there is no command "${word}"`], this.hint(findNearest(word, words) ?? '--help'))
  }
}

function toEntry<R extends Role>(role: R, operation: Name<R>, about: string, params: ZodObject): CommandEntry<R> {
  const { alias, positional: order = [], examples } = findPhrase(role, operation)
  const fields = toFields(params)
  const positional = order.map((wanted) => fields.find(({ name }) => name === wanted) as Field)
  const named = fields.filter((field) => !positional.includes(field))
  const options = named.map((field) => defineOption(formatOption(field), describeOption(field)))
  const takesPassword = 'password' in params.shape
  if ('cursor' in params.shape) options.push(defineOption('--all', 'every page, printed as it comes'))
  if (takesPassword) {
    options.push(defineOption('--password-file <file>', 'read the password from the first line of this file'))
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

function formatServer({ host, port }: Options): string {
  return (host === undefined ? '' : ` --host ${host}`) + (port === undefined ? '' : ` --port ${port}`)
}

function toOptions(given: GivenOptions): Options {
  return {
    json: given.flag('json') === true,
    all: given.flag('all') === true,
    keepGoing: given.flag('keep-going') === true,
    color: given.flag('color') !== false,
    passwordFile: given.word('password-file'),
    host: given.word('host'),
    port: given.word('port'),
    timeout: given.word('timeout'),
  }
}

/** The parameters that were typed, as the contract has them. Throws `UsageError`. */
function toParams<R extends Role>(
  role: R,
  { operation, positional, named }: CommandEntry<R>,
  args: readonly string[],
  given: GivenOptions,
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
    if (field.kind !== 'flag') add(field, field.list ? given.words(field.label) : given.atMostOne(field.label))
    else if (given.flag(field.label)) params[field.name] = true
  }
  return checkParams(role, operation, params, [...positional, ...named], hint)
}

/** The parameters in normal form. Throws `UsageError` with everything that is wrong. */
function checkParams(
  role: Role,
  operation: string,
  params: object,
  fields: readonly Field[],
  hint: (words: string) => string,
): Record<string, unknown> {
  const schema = operationsByName(role).get(operation)?.params
  const hidden = ['session', 'password'].filter((name) => schema !== undefined && name in schema.shape)
  const omitted = Object.fromEntries(hidden.map((name) => [name, true])) as Record<never, true>
  const checked = schema?.omit(omitted).safeParse(params)
  if (checked?.success) return checked.data as Record<string, unknown>
  const issues = checked?.error.issues ?? []
  const problems = issues.map(({ path, message }) => {
    const field = fields.find(({ name }) => name === path[0])
    if (field === undefined) return message
    const condition = field.expected === undefined ? message : `must be ${field.expected}`
    return field.name in params ? `${field.label}: ${condition}` : `${field.label} is missing`
  })
  const isOnlyCategory = issues.every(({ path }) => path[0] === 'category')
  throw new UsageError(problems, isOnlyCategory ? hint('list-categories') : undefined)
}
