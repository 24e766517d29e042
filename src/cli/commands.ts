/**
 * The commands of a role: one for each operation of the contract, whose
 * parameters are its arguments and options. Words come in as they were typed;
 * what comes out is a call that the contract allows.
 */

import { type CAC, type Command, cac } from 'cac'
import { closest, distance } from 'fastest-levenshtein'
import { type Name, operationsOf, type Role } from '../operations.ts'
import { VERSION } from '../program.ts'
import { type Field, fieldsOf, valueFrom } from './fields.ts'
import { FORMS, type Form } from './forms.ts'
import { helpOf } from './help.ts'

/** Options that say how a program is to run, and so are not for a line within the shell. */
export const PROGRAM_OPTIONS = [
  ['--host <host>', 'host of the server (SOUK_HOST, 127.0.0.1)'],
  ['--port <port>', 'port of the server (SOUK_SELLER_PORT, 7101; SOUK_BUYER_PORT, 7102)'],
  ['--timeout <seconds>', 'longest time until a command is answered (15)'],
  ['--no-color', 'no colours, as with NO_COLOR'],
] as const

/** The operation as it is typed. */
export function wordOf(operation: string): string {
  return operation.replaceAll('_', '-')
}

/** What was typed can't be carried out: a problem on each line. */
export class UsageError extends Error {
  /** What to type instead. */
  readonly next: string | undefined
  constructor(problems: readonly string[], next?: string) {
    super(problems.join('\n'))
    this.next = next
  }
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
  passwordFile?: string
  host?: string
  port?: string
  timeout?: string
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
  readonly #inShell: boolean

  /** In the shell a line is a command, without the program and the role. */
  constructor(role: R, { inShell }: { inShell: boolean }) {
    this.role = role
    this.#inShell = inShell
    this.entries = [...operationsOf(role)].map(([name, { about, params }]) => {
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

  /** What somebody has to type for it. */
  line(words: string): string {
    return this.#inShell ? words : `souk ${this.role} ${words}`
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
    const program = this.#program()
    const { args, options } = program.parse(['', '', ...asTyped(words)], { run: false })
    const command = program.matchedCommand
    if (options.help || (options.version && command === undefined)) return undefined
    const entry = this.named(command?.name)
    if (command === undefined && args.length > 0) throw this.#unknown(String(args[0]))
    const help = this.line(entry === undefined ? '--help' : `${entry.word} --help`)
    try {
      checkOptions(words, program)
      if (options.version) return void program.outputVersion()
      ;(command ?? program.globalCommand).checkOptionValue()
      const given = optionsOf(options)
      return { operation: entry?.operation, options: given, params: entry ? this.#params(entry, args, options) : {} }
    } catch (error) {
      throw new UsageError((error as Error).message.replaceAll(MARK, '').split('\n'), help)
    }
  }

  #program(): CAC {
    const program = cac(this.#inShell ? this.role : `souk ${this.role}`)
    program.option('--json', 'print one JSON document')
    if (!this.#inShell) for (const [option, about] of PROGRAM_OPTIONS) program.option(option, about)
    if (!this.#inShell) program.option('--keep-going', 'go on after a command of standard input that failed')
    for (const entry of this.entries) this.#add(program, entry)
    program.help((sections) => helpOf(this, this.named(program.matchedCommand?.name), sections))
    if (!this.#inShell) program.version(VERSION)
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
    const words = new Map<Field, readonly string[]>()
    for (const [index, field] of positional.entries()) {
      words.set(field, args.slice(index, field.list ? undefined : index + 1).map(unmarked))
    }
    const [surplus] = positional.some(({ list }) => list) ? [] : args.slice(positional.length)
    if (surplus !== undefined) throw new Error(`"${surplus}" is too much`)
    for (const field of options) words.set(field, wordsOf(given[camelCase(field.label)]))
    const params: Record<string, unknown> = {}
    for (const [field, typed] of words) {
      if (typed.length > 1 && !field.list) throw new Error(`--${field.label} is given more than once`)
      if (field.list && (typed.length > 0 || field.required))
        params[field.name] = typed.map((word) => valueFrom(field, word))
      else if (typed[0] !== undefined) params[field.name] = field.kind === 'flag' ? true : valueFrom(field, typed[0])
    }
    return checkedParams(this.role, operation, params, [...words.keys()])
  }

  #unknown(typed: string): UsageError {
    const word = unmarked(typed)
    const words = this.entries.flatMap(({ word: long, alias }) => (alias === undefined ? [long] : [long, alias]))
    return new UsageError([`there is no command "${word}"`], this.line(nearestOf(word, words) ?? '--help'))
  }
}

type Given = Readonly<Record<string, unknown>>

/** Throws at an option that the command typed has not; cac lets some pass, and names others as nobody typed them. */
export function checkOptions(typed: readonly string[], { matchedCommand, globalCommand }: CAC): void {
  const options = [...(matchedCommand?.options ?? []), ...globalCommand.options]
  const known = options.flatMap(({ rawName }) => rawName.match(/--?[a-z-]+/g) ?? [])
  for (const word of typed.slice(0, endOfOptions(typed))) {
    const [option = ''] = word.split('=')
    if (!option.startsWith('-') || isNumeric(word) || known.includes(option)) continue
    const nearest = nearestOf(option, known)
    throw new Error(`there is no option ${option}${nearest === undefined ? '' : `; there is ${nearest}`}`)
  }
}

/** What the contract makes of the parameters; throws an error with a problem on each line. */
function checkedParams(role: Role, operation: string, params: object, fields: readonly Field[]) {
  const schema = operationsOf(role).get(operation)?.params
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
  throw new Error(problems.join('\n'))
}

/** The word that was most likely meant; undefined when none is near. */
export function nearestOf(typed: string, words: readonly string[]): string | undefined {
  const near = words.filter((word) => {
    return (typed !== '' && word.startsWith(typed)) || distance(typed, word) <= Math.max(2, Math.floor(word.length / 3))
  })
  return near.length === 0 ? undefined : closest(typed, near)
}

function optionsOf(given: Given): Options {
  const text = (name: string) => wordsOf(given[camelCase(name)]).at(-1)
  const texts = {
    passwordFile: text('password-file'),
    host: text('host'),
    port: text('port'),
    timeout: text('timeout'),
  }
  return {
    ...(Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== undefined)) as Partial<Options>),
    ...{ json: given.json === true, all: given.all === true, keepGoing: given.keepGoing === true },
    color: given.color !== false,
  }
}

/** The words that an option was given, each with what was typed. */
function wordsOf(value: unknown): string[] {
  if (value === undefined || value === false) return []
  return [value].flat().map((word) => unmarked(String(word)))
}

/** What no word can begin with that a system handed over. */
const MARK = '\0'

/**
 * cac makes a number of what looks like one (00123, 1e5, the empty word), a
 * flag of what is below zero, and a boolean of "true"; what stands behind "--"
 * it puts aside. Marked words it leaves as they were typed. A flag it knows
 * only by its name in camel case; what follows another it takes for a value.
 */
function asTyped(words: readonly string[]): string[] {
  const end = endOfOptions(words)
  const marked = words.slice(0, end).map((word) => {
    const [, option = '', value = word] = /^(--[^=]+=)(.*)$/s.exec(word) ?? []
    const plain = !isNumeric(value) && value !== 'true' && value !== 'false'
    return (plain ? word : option + MARK + value).replace(/(?<=^--)(?!no-)[^=]+/, camelCase)
  })
  return [...marked, ...words.slice(end + 1).map((word) => MARK + word)]
}

function unmarked(word: string): string {
  return word.startsWith(MARK) ? word.slice(MARK.length) : word
}

/** Where "--" stands, or would. */
function endOfOptions(words: readonly string[]): number {
  return words.includes('--') ? words.indexOf('--') : words.length
}

function isNumeric(word: string): boolean {
  return !Number.isNaN(Number(word))
}

function camelCase(label: string): string {
  return label.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
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
