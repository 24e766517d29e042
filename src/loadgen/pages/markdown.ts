/** Markdown tables and numbers as the reports write them. */

export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => {
    if (cells.length !== heads.length) throw new Error(`${cells.length} cells under ${heads.length} heads`)
    return `| ${cells.join(' | ')} |`
  }
  return [line(heads), line(heads.map((_, column) => (column === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

/** Three significant digits, thousands apart: 0.0123, 1.23, 12.3, 123, 1,230. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  const rounded = Number(value.toPrecision(3))
  return rounded.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export function times(value: number): string {
  return `${number(value)}×`
}
