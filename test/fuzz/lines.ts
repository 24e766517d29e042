/**
 * Lines for a server, drawn at random: requests of every operation, most of them
 * changed in one way: a value, the request's own fields, the JSON text, or bytes.
 */

import type { z } from 'zod'
import { operations, operationsByName, type Role } from '../../src/contract/operations.ts'
import { below, oneOf, type Random, weighted } from '../../src/loadgen/random.ts'
import { drawHostile, drawLarge, drawValid, EXTRA_FIELDS, type World } from './values.ts'

/** The fields of an object as JSON texts, so that a name may come twice and a value may be anything. */
type Fields = [name: string, value: string][]

interface Draft {
  envelope: Fields
  method: string
  params: Fields
}

/** Each costs a password hash, which is slow on purpose: most calls have a password that is no password. */
const HASHING: readonly string[] = ['login', 'create_account', 'change_password']
const HASHED = 0.03
const RARELY = 0.04
/** Ends a session, so that the calls behind it come no further. */
const LOGGED_OUT = 0.002

const COMMON = byRole((role) =>
  Object.keys(operations[role]).filter((name) => name !== 'logout' && !HASHING.includes(name)),
)

/** The parameters of each operation. */
const PARAMETERS = byRole((role) => {
  const all = [...operationsByName(role)].map(([name, { params }]): [string, { name: string; isNeeded: boolean }[]] => [
    name,
    Object.entries<z.ZodType>(params.shape).map(([field, schema]) => {
      return { name: field, isNeeded: !schema.safeParse(undefined).success }
    }),
  ])
  return new Map(all)
})

function byRole<T>(make: (role: Role) => T): Record<Role, T> {
  return { seller: make('seller'), buyer: make('buyer') }
}

const drawLevel = weighted({ none: 30, value: 30, request: 15, json: 12, bytes: 10, large: 1, array: 3 })

/** One line with its end. `number` makes the id, so that most ids are given once. */
export function drawLine(role: Role, number: number, random: Random, world: World): Buffer {
  const level = drawLevel(random)
  if (level === 'array') return end(drawArray(role, number, random, world), random)
  const draft = drawDraft(role, number, random, world)
  if (level === 'value') changeValues(draft, random)
  if (level === 'request') changeRequest(draft, random)
  if (level === 'large') oneOf(random() < 0.5 ? draft.envelope : draft.params, random)[1] = drawLarge(random)
  const json = encode(draft)
  if (level === 'json') return end(changeJson(json, random), random)
  const line = end(json, random)
  return level === 'bytes' ? changeBytes(line, random) : line
}

function drawDraft(role: Role, number: number, random: Random, world: World): Draft {
  const kind = random()
  const method = kind < LOGGED_OUT ? 'logout' : oneOf(kind < RARELY ? HASHING : COMMON[role], random)
  const fields = (PARAMETERS[role].get(method) ?? [])
    .filter(({ isNeeded }) => isNeeded || random() < 0.4)
    .map(({ name }): [string, string] => [name, JSON.stringify(drawValid(name, random, world))])
  if (HASHING.includes(method) && random() > HASHED) fields.push(['password', oneOf(['"short"', '1', 'null'], random)])
  return {
    envelope: [
      ['jsonrpc', '"2.0"'],
      ['id', String(number)],
      ['method', JSON.stringify(method)],
    ],
    method,
    params: fields.length > 0 ? fields : [['session', JSON.stringify(drawValid('session', random, world))]],
  }
}

function encode({ envelope, params }: Draft): string {
  const fields = [...envelope, ['params', encodeFields(params)] as [string, string]]
  return encodeFields(fields)
}

function encodeFields(fields: Fields): string {
  return `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`
}

/** Most calls keep their session, so that they come further than its check. */
function changeValues({ params }: Draft, random: Random): void {
  for (let changes = 1 + below(2, random); changes > 0; changes -= 1) {
    const field = oneOf(params, random)
    const kind = random()
    if (kind < 0.2) params.push([oneOf(EXTRA_FIELDS, random), drawHostile(random)])
    else if (kind < 0.25) params.splice(params.indexOf(field), params.length > 1 ? 1 : 0)
    else if (kind < 0.3) params.push([field[0], drawHostile(random)])
    else if (field[0] !== 'session' || random() < 0.2) field[1] = drawHostile(random)
  }
}

const IDS = [
  ...['null', '""', '"a"', '-1', '-0', '0', '1.5', '1e400', '1e3', 'true', '[]', '{}', '{"a":1}', '[1]', '"\\ud800"'],
  ...['9007199254740991', '9007199254740993', '-9007199254740991', '"\\u0000"', '"__proto__"', '"é😀"', '"\\u202e"'],
]
const METHODS = [
  ...['""', '"__proto__"', '"constructor"', '"toString"', '"hasOwnProperty"', '"Ping"', '"ping "', '"rpc.discover"'],
  ...['"make_purchase"', '"register_item_for_sale"', '"pi\\u006eg"', '"shutting_down"', '1', 'null', '[]', '{"a":1}'],
]
const VERSIONS = ['"1.0"', '"2"', '2.0', '2', 'null', '""', '"2.0 "', '["2.0"]', '{}']
const PARAMS = ['[]', '[1]', 'null', '1', '""', 'true', '[{}]', '{}', '{"__proto__":{"polluted":true}}']

function changeRequest(draft: Draft, random: Random): void {
  const { envelope } = draft
  const set = (name: string, value: string) => {
    for (const field of envelope) if (field[0] === name) field[1] = value
  }
  const kind = below(9, random)
  if (kind === 0) set('id', oneOf(IDS, random))
  else if (kind === 1) set('id', random() < 0.1 ? drawLarge(random) : drawHostile(random))
  else if (kind === 2) set('method', oneOf(METHODS, random))
  else if (kind === 3) set('jsonrpc', oneOf(VERSIONS, random))
  else if (kind === 4) envelope.splice(below(envelope.length, random), 1)
  else if (kind === 5)
    envelope.push([oneOf(['params', 'result', 'error', 'id', 'method', 'jsonrpc'], random), oneOf(PARAMS, random)])
  else if (kind === 6) envelope.push([oneOf(EXTRA_FIELDS, random), drawHostile(random)])
  else if (kind === 7) draft.params = []
  else envelope.push(['id', String(below(5, random))])
}

/** Pieces that are no JSON, or JSON of another kind. */
const INSERTED = [
  ...[',', ':', '{', '}', '[', ']', '"', '\\', '/**/', '//', "'", '\t', ' ', '\u00a0', '\u2028', '\v', '\r', '+'],
  ...['NaN', 'Infinity', 'undefined', '-', '0x10', '01', '.5', '\\u', '\\ud800', '\ufeff', '\u0000', '1e', 'nul'],
]
const WHOLE = [
  ...[
    '',
    ' ',
    '\t',
    'null',
    'true',
    '17',
    '-0',
    '1e400',
    '"ping"',
    '{}',
    '[]',
    '[[]]',
    '[{}]',
    '[null,1,"a"]',
    '{"id":1}',
  ],
  ...['{"jsonrpc":"2.0","result":{},"id":1}', '{"jsonrpc":"2.0","error":{"code":-1},"id":1}', '{"id":null}', '"'],
  ...[
    '{"__proto__":{"jsonrpc":"2.0","id":1,"method":"ping"}}',
    'QUIT',
    'SSH-2.0-OpenSSH',
    'ping',
    '\u0000',
    '{"',
    '[,]',
  ],
]

function changeJson(json: string, random: Random): string {
  const at = below(json.length + 1, random)
  const kind = below(8, random)
  if (kind === 0) return json.slice(0, at)
  if (kind === 1) return json.slice(at)
  if (kind === 2) return json + json
  if (kind === 3) return `\ufeff${json}`
  if (kind === 4) return oneOf(WHOLE, random)
  if (kind === 5) return json.replaceAll('"', oneOf(["'", '', '""', '\\"'], random))
  if (kind === 6) return json.replaceAll(',', ' ,\t').replaceAll(':', ' : ')
  return json.slice(0, at) + oneOf(INSERTED, random) + json.slice(at)
}

/** Newlines and other bytes with a meaning come more often. */
const BYTES = [
  0x00, 0x0a, 0x0d, 0x16, 0x20, 0x22, 0x2c, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xff,
]

function changeBytes(line: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(line)
  for (let changes = 1 + below(4, random); changes > 0; changes -= 1) {
    const at = below(bytes.length, random)
    const byte = random() < 0.5 ? oneOf(BYTES, random) : below(256, random)
    const kind = below(4, random)
    if (kind === 0) bytes[at] = byte
    else if (kind === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8, random))
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at)])
    else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(8, random))])
    if (bytes.length === 0) bytes = Buffer.from('\n')
  }
  return bytes.at(-1) === 0x0a ? bytes : Buffer.concat([bytes, Buffer.from('\n')])
}

/** Requests and others on one line; now and then very many. */
function drawArray(role: Role, number: number, random: Random, world: World): string {
  if (random() < 0.004) return `[${`${oneOf(['1', '{}', '[]', 'null'], random)},`.repeat(below(20_000, random))}{}]`
  const entries = Array.from({ length: 1 + below(12, random) }, (_, index) => {
    if (random() < 0.2) return oneOf(['1', 'null', '{}', '[]', '"a"', '[{}]', '{"id":1}'], random)
    const draft = drawDraft(role, number * 1_000 + index, random, world)
    if (random() < 0.5) changeValues(draft, random)
    else if (random() < 0.4) changeRequest(draft, random)
    return encode(draft)
  })
  return `[${entries.join(',')}]`
}

function end(json: string, random: Random): Buffer {
  const kind = random()
  return Buffer.from(json + (kind < 0.9 ? '\n' : kind < 0.97 ? '\r\n' : oneOf(['\n\n', '\n\r\n', '\r\r\n'], random)))
}
