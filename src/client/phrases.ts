/**
 * The words of each operation: how it is typed, and how its result is said to
 * a person. A new operation needs one entry here. (`--json` prints the result
 * as the contract has it instead.)
 */

import type { CartLine, Item, Name, Params, Result, Role } from '../contract/operations.ts'
import { formatAmount, sumPrices } from './money.ts'
import type { Column } from './table.ts'

export interface Phrase<P, R> {
  /** A short name. */
  alias?: string
  /** The parameters that need no name, in the order in which they are typed. All others are options. */
  positional?: readonly (keyof P)[]
  /** Commands for its help, as they are typed after the role. */
  examples: readonly [string, ...string[]]
  say(result: R, params: P): readonly Part[]
  /** What to type after a result that helps nobody; a reason, and the command. */
  advise?(result: R): { reason: string; words: string } | undefined
}

/** A line of text, or a table that may go on with the next page. */
export type Part = string | { columns: readonly Column[]; rows: readonly (readonly string[])[] }

export type AnyResult = Readonly<Record<string, unknown>>
export type AnyPhrase = Phrase<AnyResult, AnyResult>

type Phrases<R extends Role, N extends Name<R> = Name<R>> = { readonly [M in N]: Phrase<Params<R, M>, Result<R, M>> }

const ITEM = { title: 'ITEM', right: true } as const
const NAME = { title: 'NAME', shrinks: true } as const
const SELLER = { title: 'SELLER', shrinks: true } as const
const CATEGORY = { title: 'CATEGORY', right: true } as const
const UNITS = { title: 'UNITS', right: true } as const
const PRICE = { title: 'PRICE', right: true } as const
const ON_SALE = { title: 'ON SALE', right: true } as const
const TOTAL = { title: 'TOTAL', right: true } as const
/** Lines of several purchases. */
const SOLD_LINES: readonly Column[] = [
  { title: 'PURCHASE', right: true },
  { title: 'TIME' },
  ITEM,
  NAME,
  UNITS,
  PRICE,
  TOTAL,
]
const ITEM_DETAILS: readonly Column[] = [
  PRICE,
  ON_SALE,
  { title: 'CONDITION' },
  { title: 'VOTES' },
  { title: 'KEYWORDS', shrinks: true },
]

const CREATE_ACCOUNT = {
  alias: 'signup',
  positional: ['username', 'name'],
  examples: ['create-account ann "Ann Lee"'],
} as const

const FOR_BOTH: Phrases<Role, 'login' | 'logout' | 'change_password' | 'whoami' | 'list_categories' | 'ping'> = {
  login: {
    positional: ['username'],
    examples: ['login ann', 'login ann --password-file ~/.souk-password'],
    say: ({ expires_in_s }, { username }) => [
      `logged in as ${username}; the session ends when it is not used for ${formatDuration(expires_in_s)}`,
    ],
  },
  logout: {
    examples: ['logout'],
    say: () => ['logged out'],
  },
  change_password: {
    alias: 'passwd',
    examples: ['change-password', 'change-password --password-file ~/.souk-passwords'],
    say: () => ['the password is changed; all other sessions have ended'],
  },
  whoami: {
    examples: ['whoami'],
    say: ({ id, username, name, expires_in_s }) => {
      const end = formatLocalTime(Date.now() / 1_000 + expires_in_s)
      return [`${username} (${name}), number ${id}; the session ends at ${end} unless it is used`]
    },
  },
  list_categories: {
    alias: 'categories',
    examples: ['list-categories', 'list-categories --all'],
    say: ({ categories }) => [
      tableOr('no items on sale', [CATEGORY, ON_SALE], categories, ({ category, items_on_sale, or_more }) => [
        String(category),
        or_more ? `${items_on_sale}+` : String(items_on_sale),
      ]),
    ],
  },
  ping: {
    examples: ['ping', 'ping --databases'],
    say: ({ version, databases }) => [`souk ${version}`, ...(databases === undefined ? [] : [formatHealth(databases)])],
  },
}

const PHRASES: { readonly [R in Role]: Phrases<R> } = {
  seller: {
    ...FOR_BOTH,
    create_account: {
      ...CREATE_ACCOUNT,
      say: ({ seller_id }) => [`seller ${seller_id}`],
    },
    get_seller_rating: {
      alias: 'rating',
      examples: ['get-seller-rating'],
      say: (rating) => [`${rating.seller_name}: ${formatRating(rating)}`],
    },
    register_item_for_sale: {
      alias: 'register',
      positional: ['name'],
      examples: [
        'register-item-for-sale "Nikon F3" --category 3 --price 249.90 --quantity 2 --condition used --keyword camera',
        'register-item-for-sale Film --category 3 --price 9 --quantity 50 --condition new --keyword film --keyword 35mm',
      ],
      say: ({ item_id }, { name, quantity, price_cents }) => [
        `item ${item_id}: ${quantity} × ${name} on sale at ${formatAmount(price_cents)}`,
      ],
    },
    change_item_price: {
      alias: 'price',
      positional: ['item_id', 'price_cents'],
      examples: ['change-item-price 1 9.50'],
      say: (_, { item_id, price_cents }) => [`item ${item_id} costs ${formatAmount(price_cents)}`],
    },
    update_units_for_sale: {
      alias: 'units',
      positional: ['item_id', 'change'],
      examples: ['update-units-for-sale 1 10', 'update-units-for-sale 1 -3'],
      say: ({ quantity }, { item_id }) => [`item ${item_id}: ${quantity} on sale`],
    },
    edit_item: {
      alias: 'edit',
      positional: ['item_id'],
      examples: ['edit-item 1 --name "Nikon F3 HP" --condition used', 'edit-item 1 --keyword film --keyword 35mm'],
      say: (item) => formatItem(item),
    },
    display_items_for_sale: {
      alias: 'items',
      examples: ['display-items-for-sale', 'display-items-for-sale --include-sold-out --all'],
      say: ({ items }) => [
        tableOr('no items', [ITEM, NAME, CATEGORY, ...ITEM_DETAILS], items, (item) => [
          String(item.item_id),
          item.name,
          String(item.category),
          ...formatDetails(item),
        ]),
      ],
    },
    get_seller_sales: {
      alias: 'sales',
      examples: ['get-seller-sales', 'get-seller-sales --all'],
      say: ({ items_sold, sales_cents, sales }) => [
        `${items_sold} items sold in all, for ${formatAmount(sales_cents)}`,
        tableOr('no sales', SOLD_LINES, sales, (line) => [
          String(line.purchase_id),
          formatLocalTime(line.purchased_at),
          ...formatCartLine(line),
        ]),
      ],
    },
  },
  buyer: {
    ...FOR_BOTH,
    create_account: {
      ...CREATE_ACCOUNT,
      say: ({ buyer_id }) => [`buyer ${buyer_id}`],
    },
    search_items: {
      alias: 'search',
      positional: ['category', 'keywords'],
      examples: ['search-items 3 camera lens', 'search-items 3 --all'],
      say: ({ items }) => [
        tableOr('nothing found', [ITEM, NAME, SELLER, ...ITEM_DETAILS], items, (item) => [
          String(item.item_id),
          item.name,
          formatSeller(item),
          ...formatDetails(item),
        ]),
      ],
      advise: ({ items }) =>
        items.length === 0 ? { reason: 'see what is on sale', words: 'list-categories' } : undefined,
    },
    get_item: {
      alias: 'item',
      positional: ['item_id'],
      examples: ['get-item 1'],
      say: (item) => formatItem(item),
    },
    add_item_to_cart: {
      alias: 'add',
      positional: ['item_id', 'quantity'],
      examples: ['add-item-to-cart 1 2'],
      say: ({ quantity }, { item_id }) => [`item ${item_id}: ${quantity} in the cart`],
    },
    remove_item_from_cart: {
      alias: 'remove',
      positional: ['item_id', 'quantity'],
      examples: ['remove-item-from-cart 1 2'],
      say: ({ quantity }, { item_id }) => [`item ${item_id}: ${quantity} in the cart`],
    },
    save_cart: {
      alias: 'save',
      examples: ['save-cart'],
      say: () => ['the cart is kept for your later sessions'],
    },
    clear_cart: {
      alias: 'clear',
      examples: ['clear-cart'],
      say: () => ['the cart is empty'],
    },
    display_cart: {
      alias: 'cart',
      examples: ['display-cart'],
      say: ({ lines }) => [
        tableOr('the cart is empty', [ITEM, NAME, UNITS, PRICE, TOTAL, ON_SALE], lines, (line) => [
          ...formatCartLine(line),
          String(line.available),
        ]),
        ...(lines.length > 0 ? [`total ${formatAmount(sumPrices(lines))}`] : []),
      ],
    },
    make_purchase: {
      alias: 'buy',
      examples: ['make-purchase', 'make-purchase --total 499.80'],
      say: ({ purchase_id, lines, total_cents }) => [
        tableOr('nothing', [ITEM, NAME, UNITS, PRICE, TOTAL], lines, formatCartLine),
        `purchase ${purchase_id}: total ${formatAmount(total_cents)}`,
      ],
    },
    get_buyer_purchases: {
      alias: 'purchases',
      examples: ['get-buyer-purchases', 'get-buyer-purchases --limit 5'],
      say: ({ items_purchased, purchases }) => {
        const bought = purchases.flatMap(({ lines, ...purchase }) => lines.map((line) => ({ ...purchase, line })))
        return [
          `${items_purchased} items purchased in all`,
          tableOr('no purchases', SOLD_LINES, bought, ({ purchase_id, purchased_at, line }) => [
            String(purchase_id),
            formatLocalTime(purchased_at),
            ...formatCartLine(line),
          ]),
        ]
      },
    },
    provide_feedback: {
      alias: 'vote',
      positional: ['item_id', 'vote'],
      examples: ['provide-feedback 1 up'],
      say: (_, { item_id, vote }) => [`item ${item_id}: your vote is ${vote}`],
    },
    get_seller_rating: {
      alias: 'rating',
      positional: ['seller_id'],
      examples: ['get-seller-rating 1'],
      say: (rating, { seller_id }) => [`seller ${seller_id}, ${rating.seller_name}: ${formatRating(rating)}`],
    },
  },
}

/** The words of an operation, for callers that know only its name. */
export function findPhrase(role: Role, operation: string): AnyPhrase {
  return (PHRASES[role] as unknown as Readonly<Record<string, AnyPhrase>>)[operation] as AnyPhrase
}

/** A table with a row for each entry; without entries, what is said instead. */
function tableOr<E>(
  empty: string,
  columns: readonly Column[],
  entries: readonly E[],
  toRow: (entry: E) => string[],
): Part {
  return entries.length === 0 ? empty : { columns, rows: entries.map(toRow) }
}

function formatItem(item: Item): string[] {
  return [
    `item       ${item.item_id}`,
    `name       ${item.name}`,
    `price      ${formatAmount(item.price_cents)}`,
    `on sale    ${item.quantity}`,
    `condition  ${item.condition}`,
    `category   ${item.category}`,
    `keywords   ${item.keywords.join(' ')}`,
    `votes      ${formatVotes(item)}`,
    `seller     ${formatSeller(item)}`,
  ]
}

function formatDetails(item: Item): string[] {
  const { price_cents, quantity, condition, keywords } = item
  return [formatAmount(price_cents), String(quantity), condition, formatVotes(item), keywords.join(' ')]
}

function formatCartLine({ item_id, name, quantity, price_cents }: CartLine): string[] {
  return [String(item_id), name, String(quantity), formatAmount(price_cents), formatAmount(quantity * price_cents)]
}

/** The number first: it is what people type, and a narrow table cuts the end. */
function formatSeller({ seller_id, seller_name }: Pick<Item, 'seller_id' | 'seller_name'>): string {
  return `${seller_id} ${seller_name}`
}

function formatVotes({ thumbs_up, thumbs_down }: Pick<Item, 'thumbs_up' | 'thumbs_down'>): string {
  return `+${thumbs_up} -${thumbs_down}`
}

function formatRating({ thumbs_up, thumbs_down, items_sold }: Result<'seller', 'get_seller_rating'>): string {
  return `${thumbs_up} up, ${thumbs_down} down, ${items_sold} items sold`
}

/** Which of a server's databases answer. */
export function formatHealth({ customer, product }: { customer: boolean; product: boolean }): string {
  if (customer && product) return 'databases answer'
  return customer || product ? `no ${customer ? 'product' : 'customer'} database` : 'no database'
}

/** A time, in seconds since 1970, in the time zone of this machine. */
export function formatLocalTime(seconds: number): string {
  const time = new Date(seconds * 1_000)
  const twoDigits = (number: number) => String(number).padStart(2, '0')
  const day = [time.getFullYear(), twoDigits(time.getMonth() + 1), twoDigits(time.getDate())].join('-')
  return `${day} ${twoDigits(time.getHours())}:${twoDigits(time.getMinutes())}`
}

export function formatDuration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  return seconds < 7_200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3_600)} h`
}
