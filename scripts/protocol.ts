/**
 * Writes the tables of docs/protocol.md anew, from the contract, the refusals
 * and the limits; with --print to standard output, which changes no file. The
 * sentences between the tables are written by hand.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { exampleOf } from '../src/contract/examples.ts'
import { toParamsSchema, toResultSchema } from '../src/contract/openrpc.ts'
import { type Operation, ORDER, operationsByName, ROLES, type Role } from '../src/contract/operations.ts'
import { COMMON_REFUSALS, ERROR_CODES, REFUSALS, type RefusalKind } from '../src/contract/refusals.ts'
import { type Schema, toTypeText } from '../src/contract/type-text.ts'
import { list, table } from '../src/loadgen/reports/markdown.ts'
import { DEFAULT_LIMITS, describeLimits } from '../src/server/limits.ts'
import { SESSION_LIFE } from '../src/server/market/sessions.ts'

const PAGE = new URL('../docs/protocol.md', import.meta.url)
const SECTIONS: Readonly<Record<string, () => string>> = {
  order: renderOrder,
  operations: renderOperations,
  errors: renderErrors,
  limits: renderLimits,
}

const before = readFileSync(PAGE, 'utf8')
const page = Object.entries(SECTIONS).reduce((text, [name, render]) => replaceSection(text, name, render()), before)
if (process.argv.includes('--print')) process.stdout.write(page)
else writeFileSync(PAGE, page)

function replaceSection(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}: written by npm run docs -->\n`, `<!-- end of ${name} -->\n`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`docs/protocol.md has no section ${name}`)
  return `${text.slice(0, from)}${begin}\n${content}\n\n${text.slice(to)}`
}

function renderOrder(): string {
  const exceptions = ORDER.ordered.map(({ about, operations }) => `${about}: ${codes(operations)}`)
  return exceptions.length === 0 ? ORDER.rule : `${ORDER.rule} The exceptions:\n\n${list(exceptions)}`
}

/** Operations that are the same in both roles come once. */
function renderOperations(): string {
  const [sellers, buyers] = ROLES.map((role) => {
    return new Map([...operationsByName(role)].map(([name, operation]) => [name, renderOperation(name, operation)]))
  }) as [Map<string, string>, Map<string, string>]
  const isShared = (name: string) => sellers.get(name) === buyers.get(name)
  const renderGroup = (title: string, role: Role, group: ReadonlyMap<string, string>, shared: boolean) => {
    const chosen = [...group].filter(([name]) => isShared(name) === shared)
    return [`### ${title}`, ...chosen.map(([name, text]) => `${text}\n\n${renderExample(role, name)}`)]
  }
  return [
    ...renderGroup('Of both roles', 'seller', sellers, true),
    ...renderGroup('Of sellers', 'seller', sellers, false),
    ...renderGroup('Of buyers', 'buyer', buyers, false),
  ].join('\n\n')
}

function renderOperation(name: string, operation: Operation): string {
  const { properties = {}, required = [] } = toParamsSchema(operation)
  const rows = Object.entries(properties).map(([field, schema]) => {
    return [`\`${field}\``, required.includes(field) ? '' : 'optional', describeParam(schema)]
  })
  const key = operation.keyed ? ` Takes a key, of the ${operation.keyed}.` : ''
  const refusals = operation.refusals.length > 0 ? `; refusals: ${codes(operation.refusals)}` : ''
  return [
    `#### ${name}`,
    `${operation.about}.${key}`,
    ...(rows.length > 0 ? [table(['parameter', '', 'what'], rows, 3)] : []),
    `Result: \`${toTypeText(toResultSchema(operation))}\`${refusals}`,
  ].join('\n\n')
}

/** What it is about, its bounds, its default. */
function describeParam(schema: Schema): string {
  const { description, default: fallback } = schema as { description?: string; default?: unknown }
  const parts = [description, describeBounds(schema), fallback !== undefined && `else ${JSON.stringify(fallback)}`]
  return parts.filter(Boolean).join('; ')
}

function describeBounds(schema: Schema): string {
  const { enum: choices, pattern, minimum, maximum, minLength, maxLength, maxItems, items } = schema
  if (choices !== undefined) return choices.map((choice) => `\`${JSON.stringify(choice)}\``).join(' or ')
  if (pattern !== undefined) return `text \`${String(pattern).replaceAll('|', '\\|')}\``
  if (schema.type === 'string') return `text of ${minLength} to ${maxLength} characters`
  if (schema.type === 'array') return `list of up to ${maxItems}, each ${describeBounds(items ?? {})}`
  if (schema.type === 'integer') {
    const most = maximum === Number.MAX_SAFE_INTEGER ? '' : ` to ${Number(maximum).toLocaleString('en')}`
    return `whole number from ${Number(minimum).toLocaleString('en')}${most}`
  }
  return 'true or false'
}

function renderExample(role: Role, name: string): string {
  const { params, result } = exampleOf(role, name)
  const request = JSON.stringify({ jsonrpc: '2.0', id: 1, method: name, params })
  return `    ${request}\n    ${JSON.stringify({ jsonrpc: '2.0', id: 1, result })}`
}

function renderErrors(): string {
  const rows = ERROR_CODES.map((code) => {
    const { number, meaning, remedy, details = {} }: RefusalKind = REFUSALS[code]
    const fields = Object.entries(details).map(([field, about]) => `\`${field}\`: ${about}`)
    return [`\`${code}\``, String(number), meaning, remedy, fields.join('; ')]
  })
  return [
    `Any operation may answer ${codes(COMMON_REFUSALS)}; one with a session \`unauthenticated\`; one with a key ` +
      '`idempotency_mismatch`. Its other refusals stand with it, above.',
    table(['`data.code`', '`code`', 'meaning', 'what to do', 'further fields of `data`'], rows, 5),
  ].join('\n\n')
}

function renderLimits(): string {
  const rows = Object.entries(describeLimits(DEFAULT_LIMITS, SESSION_LIFE)).map(([name, { value, about, beyond }]) => {
    return [`\`${name}\``, about, value.toLocaleString('en'), beyond]
  })
  return table(['limit', 'what', 'default', 'beyond it'], rows, 4)
}

function codes(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ')
}
