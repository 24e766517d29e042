/**
 * Completion: the words that Tab offers, in souk's own shell and in bash, zsh
 * and fish, whose scripts run souk at each Tab.
 */

import { ROLES, type Role } from '../contract/operations.ts'
import type { OptionSyntax } from '../process/command-line.ts'
import { asTyped } from '../process/start.ts'
import { type CommandEntry, Commands } from './commands.ts'
import { UsageError } from './failures.ts'
import type { Field } from './fields.ts'

export interface Candidate {
  word: string
  about: string
}

/** The candidates for the word that begins with `begun` and follows `words`. */
export function findCandidates(
  commands: Commands<Role>,
  words: readonly string[],
  begun: string,
  seenItems: Iterable<number>,
): Candidate[] {
  const entry = commands.find(skipOptions(words, commands.options)[0])
  const options = [...(entry?.options ?? []), ...commands.options]
  const option = options.find(({ word, takesValue }) => takesValue && word === words.at(-1))
  const findAll = (): Candidate[] => {
    if (option !== undefined) return findValues(findField(entry, option), seenItems)
    if (begun.startsWith('-')) return options
    if (entry === undefined) return findCommands(commands, begun)
    return findValues(entry.positional[skipOptions(words, options).length - 1], seenItems)
  }
  return findAll()
    .filter(({ word }) => word.startsWith(begun))
    .map(({ word, about }) => ({ word, about }))
}

/** Offers a short name only if its long name does not begin with `begun`: otherwise the long name is enough. */
function findCommands({ entries }: Commands<Role>, begun: string): Candidate[] {
  return entries.flatMap(({ word, alias, about }) => {
    const short = alias !== undefined && !word.startsWith(begun) ? [{ word: alias, about }] : []
    return [{ word, about }, ...short]
  })
}

function findField(entry: CommandEntry<Role> | undefined, option: OptionSyntax): Field | undefined {
  return entry?.named.find(({ label }) => option.word === `--${label}`)
}

function findValues(field: Field | undefined, seenItems: Iterable<number>): Candidate[] {
  if (field?.name === 'item_id') return [...seenItems].map((id) => ({ word: String(id), about: 'item' }))
  return (field?.choices ?? []).map((word) => ({ word, about: field?.about ?? '' }))
}

/** The words that are neither options nor their values. */
function skipOptions(words: readonly string[], options: readonly OptionSyntax[]): readonly string[] {
  const takesValue = (word: string | undefined) => options.some((option) => option.takesValue && option.word === word)
  return words.filter((word, index) => !word.startsWith('-') && !takesValue(words[index - 1]))
}

const SHELLS = ['bash', 'zsh', 'fish'] as const

/** The last line of the candidates says whether the shell offers file names too. */
const NO_FILES = ':4'
const FILES = ':0'
const FILE_OPTIONS: readonly string[] = ['--password-file', '--ca']

/**
 * Our own script: the library's makes bash evaluate the typed text, so that each
 * Tab would run the command in $(...) and empty the file after >.
 */
const BASH_SCRIPT = `# completion of souk in bash

_souk() {
    local word words=()
    for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
        [[ $word == = ]] || words+=("$word") # --option=value comes as three words
    done
    [[ $word != = ]] || words+=('')
    COMPREPLY=()
    while IFS=$'\\t' read -r word _; do
        case $word in
            ${FILES}) compopt -o default ;;
            ${NO_FILES}) ;;
            *) COMPREPLY+=("$word") ;;
        esac
    done < <(souk complete -- "\${words[@]}" 2>/dev/null)
}
complete -F _souk souk
`

/** Prints the script for a shell; resolves to the exit code. Throws `UsageError`. */
export async function printScript([shell, ...others]: readonly string[]): Promise<number> {
  const known = SHELLS.find((name) => name === shell)
  if (known === undefined || others.length > 0) {
    throw new UsageError(['choose a shell, bash, zsh or fish'], `${asTyped('souk')} completion bash`)
  }
  if (known === 'bash') process.stdout.write(BASH_SCRIPT)
  else (await import('@bomb.sh/tab')).script(known, 'souk', 'souk')
  return 0
}

/** Prints the candidates for the last word, one a line, as the scripts expect them; `programs` may stand first. */
export function printCandidates(words: readonly string[], programs: readonly Candidate[]): number {
  const begun = words.at(-1) ?? ''
  const candidates = findOutside(words, begun, programs).filter(({ word }) => word.startsWith(begun))
  const files = FILE_OPTIONS.includes(words.at(-2) ?? '') ? FILES : NO_FILES
  const lines = [...candidates.map(({ word, about }) => `${word}\t${about}`), files]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

function findOutside(words: readonly string[], begun: string, programs: readonly Candidate[]): readonly Candidate[] {
  const [first, ...rest] = words
  if (words.length <= 1) return programs
  const role = ROLES.find((known) => known === first)
  if (role !== undefined) return findCandidates(new Commands(role, { inShell: false }), rest.slice(0, -1), begun, [])
  if (first !== 'completion' || words.length > 2) return []
  return SHELLS.map((word) => ({ word, about: `for ${word}` }))
}
