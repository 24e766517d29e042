/**
 * The reference: a whole marketplace in plain Maps that takes one call at a
 * time, written from the contract's rules and as simple as they allow. It
 * shares no code with what it is compared with. It keeps no sum: whatever can
 * be counted is counted anew. What only a server can make up (ids, sessions,
 * cursors, times) it takes from the reply, if that is one it could have made.
 */

import type { Item, Name, Params, Result, Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'

/** `repeated`: this is what an earlier call with the same key was answered. */
export type Outcome<R = object> =
  | { ok: R; repeated?: true }
  | { refused: { code: ErrorCode; [detail: string]: unknown } }

export interface Account {
  id: number
  username: string
  password: string
  name: string
}

/** Units by item, in the order in which the items came in. */
export type Cart = Map<number, number>

export interface Session {
  role: Role
  account: Account
  /** None before the first operation on it. */
  cart?: Cart
}

interface Purchase {
  id: number
  buyerId: number
  lines: { item_id: number; name: string; quantity: number; price_cents: number }[]
  /** Seconds since 1970, between the call and its reply; the same once it was seen. */
  earliestS: number
  latestS: number
}

interface Vote {
  buyerId: number
  itemId: number
  vote: 'up' | 'down'
}

/** What an answer was given to, and which. */
interface FirstAnswer {
  call: string
  ok: object
}

/** Where something stands in a list that descends, and where a page ends: compared number by number. */
type Place = readonly number[]

type Rules<R extends Role> = {
  [N in Name<R>]: (params: Params<R, N>, caller: Session, seen: Partial<Result<R, N>>) => Outcome<Result<R, N>>
}

type AnyRule = (params: object, caller: Session, seen: object) => Outcome

const OPEN = ['create_account', 'login', 'ping']
const MOST_UNITS = 1_000_000
const MOST_CART_UNITS = 10_000
const MOST_CART_LINES = 100
const IDLE_S = 300

const DEFAULTS: Readonly<Record<string, object>> = {
  display_items_for_sale: { limit: 1_000, include_sold_out: false },
  search_items: { keywords: [], limit: 20 },
  get_buyer_purchases: { limit: 20 },
}

export class Reference {
  readonly accounts: Record<Role, Account[]> = { seller: [], buyer: [] }
  readonly sessions = new Map<string, Session>()
  readonly items = new Map<number, Omit<Item, 'thumbs_up' | 'thumbs_down'>>()
  readonly savedCarts = new Map<number, Cart>()
  readonly purchases: Purchase[] = []
  readonly votes = new Map<string, Vote>()
  readonly firstAnswers = new Map<string, FirstAnswer>()
  readonly #pageEnds = new Map<string, Place>()
  readonly #version: string
  #askedS = 0

  constructor(version: string) {
    this.#version = version
  }

  /**
   * What a call with valid parameters comes to. `seen` is the result that the
   * server answered, empty if it refused; `askedS` is when it was asked.
   */
  call(role: Role, operation: string, given: object, seen: object, askedS: number): Outcome {
    this.#askedS = askedS
    const rules: Record<string, unknown> = role === 'seller' ? this.#seller : this.#buyer
    const { session, idempotency_key: key, ...params } = normalForm(operation, given)
    const caller = this.sessions.get(String(session))
    const carryOut = () => (rules[operation] as AnyRule)({ ...params, session }, caller as Session, seen)
    if (OPEN.includes(operation)) return carryOut()
    if (caller?.role !== role) return refused('unauthenticated')
    if (key === undefined) return carryOut()
    return this.#once(JSON.stringify([role, caller.account.id, key]), JSON.stringify([operation, params]), carryOut)
  }

  #once(key: string, call: string, carryOut: () => Outcome): Outcome {
    const first = this.firstAnswers.get(key)
    if (first !== undefined) {
      return first.call === call ? { ok: first.ok, repeated: true } : refused('idempotency_mismatch')
    }
    const outcome = carryOut()
    if ('ok' in outcome) this.firstAnswers.set(key, { call, ok: outcome.ok })
    return outcome
  }

  #forBoth(role: Role) {
    const accounts = this.accounts[role]
    return {
      create_account: ({ username, password, name }: Omit<Account, 'id'>, seenId: number | undefined) => {
        const taken = accounts.find((account) => account.username === username)
        if (taken !== undefined && taken.password !== password) return refused('username_taken')
        if (taken !== undefined) return { ok: taken.id }
        const ids = accounts.map(({ id }) => id)
        const account = { id: newId(seenId, ids), username, password, name }
        accounts.push(account)
        return { ok: account.id }
      },
      login: (
        { username, password }: Pick<Account, 'username' | 'password'>,
        _: Session,
        seen: { session?: string },
      ) => {
        const account = accounts.find((account) => account.username === username)
        if (account?.password !== password) return refused('unauthenticated')
        const isNew = /^[\w-]{43}$/.test(seen.session ?? '') && !this.sessions.has(seen.session as string)
        const session = isNew ? (seen.session as string) : 'a new session'
        this.sessions.set(session, { role, account: account as Account })
        return { ok: { session, expires_in_s: IDLE_S } }
      },
      logout: ({ session }: { session: string }) => {
        this.sessions.delete(session)
        return DONE
      },
      whoami: (_: object, { account: { id, username, name } }: Session) => ({
        ok: { id, username, name, expires_in_s: IDLE_S },
      }),
      ping: () => ({ ok: { ok: true as const, version: this.#version } }),
    }
  }

  readonly #seller: Rules<'seller'> = {
    ...this.#forBoth('seller'),

    create_account: (params, _, seen) => {
      const outcome = this.#forBoth('seller').create_account(params, seen.seller_id)
      return 'ok' in outcome ? { ok: { seller_id: outcome.ok } } : outcome
    },

    get_seller_rating: (_, { account }) => ({ ok: this.rating(account.id) }),

    register_item_for_sale: (item, { account }, seen) => {
      const { name, category, keywords, condition, price_cents, quantity } = item
      const item_id = newId(seen.item_id, this.items.keys())
      const seller_id = account.id
      this.items.set(item_id, { item_id, seller_id, name, category, keywords, condition, price_cents, quantity })
      return { ok: { item_id } }
    },

    change_item_price: ({ item_id, price_cents }, { account }) => {
      const item = this.items.get(item_id)
      if (item?.seller_id !== account.id) return refused('not_found')
      item.price_cents = price_cents
      return DONE
    },

    update_units_for_sale: ({ item_id, change }, { account }) => {
      const item = this.items.get(item_id)
      if (item?.seller_id !== account.id) return refused('not_found')
      const quantity = item.quantity + change
      if (quantity < 0) return outOfStock([{ item_id, requested: -change, available: item.quantity }])
      if (quantity > MOST_UNITS) return refused('limit_exceeded')
      item.quantity = quantity
      return { ok: { quantity } }
    },

    display_items_for_sale: (params, { account }, seen) => {
      const { include_sold_out } = params
      const own = [...this.items.values()].filter(({ seller_id }) => seller_id === account.id)
      const shown = own.filter(({ quantity }) => include_sold_out || quantity > 0)
      const listing = ['display_items_for_sale', account.id, include_sold_out]
      const entries = shown.map(({ item_id }) => ({ place: [item_id], content: this.#itemWithVotes(item_id) }))
      const { page, ...next } = this.#page(listing, entries, params, seen.next_cursor)
      return { ok: { items: page, ...next } }
    },
  }

  readonly #buyer: Rules<'buyer'> = {
    ...this.#forBoth('buyer'),

    create_account: (params, _, seen) => {
      const outcome = this.#forBoth('buyer').create_account(params, seen.buyer_id)
      return 'ok' in outcome ? { ok: { buyer_id: outcome.ok } } : outcome
    },

    search_items: (params, _, seen) => {
      const { category, keywords } = params
      const onSale = [...this.items.values()].filter((item) => item.category === category && item.quantity > 0)
      const entries = onSale.map((item) => ({
        matches: keywords.filter((keyword) => item.keywords.includes(keyword)).length,
        item_id: item.item_id,
      }))
      const hits = entries
        .filter(({ matches }) => matches > 0 || keywords.length === 0)
        .map(({ matches, item_id }) => ({ place: [matches, item_id], content: this.#itemWithVotes(item_id) }))
      const { page, ...next } = this.#page(['search_items', category, keywords], hits, params, seen.next_cursor)
      return { ok: { items: page, ...next } }
    },

    get_item: ({ item_id }) => (this.items.has(item_id) ? { ok: this.#itemWithVotes(item_id) } : refused('not_found')),

    add_item_to_cart: ({ item_id, quantity }, caller) => {
      const cart = this.#cartOf(caller)
      const item = this.items.get(item_id)
      if (item === undefined) return refused('not_found')
      const units = (cart.get(item_id) ?? 0) + quantity
      if (units > MOST_CART_UNITS) return refused('limit_exceeded')
      if (units > item.quantity) return outOfStock([{ item_id, requested: units, available: item.quantity }])
      if (!cart.has(item_id) && cart.size >= MOST_CART_LINES) return refused('limit_exceeded')
      cart.set(item_id, units)
      return { ok: { quantity: units } }
    },

    remove_item_from_cart: ({ item_id, quantity }, caller) => {
      const cart = this.#cartOf(caller)
      const units = cart.get(item_id) ?? 0
      if (units < quantity) return { refused: { code: 'not_in_cart', quantity: units } }
      if (units > quantity) cart.set(item_id, units - quantity)
      else cart.delete(item_id)
      return { ok: { quantity: units - quantity } }
    },

    save_cart: (_, caller) => {
      this.savedCarts.set(caller.account.id, new Map(this.#cartOf(caller)))
      return DONE
    },

    clear_cart: (_, caller) => {
      this.#cartOf(caller).clear()
      return DONE
    },

    display_cart: (_, caller) => {
      const lines = [...this.#cartOf(caller)].map(([item_id, quantity]) => {
        const { name, price_cents, quantity: available } = this.#item(item_id)
        return { item_id, name, quantity, price_cents, available }
      })
      return { ok: { lines } }
    },

    make_purchase: (_, caller, seen) => {
      const cart = this.#cartOf(caller)
      if (cart.size === 0) return refused('cart_empty')
      const wanted = [...cart].map(([item_id, requested]) => ({
        item_id,
        requested,
        available: this.#item(item_id).quantity,
      }))
      const short = wanted.filter(({ requested, available }) => requested > available)
      if (short.length > 0) return outOfStock(short)
      const lines = wanted.map(({ item_id, requested: quantity }) => {
        const item = this.#item(item_id)
        item.quantity -= quantity
        return { item_id, name: item.name, quantity, price_cents: item.price_cents }
      })
      const ids = this.purchases.map(({ id }) => id)
      const purchase_id = newId(seen.purchase_id, ids)
      const timesS = { earliestS: this.#askedS, latestS: nowS() }
      this.purchases.push({ id: purchase_id, buyerId: caller.account.id, lines, ...timesS })
      cart.clear()
      return { ok: { purchase_id, lines, total_cents: totalOf(lines) } }
    },

    get_buyer_purchases: (params, { account }, seen) => {
      const own = this.purchases.filter(({ buyerId }) => buyerId === account.id)
      const entries = own.map((purchase) => ({ place: [purchase.id], content: purchase }))
      const listing = ['get_buyer_purchases', account.id]
      const { page, ...next } = this.#page(listing, entries, params, seen.next_cursor)
      const purchases = page.map((purchase, index) => ({
        purchase_id: purchase.id,
        lines: [...purchase.lines].sort((a, b) => a.item_id - b.item_id),
        total_cents: totalOf(purchase.lines),
        purchased_at: timeOf(purchase, seen.purchases?.[index]?.purchased_at),
      }))
      return { ok: { items_purchased: this.itemsPurchased(account.id), purchases, ...next } }
    },

    provide_feedback: ({ item_id, vote }, { account: { id } }) => {
      if (!this.items.has(item_id)) return refused('not_found')
      const purchased = this.purchases.some(
        ({ buyerId, lines }) => buyerId === id && lines.some((line) => line.item_id === item_id),
      )
      if (!purchased) return refused('not_purchased')
      this.votes.set(`${id} ${item_id}`, { buyerId: id, itemId: item_id, vote })
      return DONE
    },

    get_seller_rating: ({ seller_id }) =>
      this.accounts.seller.some(({ id }) => id === seller_id) ? { ok: this.rating(seller_id) } : refused('not_found'),
  }

  rating(sellerId: number): Result<'buyer', 'get_seller_rating'> {
    const own = [...this.items.values()].filter(({ seller_id }) => seller_id === sellerId).map(({ item_id }) => item_id)
    const sold = this.purchases.flatMap(({ lines }) => lines).filter(({ item_id }) => own.includes(item_id))
    return { ...this.votesOn(own), items_sold: unitsOf(sold) }
  }

  itemsPurchased(buyerId: number): number {
    return unitsOf(this.purchases.filter((purchase) => purchase.buyerId === buyerId).flatMap(({ lines }) => lines))
  }

  votesOn(itemIds: readonly number[]): { thumbs_up: number; thumbs_down: number } {
    const votes = [...this.votes.values()].filter(({ itemId }) => itemIds.includes(itemId))
    const up = votes.filter(({ vote }) => vote === 'up')
    return { thumbs_up: up.length, thumbs_down: votes.length - up.length }
  }

  #item(itemId: number) {
    const item = this.items.get(itemId)
    if (item === undefined) throw new Error(`the reference lost item ${itemId}`)
    return item
  }

  #itemWithVotes(itemId: number): Item {
    return { ...this.#item(itemId), ...this.votesOn([itemId]) }
  }

  #cartOf(caller: Session): Cart {
    caller.cart ??= new Map(this.savedCarts.get(caller.account.id))
    return caller.cart
  }

  /** A page of what is listed, which descends; `seenCursor` will stand for where it ends. */
  #page<T>(
    listing: readonly unknown[],
    entries: readonly { place: Place; content: T }[],
    { limit, cursor }: { limit: number; cursor?: string | undefined },
    seenCursor: string | undefined,
  ): { page: T[]; next_cursor?: string } {
    const nameOf = (cursor: string) => JSON.stringify([...listing, cursor])
    const after = cursor === undefined ? undefined : this.#pageEnds.get(nameOf(cursor))
    const rest = entries.filter(({ place }) => after === undefined || descending(after, place) < 0)
    const shown = rest.sort((a, b) => descending(a.place, b.place)).slice(0, limit)
    const page = shown.map(({ content }) => content)
    if (rest.length <= limit) return { page }
    const next_cursor = seenCursor ?? 'a cursor'
    this.#pageEnds.set(nameOf(next_cursor), shown.at(-1)?.place as Place)
    return { page, next_cursor }
  }
}

const DONE = { ok: { ok: true } } as const

function refused(code: ErrorCode) {
  return { refused: { code } }
}

function outOfStock(items: readonly { item_id: number; requested: number; available: number }[]) {
  return { refused: { code: 'out_of_stock' as const, ...items[0], items } }
}

/** Parameters as the contract reads them. */
function normalForm(operation: string, given: object): Record<string, unknown> {
  const params: Record<string, unknown> = { ...DEFAULTS[operation], ...given }
  if (typeof params.name === 'string') params.name = params.name.normalize('NFC')
  if (Array.isArray(params.keywords)) params.keywords = [...new Set(params.keywords.map((word) => word.toLowerCase()))]
  return params
}

/** Ids ascend: the newer, the greater. */
function newId(seen: number | undefined, earlier: Iterable<number>): number {
  const least = Math.max(0, ...earlier) + 1
  return Math.max(seen ?? 0, least)
}

function timeOf(purchase: Purchase, seenS: number | undefined): number {
  if (seenS !== undefined && seenS >= purchase.earliestS && seenS <= purchase.latestS) {
    purchase.earliestS = seenS
    purchase.latestS = seenS
  }
  return purchase.latestS
}

function nowS(): number {
  return Math.floor(Date.now() / 1_000)
}

function totalOf(lines: readonly { quantity: number; price_cents: number }[]): number {
  return lines.reduce((total, { quantity, price_cents }) => total + quantity * price_cents, 0)
}

function unitsOf(lines: readonly { quantity: number }[]): number {
  return lines.reduce((units, { quantity }) => units + quantity, 0)
}

function descending(a: Place, b: Place): number {
  const index = a.findIndex((number, index) => number !== b[index])
  return index < 0 ? 0 : (b[index] as number) - (a[index] as number)
}
