/**
 * What is on sale: units and prices of items, changed by their sellers and by
 * purchases. An item on sale stands under its keywords, one that is sold out
 * does not: whatever takes its quantity to or from zero takes care of that.
 */

import { type Item, MOST_UNITS } from '../../contract/operations.ts'
import type { Refusal } from '../../contract/refusals.ts'
import { type LockedRows, lockRows } from '../../db/locks.ts'
import type { Decision, Lane, Row, Statement } from '../../db.ts'
import { ITEM_COLUMNS, type ItemRow, itemOf, keywordRows } from './catalogue.ts'
import type { Handlers } from './handler.ts'

const ITEM = { name: 'item', key: 'id', columns: ITEM_COLUMNS }
const ALONE = { writes: 'product', cap: 200, inFlight: 1 } as const
const NO_SUCH_ITEM: Refusal = { code: 'not_found', message: 'you have no such item' }

export const sellerInventory: Handlers<'seller', 'change_item_price' | 'update_units_for_sale'> = {
  change_item_price: {
    ...ALONE,
    async decide(lane, calls) {
      const stock = await lockStock(
        lane,
        calls.map((call) => call.params.item_id),
      )
      const prices: [number, number][] = []
      const answers = calls.map(({ account, params: { item_id, price_cents } }): Decision<{ ok: true }> => {
        const held = stock.heldAmong([item_id])
        if (held !== undefined) return { held }
        if (stock.get(item_id)?.seller_id !== account.id) return { refused: NO_SUCH_ITEM }
        prices.push([price_cents, item_id])
        return { ok: { ok: true } }
      })
      return { answers, writes: [{ sql: 'UPDATE item SET price_cents = ? WHERE id = ?', rows: prices }] }
    },
  },

  update_units_for_sale: {
    ...ALONE,
    async decide(lane, calls) {
      const stock = await lockStock(
        lane,
        calls.map((call) => call.params.item_id),
      )
      const answers = calls.map(({ account, params: { item_id, change } }): Decision<{ quantity: number }> => {
        const held = stock.heldAmong([item_id])
        if (held !== undefined) return { held }
        const item = stock.get(item_id)
        if (item?.seller_id !== account.id) return { refused: NO_SUCH_ITEM }
        const quantity = item.quantity + change
        if (quantity < 0) return { refused: outOfStock([{ item_id, requested: -change, available: item.quantity }]) }
        if (quantity > MOST_UNITS) return { refused: tooMany(`at most ${MOST_UNITS} units of an item can be on sale`) }
        stock.move(item_id, change)
        return { ok: { quantity } }
      })
      return { answers, writes: stock.writes() }
    },
  },
}

/** Items locked by one batch, whose quantities move as its calls are decided one after the other. */
export class Stock {
  readonly #locked: LockedRows<number, ItemRow>
  readonly #items = new Map<number, Item>()
  readonly #moved = new Map<number, number>()

  constructor(locked: LockedRows<number, ItemRow>) {
    this.#locked = locked
    for (const row of locked.values()) this.#items.set(row[0], itemOf(row))
  }

  heldAmong(itemIds: Iterable<number>): Row | undefined {
    return this.#locked.heldAmong(itemIds)
  }

  get(itemId: number): Readonly<Item> | undefined {
    return this.#items.get(itemId)
  }

  values(): Iterable<Readonly<Item>> {
    return this.#items.values()
  }

  /** Puts units on sale, or takes them off. Whether they are there is for the caller to know. */
  move(itemId: number, units: number): void {
    const item = this.#items.get(itemId)
    if (item === undefined) throw new Error('units of an item that is not locked')
    item.quantity += units
    this.#moved.set(itemId, (this.#moved.get(itemId) ?? 0) + units)
  }

  /** Quantities are written as changes: that they can't become negative is guarded by the column once more. */
  writes(): Statement[] {
    const moved = [...this.#moved].map(([id, units]) => ({ item: this.#items.get(id) as Item, units }))
    const gone = moved.filter(({ item, units }) => item.quantity === 0 && units < 0)
    const back = moved.filter(({ item, units }) => item.quantity > 0 && item.quantity === units)
    return [
      {
        sql: 'UPDATE item SET quantity = quantity + ? WHERE id = ?',
        rows: moved.filter(({ units }) => units !== 0).map(({ item, units }) => [units, item.item_id]),
      },
      {
        sql: 'DELETE FROM item_keyword WHERE category = ? AND keyword = ? AND item_id = ?',
        rows: gone.flatMap(({ item }) => keywordRows(item)),
      },
      {
        sql: 'INSERT INTO item_keyword (category, keyword, item_id) VALUES (?, ?, ?)',
        rows: back.flatMap(({ item }) => keywordRows(item)),
      },
    ]
  }
}

export async function lockStock(lane: Lane, itemIds: Iterable<number>): Promise<Stock> {
  return new Stock(await lockRows(lane, ITEM, itemIds))
}

/** Units of an item that somebody wants, and how many are on sale. */
export interface Shortage {
  item_id: number
  requested: number
  available: number
}

/** The first shortage stands by itself too: most often it is the only one. */
export function outOfStock(items: readonly [Shortage, ...Shortage[]]): Refusal {
  const [first] = items
  return {
    code: 'out_of_stock',
    message: `${first.available} on sale, ${first.requested} wanted`,
    details: { ...first, items },
  }
}

export function tooMany(message: string): Refusal {
  return { code: 'limit_exceeded', message }
}
