/**
 * Carts. A cart belongs to a session and is one row. The first call of a
 * session on its cart copies the cart that its buyer saved; from then on the two
 * are independent.
 */

import { type CartLine, MOST_CART_LINES, MOST_CART_UNITS } from '../../contract/operations.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'
import { type LockedRows, lockRows } from '../../db/locks.ts'
import type { Decision, RowId } from '../../db/plan.ts'
import type { Database } from '../../db.ts'
import type { Call, Handlers } from './handler.ts'
import { readItems } from './items.ts'
import { limitExceeded, outOfStock } from './stock.ts'

const CART = { name: 'cart', key: 'session_hash', columns: 'session_hash, content' }
const SAVED_CART = { name: 'saved_cart', key: 'buyer_id', columns: 'buyer_id' }
const CARTS_FORGOTTEN_AT_ONCE = 1_000
const GATHERED = { writes: 'product', cap: 200, inFlight: 2 } as const

/** Session hash, content. */
type CartRow = [string, string]
/** Units by item, in the order in which the items were first added. */
type Content = Map<number, number>

export const buyerCarts: Handlers<
  'buyer',
  'add_item_to_cart' | 'remove_item_from_cart' | 'save_cart' | 'clear_cart' | 'display_cart'
> = {
  add_item_to_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const ids = calls.map((call) => call.params.item_id)
      const [carts, items] = await Promise.all([lockCarts(lane, calls), readItems(lane, ids, 'any')])
      const decisions = calls.map((call): Decision<{ quantity: number }> => {
        const { item_id, quantity } = call.params
        const content = carts.get(call)
        if ('held' in content) return content
        const available = items.get(item_id)?.quantity
        if (available === undefined) return { refused: { code: 'not_found', message: 'no such item' } }
        const wanted = (content.get(item_id) ?? 0) + quantity
        if (wanted > MOST_CART_UNITS)
          return { refused: limitExceeded(`at most ${MOST_CART_UNITS} units of an item in a cart`) }
        if (wanted > available) return { refused: outOfStock([{ item_id, requested: wanted, available }]) }
        if (!content.has(item_id) && content.size === MOST_CART_LINES) {
          return { refused: limitExceeded(`at most ${MOST_CART_LINES} items in a cart`) }
        }
        carts.set(call, item_id, wanted)
        return { ok: { quantity: wanted } }
      })
      return { decisions, writes: carts.writes() }
    },
  },

  remove_item_from_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const decisions = calls.map((call): Decision<{ quantity: number }> => {
        const { item_id, quantity } = call.params
        const content = carts.get(call)
        if ('held' in content) return content
        const there = content.get(item_id) ?? 0
        if (there < quantity) {
          const message = `the cart has ${there} of it, not ${quantity}`
          return { refused: { code: 'not_in_cart', message, details: { item_id, quantity: there } } }
        }
        carts.set(call, item_id, there - quantity)
        return { ok: { quantity: there - quantity } }
      })
      return { decisions, writes: carts.writes() }
    },
  },

  save_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const saved = await lockRows<number, [number]>(
        lane,
        SAVED_CART,
        calls.map((call) => call.account.id),
      )
      const copies = new Map<number, string>() // just copied from saved carts: these must not undo a newer save
      const contents = new Map<number, string>() // by buyer: the last save wins
      const decisions = calls.map((call): Decision<{ ok: true }> => {
        const content = carts.get(call)
        if ('held' in content) return content
        const held = saved.firstHeld([call.account.id])
        if (held !== undefined) return { held }
        const rows = carts.isCopy(call) ? copies : contents
        rows.set(call.account.id, encodeContent(content))
        return { ok: { ok: true } }
      })
      const insert = 'INTO saved_cart (buyer_id, content) VALUES (?, ?)'
      const writes = [
        { sql: `INSERT IGNORE ${insert}`, rows: sortById(copies) },
        { sql: `INSERT ${insert} ON DUPLICATE KEY UPDATE content = VALUES(content)`, rows: sortById(contents) },
      ]
      return { decisions, writes }
    },
  },

  clear_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const decisions = calls.map((call): Decision<{ ok: true }> => {
        const content = carts.get(call)
        if ('held' in content) return content
        carts.clear(call)
        return { ok: { ok: true } }
      })
      return { decisions, writes: carts.writes() }
    },
  },

  /** A write, since the first call on a cart fixes its content. */
  display_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const items = await readItems(lane, carts.itemIds(), 'any')
      const decisions = calls.map((call): Decision<{ lines: (CartLine & { available: number })[] }> => {
        const content = carts.get(call)
        if ('held' in content) return content
        const lines = [...content].flatMap(([item_id, quantity]) => {
          const item = items.get(item_id)
          if (item === undefined) return []
          return [{ item_id, name: item.name, quantity, price_cents: item.price_cents, available: item.quantity }]
        })
        return { ok: { lines } }
      })
      return { decisions, writes: [] }
    },
  },
}

/** The carts that one batch has locked. They change as its calls are decided, one after the other. */
export class Carts {
  readonly #locked: LockedRows<string, CartRow>
  readonly #bySession: ReadonlyMap<string, Content>
  readonly #changed = new Set<string>()
  readonly #created: ReadonlySet<string>

  constructor(locked: LockedRows<string, CartRow>, created: readonly CartRow[]) {
    this.#locked = locked
    this.#created = new Set(created.map(([hash]) => hash))
    this.#bySession = new Map([...locked.values(), ...created].map(([hash, content]) => [hash, decodeContent(content)]))
  }

  /** The content of the cart of the call's session, or the cart's row if another transaction holds it. */
  get({ account: { sessionHash } }: Call<unknown>): ReadonlyMap<number, number> | { held: RowId } {
    const content = this.#bySession.get(sessionHash)
    if (content !== undefined) return content
    return { held: this.#locked.firstHeld([sessionHash]) ?? { table: CART.name, key: CART.key, id: sessionHash } }
  }

  /** Whether this batch has made the cart, as a copy of what its buyer saved. */
  isCopy({ account: { sessionHash } }: Call<unknown>): boolean {
    return this.#created.has(sessionHash)
  }

  /** The items in all of the carts. */
  itemIds(): number[] {
    return [...this.#bySession.values()].flatMap((content) => [...content.keys()])
  }

  /** Zero units remove the item. */
  set({ account: { sessionHash } }: Call<unknown>, itemId: number, units: number): void {
    const content = this.#bySession.get(sessionHash)
    if (units === 0) content?.delete(itemId)
    else content?.set(itemId, units)
    this.#changed.add(sessionHash)
  }

  clear({ account: { sessionHash } }: Call<unknown>): void {
    this.#bySession.get(sessionHash)?.clear()
    this.#changed.add(sessionHash)
  }

  writes(): Statement[] {
    const rows = [...this.#changed].map((hash) => [encodeContent(this.#bySession.get(hash) ?? new Map()), hash])
    return [{ sql: 'UPDATE cart SET content = ? WHERE session_hash = ?', rows }]
  }
}

/** Locks the carts of the calls' sessions. Makes those that don't exist yet. */
export async function lockCarts(lane: Lane, calls: readonly Call<unknown>[]): Promise<Carts> {
  const buyers = new Map(calls.map(({ account }) => [account.sessionHash, account.id]))
  const locked = await lockRows<string, CartRow>(lane, CART, buyers.keys())
  const missing = [...buyers].filter(([hash]) => locked.get(hash) === undefined && !locked.firstHeld([hash]))
  return new Carts(locked, await createCarts(lane, missing))
}

/**
 * Makes carts, as copies of the saved ones. Returns the rows that it made, which
 * are thereby locked; another transaction has meanwhile made the others. The
 * saved carts are read by a statement of their own: a SELECT within the INSERT
 * would wait for their locks.
 */
async function createCarts(lane: Lane, sessions: readonly (readonly [string, number])[]): Promise<readonly CartRow[]> {
  if (sessions.length === 0) return []
  const saved = await readSavedCarts(lane, [...new Set(sessions.map(([, buyerId]) => buyerId))])
  const inOrder = [...sessions].sort(([a], [b]) => (a < b ? -1 : 1))
  return lane.rows<CartRow>(
    'INSERT IGNORE INTO cart (session_hash, buyer_id, content, created_at) ' +
      `VALUES ${placeholders(sessions, '(?, ?, ?, UNIX_TIMESTAMP())')} RETURNING session_hash, content`,
    inOrder.flatMap(([hash, buyerId]) => [hash, buyerId, saved.get(buyerId) ?? '']),
  )
}

async function readSavedCarts(lane: Lane, buyerIds: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const sql = `SELECT buyer_id, content FROM saved_cart WHERE buyer_id IN (${placeholders(buyerIds)})`
  return new Map(await lane.rows<[number, string]>(sql, buyerIds))
}

/** Deletes some of the carts that are older than any session lasts. */
export function forgetOldCarts(product: Database, sessionLifeS: number, deadlineMs: number): Promise<void> {
  const sql = 'DELETE FROM cart WHERE created_at < UNIX_TIMESTAMP() - ? ORDER BY created_at LIMIT ?'
  return product.change([{ sql, values: [sessionLifeS, CARTS_FORGOTTEN_AT_ONCE] }], deadlineMs)
}

function sortById(contents: ReadonlyMap<number, string>): [number, string][] {
  return [...contents].sort(([a], [b]) => a - b)
}

/** `item:units item:units …` */
function encodeContent(content: ReadonlyMap<number, number>): string {
  return [...content].map((entry) => entry.join(':')).join(' ')
}

function decodeContent(text: string): Content {
  if (text === '') return new Map()
  return new Map(text.split(' ').map((entry) => entry.split(':').map(Number) as [number, number]))
}
