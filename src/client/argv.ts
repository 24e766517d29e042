/**
 * The words of a command line, read by cac, which is not let near what they
 * say: numbers, blanks and dashes come out as they were typed, and what no
 * command has is refused.
 */

import type { CAC, Command } from 'cac'
import { closest, distance } from 'fastest-levenshtein'
import { UsageError } from './failures.ts'

export interface Read {
  /** Undefined where nothing but options was typed. */
  command: Command | undefined
  args: readonly string[]
  options: Given
}

/** The options of a command line, by their names. Throws `UsageError` for one word too many. */
export class Given {
  readonly #values: Readonly<Record<string, unknown>>

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values
  }

  /** Whether a flag was given, and not with "no-". */
  flag(name: string): boolean | undefined {
    const value = [this.#values[camelCase(name)]].flat().at(-1)
    return value === undefined ? undefined : value === true
  }

  /** The words that an option was given, each as it was typed. */
  words(name: string): string[] {
    const values = [this.#values[camelCase(name)]].flat()
    return values
      .filter((value) => typeof value !== 'boolean' && value !== undefined)
      .map((value) => unmarked(String(value)))
  }

  /** The word of an option that can be given once, if it is. */
  atMostOne(name: string): string[] {
    const words = this.words(name)
    if (words.length > 1) throw new UsageError([`--${name} is given more than once`])
    return words
  }

  word(name: string): string | undefined {
    return this.atMostOne(name)[0]
  }
}

/** What the program's commands make of what was typed, and what they say of it. */
export interface Program {
  cac: CAC
  unknown(word: string): UsageError
  /** What to type for the help of a command. */
  help(command: Command | undefined): string
}

/** Undefined when help or the version was asked for, which is then printed. Throws `UsageError`. */
export function readWords({ cac, unknown, help }: Program, words: readonly string[]): Read | undefined {
  const parsed = cac.parse(['', '', ...asTyped(words)], { run: false })
  const command = cac.matchedCommand
  const args = parsed.args.map((word) => unmarked(String(word)))
  if (parsed.options.help || (parsed.options.version && command === undefined)) return undefined
  if (command === undefined && args[0] !== undefined) throw unknown(args[0])
  return advised(help(command), () => {
    checkOptions(words, cac)
    if (parsed.options.version) cac.outputVersion()
    if (parsed.options.version) return undefined
    const isOpen = command === undefined || command.args.some(({ variadic }) => variadic)
    const surplus = isOpen ? undefined : args[command.args.length]
    if (surplus !== undefined) throw new UsageError([`"${surplus}" is too much`])
    return { command, args, options: new Given(parsed.options) }
  })
}

/** Adds to what is wrong where to read on. */
export function advised<T>(next: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof UsageError ? new UsageError([error.message], error.next ?? next) : error
  }
}

/** Refuses options that the command has not, or that lack their value or have one too many. */
function checkOptions(words: readonly string[], { matchedCommand, globalCommand }: CAC): void {
  const options = [...(matchedCommand?.options ?? []), ...globalCommand.options]
  const names = (rawName: string): string[] => rawName.match(/--?[a-z-]+/g) ?? []
  const known = options.flatMap(({ rawName }) => names(rawName))
  const end = endOfOptions(words)
  for (const [index, word] of words.slice(0, end).entries()) {
    const [name = '', value] = word.split('=')
    if (!name.startsWith('-') || isNumeric(word)) continue
    const option = options.find(({ rawName }) => names(rawName).includes(name))
    const nearest = nearestOf(name, known)
    if (option === undefined)
      throw new UsageError([`there is no option ${name}${nearest === undefined ? '' : `; there is ${nearest}`}`])
    if (option.isBoolean && value !== undefined) throw new UsageError([`${name} takes no value`])
    const next = words.slice(0, end)[index + 1]
    const isAlone = value === undefined && (next === undefined || (next.startsWith('-') && !isNumeric(next)))
    if (option.required && isAlone) throw new UsageError([`${name} lacks its value`])
  }
}

/** The word that was most likely meant; undefined when none is near. */
export function nearestOf(typed: string, words: readonly string[]): string | undefined {
  const near = words.filter((word) => {
    return (typed !== '' && word.startsWith(typed)) || distance(typed, word) <= Math.max(2, Math.floor(word.length / 3))
  })
  return near.length === 0 ? undefined : closest(typed, near)
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

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
