/**
 * Carts. A cart belongs to a session and is one row. The first call of a
 * session on its cart copies the cart that its buyer saved. From then on the two
 * are independent, but a purchase takes what it bought off the saved cart too.
 */

import { type CartLine, MOST_CART_LINES, MOST_CART_UNITS } from '../../contract/operations.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'
import { type LockedRows, lockRows } from '../../db/locks.ts'
import type { OldRows } from '../../db/old-rows.ts'
import type { Decision, RowId } from '../../db/plan.ts'
import type { Call, Handlers } from './handler.ts'
import { readItems } from './items.ts'
import { limitExceeded, outOfStock } from './stock.ts'

const CART = { name: 'cart', key: 'session_hash', columns: 'session_hash, content' }
const SAVED_CART = { name: 'saved_cart', key: 'buyer_id', columns: 'buyer_id, content' }
const GATHERED = { writes: 'product', cap: 200, inFlight: 2 } as const

/** Session hash, content. */
type CartRow = [string, string]
/** Buyer, content. */
type SavedCartRow = [number, string]
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
      const [carts, itemsBefore] = await Promise.all([lockCarts(lane, calls), readItems(lane, ids, 'any')])
      // A purchase may have come between the items and the saved cart that a new cart copies.
      const items = carts.areNew ? await readItems(lane, ids, 'any') : itemsBefore
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
      const carts = await lockCarts(lane, calls, 'and all saved ones')
      const copies = new Map<number, string>() // just copied from saved carts: these must not undo a newer save
      const contents = new Map<number, string>() // by buyer: the last save wins
      const decisions = calls.map((call): Decision<{ ok: true }> => {
        const content = carts.get(call)
        if ('held' in content) return content
        const held = carts.firstHeldSaved(call)
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

/** The carts and saved carts that one batch has locked. They change as its calls are decided, one after the other. */
export class Carts {
  readonly #locked: LockedRows<string, CartRow>
  readonly #lockedSaved: LockedRows<number, SavedCartRow>
  readonly #bySession: Map<string, Content>
  readonly #saved: ReadonlyMap<number, Content>
  readonly #changed = new Set<string>()
  readonly #changedSaved = new Set<number>()
  readonly #created: ReadonlySet<string>
  /** Carts that this batch has made, before their first call is decided. */
  readonly #unopened: Set<string>

  constructor(
    locked: LockedRows<string, CartRow>,
    lockedSaved: LockedRows<number, SavedCartRow>,
    created: readonly CartRow[],
  ) {
    this.#locked = locked
    this.#lockedSaved = lockedSaved
    this.#created = new Set(created.map(([hash]) => hash))
    this.#unopened = new Set(this.#created)
    this.#bySession = new Map([...locked.values(), ...created].map(([hash, content]) => [hash, decodeContent(content)]))
    this.#saved = new Map([...lockedSaved.values()].map(([buyerId, content]) => [buyerId, decodeContent(content)]))
  }

  /** The content of the cart of the call's session, or the row that another transaction holds. */
  get({ account: { id, sessionHash } }: Call<unknown>): ReadonlyMap<number, number> | { held: RowId } {
    if (this.#unopened.delete(sessionHash) && this.#changedSaved.has(id)) {
      this.#bySession.set(sessionHash, new Map(this.#saved.get(id)))
      this.#changed.add(sessionHash)
    }
    const content = this.#bySession.get(sessionHash)
    if (content !== undefined) return content
    const held = this.#locked.firstHeld([sessionHash]) ?? this.#lockedSaved.firstHeld([id])
    return { held: held ?? { table: CART.name, key: CART.key, id: sessionHash } }
  }

  /** The saved cart's row of the call's buyer, if another transaction holds it. */
  firstHeldSaved({ account }: Call<unknown>): RowId | undefined {
    return this.#lockedSaved.firstHeld([account.id])
  }

  /** Whether this batch has made some of the carts. */
  get areNew(): boolean {
    return this.#created.size > 0
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

  /** Empties the cart of a purchase, and takes its units off the saved cart, as far as they are in there. */
  purchase(call: Call<unknown>): void {
    const { id, sessionHash } = call.account
    const saved = this.#saved.get(id)
    for (const [itemId, bought] of this.#bySession.get(sessionHash) ?? []) {
      const kept = saved?.get(itemId)
      if (kept === undefined) continue
      if (kept > bought) saved?.set(itemId, kept - bought)
      else saved?.delete(itemId)
      this.#changedSaved.add(id)
    }
    this.clear(call)
  }

  writes(): Statement[] {
    const toRow = <I>(contents: ReadonlyMap<I, Content>, id: I): [string, I] => [
      encodeContent(contents.get(id) ?? new Map()),
      id,
    ]
    return [
      {
        sql: 'UPDATE cart SET content = ? WHERE session_hash = ?',
        rows: [...this.#changed].map((hash) => toRow(this.#bySession, hash)),
      },
      {
        sql: 'UPDATE saved_cart SET content = ? WHERE buyer_id = ?',
        rows: [...this.#changedSaved].map((buyerId) => toRow(this.#saved, buyerId)),
      },
    ]
  }
}

/**
 * Locks the carts of the calls' sessions, and on request the saved carts of all
 * their buyers. Makes the carts that don't exist yet, unless another
 * transaction holds the saved cart to copy.
 */
export async function lockCarts(
  lane: Lane,
  calls: readonly Call<unknown>[],
  also?: 'and all saved ones',
): Promise<Carts> {
  const buyers = new Map(calls.map(({ account }) => [account.sessionHash, account.id]))
  const lockSaved = (buyerIds: Iterable<number>) => lockRows<number, SavedCartRow>(lane, SAVED_CART, buyerIds)
  const [locked, allSaved] = await Promise.all([
    lockRows<string, CartRow>(lane, CART, buyers.keys()),
    also && lockSaved(buyers.values()),
  ])
  const missing = [...buyers].filter(([hash]) => locked.get(hash) === undefined && !locked.firstHeld([hash]))
  const saved = allSaved ?? (await lockSaved(missing.map(([, buyerId]) => buyerId)))
  const copyable = missing.filter(([, buyerId]) => saved.firstHeld([buyerId]) === undefined)
  return new Carts(locked, saved, await createCarts(lane, copyable, saved))
}

/**
 * Makes carts, as copies of the saved ones, which are locked: so a save or a
 * purchase comes before the copy or after it. Returns the rows that it made,
 * which are thereby locked; another transaction has meanwhile made the others.
 */
async function createCarts(
  lane: Lane,
  sessions: readonly (readonly [string, number])[],
  saved: LockedRows<number, SavedCartRow>,
): Promise<readonly CartRow[]> {
  if (sessions.length === 0) return []
  const inOrder = [...sessions].sort(([a], [b]) => (a < b ? -1 : 1))
  return lane.rows<CartRow>(
    'INSERT IGNORE INTO cart (session_hash, buyer_id, content, created_at) ' +
      `VALUES ${placeholders(sessions, '(?, ?, ?, UNIX_TIMESTAMP())')} RETURNING session_hash, content`,
    inOrder.flatMap(([hash, buyerId]) => [hash, buyerId, saved.get(buyerId)?.[1] ?? '']),
  )
}

/** Carts that are older than any session lasts. */
export function oldCarts(sessionLifeS: number): OldRows {
  return { table: 'cart', age: 'created_at', lifeS: sessionLifeS }
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
