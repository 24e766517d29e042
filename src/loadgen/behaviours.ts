/**
 * What buyers and sellers do in a marketplace, and which replies are right:
 * those that follow from the client's own earlier calls, whatever others do
 * meanwhile. Every keyed operation carries a new key. A client makes its calls
 * one after the other, since each depends on the earlier replies.
 */

import { randomUUID } from 'node:crypto'
import type { CallRefused } from '../client/connection.ts'
import { type CartLine, type Item, MOST_UNITS, type Result } from '../contract/operations.ts'
import { isListing, isSellerNamed } from './calls.ts'
import {
  CATALOGUE,
  ITEMS,
  newItem,
  type PickSearch,
  SEARCH,
  type Search,
  sellerItems,
  sellerName,
  sellerScore,
} from './catalogue.ts'
import type { Behaviour, Client } from './fleet.ts'
import { below, oneOf, someOf, weighted } from './random.ts'

/** What users do in `mixed`: calls of each operation, per thousand calls of a client. */
export const SHARES = {
  buyer: {
    search_items: 450,
    get_item: 250,
    get_seller_rating: 100,
    add_item_to_cart: 80,
    display_cart: 30,
    make_purchase: 30,
    provide_feedback: 20,
    get_buyer_purchases: 15,
    remove_item_from_cart: 10,
    save_cart: 10,
    clear_cart: 5,
  },
  seller: {
    display_items_for_sale: 550,
    get_seller_rating: 200,
    change_item_price: 100,
    update_units_for_sale: 100,
    register_item_for_sale: 50,
  },
} as const

/** The sales: buyers fill carts, purchase them, and start again. */
export const SALES = {
  'flash-sale': { items: 10, mostLines: 5 },
  'hot-item': { items: 1, mostLines: 1 },
  'wide-sale': { items: ITEMS, mostLines: 1 },
} as const
export type SaleName = keyof typeof SALES
/** Units of each item: more than any run sells. */
export const SALE_STOCK = MOST_UNITS
/** Purchases that a buyer asks to see. */
const PURCHASES_SHOWN = 20

/** Adds one unit each of some items of the sale, one by one, then purchases the cart. */
export function buyingIn(sale: SaleName): Behaviour<'buyer'> {
  const { items, mostLines } = SALES[sale]
  const itemIds = Array.from({ length: items }, (_, index) => index + 1)
  return async (client) => {
    const cart = new Cart(client)
    while (client.more()) {
      const lines = 1 + below(mostLines, client.random)
      for (const itemId of someOf(itemIds, lines, client.random)) await cart.add(itemId, 1)
      while (!cart.isEmpty && (await cart.purchase()) === undefined) await cart.removeShort()
    }
  }
}

/** Draws each operation by SHARES. One that is not possible yet is replaced by one that makes it possible. */
export function browsing(pickSearch: PickSearch): Behaviour<'buyer'> {
  return async (client) => {
    const buyer = new Buyer(client, pickSearch)
    const draw = weighted(SHARES.buyer)
    while (client.more()) await buyer[draw(client.random)]()
  }
}

export const selling: Behaviour<'seller'> = async (client) => {
  const seller = new Seller(client)
  const draw = weighted(SHARES.seller)
  while (client.more()) await seller[draw(client.random)]()
}

type Purchase = Result<'buyer', 'make_purchase'>

/** A session's cart, as it must be after the replies so far. */
class Cart {
  readonly #client: Client<'buyer'>
  /** Units by item, in the order in which the items were first added. */
  readonly #units = new Map<number, number>()
  /** When the first item was added. */
  #begunMs = 0
  #shortItemId: number | undefined

  constructor(client: Client<'buyer'>) {
    this.#client = client
  }

  get isEmpty(): boolean {
    return this.#units.size === 0
  }

  /** One of its items; it must have some. */
  pick(): number {
    return oneOf([...this.#units.keys()], this.#client.random)
  }

  /** If the item is out of stock, the cart stays as it is. */
  async add(itemId: number, quantity: number): Promise<void> {
    if (this.isEmpty) this.#begunMs = performance.now()
    const wanted = this.#unitsIn(itemId) + quantity
    const added = await this.#client.call(
      'add_item_to_cart',
      { item_id: itemId, quantity, ...newKey() },
      (result) => result.quantity === wanted,
      (refusal) => isOutOfStock(refusal, itemId, wanted),
    )
    if (added !== undefined) this.#units.set(itemId, wanted)
  }

  async remove(itemId: number, quantity: number): Promise<void> {
    const left = this.#unitsIn(itemId) - quantity
    const params = { item_id: itemId, quantity, ...newKey() }
    await this.#client.call('remove_item_from_cart', params, (result) => result.quantity === left)
    if (left === 0) this.#units.delete(itemId)
    else this.#units.set(itemId, left)
  }

  /** Removes the item that the last purchase was refused for, if any. */
  async removeShort(): Promise<void> {
    if (this.#shortItemId !== undefined) await this.remove(this.#shortItemId, this.#unitsIn(this.#shortItemId))
    this.#shortItemId = undefined
  }

  async clear(): Promise<void> {
    await this.#client.call('clear_cart', {}, isOk)
    this.#units.clear()
  }

  async save(): Promise<void> {
    await this.#client.call('save_cart', {}, isOk)
  }

  async display(): Promise<void> {
    await this.#client.call('display_cart', {}, ({ lines }) => this.#isRight(lines, 'in order'))
  }

  /** The purchase; undefined if an item is out of stock, which `removeShort` then removes. */
  async purchase(): Promise<Purchase | undefined> {
    const purchase = await this.#client.call(
      'make_purchase',
      newKey(),
      ({ lines, total_cents }) => this.#isRight(lines, 'in any order') && total_cents === sumPrices(lines),
      (refusal) => {
        this.#shortItemId = Number(refusal.details.item_id)
        return isOutOfStock(refusal, this.#shortItemId, this.#unitsIn(this.#shortItemId))
      },
    )
    if (purchase === undefined) return undefined
    this.#client.purchased(this.#begunMs)
    this.#units.clear()
    return purchase
  }

  #unitsIn(itemId: number): number {
    return this.#units.get(itemId) ?? 0
  }

  #isRight(lines: readonly CartLine[], order: 'in order' | 'in any order'): boolean {
    const itemIds = [...this.#units.keys()]
    return (
      lines.length === itemIds.length &&
      lines.every(({ item_id, quantity }, index) => {
        return quantity === this.#units.get(item_id) && (order === 'in any order' || item_id === itemIds[index])
      })
    )
  }
}

/** What a buyer does, a method per operation. */
class Buyer {
  readonly #client: Client<'buyer'>
  readonly #pickSearch: PickSearch
  readonly #cart: Cart
  /** The items that the last search found. */
  #found: readonly Item[] = []
  /** Newest first. */
  readonly #purchases: Purchase[] = []
  #itemsPurchased = 0

  constructor(client: Client<'buyer'>, pickSearch: PickSearch) {
    this.#client = client
    this.#pickSearch = pickSearch
    this.#cart = new Cart(client)
  }

  async search_items(): Promise<void> {
    const { search } = this.#pickSearch(this.#client.random)
    const found = await this.#client.call('search_items', search, ({ items }) => isRightPage(search, items))
    if (found !== undefined) this.#found = found.items
  }

  async get_item(): Promise<void> {
    const found = this.#pick(this.#found)
    if (found === undefined) return this.search_items()
    await this.#client.call('get_item', { item_id: found.item_id }, (item) => isSameItem(item, found))
  }

  async get_seller_rating(): Promise<void> {
    const { seller_id } = this.#pick(this.#found) ?? { seller_id: 1 + below(CATALOGUE.sellers, this.#client.random) }
    await this.#client.call('get_seller_rating', { seller_id }, (score) => isPossibleScore(score, seller_id))
  }

  /** Sometimes, more of an item that is in the cart already. */
  async add_item_to_cart(): Promise<void> {
    const more = this.#client.random() < 0.2
    const itemId = more && !this.#cart.isEmpty ? this.#cart.pick() : this.#pick(this.#found)?.item_id
    if (itemId === undefined) return this.search_items()
    await this.#cart.add(itemId, 1 + below(2, this.#client.random))
  }

  async remove_item_from_cart(): Promise<void> {
    if (this.#cart.isEmpty) return this.add_item_to_cart()
    await this.#cart.remove(this.#cart.pick(), 1)
  }

  async make_purchase(): Promise<void> {
    if (this.#cart.isEmpty) return this.add_item_to_cart()
    const purchase = await this.#cart.purchase()
    if (purchase === undefined) return this.#cart.removeShort()
    this.#purchases.unshift(purchase)
    this.#itemsPurchased += purchase.lines.reduce((sum, { quantity }) => sum + quantity, 0)
  }

  async save_cart(): Promise<void> {
    await this.#cart.save()
  }

  async clear_cart(): Promise<void> {
    await this.#cart.clear()
  }

  async display_cart(): Promise<void> {
    await this.#cart.display()
  }

  async provide_feedback(): Promise<void> {
    const line = this.#pick(this.#pick(this.#purchases)?.lines ?? [])
    if (line === undefined) return this.make_purchase()
    const vote = this.#client.random() < 0.8 ? 'up' : 'down'
    await this.#client.call('provide_feedback', { item_id: line.item_id, vote }, isOk)
  }

  /** No other client uses the account, so it has exactly the purchases that this client made. */
  async get_buyer_purchases(): Promise<void> {
    const newest = this.#purchases.slice(0, PURCHASES_SHOWN)
    await this.#client.call(
      'get_buyer_purchases',
      { limit: PURCHASES_SHOWN },
      ({ items_purchased, purchases }) =>
        items_purchased === this.#itemsPurchased &&
        purchases.length === newest.length &&
        purchases.every((shown, index) => isSamePurchase(shown, newest[index])),
    )
  }

  #pick<T>(things: readonly T[]): T | undefined {
    return things[below(things.length, this.#client.random)]
  }
}

/** What a seller does, a method per operation. */
class Seller {
  readonly #client: Client<'seller'>
  /** Price in cents by item id. Nobody else can change them. */
  readonly #prices: Map<number, number>

  constructor(client: Client<'seller'>) {
    this.#client = client
    this.#prices = new Map(sellerItems(client.accountId).map(({ id, priceCents }) => [id, priceCents]))
  }

  async display_items_for_sale(): Promise<void> {
    await this.#client.call(
      'display_items_for_sale',
      { limit: CATALOGUE.itemsPerSeller },
      ({ items }) =>
        isListing(items, this.#client.accountId) &&
        items.every(({ item_id, price_cents, quantity }) => price_cents === this.#prices.get(item_id) && quantity > 0),
    )
  }

  async get_seller_rating(): Promise<void> {
    await this.#client.call('get_seller_rating', {}, (score) => isPossibleScore(score, this.#client.accountId))
  }

  async change_item_price(): Promise<void> {
    const item_id = this.#pickItem()
    const price_cents = below(100_000, this.#client.random)
    await this.#client.call('change_item_price', { item_id, price_cents }, isOk)
    this.#prices.set(item_id, price_cents)
  }

  /** Adds units three times out of four, removes some otherwise. */
  async update_units_for_sale(): Promise<void> {
    const item_id = this.#pickItem()
    const units = 1 + below(5, this.#client.random)
    const change = this.#client.random() < 0.75 ? units : -units
    await this.#client.call(
      'update_units_for_sale',
      { item_id, change, ...newKey() },
      ({ quantity }) => quantity >= Math.max(0, change),
      (refusal) => change < 0 && isOutOfStock(refusal, item_id, -change),
    )
  }

  async register_item_for_sale(): Promise<void> {
    const item = newItem(this.#client.random)
    const params = { ...item, ...newKey() }
    const registered = await this.#client.call('register_item_for_sale', params, ({ item_id }) => item_id > ITEMS)
    if (registered !== undefined) this.#prices.set(registered.item_id, item.price_cents)
  }

  #pickItem(): number {
    return oneOf([...this.#prices.keys()], this.#client.random)
  }
}

function newKey(): { idempotency_key: string } {
  return { idempotency_key: randomUUID() }
}

function isOk(result: { ok: true }): boolean {
  return result.ok
}

/** Whether the refusal is right: it names the item, the units requested, and fewer units available. */
function isOutOfStock({ code, details }: CallRefused, itemId: number, wanted: number): boolean {
  const { item_id, requested, available } = details
  return code === 'out_of_stock' && item_id === itemId && requested === wanted && Number(available) < wanted
}

/** Whether all items are on sale and in the category, best first. Which items are found changes while others buy. */
function isRightPage({ category, keywords }: Search, items: readonly Item[]): boolean {
  const matches = (item: Item) => item.keywords.filter((keyword) => keywords.includes(keyword)).length
  return (
    items.length <= SEARCH.results &&
    items.every((item, index) => {
      const better = items[index - 1]
      const inOrder =
        better === undefined ||
        matches(better) > matches(item) ||
        (matches(better) === matches(item) && better.item_id > item.item_id)
      return item.category === category && item.quantity > 0 && matches(item) > 0 && isSellerNamed(item) && inOrder
    })
  )
}

/** Compares what nobody changes of an item here. */
function isSameItem(item: Item, other: Item): boolean {
  return (
    item.item_id === other.item_id &&
    item.seller_id === other.seller_id &&
    item.seller_name === other.seller_name &&
    item.name === other.name &&
    item.category === other.category &&
    item.condition === other.condition
  )
}

function isSamePurchase(shown: Purchase, made: Purchase | undefined): boolean {
  return (
    shown.purchase_id === made?.purchase_id &&
    shown.total_cents === made.total_cents &&
    shown.lines.length === made.lines.length &&
    shown.lines.every((line) =>
      made.lines.some(
        ({ item_id, quantity, price_cents }) =>
          item_id === line.item_id && quantity === line.quantity && price_cents === line.price_cents,
      ),
    )
  )
}

/** Whether the score is at least the catalogue's: votes and sales only add to it. */
function isPossibleScore(score: Result<'buyer', 'get_seller_rating'>, sellerId: number): boolean {
  const { thumbs_up, thumbs_down, items_sold } = sellerScore(sellerId)
  const isPossible = score.thumbs_up >= thumbs_up && score.thumbs_down >= thumbs_down && score.items_sold >= items_sold
  return isPossible && score.seller_name === sellerName(sellerId)
}

function sumPrices(lines: readonly CartLine[]): number {
  return lines.reduce((sum, { quantity, price_cents }) => sum + quantity * price_cents, 0)
}
