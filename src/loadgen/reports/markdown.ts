/** Markdown tables, and numbers as the reports write them. */

/** The first `texts` columns are aligned left, the others right. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], texts = 1): string {
  const formatRow = (cells: readonly string[]) => {
    if (cells.length !== heads.length) throw new Error(`${cells.length} cells under ${heads.length} heads`)
    return `| ${cells.join(' | ')} |`
  }
  const rule = heads.map((_, column) => (column < texts ? '---' : '---:'))
  return [formatRow(heads), formatRow(rule), ...rows.map(formatRow)].join('\n')
}

export function list(sentences: readonly string[]): string {
  return sentences.map((sentence) => `- ${sentence}`).join('\n')
}

/** Three significant digits, with thousands separators: 0.0123, 1.23, 12.3, 123, 1,230. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  const rounded = Number(value.toPrecision(3))
  return rounded.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** Every digit of a count, with thousands separators. */
export function count(value: number): string {
  return value.toLocaleString('en')
}

export function times(value: number): string {
  return `${number(value)}×`
}

/** `1 client`, `2 clients`. */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}
