/**
 * Values for parameters: ordinary ones, by the name of the parameter, and
 * hostile ones, as JSON texts, since some can't be written in TypeScript.
 */

import { operations, ROLES } from '../../src/contract/operations.ts'
import { below, oneOf, type Random } from '../../src/loadgen/random.ts'
import { INVISIBLE_NAMES, LEGITIMATE_NAMES, TURNING } from '../support/names.ts'

/** What a session's calls are made of. All of it follows from the seed. */
export interface World {
  /** Tokens of the role, then tokens that open nothing there. */
  sessions: readonly string[]
  foreignSessions: readonly string[]
  username: string
  /** Items that exist; of a seller, their own. */
  items: readonly number[]
}

/** No log and no refusal may show it. */
export const PASSWORD = 'canary-of-passwords'
export const NEW_PASSWORD = 'canary-of-new-passwords'
const KEY = 'canary-of-keys'
/** Items and sellers that calls name. Most come to exist. */
const MOST_IDS = 300
const LONGEST = 60_000

export const SQL_VECTORS: readonly string[] = [
  "'",
  '"',
  '`',
  '\\',
  "\\'",
  "' OR '1'='1",
  "' OR 1=1 -- ",
  '" OR ""="',
  "'; DROP TABLE item; -- ",
  "' UNION SELECT password",
  "') OR SLEEP(5) -- ",
  '1; SELECT SLEEP(5)',
  '/*! SELECT */',
  '%',
  '_',
  '%_%',
  '?',
  ':name',
  '0x27',
  '# --',
  '\u02bc OR 1=1',
  '\uff07 OR 1=1',
]

/** Texts that are valid where a text is short enough. */
const TEXTS: readonly string[] = [...SQL_VECTORS, ...LEGITIMATE_NAMES, 'Lamp', 'lamp', 'LAMP', '__proto__', 'toString']

type Draw = (random: Random, world: World) => unknown

const count = (least: number, most: number): Draw => {
  return (random) => least + below(random() < 0.9 ? Math.min(20, most - least + 1) : most - least + 1, random)
}
const text: Draw = (random) => oneOf(TEXTS, random)
const short =
  (longest: number): Draw =>
  (random) =>
    [...oneOf(TEXTS, random)].slice(0, longest).join('').trim() || 'a'
const password: Draw = (random) => (random() < 0.5 ? PASSWORD : 'another horse')

/** By name of the parameter. */
const VALID: Readonly<Record<string, Draw>> = {
  session: (random, world) => oneOf(random() < 0.97 ? world.sessions : world.foreignSessions, random),
  idempotency_key: (random) => `${KEY} ${below(50, random)}`,
  username: (random, { username }) =>
    oneOf([username, username.toUpperCase(), `${username}.`, 'nobody', 'NoBody', 'root', 'admin', '...'], random),
  password,
  new_password: (random) => (random() < 0.5 ? PASSWORD : NEW_PASSWORD),
  name: text,
  category: count(0, 65_535),
  keywords: (random) => Array.from({ length: below(6, random) }, () => short(8)(random, NO_WORLD)),
  condition: (random) => oneOf(['new', 'used'], random),
  price_cents: count(0, 1_000_000_000),
  quantity: count(1, 10_000),
  change: count(-1_000, 1_000_000),
  item_id: (random, { items }) => (random() < 0.7 ? oneOf(items, random) : 1 + below(MOST_IDS, random)),
  seller_id: (random) => 1 + below(MOST_IDS, random),
  limit: count(1, 100),
  cursor: (random) => oneOf(['1', '7', '300', '65535', '9007199254740991', '3-300', '1-9', '300-300'], random),
  include_sold_out: (random) => random() < 0.5,
  databases: (random) => random() < 0.2,
  total_cents: count(0, 10_000_000),
  vote: (random) => oneOf(['up', 'down'], random),
}
const NO_WORLD: World = { sessions: [], foreignSessions: [], username: '', items: [] }

for (const role of ROLES) {
  for (const [name, { params }] of Object.entries(operations[role])) {
    for (const parameter of Object.keys(params.shape)) {
      if (!(parameter in VALID)) throw new Error(`${role}'s ${name}: test/fuzz/values.ts lacks ${parameter}`)
    }
  }
}

/** A value that the parameter usually takes. */
export function drawValid(parameter: string, random: Random, world: World): unknown {
  return VALID[parameter]?.(random, world)
}

const NUMBERS = [
  ...['0', '-0', '-1', '1', '1.5', '-1.5', '1e3', '1E+2', '1e400', '-1e400', '1e-400', '0.1', '1.0'],
  ...['32', '33', '64', '65', '100', '101', '10000', '10001', '65535', '65536', '1000000', '1000001'],
  ...['1000000000', '1000000001', '2147483648', '4294967295', '4294967296', '-9007199254740991', '-9007199254740993'],
  ...['9007199254740991', '9007199254740992', '9007199254740993', '18446744073709551615', '18446744073709551616'],
]
const CONSTANTS = ['null', 'true', 'false', '[]', '{}', '[[]]', '[null]', '[{}]', '{"a":1}', '[1,"a",null]']
const POLLUTING = [
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '{"toString":1,"valueOf":null,"hasOwnProperty":true}',
  '{"toJSON":1,"then":1,"length":-1}',
  '"__proto__"',
  '"constructor"',
  '"toString"',
]
const STRINGS = [
  ...[...TEXTS, ...INVISIBLE_NAMES, ...TURNING].map((text) => JSON.stringify(text)),
  ...['"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00\\ud800"', '"a\\udfff"', '"\\ufeff"', '"a\\nb"', '"\\r"'],
  ...['"\\u001b[31m"', '" edge"', '"edge "', '"\\/"', '"\\u0061"', '"%s%n"', '"../../etc/passwd"', '"{{7*7}}"'],
  ...['"NEW"', '"new "', '"up"', '"1"', '"-1"', '"1-1"', '"0"', '"true"', '"null"', '"[object Object]"'],
]
/** Long when repeated: plain, combining, many bytes, escaped. */
const PIECES = [
  'a',
  '\u0301',
  'a\u0301\u0323',
  '\u0344',
  'ﷺ',
  '\u1112\u1161\u11ab',
  '😀',
  '\\u0301',
  '\\ud800',
  '%',
  ' ',
]

/** A JSON text that fits few parameters. */
export function drawHostile(random: Random): string {
  const kind = random()
  if (kind < 0.35) return oneOf(NUMBERS, random)
  if (kind < 0.5) return oneOf(CONSTANTS, random)
  if (kind < 0.58) return oneOf(POLLUTING, random)
  if (kind < 0.95) return oneOf(STRINGS, random)
  return drawLarge(random)
}

/** A JSON text that is long or deep. */
export function drawLarge(random: Random): string {
  const length = Math.ceil(LONGEST ** random())
  const many = (piece: string, open: string, close: string) =>
    open + piece.repeat(Math.ceil(length / Buffer.byteLength(piece))) + close
  const kind = random()
  if (kind < 0.5) return many(oneOf(PIECES, random), '"', '"')
  if (kind < 0.7) return '['.repeat(length / 2) + ']'.repeat(length / 2)
  if (kind < 0.8) return `${'{"a":'.repeat(length / 6)}1${'}'.repeat(length / 6)}`
  if (kind < 0.9) return `[${many('0,', '', '')}0]`
  const fields = Array.from({ length: Math.ceil(length / 16) }, (_, index) => `"field ${index}":${index}`)
  return `{${fields.join(',')}}`
}

/** Names of fields that no operation has, or only another one; those that belong to the server among them. */
export const EXTRA_FIELDS: readonly string[] = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'toJSON', 'then', 'length', ''],
  ...['seller_id', 'buyer_id', 'account_id', 'id', 'thumbs_up', 'thumbs_down', 'items_sold', 'seller_name', 'role'],
  ...['item_id', 'quantity', 'price_cents', 'total_cents', 'purchase_id', 'session', 'idempotency_key', 'password'],
  ...['is_admin', 'Session', 'ITEM_ID', 'item_id ', 'item_id\u0000', 'a\nb', '\u202eb', '\ud800', "' OR 1=1 -- "],
]
