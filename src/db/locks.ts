/**
 * Locking existing rows. On an ordinary lane a batch takes those it can get and
 * passes over those that somebody else holds: a row that is held for long then
 * delays only the calls that need it. On a lane that waits it takes all, in the
 * order of their ids; and whoever locks rows of several tables does so in the
 * order cart, item, seller score, buyer score, so that nobody waits in a circle.
 */

import { type Lane, placeholders, type Row, type Value } from '../db.ts'

type Id = string | number

/** A table, its key column, and the columns to be read beside it. */
export interface Table {
  name: string
  key: string
  columns: string
}

/** What became of the ids: locked here, held by somebody else, or without a row. */
export class LockedRows<I extends Id, T extends readonly [I, ...Value[]]> {
  readonly #table: Table
  readonly #rows: ReadonlyMap<I, T>
  readonly #held: ReadonlySet<I>

  constructor(table: Table, rows: readonly T[], held: readonly I[]) {
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

  /** The first of the ids whose row somebody else holds. */
  heldAmong(ids: Iterable<I>): Row | undefined {
    if (this.#held.size === 0) return undefined
    for (const id of ids) if (this.#held.has(id)) return { table: this.#table.name, key: this.#table.key, id }
    return undefined
  }
}

/** Locks the rows with these ids until the transaction ends; the first column of each is its id. */
export async function lockRows<I extends Id, T extends readonly [I, ...Value[]]>(
  lane: Lane,
  table: Table,
  ids: Iterable<I>,
): Promise<LockedRows<I, T>> {
  const { name, key, columns } = table
  const distinct = [...new Set(ids)]
  if (distinct.length === 0) return new LockedRows(table, [], [])
  const locked = await lane.rows<T>(
    `SELECT ${columns} FROM ${name} FORCE INDEX (PRIMARY) WHERE ${key} IN (${placeholders(distinct)}) ` +
      `ORDER BY ${key} FOR UPDATE${lane.waits ? '' : ' SKIP LOCKED'}`,
    distinct,
  )
  return new LockedRows(table, locked, await existing(lane, table, withoutLocked(distinct, locked)))
}

function withoutLocked<I extends Id>(ids: readonly I[], rows: readonly (readonly [I, ...Value[]])[]): readonly I[] {
  if (rows.length === ids.length) return []
  const locked = new Set(rows.map(([id]) => id))
  return ids.filter((id) => !locked.has(id))
}

/** A row that can't be locked and is there is held by somebody else. */
async function existing<I extends Id>(lane: Lane, { name, key }: Table, ids: readonly I[]): Promise<readonly I[]> {
  if (ids.length === 0) return []
  const sql = `SELECT ${key} FROM ${name} WHERE ${key} IN (${placeholders(ids)})`
  const rows = await lane.rows<[I]>(sql, ids)
  return rows.map(([id]) => id)
}
