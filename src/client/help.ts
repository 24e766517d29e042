/** What `--help` prints: examples first, then how it is used, at the width of the terminal. */

import type { Role } from '../contract/operations.ts'
import { VERSION } from '../process/start.ts'
import type { CommandEntry, Commands } from './commands.ts'

interface Section {
  title?: string
  body: string
}

const USUAL_COLUMNS = 80
/** Longer lines are hard to read. */
const MOST_COLUMNS = 120
/** Below this, what an option is about stands on lines of its own. */
const LEAST_ABOUT = 30

/** The sections that cac would print, in order and filled in. */
export function helpOf<R extends Role>(
  commands: Commands<R>,
  entry: CommandEntry<R> | undefined,
  sections: readonly Section[],
): Section[] {
  const columns = columnsOfHelp()
  const section = (wanted: string) => sections.filter(({ title }) => title === wanted)
  const wrapped = ({ body, ...rest }: Section) => ({ ...rest, body: inColumns(body, columns) })
  const typed = ({ body, ...rest }: Section) => ({ ...rest, body: body.replace(`$ ${commands.role} `, '$ ') }) // in a shell
  const usage = section('Usage').map(withoutBlanks).map(typed)
  const options = section('Options')
    .map(withoutDefaults(entry === undefined))
    .map(wrapped)
  if (entry === undefined) {
    const list = wrapped({ title: 'Commands', body: listOf(commands) })
    return [{ body: `souk ${VERSION}, for ${commands.role}s` }, ...examplesOf(commands), ...usage, list, ...options]
  }
  const about = { body: wrap(`${entry.about}.`, columns).join('\n') }
  const alias = entry.alias === undefined ? [] : [{ title: 'Short', body: `  $ ${commands.line(entry.alias)}` }]
  const positional = wrapped({ title: 'Arguments', body: entry.positional.map(argumentLine).join('\n') })
  const args = entry.positional.length > 0 ? [positional] : []
  return [about, ...section('Examples'), ...usage, ...alias, ...args, ...options]
}

/** The sections of the program itself, or of one of its own commands. */
export function helpOfProgram(
  sections: readonly Section[],
  command: { name: string; description: string } | undefined,
): Section[] {
  const columns = columnsOfHelp()
  const section = (wanted: string) => sections.filter(({ title }) => title === wanted)
  const parts = [
    ...section('Usage').map(withoutBlanks),
    ...section('Commands'),
    ...section('Options').map(withoutDefaults(true)),
  ]
  const rest = parts.map(({ body, ...named }) => ({ ...named, body: inColumns(body, columns) }))
  if (command !== undefined) return [{ body: `${command.description}.` }, ...section('Examples'), ...rest]
  return [{ body: `souk ${VERSION}, an online marketplace` }, { title: 'Examples', body: PROGRAM_EXAMPLES }, ...rest]
}

const PROGRAM_EXAMPLES = [
  '  $ souk buyer create-account ann "Ann Lee"',
  '  $ souk buyer',
  '  $ souk seller display-items-for-sale --json',
  '  $ souk status',
].join('\n')

/** cac says of --no-color that it is on unless it is given; and --keep-going is for no single command. */
function withoutDefaults(isForMany: boolean): (section: Section) => Section {
  return ({ body, ...rest }) => {
    const lines = body.split('\n').filter((line) => isForMany || !line.includes('--keep-going'))
    return { ...rest, body: lines.join('\n').replaceAll(' (default: true)', '') }
  }
}

function withoutBlanks({ body, ...rest }: Section): Section {
  return { ...rest, body: body.trimEnd() }
}

function columnsOfHelp(): number {
  return Math.min(process.stdout.columns || Number(process.env.COLUMNS) || USUAL_COLUMNS, MOST_COLUMNS)
}

/** A first session of the role. */
function examplesOf<R extends Role>(commands: Commands<R>): Section[] {
  const words =
    commands.role === 'buyer' ? ['login', 'search_items', 'make_purchase'] : ['login', 'register_item_for_sale']
  const examples = words.flatMap((word) => commands.entries.filter(({ operation }) => operation === word))
  return [
    {
      title: 'Examples',
      body: examples.map(({ examples: [first] }) => `  $ ${commands.line(first ?? '')}`).join('\n'),
    },
  ]
}

/** What only the lines of a shell and of a script can say. */
const OF_LINES = [
  ['help', 'List the commands, or tell about one'],
  ['status', 'Tell which servers answer and how fast'],
  ['exit, quit', 'Leave'],
] as const

function listOf<R extends Role>({ entries, inShell }: Commands<R>): string {
  const named = entries.map(
    ({ word, alias, about }) => [alias === undefined ? word : `${word}, ${alias}`, about] as const,
  )
  const rows = [...named, ...(inShell ? OF_LINES : [])]
  const longest = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, about]) => `  ${name.padEnd(longest)}  ${inShort(about)}`).join('\n')
}

/** Up to where the details begin, which a command's own help has. */
function inShort(about: string): string {
  return about.split(/[:;,]/)[0] ?? about
}

function argumentLine({ label, about, expected, name, list }: CommandEntry<Role>['positional'][number]): string {
  return `  ${list ? name : label}  ${expected === undefined ? about : `${about}: ${expected}`}`
}

/** Lines of a name, at least two blanks, and what it is about: the latter wrapped in its column. */
function inColumns(body: string, columns: number): string {
  const lines = body.split('\n').map((line) => /^( {2}.*?) {2,}(\S.*)$/.exec(line.trimEnd()) ?? [line, line, ''])
  const indent = Math.max(...lines.map(([, name = '']) => name.length)) + 2
  const beside = columns - indent >= LEAST_ABOUT
  return lines
    .flatMap(([, name = '', about = '']) => {
      const [first = '', ...others] = wrap(about, beside ? columns - indent : columns - 6)
      const rest = others.map((text) => ' '.repeat(beside ? indent : 6) + text)
      return beside ? [`${name.padEnd(indent)}${first}`.trimEnd(), ...rest] : [name, `      ${first}`, ...rest]
    })
    .join('\n')
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
