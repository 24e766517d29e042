/** Lines that are as expensive to refuse or to answer as their length allows: by name, without line end. */

import { operationsByName, type Role } from '../../src/contract/operations.ts'

/** Text of `bytes` bytes in UTF-8, or one character less. */
type Filler = (bytes: number) => string

const repeat = (text: string): Filler => {
  const size = Buffer.byteLength(text)
  return (bytes) => text.repeat(Math.floor(bytes / size))
}
const list = (open: string, entry: (index: number) => string, close: string): Filler => {
  return (bytes) => {
    const entries: string[] = []
    let size = open.length + close.length - 1
    for (let index = 0; ; index += 1) {
      const next = entry(index)
      size += Buffer.byteLength(next) + 1
      if (size > bytes) return `${open}${entries.join(',')}${close}`
      entries.push(next)
    }
  }
}

/** JSON strings without their quotes. */
const TEXTS: Readonly<Record<string, Filler>> = {
  letters: repeat('a'),
  'combining marks': repeat('\u0301'),
  'combining marks of two classes': repeat('\u0301\u0323'),
  'letters with marks': repeat('a\u0323\u0301'),
  'Hangul parts': repeat('\u1112\u1161\u11ab'),
  'characters that grow in normal form': repeat('\ufb2c'),
  'characters outside the first plane': repeat('\u{1d15e}'),
  spaces: repeat(' '),
  'zero-width joiners': repeat('\u200d'),
  emoji: repeat('😀'),
  'dotted I': repeat('İ'),
  'final sigmas': repeat('Σ'),
  escapes: repeat('\\u0301'),
  'halves of characters': repeat('\\ud800'),
  'control characters': repeat('\\u0000'),
  digits: repeat('9'),
}

/** JSON values. */
const VALUES: Readonly<Record<string, Filler>> = {
  'a long number': repeat('9'),
  'a long fraction': (bytes) => `0.${'1'.repeat(bytes - 2)}`,
  'a list of numbers': list('[', () => '1', ']'),
  'a list of empty strings': list('[', () => '""', ']'),
  'a list of short words': list('[', (index) => `"${index.toString(36)}"`, ']'),
  'a list of marks': list('[', () => `"${'\u0301\u0323'.repeat(20)}"`, ']'),
  'a list of lists': list('[', () => '[]', ']'),
  'a list of objects': list('[', () => '{}', ']'),
  'an object of many names': list('{', (index) => `"${index.toString(36)}":1`, '}'),
  'an object of many numbers': list('{', (index) => `"${index}":1`, '}'),
  'an object of one name': list('{', () => '"a":1', '}'),
  'an object of far numbers': list('{', (index) => `"${4_294_967_294 - index * 7_919}":1`, '}'),
  'deep lists': (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2),
  'deep objects': (bytes) => `${'{"a":'.repeat((bytes - 1) / 6)}1${'}'.repeat((bytes - 1) / 6)}`,
}

/** Lines of `bytes` bytes at most, and not many fewer. */
export function adversarialLines(role: Role, bytes: number): ReadonlyMap<string, string> {
  const lines = new Map<string, string>()
  const add = (name: string, head: string, filler: Filler, tail: string) =>
    lines.set(name, head + filler(bytes - Buffer.byteLength(head + tail)) + tail)

  for (const [name, filler] of Object.entries(VALUES)) {
    add(`only ${name}`, '', filler, '')
    add(`${name} as id`, '{"jsonrpc":"2.0","method":"ping","id":', filler, '}')
    add(`${name} as params`, '{"jsonrpc":"2.0","id":1,"method":"ping","params":', filler, '}')
    add(`${name} beside the params`, '{"jsonrpc":"2.0","id":1,"method":"ping","extra":', filler, '}')
  }
  for (const [name, filler] of Object.entries(TEXTS)) {
    add(`only ${name}`, '"', filler, '"')
    add(`${name} as id`, '{"jsonrpc":"2.0","method":"ping","id":"', filler, '"}')
    add(`${name} as id of a refusal`, '{"jsonrpc":"2.0","method":"no","id":"', filler, '"}')
    add(`${name} as method`, '{"jsonrpc":"2.0","id":1,"method":"', filler, '"}')
    add(`${name} as a parameter's name`, '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"', filler, '":1}}')
  }
  for (const [method, operation] of operationsByName(role)) {
    const request = `{"jsonrpc":"2.0","id":1,"method":"${method}","params":{`
    add(
      `many unknown names for ${method}`,
      `${request}"":1,`,
      (left) => list('{', (index) => `"${index.toString(36)}":1`, '}')(left + 2).slice(1, -1),
      '}}',
    )
    for (const field of Object.keys(operation.params.shape)) {
      for (const [name, filler] of Object.entries(TEXTS)) {
        add(`${name} as ${field} of ${method}`, `${request}"${field}":"`, filler, '"}}')
        add(`${name} in a list as ${field} of ${method}`, `${request}"${field}":["`, filler, '"]}}')
      }
      for (const [name, filler] of Object.entries(VALUES))
        add(`${name} as ${field} of ${method}`, `${request}"${field}":`, filler, '}}')
    }
  }
  const request = (fields: object) => JSON.stringify({ jsonrpc: '2.0', ...fields })
  const entries = {
    '1': '1',
    'empty lists': '[]',
    'empty objects': '{}',
    pings: request({ id: 1, method: 'ping' }),
    'pings without a reply': request({ method: 'ping' }),
    'unknown methods': request({ id: 1, method: 'x' }),
    'invalid parameters': request({ id: 1, method: 'login', params: { a: 1, b: 1, c: 1, d: 1, e: 1, f: 1 } }),
  }
  for (const [name, entry] of Object.entries(entries))
    add(`an array of ${name}`, '[', (left) => list('[', () => entry, ']')(left + 2).slice(1, -1), ']')
  add('spaces', '', repeat(' '), '')
  add('opening brackets', '', repeat('['), '')
  add('a request line of HTTP', 'GET /', repeat(' '), ' HTTP/1.1')
  add('no request line of HTTP', 'GET ', repeat(' HTTP/'), '')
  return lines
}
