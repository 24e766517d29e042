/**
 * Ratings: votes on items, and the scores of items, sellers and buyers. Scores
 * are sums over feedback and purchases, and move in the transactions that write
 * those. A score only ever changes by a difference; so two transactions that
 * both find a row missing may both make it.
 */

import type { Params, Result } from '../../contract/operations.ts'
import type { Answer } from '../../contract/refusals.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'
import { lockRows } from '../../db/locks.ts'
import type { Decision } from '../../db/plan.ts'
import type { Database } from '../../db.ts'
import type { Call, Handlers } from './handler.ts'
import { SellerNames } from './seller-names.ts'
import { lockStock } from './stock.ts'

type Rating = Result<'buyer', 'get_seller_rating'>
type Score = Omit<Rating, 'seller_name'>

const GATHERED = { reads: 'product', cap: 500, inFlight: 2 } as const
const SELLER_SCORE = { name: 'seller_score', key: 'seller_id', columns: 'seller_id' }
const BUYER_SCORE = { name: 'buyer_score', key: 'buyer_id', columns: 'buyer_id' }
/** Sales beyond it are counted as this: a larger number would not arrive as it is. */
const MOST_CENTS = Number.MAX_SAFE_INTEGER
const NO_SCORE: Score = { thumbs_up: 0, thumbs_down: 0, items_sold: 0 }

export const sellerRatings: Handlers<'seller', 'get_seller_rating'> = {
  get_seller_rating: {
    ...GATHERED,
    async ask(lane, calls) {
      const scores = await readScores(lane, new Set(calls.map((call) => call.account.id)))
      return calls.map(({ account }) => ({ ok: toRating(account.name, scores.get(account.id)) }))
    },
  },
}

export function buyerRatings(customer: Database): Handlers<'buyer', 'get_seller_rating'> {
  const sellerNames = new SellerNames(customer)
  return {
    get_seller_rating: {
      ...GATHERED,
      async ask(lane, calls, deadlineMs) {
        const ids = new Set(calls.map((call) => call.params.seller_id))
        const [scores, names] = await Promise.all([readScores(lane, ids), sellerNames.find(ids, deadlineMs)])
        return calls.map(({ params: { seller_id } }): Answer<Rating> => {
          const name = names.get(seller_id)
          if (name === undefined) return { refused: { code: 'not_found', message: 'no such seller' } }
          return { ok: toRating(name, scores.get(seller_id)) }
        })
      },
    },
  }
}

function toRating(seller_name: string, score = NO_SCORE): Rating {
  return { seller_name, ...score }
}

type Vote = Params<'buyer', 'provide_feedback'>['vote']

/**
 * A change of votes on an item takes the item's lock first, so the votes read
 * after it are current. Only a purchased item can be voted on, so its seller
 * has a score.
 */
export const buyerFeedback: Handlers<'buyer', 'provide_feedback'> = {
  provide_feedback: {
    writes: 'product',
    cap: 200,
    inFlight: 1,
    async decide(lane, calls) {
      const itemIds = calls.map((call) => call.params.item_id)
      const stock = await lockStock(lane, itemIds)
      const sellerIds = [...stock.values()].map((item) => item.seller_id)
      const [scores, purchased, votes] = await Promise.all([
        lockSellerScores(lane, sellerIds),
        readPurchased(lane, calls),
        readVotes(lane, calls),
      ])
      const changes: VoteChange[] = []
      const decisions = calls.map((call): Decision<{ ok: true }> => {
        const { item_id: itemId, vote } = call.params
        const item = stock.get(itemId)
        const held = stock.firstHeld([itemId]) ?? (item && scores.firstHeld([item.seller_id]))
        if (held !== undefined) return { held }
        if (item === undefined) return { refused: { code: 'not_found', message: 'no such item' } }
        if (!purchased.has(pairKey(call))) {
          return { refused: { code: 'not_purchased', message: 'you can only vote on items that you have purchased' } }
        }
        const before = votes.get(pairKey(call))
        if (vote !== before) changes.push({ buyerId: call.account.id, itemId, sellerId: item.seller_id, before, vote })
        votes.set(pairKey(call), vote)
        return { ok: { ok: true } }
      })
      return { decisions, writes: moveVotes(changes) }
    },
  },
}

interface VoteChange {
  buyerId: number
  itemId: number
  sellerId: number
  before: Vote | undefined
  vote: Vote
}

type Feedback = Call<Params<'buyer', 'provide_feedback'>>

/** Names a buyer and an item. */
function pairKey({ account, params }: Feedback): string {
  return `${account.id} ${params.item_id}`
}

/** The pairs of the calls in which the buyer has purchased the item, as `pairKey` names them. */
async function readPurchased(lane: Lane, calls: readonly Feedback[]): Promise<ReadonlySet<string>> {
  const rows = await lane.rows<[number, number]>(
    `SELECT DISTINCT buyer_id, item_id FROM purchase_line WHERE ${whereBuyerAndItem(calls)}`,
    calls.flatMap((call) => [call.account.id, call.params.item_id]),
  )
  return new Set(rows.map((row) => row.join(' ')))
}

/** The buyers' current votes on the items, by `pairKey`. */
async function readVotes(lane: Lane, calls: readonly Feedback[]): Promise<Map<string, Vote>> {
  const rows = await lane.rows<[number, number, Vote]>(
    `SELECT buyer_id, item_id, vote FROM feedback WHERE ${whereBuyerAndItem(calls)}`,
    calls.flatMap((call) => [call.account.id, call.params.item_id]),
  )
  return new Map(rows.map(([buyerId, itemId, vote]) => [`${buyerId} ${itemId}`, vote]))
}

function whereBuyerAndItem(calls: readonly Feedback[]): string {
  return `(buyer_id, item_id) IN (${placeholders(calls, '(?, ?)')})`
}

/** One row for each change, in order: of several votes of a buyer on an item, the last one stays. */
function moveVotes(changes: readonly VoteChange[]): Statement[] {
  const moves = changes.map(({ itemId, sellerId, before, vote }) => ({
    itemId,
    sellerId,
    up: Number(vote === 'up') - Number(before === 'up'),
    down: Number(vote === 'down') - Number(before === 'down'),
  }))
  return [
    {
      sql: 'INSERT INTO feedback (buyer_id, item_id, vote) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE vote = VALUES(vote)',
      rows: changes.map(({ buyerId, itemId, vote }) => [buyerId, itemId, vote]),
    },
    {
      sql: 'UPDATE item SET thumbs_up = thumbs_up + ?, thumbs_down = thumbs_down + ? WHERE id = ?',
      rows: moves.map(({ up, down, itemId }) => [up, down, itemId]),
    },
    {
      sql: 'UPDATE seller_score SET thumbs_up = thumbs_up + ?, thumbs_down = thumbs_down + ? WHERE seller_id = ?',
      rows: moves.map(({ up, down, sellerId }) => [up, down, sellerId]),
    },
  ]
}

export function lockSellerScores(lane: Lane, sellerIds: readonly number[]) {
  return lockRows<number, [number]>(lane, SELLER_SCORE, sellerIds)
}

export function lockBuyerScores(lane: Lane, buyerIds: readonly number[]) {
  return lockRows<number, [number]>(lane, BUYER_SCORE, buyerIds)
}

interface Sale {
  sellerId: number
  buyerId: number
  units: number
  cents: number
}

/** Adds the sold units to the scores of sellers and buyers. Missing scores are made, in the order of their ids. */
export function countSold(sales: readonly Sale[]): Statement[] {
  return [
    {
      sql:
        'INSERT INTO seller_score (seller_id, items_sold, sales_cents) VALUES (?, ?, ?) ' +
        'ON DUPLICATE KEY UPDATE items_sold = items_sold + VALUES(items_sold), ' +
        `sales_cents = LEAST(sales_cents + VALUES(sales_cents), ${MOST_CENTS})`,
      rows: sumSales(sales, ({ sellerId }) => sellerId).map(([id, units, cents]) => [
        id,
        units,
        Math.min(cents, MOST_CENTS),
      ]),
    },
    {
      sql:
        'INSERT INTO buyer_score (buyer_id, items_purchased) VALUES (?, ?) ' +
        'ON DUPLICATE KEY UPDATE items_purchased = items_purchased + VALUES(items_purchased)',
      rows: sumSales(sales, ({ buyerId }) => buyerId).map(([id, units]) => [id, units]),
    },
  ]
}

/** Id, units, cents. */
function sumSales(sales: readonly Sale[], pickId: (sale: Sale) => number): [number, number, number][] {
  const sums = new Map<number, [number, number, number]>()
  for (const sale of sales) {
    const [id, units, cents] = sums.get(pickId(sale)) ?? [pickId(sale), 0, 0]
    sums.set(id, [id, units + sale.units, cents + sale.cents])
  }
  return [...sums.values()].sort(([a], [b]) => a - b)
}

async function readScores(lane: Lane, sellerIds: ReadonlySet<number>): Promise<ReadonlyMap<number, Score>> {
  const ids = [...sellerIds]
  const rows = await lane.rows<[number, number, number, number]>(
    `SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id IN (${placeholders(ids)})`,
    ids,
  )
  return new Map(rows.map(([id, thumbs_up, thumbs_down, items_sold]) => [id, { thumbs_up, thumbs_down, items_sold }]))
}
