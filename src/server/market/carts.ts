/**
 * Carts. A cart belongs to a session, and stands in one row. The first time
 * that a session has to do with its cart, it gets a copy of the one its buyer
 * saved; from then on they have nothing to do with each other.
 */

import { type CartLine, MOST_CART_LINES, MOST_CART_UNITS } from '../../contract/operations.ts'
import { type LockedRows, lockRows } from '../../db/locks.ts'
import { type Database, type Decision, type Lane, placeholders, type Row, type Statement } from '../../db.ts'
import { itemsById } from './catalogue.ts'
import type { Call, Handlers } from './handler.ts'
import { outOfStock, tooMany } from './stock.ts'

const CART = { name: 'cart', key: 'session_hash', columns: 'session_hash, content' }
const SAVED_CART = { name: 'saved_cart', key: 'buyer_id', columns: 'buyer_id' }
const CARTS_FORGOTTEN_AT_ONCE = 1_000
const GATHERED = { writes: 'product', cap: 200, inFlight: 2 } as const

type CartRow = [string, string]
/** Units by item, in the order in which the items were first added. */
type Lines = Map<number, number>

export const buyerCarts: Handlers<
  'buyer',
  'add_item_to_cart' | 'remove_item_from_cart' | 'save_cart' | 'clear_cart' | 'display_cart'
> = {
  add_item_to_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const ids = calls.map((call) => call.params.item_id)
      const [carts, items] = await Promise.all([lockCarts(lane, calls), itemsById(lane, ids, 'any')])
      const answers = calls.map((call): Decision<{ quantity: number }> => {
        const { item_id, quantity } = call.params
        const lines = carts.of(call)
        if ('held' in lines) return lines
        const available = items.get(item_id)?.quantity
        if (available === undefined) return { refused: { code: 'not_found', message: 'no such item' } }
        const wanted = (lines.get(item_id) ?? 0) + quantity
        if (wanted > MOST_CART_UNITS)
          return { refused: tooMany(`at most ${MOST_CART_UNITS} units of an item in a cart`) }
        if (wanted > available) return { refused: outOfStock([{ item_id, requested: wanted, available }]) }
        if (!lines.has(item_id) && lines.size === MOST_CART_LINES) {
          return { refused: tooMany(`at most ${MOST_CART_LINES} items in a cart`) }
        }
        carts.set(call, item_id, wanted)
        return { ok: { quantity: wanted } }
      })
      return { answers, writes: carts.writes() }
    },
  },

  remove_item_from_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const answers = calls.map((call): Decision<{ quantity: number }> => {
        const { item_id, quantity } = call.params
        const lines = carts.of(call)
        if ('held' in lines) return lines
        const there = lines.get(item_id) ?? 0
        if (there < quantity) {
          const message = `the cart has ${there} of it, ${quantity} were to go`
          return { refused: { code: 'not_in_cart', message, details: { item_id, quantity: there } } }
        }
        carts.set(call, item_id, there - quantity)
        return { ok: { quantity: there - quantity } }
      })
      return { answers, writes: carts.writes() }
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
      const copies = new Map<number, string>() // saving these again must not undo a save beside it
      const contents = new Map<number, string>() // the last save of a buyer wins
      const answers = calls.map((call): Decision<{ ok: true }> => {
        const lines = carts.of(call)
        if ('held' in lines) return lines
        const held = saved.heldAmong([call.account.id])
        if (held !== undefined) return { held }
        const rows = carts.isCopy(call) ? copies : contents
        rows.set(call.account.id, encode(lines))
        return { ok: { ok: true } }
      })
      const insert = 'INTO saved_cart (buyer_id, content) VALUES (?, ?)'
      const writes = [
        { sql: `INSERT IGNORE ${insert}`, rows: inOrderOfId(copies) },
        { sql: `INSERT ${insert} ON DUPLICATE KEY UPDATE content = VALUES(content)`, rows: inOrderOfId(contents) },
      ]
      return { answers, writes }
    },
  },

  clear_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const answers = calls.map((call): Decision<{ ok: true }> => {
        const lines = carts.of(call)
        if ('held' in lines) return lines
        carts.clear(call)
        return { ok: { ok: true } }
      })
      return { answers, writes: carts.writes() }
    },
  },

  /** A write, since the first look at a cart fixes what is in it. */
  display_cart: {
    ...GATHERED,
    async decide(lane, calls) {
      const carts = await lockCarts(lane, calls)
      const items = await itemsById(lane, carts.itemIds(), 'any')
      const answers = calls.map((call): Decision<{ lines: (CartLine & { available: number })[] }> => {
        const lines = carts.of(call)
        if ('held' in lines) return lines
        const shown = [...lines].flatMap(([item_id, quantity]) => {
          const item = items.get(item_id)
          if (item === undefined) return []
          return [{ item_id, name: item.name, quantity, price_cents: item.price_cents, available: item.quantity }]
        })
        return { ok: { lines: shown } }
      })
      return { answers, writes: [] }
    },
  },
}

/** The carts that one batch has locked. They change as its calls are decided one after the other. */
export class Carts {
  readonly #locked: LockedRows<string, CartRow>
  readonly #bySession: ReadonlyMap<string, Lines>
  readonly #changed = new Set<string>()
  readonly #created: ReadonlySet<string>

  constructor(locked: LockedRows<string, CartRow>, created: readonly CartRow[]) {
    this.#locked = locked
    this.#created = new Set(created.map(([hash]) => hash))
    this.#bySession = new Map([...locked.values(), ...created].map(([hash, content]) => [hash, decode(content)]))
  }

  /** What is in the cart of the call's session, or its row if somebody else holds it. */
  of({ account: { sessionHash } }: Call<unknown>): ReadonlyMap<number, number> | { held: Row } {
    const lines = this.#bySession.get(sessionHash)
    return (
      lines ?? { held: this.#locked.heldAmong([sessionHash]) ?? { table: CART.name, key: CART.key, id: sessionHash } }
    )
  }

  /** Whether the cart is what its buyer saved, copied for this very batch. */
  isCopy({ account: { sessionHash } }: Call<unknown>): boolean {
    return this.#created.has(sessionHash)
  }

  /** All items that are in any of the carts. */
  itemIds(): number[] {
    return [...this.#bySession.values()].flatMap((lines) => [...lines.keys()])
  }

  /** No units: the line goes. */
  set({ account: { sessionHash } }: Call<unknown>, itemId: number, units: number): void {
    const lines = this.#bySession.get(sessionHash)
    if (units === 0) lines?.delete(itemId)
    else lines?.set(itemId, units)
    this.#changed.add(sessionHash)
  }

  clear({ account: { sessionHash } }: Call<unknown>): void {
    this.#bySession.get(sessionHash)?.clear()
    this.#changed.add(sessionHash)
  }

  writes(): Statement[] {
    const rows = [...this.#changed].map((hash) => [encode(this.#bySession.get(hash) ?? new Map()), hash])
    return [{ sql: 'UPDATE cart SET content = ? WHERE session_hash = ?', rows }]
  }
}

/** Locks the carts of the calls' sessions, and makes those that are not there yet. */
export async function lockCarts(lane: Lane, calls: readonly Call<unknown>[]): Promise<Carts> {
  const buyers = new Map(calls.map(({ account }) => [account.sessionHash, account.id]))
  const locked = await lockRows<string, CartRow>(lane, CART, buyers.keys())
  const missing = [...buyers].filter(([hash]) => locked.get(hash) === undefined && !locked.heldAmong([hash]))
  return new Carts(locked, await createCarts(lane, missing))
}

/**
 * What comes back was made, and is thereby locked; the others somebody else has
 * made in the meantime. What was saved is read by a statement of its own: a
 * SELECT within the INSERT would wait for who is saving.
 */
async function createCarts(lane: Lane, sessions: readonly (readonly [string, number])[]): Promise<readonly CartRow[]> {
  if (sessions.length === 0) return []
  const saved = await savedContents(lane, [...new Set(sessions.map(([, buyerId]) => buyerId))])
  const inOrder = [...sessions].sort(([a], [b]) => (a < b ? -1 : 1))
  return lane.rows<CartRow>(
    'INSERT IGNORE INTO cart (session_hash, buyer_id, content, created_at) ' +
      `VALUES ${placeholders(sessions, '(?, ?, ?, UNIX_TIMESTAMP())')} RETURNING session_hash, content`,
    inOrder.flatMap(([hash, buyerId]) => [hash, buyerId, saved.get(buyerId) ?? '']),
  )
}

async function savedContents(lane: Lane, buyerIds: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const sql = `SELECT buyer_id, content FROM saved_cart WHERE buyer_id IN (${placeholders(buyerIds)})`
  return new Map(await lane.rows<[number, string]>(sql, buyerIds))
}

/** Forgets a slice of the carts whose sessions are over, since they are older than any session lasts. */
export function forgetOldCarts(product: Database, sessionLifeS: number, deadlineMs: number): Promise<void> {
  const sql = 'DELETE FROM cart WHERE created_at < UNIX_TIMESTAMP() - ? ORDER BY created_at LIMIT ?'
  return product.change([{ sql, values: [sessionLifeS, CARTS_FORGOTTEN_AT_ONCE] }], deadlineMs)
}

function inOrderOfId(contents: ReadonlyMap<number, string>): [number, string][] {
  return [...contents].sort(([a], [b]) => a - b)
}

function encode(lines: ReadonlyMap<number, number>): string {
  return [...lines].map((line) => line.join(':')).join(' ')
}

function decode(content: string): Lines {
  if (content === '') return new Map()
  return new Map(content.split(' ').map((line) => line.split(':').map(Number) as [number, number]))
}
