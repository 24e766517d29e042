/**
 * What the clients of a chaos run do: sellers and buyers trade at random, one
 * call after the other each; leavers log out and try the session again; newcomers
 * open accounts. Half of the clients call through souk's own client. Now and then a call with a key is
 * made over two servers at the same time.
 *
 * When told to stop, the clients learn what became of each call of unknown
 * outcome, by its key, and make a part of the others again, with the same
 * parameters and with others.
 */

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'
import { below, oneOf, type Random, seeded, someOf, weighted } from '../../src/loadgen/random.ts'
import { anItem } from '../support/clients.ts'
import { Client, type Identity, LibraryCaller, type Outcome, WireCaller } from './client.ts'
import { type CallEntry, clockMs, type Entry, type Log } from './log.ts'

export interface LoadOptions {
  seed: number
  ports: Readonly<Record<Role, readonly number[]>>
  sellers: readonly Identity[]
  buyers: readonly Identity[]
  /** Sessions to end, and sessions that have ended by themselves when they are used. */
  leaving: readonly Identity[]
  expired: readonly Identity[]
  /** Longest pause of a client between two calls. */
  pauseMs: number
}

/** Every password has it, and no log may. */
export const PASSWORD_CANARY = 'canary in a password'

const TWIN_SHARE = 0.05
/** A password costs much time to hash. */
const JOIN_EVERY_MS = 2_000
const REPLAYS = 60
/** The time in which a server may still accept a session that was ended through another one, and a little more. */
const SESSION_MEMORY_MS = 1_200
/** The session has ended by then; see stage.ts. */
const EXPIRED_AFTER_MS = 4_000
const RECENT_ITEMS = 30
const MOST_ITEMS = 300
const CATEGORIES = 5
/** In the resolution of unknown outcomes the faults are over: a call that is not settled by then never is. */
const RESOLVE_ATTEMPTS = 3

export class Load {
  readonly #options: LoadOptions
  readonly #log: Log
  readonly #random: Random
  readonly #calls: CallEntry[] = []
  readonly #items: number[] = []
  readonly #clients: Client[] = []
  #isOver = false
  #working: Promise<unknown> = Promise.resolve()

  constructor(options: LoadOptions, log: Log) {
    this.#options = options
    this.#random = seeded(options.seed)
    this.#log = {
      write: (entry: Entry) => {
        log.write(entry)
        if (entry.kind === 'call') this.#remember(entry)
      },
    }
  }

  start(): void {
    const { sellers, buyers, leaving, expired } = this.#options
    this.#working = Promise.all([
      ...sellers.map((seller, number) => this.#trade(seller, number, this.#sell)),
      ...buyers.map((buyer, number) => this.#trade(buyer, number, this.#buy)),
      this.#leave(leaving),
      this.#useExpired(expired),
      this.#join(),
    ])
  }

  /** Resolves when every call is settled, those of unknown outcome too. */
  async stop(): Promise<void> {
    this.#isOver = true
    await this.#working
    await this.#resolve()
    await this.#replay()
    for (const client of this.#clients) client.close()
  }

  /** Keeps calls with keys for later. */
  #remember(entry: CallEntry): void {
    const { operation, purpose, result } = entry
    if (operation === 'register_item_for_sale' && result !== undefined) this.#items.push(Number(result.item_id))
    if (purpose === 'load' && entry.params.idempotency_key !== undefined) this.#calls.push(entry)
  }

  /** Makes one random call after the other, each client from random numbers of its own. */
  async #trade(identity: Identity, number: number, takeStep: Step): Promise<void> {
    const random = seeded(below(2 ** 32, this.#random))
    const client = this.#connect(identity, number % 2 === 0, random)
    const twin = this.#connect(identity, false, random)
    const own: number[] = []
    const call = async (operation: string, params: Record<string, unknown> = {}): Promise<Outcome> => {
      const isKeyed = operationsByName(identity.role).get(operation)?.keyed !== undefined
      const sent = isKeyed ? { ...params, idempotency_key: newKey() } : params
      const isTwin = isKeyed && random() < TWIN_SHARE
      const calls = [client.call(operation, sent), ...(isTwin ? [twin.call(operation, sent)] : [])]
      return (await Promise.all(calls))[0] as Outcome
    }
    while (!this.#isOver) {
      await takeStep.call(this, call, random, own)
      await sleep(random() * this.#options.pauseMs)
    }
  }

  #connect(identity: Identity, throughLibrary: boolean, random: Random): Client {
    const ports = this.#options.ports[identity.role]
    const caller = throughLibrary
      ? new LibraryCaller(identity.role, oneOf(ports, random))
      : new WireCaller(identity.role, ports, random, this.#log)
    const client = new Client(identity, caller, this.#log)
    this.#clients.push(client)
    return client
  }

  async #sell(call: Call, random: Random, own: number[]): Promise<void> {
    const operation = own.length === 0 ? 'register_item_for_sale' : pickSale(random)
    const item_id = oneOf(own, random)
    switch (operation) {
      case 'register_item_for_sale': {
        if (this.#items.length >= MOST_ITEMS) return
        const { result } = await call(operation, newItem(random))
        if (result !== undefined) own.push(Number(result.item_id))
        return
      }
      case 'update_units_for_sale':
        return void (await call(operation, {
          item_id,
          change: random() < 0.3 ? -1 - below(5, random) : 1 + below(20, random),
        }))
      case 'change_item_price':
        return void (await call(operation, { item_id, price_cents: 1 + below(1_000_000, random) }))
      case 'display_items_for_sale':
        return void (await call(operation, { include_sold_out: true }))
      default:
        await call(operation)
    }
  }

  async #buy(call: Call, random: Random): Promise<void> {
    const recent = this.#items.slice(-RECENT_ITEMS)
    if (recent.length === 0) return void (await call('whoami'))
    const operation = pickPurchase(random)
    const item_id = oneOf(random() < 0.5 ? recent.slice(0, 3) : recent, random)
    switch (operation) {
      case 'add_item_to_cart':
      case 'remove_item_from_cart':
        return void (await call(operation, { item_id, quantity: 1 + below(3, random) }))
      case 'provide_feedback':
        return void (await call(operation, { item_id, vote: random() < 0.7 ? 'up' : 'down' }))
      case 'search_items':
        return void (await call(operation, { category: below(CATEGORIES, random), keywords: ['lamp'] }))
      case 'get_item':
        return void (await call(operation, { item_id }))
      case 'make_purchase': {
        const { refused } = await call(operation)
        if (refused?.code === 'out_of_stock') await call('clear_cart')
        return
      }
      default:
        await call(operation)
    }
  }

  /** Opens one account after the other, each twice, logs in and asks whose session it is. */
  async #join(): Promise<void> {
    for (let number = 0; !this.#isOver; number += 1) {
      const role = ROLES[number % ROLES.length] as Role
      const nobody = this.#connect({ role, id: 0, session: '' }, false, this.#random)
      const credentials = {
        username: `new-${this.#options.seed}-${number}`,
        password: `${PASSWORD_CANARY} ${number}`,
      }
      const { result } = await nobody.call('create_account', { ...credentials, name: 'Ann' })
      await nobody.call('create_account', { ...credentials, name: 'Ann' })
      const login = await nobody.call('login', credentials)
      nobody.close()
      if (result !== undefined && login.result !== undefined) {
        const identity = { role, id: Number(result[`${role}_id`]), session: String(login.result.session) }
        const client = this.#connect(identity, false, this.#random)
        await client.call('whoami')
        client.close()
      }
      await sleep(JOIN_EVERY_MS)
    }
  }

  /** Ends one session after the other, and tries each again, at once and later, at the same server and at another one. */
  async #leave(leaving: readonly Identity[]): Promise<void> {
    for (const identity of leaving) {
      if (this.#isOver) return
      const clients = this.#options.ports[identity.role].map((port) => {
        return new Client(identity, new WireCaller(identity.role, [port], this.#random, this.#log), this.#log)
      })
      const everywhere = () => Promise.all(clients.map((client) => client.call('whoami')))
      await everywhere()
      await oneOf(clients, this.#random).call('logout')
      await everywhere()
      await sleep(SESSION_MEMORY_MS)
      await everywhere()
      for (const client of clients) client.close()
    }
  }

  async #useExpired(expired: readonly Identity[]): Promise<void> {
    const untilMs = clockMs() + EXPIRED_AFTER_MS
    while (!this.#isOver && clockMs() < untilMs) await sleep(100)
    if (clockMs() < untilMs) return
    for (const identity of expired) {
      const client = this.#connect(identity, false, this.#random)
      await client.call('whoami')
      client.close()
    }
  }

  /** Makes each call of unknown outcome again, with its key, until it is settled; then once more. */
  async #resolve(): Promise<void> {
    const open = this.#calls.filter(({ result, refused }) => result === undefined && refused === undefined)
    await this.#again(open, async (client, { operation, params }) => {
      for (let attempt = 0; attempt < RESOLVE_ATTEMPTS; attempt += 1) {
        const { result, refused } = await client.call(operation, params, 'resolve')
        if (result !== undefined) return void (await client.call(operation, params, 'replay'))
        if (refused !== undefined && refused.code !== 'timeout') return
      }
    })
  }

  async #replay(): Promise<void> {
    const done = this.#calls.filter(({ result }) => result !== undefined)
    await this.#again(someOf(done, REPLAYS, this.#random), async (client, { operation, params }) => {
      await client.call(operation, params, 'replay')
      await client.call(operation, alter(operation, params), 'mismatch')
    })
  }

  async #again(calls: readonly CallEntry[], work: (client: Client, call: CallEntry) => Promise<void>): Promise<void> {
    for (const entry of calls) {
      const { role, account, session } = entry
      const client = this.#connect({ role, id: account, session }, false, this.#random)
      await work(client, entry)
      client.close()
    }
  }
}

type Call = (operation: string, params?: Record<string, unknown>) => Promise<Outcome>
type Step = (call: Call, random: Random, own: number[]) => Promise<void>

const pickSale = weighted({
  register_item_for_sale: 6,
  update_units_for_sale: 8,
  change_item_price: 5,
  display_items_for_sale: 3,
  get_seller_rating: 2,
  get_seller_sales: 2,
  list_categories: 1,
  whoami: 1,
})

const pickPurchase = weighted({
  add_item_to_cart: 16,
  make_purchase: 8,
  display_cart: 5,
  remove_item_from_cart: 3,
  provide_feedback: 3,
  search_items: 3,
  get_item: 3,
  get_buyer_purchases: 2,
  save_cart: 2,
  clear_cart: 1,
  whoami: 1,
})

function newItem(random: Random): object & Record<string, unknown> {
  const numbers = { price_cents: 1 + below(1_000_000, random), quantity: 1 + below(20, random) }
  return { ...anItem({ name: `Lamp ${below(1_000_000, random)}`, category: below(CATEGORIES, random), ...numbers }) }
}

/** The same key in another call. */
function alter(operation: string, params: Record<string, unknown>): Record<string, unknown> {
  if (operation === 'make_purchase') return { ...params, total_cents: 1 }
  const field = { register_item_for_sale: 'price_cents', update_units_for_sale: 'change' }[operation] ?? 'quantity'
  return { ...params, [field]: params[field] === 1 ? 2 : 1 }
}

function newKey(): string {
  return randomBytes(16).toString('base64url')
}
