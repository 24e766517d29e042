/**
 * Calls that are under way together, gathered or not, come to what they would
 * have come to one after the other in some order: to the same answers and the
 * same rows. Every round has items and buyers of its own and a few calls, and
 * a small model of the marketplace tries all orders in which they may have
 * been done. Several rounds are under way at once and so share their batches.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import type { Connection } from 'mariadb'
import { withConnection } from '../../src/db/connect.ts'
import type { Reply } from '../support/clients.ts'
import type { RunningServer } from '../support/marketplace.ts'
import { type AccountSession, hashToken } from '../support/sessions.ts'
import { callTogether, openShop, SHOP_SETTINGS, type Shop } from '../support/shop.ts'

const ROUNDS = 160
const ROUNDS_AT_ONCE = 8
/** Sessions and items by their place in the round: session 0 and 1 are one buyer's, session 2 another's. */
type Call =
  | { do: 'add' | 'remove'; by: number; item: number; quantity: number }
  | { do: 'clear' | 'save' | 'display' | 'purchase'; by: number }
  | { do: 'vote'; by: number; item: number; vote: 'up' | 'down' }
  | { do: 'units'; item: number; change: number }
  | { do: 'price'; item: number; cents: number }

interface Start {
  items: { quantity: number; cents: number; ownedBy: number[] }[]
  /** Lines as item and units; undefined: the session has not had to do with its cart. */
  carts: (Lines | undefined)[]
  saved: (Lines | undefined)[]
}

type Lines = [item: number, units: number][]

interface Scenario {
  start: Start
  calls: Call[]
  /** Whether the first call has a key and comes once more. */
  repeated: boolean
}

const SESSIONS = [0, 0, 1] // whose they are
const ITEMS = 2

const session = fc.nat({ max: SESSIONS.length - 1 })
const item = fc.nat({ max: ITEMS - 1 })
const few = fc.integer({ min: 1, max: 3 })
const lines: fc.Arbitrary<Lines> = fc.uniqueArray(fc.tuple(item, few), { selector: ([item]) => item, maxLength: ITEMS })
const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('purchase' as const), by: session }) },
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
const scenario: fc.Arbitrary<Scenario> = fc.record({
  start: fc.record({
    items: fc.array(fc.record({ quantity: fc.nat({ max: 4 }), cents: few, ownedBy: fc.subarray([0, 1]) }), {
      minLength: ITEMS,
      maxLength: ITEMS,
    }),
    carts: fc.array(fc.option(lines, { nil: undefined }), { minLength: 3, maxLength: 3 }),
    saved: fc.array(fc.option(lines, { nil: undefined }), { minLength: 2, maxLength: 2 }),
  }),
  calls: fc.array(call, { minLength: 2, maxLength: 4 }),
  repeated: fc.boolean(),
})

/** The marketplace of one round, as the contract has it. Everything by place. */
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

type Outcome = Record<string, unknown>

function modelOf({ items, carts, saved }: Start): Model {
  const owners = items.flatMap(({ ownedBy }, item) => ownedBy.map((buyer): [number, number] => [buyer, item]))
  const mapOf = (lines: Lines | undefined) => lines && new Map(lines)
  return {
    items: items.map(({ quantity, cents }) => ({ quantity, cents, up: 0, down: 0 })),
    carts: carts.map(mapOf),
    saved: saved.map(mapOf),
    purchases: [],
    votes: new Map(),
    owned: new Set(owners.map(String)),
    sold: owners.length,
    bought: [0, 1].map((buyer) => owners.filter(([owner]) => owner === buyer).length),
  }
}

function refused(code: string, details: object = {}): Outcome {
  return { code, ...details }
}

function outOfStock(short: { item_id: number; requested: number; available: number }[]): Outcome {
  return refused('out_of_stock', { ...short[0], items: short })
}

/** Does one call, and answers as the server must, ids being places. */
function perform(model: Model, call: Call): Outcome {
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
    const there = cart.get(call.item) ?? 0
    if (there < call.quantity) return refused('not_in_cart', { item_id: call.item, quantity: there })
    if (there === call.quantity) cart.delete(call.item)
    else cart.set(call.item, there - call.quantity)
    return { quantity: there - call.quantity }
  }
  if (call.do === 'display') {
    return {
      lines: [...cart].map(([item_id, quantity]) => {
        const { cents, quantity: available } = itemAt(model, item_id)
        return { item_id, name: 'Lamp', quantity, price_cents: cents, available }
      }),
    }
  }
  if (call.do === 'purchase') return purchase(model, buyer, cart)
  if (call.do === 'clear') cart.clear()
  if (call.do === 'save') model.saved[buyer] = new Map(cart)
  return { ok: true }
}

function itemAt(model: Model, place: number) {
  return model.items[place] as Model['items'][number]
}

function changeUnits(model: Model, { item, change }: Call & { do: 'units' }): Outcome {
  const { quantity } = itemAt(model, item)
  if (quantity + change < 0) return outOfStock([{ item_id: item, requested: -change, available: quantity }])
  itemAt(model, item).quantity += change
  return { quantity: quantity + change }
}

function castVote(model: Model, { by, item, vote }: Call & { do: 'vote' }): Outcome {
  const name = String([SESSIONS[by], item])
  if (!model.owned.has(name)) return refused('not_purchased')
  const before = model.votes.get(name)
  if (before !== undefined) itemAt(model, item)[before] -= 1
  itemAt(model, item)[vote] += 1
  model.votes.set(name, vote)
  return { ok: true }
}

function purchase(model: Model, buyer: number, cart: Map<number, number>): Outcome {
  if (cart.size === 0) return refused('cart_empty')
  const short = [...cart]
    .map(([item_id, requested]) => ({ item_id, requested, available: itemAt(model, item_id).quantity }))
    .filter(({ requested, available }) => requested > available)
  if (short.length > 0) return outOfStock(short)
  const lines = [...cart].map(([item, units]): [number, number, number] => {
    itemAt(model, item).quantity -= units
    model.owned.add(String([buyer, item]))
    model.sold += units
    model.bought[buyer] = (model.bought[buyer] ?? 0) + units
    return [item, units, itemAt(model, item).cents]
  })
  model.purchases.push({ buyer, lines })
  cart.clear()
  return {
    lines: lines.map(([item_id, quantity, price_cents]) => ({ item_id, name: 'Lamp', quantity, price_cents })),
    total_cents: lines.reduce((sum, [, units, cents]) => sum + units * cents, 0),
  }
}

type End = ReturnType<typeof endOf>

/** What is there in the end. */
function endOf(model: Model) {
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

/** A round in the database: whose and what its places are, and what was answered in it. */
interface Round {
  scenario: Scenario
  calls: Call[]
  seller: AccountSession
  sessions: AccountSession[]
  itemIds: number[]
  outcomes: Outcome[]
}

/** Where the purchases of before the rounds begin, out of the way of any others. */
const LONG_AGO = 10 ** 12

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
  describe(`with the queue ${queue}, a few calls at once`, () => {
    it('come to what some order of them comes to', async () => {
      await withConnection(shop.marketplace.urls.product, async (connection) => {
        const scenarios = fc.sample(scenario, { numRuns: ROUNDS, seed })
        for (let from = 0; from < ROUNDS; from += ROUNDS_AT_ONCE) {
          const rounds = await prepare(connection, scenarios.slice(from, from + ROUNDS_AT_ONCE))
          await play(rounds, servers[queue])
          const ends = await Promise.all(rounds.map((round) => readEnd(connection, round)))
          for (const [index, round] of rounds.entries()) {
            const came = { outcomes: round.outcomes, end: ends[index] }
            assert.ok(hasOrder(round, came), `seed ${seed}: ${JSON.stringify({ ...round.scenario, ...came }, null, 1)}`)
          }
        }
      })
    })
  })
}

/** Accounts and rows that the scenarios start from, straight into the tables. */
async function prepare(connection: Connection, scenarios: readonly Scenario[]): Promise<Round[]> {
  const count = scenarios.length
  const [sellers, bobs, carls] = [
    await shop.newSellers(count),
    await shop.newBuyers(count),
    await shop.newBuyers(count),
  ]
  const bobsAgain = await shop.newSessions(bobs)
  return Promise.all(
    scenarios.map(async (scenario, index): Promise<Round> => {
      const [seller, ...sessions] = [sellers, bobs, bobsAgain, carls].map((parties) => parties[index]) as [
        AccountSession,
        ...AccountSession[],
      ]
      const calls = scenario.repeated ? [...scenario.calls, scenario.calls[0] as Call] : scenario.calls
      const itemIds = scenario.start.items.map((_, item) => LONG_AGO + seller.id * ITEMS + item)
      const round = { scenario, calls, seller, sessions, itemIds, outcomes: [] }
      await Promise.all(rowsOf(round).map(([table, row]) => insert(connection, table, row)))
      return round
    }),
  )
}

type Inserted = [table: string, row: (string | number)[]]

function insert(connection: Connection, table: string, row: (string | number)[]): Promise<unknown> {
  return connection.query(`INSERT INTO ${table} VALUES (${row.map(() => '?').join(', ')})`, row)
}

function rowsOf({ scenario: { start }, seller, sessions, itemIds }: Round): Inserted[] {
  const [bob, , carl] = sessions as [AccountSession, AccountSession, AccountSession]
  const buyerIds = [bob.id, carl.id]
  const content = (lines: Lines) => lines.map(([item, units]) => `${itemIds[item]}:${units}`).join(' ')
  const inserted: Inserted[] = []
  const bought = [0, 0]
  for (const [item, { quantity, cents, ownedBy }] of start.items.entries()) {
    const id = itemIds[item] as number
    inserted.push(['item', [id, seller.id, 'Lamp', 1, 'lamp', 'new', cents, quantity, 0, 0]])
    if (quantity > 0) for (const keyword of ['', 'lamp']) inserted.push(['item_keyword', [1, keyword, id]])
    for (const buyer of ownedBy) {
      const buyerId = buyerIds[buyer] as number
      inserted.push(['purchase_line', [LONG_AGO + buyerId, id, buyerId, 1, 1]])
      bought[buyer] = (bought[buyer] ?? 0) + 1
    }
  }
  for (const [by, lines] of start.carts.entries()) {
    const { id, session } = sessions[by] as AccountSession
    if (lines !== undefined) inserted.push(['cart', [hashToken(session), id, content(lines), LONG_AGO]])
  }
  for (const [buyer, buyerId] of buyerIds.entries()) {
    const lines = start.saved[buyer]
    if (lines !== undefined) inserted.push(['saved_cart', [buyerId, content(lines)]])
    if (bought[buyer]) inserted.push(['buyer_score', [buyerId, bought[buyer]]])
  }
  const sold = bought.reduce((sum, units) => sum + units)
  if (sold > 0) inserted.push(['seller_score', [seller.id, 0, 0, sold]])
  return inserted
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

/** Sends the calls of all rounds in one segment to each server, in any order, and notes what is answered. */
async function play(rounds: readonly Round[], { sellers, buyers }: (typeof servers)['on']): Promise<void> {
  const all = rounds.flatMap((round) => round.calls.map((call, place) => ({ round, call, place })))
  const random = fc.sample(fc.shuffledSubarray(all, { minLength: all.length }), 1)[0] ?? all
  const ofSellers = ({ call }: (typeof all)[number]) => call.do === 'units' || call.do === 'price'
  await Promise.all(
    [
      { server: sellers, asked: random.filter(ofSellers) },
      { server: buyers, asked: random.filter((one) => !ofSellers(one)) },
    ].map(async ({ server, asked }) => {
      const replies = await callTogether(
        server,
        asked.map(({ round, call, place }) => [METHODS[call.do], paramsOf(round, call, place)]),
      )
      for (const [index, { round, place }] of asked.entries()) {
        round.outcomes[place] = outcomeIn(round, replies[index] as Reply)
      }
    }),
  )
}

/** The first call and the last one have a key if they are one. */
function paramsOf({ scenario, calls, seller, sessions, itemIds }: Round, call: Call, place: number): object {
  const { session } = 'by' in call ? (sessions[call.by] as AccountSession) : seller
  const { do: _, by: __, item, cents, ...rest } = { by: 0, item: undefined, cents: undefined, ...call }
  return {
    ...{ session, ...rest },
    ...(item === undefined ? {} : { item_id: itemIds[item] }),
    ...(cents === undefined ? {} : { price_cents: cents }),
    ...(isRepeated({ scenario, calls }, place) ? { idempotency_key: 'once' } : {}),
  }
}

function isRepeated({ scenario, calls }: Pick<Round, 'scenario' | 'calls'>, place: number): boolean {
  const [first] = calls
  const isKeyed = first !== undefined && ['add', 'remove', 'purchase', 'units'].includes(first.do)
  return scenario.repeated && isKeyed && (place === 0 || place === calls.length - 1)
}

/** What was answered, with places for ids. */
function outcomeIn({ itemIds }: Round, { result, error }: Reply): Outcome {
  const text = JSON.stringify(result ?? error?.data, (name, value) => {
    if (name === 'purchase_id') return undefined
    return name === 'item_id' ? itemIds.indexOf(value) : value
  })
  return JSON.parse(text)
}

/** The rows that the round left, in the form of `endOf`. */
async function readEnd(connection: Connection, { seller, sessions, itemIds }: Round): Promise<End> {
  const [bob, , carl] = sessions as [AccountSession, AccountSession, AccountSession]
  const buyerIds = [bob.id, carl.id]
  const read = async (sql: string, values: unknown[]): Promise<unknown[][]> =>
    connection.query({ sql, rowsAsArray: true }, values)
  const one = async (sql: string, id: unknown) => (await read(sql, [id]))[0]
  const places = (content: unknown) =>
    content === undefined
      ? undefined
      : String(content).replace(/\d+(?=:)/g, (id) => String(itemIds.indexOf(Number(id))))
  const cartOf = async ({ session }: AccountSession) =>
    places((await one('SELECT content FROM cart WHERE session_hash = ?', hashToken(session)))?.[0])
  const [items, words, carts, saved, lines, votes, score, bought] = await Promise.all([
    read('SELECT id, quantity, price_cents, thumbs_up, thumbs_down FROM item WHERE seller_id = ? ORDER BY id', [
      seller.id,
    ]),
    Promise.all(itemIds.map((id) => read('SELECT keyword FROM item_keyword WHERE category = 1 AND item_id = ?', [id]))),
    Promise.all(sessions.map(cartOf)),
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
    const begun = purchases.get(id) ?? `${buyerIds.indexOf(Number(buyer))} ${total}:`
    purchases.set(id, `${begun} ${[itemIds.indexOf(Number(item)), ...line]}`)
  }
  return {
    items: items.map(([, ...item], place) => [...item, words[place]?.length] as number[]),
    carts,
    saved: saved.map((row) => places(row?.[0])),
    purchases: [...purchases.values()].toSorted(),
    votes: votes
      .map(([buyer, item, vote]) => `${buyerIds.indexOf(Number(buyer))},${itemIds.indexOf(Number(item))},${vote}`)
      .toSorted(),
    score: (score ?? [0, 0, 0]) as number[],
    bought: bought.map((row) => (row?.[0] ?? 0) as number),
  }
}

/** Whether there is an order in which the model comes to these answers and this end. */
function hasOrder(round: Round, came: { outcomes: Outcome[]; end: End | undefined }): boolean {
  return orders(round.calls.length).some((order) => {
    const model = modelOf(round.scenario.start)
    const outcomes: Outcome[] = []
    let once: Outcome | undefined
    for (const place of order) {
      const repeated = isRepeated(round, place)
      const outcome = (repeated ? once : undefined) ?? perform(model, round.calls[place] as Call)
      if (repeated && !('code' in outcome)) once = outcome
      outcomes[place] = outcome
    }
    return isDeepStrictEqual({ outcomes, end: endOf(model) }, came)
  })
}

/** All orders of so many places. */
function orders(count: number): number[][] {
  if (count === 0) return [[]]
  return orders(count - 1).flatMap((order) =>
    Array.from({ length: count }, (_, at) => [...order.slice(0, at), count - 1, ...order.slice(at)]),
  )
}
