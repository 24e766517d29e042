/**
 * One keyed call of each operation that takes a key. It is prepared so that a
 * repetition without the key would be refused or would show in the rows.
 */

import { anItem } from './clients.ts'
import { type Key, type LedgerClient, newKey, type OperationCaller } from './ledger-clients.ts'

/** What a seller and a buyer call operations through. */
export interface RoleCallers {
  seller: OperationCaller<'seller'>
  buyer: OperationCaller<'buyer'>
}

/** Makes the same call each time, through any callers. */
export type KeyedCall = (callers: RoleCallers) => Promise<object>

export const KEYED_OPERATIONS = [
  'make_purchase',
  'add_item_to_cart',
  'remove_item_from_cart',
  'update_units_for_sale',
  'register_item_for_sale',
] as const
type Prepare = (seller: LedgerClient<'seller'>, buyer: LedgerClient<'buyer'>, key?: Key) => Promise<KeyedCall>

export const KEYED_CALLS: Record<(typeof KEYED_OPERATIONS)[number], Prepare> = {
  async make_purchase(seller, buyer, key = newKey()) {
    const item_id = await registerFiveUnits(seller)
    await buyer.call('add_item_to_cart', { item_id, quantity: 5 })
    return (callers) => buyer.through(callers.buyer).call('make_purchase', key)
  },
  async add_item_to_cart(seller, buyer, key = newKey()) {
    const item_id = await registerFiveUnits(seller)
    await buyer.call('clear_cart', {})
    const params = { ...key, item_id, quantity: 5 }
    return (callers) => buyer.through(callers.buyer).call('add_item_to_cart', params)
  },
  async remove_item_from_cart(seller, buyer, key = newKey()) {
    const item_id = await registerFiveUnits(seller)
    await buyer.call('clear_cart', {})
    await buyer.call('add_item_to_cart', { item_id, quantity: 5 })
    const params = { ...key, item_id, quantity: 5 }
    return (callers) => buyer.through(callers.buyer).call('remove_item_from_cart', params)
  },
  async update_units_for_sale(seller, _buyer, key = newKey()) {
    const params = { ...key, item_id: await registerFiveUnits(seller), change: -5 }
    return (callers) => seller.through(callers.seller).call('update_units_for_sale', params)
  },
  async register_item_for_sale(seller, _buyer, key = newKey()) {
    const params = { ...key, ...anItem() }
    return (callers) => seller.through(callers.seller).call('register_item_for_sale', params)
  },
}

async function registerFiveUnits(seller: LedgerClient<'seller'>): Promise<number> {
  const { item_id } = await seller.call('register_item_for_sale', anItem({ quantity: 5 }))
  return item_id
}
