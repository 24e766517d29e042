/**
 * The contract of a role as an OpenRPC document, which `rpc.discover` answers.
 * What OpenRPC has no words for stands in fields that begin with `x-souk-`.
 */

import * as z from 'zod'
import { exampleOf } from './examples.ts'
import { type Operation, ORDER, operationsByName, type Role, refusalsOf } from './operations.ts'
import { ERROR_CODES, REFUSALS } from './refusals.ts'
import type { Schema } from './type-text.ts'

/** The one method that is no operation: JSON-RPC reserves names that begin with `rpc.`. */
export const DISCOVER = 'rpc.discover'

/** A limit of a server, and what happens to a client beyond it. */
export interface DescribedLimit {
  value: number
  about: string
  beyond: string
}

export interface Described {
  version: string
  limits: Readonly<Record<string, DescribedLimit>>
}

export function describeRole(role: Role, { version, limits }: Described): object {
  return {
    openrpc: '1.3.2',
    info: {
      title: `souk, for ${role}s`,
      version,
      description:
        'JSON-RPC 2.0 over TCP, one JSON text on each line. Further fields may come in results: ignore them.',
    },
    methods: [...operationsByName(role)].map(([name, operation]) => describeOperation(role, name, operation)),
    components: {
      errors: Object.fromEntries(
        ERROR_CODES.map((code) => {
          const { number, meaning } = REFUSALS[code]
          return [code, { code: number, message: meaning, data: { code } }]
        }),
      ),
    },
    'x-souk-errors': REFUSALS,
    'x-souk-order': { ...ORDER, ordered: ORDER.ordered.filter((calls) => calls.role === role) },
    'x-souk-limits': limits,
  }
}

function describeOperation(role: Role, name: string, operation: Operation): object {
  const params = toParamsSchema(operation)
  const example = exampleOf(role, name)
  return {
    name,
    summary: operation.about,
    paramStructure: 'by-name',
    params: Object.entries(params.properties ?? {}).map(([field, schema]) => ({
      name: field,
      required: params.required?.includes(field) ?? false,
      schema,
    })),
    result: { name: 'result', schema: toResultSchema(operation) },
    errors: refusalsOf(operation).map((code) => ({ $ref: `#/components/errors/${code}` })),
    examples: [
      {
        name: 'example',
        params: Object.entries(example.params).map(([field, value]) => ({ name: field, value })),
        result: { name: 'result', value: example.result },
      },
    ],
    'x-souk-keyed': operation.keyed ?? false, // what the key belongs to
    'x-souk-session': !operation.open,
  }
}

/** As a client writes them. */
export function toParamsSchema({ params }: Operation): Schema {
  return toSchema(params, 'input')
}

/** As a client reads it. */
export function toResultSchema({ result }: Operation): Schema {
  return toSchema(result, 'output')
}

/** Results may get further fields, so only parameters are closed. */
function toSchema(schema: z.ZodObject, io: 'input' | 'output'): Schema {
  const { $schema: _, ...plain } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io,
    override({ jsonSchema }) {
      if (io === 'output') delete jsonSchema.additionalProperties
    },
  })
  return plain as Schema
}
