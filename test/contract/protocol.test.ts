/**
 * The codec, fed raw bytes: the same stream must give the same lines however
 * it is cut; any line must give a request or a refusal, never an exception and
 * never an echo of itself.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { LineDecoder } from '../../src/contract/lines.ts'
import {
  decodeLine,
  decodeReply,
  encodeArray,
  encodeNotification,
  encodeRefusal,
  encodeRequest,
  encodeResult,
  encodeSlices,
  isLong,
  type Malformed,
  type Request,
  type RequestId,
  toRequest,
} from '../../src/contract/protocol.ts'
import { ERROR_NUMBERS, type ErrorCode } from '../../src/contract/refusals.ts'

const LIMIT_BYTES = 16

/** Everything that a decoder returns for these chunks: whole lines, then the rest at the end of the stream. */
function decode(chunks: readonly Buffer[], limitBytes = LIMIT_BYTES) {
  const decoder = new LineDecoder(limitBytes)
  const lines: string[] = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let line = decoder.next(); line !== undefined; line = decoder.next()) lines.push(line.toString('latin1'))
  }
  return { lines, overlong: decoder.overlong, rest: decoder.rest().toString('latin1') }
}

/** The same bytes in two chunks, cut at every offset, and byte by byte. */
function everyCut(bytes: Buffer): Buffer[][] {
  const cuts = Array.from({ length: bytes.length + 1 }, (_, at) => [bytes.subarray(0, at), bytes.subarray(at)])
  return [[bytes], ...cuts, Array.from(bytes, (byte) => Buffer.from([byte]))]
}

const streams: { about: string; bytes: string; lines: string[]; overlong?: boolean; rest?: string }[] = [
  { about: 'one line', bytes: 'abc\n', lines: ['abc'] },
  { about: 'two lines', bytes: 'abc\nde\n', lines: ['abc', 'de'] },
  { about: 'CRLF', bytes: 'abc\r\nde\r\n', lines: ['abc', 'de'] },
  { about: 'a carriage return within a line', bytes: 'a\rb\n', lines: ['a\rb'] },
  { about: 'empty lines of both kinds', bytes: '\n\r\n\nabc\n\n', lines: ['abc'] },
  { about: 'no final newline', bytes: 'abc\nde', lines: ['abc'], rest: 'de' },
  { about: 'nothing', bytes: '', lines: [] },
  { about: 'NUL bytes', bytes: 'a\0b\n\0\n', lines: ['a\0b', '\0'] },
  {
    about: 'a line exactly at the limit',
    bytes: `${'x'.repeat(LIMIT_BYTES)}\na\n`,
    lines: ['x'.repeat(LIMIT_BYTES), 'a'],
  },
  {
    about: 'a line one byte over the limit',
    bytes: `a\n${'x'.repeat(LIMIT_BYTES + 1)}\nb\n`,
    lines: ['a'],
    overlong: true,
  },
  { about: 'a begun line over the limit', bytes: `a\n${'x'.repeat(LIMIT_BYTES + 1)}`, lines: ['a'], overlong: true },
  {
    about: 'split UTF-8',
    bytes: Buffer.from('"é€😀"\n').toString('latin1'),
    lines: [Buffer.from('"é€😀"').toString('latin1')],
  },
]

describe('a line decoder', () => {
  for (const { about, bytes, lines, overlong = false, rest = '' } of streams) {
    it(`cuts ${about} the same at every offset`, () => {
      for (const chunks of everyCut(Buffer.from(bytes, 'latin1'))) {
        assert.deepEqual(decode(chunks), { lines, overlong, rest })
      }
    })
  }

  it('gives the same lines however the bytes are cut', () => {
    const byte = fc.constantFrom(...Buffer.from('ab\n\r\0\xff', 'latin1'))
    fc.assert(
      fc.property(fc.array(fc.array(byte, { maxLength: 24 }), { maxLength: 12 }), (pieces) => {
        const chunks = pieces.map((piece) => Buffer.from(piece))
        assert.deepEqual(decode(chunks), decode([Buffer.concat(chunks)]))
      }),
      { numRuns: 1_000 },
    )
  })

  it('keeps lines that have not been pulled when more bytes come', () => {
    const decoder = new LineDecoder(LIMIT_BYTES)
    decoder.push(Buffer.from('a\nb\nc'))
    assert.equal(decoder.next()?.toString(), 'a')
    assert.equal(decoder.overlong, false)
    decoder.push(Buffer.from('d\n'))
    assert.deepEqual([decoder.next()?.toString(), decoder.next()?.toString(), decoder.next()], ['b', 'cd', undefined])
    assert.equal(decoder.unfinished, false)
  })

  it('says whether a line has begun, and with which byte', () => {
    const decoder = new LineDecoder(LIMIT_BYTES)
    decoder.push(Buffer.from('a\nbc'))
    decoder.next()
    decoder.next()
    assert.deepEqual([decoder.unfinished, decoder.firstByte], [true, 0x62])
    decoder.push(Buffer.from('\n'))
    decoder.next()
    assert.deepEqual([decoder.unfinished, decoder.firstByte], [false, undefined])
  })

  it('forgets what it has when told to', () => {
    const decoder = new LineDecoder(LIMIT_BYTES)
    for (const bytes of ['a\nb\nc', 'd\ne']) {
      decoder.push(Buffer.from(bytes))
      decoder.next()
      decoder.discard()
      assert.deepEqual([decoder.next(), decoder.unfinished, decoder.rest().length], [undefined, false, 0])
    }
  })
})

/** Something no refusal may repeat. */
const CANARY = 'canary'

function decodeRequest(line: string | Buffer): Request | Malformed {
  const read = decodeLine(Buffer.from(line))
  assert.ok(!Array.isArray(read), 'an array was not expected')
  return read
}

function decodeRefusal(line: string | Buffer): Malformed {
  const request = decodeRequest(line)
  assert.ok('refusal' in request, `a refusal was expected for ${line.toString().slice(0, 80)}`)
  assert.ok(!JSON.stringify(request.refusal).includes(CANARY), 'a refusal repeats what the line said')
  return request
}

const request = (fields: string) => `{"jsonrpc":"2.0","id":1,"method":"ping"${fields}}`
const withId = (id: string) => `{"jsonrpc":"2.0","id":${id},"method":"${CANARY}"}`

const refusals: { about: string; line: string | Buffer; code: ErrorCode; id?: RequestId | undefined }[] = [
  { about: 'no JSON', line: CANARY, code: 'parse_error' },
  { about: 'cut off JSON', line: `{"jsonrpc":"2.0","id":1,"method":"${CANARY}`, code: 'parse_error' },
  { about: 'two JSON texts', line: `${request('')} "${CANARY}"`, code: 'parse_error' },
  {
    about: 'a byte order mark',
    line: Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(request(''))]),
    code: 'parse_error',
  },
  { about: 'a NUL byte', line: `${request('')}\0`, code: 'parse_error' },
  { about: 'UTF-8 cut off', line: Buffer.from('"é"').subarray(0, 2), code: 'parse_error' },
  { about: 'overlong UTF-8', line: Buffer.from([0x22, 0xc0, 0xaf, 0x22]), code: 'parse_error' },
  { about: 'a surrogate in UTF-8', line: Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), code: 'parse_error' },
  { about: 'Latin-1', line: Buffer.from(request(`,"params":{"name":"é"}`), 'latin1'), code: 'parse_error' },
  { about: 'open brackets without end', line: '['.repeat(65_536), code: 'parse_error' },
  { about: 'an empty array', line: '[]', code: 'invalid_request' },
  { about: 'a deeply nested id', line: withId('['.repeat(30_000) + ']'.repeat(30_000)), code: 'invalid_request' },
  { about: 'a number', line: '17', code: 'invalid_request' },
  { about: 'null', line: 'null', code: 'invalid_request' },
  { about: 'a string', line: `"${CANARY}"`, code: 'invalid_request' },
  { about: 'a fractional id', line: withId('1.5'), code: 'invalid_request' },
  { about: 'an infinite id', line: withId('1e400'), code: 'invalid_request' },
  { about: 'an id beyond what a number holds', line: withId('9007199254740993'), code: 'invalid_request' },
  { about: 'an object for an id', line: withId(`{"${CANARY}":1}`), code: 'invalid_request' },
  { about: 'a truth value for an id', line: withId('true'), code: 'invalid_request' },
  { about: 'no jsonrpc', line: `{"id":7,"method":"${CANARY}"}`, code: 'invalid_request', id: 7 },
  { about: 'jsonrpc 1.0', line: `{"jsonrpc":"1.0","id":"a","method":"${CANARY}"}`, code: 'invalid_request', id: 'a' },
  { about: 'jsonrpc as a number', line: '{"jsonrpc":2.0,"id":7,"method":"ping"}', code: 'invalid_request', id: 7 },
  { about: 'no method', line: '{"jsonrpc":"2.0","id":7}', code: 'invalid_request', id: 7 },
  { about: 'a number for a method', line: '{"jsonrpc":"2.0","id":7,"method":1}', code: 'invalid_request', id: 7 },
  { about: 'an array for params', line: request(`,"params":["${CANARY}"]`), code: 'invalid_params', id: 1 },
  { about: 'a string for params', line: request(`,"params":"${CANARY}"`), code: 'invalid_params', id: 1 },
  { about: 'null for params', line: request(',"params":null'), code: 'invalid_params', id: 1 },
  { about: 'a call of another version with the id null', line: '{"id":null,"method":"a"}', code: 'invalid_request' },
]

/** Objects that get no reply. */
const unanswered: { about: string; line: string }[] = [
  { about: 'an empty object', line: '{}' },
  { about: 'nothing but a prototype', line: `{"__proto__":${request('')}}` },
  { about: 'a notification of another version', line: `{"jsonrpc":"1.0","method":"${CANARY}"}` },
  { about: 'a notification without a version', line: '{"method":"ping"}' },
  { about: 'a notification whose method is a number', line: '{"jsonrpc":"2.0","method":1}' },
  {
    about: 'a notification whose params are an array',
    line: `{"jsonrpc":"2.0","method":"ping","params":["${CANARY}"]}`,
  },
  { about: 'a notification whose params are null', line: '{"jsonrpc":"2.0","method":"ping","params":null}' },
  { about: 'an id in capitals', line: '{"jsonrpc":"2.0","ID":1,"method":1}' },
  { about: 'a result', line: '{"jsonrpc":"2.0","id":1,"result":{}}' },
  { about: 'an error', line: `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"${CANARY}"}}` },
  { about: 'an error about a line without an id', line: '{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}' },
  { about: 'a reply of version 1.0', line: '{"id":1.5,"result":null,"error":null}' },
]

describe('decodeLine', () => {
  for (const { about, line, code, id = null } of refusals) {
    it(`refuses ${about} as ${code}`, () => {
      const malformed = decodeRefusal(line)
      assert.equal(malformed.refusal.code, code)
      assert.equal(malformed.id, id)
    })
  }

  for (const { about, line } of unanswered) {
    it(`refuses ${about} without an id for a reply`, () => {
      assert.equal(decodeRefusal(line).id, undefined)
    })
  }

  it('gives the entries of an array, each of which is a request or a refusal', () => {
    const line = `[${request('')},{"jsonrpc":"2.0","method":"ping"},1,[],[${request('')}],"${CANARY}",null,{}]`
    const entries = decodeLine(Buffer.from(line))
    assert.ok(Array.isArray(entries))
    assert.deepEqual(toRequest(entries[0]), { id: 1, method: 'ping', params: {} })
    assert.deepEqual(toRequest(entries[1]), { id: undefined, method: 'ping', params: {} })
    for (const entry of entries.slice(2, 7)) {
      const refused = toRequest(entry)
      assert.ok('refusal' in refused && refused.id === null && refused.refusal.code === 'invalid_request')
      assert.ok(!JSON.stringify(refused).includes(CANARY))
    }
    assert.equal(toRequest(entries[7]).id, undefined)
  })

  it('reads deeply nested arrays', () => {
    const entries = decodeLine(Buffer.from('['.repeat(30_000) + ']'.repeat(30_000)))
    assert.ok(Array.isArray(entries) && entries.length === 1 && toRequest(entries[0]).id === null)
  })

  it('accepts ids of every allowed kind', () => {
    const ids = [0, 1, -1, 9007199254740991, '', 'a', '😀', null]
    for (const id of ids) {
      assert.deepEqual(decodeRequest(encodeRequest(id, 'ping', {}).trimEnd()), {
        id,
        method: 'ping',
        params: {},
      })
    }
    const negativeZero = decodeRequest(withId('-0'))
    assert.ok(!('refusal' in negativeZero) && negativeZero.id === 0)
  })

  it('treats a request without an id as a notification', () => {
    const notification = decodeRequest('{"jsonrpc":"2.0","method":"ping"}')
    assert.deepEqual(notification, { id: undefined, method: 'ping', params: {} })
  })

  it('uses the last of two fields with the same name', () => {
    const read = decodeRequest('{"jsonrpc":"2.0","id":1,"id":2,"method":"a","method":"b"}')
    assert.deepEqual(read, { id: 2, method: 'b', params: {} })
  })

  it('passes on names that have a meaning for objects, and changes no prototype', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const line = `{"jsonrpc":"2.0","id":1,"method":"${name}","params":{"${name}":{"polluted":true}},"${name}":{"polluted":true}}`
      const read = decodeRequest(line)
      assert.ok(!('refusal' in read))
      assert.equal(read.method, name)
      assert.ok(Object.hasOwn(read.params, name))
      assert.equal(Object.getPrototypeOf(read.params), Object.prototype)
    }
    assert.ok(!('polluted' in {}))
  })

  it('returns a request or a refusal for any bytes, and never throws', () => {
    const bytes = fc.uint8Array({ maxLength: 64 }).map((array) => Buffer.from(array))
    const json = fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)))
    const nearly = fc
      .record(
        {
          jsonrpc: fc.constantFrom('2.0', '1.0', 2),
          id: fc.jsonValue(),
          method: fc.jsonValue(),
          params: fc.jsonValue(),
        },
        { requiredKeys: [] },
      )
      .map((value) => Buffer.from(JSON.stringify(value)))
    fc.assert(
      fc.property(fc.oneof(bytes, json, nearly), (line) => {
        const read = decodeLine(line)
        for (const entry of Array.isArray(read) ? read.map(toRequest) : [read]) {
          if ('refusal' in entry) {
            assert.ok(entry.refusal.code in ERROR_NUMBERS)
            encodeRefusal(entry.id ?? null, entry.refusal)
          } else {
            assert.equal(typeof entry.method, 'string')
            assert.ok(typeof entry.params === 'object' && !Array.isArray(entry.params))
          }
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

const whole = (fields: object) => ({ jsonrpc: '2.0', id: 1, ...fields })
const error = { code: -32001, message: 'log in first', data: { code: 'unauthenticated' } }
/** Lines that no server of souk sends. */
const noReplies: { about: string; line: string | Buffer | object }[] = [
  { about: 'nothing', line: '' },
  { about: 'no JSON', line: 'SSH-2.0-OpenSSH_9.2p1' },
  { about: 'the beginning of a web page', line: 'HTTP/1.1 400 Bad Request' },
  {
    about: 'bytes that are not UTF-8',
    line: Buffer.from('{"jsonrpc":"2.0","id":1,"result":{"name":"\xe9"}}', 'latin1'),
  },
  { about: 'a number', line: '7' },
  { about: 'null', line: 'null' },
  { about: 'a string', line: '"ok"' },
  { about: 'an array', line: [whole({ result: {} })] },
  { about: 'an empty object', line: {} },
  { about: 'a reply without a result', line: whole({}) },
  { about: 'a reply with a result and an error', line: whole({ result: {}, error }) },
  { about: 'a reply with the result null', line: whole({ result: null }) },
  { about: 'a reply with a number for a result', line: whole({ result: 1 }) },
  { about: 'a reply with an array for a result', line: whole({ result: [] }) },
  { about: 'a reply of JSON-RPC 1.0', line: { id: 1, result: {}, error: null } },
  { about: 'an error of JSON-RPC 1.0', line: whole({ result: null, error }) },
  { about: 'a reply without a version', line: { id: 1, result: {} } },
  { about: 'a reply without an id', line: { jsonrpc: '2.0', result: {} } },
  { about: 'a reply with an object for an id', line: whole({ id: {}, result: {} }) },
  { about: 'a reply with a fractional id', line: whole({ id: 1.5, result: {} }) },
  { about: 'a request', line: whole({ method: 'ping' }) },
  { about: 'a reply that is a request too', line: whole({ method: 'ping', result: {} }) },
  { about: 'a notification without a method', line: { jsonrpc: '2.0' } },
  { about: 'a notification whose method is a number', line: { jsonrpc: '2.0', method: 1 } },
  { about: 'a text for an error', line: whole({ error: 'no' }) },
  { about: 'null for an error', line: whole({ error: null }) },
  { about: 'an error without a number', line: whole({ error: { ...error, code: undefined } }) },
  { about: 'an error with a text for a number', line: whole({ error: { ...error, code: '-32001' } }) },
  { about: 'an error without a message', line: whole({ error: { ...error, message: undefined } }) },
  { about: 'an error without data', line: whole({ error: { ...error, data: undefined } }) },
  { about: 'an error with null for data', line: whole({ error: { ...error, data: null } }) },
  { about: 'an error without its code as a word', line: whole({ error: { ...error, data: { code: 5 } } }) },
]

describe('decodeReply', () => {
  const decode = (line: string | Buffer | object) =>
    decodeReply(
      typeof line === 'string' || Buffer.isBuffer(line) ? Buffer.from(line) : Buffer.from(JSON.stringify(line)),
    )

  for (const { about, line } of noReplies) {
    it(`takes ${about} for no reply`, () => assert.equal(decode(line), undefined))
  }

  it('gives results, refusals and notifications', () => {
    assert.deepEqual(decode(whole({ result: { ok: true } })), whole({ result: { ok: true } }))
    assert.deepEqual(decode(whole({ error })), whole({ error }))
    assert.deepEqual(decode(whole({ id: null, error })), whole({ id: null, error }))
    assert.deepEqual(decode({ jsonrpc: '2.0', method: 'shutting_down' }), { method: 'shutting_down' })
  })

  it('never throws', () => {
    const bytes = fc.uint8Array({ maxLength: 64 }).map((array) => Buffer.from(array))
    const keys = fc.constantFrom('jsonrpc', 'id', 'method', 'result', 'error')
    const nearly = fc.dictionary(keys, fc.oneof(fc.constant('2.0'), fc.jsonValue()))
    fc.assert(
      fc.property(fc.oneof(bytes, fc.jsonValue().map(JSON.stringify), nearly), (line) => {
        decode(line)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('the encoders', () => {
  it('write one line for each message, which decodes to what was encoded', () => {
    const anyText = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(
        fc.oneof(anyText, fc.maxSafeInteger(), fc.constant(null)),
        anyText,
        fc.dictionary(anyText, anyText),
        (id, method, params) => {
          const bytes = Buffer.from(encodeRequest(id, method, params))
          assert.equal(bytes.indexOf('\n'), bytes.length - 1)
          const wellFormed = JSON.parse(JSON.stringify({ id, method, params }))
          assert.deepEqual(decodeRequest(bytes.subarray(0, -1)), wellFormed)
        },
      ),
    )
  })

  it('write results as they are', () => {
    assert.equal(encodeResult('a"b', '{"ok":true}'), '{"jsonrpc":"2.0","id":"a\\"b","result":{"ok":true}}\n')
    assert.equal(encodeResult(null, '[]'), '{"jsonrpc":"2.0","id":null,"result":[]}\n')
  })

  it('write long results in slices of 500 entries that together are the same bytes', () => {
    const entry = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.record({ name: fc.string(), keywords: fc.array(fc.string()) }),
    )
    const list = fc.record({ entry, length: fc.constantFrom(0, 1, 500, 501, 1_000, 1_001, 1_500) })
    const lists = list.map(({ entry, length }) => Array.from({ length }, (_, index) => [index, entry]))
    const result = fc.dictionary(fc.string(), fc.oneof(lists, fc.jsonValue()))
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constant(null)), result, (id, fields) => {
        const longest = Math.max(0, ...Object.values(fields).map((value) => (Array.isArray(value) ? value.length : 0)))
        assert.equal(isLong(fields), longest > 500)
        if (!isLong(fields)) return
        const slices = [...encodeSlices(id, fields)]
        assert.equal(Buffer.concat(slices).toString(), encodeResult(id, JSON.stringify(fields)))
        assert.ok(slices.length > longest / 500, `${slices.length} slices`)
      }),
    )
  })

  it('write the replies to an array as one line, also if some were encoded in slices', () => {
    const lines = fc
      .tuple(fc.array(fc.tuple(fc.jsonValue(), fc.boolean()), { minLength: 1 }), fc.constantFrom(1, 600))
      .map(([entries, times]) => Array.from({ length: times }, () => entries).flat())
    fc.assert(
      fc.property(lines, (entries) => {
        const replies = entries.map(([value, inSlices], id) => {
          const line = encodeResult(id, JSON.stringify(value))
          return inSlices ? Buffer.from(line) : line
        })
        const slices = [...encodeArray(replies)]
        assert.equal(slices.length, Math.ceil(replies.length / 500))
        const text = Buffer.concat(slices).toString()
        assert.equal(text.indexOf('\n'), text.length - 1)
        assert.deepEqual(
          JSON.parse(text),
          replies.map((reply) => JSON.parse(reply.toString())),
        )
      }),
    )
  })

  it('write refusals with their number, their code and their details', () => {
    const line = encodeRefusal(3, { code: 'overloaded', message: 'too much', details: { retry_after_ms: 100 } })
    assert.deepEqual(JSON.parse(line), {
      jsonrpc: '2.0',
      id: 3,
      error: { code: -32011, message: 'too much', data: { code: 'overloaded', retry_after_ms: 100 } },
    })
  })

  it('write lone surrogates as escapes, so that the line stays UTF-8', () => {
    const line = encodeRequest('\ud800', 'ping', {})
    assert.ok(line.includes('\\ud800'))
    assert.deepEqual(decodeRequest(line.trimEnd()), { id: '\ud800', method: 'ping', params: {} })
  })

  it('write notifications without an id', () => {
    assert.deepEqual(JSON.parse(encodeNotification('shutting_down')), { jsonrpc: '2.0', method: 'shutting_down' })
  })

  it('use a different number for every error code', () => {
    const numbers = Object.values(ERROR_NUMBERS)
    assert.equal(new Set(numbers).size, numbers.length)
  })
})
