/**
 * A flash sale: all buyers buy from the same few items until nothing is left,
 * while the sellers change prices, add units and take some off. The carts
 * overlap, and so do the purchases.
 */

import { CallRefused } from '../../src/client/connection.ts'
import type { Name, Result, Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import type { Random } from '../../src/loadgen/random.ts'
import { below, oneOf, someOf } from '../../src/loadgen/random.ts'
import { anItem } from './clients.ts'
import type { ClientParams, LedgerClient } from './ledger-clients.ts'

export interface FlashSaleOptions {
  sellers: readonly LedgerClient<'seller'>[]
  buyers: readonly LedgerClient<'buyer'>[]
  /** The number of items, and of units of each at first. */
  items: number
  units: number
  /** The number of changes each seller makes. */
  changes: number
  random: Random
}

const MOST_CART_LINES = 5
const MOST_UNITS_A_CART_LINE = 3
const MOST_UNITS_CHANGED = 10
const CATEGORY = 7
const MOST_FAILURES = 200
/** No two items ever have the same price. */
const PRICES_APART_CENTS = 1_000_000

export class FlashSale {
  purchases = 0
  /** Calls that were answered with a result, or with a refusal that a sale may bring. */
  answered = 0
  /** The number of all other calls, by operation and error. */
  readonly failures: Record<string, number> = {}
  failed = 0
  readonly #options: FlashSaleOptions
  readonly #offers: { itemId: number; seller: LedgerClient<'seller'> }[] = []
  /** Items that are not yet sold out for good. */
  readonly #left = new Set<number>()
  #sellersBusy: number
  #pricesSet = 0

  constructor(options: FlashSaleOptions) {
    this.#options = options
    this.#sellersBusy = options.sellers.length
  }

  /** Resolves when nothing is left. A client whose call fails goes on; rejects when too many calls fail. */
  async run(): Promise<void> {
    const { sellers, buyers, items } = this.#options
    for (let number = 0; number < items; number += 1) {
      const seller = sellers[number % sellers.length] as LedgerClient<'seller'>
      const { item_id } = await seller.call('register_item_for_sale', this.#newItem(number))
      this.#offers.push({ itemId: item_id, seller })
      this.#left.add(item_id)
    }
    await Promise.all([...sellers.map((seller) => this.#sell(seller)), ...buyers.map((buyer) => this.#buy(buyer))])
  }

  #newItem(number: number) {
    return anItem({
      name: `Offer ${number}`,
      category: CATEGORY,
      keywords: ['offer', `n${number}`],
      quantity: this.#options.units,
      price_cents: (number + 1) * PRICES_APART_CENTS,
    })
  }

  async #sell(seller: LedgerClient<'seller'>): Promise<void> {
    const { changes, random } = this.#options
    const own = this.#offers.filter((offer) => offer.seller === seller)
    for (let change = 0; change < changes; change += 1) {
      const { itemId } = oneOf(own, random)
      if (random() < 0.5) {
        await this.#call(seller, 'change_item_price', { item_id: itemId, price_cents: this.#newPrice(itemId) })
      } else {
        const units = 1 + below(MOST_UNITS_CHANGED, random)
        const call = { item_id: itemId, change: random() < 0.5 ? units : -units }
        await this.#call(seller, 'update_units_for_sale', call, 'out_of_stock')
      }
    }
    this.#sellersBusy -= 1
  }

  #newPrice(itemId: number): number {
    this.#pricesSet += 1
    return (1 + this.#offers.findIndex((offer) => offer.itemId === itemId)) * PRICES_APART_CENTS + this.#pricesSet
  }

  async #buy(buyer: LedgerClient<'buyer'>): Promise<void> {
    while (this.#left.size > 0) {
      await this.#fillCart(buyer)
      if (!(await this.#purchase(buyer)) && !(await this.#purchase(buyer))) await this.#call(buyer, 'clear_cart', {})
    }
  }

  async #fillCart(buyer: LedgerClient<'buyer'>): Promise<void> {
    const { random } = this.#options
    const count = 1 + below(Math.min(MOST_CART_LINES, this.#left.size), random)
    for (const item_id of someOf([...this.#left], count, random)) {
      const isLast = this.#sellersBusy === 0
      const call = { item_id, quantity: 1 + below(MOST_UNITS_A_CART_LINE, random) }
      const answer = await this.#call(buyer, 'add_item_to_cart', call, 'out_of_stock')
      if (answer instanceof CallRefused && isLast && answer.details.available === 0) this.#left.delete(item_id)
    }
  }

  /** False if items were short; then the units beyond their stock have been removed from the cart. */
  async #purchase(buyer: LedgerClient<'buyer'>): Promise<boolean> {
    const isLast = this.#sellersBusy === 0
    const answer = await this.#call(buyer, 'make_purchase', {}, 'out_of_stock', 'cart_empty')
    if (answer !== undefined && !(answer instanceof CallRefused)) this.purchases += 1
    if (!(answer instanceof CallRefused) || answer.code === 'cart_empty') return true
    for (const { item_id, requested, available } of answer.details.items as Shortage[]) {
      const call = { item_id, quantity: requested - available }
      await this.#call(buyer, 'remove_item_from_cart', call, 'not_in_cart')
      if (isLast && available === 0) this.#left.delete(item_id)
    }
    return false
  }

  /** Resolves to the result, to an expected refusal, or to undefined if the call failed. */
  async #call<R extends Role, N extends Name<R>>(
    client: LedgerClient<R>,
    operation: N,
    params: ClientParams<R, N>,
    ...expected: readonly ErrorCode[]
  ): Promise<Result<R, N> | CallRefused | undefined> {
    try {
      const answer = await client.attempt(operation, params, ...expected)
      this.answered += 1
      return answer
    } catch (error) {
      const what = `${operation}: ${error instanceof CallRefused ? JSON.stringify(error.details) : error}`
      this.failures[what] = (this.failures[what] ?? 0) + 1
      this.failed += 1
      if (this.failed > MOST_FAILURES) throw new Error(`too many calls fail: ${JSON.stringify(this.failures)}`)
      return undefined
    }
  }

  toString(): string {
    return `${this.purchases} purchases in ${this.answered} calls`
  }
}

interface Shortage {
  item_id: number
  requested: number
  available: number
}
