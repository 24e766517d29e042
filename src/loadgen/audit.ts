/**
 * The auditor: compares the product database at the end with the database at
 * the start and the replies in between. It knows the rules of the marketplace,
 * and nothing of how a server keeps them. A call that was never answered may
 * or may not have happened, unless its key tells which. Refused calls are not
 * in the ledger.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Arguments } from '../client/connection.ts'
import { type Item, type Name, operationsByName, type Result, type Role } from '../contract/operations.ts'
import { distinctWords, fold, lowerCase } from '../contract/text.ts'
import { withConnection } from '../db/connect.ts'
import { toSessionKey } from '../db/idempotency.ts'
import { hashToken } from '../server/market/sessions.ts'

/** A call that writes, as its client knows it. */
interface WriteCall<R extends Role, N extends Name<R>> {
  role: R
  operation: N
  accountId: number
  /** The session's token. */
  session: string
  params: Omit<Arguments<R, N>, 'session'>
  /** When it was sent and when it was answered, by one clock for all calls. */
  begunMs: number
  answeredMs?: number
  /** Absent: whether it was carried out is unknown. */
  result?: Result<R, N>
}

const SELLER_WRITES = ['register_item_for_sale', 'change_item_price', 'update_units_for_sale'] as const
const CART_WRITES = ['add_item_to_cart', 'remove_item_from_cart', 'save_cart', 'clear_cart', 'make_purchase'] as const
const WRITES: ReadonlySet<string> = new Set([...SELLER_WRITES, ...CART_WRITES, 'provide_feedback'])

/** Purchases at the time of a save, beyond which the auditor does not try which of them came before it. */
const MOST_DOUBTFUL = 8

export type Write =
  | { [N in (typeof SELLER_WRITES)[number]]: WriteCall<'seller', N> }[(typeof SELLER_WRITES)[number]]
  | { [N in (typeof CART_WRITES)[number]]: WriteCall<'buyer', N> }[(typeof CART_WRITES)[number]]
  | WriteCall<'buyer', 'provide_feedback'>

/** Every call that wrote or may have written, in any order. Without refused ones. */
export type Ledger = readonly Write[]

export function isWrite(operation: string): boolean {
  return WRITES.has(operation)
}

/** The tables of the product database that operations write, with the rows of schema.sql. */
export interface Snapshot {
  item: {
    id: number
    seller_id: number
    seller_name: string
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
    seller_id: number
    name: string
    quantity: number
    price_cents: number
  }[]
  feedback: { buyer_id: number; item_id: number; vote: 'up' | 'down' }[]
  seller_score: {
    seller_id: number
    thumbs_up: number
    thumbs_down: number
    items_sold: number
    sales_cents: number
  }[]
  buyer_score: { buyer_id: number; items_purchased: number }[]
  idempotency: { role: Role; account_id: number; idempotency_key: string; answer: string }[]
}

const TABLES = [
  'item',
  'item_keyword',
  'cart',
  'saved_cart',
  'purchase',
  'purchase_line',
  'feedback',
  'seller_score',
  'buyer_score',
  'idempotency',
] satisfies (keyof Snapshot)[]

/** All tables at one moment. */
export async function readSnapshot(url: string): Promise<Snapshot> {
  return withConnection(url, async (connection) => {
    await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY')
    const snapshot: Partial<Record<keyof Snapshot, unknown>> = {}
    for (const table of TABLES) snapshot[table] = await connection.query(`SELECT * FROM ${table}`)
    return snapshot as Snapshot
  })
}

/** The violations of the rules, one sentence each; none if all is well. */
export function findViolations(before: Snapshot, after: Snapshot, ledger: Ledger): string[] {
  return Object.values(audit(before, after, ledger)).flat()
}

/** The violations by what they concern. */
export function audit(before: Snapshot, after: Snapshot, ledger: Ledger) {
  const writes = listEffects(ledger, after)
  const written: Written = (operation) => writes.filter((write) => write.operation === operation) as never
  const registered = matchRegistrations(before, after, written)
  return {
    keys: [...checkKeys(ledger, before, after)],
    items: [...checkItems(before, after, registered)],
    stock: [...checkStock(before, after, registered, written)],
    prices: [...checkPrices(before, after, registered, written)],
    postings: [...checkPostings(after)],
    purchases: [...checkPurchases(before, after, written)],
    purchaseLines: [...checkPurchaseLines(before, after, registered, written)],
    votes: [...checkVotes(before, after, written)],
    thumbs: [...checkThumbs(before, after)],
    scores: [...checkScores(before, after)],
    carts: [...checkCarts(before, after, writes, written)],
  }
}

type WriteOf<O extends Write['operation']> = Extract<Write, { operation: O }>
/** All writes of one operation. */
type Written = <O extends Write['operation']>(operation: O) => readonly WriteOf<O>[]
type Registration = WriteOf<'register_item_for_sale'>

/**
 * The effects of the ledger, each once: calls with one key have one effect, and
 * one that was never answered happened if an answer is stored for its key.
 */
function listEffects(ledger: Ledger, after: Snapshot): readonly Write[] {
  const stored = new Map(after.idempotency.map((row) => [keyName(row.role, row.account_id, row.idempotency_key), row]))
  const byKey = groupBy(
    ledger.filter((write) => givenKey(write) !== undefined),
    (write) => keyName(write.role, write.accountId, storedKey(write)),
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
  return [...ledger.filter((write) => givenKey(write) === undefined), ...keyed]
}

/** Keys: one answer each, and that one is stored. */
function* checkKeys(ledger: Ledger, before: Snapshot, after: Snapshot): Generator<string> {
  const keyed = ledger.filter((write) => givenKey(write) !== undefined)
  const used = groupBy(keyed, (write) => keyName(write.role, write.accountId, storedKey(write)))
  const old = new Set(before.idempotency.map((row) => keyName(row.role, row.account_id, row.idempotency_key)))
  const stored = new Map<string, string>()
  for (const { role, account_id, idempotency_key, answer } of after.idempotency) {
    const name = keyName(role, account_id, idempotency_key)
    if (stored.has(name)) yield `two answers are stored for the key ${name}`
    if (!used.has(name) && !old.has(name)) yield `an answer is stored for the key ${name}, which was never used`
    stored.set(name, answer)
  }
  for (const [name, calls] of used) {
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
      yield `the answer stored for the key ${name} is ${answer}, the reply was ${JSON.stringify(first.result)}`
    }
  }
}

/** The registration of each new item; undefined: none. */
type Registered = ReadonlyMap<number, Registration | undefined>

function matchRegistrations(before: Snapshot, after: Snapshot, written: Written): Registered {
  const old = new Set(before.item.map(({ id }) => id))
  const registrations = written('register_item_for_sale')
  const unknown = registrations.filter(({ result }) => result === undefined)
  const registered = new Map<number, Registration | undefined>(
    registrations.flatMap((one) => (one.result === undefined ? [] : [[one.result.item_id, one] as const])),
  )
  for (const item of after.item) {
    if (old.has(item.id) || registered.has(item.id)) continue
    const match = unknown.findIndex((one) => isRegistered(one, item))
    registered.set(item.id, match < 0 ? undefined : unknown.splice(match, 1)[0])
  }
  return registered
}

/** Items: the old ones and the registered ones, all with their constant fields unchanged, and one name for a seller. */
function* checkItems(before: Snapshot, after: Snapshot, registered: Registered): Generator<string> {
  const now = new Map(after.item.map((item) => [item.id, item]))
  for (const old of before.item) {
    const item = now.get(old.id)
    if (item === undefined) yield `item ${old.id} is missing`
    else if (!isSameItem(item, old)) yield `item ${old.id} has a changed constant field`
  }
  for (const [id, registration] of registered) {
    const item = now.get(id)
    if (registration === undefined) yield `item ${id} exists, but was never registered`
    else if (item === undefined) yield `item ${id} was registered, but is missing`
    else if (!isRegistered(registration, item)) yield `item ${id} differs from its registration`
  }
  const names = new Map(after.item.map(({ seller_id, seller_name }) => [seller_id, seller_name]))
  for (const { id, seller_id, seller_name } of after.item) {
    const name = names.get(seller_id)
    if (seller_name !== name) yield `seller ${seller_id} is ${seller_name} in item ${id}, and ${name} in another`
  }
}

/** Stock: units at the start, registered and added, less those removed and sold, are the units on sale. */
function* checkStock(before: Snapshot, after: Snapshot, registered: Registered, written: Written): Generator<string> {
  const began = new Map(before.item.map(({ id, quantity }) => [id, quantity]))
  for (const [id, registration] of registered) began.set(id, registration?.params.quantity ?? 0)
  const sold = difference(before.purchase_line, after.purchase_line, 'item_id', ({ quantity }) => quantity)
  const changes = groupBy(written('update_units_for_sale'), ({ params }) => params.item_id ?? 0)
  for (const { id, quantity } of after.item) {
    const own = changes.get(id) ?? []
    const known = sum(own.filter(({ result }) => result !== undefined).map(({ params }) => params.change ?? 0))
    const unknown = own.filter(({ result }) => result === undefined).map(({ params }) => params.change ?? 0)
    const expected = (began.get(id) ?? 0) + known - (sold.get(id) ?? 0)
    if (quantity < 0) yield `${quantity} units of item ${id} are on sale`
    if (!possibleSums(unknown).has(quantity - expected)) {
      yield `${quantity} units of item ${id} are on sale, should be ${expected}`
    }
  }
}

/** Prices: the last one set. */
function* checkPrices(before: Snapshot, after: Snapshot, registered: Registered, written: Written): Generator<string> {
  const began = new Map(before.item.map(({ id, price_cents }) => [id, price_cents]))
  const changes = groupBy(written('change_item_price'), ({ params }) => params.item_id ?? 0)
  for (const { id, price_cents } of after.item) {
    const first = registered.get(id)?.params.price_cents ?? began.get(id)
    const { last, maybeNone } = lastWrites(changes.get(id) ?? [])
    const possible = [...last.map(({ params }) => params.price_cents), ...(maybeNone ? [first] : [])]
    if (!possible.includes(price_cents)) yield `item ${id} costs ${price_cents}, should cost ${possible.join(' or ')}`
  }
}

/** The keyword index: items on sale have postings under their keywords and under '', all others have none. */
function* checkPostings({ item, item_keyword }: Snapshot): Generator<string> {
  const under = groupBy(item_keyword, ({ item_id }) => item_id)
  for (const { id, quantity, category, keywords } of item) {
    const words = quantity > 0 ? ['', ...(keywords === '' ? [] : keywords.split('\n').map(fold))] : []
    const expected = [...new Set(words)].map((word) => `${category}/${word}`).sort()
    const actual = (under.get(id) ?? []).map((row) => `${row.category}/${row.keyword}`).sort()
    under.delete(id)
    if (actual.join('\n') !== expected.join('\n')) {
      yield `item ${id}, ${quantity} on sale, is indexed under [${actual.join(', ')}], ` +
        `should be under [${expected.join(', ')}]`
    }
  }
  for (const id of under.keys()) yield `item ${id} is indexed, but is missing`
}

/** Purchases: those acknowledged, as acknowledged; any others must be of calls that were never answered. */
function* checkPurchases(before: Snapshot, after: Snapshot, written: Written): Generator<string> {
  const lines = groupBy(after.purchase_line, ({ purchase_id }) => purchase_id)
  const purchases = new Map(after.purchase.map((purchase) => [purchase.id, purchase]))
  const old = new Set(before.purchase.map(({ id }) => id))
  const acknowledged = new Set<number>()
  const unknown = new Map<number, number>()
  for (const { accountId, result } of written('make_purchase')) {
    if (result === undefined) {
      unknown.set(accountId, (unknown.get(accountId) ?? 0) + 1)
      continue
    }
    const { purchase_id: id, total_cents } = result
    const purchase = purchases.get(id)
    if (acknowledged.has(id)) yield `purchase ${id} was acknowledged twice`
    acknowledged.add(id)
    if (purchase === undefined) yield `purchase ${id} was acknowledged, but is missing`
    else if (purchase.buyer_id !== accountId)
      yield `purchase ${id} of buyer ${accountId} belongs to buyer ${purchase.buyer_id}`
    else if (purchase.total_cents !== total_cents)
      yield `purchase ${id} has a total of ${purchase.total_cents}, acknowledged was ${total_cents}`
    if (formatLines(lines.get(id) ?? []) !== formatLines(result.lines))
      yield `purchase ${id} does not have the lines that were acknowledged`
  }
  for (const { id, buyer_id, total_cents } of after.purchase) {
    const its = lines.get(id) ?? []
    if (its.length === 0) yield `purchase ${id} has no lines`
    if (its.some((line) => line.buyer_id !== buyer_id)) yield `purchase ${id} has lines of another buyer`
    const total = sum(its.map(({ quantity, price_cents }) => quantity * price_cents))
    if (total !== total_cents) yield `the lines of purchase ${id} total ${total}, not ${total_cents}`
    if (acknowledged.has(id) || old.has(id)) continue
    const left = unknown.get(buyer_id) ?? 0
    if (left === 0) yield `purchase ${id} of buyer ${buyer_id} exists, but was never acknowledged`
    else unknown.set(buyer_id, left - 1)
  }
  for (const id of lines.keys()) if (!purchases.has(id)) yield `purchase ${id} has lines, but is missing`
  for (const id of old) if (!purchases.has(id)) yield `purchase ${id} is missing`
}

/** Purchase lines: at least one unit, of an item that exists, with its name and seller, at a price that it had. */
function* checkPurchaseLines(
  before: Snapshot,
  after: Snapshot,
  registered: Registered,
  written: Written,
): Generator<string> {
  const prices = new Map(before.item.map(({ id, price_cents }) => [id, new Set([price_cents])]))
  for (const [id, one] of registered) prices.set(id, new Set([one?.params.price_cents ?? 0]))
  for (const { params } of written('change_item_price')) prices.get(params.item_id ?? 0)?.add(params.price_cents ?? 0)
  const old = new Set(before.purchase.map(({ id }) => id))
  const items = new Map(after.item.map((item) => [item.id, item]))
  for (const { purchase_id, item_id, seller_id, name, quantity, price_cents } of after.purchase_line) {
    const item = items.get(item_id)
    if (name !== item?.name || seller_id !== item.seller_id) {
      yield `purchase ${purchase_id} has item ${item_id} as ${name} of seller ${seller_id}, ` +
        `which is ${item?.name} of seller ${item?.seller_id}`
    }
    if (quantity < 1) yield `purchase ${purchase_id} has ${quantity} units of item ${item_id}`
    if (!old.has(purchase_id) && !prices.get(item_id)?.has(price_cents)) {
      yield `purchase ${purchase_id} has item ${item_id} at ${price_cents}, which it never cost`
    }
  }
}

/** Votes: one per buyer and item, the last one given, on an item that the buyer purchased. */
function* checkVotes(before: Snapshot, after: Snapshot, written: Written): Generator<string> {
  const pair = (buyerId: number, itemId: number) => `buyer ${buyerId} on item ${itemId}`
  const began = new Map(before.feedback.map(({ buyer_id, item_id, vote }) => [pair(buyer_id, item_id), vote]))
  const given = groupBy(written('provide_feedback'), ({ accountId, params }) => pair(accountId, params.item_id ?? 0))
  const purchased = new Set(after.purchase_line.map(({ buyer_id, item_id }) => pair(buyer_id, item_id)))
  const there = groupBy(after.feedback, ({ buyer_id, item_id }) => pair(buyer_id, item_id))
  for (const name of new Set([...began.keys(), ...given.keys(), ...there.keys()])) {
    const votes = (there.get(name) ?? []).map(({ vote }) => vote)
    const { last, maybeNone } = lastWrites(given.get(name) ?? [])
    const possible = [...last.map(({ params }) => params.vote), ...(maybeNone ? [began.get(name)] : [])]
    if (votes.length > 1) yield `${votes.length} votes of ${name}`
    else if (!possible.includes(votes[0])) {
      const expected = possible.map((vote) => vote ?? 'none').join(' or ')
      yield `the vote of ${name} is ${votes[0] ?? 'missing'}, should be ${expected}`
    }
    if (votes.length > 0 && !purchased.has(name)) yield `a vote of ${name}, which the buyer never purchased`
  }
}

/** Thumbs of items: the number of votes. */
function* checkThumbs(before: Snapshot, after: Snapshot): Generator<string> {
  const began = new Map(before.item.map((item) => [item.id, item]))
  for (const [column, vote] of THUMBS) {
    const votes = difference(before.feedback, after.feedback, 'item_id', (row) => (row.vote === vote ? 1 : 0))
    for (const item of after.item) {
      const expected = (began.get(item.id)?.[column] ?? 0) + (votes.get(item.id) ?? 0)
      if (item[column] !== expected) yield `item ${item.id} has ${item[column]} ${column}, by its votes ${expected}`
    }
  }
}

const THUMBS = [
  ['thumbs_up', 'up'],
  ['thumbs_down', 'down'],
] as const

/** Scores: what they were, plus the sums over new votes and purchases. */
function* checkScores(before: Snapshot, after: Snapshot): Generator<string> {
  const sellers = new Map(after.item.map(({ id, seller_id }) => [id, seller_id]))
  const withSeller = <Row extends { item_id: number }>(rows: readonly Row[]) =>
    rows.map((row) => ({ ...row, seller_id: sellers.get(row.item_id) ?? 0 }))
  const [votesBefore, votes] = [withSeller(before.feedback), withSeller(after.feedback)]
  const [linesBefore, lines] = [withSeller(before.purchase_line), withSeller(after.purchase_line)]
  const expected = {
    thumbs_up: difference(votesBefore, votes, 'seller_id', ({ vote }) => (vote === 'up' ? 1 : 0)),
    thumbs_down: difference(votesBefore, votes, 'seller_id', ({ vote }) => (vote === 'down' ? 1 : 0)),
    items_sold: difference(linesBefore, lines, 'seller_id', ({ quantity }) => quantity),
    sales_cents: difference(linesBefore, lines, 'seller_id', ({ quantity, price_cents }) => quantity * price_cents),
  }
  for (const [column, moved] of Object.entries(expected) as [keyof typeof expected, Map<number, number>][]) {
    const score = (snapshot: Snapshot) => new Map(snapshot.seller_score.map((row) => [row.seller_id, row[column]]))
    yield* checkScore(`${column} of seller`, score(before), score(after), moved)
  }
  const purchased = difference(before.purchase_line, after.purchase_line, 'buyer_id', ({ quantity }) => quantity)
  const score = (snapshot: Snapshot) => new Map(snapshot.buyer_score.map((row) => [row.buyer_id, row.items_purchased]))
  yield* checkScore('items_purchased of buyer', score(before), score(after), purchased)
}

/** No row means zero. */
function* checkScore(
  name: string,
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
  moved: ReadonlyMap<number, number>,
): Generator<string> {
  for (const id of new Set([...before.keys(), ...after.keys(), ...moved.keys()])) {
    const [actual, expected] = [after.get(id) ?? 0, (before.get(id) ?? 0) + (moved.get(id) ?? 0)]
    if (actual !== expected) yield `${name} ${id} is ${actual}, by votes and purchases ${expected}`
  }
}

/**
 * Carts: as the replies to their session say. The replies tell only if the
 * session's calls were made one after the other and all answered, as those of a
 * client that waits for each reply.
 */
function* checkCarts(before: Snapshot, after: Snapshot, writes: readonly Write[], written: Written): Generator<string> {
  const began = new Map(before.cart.map((row) => [row.session_hash, row.content]))
  const there = new Map(after.cart.map((row) => [row.session_hash, row.content]))
  const kept = new Map(before.saved_cart.map((row) => [row.buyer_id, row.content]))
  const now = new Map(after.saved_cart.map((row) => [row.buyer_id, row.content]))
  const savers = groupBy(written('save_cart'), ({ accountId }) => accountId)
  const saves: Save[] = []
  for (const [session, calls] of groupBy(writes.filter(isCartWrite), (write) => write.session)) {
    const { accountId } = calls[0] as CartWrite
    const hash = hashToken(session)
    const copied = kept.has(accountId) || (savers.get(accountId) ?? []).some((save) => save.session !== session)
    const history = replay(calls, began.get(hash) ?? (copied ? undefined : ''))
    for (const { call, content } of history) if (call.operation === 'save_cart') saves.push({ ...call, content })
    const expected = history.at(-1)?.content
    if (expected !== undefined && (there.get(hash) ?? '') !== expected) {
      yield `a cart of buyer ${accountId} has [${there.get(hash) ?? ''}], by the replies [${expected}]`
    }
  }
  const savesByBuyer = groupBy(saves, ({ accountId }) => accountId)
  const purchases = groupBy(written('make_purchase'), ({ accountId }) => accountId)
  for (const buyerId of new Set([...kept.keys(), ...now.keys(), ...savesByBuyer.keys()])) {
    const { last, maybeNone } = lastWrites(savesByBuyer.get(buyerId) ?? [])
    const longAgoMs = Number.NEGATIVE_INFINITY
    const first = { content: kept.get(buyerId) ?? '', begunMs: longAgoMs, answeredMs: longAgoMs }
    const possible = [...last, ...(maybeNone ? [first] : [])].flatMap((save) =>
      withoutPurchases(save, purchases.get(buyerId) ?? []),
    )
    if (possible.includes(undefined) || possible.includes(now.get(buyerId) ?? '')) continue
    yield `the saved cart of buyer ${buyerId} has [${now.get(buyerId) ?? ''}], should have [${possible.join('] or [')}]`
  }
}

type CartWrite = WriteOf<(typeof CART_WRITES)[number]>
/** With the cart that was saved; undefined: unknown. */
type Save = WriteOf<'save_cart'> & { content: string | undefined }

function isCartWrite(write: Write): write is CartWrite {
  return CART_WRITES.includes(write.operation as CartWrite['operation'])
}

/** The cart after each call of its session; undefined: unknown, as after a call that was never answered. */
function replay(calls: readonly CartWrite[], first: string | undefined) {
  const inTurn = calls.toSorted((a, b) => a.begunMs - b.begunMs)
  let units = first === undefined ? undefined : decodeCart(first)
  let answeredMs = Number.NEGATIVE_INFINITY
  return inTurn.map((call) => {
    answeredMs = call.begunMs < answeredMs ? Number.POSITIVE_INFINITY : answerTime(call)
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
      content: answeredMs === Number.POSITIVE_INFINITY || units === undefined ? undefined : encodeCart(units),
    }
  })
}

/** What a saved cart may have after the buyer's purchases, of which some may have come before it; undefined: unknown. */
function withoutPurchases(
  save: Pick<Save, 'content' | 'begunMs' | 'answeredMs'>,
  purchases: readonly WriteOf<'make_purchase'>[],
): (string | undefined)[] {
  if (save.content === undefined || save.content === '') return [save.content]
  const later = purchases.filter((purchase) => answerTime(purchase) > save.begunMs)
  const isCertain = ({ begunMs }: Pick<Write, 'begunMs'>) => begunMs > answerTime(save)
  const doubtful = later.filter((purchase) => !isCertain(purchase))
  if (later.some(({ result }) => result === undefined) || doubtful.length > MOST_DOUBTFUL) return [undefined]
  const certain = later.filter(isCertain)
  return subsets(doubtful).map((some) => {
    const units = decodeCart(save.content as string)
    for (const { item_id, quantity } of [...certain, ...some].flatMap(({ result }) => result?.lines ?? [])) {
      const left = (units.get(item_id) ?? 0) - quantity
      if (left > 0) units.set(item_id, left)
      else units.delete(item_id)
    }
    return encodeCart(units)
  })
}

function decodeCart(content: string): Map<number, number> {
  if (content === '') return new Map()
  return new Map(content.split(' ').map((line) => line.split(':').map(Number) as [number, number]))
}

function encodeCart(units: ReadonlyMap<number, number>): string {
  return [...units].map((line) => line.join(':')).join(' ')
}

function givenKey({ params }: Write): string | undefined {
  return 'idempotency_key' in params ? params.idempotency_key : undefined
}

/** The key as the table has it: that of a call on a cart belongs to the session. */
function storedKey(write: Write): string | undefined {
  const key = givenKey(write)
  const scope = operationsByName(write.role).get(write.operation)?.keyed
  return scope === 'session' && key !== undefined ? toSessionKey(hashToken(write.session), key) : key
}

function keyName(role: Role, accountId: number, key: string | undefined): string {
  return `${key} of ${role} ${accountId}`
}

function answerTime({ answeredMs }: { answeredMs?: number }): number {
  return answeredMs ?? Number.POSITIVE_INFINITY
}

/** Of writes to one thing: those that may have been the last, and whether there may have been none. */
function lastWrites<W extends Pick<Write, 'begunMs' | 'answeredMs' | 'result'>>(writes: readonly W[]) {
  const certain = writes.filter(({ result }) => result !== undefined)
  const latestMs = Math.max(Number.NEGATIVE_INFINITY, ...certain.map(({ begunMs }) => begunMs))
  return { last: writes.filter((write) => answerTime(write) >= latestMs), maybeNone: certain.length === 0 }
}

/** Whether the constant fields of the item are those of its registration. */
function isRegistered({ accountId, params }: Registration, item: Snapshot['item'][number]): boolean {
  const { name = '', category, keywords = [], condition } = params
  const words = distinctWords(keywords.map((word) => lowerCase(word.normalize('NFC'))))
  const { seller_id, item_condition } = item
  return (
    isDeepStrictEqual([seller_id, item.name, item.category], [accountId, name.normalize('NFC'), category]) &&
    isDeepStrictEqual([item.keywords, item_condition], [words.join('\n'), condition])
  )
}

function isSameItem(a: Snapshot['item'][number], b: Snapshot['item'][number]): boolean {
  const constant = ({ seller_id, seller_name, name, category, keywords, item_condition }: typeof a) => [
    seller_id,
    seller_name,
    name,
    category,
    keywords,
    item_condition,
  ]
  return isDeepStrictEqual(constant(a), constant(b))
}

function formatLines(lines: readonly { item_id: number; quantity: number; price_cents: number }[]): string {
  return lines
    .map(({ item_id, quantity, price_cents }) => `${item_id}: ${quantity} at ${price_cents}`)
    .sort()
    .join(', ')
}

function groupBy<T, K>(things: readonly T[], getKey: (thing: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const thing of things) {
    const key = getKey(thing)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [thing])
    else group.push(thing)
  }
  return groups
}

/** Sums over the rows by the value of a column: after, less before. */
function difference<Column extends string, Row extends Record<Column, number>>(
  before: readonly Row[],
  after: readonly Row[],
  column: Column,
  amount: (row: Row) => number,
): Map<number, number> {
  const sums = new Map<number, number>()
  for (const row of after) sums.set(row[column], (sums.get(row[column]) ?? 0) + amount(row))
  for (const row of before) sums.set(row[column], (sums.get(row[column]) ?? 0) - amount(row))
  return sums
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}

function subsets<T>(things: readonly T[]): T[][] {
  const sets: T[][] = [[]]
  for (const thing of things) for (const set of [...sets]) sets.push([...set, thing])
  return sets
}

/** All sums of any of the amounts, none included. */
function possibleSums(amounts: readonly number[]): ReadonlySet<number> {
  const sums = new Set([0])
  for (const amount of amounts) for (const sum of [...sums]) sums.add(sum + amount)
  return sums
}
