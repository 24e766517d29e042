/**
 * Calls as fast-check's commands. A command names things by number (the third
 * item registered, the second session begun), so that it means something in
 * any sequence, also in one that was shrunk. Run, it calls the server and the
 * reference, and compares what they say to the last field.
 */

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import type fc from 'fast-check'
import { CallRefused } from '../../src/client/connection.ts'
import type { Name, Role } from '../../src/contract/operations.ts'
import type { Caller } from './clients.ts'
import type { Outcome } from './reference.ts'
import type { KnownCall, World } from './world.ts'

/** A connection to a server of each role. */
export type Servers = Readonly<Record<Role, Caller<Role>>>

/** Somebody's session, by number: of the role that is called, unless it says otherwise. */
export interface Who {
  role: Role
  session: number
}

/** A field with a value that no contract allows. */
export interface Wrong {
  field: string
  value: unknown
}

export type Numbered = Record<string, unknown>

/** What is sent and what comes back, as far as it is looked at here. */
type Sent = { session?: string | undefined; idempotency_key?: string; cursor?: string; limit?: number }
type Seen = { session?: string; next_cursor?: string }

/** In place of a number: what is not there. Other numbers count round. */
export const NOBODYS = 99
/** What a server calls fields that no contract has. */
export const UNKNOWN_FIELDS = '(unknown fields)'
const NO_ID = 999_999_999_999_999
const NO_SESSION = 'nobody has this session'

/** The server's answer, written down as the reference writes its own. A server that has too much to do is asked again. */
async function answerOf(servers: Servers, role: Role, operation: string, params: object): Promise<Outcome> {
  try {
    return { ok: await servers[role].call(operation as Name<Role>, params) }
  } catch (error) {
    if (!(error instanceof CallRefused)) throw error
    const { fields, retry_after_ms: waitMs, ...details } = error.details
    if (error.code === 'overloaded') {
      await setTimeout(Number(waitMs))
      return answerOf(servers, role, operation, params)
    }
    return { refused: { ...details, ...(fields ? { fields: Object.keys(fields) } : {}), code: error.code } }
  }
}

/** Calls server and reference, compares, and remembers what a client would. */
async function compare(world: World, servers: Servers, role: Role, operation: string, params: Sent, wrong?: Wrong) {
  const askedS = Math.floor(Date.now() / 1_000)
  const actual = await answerOf(servers, role, operation, params)
  const seen = 'ok' in actual ? (actual.ok as Seen) : {}
  const expected: Outcome =
    wrong === undefined
      ? world.reference.call(role, operation, params, seen, askedS)
      : { refused: { code: 'invalid_params', fields: [wrong.field] } }
  count(world.tally, nameOf(role, operation, params, expected))
  assert.deepEqual(asNamed(actual, expected), 'ok' in expected ? { ok: expected.ok } : expected)
  if (wrong === undefined) remember(world, role, operation, params, seen)
  await settleCart(world, servers, role, params)
}

/** An outcome with those details of a refusal that the expected one has: others may be told beside them. */
function asNamed(actual: Outcome, expected: Outcome): Outcome {
  if ('ok' in actual || 'ok' in expected) return actual
  const named = Object.entries(actual.refused).filter(([detail]) => detail in expected.refused)
  return { refused: { code: actual.refused.code, ...Object.fromEntries(named) } }
}

/**
 * Whether a repeated call is a session's first on its cart, and so copies the
 * saved one, no rule says. Displayed at once, the cart is the same either way.
 */
async function settleCart(world: World, servers: Servers, role: Role, params: Sent): Promise<void> {
  const caller = world.reference.sessions.get(params.session ?? '')
  const keyed = params.idempotency_key !== undefined
  if (!keyed || role !== 'buyer' || caller?.role !== 'buyer' || caller.cart !== undefined) return
  await compare(world, servers, role, 'display_cart', { session: params.session })
}

function remember(world: World, role: Role, operation: string, { session, ...params }: Sent, seen: Seen): void {
  if (seen.session !== undefined) world.sessions[role].push(seen.session)
  const accountId = world.reference.sessions.get(session ?? '')?.account.id
  if (accountId === undefined) return
  const call = { role, operation, accountId, params }
  if (params.idempotency_key !== undefined) world.keyedCalls.push(call)
  if (seen.next_cursor !== undefined) world.pages.push({ ...call, params: { ...params, cursor: seen.next_cursor } })
}

/** A call, its fields by number. */
export class Call implements fc.AsyncCommand<World, Servers> {
  readonly #role: Role
  readonly #operation: string
  readonly #who: Who | undefined
  readonly #params: Numbered
  readonly #wrong: Wrong | undefined

  constructor(role: Role, operation: string, who: Who | undefined, params: Numbered, wrong?: Wrong) {
    this.#role = role
    this.#operation = operation
    this.#who = who
    this.#params = params
    this.#wrong = wrong
  }

  check(): boolean {
    return true
  }

  async run(world: World, servers: Servers): Promise<void> {
    const { field, value } = this.#wrong ?? {}
    const params = {
      ...(this.#who === undefined ? {} : { session: sessionOf(world, this.#who) }),
      ...resolved(world, this.#params),
      ...(field === undefined ? {} : { [field === UNKNOWN_FIELDS ? 'seller_number' : field]: value }),
    }
    await compare(world, servers, this.#role, this.#operation, params, this.#wrong)
  }

  toString(): string {
    const who = this.#who === undefined ? `a ${this.#role}` : `${this.#who.role} session ${this.#who.session}`
    const wrong = this.#wrong === undefined ? '' : ` but ${this.#wrong.field}: ${JSON.stringify(this.#wrong.value)}`
    return `\n  ${who}: ${this.#operation} ${JSON.stringify(this.#params)}${wrong}`
  }
}

/** A keyed call once more, in one of the account's sessions. */
export class Again implements fc.AsyncCommand<World, Servers> {
  readonly #back: number
  readonly #session: number

  constructor(back: number, session: number) {
    this.#back = back
    this.#session = session
  }

  check({ keyedCalls }: Readonly<World>): boolean {
    return keyedCalls.length > this.#back
  }

  async run(world: World, servers: Servers): Promise<void> {
    const { role, operation, accountId, params } = world.keyedCalls.at(-1 - this.#back) as KnownCall
    const session = someSessionOf(world, role, accountId, this.#session)
    await compare(world, servers, role, operation, { ...params, session })
  }

  toString(): string {
    return `\n  keyed call ${this.#back} before the last one, again, in session ${this.#session} of its user`
  }
}

/** On from where a page ended, however long ago that was read. */
export class NextPage implements fc.AsyncCommand<World, Servers> {
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

  check(world: Readonly<World>): boolean {
    return this.#page(world) !== undefined
  }

  async run(world: World, servers: Servers): Promise<void> {
    const { role, operation, accountId, params } = this.#page(world) as KnownCall
    const session = someSessionOf(world, role, accountId, this.#session)
    await compare(world, servers, role, operation, { ...params, session, limit: this.#limit })
  }

  #page({ pages }: Readonly<World>): KnownCall | undefined {
    return pages.filter(({ operation }) => operation === this.#operation).at(-1 - this.#back)
  }

  toString(): string {
    const page = `page ${this.#back} before the last one`
    return `\n  ${this.#operation} on from ${page}, ${this.#limit} more, in session ${this.#session} of its user`
  }
}

function sessionOf(world: World, { role, session }: Who): string {
  const tokens = world.sessions[role]
  return session === NOBODYS ? NO_SESSION : (tokens[session % tokens.length] as string)
}

function someSessionOf(world: World, role: Role, accountId: number, number: number): string {
  const own = world.sessions[role].filter((token) => world.reference.sessions.get(token)?.account.id === accountId)
  return own[number % own.length] ?? NO_SESSION
}

/** The parameters as they are sent: what stands for an id, a category or a user name is looked up in the world. */
function resolved(world: World, numbered: Numbered): object {
  const items = [...world.reference.items.keys()]
  const sellers = world.reference.accounts.seller.map(({ id }) => id)
  const lookUp: Record<string, (value: never) => unknown> = {
    item_id: (number: number) => (number === NOBODYS ? undefined : items[number % items.length]) ?? NO_ID,
    seller_id: (number: number) => (number === NOBODYS ? NO_ID : sellers[number % sellers.length]),
    category: (number: number) => world.categories[number],
    username: (name: string) => world.prefix + name,
  }
  const present = Object.entries(numbered).filter(([, value]) => value !== undefined)
  return Object.fromEntries(present.map(([field, value]) => [field, lookUp[field]?.(value as never) ?? value]))
}

/** As `possibleOutcomes` names it. */
function nameOf(role: Role, operation: string, params: Sent, outcome: Outcome): string {
  const code = 'ok' in outcome ? 'ok' : outcome.refused.code
  const repeated = 'ok' in outcome && outcome.repeated ? ', repeated' : ''
  return `${role} ${operation}: ${code}${repeated}${params.cursor === undefined ? '' : ', on from a cursor'}`
}

function count(tally: Map<string, number>, outcome: string): void {
  tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
}
