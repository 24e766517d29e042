/**
 * A parameter of the contract as people write it: what it is called on a
 * command line, what may stand there, and what a word comes to. Prices are
 * amounts of money, read digit by digit and never as floating point.
 */

import * as z from 'zod'
import { amountOf, centsOf } from './money.ts'

export interface Field {
  /** In the contract. */
  name: string
  /** On the command line: price for price_cents, keyword for each of the keywords. */
  label: string
  kind: 'text' | 'number' | 'money' | 'choice' | 'flag'
  /** Takes any number of words, one value each. */
  list: boolean
  required: boolean
  choices: readonly string[]
  about: string
  /** What must stand there, if that can be said in a few words. */
  expected: string | undefined
}

/** Fields that no one types: they are prompted for, remembered, or made for each call. */
const NEVER_TYPED: readonly string[] = ['session', 'idempotency_key', 'password']

export function fieldsOf(params: z.ZodObject): Field[] {
  const typed = Object.entries(params.shape).filter(([name]) => !NEVER_TYPED.includes(name))
  return typed.map(([name, schema]) => fieldOf(name, schema as z.ZodType))
}

function fieldOf(name: string, schema: z.ZodType): Field {
  const { inner, about, fallback, required } = unwrapped(schema)
  const list = inner instanceof z.ZodArray
  const kind = kindOf(name, inner)
  const choices = inner instanceof z.ZodEnum ? inner.options.map(String) : []
  const label = (list ? name.replace(/s$/, '') : name.replace(/_cents$/, '')).replaceAll('_', '-')
  const shown = kind === 'number' && fallback !== undefined ? `${about} (${fallback})` : about
  return { name, label, kind, list, required, choices, about: shown, expected: expectedOf(kind, inner, choices) }
}

/** What is within defaults, options and transformations. */
function unwrapped(schema: z.ZodType): { inner: z.ZodType; about: string; fallback: unknown; required: boolean } {
  let inner = schema
  let about = schema.description
  let fallback: unknown
  let required = true
  for (;;) {
    if (inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) {
      if (inner instanceof z.ZodDefault) fallback = inner.def.defaultValue
      inner = inner.unwrap() as z.ZodType
      required = false
    } else if (inner instanceof z.ZodPipe) {
      inner = inner.in as z.ZodType
    } else {
      return { inner, about: about ?? '', fallback, required }
    }
    about ??= inner.description
  }
}

function kindOf(name: string, inner: z.ZodType): Field['kind'] {
  if (inner instanceof z.ZodBoolean) return 'flag'
  if (inner instanceof z.ZodEnum) return 'choice'
  if (!(inner instanceof z.ZodNumber)) return 'text'
  return name.endsWith('_cents') ? 'money' : 'number'
}

function expectedOf(kind: Field['kind'], inner: z.ZodType, choices: readonly string[]): string | undefined {
  if (kind === 'choice') return choices.join(' or ')
  if (!(inner instanceof z.ZodNumber)) return undefined
  const { minValue, maxValue } = inner
  if (kind === 'money') return `an amount from ${amountOf(minValue ?? 0)} to ${amountOf(maxValue ?? 0)}, like 249.90`
  const most = maxValue === null || maxValue >= Number.MAX_SAFE_INTEGER ? '' : ` to ${maxValue}`
  return `a whole number from ${minValue}${most}`
}

/** The value that the word stands for; the word itself when it stands for none, and is then refused by the contract. */
export function valueFrom({ kind }: Field, word: string): unknown {
  if (kind === 'money') return centsOf(word) ?? word
  if (kind === 'number' && /^[+-]?\d{1,16}$/.test(word)) return Number(word)
  return word
}
