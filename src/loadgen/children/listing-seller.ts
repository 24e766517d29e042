#!/usr/bin/env node
/**
 * A seller that lists all items again and again. It is a process of its own
 * because parsing a long listing would hold up the load generator's other
 * clients. Prints a line when the first listing has arrived; ends with its
 * parent.
 */

import { connect } from '../../client/connection.ts'
import { onStop } from '../../process/stop.ts'

const { port, session, limit } = JSON.parse(process.env.SOUK_LISTER ?? '{}')
const connection = await connect<'seller'>({ host: '127.0.0.1', port })
onStop(async () => process.exit(0))

for (let listings = 1; ; listings += 1) {
  const { items } = await connection.call('display_items_for_sale', { session, limit })
  if (items.length !== limit) throw new Error(`a listing of ${items.length} items, not of ${limit}`)
  if (listings === 1) process.stdout.write('listing\n')
}
