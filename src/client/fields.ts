/**
 * Fields: the contract's parameters as people type them. Their names on the
 * command line, the values they take, and how words become values. Prices are
 * read digit by digit, never as floating point.
 */

import * as z from 'zod'
import { describeValues } from '../contract/complaints.ts'
import { formatAmount, parseAmount } from './money.ts'

export interface Field {
  /** In the contract. */
  name: string
  /** On the command line: price for price_cents, keyword for each of the keywords. */
  label: string
  kind: 'text' | 'number' | 'money' | 'choice' | 'flag'
  /** Takes any number of words, one value each. */
  list: boolean
  required: boolean
  /** A number that may be negative. */
  signed: boolean
  choices: readonly string[]
  about: string
  /** The values it takes, if a few words can say that. */
  expected: string | undefined
}

/**
 * Parameters that are never arguments: they are asked for, remembered, or made for each call. Every user of the machine
 * can read the arguments of a program.
 */
export const NEVER_TYPED: readonly string[] = ['session', 'idempotency_key', 'password', 'new_password']

export function toFields(params: z.ZodObject): Field[] {
  const typed = Object.entries(params.shape).filter(([name]) => !NEVER_TYPED.includes(name))
  return typed.map(([name, schema]) => toField(name, schema as z.ZodType))
}

function toField(name: string, schema: z.ZodType): Field {
  const { inner, about, fallback, required } = unwrap(schema)
  const list = inner instanceof z.ZodArray
  const kind = toKind(name, inner)
  const choices = inner instanceof z.ZodEnum ? inner.options.map(String) : []
  return {
    name,
    label: (list ? name.replace(/s$/, '') : name.replace(/_cents$/, '')).replaceAll('_', '-'),
    kind,
    list,
    required,
    signed: inner instanceof z.ZodNumber && (inner.minValue ?? 0) < 0,
    choices,
    about: kind === 'number' && fallback !== undefined ? `${about} (${fallback})` : about,
    expected: describeExpected(kind, inner),
  }
}

/** The schema inside defaults, options and transformations. */
function unwrap(schema: z.ZodType): { inner: z.ZodType; about: string; fallback: unknown; required: boolean } {
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

function toKind(name: string, inner: z.ZodType): Field['kind'] {
  if (inner instanceof z.ZodBoolean) return 'flag'
  if (inner instanceof z.ZodEnum) return 'choice'
  if (!(inner instanceof z.ZodNumber)) return 'text'
  return name.endsWith('_cents') ? 'money' : 'number'
}

function describeExpected(kind: Field['kind'], inner: z.ZodType): string | undefined {
  if (kind === 'choice') return describeValues(inner)
  if (!(inner instanceof z.ZodNumber)) return undefined
  const { minValue, maxValue } = inner
  if (kind === 'money') {
    return `an amount from ${formatAmount(minValue ?? 0)} to ${formatAmount(maxValue ?? 0)}, like 249.90`
  }
  return describeValues(inner)
}

/** The field as an argument, as help shows it. */
export function formatArgument({ label, name, list, required, choices }: Field): string {
  if (list) return `[...${name.replaceAll('_', '-')}]`
  const shown = choices.length > 0 ? choices.join('|') : label
  return required ? `<${shown}>` : `[${shown}]`
}

/** The field as an option, as help shows it. */
export function formatOption({ label, kind, choices }: Field): string {
  if (kind === 'flag') return `--${label}`
  return `--${label} <${choices.length > 0 ? choices.join('|') : label}>`
}

export function describeField({ about, expected }: Field): string {
  return expected === undefined ? about : `${about}: ${expected}`
}

export function describeOption(field: Field): string {
  const what = field.choices.length > 0 ? field.about : describeField(field)
  if (field.list) return `${what}; may be given several times${field.required ? '' : ', or once as "" for none'}`
  return `${what}${field.required ? ' (required)' : ''}`
}

/** The value of a word; a word that is no value of the field stays as it is, and the contract refuses it. */
export function parseValue({ kind, signed }: Field, word: string): unknown {
  if (kind === 'money') return parseAmount(word) ?? word
  if (kind === 'number' && (signed ? /^[+-]?\d{1,16}$/ : /^\d{1,16}$/).test(word)) return Number(word)
  return word
}
