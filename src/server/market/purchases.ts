/**
 * Purchases: a whole cart or nothing of it. Taking the units, writing down the
 * purchase, moving the scores and emptying the cart are one transaction, and
 * those that arrive together share it, decided in the order of their arrival.
 */

import type { CartLine, Result } from '../../contract/operations.ts'
import { type Decision, type Lane, placeholders, type Row, type Statement } from '../../db.ts'
import { lockCarts } from './carts.ts'
import type { Call, Handlers } from './handler.ts'
import type { IdBlocks } from './ids.ts'
import { countSold, lockBuyerScores, lockSellerScores } from './ratings.ts'
import { lockStock, outOfStock, type Shortage, type Stock } from './stock.ts'

type Purchase = Result<'buyer', 'make_purchase'>
type Page = Result<'buyer', 'get_buyer_purchases'>
type Listed = Page['purchases'][number]

/** Purchases of a listing that weigh as much as one ordinary call. */
const PURCHASES_PER_WEIGHT = 10

export function buyerPurchases(purchaseIds: IdBlocks): Handlers<'buyer', 'make_purchase' | 'get_buyer_purchases'> {
  return {
    /** One batch at a time: a second one would find the items that everybody wants locked by the first. */
    make_purchase: {
      writes: 'product',
      cap: 200,
      inFlight: 1,
      async decide(lane, calls, deadlineMs) {
        const ids = await purchaseIds.take(calls.length, deadlineMs)
        const carts = await lockCarts(lane, calls)
        const stock = await lockStock(lane, carts.itemIds())
        const scores = await lockScores(lane, stock, calls)
        const made: (Purchase & { buyerId: number })[] = []
        const answers = calls.map((call, index): Decision<Purchase> => {
          const lines = carts.of(call)
          if ('held' in lines) return lines
          if (lines.size === 0) return { refused: { code: 'cart_empty', message: 'the cart is empty' } }
          const held = stock.heldAmong(lines.keys()) ?? scores.heldFor(lines.keys(), call.account.id)
          if (held !== undefined) return { held }
          const [first, ...others] = shortages(lines, stock)
          if (first !== undefined) return { refused: outOfStock([first, ...others]) }
          const purchase = take(stock, lines, ids[index] as number)
          carts.clear(call)
          made.push({ ...purchase, buyerId: call.account.id })
          return { ok: purchase }
        })
        return {
          answers,
          writes: [...stock.writes(), ...carts.writes(), ...record(made), ...countSold(sales(made, stock))],
        }
      },
    },

    get_buyer_purchases: {
      reads: 'product',
      cap: 50,
      inFlight: 2,
      weigh: ({ limit }) => Math.ceil(limit / PURCHASES_PER_WEIGHT),
      async ask(lane, calls) {
        const [purchases, counts] = await Promise.all([askPurchases(lane, calls), askCounts(lane, calls)])
        const lines = await askLines(
          lane,
          purchases.flatMap((some) => some.map(({ purchase_id }) => purchase_id)),
        )
        return calls.map(({ account, params: { limit } }, index) => {
          const found = (purchases[index] ?? []).map((row) => ({ ...row, lines: lines.get(row.purchase_id) ?? [] }))
          return { ok: pageOf(found, limit, counts.get(account.id) ?? 0) }
        })
      },
    },
  }
}

/** The scores of all whom these purchases may concern. */
async function lockScores(lane: Lane, stock: Stock, calls: readonly Call<unknown>[]) {
  const sellerIds = [...stock.values()].map((item) => item.seller_id)
  const [sellers, buyers] = await Promise.all([
    lockSellerScores(lane, sellerIds),
    lockBuyerScores(
      lane,
      calls.map((call) => call.account.id),
    ),
  ])
  const sellerOf = (itemId: number) => stock.get(itemId)?.seller_id ?? 0
  return {
    heldFor: (itemIds: Iterable<number>, buyerId: number): Row | undefined =>
      sellers.heldAmong([...itemIds].map(sellerOf)) ?? buyers.heldAmong([buyerId]),
  }
}

/** The lines of a cart that want more than is on sale. */
function shortages(lines: ReadonlyMap<number, number>, stock: Stock): Shortage[] {
  return [...lines]
    .map(([item_id, requested]) => ({ item_id, requested, available: stock.get(item_id)?.quantity ?? 0 }))
    .filter(({ requested, available }) => requested > available)
}

/** Takes what is in the cart off sale, at the prices of this moment. */
function take(stock: Stock, lines: ReadonlyMap<number, number>, purchaseId: number): Purchase {
  const taken = [...lines].map(([item_id, quantity]): CartLine => {
    const item = stock.get(item_id)
    if (item === undefined) throw new Error('an item that is not locked')
    stock.move(item_id, -quantity)
    return { item_id, name: item.name, quantity, price_cents: item.price_cents }
  })
  const total_cents = taken.reduce((sum, { quantity, price_cents }) => sum + quantity * price_cents, 0)
  return { purchase_id: purchaseId, lines: taken, total_cents }
}

function record(made: readonly (Purchase & { buyerId: number })[]): Statement[] {
  return [
    {
      sql: 'INSERT INTO purchase (id, buyer_id, total_cents, purchased_at) VALUES (?, ?, ?, UNIX_TIMESTAMP())',
      rows: made.map(({ purchase_id, buyerId, total_cents }) => [purchase_id, buyerId, total_cents]),
    },
    {
      sql: 'INSERT INTO purchase_line (purchase_id, item_id, buyer_id, quantity, price_cents) VALUES (?, ?, ?, ?, ?)',
      rows: made.flatMap(({ purchase_id, buyerId, lines }) =>
        lines.map(({ item_id, quantity, price_cents }) => [purchase_id, item_id, buyerId, quantity, price_cents]),
      ),
    },
  ]
}

function sales(made: readonly (Purchase & { buyerId: number })[], stock: Stock) {
  return made.flatMap(({ buyerId, lines }) =>
    lines.map(({ item_id, quantity }) => ({ sellerId: stock.get(item_id)?.seller_id ?? 0, buyerId, units: quantity })),
  )
}

/** One SELECT a call, whose first column says whose row it is, all as one statement. Newest first. */
async function askPurchases(
  lane: Lane,
  calls: readonly Call<{ limit: number; cursor?: string | undefined }>[],
): Promise<readonly Omit<Listed, 'lines'>[][]> {
  const selects = calls.map(
    (_, number) =>
      `(SELECT ${number}, id, total_cents, purchased_at FROM purchase FORCE INDEX (by_buyer) ` +
      'WHERE buyer_id = ? AND id < ? ORDER BY id DESC LIMIT ?)',
  )
  const values = calls.flatMap(({ account, params: { cursor, limit } }) => [
    ...[account.id, Number(cursor ?? Number.MAX_SAFE_INTEGER), limit + 1],
  ])
  const found: Omit<Listed, 'lines'>[][] = calls.map(() => [])
  for (const [number, purchase_id, total_cents, purchased_at] of await lane.rows<[number, number, number, number]>(
    selects.join(' UNION ALL '),
    values,
  )) {
    found[number]?.push({ purchase_id, total_cents, purchased_at })
  }
  for (const some of found) some.sort((a, b) => b.purchase_id - a.purchase_id)
  return found
}

/** The lines of each of the purchases, by item id. */
async function askLines(lane: Lane, purchaseIds: readonly number[]): Promise<ReadonlyMap<number, CartLine[]>> {
  const byPurchase = new Map(purchaseIds.map((id): [number, CartLine[]] => [id, []]))
  if (purchaseIds.length === 0) return byPurchase
  const rows = await lane.rows<[number, number, string, number, number]>(
    'SELECT purchase_id, item_id, name, purchase_line.quantity, purchase_line.price_cents ' +
      `FROM purchase_line JOIN item ON item.id = item_id WHERE purchase_id IN (${placeholders(purchaseIds)})`,
    purchaseIds,
  )
  for (const [id, item_id, name, quantity, price_cents] of rows) {
    byPurchase.get(id)?.push({ item_id, name, quantity, price_cents })
  }
  for (const lines of byPurchase.values()) lines.sort((a, b) => a.item_id - b.item_id)
  return byPurchase
}

async function askCounts(lane: Lane, calls: readonly Call<unknown>[]): Promise<ReadonlyMap<number, number>> {
  const ids = [...new Set(calls.map((call) => call.account.id))]
  const sql = `SELECT buyer_id, items_purchased FROM buyer_score WHERE buyer_id IN (${placeholders(ids)})`
  return new Map(await lane.rows<[number, number]>(sql, ids))
}

function pageOf(found: readonly Listed[], limit: number, items_purchased: number): Page {
  const purchases = found.slice(0, limit)
  const last = purchases.at(-1)
  return found.length <= limit || last === undefined
    ? { items_purchased, purchases }
    : { items_purchased, purchases, next_cursor: String(last.purchase_id) }
}
