/**
 * Concurrent calls, batched or not, get the same answers and leave the same rows
 * as if they had been carried out one after the other, in some order. A case has
 * items and buyers of its own and a few calls, and a small model of the
 * marketplace tries every order of them. Several cases run at the same time, so
 * that they share batches.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import type { Connection } from 'mariadb'
import { withConnection } from '../../src/db/connect.ts'
import { hashToken } from '../../src/server/market/sessions.ts'
import type { Reply } from '../support/clients.ts'
import type { RunningServer } from '../support/marketplace.ts'
import type { AccountSession, NamedSession } from '../support/sessions.ts'
import { callTogether, openShop, SHOP_SETTINGS, type Shop } from '../support/shop.ts'

const CASES = 160
const CASES_AT_ONCE = 8
/** Sessions and items by their index in the case: sessions 0 and 1 belong to one buyer, session 2 to another. */
type Call =
  | { do: 'add' | 'remove'; by: number; item: number; quantity: number }
  | { do: 'clear' | 'save' | 'display'; by: number }
  | { do: 'purchase'; by: number; total_cents: number | undefined }
  | { do: 'vote'; by: number; item: number; vote: 'up' | 'down' }
  | { do: 'units'; item: number; change: number }
  | { do: 'price'; item: number; cents: number }

interface Start {
  items: { quantity: number; cents: number; ownedBy: number[] }[]
  /** Undefined: the session has not opened its cart. */
  carts: (CartLines | undefined)[]
  saved: (CartLines | undefined)[]
}

type CartLines = [item: number, units: number][]

interface Case {
  start: Start
  calls: Call[]
  /** Whether the first call has a key and is made once more. */
  repeated: boolean
}

/** The buyer of each session. */
const SESSIONS = [0, 0, 1]
const ITEMS = 2

const session = fc.nat({ max: SESSIONS.length - 1 })
const item = fc.nat({ max: ITEMS - 1 })
const few = fc.integer({ min: 1, max: 3 })
/** That of a small cart, or none. */
const total = fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined, freq: 2 })
const cartLines: fc.Arbitrary<CartLines> = fc.uniqueArray(fc.tuple(item, few), {
  selector: ([item]) => item,
  maxLength: ITEMS,
})
const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('purchase' as const), by: session, total_cents: total }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('add' as const), by: session, item, quantity: few }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), by: session, item, quantity: few }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('clear', 'save', 'display'), by: session }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('units' as const), item, change: fc.integer({ min: -3, max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('price' as const), item, cents: few }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('vote' as const), by: session, item, vote: fc.constantFrom('up', 'down') }),
  },
)
const randomCase: fc.Arbitrary<Case> = fc.record({
  start: fc.record({
    items: fc.array(fc.record({ quantity: fc.nat({ max: 4 }), cents: few, ownedBy: fc.subarray([0, 1]) }), {
      minLength: ITEMS,
      maxLength: ITEMS,
    }),
    carts: fc.array(fc.option(cartLines, { nil: undefined }), { minLength: 3, maxLength: 3 }),
    saved: fc.array(fc.option(cartLines, { nil: undefined }), { minLength: 2, maxLength: 2 }),
  }),
  calls: fc.array(call, { minLength: 2, maxLength: 4 }),
  repeated: fc.boolean(),
})

/** The marketplace of one case, by the rules of the contract. Sessions, buyers and items are indices. */
interface Model {
  items: { quantity: number; cents: number; up: number; down: number }[]
  carts: (Map<number, number> | undefined)[]
  saved: (Map<number, number> | undefined)[]
  purchases: { buyer: number; lines: [item: number, units: number, cents: number][] }[]
  votes: Map<string, 'up' | 'down'>
  owned: Set<string>
  sold: number
  bought: number[]
}

/** The result of a call, or the code and details of its refusal. */
type ModelAnswer = Record<string, unknown>

function toModel({ items, carts, saved }: Start): Model {
  const owners = items.flatMap(({ ownedBy }, item) => ownedBy.map((buyer): [number, number] => [buyer, item]))
  const toMap = (lines: CartLines | undefined) => lines && new Map(lines)
  return {
    items: items.map(({ quantity, cents }) => ({ quantity, cents, up: 0, down: 0 })),
    carts: carts.map(toMap),
    saved: saved.map(toMap),
    purchases: [],
    votes: new Map(),
    owned: new Set(owners.map(String)),
    sold: owners.length,
    bought: [0, 1].map((buyer) => owners.filter(([owner]) => owner === buyer).length),
  }
}

function refused(code: string, details: object = {}): ModelAnswer {
  return { code, ...details }
}

function outOfStock(shortages: { item_id: number; requested: number; available: number }[]): ModelAnswer {
  return refused('out_of_stock', { ...shortages[0], items: shortages })
}

/** Carries out one call, and answers as the server must, with indices for ids. */
function perform(model: Model, call: Call): ModelAnswer {
  if (call.do === 'units') return changeUnits(model, call)
  if (call.do === 'price') {
    itemAt(model, call.item).cents = call.cents
    return { ok: true }
  }
  if (call.do === 'vote') return castVote(model, call)
  const buyer = SESSIONS[call.by] as number
  const cart = model.carts[call.by] ?? new Map(model.saved[buyer])
  model.carts[call.by] = cart
  if (call.do === 'add') {
    const requested = (cart.get(call.item) ?? 0) + call.quantity
    const available = itemAt(model, call.item).quantity
    if (requested > available) return outOfStock([{ item_id: call.item, requested, available }])
    cart.set(call.item, requested)
    return { quantity: requested }
  }
  if (call.do === 'remove') {
    const units = cart.get(call.item) ?? 0
    if (units < call.quantity) return refused('not_in_cart', { item_id: call.item, quantity: units })
    if (units === call.quantity) cart.delete(call.item)
    else cart.set(call.item, units - call.quantity)
    return { quantity: units - call.quantity }
  }
  if (call.do === 'display') {
    return {
      lines: [...cart].map(([item_id, quantity]) => {
        const { cents, quantity: available } = itemAt(model, item_id)
        return { item_id, name: 'Lamp', quantity, price_cents: cents, available }
      }),
    }
  }
  if (call.do === 'purchase') return purchase(model, buyer, cart, call.total_cents)
  if (call.do === 'clear') cart.clear()
  if (call.do === 'save') model.saved[buyer] = new Map(cart)
  return { ok: true }
}

function itemAt(model: Model, index: number) {
  return model.items[index] as Model['items'][number]
}

function changeUnits(model: Model, { item, change }: Call & { do: 'units' }): ModelAnswer {
  const { quantity } = itemAt(model, item)
  if (quantity + change < 0) return outOfStock([{ item_id: item, requested: -change, available: quantity }])
  itemAt(model, item).quantity += change
  return { quantity: quantity + change }
}

function castVote(model: Model, { by, item, vote }: Call & { do: 'vote' }): ModelAnswer {
  const key = String([SESSIONS[by], item])
  if (!model.owned.has(key)) return refused('not_purchased')
  const before = model.votes.get(key)
  if (before !== undefined) itemAt(model, item)[before] -= 1
  itemAt(model, item)[vote] += 1
  model.votes.set(key, vote)
  return { ok: true }
}

function purchase(model: Model, buyer: number, cart: Map<number, number>, expected: number | undefined): ModelAnswer {
  if (cart.size === 0) return refused('cart_empty')
  const shortages = [...cart]
    .map(([item_id, requested]) => ({ item_id, requested, available: itemAt(model, item_id).quantity }))
    .filter(({ requested, available }) => requested > available)
  if (shortages.length > 0) return outOfStock(shortages)
  const lines = [...cart].map(([item, units]): [number, number, number] => [item, units, itemAt(model, item).cents])
  const answer = {
    lines: lines.map(([item_id, quantity, price_cents]) => ({ item_id, name: 'Lamp', quantity, price_cents })),
    total_cents: lines.reduce((sum, [, units, cents]) => sum + units * cents, 0),
  }
  if (expected !== undefined && expected !== answer.total_cents) return refused('price_changed', answer)
  const saved = model.saved[buyer]
  for (const [item, units] of cart) {
    itemAt(model, item).quantity -= units
    model.owned.add(String([buyer, item]))
    model.sold += units
    model.bought[buyer] = (model.bought[buyer] ?? 0) + units
    const left = (saved?.get(item) ?? 0) - units
    if (left > 0) saved?.set(item, left)
    else saved?.delete(item)
  }
  model.purchases.push({ buyer, lines })
  cart.clear()
  return answer
}

type FinalRows = ReturnType<typeof toFinalRows>

/** The rows that the model has in the end. */
function toFinalRows(model: Model) {
  const content = (cart: Map<number, number> | undefined) => cart && [...cart].map((line) => line.join(':')).join(' ')
  const thumbs = (vote: 'up' | 'down') => model.items.reduce((sum, item) => sum + item[vote], 0)
  return {
    items: model.items.map(({ quantity, cents, up, down }) => [quantity, cents, up, down, quantity > 0 ? 2 : 0]),
    carts: model.carts.map(content),
    saved: model.saved.map(content),
    purchases: model.purchases
      .map(({ buyer, lines }) => {
        const total = lines.reduce((sum, [, units, cents]) => sum + units * cents, 0)
        return `${buyer} ${total}: ${lines.toSorted(([a], [b]) => a - b).join(' ')}`
      })
      .toSorted(),
    votes: [...model.votes].map(String).toSorted(),
    score: [thumbs('up'), thumbs('down'), model.sold],
    bought: model.bought,
  }
}

/** A case in the database: the accounts and ids of its indices, and the answers to its calls. */
interface RunningCase {
  given: Case
  calls: Call[]
  seller: NamedSession
  sessions: AccountSession[]
  itemIds: number[]
  answers: ModelAnswer[]
}

/** Ids of items and earlier purchases start here, far above the ids that servers give out. */
const FIRST_ID = 10 ** 12
/** A time in the far future: no sweep removes these carts. */
const CART_TIME = 10 ** 12

let shop: Shop
const servers = {} as Record<'on' | 'off', { sellers: RunningServer; buyers: RunningServer }>

before(async () => {
  shop = await openShop()
  const [sellers, buyers] = await Promise.all([
    shop.marketplace.serve('seller', { ...SHOP_SETTINGS, queue: 'off' }),
    shop.marketplace.serve('buyer', { ...SHOP_SETTINGS, queue: 'off' }),
  ])
  servers.on = shop
  servers.off = { sellers, buyers }
})
after(() => shop?.close())

for (const [queue, seed] of [
  ['on', Date.now()],
  ['off', Date.now() + 1],
] as const) {
  describe(`concurrent calls with the queue ${queue}`, () => {
    it('get the answers and leave the rows of some serial order', async () => {
      await withConnection(shop.marketplace.urls.product, async (connection) => {
        const cases = fc.sample(randomCase, { numRuns: CASES, seed })
        for (let from = 0; from < CASES; from += CASES_AT_ONCE) {
          const running = await prepare(connection, cases.slice(from, from + CASES_AT_ONCE))
          await sendAll(running, servers[queue])
          const rows = await Promise.all(running.map((one) => readFinalRows(connection, one)))
          for (const [index, one] of running.entries()) {
            const actual = { answers: one.answers, rows: rows[index] }
            assert.ok(hasOrder(one, actual), `seed ${seed}: ${JSON.stringify({ ...one.given, ...actual }, null, 1)}`)
          }
        }
      })
    })
  })
}

/** Writes the accounts and rows that the cases start from straight into the tables. */
async function prepare(connection: Connection, cases: readonly Case[]): Promise<RunningCase[]> {
  const count = cases.length
  const [sellers, bobs, carls] = [
    await shop.newSellers(count),
    await shop.newBuyers(count),
    await shop.newBuyers(count),
  ]
  const bobsAgain = await shop.newSessions(bobs)
  return Promise.all(
    cases.map(async (given, index): Promise<RunningCase> => {
      const seller = sellers[index] as NamedSession
      const sessions = [bobs, bobsAgain, carls].map((accounts) => accounts[index] as AccountSession)
      const calls = given.repeated ? [...given.calls, given.calls[0] as Call] : given.calls
      const itemIds = given.start.items.map((_, item) => FIRST_ID + seller.id * ITEMS + item)
      const running = { given, calls, seller, sessions, itemIds, answers: [] }
      await Promise.all(toStartRows(running).map(([table, row]) => insert(connection, table, row)))
      return running
    }),
  )
}

type TableRow = [table: string, row: (string | number)[]]

function insert(connection: Connection, table: string, row: (string | number)[]): Promise<unknown> {
  return connection.query(`INSERT INTO ${table} VALUES (${row.map(() => '?').join(', ')})`, row)
}

function toStartRows({ given: { start }, seller, sessions, itemIds }: RunningCase): TableRow[] {
  const [bob, , carl] = sessions as [AccountSession, AccountSession, AccountSession]
  const buyerIds = [bob.id, carl.id]
  const content = (lines: CartLines) => lines.map(([item, units]) => `${itemIds[item]}:${units}`).join(' ')
  const rows: TableRow[] = []
  const bought = [0, 0]
  for (const [item, { quantity, cents, ownedBy }] of start.items.entries()) {
    const id = itemIds[item] as number
    rows.push(['item', [id, seller.id, seller.name, 'Lamp', 1, 'lamp', 'new', cents, quantity, 0, 0]])
    if (quantity > 0) for (const keyword of ['', 'lamp']) rows.push(['item_keyword', [1, keyword, id]])
    for (const buyer of ownedBy) {
      const buyerId = buyerIds[buyer] as number
      rows.push(['purchase_line', [FIRST_ID + buyerId, id, buyerId, seller.id, 'Lamp', 1, 1]])
      bought[buyer] = (bought[buyer] ?? 0) + 1
    }
  }
  for (const [by, lines] of start.carts.entries()) {
    const { id, session } = sessions[by] as AccountSession
    if (lines !== undefined) rows.push(['cart', [hashToken(session), id, content(lines), CART_TIME]])
  }
  for (const [buyer, buyerId] of buyerIds.entries()) {
    const lines = start.saved[buyer]
    if (lines !== undefined) rows.push(['saved_cart', [buyerId, content(lines)]])
    if (bought[buyer]) rows.push(['buyer_score', [buyerId, bought[buyer]]])
  }
  const sold = bought.reduce((sum, units) => sum + units)
  if (sold > 0) rows.push(['seller_score', [seller.id, 0, 0, sold, sold]])
  return rows
}

const METHODS = {
  add: 'add_item_to_cart',
  remove: 'remove_item_from_cart',
  clear: 'clear_cart',
  save: 'save_cart',
  display: 'display_cart',
  purchase: 'make_purchase',
  vote: 'provide_feedback',
  units: 'update_units_for_sale',
  price: 'change_item_price',
} as const

/** Sends the calls of all cases to each server in one segment, in random order, and stores the answers. */
async function sendAll(cases: readonly RunningCase[], { sellers, buyers }: (typeof servers)['on']): Promise<void> {
  const all = cases.flatMap((one) => one.calls.map((call, place) => ({ one, call, place })))
  const shuffled = fc.sample(fc.shuffledSubarray(all, { minLength: all.length }), 1)[0] ?? all
  const isForSeller = ({ call }: (typeof all)[number]) => call.do === 'units' || call.do === 'price'
  await Promise.all(
    [
      { server: sellers, calls: shuffled.filter(isForSeller) },
      { server: buyers, calls: shuffled.filter((call) => !isForSeller(call)) },
    ].map(async ({ server, calls }) => {
      const replies = await callTogether(
        server,
        calls.map(({ one, call, place }) => [METHODS[call.do], toParams(one, call, place)]),
      )
      for (const [index, { one, place }] of calls.entries()) {
        one.answers[place] = toModelAnswer(one, replies[index] as Reply)
      }
    }),
  )
}

/** The parameters of the call at this place of the case. A repeated call and its repetition have a key. */
function toParams({ given, calls, seller, sessions, itemIds }: RunningCase, call: Call, place: number): object {
  const { session } = 'by' in call ? (sessions[call.by] as AccountSession) : seller
  const { do: _, by: __, item, cents, ...rest } = { by: 0, item: undefined, cents: undefined, ...call }
  return {
    session,
    ...rest,
    ...(item === undefined ? {} : { item_id: itemIds[item] }),
    ...(cents === undefined ? {} : { price_cents: cents }),
    ...(isRepeated({ given, calls }, place) ? { idempotency_key: 'once' } : {}),
  }
}

function isRepeated({ given, calls }: Pick<RunningCase, 'given' | 'calls'>, place: number): boolean {
  const [first] = calls
  const isKeyed = first !== undefined && ['add', 'remove', 'purchase', 'units'].includes(first.do)
  return given.repeated && isKeyed && (place === 0 || place === calls.length - 1)
}

/** The reply in the form of the model, with indices for ids. */
function toModelAnswer({ itemIds }: RunningCase, { result, error }: Reply): ModelAnswer {
  const text = JSON.stringify(result ?? error?.data, (name, value) => {
    if (name === 'purchase_id') return undefined
    return name === 'item_id' ? itemIds.indexOf(value) : value
  })
  return JSON.parse(text)
}

/** Reads the rows of the case in the form of `toFinalRows`. */
async function readFinalRows(connection: Connection, { seller, sessions, itemIds }: RunningCase): Promise<FinalRows> {
  const [bob, , carl] = sessions as [AccountSession, AccountSession, AccountSession]
  const buyerIds = [bob.id, carl.id]
  const read = async (sql: string, values: unknown[]): Promise<unknown[][]> =>
    connection.query({ sql, rowsAsArray: true }, values)
  const one = async (sql: string, id: unknown) => (await read(sql, [id]))[0]
  const toIndices = (content: unknown) =>
    content === undefined
      ? undefined
      : String(content).replace(/\d+(?=:)/g, (id) => String(itemIds.indexOf(Number(id))))
  const readCart = async ({ session }: AccountSession) =>
    toIndices((await one('SELECT content FROM cart WHERE session_hash = ?', hashToken(session)))?.[0])
  const [items, words, carts, saved, lines, votes, score, bought] = await Promise.all([
    read('SELECT id, quantity, price_cents, thumbs_up, thumbs_down FROM item WHERE seller_id = ? ORDER BY id', [
      seller.id,
    ]),
    Promise.all(itemIds.map((id) => read('SELECT keyword FROM item_keyword WHERE category = 1 AND item_id = ?', [id]))),
    Promise.all(sessions.map(readCart)),
    Promise.all(buyerIds.map((id) => one('SELECT content FROM saved_cart WHERE buyer_id = ?', id))),
    read(
      'SELECT p.buyer_id, p.id, p.total_cents, item_id, quantity, price_cents FROM purchase p LEFT JOIN purchase_line ' +
        'ON purchase_id = id WHERE p.buyer_id IN (?, ?) ORDER BY id, item_id',
      buyerIds,
    ),
    read('SELECT buyer_id, item_id, vote FROM feedback WHERE buyer_id IN (?, ?)', buyerIds),
    one('SELECT thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id = ?', seller.id),
    Promise.all(buyerIds.map((id) => one('SELECT items_purchased FROM buyer_score WHERE buyer_id = ?', id))),
  ])
  const purchases = new Map<unknown, string>()
  for (const [buyer, id, total, item, ...line] of lines) {
    const text = purchases.get(id) ?? `${buyerIds.indexOf(Number(buyer))} ${total}:`
    purchases.set(id, `${text} ${[itemIds.indexOf(Number(item)), ...line]}`)
  }
  return {
    items: items.map(([, ...item], index) => [...item, words[index]?.length] as number[]),
    carts,
    saved: saved.map((row) => toIndices(row?.[0])),
    purchases: [...purchases.values()].toSorted(),
    votes: votes
      .map(([buyer, item, vote]) => `${buyerIds.indexOf(Number(buyer))},${itemIds.indexOf(Number(item))},${vote}`)
      .toSorted(),
    score: (score ?? [0, 0, 0]) as number[],
    bought: bought.map((row) => (row?.[0] ?? 0) as number),
  }
}

/** Whether the model gives these answers and these rows in some order of the calls. */
function hasOrder(one: RunningCase, actual: { answers: ModelAnswer[]; rows: FinalRows | undefined }): boolean {
  return orders(one.calls.length).some((order) => {
    const model = toModel(one.given.start)
    const answers: ModelAnswer[] = []
    let keyedAnswer: ModelAnswer | undefined
    for (const place of order) {
      const repeated = isRepeated(one, place)
      const answer = (repeated ? keyedAnswer : undefined) ?? perform(model, one.calls[place] as Call)
      if (repeated && !('code' in answer)) keyedAnswer = answer
      answers[place] = answer
    }
    return isDeepStrictEqual({ answers, rows: toFinalRows(model) }, actual)
  })
}

/** All orders of `count` places. */
function orders(count: number): number[][] {
  if (count === 0) return [[]]
  return orders(count - 1).flatMap((order) =>
    Array.from({ length: count }, (_, at) => [...order.slice(0, at), count - 1, ...order.slice(at)]),
  )
}
