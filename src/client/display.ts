/** How the result of each operation looks to a person. `--json` gives it as the contract has it instead. */

import type { CartLine, Item, Name, Params, Result, Role } from '../contract/operations.ts'
import { amountOf } from './money.ts'
import type { Column } from './table.ts'

/** Lines, or a table of rows that may go on with the next page. */
export type Part = string | { columns: readonly Column[]; rows: readonly (readonly string[])[] }

type Displays = {
  readonly [R in Role]: { readonly [N in Name<R>]: (result: Result<R, N>, params: Params<R, N>) => readonly Part[] }
}

const ITEM = { title: 'ITEM', right: true } as const
const NAME = { title: 'NAME', shrinks: true } as const
const UNITS = { title: 'UNITS', right: true } as const
const PRICE = { title: 'PRICE', right: true } as const
const ON_SALE = { title: 'ON SALE', right: true } as const
const TOTAL = { title: 'TOTAL', right: true } as const

const COMMON = {
  login: ({ expires_in_s }: { expires_in_s: number }, { username }: { username: string }) => [
    `logged in as ${username}; the session ends when it is not used for ${durationOf(expires_in_s)}`,
  ],
  logout: () => ['logged out'],
  whoami: ({ id, username, name, expires_in_s }: Result<Role, 'whoami'>) => [
    `${username} (${name}), number ${id}; the session ends at ${localTime(Date.now() / 1_000 + expires_in_s)} unless it is used`,
  ],
  ping: ({ version }: { version: string }) => [`souk ${version}`],
}

export const DISPLAYS: Displays = {
  seller: {
    ...COMMON,
    create_account: ({ seller_id }) => [`seller ${seller_id}`],
    get_seller_rating: (rating) => [ratingOf(rating)],
    register_item_for_sale: ({ item_id }, { name, quantity, price_cents }) => [
      `item ${item_id}: ${quantity} × ${name} on sale at ${amountOf(price_cents)}`,
    ],
    change_item_price: (_, { item_id, price_cents }) => [`item ${item_id} costs ${amountOf(price_cents)}`],
    update_units_for_sale: ({ quantity }, { item_id }) => [`item ${item_id}: ${quantity} on sale`],
    display_items_for_sale: ({ items }) =>
      listOf(
        'no items',
        [ITEM, NAME, { title: 'CATEGORY', right: true }, ...ABOUT_ITEM],
        items.map((item) => [String(item.item_id), item.name, String(item.category), ...aboutItem(item)]),
      ),
  },
  buyer: {
    ...COMMON,
    create_account: ({ buyer_id }) => [`buyer ${buyer_id}`],
    search_items: ({ items }) =>
      listOf(
        'nothing found',
        [ITEM, NAME, { title: 'SELLER', right: true }, ...ABOUT_ITEM],
        items.map((item) => [String(item.item_id), item.name, String(item.seller_id), ...aboutItem(item)]),
      ),
    get_item: (item) => [
      `item       ${item.item_id}`,
      `name       ${item.name}`,
      `price      ${amountOf(item.price_cents)}`,
      `on sale    ${item.quantity}`,
      `condition  ${item.condition}`,
      `category   ${item.category}`,
      `keywords   ${item.keywords.join(' ')}`,
      `votes      ${votesOf(item)}`,
      `seller     ${item.seller_id}`,
    ],
    add_item_to_cart: inCart,
    remove_item_from_cart: inCart,
    save_cart: () => ['the cart is kept for your later sessions'],
    clear_cart: () => ['the cart is empty'],
    display_cart: ({ lines }) => [
      ...listOf(
        'the cart is empty',
        [ITEM, NAME, UNITS, PRICE, TOTAL, ON_SALE],
        lines.map((line) => [...lineOf(line), String(line.available)]),
      ),
      ...(lines.length > 0 ? [`total ${amountOf(lines.reduce((sum, line) => sum + totalOf(line), 0))}`] : []),
    ],
    make_purchase: ({ purchase_id, lines, total_cents }) => [
      ...listOf('nothing', [ITEM, NAME, UNITS, PRICE, TOTAL], lines.map(lineOf)),
      `purchase ${purchase_id}: total ${amountOf(total_cents)}`,
    ],
    get_buyer_purchases: ({ items_purchased, purchases }) => [
      `${items_purchased} items purchased in all`,
      ...listOf(
        'no purchases',
        [{ title: 'PURCHASE', right: true }, { title: 'TIME' }, ITEM, NAME, UNITS, PRICE, TOTAL],
        purchases.flatMap(({ purchase_id, purchased_at, lines }) =>
          lines.map((line) => [String(purchase_id), localTime(purchased_at), ...lineOf(line)]),
        ),
      ),
    ],
    provide_feedback: (_, { item_id, vote }) => [`item ${item_id}: your vote is ${vote}`],
    get_seller_rating: (rating, { seller_id }) => [`seller ${seller_id}: ${ratingOf(rating)}`],
  },
}

const ABOUT_ITEM: readonly Column[] = [
  PRICE,
  ON_SALE,
  { title: 'CONDITION' },
  { title: 'VOTES' },
  { title: 'KEYWORDS', shrinks: true },
]

function aboutItem(item: Item): string[] {
  return [amountOf(item.price_cents), String(item.quantity), item.condition, votesOf(item), item.keywords.join(' ')]
}

function listOf(empty: string, columns: readonly Column[], rows: readonly (readonly string[])[]): Part[] {
  return [rows.length === 0 ? empty : { columns, rows }]
}

function lineOf(line: CartLine): string[] {
  const { item_id, name, quantity, price_cents } = line
  return [String(item_id), name, String(quantity), amountOf(price_cents), amountOf(totalOf(line))]
}

function totalOf({ quantity, price_cents }: CartLine): number {
  return quantity * price_cents
}

function inCart({ quantity }: { quantity: number }, { item_id }: { item_id: number }): Part[] {
  return [`item ${item_id}: ${quantity} in the cart`]
}

function votesOf({ thumbs_up, thumbs_down }: { thumbs_up: number; thumbs_down: number }): string {
  return `+${thumbs_up} -${thumbs_down}`
}

function ratingOf(rating: Result<'seller', 'get_seller_rating'>): string {
  return `${rating.thumbs_up} up, ${rating.thumbs_down} down, ${rating.items_sold} items sold`
}

/** Of a time in seconds. */
export function localTime(seconds: number): string {
  const time = new Date(seconds * 1_000)
  const two = (number: number) => String(number).padStart(2, '0')
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}`
}

export function durationOf(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  return seconds < 7_200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3_600)} h`
}
