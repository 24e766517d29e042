/** How each operation of the contract is typed: a short name, what needs no name, and examples for its help. */

import type { Name, Params, Role } from '../contract/operations.ts'

export interface Form<F> {
  alias?: string
  /** The parameters that need no name, in the order in which they stand. All others are options. */
  positional?: readonly F[]
  /** What somebody types, after the role. */
  examples: readonly [string, ...string[]]
}

const COMMON = {
  create_account: { alias: 'signup', positional: ['username', 'name'], examples: ['create-account ann "Ann Lee"'] },
  login: { positional: ['username'], examples: ['login ann', 'login ann --password-file ~/.souk-password'] },
  logout: { examples: ['logout'] },
  whoami: { examples: ['whoami'] },
  ping: { examples: ['ping'] },
} as const

/** How each operation is typed. */
export const FORMS: { readonly [R in Role]: { readonly [N in Name<R>]: Form<keyof Params<R, N>> } } = {
  seller: {
    ...COMMON,
    get_seller_rating: { alias: 'rating', examples: ['get-seller-rating'] },
    register_item_for_sale: {
      alias: 'register',
      positional: ['name'],
      examples: [
        'register-item-for-sale "Nikon F3" --category 3 --price 249.90 --quantity 2 --condition used --keyword camera',
        'register-item-for-sale Film --category 3 --price 9 --quantity 50 --condition new --keyword film --keyword 35mm',
      ],
    },
    change_item_price: {
      alias: 'price',
      positional: ['item_id', 'price_cents'],
      examples: ['change-item-price 1 9.50'],
    },
    update_units_for_sale: {
      alias: 'units',
      positional: ['item_id', 'change'],
      examples: ['update-units-for-sale 1 10', 'update-units-for-sale 1 -3'],
    },
    display_items_for_sale: {
      alias: 'items',
      examples: ['display-items-for-sale', 'display-items-for-sale --include-sold-out --all'],
    },
  },
  buyer: {
    ...COMMON,
    search_items: {
      alias: 'search',
      positional: ['category', 'keywords'],
      examples: ['search-items 3 camera lens', 'search-items 3 --all'],
    },
    get_item: { alias: 'item', positional: ['item_id'], examples: ['get-item 1'] },
    add_item_to_cart: { alias: 'add', positional: ['item_id', 'quantity'], examples: ['add-item-to-cart 1 2'] },
    remove_item_from_cart: {
      alias: 'remove',
      positional: ['item_id', 'quantity'],
      examples: ['remove-item-from-cart 1 2'],
    },
    save_cart: { alias: 'save', examples: ['save-cart'] },
    clear_cart: { alias: 'clear', examples: ['clear-cart'] },
    display_cart: { alias: 'cart', examples: ['display-cart'] },
    make_purchase: { alias: 'buy', examples: ['make-purchase'] },
    get_buyer_purchases: { alias: 'purchases', examples: ['get-buyer-purchases', 'get-buyer-purchases --limit 5'] },
    provide_feedback: { alias: 'vote', positional: ['item_id', 'vote'], examples: ['provide-feedback 1 up'] },
    get_seller_rating: { alias: 'rating', positional: ['seller_id'], examples: ['get-seller-rating 1'] },
  },
}
