/**
 * The checker: what the clients logged and what the databases hold in the end,
 * against the invariants I1 to I10. It runs when all clients have ended, and
 * knows no fault. Each invariant is one function, which names its violations,
 * one sentence each, with the evidence.
 */

import { isDeepStrictEqual } from 'node:util'
import { operationsByName } from '../../src/contract/operations.ts'
import { audit, isWrite, type Snapshot, type Write } from '../../src/loadgen/audit.ts'
import { TEMPORARY } from './client.ts'
import type { CallEntry, EndEntry, Entry, ReplyEntry, RequestEntry } from './log.ts'
import type { Account, Resources } from './stage.ts'

export const INVARIANTS = {
  I1: 'stock is never negative, and every unit is where the replies say',
  I2: 'every acknowledged write is in the database once',
  I3: 'a key has one effect and one answer, and is refused in another call',
  I4: 'a call with unknown outcome is all or nothing, and its key settles it',
  I5: 'every reply belongs to its request and its account',
  I6: 'every request gets one reply',
  I7: 'scores are the sums of votes and purchases, and one vote counts per buyer and item',
  I8: 'a session reads its own writes',
  I9: 'no session is accepted after its end',
  I10: 'memory, sockets, connections and statements return to what they were',
} as const

export type Invariant = keyof typeof INVARIANTS
export type Violations = Readonly<Record<Invariant, readonly string[]>>

/** All that the checker reads. */
export interface Evidence {
  entries: readonly Entry[]
  before: Snapshot
  after: Snapshot
  /** Of the customer database, in the end. */
  accounts: readonly Account[]
  /** The longest time until a server answers a request. */
  requestMs: number
  /** Before the load, and after it. */
  resources: { before: Resources; after: Resources }
  /** Database connections and descriptors of servers that have opened all their lanes. */
  lanes: number
}

/** A server that did not see the logout may remember the session for a second. The rest is for a busy machine. */
const SESSION_MEMORY_MS = 1_000
/** A reply after this much more than the servers' limit counts as none. */
const OVERDUE_MS = 5_000
const STATEMENTS_PER_LANE = 64
/** Purchases on a page, unless the call asks for more or fewer. */
const PAGE = 20
/** Purchases that began further apart are listed in that order: their times are whole seconds, and so is the order. */
const IN_ORDER_MS = 2_000
const LEAST_GROWTH_MIB = 256

export function check(evidence: Evidence): Violations {
  const calls = evidence.entries.filter((entry) => entry.kind === 'call')
  const found = audit(evidence.before, evidence.after, toLedger(calls))
  return {
    I1: found.stock,
    I2: [
      ...found.items,
      ...found.prices,
      ...found.postings,
      ...found.purchases,
      ...found.purchaseLines,
      ...found.carts,
      ...checkAccounts(calls, evidence.accounts),
    ],
    I3: [...found.keys, ...checkReplays(calls)],
    I4: [...checkUnknown(calls)],
    I5: [...checkReplies(calls)],
    I6: [...checkConnections(evidence)],
    I7: [...found.votes, ...found.thumbs, ...found.scores],
    I8: [...checkOwnWrites(calls)],
    I9: [...checkSessions(calls)],
    I10: [...checkResources(evidence)],
  }
}

/** The calls that wrote or may have written. */
function toLedger(calls: readonly CallEntry[]): Write[] {
  const written = calls.filter(({ operation, purpose, refused }) => {
    return isWrite(operation) && purpose !== 'mismatch' && (refused === undefined || refused.code === 'internal')
  })
  return written.map(({ role, operation, account, session, params, begunMs, settledMs, result }) => {
    const answered = result === undefined ? {} : { result, answeredMs: settledMs }
    return { role, operation, accountId: account, session, params, begunMs, ...answered } as object as Write
  })
}

/** I2: an account that was opened has one row and one id. */
function* checkAccounts(calls: readonly CallEntry[], accounts: readonly Account[]): Generator<string> {
  const name = (role: string, username: unknown) => `${role} ${username}`
  const rows = new Map<string, Account[]>()
  for (const row of accounts)
    rows.set(name(row.role, row.username), [...(rows.get(name(row.role, row.username)) ?? []), row])
  for (const call of calls) {
    if (call.operation !== 'create_account' || call.result === undefined) continue
    const own = rows.get(name(call.role, call.params.username)) ?? []
    const isRight = own.length === 1 && own[0]?.id === call.result[`${call.role}_id`]
    if (!isRight) yield `${describe(call)}, and the database has ${JSON.stringify(own)}`
  }
}

/** I3: what a call with a used key is answered. A refusal uses up no key, so one that came earlier is none of it. */
function* checkReplays(calls: readonly CallEntry[]): Generator<string> {
  const firsts = new Map<string, CallEntry>()
  for (const call of calls.toSorted((a, b) => b.settledMs - a.settledMs)) {
    if (call.result !== undefined && hasKey(call) && call.purpose !== 'mismatch') firsts.set(nameKey(call), call)
  }
  for (const call of calls) {
    const first = hasKey(call) ? firsts.get(nameKey(call)) : undefined
    if (first === undefined || isUnsettled(call)) continue
    const isMismatch = call.purpose === 'mismatch'
    if (isMismatch && call.refused?.code !== 'idempotency_mismatch') {
      yield `${describe(call)}, though its key was used with ${JSON.stringify(first.params)}`
    }
    const mayBeRefused = call.result === undefined && call.begunMs < first.settledMs
    if (!isMismatch && !mayBeRefused && !isDeepStrictEqual(call.result, first.result)) {
      yield `${describe(call)}, another time ${JSON.stringify(first.result)}`
    }
  }
}

/** I4: each call of unknown outcome was made again with its key, and then settled. */
function* checkUnknown(calls: readonly CallEntry[]): Generator<string> {
  const keyed = calls.filter((call) => hasKey(call) && call.purpose !== 'mismatch')
  const settled = new Set(keyed.filter((call) => !isUnsettled(call)).map(nameKey))
  for (const call of keyed) {
    if (isUnknown(call) && !settled.has(nameKey(call))) yield `${describe(call)}, and its key did not settle it`
  }
}

/** I5: a result has the form of its operation, and says nothing of another account or thing. */
function* checkReplies(calls: readonly CallEntry[]): Generator<string> {
  const purchasers = new Map<unknown, number>()
  for (const call of calls) {
    const { role, operation, account, params, result } = call
    if (result === undefined) continue
    const { error } = operationsByName(role).get(operation)?.result.safeParse(result) ?? {}
    if (error !== undefined) yield `${describe(call)}: no result of this operation`
    if (operation === 'whoami' && result.id !== account) yield `${describe(call)}: another account`
    if (operation === 'get_item' && result.item_id !== params.item_id) yield `${describe(call)}: another item`
    if (operation === 'display_items_for_sale') {
      for (const { seller_id } of listIn(result.items))
        if (seller_id !== account) yield `${describe(call)}: an item of another`
    }
    if (operation === 'search_items') {
      for (const { category } of listIn(result.items))
        if (category !== params.category) yield `${describe(call)}: another category`
    }
    const purchases =
      operation === 'get_buyer_purchases' ? listIn(result.purchases) : operation === 'make_purchase' ? [result] : []
    for (const { purchase_id } of purchases) {
      const purchaser = purchasers.get(purchase_id)
      if (purchaser !== undefined && purchaser !== account)
        yield `${describe(call)}: purchase ${purchase_id} is of buyer ${purchaser}`
      purchasers.set(purchase_id, account)
    }
  }
}

/** I6: on each connection one reply to each request, unless the connection was lost in time. */
function* checkConnections({ entries, requestMs }: Evidence): Generator<string> {
  const wires = entries.filter((entry) => entry.kind !== 'call')
  const ends = new Map(
    wires.filter((entry): entry is EndEntry => entry.kind === 'end').map((end) => [end.connection, end.atMs]),
  )
  const open = new Map<string, RequestEntry>()
  const requested = new Set<string>()
  const name = ({ connection, id }: RequestEntry | ReplyEntry) => `${connection}/${id}`
  for (const entry of wires) {
    if (entry.kind === 'request') {
      open.set(name(entry), entry)
      requested.add(name(entry))
    }
    if (entry.kind !== 'reply' || (entry.id === null && entry.code === 'overloaded')) continue
    const request = open.get(name(entry))
    open.delete(name(entry))
    if (!requested.has(name(entry)))
      yield `a reply with the id ${entry.id} on connection ${entry.connection}: nothing was asked`
    else if (request === undefined) yield `a second reply to request ${name(entry)}`
    else if (entry.atMs - request.atMs > requestMs + OVERDUE_MS)
      yield `${describeWait(request, entry.atMs)} until its reply`
  }
  for (const request of open.values()) {
    const endMs = ends.get(request.connection) ?? Number.POSITIVE_INFINITY
    if (endMs - request.atMs > requestMs + OVERDUE_MS) yield `${describeWait(request, endMs)} without a reply`
  }
}

function describeWait({ connection, id, operation, atMs }: RequestEntry, untilMs: number): string {
  return `request ${id} on connection ${connection}, ${operation}, waited ${Math.round(untilMs - atMs)} ms`
}

/** I8: a client that waits for each answer sees its cart, its items and their prices, and its purchases. */
function* checkOwnWrites(calls: readonly CallEntry[]): Generator<string> {
  const bySession = new Map<string, CallEntry[]>()
  for (const call of calls.toSorted((a, b) => a.begunMs - b.begunMs)) {
    if (call.session === '' || call.purpose !== 'load') continue
    const session = bySession.get(call.session)
    if (session === undefined) bySession.set(call.session, [call])
    else session.push(call)
  }
  for (const session of bySession.values()) {
    yield* session[0]?.role === 'seller' ? checkOwnItems(session) : checkOwnCart(session)
  }
}

function* checkOwnCart(calls: readonly CallEntry[]): Generator<string> {
  let cart: Map<number, number> | undefined = new Map() // undefined: unknown
  let purchases: Purchase[] | undefined = []
  for (const call of calls) {
    const { operation, params, result } = call
    if (operation === 'display_cart' && result !== undefined) {
      const shown = new Map(listIn(result.lines).map((line) => [line.item_id as number, line.quantity as number]))
      if (cart !== undefined && !isDeepStrictEqual(new Map([...cart].sort(byItem)), new Map([...shown].sort(byItem)))) {
        yield `${describe(call)}, by the replies [${[...cart].join(' ')}]`
      }
      if (cart === undefined) continue // one of unknown outcome may still be under way
    }
    if (operation === 'get_buyer_purchases' && result !== undefined && purchases !== undefined) {
      const missing = findMissing(purchases, listIn(result.purchases), Number(params.limit ?? PAGE))
      if (missing !== undefined) yield `${describe(call)}, without purchase ${missing.id}`
    }
    if (isUnknown(call) && isWrite(operation)) {
      cart = undefined
      if (operation === 'make_purchase') purchases = undefined
    }
    if (result === undefined) continue
    if (operation === 'add_item_to_cart' || operation === 'remove_item_from_cart') {
      if (result.quantity === 0) cart?.delete(Number(params.item_id))
      else cart?.set(Number(params.item_id), Number(result.quantity))
    }
    if (operation === 'make_purchase') purchases?.push({ id: Number(result.purchase_id), begunMs: call.begunMs })
    if ((operation === 'make_purchase' || operation === 'clear_cart') && cart !== undefined) cart = new Map()
  }
}

interface Purchase {
  id: number
  begunMs: number
}

/**
 * A purchase that the list should have and has not. A list of the newest may leave one out only for others that are as
 * new: across servers, purchases are in order to the second.
 */
function findMissing(
  made: readonly Purchase[],
  listed: readonly Record<string, unknown>[],
  limit: number,
): Purchase | undefined {
  const ids = new Set(listed.map(({ purchase_id }) => purchase_id))
  const left = made.filter(({ id }) => !ids.has(id))
  if (listed.length < limit) return left.at(-1)
  const oldestMs = Math.min(...listed.map(({ purchased_at }) => Number(purchased_at) * 1_000))
  return left.find(({ begunMs }) => begunMs > oldestMs + IN_ORDER_MS)
}

function byItem([a]: readonly [number, number], [b]: readonly [number, number]): number {
  return a - b
}

function* checkOwnItems(calls: readonly CallEntry[]): Generator<string> {
  const prices = new Map<unknown, unknown>() // undefined: unknown
  for (const call of calls) {
    const { operation, params, result } = call
    if (operation === 'display_items_for_sale' && result !== undefined) {
      const shown = new Map(listIn(result.items).map(({ item_id, price_cents }) => [item_id, price_cents]))
      for (const [id, price] of prices) {
        if (!shown.has(id)) yield `${describe(call)}, without its item ${id}`
        else if (price !== undefined && shown.get(id) !== price)
          yield `item ${id} is shown at ${shown.get(id)}, its price was set to ${price}`
      }
    }
    if (operation === 'register_item_for_sale' && result !== undefined) prices.set(result.item_id, params.price_cents)
    if (operation === 'change_item_price' && (result !== undefined || isUnknown(call))) {
      prices.set(params.item_id, result === undefined ? undefined : params.price_cents)
    }
  }
}

/** I9: at once on the server that answered the logout, within the cache second on the others; and after the expiry. */
function* checkSessions(calls: readonly CallEntry[]): Generator<string> {
  const ended = new Map<string, CallEntry>()
  for (const call of calls) if (call.operation === 'logout' && call.result !== undefined) ended.set(call.session, call)
  for (const call of calls) {
    const { session, port, begunMs, result, operation } = call
    const logout = ended.get(session)
    if (logout === undefined || result === undefined || operation === 'logout') continue
    const graceMs = port === logout.port ? 0 : SESSION_MEMORY_MS
    if (begunMs > logout.settledMs + graceMs) {
      yield `${describe(call)}, ${Math.round(begunMs - logout.settledMs)} ms after the logout was acknowledged`
    }
  }
  for (const call of calls) {
    if (call.expiredMs !== undefined && call.begunMs > call.expiredMs && call.result !== undefined) {
      yield `${describe(call)}, ${Math.round(call.begunMs - call.expiredMs)} ms after the session expired`
    }
  }
}

/** I10: when the clients are gone, the servers hold their lanes and nothing more. */
function* checkResources({ resources: { before, after }, lanes }: Evidence): Generator<string> {
  const bounds: Resources = {
    rssMib: before.rssMib * 2 + LEAST_GROWTH_MIB,
    descriptors: before.descriptors + lanes,
    clientConnections: 0,
    databaseConnections: before.databaseConnections + lanes,
    preparedStatements: before.preparedStatements + lanes * STATEMENTS_PER_LANE,
  }
  for (const [what, most] of Object.entries(bounds) as [keyof Resources, number][]) {
    if (after[what] > most)
      yield `${what} is ${Math.round(after[what])} after the load, should be at most ${Math.round(most)}`
  }
}

function listIn(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value : []
}

function hasKey({ params }: CallEntry): boolean {
  return params.idempotency_key !== undefined
}

/** Keys are random: no account or session uses the key of another. */
function nameKey({ role, account, params }: CallEntry): string {
  return `${role} ${account} ${params.idempotency_key}`
}

/** It may have been carried out. */
function isUnknown({ result, refused }: CallEntry): boolean {
  return result === undefined && refused === undefined
}

function isUnsettled(call: CallEntry): boolean {
  return isUnknown(call) || TEMPORARY.includes(call.refused?.code ?? '')
}

function describe({ role, account, operation, params, result, refused, begunMs }: CallEntry): string {
  const outcome = result !== undefined ? JSON.stringify(result).slice(0, 500) : (refused?.code ?? 'unknown')
  return `${operation} of ${role} ${account} with ${JSON.stringify(params)} at ${new Date(begunMs).toISOString()} is answered ${outcome}`
}
