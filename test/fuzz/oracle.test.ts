/** The judge of the fuzzing: what it expects of some bytes, and that it notices each kind of wrong reply. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { expect, type Judge, Replies } from './oracle.ts'

const SESSION = 'session-of-ann'
const judge: Judge = {
  role: 'buyer',
  sessions: { seller: new Map([['session-of-sam', 'sam']]), buyer: new Map([[SESSION, 'ann']]) },
  lineLimitBytes: 1_000,
}

const request = (id: unknown, method: string, params: object = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, params })
const result = (id: unknown, value: object) => JSON.stringify({ jsonrpc: '2.0', id, result: value })
const refusal = (id: unknown, code: number, name: string, details = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, error: { code, message: 'no', data: { code: name, ...details } } })

/** What is wrong with the replies to the lines: the first problem, or the ids that are missing. */
function judgeReplies(lines: string, replies: readonly string[], finished = false): string | undefined {
  const taken = new Replies(expect(Buffer.from(lines, 'latin1'), finished, judge))
  for (const reply of replies) {
    const problem = taken.take(reply)
    if (problem !== undefined) return problem
  }
  return taken.missing > 0 ? `missing: ${taken.missingKeys}` : undefined
}

const PONG = { ok: true, version: '1' }
const whoami = `${request(1, 'whoami', { session: SESSION })}\n`
const ann = { id: 1, username: 'ann', name: 'Ann', expires_in_s: 300 }

const right: Record<string, [lines: string, replies: string[], finished?: boolean]> = {
  'replies in another order': [
    `${request(1, 'ping')}\n${request('1', 'ping')}\n`,
    [result('1', PONG), result(1, PONG)],
  ],
  'nothing for a notification, a reply, an empty line, or a line without its end': [
    `{"jsonrpc":"2.0","method":"ping"}\n{"id":1,"result":{}}\n\n\r\n${request(1, 'ping')}`,
    [],
  ],
  'a reply for a last line without its end': [request(1, 'ping'), [result(1, PONG)], true],
  'a refusal with the id null for what is no JSON or no request': [
    '{\n[]\n7\n{"id":1.5}\n',
    [refusal(null, -32700, 'parse_error'), ...Array(3).fill(refusal(null, -32600, 'invalid_request'))],
  ],
  'the replies to an array in the order of its requests': [
    `[${request(1, 'ping')},{},7]\n`,
    [`[${result(1, PONG)},${refusal(null, -32600, 'invalid_request')}]`],
  ],
  'the session’s own account': [whoami, [result(1, ann)]],
  'one refusal for a line that is too long, and nothing for what follows': [
    `${'x'.repeat(1_001)}\n${request(1, 'ping')}\n`,
    [refusal(null, -32600, 'invalid_request')],
  ],
}

const wrong: Record<string, [lines: string, replies: string[], problem: RegExp]> = {
  'no reply': [whoami, [], /missing: 1/],
  'a reply with another id': [whoami, [result(2, ann)], /belongs to nothing/],
  'a reply with the id as text': [whoami, [result('1', ann)], /belongs to nothing/],
  'two replies': [whoami, [result(1, ann), result(1, ann)], /belongs to nothing/],
  'a reply to a notification': ['{"jsonrpc":"2.0","method":"ping"}\n', [result(null, PONG)], /belongs to nothing/],
  'another account': [whoami, [result(1, { ...ann, username: 'bob' })], /whoami tells ann to be bob/],
  'a result that lacks a field': [whoami, [result(1, { id: 1 })], /not that of the contract/],
  'a result with a field more': [whoami, [result(1, { ...ann, password: 'x' })], /not that of the contract/],
  'a result for a session of the other role': [
    `${request(1, 'whoami', { session: 'session-of-sam' })}\n`,
    [result(1, ann)],
    /never opened/,
  ],
  'an internal error': [whoami, [refusal(1, -32603, 'internal')], /internal where only/],
  'a code that the operation does not list': [whoami, [refusal(1, -32006, 'cart_empty')], /cart_empty where only/],
  'a number of another code': [whoami, [refusal(1, -32002, 'unauthenticated')], /another form/],
  'a detail that the code does not have': [
    whoami,
    [refusal(1, -32001, 'unauthenticated', { rows: 1 })],
    /the field rows/,
  ],
  'a refusal that repeats the session': [
    `${request(1, 'whoami', { session: SESSION, a: 1 })}\n`,
    [refusal(1, -32602, 'invalid_params', { fields: { a: SESSION } })],
    /repeats the session/,
  ],
  'a result where a refusal is due': [`${request(1, 'ping', { a: 1 })}\n`, [result(1, PONG)], /a result where/],
  'invalid_params for right parameters': [whoami, [refusal(1, -32602, 'invalid_params')], /invalid_params where only/],
  'an array in another order': [
    `[${request(1, 'ping')},${request(2, 'ping')}]\n`,
    [`[${result(2, PONG)},${result(1, PONG)}]`],
    /belongs to nothing/,
  ],
  'an array without its last reply': [`[${request(1, 'ping')},7]\n`, [`[${result(1, PONG)}]`], /belongs to nothing/],
  'something that is no JSON': [whoami, ['oops'], /belongs to nothing/],
}

describe('the judge of replies', () => {
  for (const [about, [lines, replies, finished]] of Object.entries(right)) {
    it(`accepts ${about}`, () => assert.equal(judgeReplies(lines, replies, finished), undefined))
  }
  for (const [about, [lines, replies, problem]] of Object.entries(wrong)) {
    it(`notices ${about}`, () => assert.match(judgeReplies(lines, replies) ?? '', problem))
  }
})
