/**
 * A flash sale: everybody wants some of the same few items until nothing is
 * left, while their sellers change prices, add units and take some off. The
 * carts overlap, and so do the purchases.
 */

import { CallRefused } from '../../src/client/connection.ts'
import type { Name, Result, Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import type { Random } from '../../src/loadgen/workload.ts'
import { anItem } from './clients.ts'
import type { Client, Parameters } from './ledger-clients.ts'
import { below, oneOf, someOf } from './random.ts'

export interface FlashSaleOptions {
  sellers: readonly Client<'seller'>[]
  buyers: readonly Client<'buyer'>[]
  /** How many items there are, and how many units of each at first. */
  items: number
  units: number
  /** How often each seller changes something. */
  changes: number
  random: Random
}

const MOST_LINES = 5
const MOST_UNITS_A_LINE = 3
const MOST_UNITS_CHANGED = 10
const CATEGORY = 7
const MOST_FAILURES = 200
/** So that no price of one item is ever one of another's. */
const PRICES_APART_CENTS = 1_000_000

export class FlashSale {
  purchases = 0
  /** Calls that came to a result, or were rightly refused for want of units. */
  answered = 0
  /** How many calls came to what else. */
  readonly failures: Record<string, number> = {}
  failed = 0
  readonly #options: FlashSaleOptions
  readonly #offers: { itemId: number; seller: Client<'seller'> }[] = []
  /** Items that are not sold out for good. */
  readonly #left = new Set<number>()
  #sellersBusy: number
  #pricesSet = 0

  constructor(options: FlashSaleOptions) {
    this.#options = options
    this.#sellersBusy = options.sellers.length
  }

  /** Resolves when nothing is left. When a call fails, its client goes on; when too many do, this rejects. */
  async hold(): Promise<void> {
    const { sellers, buyers, items } = this.#options
    for (let number = 0; number < items; number += 1) {
      const seller = sellers[number % sellers.length] as Client<'seller'>
      const { item_id } = await seller.call('register_item_for_sale', this.#newItem(number))
      this.#offers.push({ itemId: item_id, seller })
      this.#left.add(item_id)
    }
    await Promise.all([...sellers.map((seller) => this.#sell(seller)), ...buyers.map((buyer) => this.#buy(buyer))])
  }

  #newItem(number: number) {
    return anItem({
      ...{ name: `Offer ${number}`, category: CATEGORY, keywords: ['offer', `n${number}`] },
      ...{ quantity: this.#options.units, price_cents: (number + 1) * PRICES_APART_CENTS },
    })
  }

  async #sell(seller: Client<'seller'>): Promise<void> {
    const { changes, random } = this.#options
    const own = this.#offers.filter((offer) => offer.seller === seller)
    for (let change = 0; change < changes; change += 1) {
      const { itemId } = oneOf(own, random)
      if (random() < 0.5) {
        await this.#ask(seller, 'change_item_price', { item_id: itemId, price_cents: this.#newPrice(itemId) })
      } else {
        const units = 1 + below(MOST_UNITS_CHANGED, random)
        const call = { item_id: itemId, change: random() < 0.5 ? units : -units }
        await this.#ask(seller, 'update_units_for_sale', call, 'out_of_stock')
      }
    }
    this.#sellersBusy -= 1
  }

  #newPrice(itemId: number): number {
    this.#pricesSet += 1
    return (1 + this.#offers.findIndex((offer) => offer.itemId === itemId)) * PRICES_APART_CENTS + this.#pricesSet
  }

  async #buy(buyer: Client<'buyer'>): Promise<void> {
    while (this.#left.size > 0) {
      await this.#fillCart(buyer)
      if (!(await this.#purchase(buyer)) && !(await this.#purchase(buyer))) await this.#ask(buyer, 'clear_cart', {})
    }
  }

  async #fillCart(buyer: Client<'buyer'>): Promise<void> {
    const { random } = this.#options
    const lines = 1 + below(Math.min(MOST_LINES, this.#left.size), random)
    for (const item_id of someOf([...this.#left], lines, random)) {
      const isLast = this.#sellersBusy === 0
      const call = { item_id, quantity: 1 + below(MOST_UNITS_A_LINE, random) }
      const answer = await this.#ask(buyer, 'add_item_to_cart', call, 'out_of_stock')
      if (answer instanceof CallRefused && isLast && answer.details.available === 0) this.#left.delete(item_id)
    }
  }

  /** False if there was too little of something. What is too much in the cart is taken out then. */
  async #purchase(buyer: Client<'buyer'>): Promise<boolean> {
    const isLast = this.#sellersBusy === 0
    const answer = await this.#ask(buyer, 'make_purchase', {}, 'out_of_stock', 'cart_empty')
    if (answer !== undefined && !(answer instanceof CallRefused)) this.purchases += 1
    if (!(answer instanceof CallRefused) || answer.code === 'cart_empty') return true
    for (const { item_id, requested, available } of answer.details.items as Shortage[]) {
      const call = { item_id, quantity: requested - available }
      await this.#ask(buyer, 'remove_item_from_cart', call, 'not_in_cart')
      if (isLast && available === 0) this.#left.delete(item_id)
    }
    return false
  }

  /** The result, an expected refusal, or undefined for a call that failed. */
  async #ask<R extends Role, N extends Name<R>>(
    client: Client<R>,
    operation: N,
    params: Parameters<R, N>,
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
      if (this.failed > MOST_FAILURES) throw new Error(`too much fails: ${JSON.stringify(this.failures)}`)
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
