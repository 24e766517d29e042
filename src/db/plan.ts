/** A plan: what a batch of writes decides for its calls, and the statements that carry it out. */

import type { Answer } from '../contract/refusals.ts'
import type { Statement } from './lane.ts'

/** Names a row: its table, the table's key column and the key. Only code names tables and columns, never a client. */
export interface RowId {
  table: string
  key: string
  id: string | number
}

/** What a batch decides for one call: its answer, or the row it needs and another transaction holds. */
export type Decision<R> = Answer<R> | { held: RowId }

export interface Plan<R> {
  /** One for each call, in order. */
  decisions: readonly Decision<R>[]
  writes: readonly Statement[]
}
