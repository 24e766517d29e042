/**
 * The commands of a role: one for each operation of the contract, whose
 * parameters are its arguments and options. Words come in as they were typed;
 * what comes out is a call that the contract allows.
 */

import { type CAC, type Command, cac } from 'cac'
import { DEFAULT_PORTS } from '../contract/addresses.ts'
import { type Name, operationsByName, type Role } from '../contract/operations.ts'
import { VERSION } from '../process/start.ts'
import { advised, type Given, nearestOf, readWords } from './argv.ts'
import { UsageError } from './failures.ts'
import { type Field, fieldsOf, valueFrom } from './fields.ts'
import { helpOf } from './help.ts'
import { FORMS, type Form } from './phrases.ts'

/** The operation as it is typed. */
export function wordOf(operation: string): string {
  return operation.replaceAll('_', '-')
}

export interface Parsed<R extends Role> {
  /** Undefined where nothing but options was typed. */
  operation: Name<R> | undefined
  /** As the contract has them, but without session and password. */
  params: Record<string, unknown>
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

/** The options that say how a program is to run, and so are not for a line within the shell; `port` says what may be set. */
export function addProgramOptions<C extends CAC | Command>(to: C, ports: Readonly<Record<string, string>>): C {
  to.option('--host <host>', 'host of the server (SOUK_HOST, 127.0.0.1)')
  for (const [option, about] of Object.entries(ports)) to.option(`--${option} <port>`, about)
  to.option('--timeout <seconds>', 'longest time until a command is answered (15)')
  to.option('--no-color', 'no colours, as with NO_COLOR')
  return to
}

/** What is said of a role's port. */
export function aboutPort(role: Role): string {
  return `port of the ${role} server (SOUK_${role.toUpperCase()}_PORT, ${DEFAULT_PORTS[role]})`
}

/** One command, for help and completion. */
export interface CommandEntry<R extends Role> {
  operation: Name<R>
  word: string
  alias: string | undefined
  about: string
  positional: readonly Field[]
  options: readonly Field[]
  /** Answers in pages. */
  paged: boolean
  takesPassword: boolean
  examples: readonly string[]
}

/** An option of a command, for completion. */
export interface OptionEntry {
  word: string
  about: string
  takesValue: boolean
  /** The parameter that it gives, if it gives one. */
  field: Field | undefined
}

export class Commands<R extends Role> {
  readonly role: R
  readonly entries: readonly CommandEntry<R>[]
  readonly inShell: boolean
  #elsewhere = ''

  /** In the shell a line is a command, without the program and the role. */
  constructor(role: R, { inShell }: { inShell: boolean }) {
    this.role = role
    this.inShell = inShell
    this.entries = [...operationsByName(role)].map(([name, { about, params }]) => {
      const operation = name as Name<R>
      const { alias, positional = [], examples } = (FORMS[role] as Record<string, Form<string>>)[name] as Form<string>
      const fields = fieldsOf(params)
      return {
        ...{ operation, word: wordOf(name), alias, about, examples },
        ...{ paged: 'cursor' in params.shape, takesPassword: 'password' in params.shape },
        positional: positional.map((wanted) => fields.find((field) => field.name === wanted) as Field),
        options: fields.filter((field) => !positional.includes(field.name)),
      }
    })
  }

  /** What somebody has to type for it: where the program was told of another server, once more with that. */
  line(words: string): string {
    return this.inShell ? words : `souk ${this.role} ${words}${this.#elsewhere}`
  }

  /** Lines to type will lead to the same server as these options. */
  lead({ host, port }: Options): void {
    this.#elsewhere = Object.entries({ host, port })
      .map(([option, value]) => (value === undefined ? '' : ` --${option} ${value}`))
      .join('')
  }

  named(word: string | undefined): CommandEntry<R> | undefined {
    return this.entries.find((entry) => entry.word === word || (entry.alias !== undefined && entry.alias === word))
  }

  /** The options of a command; without one, those that stand alone. */
  options(entry: CommandEntry<R> | undefined): OptionEntry[] {
    const program = this.#program()
    const command = program.commands.find(({ name }) => name === entry?.word)
    return [...(command?.options ?? []), ...program.globalCommand.options].map(
      ({ rawName, description, isBoolean }) => {
        const [word = ''] = /--[a-z-]+/.exec(rawName) ?? []
        const field = entry?.options.find(({ label }) => word === `--${label}`)
        return { word, about: description, takesValue: isBoolean !== true, field }
      },
    )
  }

  /** Undefined when help or the version was asked for, which is then printed. Throws `UsageError`. */
  parse(words: readonly string[]): Parsed<R> | undefined {
    const help = (command: Command | undefined) =>
      this.line(command === undefined ? '--help' : `${command.name} --help`)
    const program = { cac: this.#program(), help, unknown: (word: string) => this.#unknown(word) }
    const read = readWords(program, words)
    if (read === undefined) return undefined
    const { command, args, options: given } = read
    return advised(help(command), () => {
      const options = optionsOf(given)
      this.lead(options)
      const entry = this.named(command?.name)
      return { operation: entry?.operation, options, params: entry ? this.#params(entry, args, given) : {} }
    })
  }

  #program(): CAC {
    const program = cac(this.inShell ? this.role : `souk ${this.role}`)
    program.option('--json', 'print one JSON document')
    if (!this.inShell) addProgramOptions(program, { port: aboutPort(this.role) })
    if (!this.inShell) program.option('--keep-going', 'go on after a command of standard input that failed')
    for (const entry of this.entries) this.#add(program, entry)
    program.help((sections) => helpOf(this, this.named(program.matchedCommand?.name), sections))
    if (!this.inShell) program.version(VERSION)
    return program
  }

  #add(
    program: CAC,
    { word, alias, about, positional, options, paged, takesPassword, examples }: CommandEntry<R>,
  ): void {
    const command: Command = program.command([word, ...positional.map(argumentOf)].join(' '), about)
    const needed = options.filter(({ required, list }) => required && !list).map(optionOf)
    command.usage([command.rawName, ...needed, '[options]'].join(' '))
    if (alias !== undefined) command.alias(alias)
    for (const field of options) command.option(optionOf(field), aboutOf(field))
    if (paged) command.option('--all', 'every page, printed as it comes')
    if (takesPassword) {
      command.option('--password-file <file>', 'read the password from its first line, instead of asking')
    }
    for (const example of examples) command.example(`  $ ${this.line(example)}`)
  }

  #params({ operation, positional, options }: CommandEntry<R>, args: readonly string[], given: Given) {
    const flags = options.filter(({ kind, label }) => kind === 'flag' && given.flag(label))
    const params: Record<string, unknown> = Object.fromEntries(flags.map(({ name }) => [name, true]))
    const typed = [
      ...positional.map((field, index) => [field, args.slice(index, field.list ? undefined : index + 1)] as const),
      ...options.map((field) => [field, field.list ? given.words(field.label) : given.atMostOne(field.label)] as const),
    ]
    for (const [field, words] of typed) {
      const values = words.map((word) => valueFrom(field, word))
      if (field.list && (values.length > 0 || field.required)) params[field.name] = values
      else if (values.length > 0) params[field.name] = values[0]
    }
    return checkedParams(this.role, operation, params, [...positional, ...options])
  }

  #unknown(word: string): UsageError {
    const words = this.entries.flatMap(({ word: long, alias }) => (alias === undefined ? [long] : [long, alias]))
    return new UsageError([`there is no command "${word}"`], this.line(nearestOf(word, words) ?? '--help'))
  }
}

/** What the contract makes of the parameters. Throws `UsageError`. */
function checkedParams(role: Role, operation: string, params: object, fields: readonly Field[]) {
  const schema = operationsByName(role).get(operation)?.params
  const hidden = ['session', 'password'].filter((name) => schema !== undefined && name in schema.shape)
  const omitted = Object.fromEntries(hidden.map((name) => [name, true])) as Record<never, true>
  const checked = schema?.omit(omitted).safeParse(params)
  if (checked?.success) return checked.data as Record<string, unknown>
  const problems = (checked?.error.issues ?? []).map(({ path, message }) => {
    const field = fields.find(({ name }) => name === path[0])
    if (field === undefined) return message
    const condition = field.expected === undefined ? message : `must be ${field.expected}`
    return field.name in params ? `${field.label}: ${condition}` : `${field.label} is missing`
  })
  throw new UsageError(problems)
}

function optionsOf(given: Given): Options {
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

function argumentOf({ label, name, list, required, choices }: Field): string {
  if (list) return `[...${name.replaceAll('_', '-')}]`
  const shown = choices.length > 0 ? choices.join('|') : label
  return required ? `<${shown}>` : `[${shown}]`
}

function optionOf({ label, kind, choices }: Field): string {
  if (kind === 'flag') return `--${label}`
  return `--${label} <${choices.length > 0 ? choices.join('|') : label}>`
}

function aboutOf({ about, expected, choices, required, list }: Field): string {
  const what = expected === undefined || choices.length > 0 ? about : `${about}: ${expected}`
  return `${what}${list ? '; once for each' : ''}${required && !list ? ' (required)' : ''}`
}
