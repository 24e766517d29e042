/**
 * Tables that fit a terminal: columns get what they need; where that is too
 * much, those that may shrink do, the widest first; where even that does not
 * fit, each row becomes a few lines of its own. Nothing but a terminal gets
 * cells cut.
 */

import widthOf from 'fast-string-truncated-width'

export interface Column {
  title: string
  /** Numbers stand at the right edge. */
  right?: true
  /** May be cut, with an ellipsis, when the terminal is too narrow. */
  shrinks?: true
}

const GAP = '  '
const LEAST_WIDTH = 8
const ELLIPSIS = '…'
/** Made when first needed: that takes as long as reading half of souk. */
let characters: Intl.Segmenter | undefined

/** Columns are as wide as the first rows need: what comes later, page by page, stands in the same columns. */
export class Table {
  readonly #columns: readonly Column[]
  readonly #width: number | undefined
  /** Undefined before the first rows, and where rows stand as lines. */
  #widths: readonly number[] | undefined
  #begun = false

  /** `width` is the terminal's, if there is one. */
  constructor(columns: readonly Column[], width: number | undefined) {
    this.#columns = columns
    this.#width = width
  }

  /** The lines of some rows, after those of the heading if they are the first; `heading` dresses it. */
  lines(rows: readonly (readonly string[])[], heading: (text: string) => string): string[] {
    const clean = rows.map((row) => row.map(printable))
    const head: string[] = []
    if (!this.#begun) {
      this.#begun = true
      this.#widths = this.#fitting(clean)
      if (this.#widths !== undefined) head.push(heading(this.#row(this.#columns.map(({ title }) => title))))
    }
    return [...head, ...clean.flatMap((row) => (this.#widths === undefined ? this.#upright(row) : [this.#row(row)]))]
  }

  /** The width of each column; undefined if they don't fit. */
  #fitting(rows: readonly (readonly string[])[]): number[] | undefined {
    const widths = this.#columns.map(({ title }, index) =>
      Math.max(widthOf(title).width, ...rows.map((row) => widthOf(row[index] ?? '').width)),
    )
    if (this.#width === undefined) return widths
    const total = () => widths.reduce((sum, width) => sum + width, (widths.length - 1) * GAP.length)
    while (total() > this.#width) {
      const shrinking = widths.filter((width, index) => this.#columns[index]?.shrinks && width > LEAST_WIDTH)
      if (shrinking.length === 0) return undefined
      const widest = widths.findIndex(
        (width, index) => this.#columns[index]?.shrinks && width === Math.max(...shrinking),
      )
      widths[widest] = (widths[widest] as number) - 1
    }
    return widths
  }

  #row(cells: readonly string[]): string {
    const shown = cells.map((cell, index) => {
      const width = this.#widths?.[index] ?? 0
      const text = this.#width === undefined ? cell : cut(cell, width)
      const blanks = ' '.repeat(Math.max(0, width - widthOf(text).width))
      return this.#columns[index]?.right ? blanks + text : text + blanks
    })
    return shown.join(GAP).trimEnd()
  }

  /** A row that is too wide for the terminal: a line for each cell that is not empty. */
  #upright(cells: readonly string[]): string[] {
    const longest = Math.max(...this.#columns.map(({ title }) => title.length))
    const lines = this.#columns.map(({ title }, index) => `${title.padEnd(longest)}  ${cells[index] ?? ''}`)
    return [...lines.filter((_, index) => cells[index] !== '').map((line) => cut(line, this.#width ?? line.length)), '']
  }
}

/** What others have written must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '?')
}

/** To the width, at the end of a whole character, as people count them. */
function cut(text: string, width: number): string {
  if (widthOf(text).width <= width) return text
  characters ??= new Intl.Segmenter()
  let left = width - widthOf(ELLIPSIS).width
  let shown = ''
  for (const { segment } of characters.segment(text)) {
    left -= widthOf(segment).width
    if (left < 0) break
    shown += segment
  }
  return shown + ELLIPSIS
}
