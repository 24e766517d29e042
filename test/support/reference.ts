/**
 * The reference: a whole marketplace in plain Maps that carries out one call at
 * a time. It is written from the contract's rules, as simply as they allow, and
 * shares no code with the servers. It stores no sums: they are counted anew
 * each time. Only a server can choose ids, sessions, cursors and times: the
 * reference takes them from the reply, if the rules allow them.
 */

import type { Item, Name, Params, Result, Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'

/** `repeated`: the answer is that of an earlier call with the same key. */
export type ReferenceAnswer<R = object> =
  | { ok: R; repeated?: true }
  | { refused: { code: ErrorCode; [detail: string]: unknown } }

export interface Account {
  id: number
  username: string
  password: string
  name: string
}

/** Units by item, in the order in which the items were first added. */
export type Cart = Map<number, number>

export interface Session {
  role: Role
  account: Account
  /** Absent before the session's first operation on its cart. */
  cart?: Cart
}

interface Purchase {
  id: number
  buyerId: number
  lines: { item_id: number; name: string; quantity: number; price_cents: number }[]
  /** The bounds of its time, in seconds since 1970: between the call and its reply, and equal once a time was seen. */
  earliestS: number
  latestS: number
}

interface Vote {
  buyerId: number
  itemId: number
  vote: 'up' | 'down'
}

/** The first call with a key, and its result. */
interface FirstAnswer {
  role: Role
  accountId: number
  key: string
  /** Of a call on a cart, whose key belongs to its session. */
  session: string | undefined
  call: string
  ok: object
}

/** The position of an entry or of a page's end in a descending list: compared number by number. */
type Place = readonly number[]

type Rules<R extends Role> = {
  [N in Name<R>]: (params: Params<R, N>, caller: Session, seen: Partial<Result<R, N>>) => ReferenceAnswer<Result<R, N>>
}

type AnyRule = (params: object, caller: Session, seen: object) => ReferenceAnswer

const OPEN = ['create_account', 'login', 'ping']
const KEYED_BY_SESSION = ['add_item_to_cart', 'remove_item_from_cart']
const MOST_UNITS = 1_000_000
const MOST_CART_UNITS = 10_000
const MOST_CART_LINES = 100
const IDLE_S = 300

const DEFAULTS: Readonly<Record<string, object>> = {
  display_items_for_sale: { limit: 1_000, include_sold_out: false },
  search_items: { keywords: [], limit: 20 },
  get_buyer_purchases: { limit: 20 },
  get_seller_sales: { limit: 20 },
  list_categories: { limit: 20 },
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
   * Answers a call with valid parameters. `seen` is the server's result, empty
   * if it refused; `askedS` is the time of the call, in seconds since 1970.
   */
  call(role: Role, operation: string, given: object, seen: object, askedS: number): ReferenceAnswer {
    this.#askedS = askedS
    const rules: Record<string, unknown> = role === 'seller' ? this.#seller : this.#buyer
    const { session, idempotency_key: key, ...params } = normalise(operation, given)
    const caller = this.sessions.get(String(session))
    const carryOut = () => (rules[operation] as AnyRule)({ ...params, session }, caller as Session, seen)
    if (OPEN.includes(operation)) return carryOut()
    if (caller?.role !== role) return refused('unauthenticated')
    if (key === undefined) return carryOut()
    const scope = {
      role,
      accountId: caller.account.id,
      key: String(key),
      session: KEYED_BY_SESSION.includes(operation) ? String(session) : undefined,
    }
    return this.#once(scope, JSON.stringify([operation, params]), carryOut)
  }

  #once(scope: Omit<FirstAnswer, 'call' | 'ok'>, call: string, carryOut: () => ReferenceAnswer): ReferenceAnswer {
    const name = JSON.stringify(scope)
    const first = this.firstAnswers.get(name)
    if (first !== undefined) {
      return first.call === call ? { ok: first.ok, repeated: true } : refused('idempotency_mismatch')
    }
    const answer = carryOut()
    if ('ok' in answer) this.firstAnswers.set(name, { ...scope, call, ok: answer.ok })
    return answer
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
      change_password: (
        { session, password, new_password: wanted }: { session: string; password: string; new_password: string },
        { account }: Session,
      ) => {
        if (account.password !== password && account.password !== wanted) return refused('wrong_password')
        account.password = wanted
        for (const [token, other] of this.sessions) {
          if (other.account === account && token !== session) this.sessions.delete(token)
        }
        return DONE
      },
      whoami: (_: object, { account: { id, username, name } }: Session) => ({
        ok: { id, username, name, expires_in_s: IDLE_S },
      }),
      list_categories: (
        params: Params<Role, 'list_categories'>,
        _: Session,
        seen: Partial<Result<Role, 'list_categories'>>,
      ) => ({ ok: this.#listCategories(params, seen) }),
      ping: () => ({ ok: { ok: true as const, version: this.#version } }),
    }
  }

  readonly #seller: Rules<'seller'> = {
    ...this.#forBoth('seller'),

    create_account: (params, _, seen) => {
      const answer = this.#forBoth('seller').create_account(params, seen.seller_id)
      return 'ok' in answer ? { ok: { seller_id: answer.ok } } : answer
    },

    get_seller_rating: (_, { account }) => ({ ok: { seller_name: account.name, ...this.rateSeller(account.id) } }),

    register_item_for_sale: (item, { account }, seen) => {
      const { name, category, keywords, condition, price_cents, quantity } = item
      const item_id = newId(seen.item_id, this.items.keys())
      const seller = { seller_id: account.id, seller_name: account.name }
      this.items.set(item_id, { item_id, ...seller, name, category, keywords, condition, price_cents, quantity })
      return { ok: { item_id } }
    },

    change_item_price: ({ item_id, price_cents }, { account }) => {
      const item = this.items.get(item_id)
      if (item?.seller_id !== account.id) return refused('not_found')
      item.price_cents = price_cents
      return DONE
    },

    edit_item: ({ item_id, name, category, keywords, condition }, { account }) => {
      const item = this.items.get(item_id)
      if (item?.seller_id !== account.id) return refused('not_found')
      item.name = name ?? item.name
      item.category = category ?? item.category
      item.keywords = keywords ?? item.keywords
      item.condition = condition ?? item.condition
      return { ok: this.#itemWithVotes(item_id) }
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

    get_seller_sales: (params, { account }, seen) => {
      const sold = this.purchases.flatMap((purchase) => purchase.lines.map((line) => ({ purchase, line })))
      const own = sold.filter(({ line }) => this.#item(line.item_id).seller_id === account.id)
      const entries = own.map((entry) => ({ place: [entry.purchase.id, entry.line.item_id], content: entry }))
      const listing = ['get_seller_sales', account.id]
      const { page, ...next } = this.#page(listing, entries, params, seen.next_cursor)
      const sales = page.map(({ purchase, line }, index) => ({
        ...line,
        purchase_id: purchase.id,
        purchased_at: settleTime(purchase, seen.sales?.[index]?.purchased_at),
        total_cents: line.quantity * line.price_cents,
      }))
      const { items_sold } = this.rateSeller(account.id)
      return { ok: { items_sold, sales_cents: this.sumSales(account.id), sales, ...next } }
    },
  }

  readonly #buyer: Rules<'buyer'> = {
    ...this.#forBoth('buyer'),

    create_account: (params, _, seen) => {
      const answer = this.#forBoth('buyer').create_account(params, seen.buyer_id)
      return 'ok' in answer ? { ok: { buyer_id: answer.ok } } : answer
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
      const cart = this.#openCart(caller)
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
      const cart = this.#openCart(caller)
      const units = cart.get(item_id) ?? 0
      if (units < quantity) return { refused: { code: 'not_in_cart', quantity: units } }
      if (units > quantity) cart.set(item_id, units - quantity)
      else cart.delete(item_id)
      return { ok: { quantity: units - quantity } }
    },

    save_cart: (_, caller) => {
      this.savedCarts.set(caller.account.id, new Map(this.#openCart(caller)))
      return DONE
    },

    clear_cart: (_, caller) => {
      this.#openCart(caller).clear()
      return DONE
    },

    display_cart: (_, caller) => {
      const lines = [...this.#openCart(caller)].map(([item_id, quantity]) => {
        const { name, price_cents, quantity: available } = this.#item(item_id)
        return { item_id, name, quantity, price_cents, available }
      })
      return { ok: { lines } }
    },

    make_purchase: ({ total_cents: expected }, caller, seen) => {
      const cart = this.#openCart(caller)
      if (cart.size === 0) return refused('cart_empty')
      const wanted = [...cart].map(([item_id, requested]) => ({
        item_id,
        requested,
        available: this.#item(item_id).quantity,
      }))
      const short = wanted.filter(({ requested, available }) => requested > available)
      if (short.length > 0) return outOfStock(short)
      const lines = wanted.map(({ item_id, requested: quantity }) => {
        const { name, price_cents } = this.#item(item_id)
        return { item_id, name, quantity, price_cents }
      })
      const total_cents = sumCents(lines)
      if (expected !== undefined && expected !== total_cents) {
        return { refused: { code: 'price_changed', lines, total_cents } }
      }
      for (const { item_id, quantity } of lines) this.#item(item_id).quantity -= quantity
      const ids = this.purchases.map(({ id }) => id)
      const purchase_id = newId(seen.purchase_id, ids)
      const timesS = { earliestS: this.#askedS, latestS: nowS() }
      this.purchases.push({ id: purchase_id, buyerId: caller.account.id, lines, ...timesS })
      cart.clear()
      this.#takeFromSavedCart(caller.account.id, lines)
      return { ok: { purchase_id, lines, total_cents } }
    },

    get_buyer_purchases: (params, { account }, seen) => {
      const own = this.purchases.filter(({ buyerId }) => buyerId === account.id)
      const entries = own.map((purchase) => ({ place: [purchase.id], content: purchase }))
      const listing = ['get_buyer_purchases', account.id]
      const { page, ...next } = this.#page(listing, entries, params, seen.next_cursor)
      const purchases = page.map((purchase, index) => ({
        purchase_id: purchase.id,
        lines: [...purchase.lines].sort((a, b) => a.item_id - b.item_id),
        total_cents: sumCents(purchase.lines),
        purchased_at: settleTime(purchase, seen.purchases?.[index]?.purchased_at),
      }))
      return { ok: { items_purchased: this.countItemsPurchased(account.id), purchases, ...next } }
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

    get_seller_rating: ({ seller_id }) => {
      const seller = this.accounts.seller.find(({ id }) => id === seller_id)
      if (seller === undefined) return refused('not_found')
      return { ok: { seller_name: seller.name, ...this.rateSeller(seller_id) } }
    },
  }

  /**
   * Others use the marketplace too: categories without an item of ours are taken from the reply, and so is the end of a
   * page with a cursor.
   */
  #listCategories(
    { limit, cursor }: Params<Role, 'list_categories'>,
    seen: Partial<Result<Role, 'list_categories'>>,
  ): Result<Role, 'list_categories'> {
    const toKey = (cursor: string) => JSON.stringify(['list_categories', cursor])
    const [after = -1] = (cursor !== undefined && this.#pageEnds.get(toKey(cursor))) || []
    const items = [...this.items.values()]
    const shown = seen.categories ?? []
    const end = seen.next_cursor === undefined ? 65_535 : Math.max(after, ...shown.map(({ category }) => category))
    const own = [...new Set(items.map(({ category }) => category))].map((category) => ({
      category,
      items_on_sale: items.filter((item) => item.category === category && item.quantity > 0).length,
    }))
    const others = shown.filter(({ category }) => !own.some((one) => one.category === category))
    const rest = [...own.filter(({ items_on_sale }) => items_on_sale > 0), ...others]
      .filter(({ category }) => category > after && category <= end)
      .sort((a, b) => a.category - b.category)
    const categories = rest.slice(0, limit)
    const next_cursor = rest.length > limit ? (seen.next_cursor ?? 'a cursor') : seen.next_cursor
    if (next_cursor === undefined) return { categories }
    this.#pageEnds.set(toKey(next_cursor), [end])
    return { categories, next_cursor }
  }

  rateSeller(sellerId: number): Omit<Result<'buyer', 'get_seller_rating'>, 'seller_name'> {
    const own = [...this.items.values()].filter(({ seller_id }) => seller_id === sellerId).map(({ item_id }) => item_id)
    return { ...this.countVotes(own), items_sold: sumUnits(this.#soldLines(sellerId)) }
  }

  sumSales(sellerId: number): number {
    return sumCents(this.#soldLines(sellerId))
  }

  #soldLines(sellerId: number) {
    const lines = this.purchases.flatMap(({ lines }) => lines)
    return lines.filter(({ item_id }) => this.#item(item_id).seller_id === sellerId)
  }

  countItemsPurchased(buyerId: number): number {
    return sumUnits(this.purchases.filter((purchase) => purchase.buyerId === buyerId).flatMap(({ lines }) => lines))
  }

  countVotes(itemIds: readonly number[]): { thumbs_up: number; thumbs_down: number } {
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
    return { ...this.#item(itemId), ...this.countVotes([itemId]) }
  }

  /** The session's cart; at first a copy of the saved cart. */
  #openCart(caller: Session): Cart {
    caller.cart ??= new Map(this.savedCarts.get(caller.account.id))
    return caller.cart
  }

  #takeFromSavedCart(buyerId: number, lines: Purchase['lines']): void {
    const saved = this.savedCarts.get(buyerId) ?? new Map()
    for (const { item_id, quantity } of lines) {
      const left = (saved.get(item_id) ?? 0) - quantity
      if (left > 0) saved.set(item_id, left)
      else saved.delete(item_id)
    }
  }

  /** One page of a descending list. `seenCursor`, the server's, will stand for the page's end. */
  #page<T>(
    listing: readonly unknown[],
    entries: readonly { place: Place; content: T }[],
    { limit, cursor }: { limit: number; cursor?: string | undefined },
    seenCursor: string | undefined,
  ): { page: T[]; next_cursor?: string } {
    const toKey = (cursor: string) => JSON.stringify([...listing, cursor])
    const after = cursor === undefined ? undefined : this.#pageEnds.get(toKey(cursor))
    const rest = entries.filter(({ place }) => after === undefined || compareDescending(after, place) < 0)
    const shown = rest.sort((a, b) => compareDescending(a.place, b.place)).slice(0, limit)
    const page = shown.map(({ content }) => content)
    if (rest.length <= limit) return { page }
    const next_cursor = seenCursor ?? 'a cursor'
    this.#pageEnds.set(toKey(next_cursor), shown.at(-1)?.place as Place)
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

/** Parameters as the contract reads them: with defaults, in normal form C, keywords in lower case and each once. */
function normalise(operation: string, given: object): Record<string, unknown> {
  const params: Record<string, unknown> = { ...DEFAULTS[operation], ...given }
  if (typeof params.name === 'string') params.name = params.name.normalize('NFC')
  if (Array.isArray(params.keywords)) params.keywords = [...new Set(params.keywords.map((word) => word.toLowerCase()))]
  return params
}

/** The server's id if it is greater than all earlier ones, as it must be; otherwise one that is. */
function newId(seen: number | undefined, earlier: Iterable<number>): number {
  const least = Math.max(0, ...earlier) + 1
  return Math.max(seen ?? 0, least)
}

/** The time of a purchase: the seen one if it is possible, from then on for good. */
function settleTime(purchase: Purchase, seenS: number | undefined): number {
  if (seenS !== undefined && seenS >= purchase.earliestS && seenS <= purchase.latestS) {
    purchase.earliestS = seenS
    purchase.latestS = seenS
  }
  return purchase.latestS
}

function nowS(): number {
  return Math.floor(Date.now() / 1_000)
}

function sumCents(lines: readonly { quantity: number; price_cents: number }[]): number {
  return lines.reduce((total, { quantity, price_cents }) => total + quantity * price_cents, 0)
}

function sumUnits(lines: readonly { quantity: number }[]): number {
  return lines.reduce((units, { quantity }) => units + quantity, 0)
}

function compareDescending(a: Place, b: Place): number {
  const index = a.findIndex((number, index) => number !== b[index])
  return index < 0 ? 0 : (b[index] as number) - (a[index] as number)
}
