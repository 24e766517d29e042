/**
 * Calls that carry keys, one of each operation that takes any. Each is made
 * ready so that without its key it could not be done a second time, or it
 * would be seen that it was.
 */

import { anItem } from './clients.ts'
import { type Client, type Key, type Line, newKey } from './ledger-clients.ts'

/** A way to the servers of both roles. */
export interface Lines {
  seller: Line<'seller'>
  buyer: Line<'buyer'>
}

/** The same call every time, over any lines. */
export type KeyedCall = (over: Lines) => Promise<object>

export const KEYED_OPERATIONS = [
  ...(['make_purchase', 'add_item_to_cart', 'remove_item_from_cart'] as const),
  ...(['update_units_for_sale', 'register_item_for_sale'] as const),
]
type Prepare = (seller: Client<'seller'>, buyer: Client<'buyer'>, key?: Key) => Promise<KeyedCall>

export const KEYED_CALLS: Record<(typeof KEYED_OPERATIONS)[number], Prepare> = {
  async make_purchase(seller, buyer, key = newKey()) {
    const item_id = await fiveUnits(seller)
    await buyer.call('add_item_to_cart', { item_id, quantity: 5 })
    return (lines) => buyer.over(lines.buyer).call('make_purchase', key)
  },
  async add_item_to_cart(seller, buyer, key = newKey()) {
    const item_id = await fiveUnits(seller)
    await buyer.call('clear_cart', {})
    const params = { ...key, item_id, quantity: 5 }
    return (lines) => buyer.over(lines.buyer).call('add_item_to_cart', params)
  },
  async remove_item_from_cart(seller, buyer, key = newKey()) {
    const item_id = await fiveUnits(seller)
    await buyer.call('clear_cart', {})
    await buyer.call('add_item_to_cart', { item_id, quantity: 5 })
    const params = { ...key, item_id, quantity: 5 }
    return (lines) => buyer.over(lines.buyer).call('remove_item_from_cart', params)
  },
  async update_units_for_sale(seller, _buyer, key = newKey()) {
    const params = { ...key, item_id: await fiveUnits(seller), change: -5 }
    return (lines) => seller.over(lines.seller).call('update_units_for_sale', params)
  },
  async register_item_for_sale(seller, _buyer, key = newKey()) {
    const params = { ...key, ...anItem() }
    return (lines) => seller.over(lines.seller).call('register_item_for_sale', params)
  },
}

async function fiveUnits(seller: Client<'seller'>): Promise<number> {
  const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 5 }))
  return item_id
}
