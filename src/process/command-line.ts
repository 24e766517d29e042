/**
 * The words of a command line, for all three programs. Every word comes out
 * exactly as it was typed, even if it looks like a number or a boolean; unknown
 * options and surplus words are refused.
 */

import { closest, distance } from 'fastest-levenshtein'

/** The input is nothing that can be carried out. */
export class UsageError extends Error {
  /** What to type instead. */
  readonly hint: string | undefined
  constructor(problems: readonly string[], hint?: string) {
    super(problems.join('\n'))
    this.hint = hint
  }
}

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
  /** May be given several times, with another value each. */
  repeats: boolean
  about: string
}

export function defineOption(usage: string, about: string, { repeats = false } = {}): OptionSyntax {
  const [word = ''] = /--[a-z-]+/.exec(usage) ?? []
  return { usage, word, takesValue: usage.includes('<'), repeats, about }
}

export const HELP_OPTION = defineOption('-h, --help', 'print this help')
export const VERSION_OPTION = defineOption('-v, --version', 'print the version')

export interface ProgramSyntax<C extends CommandSyntax> {
  commands: readonly C[]
  /** What may stand in place of a command, if anything: [role]. */
  args?: readonly string[]
  /** Options of every command, which may also stand without one. */
  options: readonly OptionSyntax[]
}

export interface Argv<C extends CommandSyntax> {
  /** Undefined if none was typed, or one that does not exist. */
  command: C | undefined
  /** The word in place of a command that is none. */
  unknown: string | undefined
  /** The words that are neither the command nor options. */
  args: readonly string[]
  options: GivenOptions
  /** Set if help or the version was asked for; then nothing else was checked. */
  asksFor: 'help' | 'version' | undefined
  /** What is wrong with the options, and whether words are too many. */
  problems: readonly string[]
}

/** An option as it was typed. */
interface Given {
  name: string
  option: OptionSyntax | undefined
  value: string | undefined
}

/** The options that were typed, by name. */
export class GivenOptions {
  readonly #given: readonly Given[]

  constructor(given: readonly Given[]) {
    this.#given = given
  }

  flag(name: string): boolean {
    return this.#given.some(({ option }) => option?.word === `--${name}`)
  }

  /** The values of an option, each as it was typed. */
  words(name: string): string[] {
    return this.#given.flatMap(({ option, value }) => (option?.word === `--${name}` ? (value ?? []) : []))
  }

  /** The value of an option that may be given once. */
  word(name: string): string | undefined {
    return this.words(name)[0]
  }
}

export function parseArgv<C extends CommandSyntax>(program: ProgramSyntax<C>, words: readonly string[]): Argv<C> {
  const everyOption = [...program.options, ...program.commands.flatMap(({ options }) => options)]
  const { given, rest } = separate(words, everyOption)
  const [first] = rest
  const command = program.commands.find(({ word, alias }) => first !== undefined && [word, alias].includes(first))
  const args = command === undefined ? rest : rest.slice(1)
  const options = new GivenOptions(given)
  const asksFor = options.flag('help') ? 'help' : options.flag('version') ? 'version' : undefined
  const isNone = command === undefined && program.args === undefined && first !== undefined
  const allowed = isNone ? everyOption : [...(command?.options ?? []), ...program.options]
  const surplus = isNone ? [] : findSurplus(args, command?.args ?? program.args ?? [])
  const problems = [...findOptionProblems(given, allowed), ...surplus]
  return { command, unknown: isNone ? first : undefined, args, options, asksFor, problems }
}

/**
 * Options may stand before, between and behind the other words; behind "--" there are none. Words behind an unknown
 * option may be its values, and are left out.
 */
function separate(words: readonly string[], options: readonly OptionSyntax[]): { given: Given[]; rest: string[] } {
  const given: Given[] = []
  const rest: string[] = []
  let isLost = false
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] as string
    if (word === '--') {
      if (!isLost) rest.push(...words.slice(at + 1))
      break
    }
    if (!isOption(word)) {
      if (!isLost) rest.push(word)
      continue
    }
    const [name, inline] = cut(word, '=')
    const option = options.find((known) => namesOf(known).includes(name))
    const next = words[at + 1]
    const takesNext = option?.takesValue && inline === undefined && next !== undefined && !isOption(next)
    if (takesNext) at += 1
    given.push({ name, option, value: takesNext ? next : inline })
    isLost ||= option === undefined
  }
  return { given, rest }
}

/** A lone dash and a negative number are none. */
function isOption(word: string): boolean {
  return /^-[^\d.]/.test(word)
}

function cut(word: string, separator: string): [before: string, behind: string | undefined] {
  const at = word.indexOf(separator)
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)]
}

/** The long name and, if it has one, the short one. */
function namesOf({ usage }: OptionSyntax): readonly string[] {
  return usage.match(/(?<![\w-])--?[a-z-]+/g) ?? []
}

/** Unknown options, options without their value or given twice, and flags with a value. */
function findOptionProblems(given: readonly Given[], allowed: readonly OptionSyntax[]): string[] {
  const problems = given.flatMap(({ name, option, value }) => {
    if (option === undefined || !allowed.some(({ word }) => word === option.word)) {
      const nearest = findNearest(name, allowed.flatMap(namesOf))
      return [`there is no option ${name}${nearest === undefined ? '' : `; there is ${nearest}`}`]
    }
    if (option.takesValue && value === undefined) return [`${name} needs a value`]
    if (!option.takesValue && value !== undefined) return [`${name} takes no value`]
    const isRepeated = given.filter((other) => other.option?.word === option.word).length > 1
    return option.takesValue && !option.repeats && isRepeated ? [`${option.word} is given more than once`] : []
  })
  return [...new Set(problems)]
}

/** `expected` are the arguments as help shows them. */
function findSurplus(args: readonly string[], expected: readonly string[]): string[] {
  if (expected.some((arg) => arg.startsWith('[...'))) return []
  return args.slice(expected.length, expected.length + 1).map((word) => `"${word}" is one word too many`)
}

/** The word that was most likely meant, all in lower case; undefined if none is near. */
export function findNearest(input: string, words: readonly string[]): string | undefined {
  const typed = input.toLowerCase()
  const near = words.filter((word) => {
    return (typed !== '' && word.startsWith(typed)) || distance(typed, word) <= mostTypos(word)
  })
  return near.length === 0 ? undefined : closest(typed, near)
}

/** With two of three letters wrong, another word was meant. */
function mostTypos(word: string): number {
  return word.replace(/^-+/, '').length <= 3 ? 1 : Math.max(2, Math.floor(word.length / 3))
}

/** Adds a hint to a `UsageError` that has none. */
export function withHint<T>(hint: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw addHint(error, hint)
  }
}

export function addHint(error: unknown, hint: string): unknown {
  return error instanceof UsageError ? new UsageError([error.message], error.hint ?? hint) : error
}
