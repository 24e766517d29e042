/**
 * Ids made by the server, so that rows which name each other can be written
 * together. They come from a sequence of the product database. A sequence takes
 * no part in transactions: nobody can hold it, so no other session ever delays
 * a registration or a purchase by its locks.
 *
 * Ids are taken from the sequence in blocks. A block is as large as the demand:
 * what is asked for now or, under load, what a second will probably take. It is
 * used for a second only: across servers, newer things have higher ids to the
 * second. The next block begins with the ids that the last one left over, unless
 * another server has taken some since. So a quiet shop counts 1, 2, 3, and a
 * busy one asks rarely.
 *
 * A database that crashes may forget that ids were taken and not used. So ids
 * that were taken before a connection was lost are not used after it.
 */

import type { Lane } from '../../db/lane.ts'
import type { Database } from '../../db.ts'

/** Each id of a block takes the database about 1.4 us. */
const MOST_IDS = 2_000
const LIFE_MS = 1_000
/** Load means that ids were taken this recently. */
const RECENT_MS = 100

interface Block {
  /** Ascending, and not taken yet. */
  free: number[]
  /** How many were free at first. */
  size: number
  /** The last id that was taken from the sequence. */
  last: number
  reservedMs: number
  takenMs: number
  /** Of the database's connections, before the ids were taken from the sequence. */
  losses: number
}

const LONG_AGO_MS = Number.NEGATIVE_INFINITY
const NO_BLOCK: Readonly<Block> = {
  free: [],
  size: 0,
  last: 0,
  reservedMs: LONG_AGO_MS,
  takenMs: LONG_AGO_MS,
  losses: 0,
}

export class IdBlocks {
  readonly #database: Database
  readonly #sequence: string
  #block: Block = NO_BLOCK
  #lastTaken = 0
  #reserving: Promise<void> | undefined
  /** How many ids are asked for and not yet taken. */
  #wanted = 0

  constructor(database: Database, sequence: string) {
    this.#database = database
    this.#sequence = sequence
  }

  /** Takes `count` new ids, ascending. Rejects with `Refused` `timeout`. */
  async take(count: number, deadlineMs: number): Promise<readonly number[]> {
    this.#wanted += count
    try {
      let isFresh = performance.now() - this.#block.reservedMs <= LIFE_MS && !this.#isForgotten(this.#block)
      while (this.#reserving !== undefined || !isFresh || this.#block.free.length < count) {
        this.#reserving ??= this.#reserve(deadlineMs).finally(() => {
          this.#reserving = undefined
        })
        await this.#reserving
        isFresh = true
      }
    } finally {
      this.#wanted -= count
    }
    const ids = this.#block.free.splice(0, count)
    this.#lastTaken = ids.at(-1) ?? this.#lastTaken
    this.#block.takenMs = performance.now()
    return ids
  }

  /** Gives back the last of the ids that were taken, unless others have been taken since. */
  giveBack(unused: readonly number[]): void {
    const [first] = unused
    if (first === undefined || this.#isForgotten(this.#block) || unused.at(-1) !== this.#lastTaken) return
    this.#block.free.unshift(...unused)
    this.#lastTaken = first - 1
  }

  async #reserve(deadlineMs: number): Promise<void> {
    const before = this.#block
    const reservedMs = performance.now()
    const expected = expectDemand(before, reservedMs)
    const { losses } = this.#database
    this.#block = await this.#database.read(async (lane) => {
      const kept = (await this.#isLast(lane, before)) ? before.free : []
      const count = Math.max(this.#wanted, expected) - kept.length
      const taken = count > 0 ? await this.#next(lane, count) : []
      const free = [...kept, ...taken]
      return { free, size: free.length, last: taken.at(-1) ?? before.last, reservedMs, takenMs: LONG_AGO_MS, losses }
    }, deadlineMs)
  }

  /** Whether the database may have forgotten that these ids were taken. */
  #isForgotten({ losses }: Block): boolean {
    return losses !== this.#database.losses
  }

  /** Whether no server has taken ids after this block, of which some are left over. */
  async #isLast(lane: Lane, block: Block): Promise<boolean> {
    const { free, last } = block
    if (free.length === 0 || this.#isForgotten(block)) return false
    const [row] = await lane.rows<[number]>(`SELECT next_not_cached_value FROM ${this.#sequence}`)
    return row?.[0] === last + 1
  }

  async #next(lane: Lane, count: number): Promise<number[]> {
    const sql = `SELECT NEXT VALUE FOR ${this.#sequence} FROM JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY)) AS places`
    const rows = await lane.rows<[number]>(sql, [JSON.stringify(Array(count).fill(0))])
    return rows.map(([id]) => id)
  }
}

/** As many ids as the last block would give in a second; at most twice its size, since a moment is no rate. */
function expectDemand({ free, size, reservedMs, takenMs }: Block, nowMs: number): number {
  if (nowMs - takenMs > RECENT_MS) return 0
  const perS = ((size - free.length) / Math.max(1, nowMs - reservedMs)) * 1_000
  return Math.min(MOST_IDS, 2 * size, Math.floor(perS))
}
