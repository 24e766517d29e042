/**
 * What is wrong with a parameter, in plain words instead of zod's, wherever the
 * contract is used. A complaint says what was expected, and never repeats what
 * came. Loading this file is enough.
 */

import * as z from 'zod'

type Issue = Parameters<z.core.$ZodErrorMap>[0]

z.config({ customError: complain })

function complain(issue: Issue): string {
  if (issue.input === undefined) return 'is missing'
  if (issue.code === 'unrecognized_keys') return 'has fields that are not in the contract'
  const expected = issue.schema === undefined ? undefined : describeValues(issue.schema)
  return expected === undefined ? 'is not what the contract says' : `must be ${expected}`
}

/** The values that a schema takes: new or used, a whole number from 1 to 100. Undefined if it is no simple one. */
export function describeValues(schema: z.core.$ZodType): string | undefined {
  if (schema instanceof z.ZodEnum) return listChoices(schema.options.map(String))
  if (schema instanceof z.ZodNumber) return describeNumbers(schema)
  if (schema instanceof z.ZodString) return describeTexts(schema)
  if (schema instanceof z.ZodArray) return 'a list'
  if (schema instanceof z.ZodBoolean) return 'true or false'
  if (schema instanceof z.ZodObject) return 'an object'
  return undefined
}

/** new or used; a, b or c. */
export function listChoices(names: readonly string[]): string {
  return [names.slice(0, -1).join(', '), names.at(-1)].filter(Boolean).join(' or ')
}

function describeNumbers({ format, minValue, maxValue }: z.ZodNumber): string {
  const isOpen = maxValue === null || maxValue >= Number.MAX_SAFE_INTEGER
  return `${format === null ? 'a number' : 'a whole number'} from ${minValue}${isOpen ? '' : ` to ${maxValue}`}`
}

function describeTexts({ minLength, maxLength }: z.ZodString): string {
  return maxLength === null ? 'text' : `text of ${minLength ?? 0} to ${maxLength} characters`
}
