/** What sellers are worth to buyers: the scores that votes and purchases move. */

import { type Database, type Lane, placeholders } from './db.ts'
import type { Call, Handlers } from './handlers.ts'
import type { Result } from './operations.ts'
import type { Answer } from './protocol.ts'

type Rating = Result<'buyer', 'get_seller_rating'>

const GATHERED = { reads: 'product', cap: 500, inFlight: 2 } as const
const NO_SCORE: Rating = { thumbs_up: 0, thumbs_down: 0, items_sold: 0 }

export const sellerRatings: Handlers<'seller', 'get_seller_rating'> = {
  get_seller_rating: {
    ...GATHERED,
    async ask(lane, calls) {
      const scores = await scoresOf(lane, calls, (call) => call.account.id)
      return calls.map((call) => ({ ok: scores.get(call.account.id) ?? NO_SCORE }))
    },
  },
}

/** A seller without a score is looked for among the accounts, which stand in the other database. */
export function buyerRatings(customer: Database): Handlers<'buyer', 'get_seller_rating'> {
  return {
    get_seller_rating: {
      ...GATHERED,
      async ask(lane, calls, deadlineMs) {
        const scores = await scoresOf(lane, calls, (call) => call.params.seller_id)
        const unscored = calls.map((call) => call.params.seller_id).filter((id) => !scores.has(id))
        const sellers =
          unscored.length === 0 ? [] : await customer.read((lane) => sellersAmong(lane, unscored), deadlineMs)
        for (const id of sellers) scores.set(id, NO_SCORE)
        return calls.map((call): Answer<Rating> => {
          const rating = scores.get(call.params.seller_id)
          return rating === undefined ? { refused: { code: 'not_found', message: 'no such seller' } } : { ok: rating }
        })
      },
    },
  }
}

async function scoresOf<P>(lane: Lane, calls: readonly Call<P>[], sellerOf: (call: Call<P>) => number) {
  const ids = [...new Set(calls.map(sellerOf))]
  const rows = await lane.rows<[number, number, number, number]>(
    `SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id IN (${placeholders(ids)})`,
    ids,
  )
  return new Map<number, Rating>(
    rows.map(([id, thumbs_up, thumbs_down, items_sold]) => [id, { thumbs_up, thumbs_down, items_sold }]),
  )
}

async function sellersAmong(lane: Lane, ids: readonly number[]): Promise<readonly number[]> {
  const distinct = [...new Set(ids)]
  const rows = await lane.rows<[number]>(`SELECT id FROM seller WHERE id IN (${placeholders(distinct)})`, distinct)
  return rows.map(([id]) => id)
}
