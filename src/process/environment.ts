/**
 * What a program is given from outside, before it reads any of it: its
 * arguments, its environment, and `.env` in the working folder. An empty
 * variable counts as not set.
 */

import { isUtf8 } from 'node:buffer'
import { readFileSync, statSync } from 'node:fs'
import { closest, distance } from 'fastest-levenshtein'
import { UsageError } from './command-line.ts'
import { writeLine } from './progress.ts'
import { decodeText, splitLines } from './text.ts'

const PREFIX = 'SOUK_'
/** The variables that souk reads: its own, and those that say where its folders are. */
const READ = /^(SOUK_|XDG_(STATE|DATA)_HOME$|HOME$)/
/** What Node puts in place of bytes that are not UTF-8. */
const REPLACED = '\u{FFFD}'

/**
 * The words that this program was started with. Node replaces bytes that are not UTF-8, so that two words could become
 * one. Linux still knows the bytes; elsewhere the replacement itself is refused. Throws `UsageError`.
 */
export function readArguments(): string[] {
  const words = process.argv.slice(2)
  if (!words.some((word) => word.includes(REPLACED))) return words
  const originals = readOriginals('cmdline')?.slice(-words.length)
  const problems = words.flatMap((word, index) => {
    return isIntact(word, originals?.[index]) ? [] : [`argument ${index + 1} is not UTF-8`]
  })
  if (problems.length > 0) throw new UsageError(problems)
  return words
}

/**
 * Reads `.env` into the environment, whose variables win, and notes each variable that is probably a misspelt one of
 * `known`. Throws `UsageError`.
 */
export function loadEnvironment(known: readonly string[]): void {
  checkVariables()
  for (const [name, value] of readDotEnv()) process.env[name] ||= value
  for (const name of Object.keys(process.env)) {
    if (!name.startsWith(PREFIX) || known.includes(name)) continue
    const meant = findMeant(name, known)
    if (meant === undefined) continue
    writeLine(process.stderr, `souk: ${name} is no setting, and is ignored; there is ${meant}`)
    delete process.env[name] // programs that this one starts need not say so again
  }
}

function checkVariables(): void {
  const read = Object.entries(process.env).filter(([name]) => READ.test(name))
  if (!read.some(([, value]) => value?.includes(REPLACED))) return
  const originals = readOriginals('environ')
  const problems = read.flatMap(([name, value = '']) => {
    const original = originals?.findLast((entry) => entry.toString().startsWith(`${name}=`))
    return isIntact(value, original) ? [] : [`${name} is not UTF-8`]
  })
  if (problems.length > 0) throw new UsageError(problems)
}

function isIntact(text: string, original: Buffer | undefined): boolean {
  return original === undefined ? !text.includes(REPLACED) : isUtf8(original)
}

/** What Linux keeps of the start of this process, cut at each NUL; undefined elsewhere. */
function readOriginals(file: 'cmdline' | 'environ'): Buffer[] | undefined {
  let bytes: Buffer
  try {
    bytes = readFileSync(`/proc/self/${file}`)
  } catch {
    return undefined
  }
  const entries: Buffer[] = []
  for (let at = 0, end = bytes.indexOf(0); end >= 0; at = end + 1, end = bytes.indexOf(0, at)) {
    entries.push(bytes.subarray(at, end))
  }
  return entries
}

/** A variable that is near to none belongs to another program. */
function findMeant(name: string, known: readonly string[]): string | undefined {
  const isNear = (one: string) => distance(name, one) <= Math.max(1, Math.floor((one.length - PREFIX.length) / 3))
  const near = known.filter(isNear)
  return near.length === 0 ? undefined : closest(name, near)
}

/*
 * An entry of `.env`: nothing, or a name and its value, in quotes or not; then a comment, if any. Node's own reader is
 * not used: it drops what it does not understand, and differs between versions.
 */
const NAME = String.raw`(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*`
const QUOTED = String.raw`"([^"]*)"|'([^']*)'|\x60([^\x60]*)\x60`
const UNQUOTED = String.raw`(?!["'\x60]|(?<=[ \t])#)([^ \t\n]*(?:[ \t]+(?!#)[^ \t\n]+)*)`
const COMMENT = String.raw`(?<![^ \t\n])#[^\n]*`
const ENTRY = new RegExp(String.raw`[ \t]*(?:${NAME}(?:${QUOTED}|${UNQUOTED}))?[ \t]*(?:${COMMENT})?(?:\n|$)`, 'y')

/** The variables in `.env`, the last of each name. A folder of that name holds no settings. Throws `UsageError`. */
function readDotEnv(): Map<string, string> {
  const text = splitLines(readSettingsFile()).join('\n')
  const variables = new Map<string, string>()
  const problems: string[] = []
  for (let at = 0; at < text.length; ) {
    ENTRY.lastIndex = at
    const entry = ENTRY.exec(text)
    if (entry === null) problems.push(`line ${splitLines(text.slice(0, at)).length} of .env must be NAME=value`)
    const [whole = text.slice(at).replace(/(?<=\n).*/s, ''), name, ...values] = entry ?? []
    if (name !== undefined) variables.set(name, values.find((value) => value !== undefined) ?? '')
    at += whole.length
  }
  if (problems.length > 0) throw new UsageError(problems)
  return variables
}

function readSettingsFile(): string {
  try {
    const isFile = statSync('.env', { throwIfNoEntry: false })?.isDirectory() === false
    return isFile ? decodeText(readFileSync('.env'), '.env') : ''
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError([`cannot read .env: ${(error as Error).message}`])
  }
}
