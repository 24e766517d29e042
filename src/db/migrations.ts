/**
 * The parts of migrations that SQL can't express: those that need both
 * databases, or souk's own rules. They run after the file of their number in
 * `migrations/`, and can be repeated like it.
 */

import type { Connection } from 'mariadb'
import { withConnection } from './connect.ts'
import { placeholders } from './lane.ts'

type Code = (connection: Connection, urls: { customer?: string | undefined }) => Promise<void>

const SELLERS_AT_ONCE = 1_000

/** By version, then by database. */
export const MIGRATING_CODE: Readonly<Record<number, { customer?: Code; product?: Code }>> = {
  2: { product: fillSellerNames },
}

/** Items know their sellers' names since version 2. */
async function fillSellerNames(product: Connection, { customer }: { customer?: string | undefined }): Promise<void> {
  const sellers = await product.query<{ seller_id: number }[]>(
    "SELECT DISTINCT seller_id FROM item WHERE seller_name = ''",
  )
  if (sellers.length === 0) return
  if (customer === undefined) throw new Error('the names of sellers are in the customer database')
  await withConnection(customer, async (connection) => {
    for (let at = 0; at < sellers.length; at += SELLERS_AT_ONCE) {
      const ids = sellers.slice(at, at + SELLERS_AT_ONCE).map(({ seller_id }) => seller_id)
      const names = await connection.query<{ id: number; name: string }[]>(
        `SELECT id, name FROM seller WHERE id IN (${placeholders(ids)})`,
        ids,
      )
      await product.batch(
        'UPDATE item SET seller_name = ? WHERE seller_id = ?',
        names.map(({ id, name }) => [name, id]),
      )
    }
  })
}
