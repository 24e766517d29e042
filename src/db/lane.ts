/**
 * A lane: a pooled connection that one batch holds, and the statements it
 * sends over it.
 */

export type Value = string | number | null

/** One statement with its values, or one that is carried out for each of many rows. With no rows, nothing is sent. */
export type Statement = { sql: string; values: readonly Value[] } | { sql: string; rows: readonly (readonly Value[])[] }

export interface Lane {
  /** Whether a lock on this lane skips rows that others hold. Otherwise it waits for them. */
  readonly skipsHeldRows: boolean
  /** Rows as arrays of column values, in the order of the SELECT. */
  rows<T extends readonly Value[]>(sql: string, values?: readonly Value[]): Promise<readonly T[]>
}

/** `?, ?, …`: one `each` for every value. */
export function placeholders(values: readonly unknown[], each = '?'): string {
  return Array(values.length).fill(each).join(', ')
}
