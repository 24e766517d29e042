/**
 * Ids made by the server, from blocks reserved in a table, so that rows which
 * name each other can be written together. A block is dropped a second after
 * its reservation: across servers, newer things have higher ids to the second.
 */

import { Refused } from '../../contract/refusals.ts'
import type { Keyed } from '../../db/idempotency.ts'
import type { Lane } from '../../db/lane.ts'
import type { Plan } from '../../db/plan.ts'
import type { Database } from '../../db.ts'

const BLOCK_IDS = 10_000
const BLOCK_LIFE_MS = 1_000

export class IdBlocks {
  readonly #database: Database
  readonly #name: string
  #reserving: Promise<void> | undefined
  #next = 0
  #end = 0
  #reservedMs = Number.NEGATIVE_INFINITY

  /**
   * `name` is a row of the table id_block. The database must serve ids alone: a
   * batch that takes ids holds a lane already, and batches that all waited for
   * a second one would wait for each other.
   */
  constructor(database: Database, name: string) {
    this.#database = database
    this.#name = name
  }

  /** Takes `count` new ids, at most a block, ascending. Rejects with `Refused` `timeout`. */
  async take(count: number, deadlineMs: number): Promise<readonly number[]> {
    if (performance.now() - this.#reservedMs > BLOCK_LIFE_MS) this.#end = this.#next
    while (this.#end - this.#next < count) {
      this.#reserving ??= this.#reserve(deadlineMs).finally(() => {
        this.#reserving = undefined
      })
      await this.#reserving
    }
    const first = this.#next
    this.#next += count
    return Array.from({ length: count }, (_, index) => first + index)
  }

  async #reserve(deadlineMs: number): Promise<void> {
    const askedMs = performance.now()
    const [result] = await this.#database.write<Keyed, number>([{}], (lane) => this.#planBlock(lane), deadlineMs)
    if (result !== undefined && 'refused' in result)
      throw new Refused({ ...result.refused, details: { outcome: 'none' } })
    if (result === undefined || !('ok' in result)) throw new Error('no ids')
    this.#next = result.ok
    this.#end = result.ok + BLOCK_IDS
    this.#reservedMs = askedMs
  }

  async #planBlock(lane: Lane): Promise<Plan<number>> {
    const locked = 'SELECT next_id FROM id_block WHERE name = ? FOR UPDATE'
    const [row] = await lane.rows<[number]>(locked, [this.#name])
    if (row === undefined) throw new Error(`no ids for ${this.#name}`)
    const sql = 'UPDATE id_block SET next_id = next_id + ? WHERE name = ?'
    return { decisions: [{ ok: row[0] }], writes: [{ sql, values: [BLOCK_IDS, this.#name] }] }
  }
}
