/** What may stand where somebody presses Tab: commands, options, their values, and items that were seen. */

import type { Role } from '../contract/operations.ts'
import type { CommandEntry, Commands, OptionEntry } from './commands.ts'
import type { Field } from './fields.ts'

export interface Candidate {
  word: string
  about: string
}

/** `words` stand before the one that is being typed, which begins with `begun`. */
export function candidatesFor(
  commands: Commands<Role>,
  words: readonly string[],
  begun: string,
  seenItems: Iterable<number>,
): Candidate[] {
  const entry = commands.named(plainWords(words, commands.options(undefined))[0])
  const options = commands.options(entry)
  const option = options.find(({ word, takesValue }) => takesValue && word === words.at(-1))
  const all =
    option !== undefined
      ? valuesOf(option.field, seenItems)
      : begun.startsWith('-')
        ? options
        : entry === undefined
          ? commandsOf(commands, begun)
          : valuesOf(fieldAt(entry, options, words), seenItems)
  return all.filter(({ word }) => word.startsWith(begun)).map(({ word, about }) => ({ word, about }))
}

/** Short names only when they are what was begun: each is beside a long one. */
function commandsOf({ entries }: Commands<Role>, begun: string): Candidate[] {
  return entries.flatMap(({ word, alias, about }) => {
    const short = alias !== undefined && begun !== '' && !word.startsWith(begun) ? [{ word: alias, about }] : []
    return [{ word, about }, ...short]
  })
}

/** The parameter that stands next, after the command and what it has been given. */
function fieldAt({ positional }: CommandEntry<Role>, options: readonly OptionEntry[], words: readonly string[]) {
  return positional[plainWords(words, options).length - 1]
}

/** The words that are neither options nor their values. */
function plainWords(words: readonly string[], options: readonly OptionEntry[]): readonly string[] {
  const takesValue = (word: string | undefined) => options.some((option) => option.takesValue && option.word === word)
  return words.filter((word, index) => !word.startsWith('-') && !takesValue(words[index - 1]))
}

function valuesOf(field: Field | undefined, seenItems: Iterable<number>): Candidate[] {
  if (field?.name === 'item_id') return [...seenItems].map((id) => ({ word: String(id), about: 'item' }))
  return (field?.choices ?? []).map((word) => ({ word, about: field?.about ?? '' }))
}
