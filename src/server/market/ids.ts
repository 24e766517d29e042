/**
 * Ids made by the server, from blocks reserved in a table, so that rows that
 * name each other can be written together. A block is dropped a second after
 * it was reserved: among several servers, newer things have higher ids to the
 * second.
 */

import { Refused } from '../../contract/refusals.ts'
import type { Database, Keyed, Lane, Plan } from '../../db.ts'

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
   * `name` is a row of the table id_block. The database's lanes must be for
   * ids alone: whoever takes ids holds a lane already, and if all who hold one
   * waited here for another, they would wait for each other.
   */
  constructor(database: Database, name: string) {
    this.#database = database
    this.#name = name
  }

  /** So many new ids (at most a block), ascending. Rejects with `Refused` `timeout`. */
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
    const [answer] = await this.#database.write<Keyed, number>([{}], (lane) => this.#planBlock(lane), deadlineMs)
    if (answer !== undefined && 'refused' in answer)
      throw new Refused({ ...answer.refused, details: { outcome: 'none' } })
    if (answer === undefined || !('ok' in answer)) throw new Error('no ids')
    this.#next = answer.ok
    this.#end = answer.ok + BLOCK_IDS
    this.#reservedMs = askedMs
  }

  async #planBlock(lane: Lane): Promise<Plan<number>> {
    const locked = 'SELECT next_id FROM id_block WHERE name = ? FOR UPDATE'
    const [row] = await lane.rows<[number]>(locked, [this.#name])
    if (row === undefined) throw new Error(`no ids for ${this.#name}`)
    const sql = 'UPDATE id_block SET next_id = next_id + ? WHERE name = ?'
    return { answers: [{ ok: row[0] }], writes: [{ sql, values: [BLOCK_IDS, this.#name] }] }
  }
}
