/**
 * An example of every operation, as pure data: parameters and result. They are
 * one story, in the order of the table, which a test tells to real servers: ann
 * sells lenses, bob buys some.
 */

import type { Input, Name, Result, Role } from './operations.ts'

interface Example<R extends Role, N extends Name<R>> {
  params: Input<R, N>
  result: Result<R, N>
}

type ExamplesOf<R extends Role> = { readonly [N in Name<R> as `${R}.${N}`]: Example<R, N> }

const ann = { username: 'ann', password: 'correct horse' }
const annsSession = { session: 'session-of-ann' }
const bob = { username: 'bob', password: 'battery staple' }
const bobsSession = { session: 'session-of-bob' }
const lens = {
  item_id: 1,
  seller_id: 1,
  seller_name: 'Ann Lee',
  name: 'Lens 50 mm',
  category: 3,
  keywords: ['lens', 'camera'],
}
const line = { item_id: 1, name: 'Lens 50 mm', quantity: 2, price_cents: 7_900 }
const purchase = { purchase_id: 1, lines: [line], total_cents: 15_800 }
const unrated = { thumbs_up: 0, thumbs_down: 0 }

export const EXAMPLES: ExamplesOf<'seller'> & ExamplesOf<'buyer'> = {
  'seller.ping': { params: {}, result: { ok: true, version: '0.1.0' } },
  'seller.create_account': { params: { ...ann, name: 'Ann Lee' }, result: { seller_id: 1 } },
  'seller.login': { params: ann, result: { ...annsSession, expires_in_s: 300 } },
  'seller.whoami': {
    params: annsSession,
    result: { id: 1, username: 'ann', name: 'Ann Lee', expires_in_s: 300 },
  },
  'seller.register_item_for_sale': {
    params: {
      ...annsSession,
      idempotency_key: 'lens-1',
      name: 'Lens 50 mm',
      category: 3,
      keywords: ['lens', 'camera'],
      condition: 'new',
      price_cents: 8_900,
      quantity: 10,
    },
    result: { item_id: 1 },
  },
  'seller.change_item_price': { params: { ...annsSession, item_id: 1, price_cents: 7_900 }, result: { ok: true } },
  'seller.update_units_for_sale': {
    params: { ...annsSession, idempotency_key: 'broken-1', item_id: 1, change: -2 },
    result: { quantity: 8 },
  },
  'seller.edit_item': {
    params: { ...annsSession, item_id: 1, condition: 'used' },
    result: { ...lens, condition: 'used', price_cents: 7_900, quantity: 8, ...unrated },
  },
  'seller.display_items_for_sale': {
    params: { ...annsSession, limit: 100 },
    result: { items: [{ ...lens, condition: 'used', price_cents: 7_900, quantity: 8, ...unrated }] },
  },
  'seller.list_categories': {
    params: annsSession,
    result: { categories: [{ category: 3, items_on_sale: 1 }] },
  },
  'buyer.ping': { params: {}, result: { ok: true, version: '0.1.0' } },
  'buyer.create_account': { params: { ...bob, name: 'Bob Ray' }, result: { buyer_id: 1 } },
  'buyer.login': { params: bob, result: { ...bobsSession, expires_in_s: 300 } },
  'buyer.whoami': {
    params: bobsSession,
    result: { id: 1, username: 'bob', name: 'Bob Ray', expires_in_s: 300 },
  },
  'buyer.list_categories': {
    params: bobsSession,
    result: { categories: [{ category: 3, items_on_sale: 1 }] },
  },
  'buyer.search_items': {
    params: { ...bobsSession, category: 3, keywords: ['lens'] },
    result: { items: [{ ...lens, condition: 'used', price_cents: 7_900, quantity: 8, ...unrated }] },
  },
  'buyer.get_item': {
    params: { ...bobsSession, item_id: 1 },
    result: { ...lens, condition: 'used', price_cents: 7_900, quantity: 8, ...unrated },
  },
  'buyer.add_item_to_cart': {
    params: { ...bobsSession, idempotency_key: 'add-1', item_id: 1, quantity: 3 },
    result: { quantity: 3 },
  },
  'buyer.remove_item_from_cart': {
    params: { ...bobsSession, idempotency_key: 'remove-1', item_id: 1, quantity: 1 },
    result: { quantity: 2 },
  },
  'buyer.display_cart': { params: bobsSession, result: { lines: [{ ...line, available: 8 }] } },
  'buyer.save_cart': { params: bobsSession, result: { ok: true } },
  'buyer.make_purchase': { params: { ...bobsSession, idempotency_key: 'purchase-1' }, result: purchase },
  'buyer.get_buyer_purchases': {
    params: { ...bobsSession, limit: 10 },
    result: { items_purchased: 2, purchases: [{ ...purchase, purchased_at: 1_796_083_200 }] },
  },
  'buyer.provide_feedback': { params: { ...bobsSession, item_id: 1, vote: 'up' }, result: { ok: true } },
  'buyer.get_seller_rating': {
    params: { ...bobsSession, seller_id: 1 },
    result: { seller_name: 'Ann Lee', thumbs_up: 1, thumbs_down: 0, items_sold: 2 },
  },
  'buyer.clear_cart': { params: bobsSession, result: { ok: true } },
  'buyer.change_password': {
    params: { ...bobsSession, password: bob.password, new_password: 'staple battery' },
    result: { ok: true },
  },
  'buyer.logout': { params: bobsSession, result: { ok: true } },
  'seller.get_seller_rating': {
    params: annsSession,
    result: { seller_name: 'Ann Lee', thumbs_up: 1, thumbs_down: 0, items_sold: 2 },
  },
  'seller.get_seller_sales': {
    params: { ...annsSession, limit: 10 },
    result: {
      items_sold: 2,
      sales_cents: 15_800,
      sales: [{ ...line, purchase_id: 1, purchased_at: 1_796_083_200, total_cents: 15_800 }],
    },
  },
  'seller.change_password': {
    params: { ...annsSession, password: ann.password, new_password: 'horse correct' },
    result: { ok: true },
  },
  'seller.logout': { params: annsSession, result: { ok: true } },
}

export function exampleOf(role: Role, name: string): { params: object; result: object } {
  return EXAMPLES[`${role}.${name}` as keyof typeof EXAMPLES]
}
