/**
 * Purchases: the whole cart or nothing. Taking the units, recording the
 * purchase, moving the scores, emptying the cart and taking what it held off the
 * saved cart are one transaction. Calls that arrive together share it, and are
 * decided in the order of their arrival.
 */

import type { CartLine, Result } from '../../contract/operations.ts'
import type { Refusal } from '../../contract/refusals.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'
import type { Decision, RowId } from '../../db/plan.ts'
import { lockCarts } from './carts.ts'
import type { Call, Handlers } from './handler.ts'
import type { IdBlocks } from './ids.ts'
import { countSold, lockBuyerScores, lockSellerScores } from './ratings.ts'
import { lockStock, outOfStock, type Shortage, type Stock } from './stock.ts'

type Purchase = Result<'buyer', 'make_purchase'>
type Priced = Pick<Purchase, 'lines' | 'total_cents'>
type Page = Result<'buyer', 'get_buyer_purchases'>
type ListedPurchase = Page['purchases'][number]
type NewPurchase = Purchase & { buyerId: number }

/** Purchases on a page that weigh as much as one ordinary call. */
const PURCHASES_PER_WEIGHT = 10

export function buyerPurchases(purchaseIds: IdBlocks): Handlers<'buyer', 'make_purchase' | 'get_buyer_purchases'> {
  return {
    /** One batch at a time: a second one would find the items in demand locked by the first. */
    make_purchase: {
      writes: 'product',
      cap: 200,
      inFlight: 1,
      async decide(lane, calls, deadlineMs) {
        const ids = await purchaseIds.take(calls.length, deadlineMs)
        const carts = await lockCarts(lane, calls, 'and all saved ones')
        const stock = await lockStock(lane, carts.itemIds())
        const scores = await lockScores(lane, stock, calls)
        const made: NewPurchase[] = []
        const decisions = calls.map((call): Decision<Purchase> => {
          const content = carts.get(call)
          if ('held' in content) return content
          if (content.size === 0) return { refused: { code: 'cart_empty', message: 'the cart is empty' } }
          const held =
            carts.firstHeldSaved(call) ??
            stock.firstHeld(content.keys()) ??
            scores.firstHeld(content.keys(), call.account.id)
          if (held !== undefined) return { held }
          const [first, ...others] = findShortages(content, stock)
          if (first !== undefined) return { refused: outOfStock([first, ...others]) }
          const now = addUp(content, stock)
          const { total_cents = now.total_cents } = call.params
          if (total_cents !== now.total_cents) return { refused: priceChanged(total_cents, now) }
          for (const { item_id, quantity } of now.lines) stock.move(item_id, -quantity)
          carts.purchase(call)
          const purchase = { purchase_id: ids[made.length] as number, ...now }
          made.push({ ...purchase, buyerId: call.account.id })
          return { ok: purchase }
        })
        purchaseIds.giveBack(ids.slice(made.length))
        return {
          decisions,
          writes: [
            ...stock.writes(),
            ...carts.writes(),
            ...insertPurchases(made, stock),
            ...countSold(toSales(made, stock)),
          ],
        }
      },
    },

    get_buyer_purchases: {
      reads: 'product',
      cap: 50,
      inFlight: 2,
      weigh: ({ limit }) => Math.ceil(limit / PURCHASES_PER_WEIGHT),
      async ask(lane, calls) {
        const [purchases, counts] = await Promise.all([readPurchases(lane, calls), readUnitCounts(lane, calls)])
        const lines = await readPurchaseLines(
          lane,
          purchases.flatMap((some) => some.map(({ purchase_id }) => purchase_id)),
        )
        return calls.map(({ account, params: { limit } }, index) => {
          const found = (purchases[index] ?? []).map((row) => ({ ...row, lines: lines.get(row.purchase_id) ?? [] }))
          return { ok: toPage(found, limit, counts.get(account.id) ?? 0) }
        })
      },
    },
  }
}

/** Locks the scores of all buyers, and of the sellers of all items. */
async function lockScores(lane: Lane, stock: Stock, calls: readonly Call<unknown>[]) {
  const sellerIds = [...stock.values()].map((item) => item.seller_id)
  const buyerIds = calls.map((call) => call.account.id)
  const [sellers, buyers] = await Promise.all([lockSellerScores(lane, sellerIds), lockBuyerScores(lane, buyerIds)])
  return {
    firstHeld: (itemIds: Iterable<number>, buyerId: number): RowId | undefined =>
      sellers.firstHeld([...itemIds].map((itemId) => findSeller(stock, itemId))) ?? buyers.firstHeld([buyerId]),
  }
}

/** The items of which the cart holds more than is on sale. */
function findShortages(content: ReadonlyMap<number, number>, stock: Stock): Shortage[] {
  return [...content]
    .map(([item_id, requested]) => ({ item_id, requested, available: stock.get(item_id)?.quantity ?? 0 }))
    .filter(({ requested, available }) => requested > available)
}

/** The content of a cart at current prices. */
function addUp(content: ReadonlyMap<number, number>, stock: Stock): Priced {
  const lines = [...content].map(([item_id, quantity]): CartLine => {
    const item = stock.get(item_id)
    if (item === undefined) throw new Error('an item that is not locked')
    return { item_id, name: item.name, quantity, price_cents: item.price_cents }
  })
  return { lines, total_cents: lines.reduce((sum, { quantity, price_cents }) => sum + quantity * price_cents, 0) }
}

function priceChanged(expectedCents: number, now: Priced): Refusal {
  return {
    code: 'price_changed',
    message: `the total is ${now.total_cents} cents now, not ${expectedCents}`,
    details: now,
  }
}

function insertPurchases(made: readonly NewPurchase[], stock: Stock): Statement[] {
  return [
    {
      sql: 'INSERT INTO purchase (id, buyer_id, total_cents, purchased_at) VALUES (?, ?, ?, UNIX_TIMESTAMP())',
      rows: made.map(({ purchase_id, buyerId, total_cents }) => [purchase_id, buyerId, total_cents]),
    },
    {
      sql:
        'INSERT INTO purchase_line (purchase_id, item_id, buyer_id, seller_id, name, quantity, price_cents) ' +
        'VALUES (?, ?, ?, ?, ?, ?, ?)',
      rows: made.flatMap(({ purchase_id, buyerId, lines }) =>
        lines.map(({ item_id, name, quantity, price_cents }) => [
          purchase_id,
          item_id,
          buyerId,
          findSeller(stock, item_id),
          name,
          quantity,
          price_cents,
        ]),
      ),
    },
  ]
}

function toSales(made: readonly NewPurchase[], stock: Stock) {
  return made.flatMap(({ buyerId, lines }) =>
    lines.map(({ item_id, quantity, price_cents }) => ({
      sellerId: findSeller(stock, item_id),
      buyerId,
      units: quantity,
      cents: quantity * price_cents,
    })),
  )
}

function findSeller(stock: Stock, itemId: number): number {
  return stock.get(itemId)?.seller_id ?? 0
}

/** Newest first. One statement: a SELECT for each call, whose first column is the call's number. */
async function readPurchases(
  lane: Lane,
  calls: readonly Call<{ limit: number; cursor?: string | undefined }>[],
): Promise<readonly Omit<ListedPurchase, 'lines'>[][]> {
  const selects = calls.map(
    (_, number) =>
      `(SELECT ${number}, id, total_cents, purchased_at FROM purchase FORCE INDEX (by_buyer) ` +
      'WHERE buyer_id = ? AND id < ? ORDER BY id DESC LIMIT ?)',
  )
  const values = calls.flatMap(({ account, params: { cursor, limit } }) => [
    account.id,
    Number(cursor ?? Number.MAX_SAFE_INTEGER),
    limit + 1,
  ])
  const found: Omit<ListedPurchase, 'lines'>[][] = calls.map(() => [])
  for (const [number, purchase_id, total_cents, purchased_at] of await lane.rows<[number, number, number, number]>(
    selects.join(' UNION ALL '),
    values,
  )) {
    found[number]?.push({ purchase_id, total_cents, purchased_at })
  }
  for (const some of found) some.sort((a, b) => b.purchase_id - a.purchase_id)
  return found
}

/** The lines of each purchase, sorted by item. */
async function readPurchaseLines(lane: Lane, purchaseIds: readonly number[]): Promise<ReadonlyMap<number, CartLine[]>> {
  const byPurchase = new Map(purchaseIds.map((id): [number, CartLine[]] => [id, []]))
  if (purchaseIds.length === 0) return byPurchase
  const rows = await lane.rows<[number, number, string, number, number]>(
    'SELECT purchase_id, item_id, name, quantity, price_cents ' +
      `FROM purchase_line WHERE purchase_id IN (${placeholders(purchaseIds)})`,
    purchaseIds,
  )
  for (const [id, item_id, name, quantity, price_cents] of rows) {
    byPurchase.get(id)?.push({ item_id, name, quantity, price_cents })
  }
  for (const lines of byPurchase.values()) lines.sort((a, b) => a.item_id - b.item_id)
  return byPurchase
}

/** The units that each of the calls' buyers has purchased. */
async function readUnitCounts(lane: Lane, calls: readonly Call<unknown>[]): Promise<ReadonlyMap<number, number>> {
  const ids = [...new Set(calls.map((call) => call.account.id))]
  const sql = `SELECT buyer_id, items_purchased FROM buyer_score WHERE buyer_id IN (${placeholders(ids)})`
  return new Map(await lane.rows<[number, number]>(sql, ids))
}

function toPage(found: readonly ListedPurchase[], limit: number, items_purchased: number): Page {
  const purchases = found.slice(0, limit)
  const last = purchases.at(-1)
  return found.length <= limit || last === undefined
    ? { items_purchased, purchases }
    : { items_purchased, purchases, next_cursor: String(last.purchase_id) }
}
