/**
 * Calls as fast-check commands. A command refers to items, sessions and so on
 * by number (the third item registered, the second session opened), so that it
 * has a meaning in any sequence, also after shrinking. When it runs, it calls
 * both the server and the reference, and compares every field of their answers.
 */

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import type fc from 'fast-check'
import { CallRefused } from '../../src/client/connection.ts'
import type { Name, Role } from '../../src/contract/operations.ts'
import type { Caller } from './clients.ts'
import type { ReferenceAnswer } from './reference.ts'
import type { AnswerCounts, KnownCall, SequenceContext } from './sequence-context.ts'

/** A connection to a server of each role. */
export type Servers = Readonly<Record<Role, Caller<Role>>>

/** A session by its number among those of a role: normally the role that is called. */
export interface SessionNumber {
  role: Role
  session: number
}

/** A field with a value that no contract allows. */
export interface WrongField {
  field: string
  value: unknown
}

/** Parameters in which items, sellers and categories are numbers. */
export type NumberedParams = Record<string, unknown>

/** The fields of parameters and results that this file reads. */
type Sent = { session?: string | undefined; idempotency_key?: string; cursor?: string; limit?: number }
type Seen = { session?: string; next_cursor?: string }

/** The number of something that does not exist. Other numbers wrap around. */
export const ABSENT = 99
const NO_ID = 999_999_999_999_999
const NO_SESSION = 'nobody has this session'

/** The server's answer in the form of the reference. An overloaded server is called again. */
async function callServer(servers: Servers, role: Role, operation: string, params: object): Promise<ReferenceAnswer> {
  try {
    return { ok: await servers[role].call(operation as Name<Role>, params) }
  } catch (error) {
    if (!(error instanceof CallRefused)) throw error
    const { fields, retry_after_ms: waitMs, ...details } = error.details
    if (error.code === 'overloaded') {
      await setTimeout(Number(waitMs))
      return callServer(servers, role, operation, params)
    }
    return { refused: { ...details, ...(fields ? { fields: Object.keys(fields) } : {}), code: error.code } }
  }
}

/** Calls server and reference, compares their answers, and remembers what a client would. */
async function compare(
  context: SequenceContext,
  servers: Servers,
  role: Role,
  operation: string,
  params: Sent,
  wrong?: WrongField,
) {
  const askedS = Math.floor(Date.now() / 1_000)
  const actual = await callServer(servers, role, operation, params)
  const seen = 'ok' in actual ? (actual.ok as Seen) : {}
  const expected: ReferenceAnswer =
    wrong === undefined
      ? context.reference.call(role, operation, params, seen, askedS)
      : { refused: { code: 'invalid_params', fields: [wrong.field] } }
  count(context.answerCounts, nameAnswer(role, operation, params, expected))
  assert.deepEqual(keepExpectedDetails(actual, expected), 'ok' in expected ? { ok: expected.ok } : expected)
  if (wrong === undefined) remember(context, role, operation, params, seen)
  await settleCart(context, servers, role, params)
}

/** Drops the details of a refusal that the expected one lacks: a server may add some. */
function keepExpectedDetails(actual: ReferenceAnswer, expected: ReferenceAnswer): ReferenceAnswer {
  if ('ok' in actual || 'ok' in expected) return actual
  const named = Object.entries(actual.refused).filter(([detail]) => detail in expected.refused)
  return { refused: { code: actual.refused.code, ...Object.fromEntries(named) } }
}

/**
 * No rule says whether a repeated keyed call opens the session's cart, which
 * copies the saved one. Displaying the cart at once opens it in either case.
 */
async function settleCart(context: SequenceContext, servers: Servers, role: Role, params: Sent): Promise<void> {
  const caller = context.reference.sessions.get(params.session ?? '')
  const keyed = params.idempotency_key !== undefined
  if (!keyed || role !== 'buyer' || caller?.role !== 'buyer' || caller.cart !== undefined) return
  await compare(context, servers, role, 'display_cart', { session: params.session })
}

function remember(
  context: SequenceContext,
  role: Role,
  operation: string,
  { session, ...params }: Sent,
  seen: Seen,
): void {
  if (seen.session !== undefined) context.sessions[role].push(seen.session)
  const accountId = context.reference.sessions.get(session ?? '')?.account.id
  if (accountId === undefined) return
  const call = { role, operation, accountId, params }
  if (params.idempotency_key !== undefined) context.keyedCalls.push(call)
  if (seen.next_cursor !== undefined) context.pages.push({ ...call, params: { ...params, cursor: seen.next_cursor } })
}

/** A call, with numbers in its fields. */
export class Call implements fc.AsyncCommand<SequenceContext, Servers> {
  readonly #role: Role
  readonly #operation: string
  readonly #session: SessionNumber | undefined
  readonly #params: NumberedParams
  readonly #wrong: WrongField | undefined

  constructor(
    role: Role,
    operation: string,
    session: SessionNumber | undefined,
    params: NumberedParams,
    wrong?: WrongField,
  ) {
    this.#role = role
    this.#operation = operation
    this.#session = session
    this.#params = params
    this.#wrong = wrong
  }

  check(): boolean {
    return true
  }

  async run(context: SequenceContext, servers: Servers): Promise<void> {
    const { field, value } = this.#wrong ?? {}
    const params = {
      ...(this.#session === undefined ? {} : { session: findSession(context, this.#session) }),
      ...resolve(context, this.#params),
      ...(field === undefined ? {} : { [field]: value }),
    }
    await compare(context, servers, this.#role, this.#operation, params, this.#wrong)
  }

  toString(): string {
    const caller =
      this.#session === undefined ? `a ${this.#role}` : `${this.#session.role} session ${this.#session.session}`
    const wrong = this.#wrong === undefined ? '' : ` but ${this.#wrong.field}: ${JSON.stringify(this.#wrong.value)}`
    return `\n  ${caller}: ${this.#operation} ${JSON.stringify(this.#params)}${wrong}`
  }
}

/** An earlier keyed call, repeated in one of the account's sessions. */
export class RepeatedCall implements fc.AsyncCommand<SequenceContext, Servers> {
  readonly #back: number
  readonly #session: number

  constructor(back: number, session: number) {
    this.#back = back
    this.#session = session
  }

  check({ keyedCalls }: Readonly<SequenceContext>): boolean {
    return keyedCalls.length > this.#back
  }

  async run(context: SequenceContext, servers: Servers): Promise<void> {
    const { role, operation, accountId, params } = context.keyedCalls.at(-1 - this.#back) as KnownCall
    const session = findAccountSession(context, role, accountId, this.#session)
    await compare(context, servers, role, operation, { ...params, session })
  }

  toString(): string {
    return `\n  keyed call ${this.#back} before the last one, again, in session ${this.#session} of its user`
  }
}

/** The next page after one that was read before, recently or long ago. */
export class NextPage implements fc.AsyncCommand<SequenceContext, Servers> {
  readonly #operation: string
  readonly #back: number
  readonly #session: number
  readonly #limit: number

  constructor(operation: string, back: number, session: number, limit: number) {
    this.#operation = operation
    this.#back = back
    this.#session = session
    this.#limit = limit
  }

  check(context: Readonly<SequenceContext>): boolean {
    return this.#page(context) !== undefined
  }

  async run(context: SequenceContext, servers: Servers): Promise<void> {
    const { role, operation, accountId, params } = this.#page(context) as KnownCall
    const session = findAccountSession(context, role, accountId, this.#session)
    await compare(context, servers, role, operation, { ...params, session, limit: this.#limit })
  }

  #page({ pages }: Readonly<SequenceContext>): KnownCall | undefined {
    return pages.filter(({ operation }) => operation === this.#operation).at(-1 - this.#back)
  }

  toString(): string {
    const page = `page ${this.#back} before the last one`
    return `\n  ${this.#operation} from the end of ${page}, ${this.#limit} more, in session ${this.#session} of its user`
  }
}

function findSession(context: SequenceContext, { role, session }: SessionNumber): string {
  const tokens = context.sessions[role]
  return session === ABSENT ? NO_SESSION : (tokens[session % tokens.length] as string)
}

function findAccountSession(context: SequenceContext, role: Role, accountId: number, number: number): string {
  const own = context.sessions[role].filter((token) => context.reference.sessions.get(token)?.account.id === accountId)
  return own[number % own.length] ?? NO_SESSION
}

/** The parameters to send: numbers and names are looked up in the context. */
function resolve(context: SequenceContext, numbered: NumberedParams): object {
  const items = [...context.reference.items.keys()]
  const sellers = context.reference.accounts.seller.map(({ id }) => id)
  const lookUp: Record<string, (value: never) => unknown> = {
    item_id: (number: number) => (number === ABSENT ? undefined : items[number % items.length]) ?? NO_ID,
    seller_id: (number: number) => (number === ABSENT ? NO_ID : sellers[number % sellers.length]),
    category: (number: number) => context.categories[number],
    username: (name: string) => context.prefix + name,
  }
  const present = Object.entries(numbered).filter(([, value]) => value !== undefined)
  return Object.fromEntries(present.map(([field, value]) => [field, lookUp[field]?.(value as never) ?? value]))
}

/** The kind of an answer, as `possibleAnswers` names it. */
function nameAnswer(role: Role, operation: string, params: Sent, answer: ReferenceAnswer): string {
  const code = 'ok' in answer ? 'ok' : answer.refused.code
  const repeated = 'ok' in answer && answer.repeated ? ', repeated' : ''
  return `${role} ${operation}: ${code}${repeated}${params.cursor === undefined ? '' : ', from a cursor'}`
}

function count(answerCounts: AnswerCounts, name: string): void {
  answerCounts.set(name, (answerCounts.get(name) ?? 0) + 1)
}
