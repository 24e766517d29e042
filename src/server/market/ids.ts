/**
 * Ids made by the server, from blocks reserved in a table, so that rows which
 * name each other can be written together.
 *
 * A block is as large as the demand: what is asked for now or, under load, what
 * a second will probably take. It is used for a second only: across servers,
 * newer things have higher ids to the second. The next block begins with the ids
 * that the last one left over, unless another server has reserved some since. So
 * a quiet shop counts 1, 2, 3, and a busy one reserves rarely.
 */

import { Refused } from '../../contract/refusals.ts'
import type { Keyed } from '../../db/idempotency.ts'
import type { Lane } from '../../db/lane.ts'
import type { Plan } from '../../db/plan.ts'
import type { Database } from '../../db.ts'

const MOST_IDS = 10_000
const LIFE_MS = 1_000
/** Load means that ids were taken this recently. */
const RECENT_MS = 100

/** Ids from `first` to before `end`. Those before `next` are taken. */
interface Block {
  first: number
  next: number
  end: number
  reservedMs: number
  takenMs: number
}

const LONG_AGO_MS = Number.NEGATIVE_INFINITY
const NO_BLOCK: Block = { first: 0, next: 0, end: 0, reservedMs: LONG_AGO_MS, takenMs: LONG_AGO_MS }

export class IdBlocks {
  readonly #database: Database
  readonly #name: string
  #block = NO_BLOCK
  #reserving: Promise<void> | undefined
  /** How many ids are asked for and not yet taken. */
  #wanted = 0

  /**
   * `name` is a row of the table id_block. The database must serve ids alone: a
   * batch that takes ids holds a lane already, and batches that all waited for
   * a second one would wait for each other.
   */
  constructor(database: Database, name: string) {
    this.#database = database
    this.#name = name
  }

  /** Takes `count` new ids, ascending. Rejects with `Refused` `timeout`. */
  async take(count: number, deadlineMs: number): Promise<readonly number[]> {
    this.#wanted += count
    try {
      let isFresh = performance.now() - this.#block.reservedMs <= LIFE_MS
      while (this.#reserving !== undefined || !isFresh || this.#block.end - this.#block.next < count) {
        this.#reserving ??= this.#reserve(deadlineMs).finally(() => {
          this.#reserving = undefined
        })
        await this.#reserving
        isFresh = true
      }
    } finally {
      this.#wanted -= count
    }
    const first = this.#block.next
    this.#block.next += count
    this.#block.takenMs = performance.now()
    return Array.from({ length: count }, (_, index) => first + index)
  }

  /** Gives back the last of the ids that were taken, unless others have been taken since. */
  giveBack(unused: readonly number[]): void {
    if (unused.at(-1) === this.#block.next - 1) this.#block.next -= unused.length
  }

  async #reserve(deadlineMs: number): Promise<void> {
    const last = this.#block
    this.#block = NO_BLOCK // for good if this fails: the ids left over may then be another server's
    const reservedMs = performance.now()
    const expected = expectDemand(last, reservedMs)
    const [result] = await this.#database.write<Keyed, Block>(
      [{}],
      (lane) => this.#planBlock(lane, last, expected, reservedMs),
      deadlineMs,
    )
    if (result !== undefined && 'refused' in result)
      throw new Refused({ ...result.refused, details: { outcome: 'none' } })
    if (result === undefined || !('ok' in result)) throw new Error('no ids')
    this.#block = result.ok
  }

  async #planBlock(lane: Lane, last: Block, expected: number, reservedMs: number): Promise<Plan<Block>> {
    const locked = 'SELECT next_id FROM id_block WHERE name = ? FOR UPDATE'
    const [row] = await lane.rows<[number]>(locked, [this.#name])
    if (row === undefined) throw new Error(`no ids for ${this.#name}`)
    const [nextId] = row
    // The end is higher than any other server's, so an equal one is this server's own.
    const first = nextId === last.end ? last.next : nextId
    const end = first + Math.max(this.#wanted, expected)
    const sql = 'UPDATE id_block SET next_id = ? WHERE name = ?'
    const block = { first, next: first, end, reservedMs, takenMs: LONG_AGO_MS }
    return { decisions: [{ ok: block }], writes: [{ sql, values: [end, this.#name] }] }
  }
}

/** As many ids as the last block would give in a second; at most twice its size, since a moment is no rate. */
function expectDemand({ first, next, end, reservedMs, takenMs }: Block, nowMs: number): number {
  if (nowMs - takenMs > RECENT_MS) return 0
  const perS = ((next - first) / Math.max(1, nowMs - reservedMs)) * 1_000
  return Math.min(MOST_IDS, 2 * (end - first), Math.floor(perS))
}
