/** JSON Schemas of the contract as TypeScript types, in one line: for readers, and for the package's declarations. */

export interface Schema {
  type?: string
  const?: unknown
  enum?: readonly unknown[]
  items?: Schema
  properties?: Readonly<Record<string, Schema>>
  required?: readonly string[]
  [keyword: string]: unknown
}

export function toTypeText(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  if (schema.type === 'integer') return 'number'
  if (schema.type === 'array') return `${toEntryText(schema.items ?? {})}[]`
  if (schema.type === 'object') return toObjectText(schema)
  if (schema.type === 'string' || schema.type === 'number' || schema.type === 'boolean') return schema.type
  throw new Error(`no type is known for ${JSON.stringify(schema)}`)
}

function toEntryText(schema: Schema): string {
  const text = toTypeText(schema)
  return text.includes(' | ') && !text.startsWith('{') ? `(${text})` : text
}

function toObjectText({ properties = {}, required = [] }: Schema): string {
  const fields = Object.entries(properties).map(([name, schema]) => {
    return `${name}${required.includes(name) ? '' : '?'}: ${toTypeText(schema)}`
  })
  return fields.length === 0 ? 'Record<string, never>' : `{ ${fields.join('; ')} }`
}
