/**
 * Text that people write: which is accepted, in what form it is kept, and when
 * two words are the same. Every Node judges alike, except that an older one
 * doesn't know the accents and letters that Unicode has added since.
 */

import * as z from 'zod'

/** Show nothing wherever they stand: spaces, fillers, and what only programs read. */
const BLANK = '\\p{White_Space}\\p{Default_Ignorable_Code_Point}\\u2800\\ufff9-\\ufffc\\u{13430}-\\u{13442}\\u{1d159}'
/** Belong to the character before them, and show nothing alone: accents, joiners, marks of direction, tags of flags. */
const CLINGING = '\\p{M}\\u061c\\u200c-\\u200f\\u{e0020}-\\u{e007f}'
/** Show what each machine likes, if anything. */
const PRIVATE = '\\p{Co}\\p{Noncharacter_Code_Point}'
/** Control characters and halves of characters; what breaks a line, or turns the text behind it. */
const REFUSED = '\\p{Cc}\\p{Cs}\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069'

/** The UTF-16 units that become one character in normal form C, at most. */
const MOST_UNITS = 6

/** Text in normal form C, counted in code points. It begins with a character that shows, and ends with no space. */
export function text(longest: number) {
  const shows = `(?![${BLANK}${CLINGING}])(?=.*[^${BLANK}${CLINGING}${PRIVATE}])`
  const plain = `^[!-~](?:[ -~]{0,${longest - 2}}[!-~])?$` // most text, quickly recognized
  const fits = new RegExp(`${plain}|^${shows}[^${REFUSED}]{1,${longest}}$(?<![[${BLANK}]--[${CLINGING}]])`, 'v')
  return normalText(1, longest, fits, ', no control characters, no spaces or other invisible ones at its ends')
}

/** Text in which nothing needs to show: a password. */
export function hiddenText(least: number, longest: number) {
  return normalText(least, longest, new RegExp(`^[^\\p{Cc}\\p{Cs}]{${least},${longest}}$`, 'u'), '')
}

/** The length is looked at first: normalizing a long text takes long. */
function normalText(least: number, longest: number, fits: RegExp, form: string) {
  const error = `must have ${least} to ${longest} characters${form}`
  return z
    .string()
    .refine((given) => given.length <= longest * MOST_UNITS, { error, abort: true })
    .normalize('NFC')
    .refine((normal) => fits.test(normal), error)
    .meta({ minLength: least, maxLength: longest })
}

/** In lower case, and not longer: İ stays, since its lower case is two characters. */
export function lowerCase(text: string): string {
  return text.replace(/[^İ]+/g, (part) => part.toLowerCase()).normalize('NFC')
}

/**
 * The same for all words that differ only in case, in any language: for STRASSE, Straße and STRAẞE; for ΟΔΟΣ and οδος;
 * for I, i, İ and ı. It has at most three code points for each of the word's.
 */
export function fold(word: string): string {
  if (/^[ -~]*$/.test(word)) return word.toLowerCase()
  const lower = word.normalize('NFC').toLowerCase().normalize('NFC') // first, since only ß becomes SS, not ẞ
  const again = lower.toUpperCase().normalize('NFC').toLowerCase()
  return again
    .replaceAll('ς', 'σ')
    .replace(/i\p{M}+/gu, (dotted) => dotted.replaceAll('\u0307', ''))
    .normalize('NFC')
}

/** The words without those that an earlier one equals. */
export function distinctWords(words: readonly string[]): string[] {
  const folded = words.map(fold)
  return words.filter((_, index) => folded.indexOf(folded[index] as string) === index)
}
