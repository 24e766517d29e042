/**
 * Text that others have written, on a terminal: it can neither steer the
 * terminal nor turn what stands beside it, and its width is known. A width is
 * that of terminals that draw each character by itself: others need less.
 */

import measure from 'fast-string-truncated-width'

const ELLIPSIS = '…'
const LEFT_TO_RIGHT = '\u200e'
/** The blocks of scripts that run from right to left, and the mark that runs like them. */
const RIGHT_TO_LEFT = '\\u0590-\\u08ff\\u200f\\ufb1d-\\ufdff\\ufe70-\\ufefc\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}'
/** From the first such letter to the last, if no other letter stands between. */
const RIGHT_TO_LEFT_RUNS = new RegExp(
  `[${RIGHT_TO_LEFT}](?:[^[\\p{L}--[${RIGHT_TO_LEFT}]]]*[${RIGHT_TO_LEFT}])?[\\p{M}\\u200c\\u200d]*`,
  'gv',
)
/** Drawn over the character before them, or not at all. */
const WITHOUT_WIDTH = /[\p{Mn}\p{Me}\u1160-\u11ff\ud7b0-\ud7ff\u200b-\u200f\u2060-\u2064\ufeff\u{e0000}-\u{e0fff}]/gu
/** Made wide by the selector behind them, or colours of the emoji before, which some draw beside it. */
const EMOJI_PARTS = /.\ufe0f|[\u{1f3fb}-\u{1f3ff}]/gsu

/** Created when it is first needed: that takes as long as loading half of souk. */
let segmenter: Intl.Segmenter | undefined

/** Writes characters that steer a terminal or turn text as JSON does. In JSON, this changes no value. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/**
 * Keeps words that run from right to left apart from what stands beside them: numbers behind them would change places.
 * The marks around them have no width on any terminal, unlike the newer isolates.
 */
export function keepDirection(text: string): string {
  return isPlain(text) ? text : text.replace(RIGHT_TO_LEFT_RUNS, `${LEFT_TO_RIGHT}$&${LEFT_TO_RIGHT}`)
}

/** Printable ASCII, which is as wide everywhere. */
export function isPlain(text: string): boolean {
  return /^[ -~]*$/.test(text)
}

/** The cells of a terminal that the text takes, at most. */
export function measureWidth(text: string): number {
  if (isPlain(text)) return text.length
  const drawn = text
    .replace(EMOJI_PARTS, '  ')
    .replace(/\p{Mc}/gu, ' ')
    .replace(WITHOUT_WIDTH, '')
  return measure(drawn).width
}

/** Cuts text to a width, at the end of a whole character, as people count characters. */
export function cut(text: string, width: number): string {
  if (measureWidth(text) <= width) return text
  segmenter ??= new Intl.Segmenter()
  let left = width - measureWidth(ELLIPSIS)
  let shown = ''
  for (const { segment } of segmenter.segment(text)) {
    left -= measureWidth(segment)
    if (left < 0) break
    shown += segment
  }
  return shown + ELLIPSIS
}
