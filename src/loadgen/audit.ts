/**
 * The auditor: holds what the product database has at the end against what it
 * had at the start and what clients were told in between. It knows the rules
 * of the marketplace and nothing of how a server keeps them. Of calls that
 * were never answered it assumes neither that they happened nor that they did
 * not, unless their key tells. A refused call has no place in its books.
 */

import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Arguments } from '../client/connection.ts'
import type { Item, Name, Result, Role } from '../contract/operations.ts'
import { withConnection } from '../db/connect.ts'

/** A call that writes, as its client knows it. */
interface Told<R extends Role, N extends Name<R>> {
  role: R
  operation: N
  accountId: number
  /** The token it was called with. */
  session: string
  params: Omit<Arguments<R, N>, 'session'>
  /** When it was sent and when answered, by one clock. */
  begunMs: number
  answeredMs?: number
  /** Absent: nobody knows whether it was carried out. */
  result?: Result<R, N>
}

const SELLER_WRITES = ['register_item_for_sale', 'change_item_price', 'update_units_for_sale'] as const
const CART_WRITES = ['add_item_to_cart', 'remove_item_from_cart', 'save_cart', 'clear_cart', 'make_purchase'] as const
const WRITES: ReadonlySet<string> = new Set([...SELLER_WRITES, ...CART_WRITES, 'provide_feedback'])

export type Write =
  | { [N in (typeof SELLER_WRITES)[number]]: Told<'seller', N> }[(typeof SELLER_WRITES)[number]]
  | { [N in (typeof CART_WRITES)[number]]: Told<'buyer', N> }[(typeof CART_WRITES)[number]]
  | Told<'buyer', 'provide_feedback'>

/** Every call that wrote or may have written, in any order. */
export type Ledger = readonly Write[]

export function isWrite(operation: string): boolean {
  return WRITES.has(operation)
}

/** The tables of the product database that operations write, their rows as in schema.sql. */
export interface State {
  item: {
    id: number
    seller_id: number
    name: string
    category: number
    keywords: string
    item_condition: Item['condition']
    price_cents: number
    quantity: number
    thumbs_up: number
    thumbs_down: number
  }[]
  item_keyword: { category: number; keyword: string; item_id: number }[]
  cart: { session_hash: string; buyer_id: number; content: string }[]
  saved_cart: { buyer_id: number; content: string }[]
  purchase: { id: number; buyer_id: number; total_cents: number }[]
  purchase_line: {
    purchase_id: number
    item_id: number
    buyer_id: number
    quantity: number
    price_cents: number
  }[]
  feedback: { buyer_id: number; item_id: number; vote: 'up' | 'down' }[]
  seller_score: { seller_id: number; thumbs_up: number; thumbs_down: number; items_sold: number }[]
  buyer_score: { buyer_id: number; items_purchased: number }[]
  idempotency: { role: Role; account_id: number; idempotency_key: string; answer: string }[]
}

const TABLES = [
  ...(['item', 'item_keyword', 'cart', 'saved_cart', 'purchase', 'purchase_line'] as const),
  ...(['feedback', 'seller_score', 'buyer_score', 'idempotency'] as const),
] satisfies (keyof State)[]

/** All tables as of one moment. */
export async function readState(url: string): Promise<State> {
  return withConnection(url, async (connection) => {
    await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
    const state: Partial<Record<keyof State, unknown>> = {}
    for (const table of TABLES) state[table] = await connection.query(`SELECT * FROM ${table}`)
    return state as State
  })
}

/** What of this must not be, a sentence each; nothing if all is well. */
export function violationsOf(before: State, after: State, ledger: Ledger): string[] {
  const writes = settled(ledger, after)
  const written: Written = (operation) => writes.filter((write) => write.operation === operation) as never
  const registered = registeredItems(before, after, written)
  return [
    ...answersAmiss(ledger, before, after),
    ...itemsAmiss(before, after, registered),
    ...stockAmiss(before, after, registered, written),
    ...pricesAmiss(before, after, registered, written),
    ...postingsAmiss(after),
    ...purchasesAmiss(before, after, written),
    ...linesAmiss(before, after, registered, written),
    ...votesAmiss(before, after, written),
    ...thumbsAmiss(before, after),
    ...scoresAmiss(before, after),
    ...cartsAmiss(before, after, writes, written),
  ]
}

type WriteOf<O extends Write['operation']> = Extract<Write, { operation: O }>
/** All writes of one operation. */
type Written = <O extends Write['operation']>(operation: O) => readonly WriteOf<O>[]
type Registration = WriteOf<'register_item_for_sale'>

/**
 * Every effect that the ledger speaks of, once: calls with one key are one
 * effect, and one that was never answered happened if its key has an answer.
 */
function settled(ledger: Ledger, after: State): readonly Write[] {
  const stored = new Map(after.idempotency.map((row) => [nameOf(row.role, row.account_id, row.idempotency_key), row]))
  const byKey = grouped(
    ledger.filter((write) => keyOf(write) !== undefined),
    (write) => nameOf(write.role, write.accountId, keyOf(write)),
  )
  const keyed = [...byKey].flatMap(([name, calls]): Write[] => {
    const acknowledged = calls.filter(({ result }) => result !== undefined)
    const [call] = acknowledged.length > 0 ? acknowledged : calls
    const answer = stored.get(name)?.answer
    const result = call?.result ?? (answer === undefined ? undefined : JSON.parse(answer))
    if (call === undefined || result === undefined) return []
    const begunMs = Math.min(...calls.map((each) => each.begunMs))
    const answeredMs = Math.min(...acknowledged.map((each) => each.answeredMs ?? Number.POSITIVE_INFINITY))
    return [{ ...call, result, begunMs, answeredMs }]
  })
  return [...ledger.filter((write) => keyOf(write) === undefined), ...keyed]
}

/** Keys: one answer each, which is the one that is stored. */
function* answersAmiss(ledger: Ledger, before: State, after: State): Generator<string> {
  const keyed = ledger.filter((write) => keyOf(write) !== undefined)
  const told = grouped(keyed, (write) => nameOf(write.role, write.accountId, keyOf(write)))
  const old = new Set(before.idempotency.map((row) => nameOf(row.role, row.account_id, row.idempotency_key)))
  const stored = new Map<string, string>()
  for (const { role, account_id, idempotency_key, answer } of after.idempotency) {
    const name = nameOf(role, account_id, idempotency_key)
    if (stored.has(name)) yield `two answers are stored for the key ${name}`
    if (!told.has(name) && !old.has(name)) yield `an answer is stored for the key ${name}, which nobody used`
    stored.set(name, answer)
  }
  for (const [name, calls] of told) {
    const [first, ...others] = calls.filter(({ result }) => result !== undefined)
    if (first === undefined) continue
    if (!others.every((other) => isDeepStrictEqual(other.result, first.result))) {
      yield `calls with the key ${name} were answered differently`
    }
    if (!others.every((other) => isDeepStrictEqual([other.operation, other.params], [first.operation, first.params]))) {
      yield `different calls with the key ${name} were acknowledged`
    }
    const answer = stored.get(name)
    if (answer === undefined) yield `no answer is stored for the key ${name}`
    else if (!isDeepStrictEqual(JSON.parse(answer), first.result)) {
      yield `for the key ${name} is stored ${answer}, answered was ${JSON.stringify(first.result)}`
    }
  }
}

/** Which registration each new item comes from; undefined: from none. */
type Registered = ReadonlyMap<number, Registration | undefined>

function registeredItems(before: State, after: State, written: Written): Registered {
  const old = new Set(before.item.map(({ id }) => id))
  const registrations = written('register_item_for_sale')
  const unknown = registrations.filter(({ result }) => result === undefined)
  const registered = new Map<number, Registration | undefined>(
    registrations.flatMap((one) => (one.result === undefined ? [] : [[one.result.item_id, one] as const])),
  )
  for (const item of after.item) {
    if (old.has(item.id) || registered.has(item.id)) continue
    const match = unknown.findIndex((one) => isItemOf(one, item))
    registered.set(item.id, match < 0 ? undefined : unknown.splice(match, 1)[0])
  }
  return registered
}

/** Items: the old ones and the registered ones, what can't be changed unchanged. */
function* itemsAmiss(before: State, after: State, registered: Registered): Generator<string> {
  const now = new Map(after.item.map((item) => [item.id, item]))
  for (const old of before.item) {
    const item = now.get(old.id)
    if (item === undefined) yield `item ${old.id} is gone`
    else if (!isSameItem(item, old)) yield `item ${old.id} is no longer what it was`
  }
  for (const [id, registration] of registered) {
    const item = now.get(id)
    if (registration === undefined) yield `item ${id} is there, and nobody registered it`
    else if (item === undefined) yield `item ${id} was registered, and is not there`
    else if (!isItemOf(registration, item)) yield `item ${id} is not what was registered`
  }
}

/** Stock: what there was, what was registered, added, removed and sold comes to what is on sale. */
function* stockAmiss(before: State, after: State, registered: Registered, written: Written): Generator<string> {
  const began = new Map(before.item.map(({ id, quantity }) => [id, quantity]))
  for (const [id, registration] of registered) began.set(id, registration?.params.quantity ?? 0)
  const sold = difference(before.purchase_line, after.purchase_line, 'item_id', ({ quantity }) => quantity)
  const changes = grouped(written('update_units_for_sale'), ({ params }) => params.item_id ?? 0)
  for (const { id, quantity } of after.item) {
    const of = changes.get(id) ?? []
    const known = sum(of.filter(({ result }) => result !== undefined).map(({ params }) => params.change ?? 0))
    const unknown = of.filter(({ result }) => result === undefined).map(({ params }) => params.change ?? 0)
    const expected = (began.get(id) ?? 0) + known - (sold.get(id) ?? 0)
    if (quantity < 0) yield `${quantity} units of item ${id} are on sale`
    if (!sumsOf(unknown).has(quantity - expected)) {
      yield `${quantity} units of item ${id} are on sale: ${expected} are left of what was put there`
    }
  }
}

/** Prices: the last that was set. */
function* pricesAmiss(before: State, after: State, registered: Registered, written: Written): Generator<string> {
  const began = new Map(before.item.map(({ id, price_cents }) => [id, price_cents]))
  const changes = grouped(written('change_item_price'), ({ params }) => params.item_id ?? 0)
  for (const { id, price_cents } of after.item) {
    const first = registered.get(id)?.params.price_cents ?? began.get(id)
    const { last, maybeNone } = lastOf(changes.get(id) ?? [])
    const possible = [...last.map(({ params }) => params.price_cents), ...(maybeNone ? [first] : [])]
    if (!possible.includes(price_cents)) yield `item ${id} costs ${price_cents}: it was set to ${possible.join(' or ')}`
  }
}

/** The keyword index: what is on sale stands under its keywords and under '', and nothing else does. */
function* postingsAmiss({ item, item_keyword }: State): Generator<string> {
  const under = grouped(item_keyword, ({ item_id }) => item_id)
  for (const { id, quantity, category, keywords } of item) {
    const words = quantity > 0 ? ['', ...(keywords === '' ? [] : keywords.split('\n'))] : []
    const expected = words.map((word) => `${category}/${word}`).sort()
    const actual = (under.get(id) ?? []).map((row) => `${row.category}/${row.keyword}`).sort()
    under.delete(id)
    if (actual.join('\n') !== expected.join('\n')) {
      yield `item ${id}, ${quantity} on sale, stands under [${actual.join(', ')}], not under [${expected.join(', ')}]`
    }
  }
  for (const id of under.keys()) yield `item ${id} has keywords, and is not there`
}

/** Purchases: those that were acknowledged, as they were, and no others but of calls that were never answered. */
function* purchasesAmiss(before: State, after: State, written: Written): Generator<string> {
  const lines = grouped(after.purchase_line, ({ purchase_id }) => purchase_id)
  const there = new Map(after.purchase.map((purchase) => [purchase.id, purchase]))
  const old = new Set(before.purchase.map(({ id }) => id))
  const told = new Set<number>()
  const unknown = new Map<number, number>()
  for (const { accountId, result } of written('make_purchase')) {
    if (result === undefined) {
      unknown.set(accountId, (unknown.get(accountId) ?? 0) + 1)
      continue
    }
    const { purchase_id: id, total_cents } = result
    const purchase = there.get(id)
    if (told.has(id)) yield `purchase ${id} was acknowledged twice`
    told.add(id)
    if (purchase === undefined) yield `purchase ${id} was acknowledged, and is not there`
    else if (purchase.buyer_id !== accountId)
      yield `purchase ${id} of buyer ${accountId} is buyer ${purchase.buyer_id}'s`
    else if (purchase.total_cents !== total_cents)
      yield `purchase ${id} came to ${total_cents}, not ${purchase.total_cents}`
    if (linesText(lines.get(id) ?? []) !== linesText(result.lines))
      yield `purchase ${id} has not the lines it was told to have`
  }
  for (const { id, buyer_id, total_cents } of after.purchase) {
    const its = lines.get(id) ?? []
    if (its.length === 0) yield `purchase ${id} has no lines`
    if (its.some((line) => line.buyer_id !== buyer_id)) yield `purchase ${id} has lines of another buyer`
    const total = sum(its.map(({ quantity, price_cents }) => quantity * price_cents))
    if (total !== total_cents) yield `the lines of purchase ${id} come to ${total}, not ${total_cents}`
    if (told.has(id) || old.has(id)) continue
    const left = unknown.get(buyer_id) ?? 0
    if (left === 0) yield `purchase ${id} of buyer ${buyer_id} is there, and was never acknowledged`
    else unknown.set(buyer_id, left - 1)
  }
  for (const id of lines.keys()) if (!there.has(id)) yield `purchase ${id} has lines, and is not there`
  for (const id of old) if (!there.has(id)) yield `purchase ${id} is gone`
}

/** Lines: some units, of an item that exists, at a price that it had. */
function* linesAmiss(before: State, after: State, registered: Registered, written: Written): Generator<string> {
  const prices = new Map(before.item.map(({ id, price_cents }) => [id, new Set([price_cents])]))
  for (const [id, one] of registered) prices.set(id, new Set([one?.params.price_cents ?? 0]))
  for (const { params } of written('change_item_price')) prices.get(params.item_id ?? 0)?.add(params.price_cents ?? 0)
  const old = new Set(before.purchase.map(({ id }) => id))
  for (const { purchase_id, item_id, quantity, price_cents } of after.purchase_line) {
    if (quantity < 1) yield `purchase ${purchase_id} has ${quantity} units of item ${item_id}`
    if (!old.has(purchase_id) && !prices.get(item_id)?.has(price_cents)) {
      yield `purchase ${purchase_id} has item ${item_id} at ${price_cents}, which it never cost`
    }
  }
}

/** Votes: one of a buyer on an item, the last that was given, of what the buyer purchased. */
function* votesAmiss(before: State, after: State, written: Written): Generator<string> {
  const pair = (buyerId: number, itemId: number) => `buyer ${buyerId} on item ${itemId}`
  const began = new Map(before.feedback.map(({ buyer_id, item_id, vote }) => [pair(buyer_id, item_id), vote]))
  const given = grouped(written('provide_feedback'), ({ accountId, params }) => pair(accountId, params.item_id ?? 0))
  const purchased = new Set(after.purchase_line.map(({ buyer_id, item_id }) => pair(buyer_id, item_id)))
  const there = grouped(after.feedback, ({ buyer_id, item_id }) => pair(buyer_id, item_id))
  for (const name of new Set([...began.keys(), ...given.keys(), ...there.keys()])) {
    const votes = (there.get(name) ?? []).map(({ vote }) => vote)
    const { last, maybeNone } = lastOf(given.get(name) ?? [])
    const possible = [...last.map(({ params }) => params.vote), ...(maybeNone ? [began.get(name)] : [])]
    if (votes.length > 1) yield `${votes.length} votes of ${name}`
    else if (!possible.includes(votes[0])) {
      yield `the vote of ${name} is ${votes[0] ?? 'not there'}: it was ${possible.map((vote) => vote ?? 'none').join(' or ')}`
    }
    if (votes.length > 0 && !purchased.has(name)) yield `a vote of ${name}, which the buyer never purchased`
  }
}

/** Thumbs of items: as many as there are votes. */
function* thumbsAmiss(before: State, after: State): Generator<string> {
  const began = new Map(before.item.map((item) => [item.id, item]))
  for (const [column, vote] of THUMBS) {
    const votes = difference(before.feedback, after.feedback, 'item_id', (row) => (row.vote === vote ? 1 : 0))
    for (const item of after.item) {
      const expected = (began.get(item.id)?.[column] ?? 0) + (votes.get(item.id) ?? 0)
      if (item[column] !== expected) yield `item ${item.id} has ${item[column]} ${column}, votes make it ${expected}`
    }
  }
}

const THUMBS = [
  ['thumbs_up', 'up'],
  ['thumbs_down', 'down'],
] as const

/** Scores: sums over votes and purchases, beyond what they were. */
function* scoresAmiss(before: State, after: State): Generator<string> {
  const sellerOf = new Map(after.item.map(({ id, seller_id }) => [id, seller_id]))
  const withSeller = <Row extends { item_id: number }>(rows: readonly Row[]) =>
    rows.map((row) => ({ ...row, seller_id: sellerOf.get(row.item_id) ?? 0 }))
  const [votesBefore, votes] = [withSeller(before.feedback), withSeller(after.feedback)]
  const [linesBefore, lines] = [withSeller(before.purchase_line), withSeller(after.purchase_line)]
  const expected = {
    thumbs_up: difference(votesBefore, votes, 'seller_id', ({ vote }) => (vote === 'up' ? 1 : 0)),
    thumbs_down: difference(votesBefore, votes, 'seller_id', ({ vote }) => (vote === 'down' ? 1 : 0)),
    items_sold: difference(linesBefore, lines, 'seller_id', ({ quantity }) => quantity),
  }
  for (const [column, moved] of Object.entries(expected) as [keyof typeof expected, Map<number, number>][]) {
    const score = (state: State) => new Map(state.seller_score.map((row) => [row.seller_id, row[column]]))
    yield* scoreAmiss(`${column} of seller`, score(before), score(after), moved)
  }
  const purchased = difference(before.purchase_line, after.purchase_line, 'buyer_id', ({ quantity }) => quantity)
  const score = (state: State) => new Map(state.buyer_score.map((row) => [row.buyer_id, row.items_purchased]))
  yield* scoreAmiss('items_purchased of buyer', score(before), score(after), purchased)
}

/** No row means zero. */
function* scoreAmiss(
  name: string,
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
  moved: ReadonlyMap<number, number>,
): Generator<string> {
  for (const id of new Set([...before.keys(), ...after.keys(), ...moved.keys()])) {
    const [actual, expected] = [after.get(id) ?? 0, (before.get(id) ?? 0) + (moved.get(id) ?? 0)]
    if (actual !== expected) yield `${name} ${id} is ${actual}, the rows behind it make it ${expected}`
  }
}

/**
 * Carts: what their sessions were told. That can be said of a session whose
 * calls followed each other and were all answered, as they do if a client
 * acts on what it is told.
 */
function* cartsAmiss(before: State, after: State, writes: readonly Write[], written: Written): Generator<string> {
  const began = new Map(before.cart.map((row) => [row.session_hash, row.content]))
  const there = new Map(after.cart.map((row) => [row.session_hash, row.content]))
  const kept = new Map(before.saved_cart.map((row) => [row.buyer_id, row.content]))
  const now = new Map(after.saved_cart.map((row) => [row.buyer_id, row.content]))
  const savers = grouped(written('save_cart'), ({ accountId }) => accountId)
  const saves: Save[] = []
  for (const [session, calls] of grouped(writes.filter(isCartWrite), (write) => write.session)) {
    const { accountId } = calls[0] as CartWrite
    const hash = createHash('sha256').update(session).digest('base64url')
    const copied = kept.has(accountId) || (savers.get(accountId) ?? []).some((save) => save.session !== session)
    const history = replay(calls, began.get(hash) ?? (copied ? undefined : ''))
    for (const { call, content } of history) if (call.operation === 'save_cart') saves.push({ ...call, content })
    const told = history.at(-1)?.content
    if (told !== undefined && (there.get(hash) ?? '') !== told) {
      yield `a cart of buyer ${accountId} has [${there.get(hash) ?? ''}], its session was told [${told}]`
    }
  }
  const savesOf = grouped(saves, ({ accountId }) => accountId)
  for (const buyerId of new Set([...kept.keys(), ...now.keys(), ...savesOf.keys()])) {
    const { last, maybeNone } = lastOf(savesOf.get(buyerId) ?? [])
    const possible = [...last.map(({ content }) => content), ...(maybeNone ? [kept.get(buyerId) ?? ''] : [])]
    if (possible.includes(undefined) || possible.includes(now.get(buyerId) ?? '')) continue
    yield `the saved cart of buyer ${buyerId} has [${now.get(buyerId) ?? ''}], saved was [${possible.join('] or [')}]`
  }
}

type CartWrite = WriteOf<(typeof CART_WRITES)[number]>
/** With the cart that was saved; undefined if nobody can tell. */
type Save = WriteOf<'save_cart'> & { content: string | undefined }

function isCartWrite(write: Write): write is CartWrite {
  return CART_WRITES.includes(write.operation as CartWrite['operation'])
}

/** What is in a cart after each call of its session; undefined if nobody can tell, as after a call that was never answered. */
function replay(calls: readonly CartWrite[], first: string | undefined) {
  const inTurn = calls.toSorted((a, b) => a.begunMs - b.begunMs)
  let units = first === undefined ? undefined : unitsOf(first)
  let answeredMs = Number.NEGATIVE_INFINITY
  return inTurn.map((call) => {
    answeredMs = call.begunMs < answeredMs ? Number.POSITIVE_INFINITY : answeredMsOf(call)
    switch (call.operation) {
      case 'add_item_to_cart':
      case 'remove_item_from_cart':
        if (call.result?.quantity === 0) units?.delete(call.params.item_id ?? 0)
        else units?.set(call.params.item_id ?? 0, call.result?.quantity ?? 0)
        break
      case 'clear_cart':
      case 'make_purchase':
        units = new Map()
    }
    return {
      call,
      content: answeredMs === Number.POSITIVE_INFINITY || units === undefined ? undefined : contentOf(units),
    }
  })
}

function unitsOf(content: string): Map<number, number> {
  if (content === '') return new Map()
  return new Map(content.split(' ').map((line) => line.split(':').map(Number) as [number, number]))
}

function contentOf(units: ReadonlyMap<number, number>): string {
  return [...units].map((line) => line.join(':')).join(' ')
}

function keyOf({ params }: Write): string | undefined {
  return 'idempotency_key' in params ? params.idempotency_key : undefined
}

function nameOf(role: Role, accountId: number, key: string | undefined): string {
  return `${key} of ${role} ${accountId}`
}

function answeredMsOf({ answeredMs }: { answeredMs?: number }): number {
  return answeredMs ?? Number.POSITIVE_INFINITY
}

/** Of writes to one thing, those of which any may have been the last, and whether there may have been none. */
function lastOf<W extends Pick<Write, 'begunMs' | 'answeredMs' | 'result'>>(writes: readonly W[]) {
  const certain = writes.filter(({ result }) => result !== undefined)
  const latestMs = Math.max(Number.NEGATIVE_INFINITY, ...certain.map(({ begunMs }) => begunMs))
  return { last: writes.filter((write) => answeredMsOf(write) >= latestMs), maybeNone: certain.length === 0 }
}

/** Whether the row is what the registration put on sale, apart from what changes later. */
function isItemOf({ accountId, params }: Registration, item: State['item'][number]): boolean {
  const { name = '', category, keywords = [], condition } = params
  const words = [...new Set(keywords.map((word) => word.normalize('NFC').toLowerCase()))]
  const { seller_id, item_condition } = item
  return (
    isDeepStrictEqual([seller_id, item.name, item.category], [accountId, name.normalize('NFC'), category]) &&
    isDeepStrictEqual([item.keywords, item_condition], [words.join('\n'), condition])
  )
}

function isSameItem(a: State['item'][number], b: State['item'][number]): boolean {
  const constant = (item: typeof a) => [item.seller_id, item.name, item.category, item.keywords, item.item_condition]
  return isDeepStrictEqual(constant(a), constant(b))
}

function linesText(lines: readonly { item_id: number; quantity: number; price_cents: number }[]): string {
  return lines
    .map(({ item_id, quantity, price_cents }) => `${item_id}: ${quantity} at ${price_cents}`)
    .sort()
    .join(', ')
}

function grouped<T, K>(things: readonly T[], keyOf: (thing: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const thing of things) {
    const key = keyOf(thing)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [thing])
    else group.push(thing)
  }
  return groups
}

/** What rows sum up to, by the value of a column, beyond what they did before. */
function difference<Column extends string, Row extends Record<Column, number>>(
  before: readonly Row[],
  after: readonly Row[],
  column: Column,
  amountOf: (row: Row) => number,
): Map<number, number> {
  const sums = new Map<number, number>()
  for (const row of after) sums.set(row[column], (sums.get(row[column]) ?? 0) + amountOf(row))
  for (const row of before) sums.set(row[column], (sums.get(row[column]) ?? 0) - amountOf(row))
  return sums
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}

/** What any of the amounts can come to, each of which may or may not count. */
function sumsOf(amounts: readonly number[]): ReadonlySet<number> {
  const sums = new Set([0])
  for (const amount of amounts) for (const sum of [...sums]) sums.add(sum + amount)
  return sums
}
