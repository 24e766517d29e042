/**
 * Locks on existing rows. A lane that skips held rows locks the others: a row
 * that is held for long delays only the calls that need it. A lane that blocks
 * locks all, in the order of their ids. Locks on several tables are taken in
 * the order cart, saved cart, item, seller score, buyer score. So no two
 * transactions wait for each other.
 */

import { type Lane, placeholders, type Value } from './lane.ts'
import type { RowId } from './plan.ts'

type Id = string | number

/** A table whose rows are locked: its key column, and the columns to read. The key is the first of them. */
export interface LockedTable {
  name: string
  key: string
  columns: string
}

/** What became of the ids that were to be locked: locked here, held by another transaction, or without a row. */
export class LockedRows<I extends Id, T extends readonly [I, ...Value[]]> {
  readonly #table: LockedTable
  readonly #rows: ReadonlyMap<I, T>
  readonly #held: ReadonlySet<I>

  constructor(table: LockedTable, rows: readonly T[], held: readonly I[]) {
    this.#table = table
    this.#rows = new Map(rows.map((row) => [row[0], row]))
    this.#held = new Set(held)
  }

  get(id: I): T | undefined {
    return this.#rows.get(id)
  }

  values(): Iterable<T> {
    return this.#rows.values()
  }

  /** The first of the ids whose row another transaction holds. */
  firstHeld(ids: Iterable<I>): RowId | undefined {
    if (this.#held.size === 0) return undefined
    for (const id of ids) if (this.#held.has(id)) return { table: this.#table.name, key: this.#table.key, id }
    return undefined
  }
}

/** Locks the rows with these ids until the transaction ends. */
export async function lockRows<I extends Id, T extends readonly [I, ...Value[]]>(
  lane: Lane,
  table: LockedTable,
  ids: Iterable<I>,
): Promise<LockedRows<I, T>> {
  const { name, key, columns } = table
  const distinct = [...new Set(ids)]
  if (distinct.length === 0) return new LockedRows(table, [], [])
  const locked = await lane.rows<T>(
    `SELECT ${columns} FROM ${name} FORCE INDEX (PRIMARY) WHERE ${key} IN (${placeholders(distinct)}) ` +
      `ORDER BY ${key} FOR UPDATE${lane.skipsHeldRows ? ' SKIP LOCKED' : ''}`,
    distinct,
  )
  return new LockedRows(table, locked, await findHeld(lane, table, withoutLocked(distinct, locked)))
}

function withoutLocked<I extends Id>(ids: readonly I[], rows: readonly (readonly [I, ...Value[]])[]): readonly I[] {
  if (rows.length === ids.length) return []
  const locked = new Set(rows.map(([id]) => id))
  return ids.filter((id) => !locked.has(id))
}

/** Of ids that could not be locked, those that have a row: another transaction holds it. */
async function findHeld<I extends Id>(
  lane: Lane,
  { name, key }: LockedTable,
  ids: readonly I[],
): Promise<readonly I[]> {
  if (ids.length === 0) return []
  const sql = `SELECT ${key} FROM ${name} WHERE ${key} IN (${placeholders(ids)})`
  const rows = await lane.rows<[I]>(sql, ids)
  return rows.map(([id]) => id)
}
