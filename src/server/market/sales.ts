/** Sales: what a seller has sold. Purchases write them, see purchases.ts; they name no buyer. */

import type { Result } from '../../contract/operations.ts'
import { type Lane, placeholders } from '../../db/lane.ts'
import type { Call, Handlers } from './handler.ts'

type Page = Result<'seller', 'get_seller_sales'>
type Sale = Page['sales'][number]
type Totals = Pick<Page, 'items_sold' | 'sales_cents'>
type SaleRow = [number, number, number, number, string, number, number]

/** Sales on a page that weigh as much as one ordinary call. */
const SALES_PER_WEIGHT = 20
const NO_SALES: Totals = { items_sold: 0, sales_cents: 0 }

export const sellerSales: Handlers<'seller', 'get_seller_sales'> = {
  get_seller_sales: {
    reads: 'product',
    cap: 50,
    inFlight: 2,
    weigh: ({ limit }) => Math.ceil(limit / SALES_PER_WEIGHT),
    async ask(lane, calls) {
      const [sales, totals] = await Promise.all([readSales(lane, calls), readTotals(lane, calls)])
      return calls.map(({ account, params: { limit } }, index) => ({
        ok: toPage(sales[index] ?? [], limit, totals.get(account.id) ?? NO_SALES),
      }))
    },
  },
}

/** Newest first. One statement: a SELECT for each call, whose first column is the call's number. */
async function readSales(
  lane: Lane,
  calls: readonly Call<{ limit: number; cursor?: string | undefined }>[],
): Promise<readonly Sale[][]> {
  const selects = calls.map(
    (_, number) =>
      `(SELECT ${number}, purchase_id, purchased_at, item_id, name, quantity, price_cents ` +
      'FROM purchase_line FORCE INDEX (by_seller) STRAIGHT_JOIN purchase ON id = purchase_id ' +
      'WHERE seller_id = ? AND purchase_id <= ? AND (purchase_id < ? OR item_id < ?) ' +
      'ORDER BY purchase_id DESC, item_id DESC LIMIT ?)',
  )
  const values = calls.flatMap(({ account, params: { cursor, limit } }) => {
    const [purchaseId, itemId] = decodeCursor(cursor)
    return [account.id, purchaseId, purchaseId, itemId, limit + 1]
  })
  const sales: Sale[][] = calls.map(() => [])
  for (const [number, purchase_id, purchased_at, item_id, name, quantity, price_cents] of await lane.rows<SaleRow>(
    selects.join(' UNION ALL '),
    values,
  )) {
    const total_cents = quantity * price_cents
    sales[number]?.push({ purchase_id, purchased_at, item_id, name, quantity, price_cents, total_cents })
  }
  for (const some of sales) some.sort((a, b) => b.purchase_id - a.purchase_id || b.item_id - a.item_id)
  return sales
}

/** All that each of the calls' sellers has sold. */
async function readTotals(lane: Lane, calls: readonly Call<unknown>[]): Promise<ReadonlyMap<number, Totals>> {
  const ids = [...new Set(calls.map((call) => call.account.id))]
  const rows = await lane.rows<[number, number, number]>(
    `SELECT seller_id, items_sold, sales_cents FROM seller_score WHERE seller_id IN (${placeholders(ids)})`,
    ids,
  )
  return new Map(rows.map(([id, items_sold, sales_cents]) => [id, { items_sold, sales_cents }]))
}

function toPage(found: readonly Sale[], limit: number, totals: Totals): Page {
  const sales = found.slice(0, limit)
  const last = sales.at(-1)
  return found.length <= limit || last === undefined
    ? { ...totals, sales }
    : { ...totals, sales, next_cursor: encodeCursor(last) }
}

/** A page may end between two lines of one purchase. */
function encodeCursor({ purchase_id, item_id }: Sale): string {
  return `${purchase_id}-${item_id}`
}

/** Purchase and item; without a cursor, both beyond all others. */
function decodeCursor(cursor: string | undefined): [number, number] {
  const [purchaseId = Number.MAX_SAFE_INTEGER, itemId = Number.MAX_SAFE_INTEGER] = cursor?.split('-').map(Number) ?? []
  return [purchaseId, itemId]
}
