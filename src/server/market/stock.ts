/**
 * Stock: the units on sale and the prices of items, changed by their sellers
 * and by purchases. Overselling is prevented here: a batch locks the items,
 * decides its calls one after the other on the locked quantities, and writes
 * once. Searches find an item while units are left, so a change to or from zero
 * also deletes or writes its keywords.
 */

import { type Item, MOST_UNITS } from '../../contract/operations.ts'
import type { Refusal } from '../../contract/refusals.ts'
import type { Lane, Statement } from '../../db/lane.ts'
import { type LockedRows, lockRows } from '../../db/locks.ts'
import type { Decision, RowId } from '../../db/plan.ts'
import type { Handlers } from './handler.ts'
import { ITEM_COLUMNS, type ItemRow, postItems, toItem, unpostItems } from './items.ts'

const ITEM = { name: 'item', key: 'id', columns: ITEM_COLUMNS }
/** One batch at a time: a second one would find the items of the first locked. */
const ONE_BATCH = { writes: 'product', cap: 200, inFlight: 1 } as const
export const NO_SUCH_ITEM: Refusal = { code: 'not_found', message: 'you have no such item' }

export const sellerStock: Handlers<'seller', 'change_item_price' | 'update_units_for_sale'> = {
  change_item_price: {
    ...ONE_BATCH,
    async decide(lane, calls) {
      const itemIds = calls.map((call) => call.params.item_id)
      const stock = await lockStock(lane, itemIds)
      const prices: [number, number][] = []
      const decisions = calls.map(({ account, params: { item_id, price_cents } }): Decision<{ ok: true }> => {
        const held = stock.firstHeld([item_id])
        if (held !== undefined) return { held }
        if (stock.get(item_id)?.seller_id !== account.id) return { refused: NO_SUCH_ITEM }
        prices.push([price_cents, item_id])
        return { ok: { ok: true } }
      })
      return { decisions, writes: [{ sql: 'UPDATE item SET price_cents = ? WHERE id = ?', rows: prices }] }
    },
  },

  update_units_for_sale: {
    ...ONE_BATCH,
    async decide(lane, calls) {
      const itemIds = calls.map((call) => call.params.item_id)
      const stock = await lockStock(lane, itemIds)
      const decisions = calls.map(({ account, params: { item_id, change } }): Decision<{ quantity: number }> => {
        const held = stock.firstHeld([item_id])
        if (held !== undefined) return { held }
        const item = stock.get(item_id)
        if (item?.seller_id !== account.id) return { refused: NO_SUCH_ITEM }
        const quantity = item.quantity + change
        if (quantity < 0) return { refused: outOfStock([{ item_id, requested: -change, available: item.quantity }]) }
        if (quantity > MOST_UNITS) {
          return { refused: limitExceeded(`at most ${MOST_UNITS} units of an item can be on sale`) }
        }
        stock.move(item_id, change)
        return { ok: { quantity } }
      })
      return { decisions, writes: stock.writes() }
    },
  },
}

/** The items that one batch has locked. Their quantities move as its calls are decided, one after the other. */
export class Stock {
  readonly #locked: LockedRows<number, ItemRow>
  readonly #items = new Map<number, Item>()
  readonly #moved = new Map<number, number>()

  constructor(locked: LockedRows<number, ItemRow>) {
    this.#locked = locked
    for (const row of locked.values()) this.#items.set(row[0], toItem(row))
  }

  firstHeld(itemIds: Iterable<number>): RowId | undefined {
    return this.#locked.firstHeld(itemIds)
  }

  get(itemId: number): Readonly<Item> | undefined {
    return this.#items.get(itemId)
  }

  values(): Iterable<Readonly<Item>> {
    return this.#items.values()
  }

  /** Puts units on sale, or with a negative number takes them off. The caller has checked that they are there. */
  move(itemId: number, units: number): void {
    const item = this.#items.get(itemId)
    if (item === undefined) throw new Error('units of an item that is not locked')
    item.quantity += units
    this.#moved.set(itemId, (this.#moved.get(itemId) ?? 0) + units)
  }

  /**
   * The changes as statements. Quantities are written as differences: the
   * UNSIGNED column guards against oversale once more.
   */
  writes(): Statement[] {
    const moved = [...this.#moved].map(([id, units]) => ({ item: this.#items.get(id) as Item, units }))
    const soldOut = moved.filter(({ item, units }) => item.quantity === 0 && units < 0)
    const restocked = moved.filter(({ item, units }) => item.quantity > 0 && item.quantity === units)
    return [
      {
        sql: 'UPDATE item SET quantity = quantity + ? WHERE id = ?',
        rows: moved.filter(({ units }) => units !== 0).map(({ item, units }) => [units, item.item_id]),
      },
      unpostItems(soldOut.map(({ item }) => item)),
      postItems(restocked.map(({ item }) => item)),
    ]
  }
}

export async function lockStock(lane: Lane, itemIds: Iterable<number>): Promise<Stock> {
  return new Stock(await lockRows(lane, ITEM, itemIds))
}

/** An item of which more units are wanted than are on sale. */
export interface Shortage {
  item_id: number
  requested: number
  available: number
}

/** Details are those of the first shortage, which is usually the only one, and the list of all. */
export function outOfStock(shortages: readonly [Shortage, ...Shortage[]]): Refusal {
  const [first] = shortages
  return {
    code: 'out_of_stock',
    message: `${first.available} on sale, ${first.requested} wanted`,
    details: { ...first, items: shortages },
  }
}

export function limitExceeded(message: string): Refusal {
  return { code: 'limit_exceeded', message }
}
