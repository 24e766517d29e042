/**
 * The OpenRPC documents of both roles: as the specification wants them, and true
 * to the contract's own checks.
 */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import { Ajv } from 'ajv'
import { exampleOf } from '../../src/contract/examples.ts'
import { describeRole, toParamsSchema, toResultSchema } from '../../src/contract/openrpc.ts'
import { operationsByName, ROLES, refusalsOf } from '../../src/contract/operations.ts'
import { DEFAULT_LIMITS, describeLimits, LIMIT_NAMES } from '../../src/server/limits.ts'
import { SESSION_LIFE } from '../../src/server/market/sessions.ts'

interface Method {
  name: string
  params: { name: string; required: boolean; schema: Record<string, unknown> }[]
  result: { schema: object }
  errors: { $ref: string }[]
  examples: { params: { name: string; value: unknown }[]; result: { value: unknown } }[]
  [extension: `x-${string}`]: unknown
}

interface Document {
  methods: Method[]
  components: { errors: Record<string, { code: number; data: { code: string } }> }
  'x-souk-order': { rule: string; ordered: unknown[] }
  'x-souk-limits': Record<string, { value: number; about: string; beyond: string }>
}

/** The types of both packages leave the schemas out. JSON Schema's own goes by its address with a stroke at the end, and without. */
function compileMetaSchema() {
  const require = createRequire(import.meta.url)
  const [jsonSchema, openrpc] = ['@json-schema-tools/meta-schema', '@open-rpc/meta-schema'].map((name) => {
    return JSON.parse(
      JSON.stringify(require(name).default).replaceAll('meta.json-schema.tools"', 'meta.json-schema.tools/"'),
    )
  })
  const ajv = new Ajv({ strict: false, validateFormats: false })
  return ajv.addMetaSchema(jsonSchema).compile(openrpc)
}

const ajv = new Ajv({ allErrors: true })

function assertValid(schema: object, value: unknown, about: string): void {
  const validate = ajv.compile(schema)
  assert.ok(validate(value), `${about}: ${ajv.errorsText(validate.errors)}`)
}

for (const role of ROLES) {
  describe(`the document of ${role}s`, () => {
    const described = { version: '1.2.3', limits: describeLimits(DEFAULT_LIMITS, SESSION_LIFE) }
    const document: Document = JSON.parse(JSON.stringify(describeRole(role, described)))
    const operations = operationsByName(role)

    it('is an OpenRPC document', () => {
      const validate = compileMetaSchema()
      assert.ok(validate(document), JSON.stringify(validate.errors))
      assert.ok(
        !validate({ ...document, methods: [{ name: 'ping', params: [{ name: 'x', schema: { type: 'no' } }] }] }),
      )
    })

    it('has every operation, with its parameters, its errors and whether it takes a key', () => {
      assert.deepEqual(
        document.methods.map(({ name }) => name),
        [...operations.keys()],
      )
      for (const method of document.methods) {
        const operation = operations.get(method.name)
        assert.ok(operation !== undefined)
        assert.deepEqual(
          method.params.map(({ name }) => name),
          Object.keys(operation.params.shape),
        )
        for (const { name, required } of method.params) {
          assert.equal(required, !operation.params.shape[name]?.safeParse(undefined).success, `${method.name} ${name}`)
        }
        const codes = method.errors.map(({ $ref }) => $ref.replace('#/components/errors/', ''))
        assert.deepEqual(codes, refusalsOf(operation))
        assert.ok(codes.every((code) => document.components.errors[code]?.data.code === code))
        assert.equal(Boolean(method['x-souk-keyed']), 'idempotency_key' in operation.params.shape)
        assert.equal(method['x-souk-session'], 'session' in operation.params.shape)
      }
    })

    it('bounds every parameter: texts in length, numbers on both sides, lists in entries', () => {
      const isBounded = ({ type, ...bounds }: Record<string, unknown>): boolean => {
        if (type === 'string') return 'pattern' in bounds || 'enum' in bounds || 'maxLength' in bounds
        if (type === 'array') return 'maxItems' in bounds && isBounded(bounds.items as Record<string, unknown>)
        return type === 'boolean' || (type === 'integer' && 'minimum' in bounds && 'maximum' in bounds)
      }
      for (const { name, params } of document.methods) {
        for (const param of params) assert.ok(isBounded(param.schema), `${name} ${param.name}`)
      }
    })

    it('has examples that its own schemas and the contract accept', () => {
      for (const { name, params, result, examples } of document.methods) {
        const operation = operations.get(name)
        assert.ok(operation !== undefined && examples.length > 0)
        for (const example of examples) {
          for (const { name: field, value } of example.params) {
            const schema = params.find((param) => param.name === field)?.schema
            assertValid(schema ?? { not: {} }, value, `${name} ${field}`)
          }
          assertValid(result.schema, example.result.value, name)
          operation.params.parse(Object.fromEntries(example.params.map((param) => [param.name, param.value])))
          operation.result.parse(example.result.value)
        }
      }
    })

    it('refuses unknown parameters, and allows further fields in results', () => {
      for (const [name, operation] of operations) {
        const { params, result } = exampleOf(role, name)
        assertValid(toParamsSchema(operation), params, name)
        assert.ok(!ajv.validate(toParamsSchema(operation), { ...params, further: 1 }), name)
        assertValid(toResultSchema(operation), { ...result, further: 1 }, name)
      }
    })

    it('has every limit, with what happens beyond it', () => {
      const limits = document['x-souk-limits']
      for (const name of LIMIT_NAMES) assert.equal(limits[name]?.value, DEFAULT_LIMITS[name])
      for (const { beyond } of Object.values(limits)) assert.ok(beyond.length > 0)
    })

    it('says in which order calls take effect', () => {
      assert.match(document['x-souk-order'].rule, /in flight together are concurrent/)
      assert.ok(Array.isArray(document['x-souk-order'].ordered))
    })
  })
}
