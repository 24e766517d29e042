/**
 * Tables that fit a terminal. Columns are as wide as their cells. If that is
 * too wide, the columns that may shrink do, the widest first; if it is still
 * too wide, each row becomes several lines, one for each cell. Without a
 * terminal, no cell is cut. Terminals differ in how wide they draw what is not
 * ASCII, so the cursor is set to the column behind it.
 */

import { cut, isPlain, keepDirection, measureWidth, printable } from './terminal-text.ts'

export interface Column {
  title: string
  /** Cells stand at the right edge, as numbers do. */
  right?: true
  /** Cells may be cut, with an ellipsis, if the terminal is too narrow. */
  shrinks?: true
}

const GAP = '  '
const LEAST_WIDTH = 8

/** The first rows decide how wide the columns are; later pages stand in the same columns. */
export class Table {
  readonly #columns: readonly Column[]
  readonly #terminalWidth: number | undefined
  readonly #movesCursor: boolean
  /** Undefined before the first rows, and when each row is several lines. */
  #widths: readonly number[] | undefined
  #hasBegun = false

  /** `terminalWidth` is undefined without a terminal; `movesCursor`: the terminal can. */
  constructor(columns: readonly Column[], terminalWidth: number | undefined, movesCursor = false) {
    this.#columns = columns
    this.#terminalWidth = terminalWidth
    this.#movesCursor = movesCursor && terminalWidth !== undefined
  }

  /** The rows as lines of text, after the heading if they are the first; `styleHeading` may add colours to it. */
  format(rows: readonly (readonly string[])[], styleHeading: (text: string) => string): string[] {
    const clean = rows.map((row) => row.map(printable))
    const heading: string[] = []
    if (!this.#hasBegun) {
      this.#hasBegun = true
      this.#widths = this.#fit(clean)
      const titles = this.#columns.map(({ title }) => title)
      if (this.#widths !== undefined) heading.push(styleHeading(this.#formatRow(titles)))
    }
    const isUpright = this.#widths === undefined
    return [...heading, ...clean.flatMap((row) => (isUpright ? this.#formatUpright(row) : [this.#formatRow(row)]))]
  }

  /** The width of each column; undefined if they do not fit. */
  #fit(rows: readonly (readonly string[])[]): number[] | undefined {
    const widths = this.#columns.map(({ title }, index) =>
      Math.max(title.length, ...rows.map((row) => measureWidth(row[index] ?? ''))),
    )
    if (this.#terminalWidth === undefined) return widths
    const total = () => widths.reduce((sum, width) => sum + width, (widths.length - 1) * GAP.length)
    while (total() > this.#terminalWidth) {
      const shrinking = widths.filter((width, index) => this.#columns[index]?.shrinks && width > LEAST_WIDTH)
      if (shrinking.length === 0) return undefined
      const widest = widths.findIndex(
        (width, index) => this.#columns[index]?.shrinks && width === Math.max(...shrinking),
      )
      widths[widest] = (widths[widest] as number) - 1
    }
    return widths
  }

  #formatRow(cells: readonly string[]): string {
    let line = ''
    let column = 1
    for (const [index, cell] of cells.entries()) {
      const width = this.#widths?.[index] ?? 0
      const text = this.#terminalWidth === undefined ? cell : cut(cell, width)
      const blanks = ' '.repeat(Math.max(0, width - measureWidth(text)))
      line += this.#columns[index]?.right ? blanks + this.#turn(text) : this.#turn(text) + blanks
      line += GAP
      column += width + GAP.length
      const isLast = index === cells.length - 1
      if (this.#movesCursor && !isLast && !isPlain(text)) line += `\x1b[${column}G`
    }
    return line.trimEnd()
  }

  #turn(text: string): string {
    return this.#terminalWidth === undefined ? text : keepDirection(text)
  }

  /** A row as lines: one for each cell that is not empty, then an empty one. */
  #formatUpright(cells: readonly string[]): string[] {
    const longest = Math.max(...this.#columns.map(({ title }) => title.length))
    const lines = this.#columns.map(({ title }, index) => `${title.padEnd(longest)}  ${cells[index] ?? ''}`)
    const shown = lines.filter((_, index) => cells[index] !== '')
    return [...shown.map((line) => this.#turn(cut(line, this.#terminalWidth ?? line.length))), '']
  }
}
