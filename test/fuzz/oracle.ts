/**
 * What a server may answer to the bytes of a client: judged from the bytes, by
 * the rules of the protocol and the contract. Pure: it knows no sockets.
 */

import { isUtf8 } from 'node:buffer'
import type { z } from 'zod'
import { DISCOVER } from '../../src/contract/openrpc.ts'
import { type Operation, operationsByName, ROLES, type Role, refusalsOf } from '../../src/contract/operations.ts'
import { ERROR_NUMBERS, type ErrorCode, REFUSALS, type RefusalKind } from '../../src/contract/refusals.ts'
import { answerForeign } from '../../src/server/foreign.ts'

/** The sessions that were opened for the role, and the user name of each. Any other one opens nothing. */
export type KnownSessions = Readonly<Record<Role, ReadonlyMap<string, string>>>

export interface Judge {
  role: Role
  sessions: KnownSessions
  lineLimitBytes: number
  /** Told of each answer: of which operation, and of what kind. */
  count?(answer: string): void
}

/** The replies that must come, by what they begin with: an id, the ids of an array, or a text of another protocol. */
interface Expected {
  replies: Map<string, { count: number; checks: Check[] }>
  /** The server ends the connection afterwards. */
  ends: boolean
}

/** Says what is wrong with a reply. */
type Check = (reply: unknown) => string | undefined

type SomeReply = Record<string, unknown>

const OPERATIONS = { seller: operationsByName('seller'), buyer: operationsByName('buyer') }
/** What may be answered instead, to anything. */
const UNWELL: readonly ErrorCode[] = ['overloaded', 'timeout']

/** `finished`: the client has sent its FIN after these bytes. */
export function expect(bytes: Buffer, finished: boolean, judge: Judge): Expected {
  const expected: Expected = { replies: new Map(), ends: finished }
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, at)
    const whole = bytes.subarray(at, newline < 0 ? undefined : newline)
    at += whole.length + 1
    if (whole.length > judge.lineLimitBytes) {
      add(expected, 'null', checkRefusal(['invalid_request'], null))
      expected.ends = true
      break
    }
    if (newline < 0 && !finished) break
    const line = whole.at(-1) === 0x0d ? whole.subarray(0, -1) : whole
    if (line.length > 0 && expectLine(expected, line, judge) === 'foreign') {
      expected.ends = true
      break
    }
  }
  return expected
}

function add({ replies }: Expected, key: string, check: Check): void {
  const entry = replies.get(key)
  if (entry === undefined) replies.set(key, { count: 1, checks: [check] })
  else {
    entry.count += 1
    entry.checks.push(check)
  }
}

function expectLine(expected: Expected, line: Buffer, judge: Judge): 'foreign' | undefined {
  let value: unknown
  try {
    if (!isUtf8(line)) throw new SyntaxError()
    value = JSON.parse(line.toString())
  } catch {
    const foreign = answerForeign(line)
    if (foreign === undefined) add(expected, 'null', checkRefusal(['parse_error'], null))
    else for (const text of foreign.split('\n').filter(Boolean)) expectForeign(expected, text)
    return foreign === undefined ? undefined : 'foreign'
  }
  if (!Array.isArray(value)) {
    const one = expectRequest(value, judge)
    if (one !== undefined) add(expected, one.id, one.check)
  } else if (value.length === 0) {
    add(expected, 'null', checkRefusal(['invalid_request'], null))
  } else {
    const entries = value
      .map((entry) => expectRequest(entry, judge, ['limit_exceeded']))
      .filter((one) => one !== undefined)
    if (entries.length > 0) add(expected, keyOf(entries.map(({ id }) => id)), (reply) => checkArray(reply, entries))
  }
  return undefined
}

/** A line of another protocol, or a reply to it. */
function expectForeign(expected: Expected, text: string): void {
  if (text.startsWith('{')) add(expected, 'null', checkRefusal(['parse_error'], null))
  else add(expected, `foreign ${text}`, () => undefined)
}

const keyOf = (ids: readonly string[]) => `[${ids.join(',')}]`

function checkArray(reply: unknown, entries: readonly { check: Check }[]): string | undefined {
  const replies = reply as readonly unknown[]
  for (const [place, { check }] of entries.entries()) {
    const problem = check(replies[place])
    if (problem !== undefined) return `at place ${place}: ${problem}`
  }
  return undefined
}

/** The id of the reply that a request gets, as JSON, and its check; undefined if it gets none. */
function expectRequest(
  value: unknown,
  judge: Judge,
  also: readonly ErrorCode[] = [],
): { id: string; check: Check } | undefined {
  const refused = (code: ErrorCode, id: unknown = null) => {
    return {
      id: JSON.stringify(id),
      check: checkRefusal([code, ...also, ...UNWELL], judge, (value as SomeReply | null)?.params),
    }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refused('invalid_request')
  const has = (name: string) => Object.hasOwn(value, name)
  const { jsonrpc, id, method, params } = value as SomeReply
  if (!has('method') && (has('result') || has('error'))) return undefined
  if (!has('id')) return undefined
  if (id !== null && typeof id !== 'string' && !Number.isSafeInteger(id)) return refused('invalid_request')
  if (!has('jsonrpc') || jsonrpc !== '2.0' || !has('method') || typeof method !== 'string') {
    return refused('invalid_request', id)
  }
  const given = has('params') ? params : {}
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return refused('invalid_params', id)
  const operation = OPERATIONS[judge.role].get(method)
  if (method === DISCOVER) return { id: JSON.stringify(id), check: checkDiscovery(Object.keys(given).length, judge) }
  if (operation === undefined) return refused('unknown_method', id)
  if (!operation.params.safeParse(given).success) return refused('invalid_params', id)
  return { id: JSON.stringify(id), check: checkAnswer(method, operation, given as SomeReply, judge, also) }
}

function checkDiscovery(fields: number, judge: Judge): Check {
  if (fields > 0) return checkRefusal(['invalid_params', 'limit_exceeded', ...UNWELL], judge)
  return (reply) => {
    if (!hasForm(reply, 'result')) return checkRefusal(['limit_exceeded', ...UNWELL], judge)(reply)
    return typeof (reply.result as SomeReply).openrpc === 'string' ? undefined : 'no OpenRPC document'
  }
}

/** The answer to a call whose parameters are right. */
function checkAnswer(
  method: string,
  operation: Operation,
  params: SomeReply,
  judge: Judge,
  also: readonly ErrorCode[],
): Check {
  const codes = refusalsOf(operation).filter((code) => code !== 'invalid_params' && code !== 'internal')
  const refusal = checkRefusal([...codes, ...also], judge, params, method)
  return (reply) => {
    if (!hasForm(reply, 'result')) return refusal(reply)
    judge.count?.(`${method} result`)
    const { session } = params
    const owner = judge.sessions[judge.role].get(String(session))
    if (!operation.open && owner === undefined) return `${method} was carried out for a session that was never opened`
    const result = reply.result as SomeReply
    const { success, error } = operation.result.safeParse(result)
    if (!success) return `the result of ${method} is not that of the contract: ${explain(error)}`
    if (method === 'whoami' && result.username !== owner) return `whoami tells ${owner} to be ${result.username}`
    if (method === 'get_item' && result.item_id !== params.item_id) return 'get_item gives another item'
    return undefined
  }
}

const explain = ({ issues }: z.ZodError) => issues.map(({ path, code }) => `${path.join('.')} ${code}`).join(', ')

/** A refusal of one of the codes, in the form of the contract, that repeats no session. */
function checkRefusal(codes: readonly ErrorCode[], judge: Judge | null, params?: unknown, method = ''): Check {
  return (reply) => {
    if (!hasForm(reply, 'error')) return hasForm(reply, 'result') ? `a result where ${codes[0]} is due` : 'no reply'
    const error = reply.error as { code: unknown; message: unknown; data: { code: ErrorCode } }
    const code = error.data?.code
    judge?.count?.(`${method} ${code}`.trim())
    if (!codes.includes(code)) return `${code} where only ${codes.join(', ')} may be`
    if (error.code !== ERROR_NUMBERS[code] || typeof error.message !== 'string') return `${code} has another form`
    if (Object.keys(error).length !== 3) return 'an error with other fields'
    const { details = {} }: RefusalKind = REFUSALS[code]
    for (const field of Object.keys(error.data)) {
      if (field !== 'code' && !Object.hasOwn(details, field)) return `${code} has the field ${field}`
    }
    const session = (params as SomeReply | null | undefined)?.session
    const isKnown = typeof session === 'string' && ROLES.some((role) => judge?.sessions[role].has(session))
    return isKnown && JSON.stringify(error).includes(session) ? 'a refusal repeats the session' : undefined
  }
}

function hasForm(reply: unknown, field: 'result' | 'error'): reply is SomeReply {
  if (typeof reply !== 'object' || reply === null) return false
  const { jsonrpc, [field]: value } = reply as SomeReply
  return jsonrpc === '2.0' && Object.keys(reply).length === 3 && typeof value === 'object' && value !== null
}

/** Takes the replies of one batch, in any order. */
export class Replies {
  readonly #expected: Expected
  #missing = 0

  constructor(expected: Expected) {
    this.#expected = expected
    for (const { count } of expected.replies.values()) this.#missing += count
  }

  /** Replies that have not come yet. */
  get missing(): number {
    return this.#missing
  }

  /** The keys of some of them. */
  get missingKeys(): readonly string[] {
    return [...this.#expected.replies].flatMap(([key, { count }]) => (count > 0 ? [key] : [])).slice(0, 5)
  }

  /** Takes a line of the server; says what is wrong with it. */
  take(line: string): string | undefined {
    let reply: unknown
    let key: string
    try {
      reply = JSON.parse(line)
      const idOf = (one: unknown) => JSON.stringify((one as SomeReply | null)?.id)
      key = Array.isArray(reply) ? keyOf(reply.map(idOf)) : idOf(reply)
    } catch {
      key = `foreign ${line}`
    }
    const group = this.#expected.replies.get(key)
    if (group === undefined || group.count === 0) return `a reply that belongs to nothing: ${line.slice(0, 300)}`
    group.count -= 1
    this.#missing -= 1
    let problem: string | undefined
    for (const check of group.checks) {
      problem = check(reply)
      if (problem === undefined) return undefined
    }
    return `${problem}: ${line.slice(0, 300)}`
  }
}
