/**
 * The words of a command line, parsed by cac. Every word comes out exactly as
 * it was typed, even if it looks like a number or a boolean; unknown options and
 * surplus words are refused.
 */

import { type CAC, cac } from 'cac'
import { closest, distance } from 'fastest-levenshtein'
import { UsageError } from './failures.ts'

export interface CommandSyntax {
  word: string
  /** A short name. */
  alias?: string | undefined
  /** As help shows them: <name>, [...keywords]. */
  args: readonly string[]
  options: readonly OptionSyntax[]
}

export interface OptionSyntax {
  /** As help shows it: --price <price>. */
  usage: string
  /** Its long name: --price. */
  word: string
  takesValue: boolean
  about: string
}

export function defineOption(usage: string, about: string): OptionSyntax {
  const [word = ''] = /--[a-z-]+/.exec(usage) ?? []
  return { usage, word, takesValue: usage.includes('<'), about }
}

export interface ProgramSyntax<C extends CommandSyntax> {
  commands: readonly C[]
  /** Options of every command, which may also stand without one. */
  options: readonly OptionSyntax[]
  /** The error for a word that is no command. */
  unknown(word: string): UsageError
  /** What to type for the help of a command, or of the program. */
  hint(command: C | undefined): string
}

export interface Argv<C extends CommandSyntax> {
  /** Undefined if only options were typed. */
  command: C | undefined
  args: readonly string[]
  options: GivenOptions
  /** Set if help or the version was asked for; then nothing else was checked. */
  asksFor: 'help' | 'version' | undefined
}

/** The options that were typed, by name. */
export class GivenOptions {
  readonly #values: Readonly<Record<string, unknown>>

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values
  }

  /** True for a flag, false for its "no-" form, undefined without either. */
  flag(name: string): boolean | undefined {
    const value = [this.#values[toCamelCase(name)]].flat().at(-1)
    return value === undefined ? undefined : value === true
  }

  /** The values of an option, each as it was typed. */
  words(name: string): string[] {
    const values = [this.#values[toCamelCase(name)]].flat()
    return values
      .filter((value) => typeof value !== 'boolean' && value !== undefined)
      .map((value) => unmark(String(value)))
  }

  /** The value of an option that may be given once, as a list of one or none. Throws `UsageError` for a second value. */
  atMostOne(name: string): string[] {
    const words = this.words(name)
    if (words.length > 1) throw new UsageError([`--${name} is given more than once`])
    return words
  }

  /** The value of an option that may be given once. Throws `UsageError` for a second value. */
  word(name: string): string | undefined {
    return this.atMostOne(name)[0]
  }
}

/** Throws `UsageError`. */
export function parseArgv<C extends CommandSyntax>(program: ProgramSyntax<C>, words: readonly string[]): Argv<C> {
  const parser = createParser(program)
  const parsed = parser.parse(['', '', ...mark(words)], { run: false })
  const command = program.commands.find(({ word }) => word === parser.matchedCommand?.name)
  const args = parsed.args.map((word) => unmark(String(word)))
  const isAsked = (name: 'help' | 'version') => parsed.options[name] && parser.globalCommand.hasOption(name)
  const asksFor = isAsked('help') ? 'help' : isAsked('version') ? 'version' : undefined
  if (asksFor === undefined) {
    if (command === undefined && args[0] !== undefined) throw program.unknown(args[0])
    withHint(program.hint(command), () => {
      checkOptions(words, [...(command?.options ?? []), ...program.options])
      checkSurplus(args, command)
    })
  }
  return { command, args, options: new GivenOptions(parsed.options), asksFor }
}

/** A new one for each command line: cac keeps what it has parsed. */
function createParser<C extends CommandSyntax>({ commands, options }: ProgramSyntax<C>): CAC {
  const parser = cac('souk')
  for (const { usage } of options) parser.option(usage, '')
  for (const { word, alias, args, options } of commands) {
    const command = parser.command([word, ...args].join(' '))
    if (alias !== undefined) command.alias(alias)
    for (const { usage } of options) command.option(usage, '')
  }
  return parser
}

/** Adds a hint to a `UsageError` that has none. */
export function withHint<T>(hint: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw error instanceof UsageError ? new UsageError([error.message], error.hint ?? hint) : error
  }
}

/** Refuses unknown options, options without their value, and flags with a value. */
function checkOptions(words: readonly string[], options: readonly OptionSyntax[]): void {
  const named = options.map((option) => ({ ...option, names: option.usage.match(/--?[a-z-]+/g) ?? [] }))
  const typed = words.slice(0, findEndOfOptions(words))
  for (const [index, word] of typed.entries()) {
    const [name = '', value] = word.split('=')
    if (!name.startsWith('-') || isNumeric(word)) continue
    const option = named.find(({ names }) => names.some((known) => known === name))
    if (option === undefined) {
      const nearest = findNearest(
        name,
        named.flatMap(({ names }) => names),
      )
      throw new UsageError([`there is no option ${name}${nearest === undefined ? '' : `; there is ${nearest}`}`])
    }
    if (!option.takesValue && value !== undefined) throw new UsageError([`${name} takes no value`])
    const next = typed[index + 1]
    const isAlone = value === undefined && (next === undefined || (next.startsWith('-') && !isNumeric(next)))
    if (option.takesValue && isAlone) throw new UsageError([`${name} needs a value`])
  }
}

function checkSurplus(args: readonly string[], command: CommandSyntax | undefined): void {
  if (command === undefined || command.args.some((arg) => arg.startsWith('[...'))) return
  const surplus = args[command.args.length]
  if (surplus !== undefined) throw new UsageError([`"${surplus}" is one word too many`])
}

/** The word that was most likely meant; undefined if none is near. */
export function findNearest(typed: string, words: readonly string[]): string | undefined {
  const near = words.filter((word) => {
    return (typed !== '' && word.startsWith(typed)) || distance(typed, word) <= Math.max(2, Math.floor(word.length / 3))
  })
  return near.length === 0 ? undefined : closest(typed, near)
}

/** No word that the system hands over can contain it. */
const MARK = '\0'

/**
 * Marks the words that cac would change: it turns what looks like a number
 * (00123, 1e5, the empty word) into one, a negative number into a flag, and
 * "true" into a boolean; and it sets aside the words after "--". Option names
 * become camel case, the only form in which cac recognises a flag: in any other
 * form it would take the next word for the flag's value.
 */
function mark(words: readonly string[]): string[] {
  const end = findEndOfOptions(words)
  const marked = words.slice(0, end).map((word) => {
    const [, option = '', value = word] = /^(--[^=]+=)(.*)$/s.exec(word) ?? []
    const isSafe = !isNumeric(value) && value !== 'true' && value !== 'false'
    return (isSafe ? word : option + MARK + value).replace(/(?<=^--)(?!no-)[^=]+/, toCamelCase)
  })
  return [...marked, ...words.slice(end + 1).map((word) => MARK + word)]
}

function unmark(word: string): string {
  return word.startsWith(MARK) ? word.slice(MARK.length) : word
}

/** The index of "--", or the number of words. */
function findEndOfOptions(words: readonly string[]): number {
  return words.includes('--') ? words.indexOf('--') : words.length
}

function isNumeric(word: string): boolean {
  return !Number.isNaN(Number(word))
}

function toCamelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
