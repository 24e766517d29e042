/** The pages that `--help` prints: examples first, then usage, at the width of the terminal. */

/** A part that is absent or empty gets no section. */
export interface HelpPage {
  title: string
  /** What to type, also in `usage` and `alias`. */
  examples: readonly string[]
  usage: string
  alias?: string | undefined
  commands?: readonly HelpRow[]
  args?: readonly HelpRow[]
  options: readonly HelpRow[]
}

export type HelpRow = readonly [name: string, about: string]

const USUAL_COLUMNS = 80
/** Longer lines are hard to read. */
const MOST_COLUMNS = 120
/** If less is left beside the names, descriptions go below them. */
const LEAST_ABOUT_COLUMNS = 30
const MARGIN = '  '
const GAP = '  '
const DEEP_MARGIN = '      '

export function formatHelp({ title, examples, usage, alias, commands, args, options }: HelpPage): string {
  const columns = Math.min(process.stdout.columns || Number(process.env.COLUMNS) || USUAL_COLUMNS, MOST_COLUMNS)
  const sections = [
    ['Examples', examples.map(toShellInput)],
    ['Usage', [toShellInput(usage)]],
    ['Short', alias === undefined ? [] : [toShellInput(alias)]],
    ['Commands', formatRows(commands ?? [], columns)],
    ['Arguments', formatRows(args ?? [], columns)],
    ['Options', formatRows(options, columns)],
  ] as const
  const shown = sections.filter(([, lines]) => lines.length > 0).map(([name, lines]) => `${name}:\n${lines.join('\n')}`)
  return [wrap(title, columns).join('\n'), ...shown].join('\n\n')
}

function toShellInput(input: string): string {
  return `${MARGIN}$ ${input}`
}

/** Names, and beside them their descriptions, wrapped; on a narrow terminal these stand below. */
function formatRows(rows: readonly HelpRow[], columns: number): string[] {
  const longest = Math.max(...rows.map(([name]) => name.length))
  const indent = MARGIN.length + longest + GAP.length
  const isBeside = columns - indent >= LEAST_ABOUT_COLUMNS
  return rows.flatMap(([name, about]) => {
    if (!isBeside)
      return [MARGIN + name, ...wrap(about, columns - DEEP_MARGIN.length).map((text) => DEEP_MARGIN + text)]
    const [first = '', ...others] = wrap(about, columns - indent)
    return [MARGIN + name.padEnd(longest) + GAP + first, ...others.map((text) => ' '.repeat(indent) + text)]
  })
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
