/**
 * Completion in bash, zsh and fish: scripts that ask souk itself, at each Tab,
 * what may stand there.
 */

import { script } from '@bomb.sh/tab'
import { ROLES } from '../contract/operations.ts'
import { type Candidate, candidatesFor } from './candidates.ts'
import { Commands } from './commands.ts'
import { UsageError } from './failures.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

/** How the scripts are told that no file names are wanted. */
const NO_FILES = ':4'
const FILES = ':0'

/**
 * Ours, for the library's has bash evaluate the line that is being typed, which
 * carries out $(...) and empties the file behind > at each Tab.
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
export function printScript([shell, ...others]: readonly string[]): number {
  const known = SHELLS.find((name) => name === shell)
  if (known === undefined || others.length > 0)
    throw new UsageError([`which shell? ${SHELLS.join(', ')}`], 'souk completion bash')
  if (known === 'bash') process.stdout.write(BASH_SCRIPT)
  else script(known, 'souk', 'souk')
  return 0
}

/** Prints what may stand in place of the last word, a line each, as the scripts want it. */
export function printCandidates(words: readonly string[], programs: readonly Candidate[]): number {
  const [first, ...rest] = words
  const begun = words.at(-1) ?? ''
  const role = ROLES.find((known) => known === first)
  const isFile = words.at(-2) === '--password-file'
  const found =
    role !== undefined && words.length > 1
      ? candidatesFor(new Commands(role, { inShell: false }), rest.slice(0, -1), begun, [])
      : words.length <= 1
        ? programs
        : first === 'completion' && words.length === 2
          ? SHELLS.map((word) => ({ word: word as string, about: `for ${word}` }))
          : []
  const lines = found.filter(({ word }) => word.startsWith(begun)).map(({ word, about }) => `${word}\t${about}`)
  process.stdout.write(`${[...lines, isFile ? FILES : NO_FILES].join('\n')}\n`)
  return 0
}
