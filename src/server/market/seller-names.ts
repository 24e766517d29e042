/**
 * The names of sellers, for the buyers' server: they are in the customer
 * database, and never change. So a server may remember them, and a rating costs
 * one statement. The oldest are forgotten first.
 */

import { type Lane, placeholders } from '../../db/lane.ts'
import type { Database } from '../../db.ts'

const MOST_REMEMBERED = 10_000

export class SellerNames {
  readonly #customer: Database
  readonly #remembered = new Map<number, string>()

  constructor(customer: Database) {
    this.#customer = customer
  }

  /** The names of these sellers, by id; without those that don't exist. Rejects with `Refused` `timeout`. */
  async find(ids: Iterable<number>, deadlineMs: number): Promise<ReadonlyMap<number, string>> {
    const names = new Map<number, string>()
    const unknown = new Set<number>()
    for (const id of ids) {
      const name = this.#remembered.get(id)
      if (name === undefined) unknown.add(id)
      else names.set(id, name)
    }
    if (unknown.size === 0) return names
    for (const [id, name] of await this.#customer.read((lane) => readNames(lane, [...unknown]), deadlineMs)) {
      names.set(id, name)
      this.#remember(id, name)
    }
    return names
  }

  #remember(id: number, name: string): void {
    const [oldest] = this.#remembered.keys()
    if (this.#remembered.size >= MOST_REMEMBERED && oldest !== undefined) this.#remembered.delete(oldest)
    this.#remembered.set(id, name)
  }
}

function readNames(lane: Lane, ids: readonly number[]): Promise<readonly [number, string][]> {
  return lane.rows<[number, string]>(`SELECT id, name FROM seller WHERE id IN (${placeholders(ids)})`, ids)
}
