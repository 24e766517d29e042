/**
 * Values as people type them, on command lines and in settings: schemas that
 * turn a word into a value, and say what they expect in help and in errors.
 */

import * as z from 'zod'

/** Decimal digits, with a sign only where a value may be negative. */
export function wholeNumber(least: number, most: number) {
  const form = least < 0 ? /^[+-]?\d{1,16}$/ : /^\d{1,16}$/
  return numberIn(form, least, most, `a whole number from ${least} to ${most}`)
}

/** Decimal digits, with or without a fraction. */
export function decimalNumber(least: number, most: number, expected = `a number from ${least} to ${most}`) {
  return numberIn(/^\d{1,16}(\.\d{1,16})?$/, least, most, expected)
}

function numberIn(form: RegExp, least: number, most: number, expected: string) {
  const isNumber = (word: string) => form.test(word) && Number(word) >= least && Number(word) <= most
  return z
    .string()
    .refine(isNumber, `must be ${expected}`)
    .transform(Number)
    .meta({ value: 'n', bounds: `${least} to ${most}` })
}

/** A host name or an address; whether it exists is for the system to say. */
export const HOST = z
  .string()
  .regex(/^[\p{L}\p{M}\p{N}._:%-]+$/u, 'must be a host name or an address')
  .meta({ value: 'host' })

export const FOLDER = z.string().regex(/\S/, 'must be the path of a folder').meta({ value: 'folder' })

export const FILE = z.string().regex(/\S/, 'must be the path of a file').meta({ value: 'file' })

/** How help shows a value: a word for it, and the bounds of a number. */
interface ValueWords {
  value?: string
  bounds?: string
}

export function describeValue(schema: z.ZodType): ValueWords {
  const isWrapped = schema instanceof z.ZodDefault || schema instanceof z.ZodOptional
  return isWrapped ? describeValue(schema.unwrap() as z.ZodType) : ((schema.meta() ?? {}) as ValueWords)
}
