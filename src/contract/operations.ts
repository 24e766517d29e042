/**
 * The contract: every operation of both roles, its parameters and its result.
 * It is pure data, which server, clients and load generator read. A field that
 * is not in it is refused. The schemas check parameters and bring them into
 * normal form, so handlers trust them.
 */

import * as z from 'zod'
import './complaints.ts'
import { COMMON_REFUSALS, type ErrorCode } from './refusals.ts'
import { distinctWords, hiddenText, lowerCase, text } from './text.ts'

export const ROLES = ['seller', 'buyer'] as const
export type Role = (typeof ROLES)[number]

/** Units of one item on sale. */
export const MOST_UNITS = 1_000_000
/** Units of one item in a cart. */
export const MOST_CART_UNITS = 10_000
/** Items in a cart. */
export const MOST_CART_LINES = 100
/** Cents for one unit. */
const MOST_PRICE = 1_000_000_000
/** Items of a category that are counted. */
export const MOST_COUNTED = 10_000

const id = z.int().min(1)
const itemId = id.describe('number of the item')
const count = z.int().min(0)
const name = text(32)
const itemName = name.describe('name of the item')
const category = z.int().min(0).max(65_535).describe('number of the category')
const condition = z.enum(['new', 'used']).describe('condition of the item')
const price = z.int().min(0).max(MOST_PRICE).describe('price of one unit')
const total = z
  .int()
  .min(0)
  .max(MOST_CART_LINES * MOST_CART_UNITS * MOST_PRICE)
  .describe('the only total at which to buy')
const quantity = z.int().min(1).max(MOST_UNITS).describe('units on sale')
const unitsChange = z.int().min(-MOST_UNITS).max(MOST_UNITS).describe('units to add; if negative, to take off')
const cartQuantity = z.int().min(1).max(MOST_CART_UNITS).describe('units of the item')
const vote = z.enum(['up', 'down']).describe('your vote')
const keywords = z
  .array(text(8).overwrite(lowerCase))
  .max(5, 'at most 5 words')
  .transform(distinctWords)
  .describe('up to 5 words of up to 8 characters')
const username = z
  .string()
  .regex(/^[a-zA-Z0-9_.-]{3,32}$/, 'must have 3 to 32 of a-z A-Z 0-9 _ . -')
  .describe('user name')
const password = hiddenText(8, 128)
const session = z.string().min(1).max(128).describe('token of a login')
const key = text(64).describe('the same in every attempt of one call')
const keyed = { session, idempotency_key: key.optional() }

/** Cursors are opaque: a client hands back the one it was given. */
const cursor = (form: RegExp) =>
  z.string().regex(form, 'must be a next_cursor of an earlier reply').describe('next_cursor of the page before')
const idCursor = cursor(/^[1-9]\d{0,15}$/)
const categoryCursor = cursor(/^(0|[1-9]\d{0,4})$/)
const saleCursor = cursor(/^[1-9]\d{0,15}-[1-9]\d{0,15}$/)
const searchCursor = cursor(/^[1-5]-[1-9]\d{0,15}$/)
const limit = (most: number) => z.int().min(1).max(most).describe('entries of a page')

const ok = z.strictObject({ ok: z.literal(true) })
const item = z.strictObject({
  item_id: id,
  seller_id: id,
  seller_name: name,
  name,
  category,
  keywords: z.array(z.string()),
  condition,
  price_cents: price,
  quantity: count,
  thumbs_up: count,
  thumbs_down: count,
})
const rating = z.strictObject({ seller_name: name, thumbs_up: count, thumbs_down: count, items_sold: count })
export type Item = z.infer<typeof item>
/** A line of a cart or of a purchase: an item, its units, and the price of one. */
const cartLine = z.strictObject({ item_id: id, name, quantity: count, price_cents: price })
export type CartLine = z.infer<typeof cartLine>
const units = z.strictObject({ quantity: count })
const purchase = z.strictObject({ purchase_id: id, lines: z.array(cartLine), total_cents: count })

/** A sold line: an item as it was when it was sold, and no buyer. */
const sale = cartLine.extend({ purchase_id: id, purchased_at: count, total_cents: count })
/** `or_more`: there are more items than are counted. */
const listedCategory = z.strictObject({ category, items_on_sale: count, or_more: z.literal(true).optional() })

/** A key belongs to what the call acts on: to the account or, in calls on a cart, to the session. */
export type KeyScope = 'account' | 'session'

export interface Operation {
  about: string
  /** Includes the session, unless the operation is open. */
  params: z.ZodObject
  result: z.ZodObject
  /** Needs no session. */
  open?: true
  /** Takes an idempotency key: the same key again, in its scope, gives the first answer and no second effect. */
  keyed?: KeyScope
  /** What it may be refused for, beyond `refusalsOf` any such operation. */
  refusals: readonly ErrorCode[]
}

/** The operations that both roles have. */
function forBoth<Created extends z.ZodRawShape>(created: Created) {
  return {
    create_account: {
      about: 'Open an account; repeating it with the same password gives the same id',
      params: z.strictObject({ username, password, name: name.describe('name that others see') }),
      result: z.strictObject(created),
      open: true,
      refusals: ['username_taken', 'too_many_attempts'],
    },
    login: {
      about: 'Begin a session',
      params: z.strictObject({ username, password }),
      result: z.strictObject({ session, expires_in_s: count }),
      open: true,
      refusals: ['unauthenticated', 'too_many_attempts'],
    },
    logout: {
      about: 'End the session',
      params: z.strictObject({ session }),
      result: ok,
      refusals: [],
    },
    change_password: {
      about: 'Change the password, and end all other sessions of the account',
      params: z.strictObject({ session, password, new_password: password }),
      result: ok,
      refusals: ['wrong_password', 'too_many_attempts'],
    },
    whoami: {
      about: 'Show whose session this is, and when it ends if it is not used',
      params: z.strictObject({ session }),
      result: z.strictObject({ id, username, name, expires_in_s: count }),
      refusals: [],
    },
    list_categories: {
      about: 'List the categories that have items on sale, and how many; no more than 10,000 of each are counted',
      params: z.strictObject({ session, limit: limit(100).default(20), cursor: categoryCursor.optional() }),
      result: z.strictObject({ categories: z.array(listedCategory), next_cursor: categoryCursor.optional() }),
      refusals: [],
    },
    ping: {
      about: 'Check that the server is up; print its version',
      params: z.strictObject({
        databases: z.boolean().describe('check that its databases answer too').default(false),
      }),
      result: ok.extend({
        version: z.string(),
        databases: z.strictObject({ customer: z.boolean(), product: z.boolean() }).optional(),
      }),
      open: true,
      refusals: [],
    },
  } as const
}

export const operations = {
  seller: {
    ...forBoth({ seller_id: id }),
    get_seller_rating: {
      about: 'Show your rating and how many items you have sold',
      params: z.strictObject({ session }),
      result: rating,
      refusals: [],
    },
    register_item_for_sale: {
      about: 'Put an item on sale',
      params: z.strictObject({
        ...keyed,
        name: itemName,
        category,
        keywords,
        condition,
        price_cents: price,
        quantity,
      }),
      result: z.strictObject({ item_id: id }),
      keyed: 'account',
      refusals: [],
    },
    change_item_price: {
      about: 'Set the price of one of your items',
      params: z.strictObject({ session, item_id: itemId, price_cents: price }),
      result: ok,
      refusals: ['not_found'],
    },
    update_units_for_sale: {
      about: 'Put more units of one of your items on sale, or with a negative change take some off',
      params: z.strictObject({ ...keyed, item_id: itemId, change: unitsChange }),
      result: units,
      keyed: 'account',
      refusals: ['not_found', 'out_of_stock', 'limit_exceeded'],
    },
    edit_item: {
      about: 'Change the details of one of your items: name, category, keywords or condition; what is not given stays',
      params: z
        .strictObject({
          session,
          item_id: itemId,
          name: itemName.optional(),
          category: category.optional(),
          keywords: keywords.optional(),
          condition: condition.optional(),
        })
        .refine(({ session: _, item_id: __, ...changes }) => Object.keys(changes).length > 0, {
          path: ['(fields)'],
          message: 'give a name, category, keywords or condition',
        }),
      result: item,
      refusals: ['not_found'],
    },
    display_items_for_sale: {
      about: 'List your items, newest first',
      params: z.strictObject({
        session,
        limit: limit(10_000).default(1_000),
        cursor: idCursor.optional(),
        include_sold_out: z.boolean().describe('include items that are sold out').default(false),
      }),
      result: z.strictObject({ items: z.array(item), next_cursor: idCursor.optional() }),
      refusals: [],
    },
    get_seller_sales: {
      about: 'List what you have sold, newest first, and sum up all your sales',
      params: z.strictObject({ session, limit: limit(100).default(20), cursor: saleCursor.optional() }),
      result: z.strictObject({
        items_sold: count,
        sales_cents: count,
        sales: z.array(sale),
        next_cursor: saleCursor.optional(),
      }),
      refusals: [],
    },
  },
  buyer: {
    ...forBoth({ buyer_id: id }),
    search_items: {
      about:
        'Find items on sale in a category: those with more of the keywords first, newer ones first among equals, ' +
        'ranked among the newest 2,000 of each keyword; without keywords, the newest first',
      params: z.strictObject({
        session,
        category,
        keywords: keywords.default([]),
        limit: limit(100).default(20),
        cursor: searchCursor.optional(),
      }),
      result: z.strictObject({ items: z.array(item), next_cursor: searchCursor.optional() }),
      refusals: [],
    },
    get_item: {
      about: 'Show one item',
      params: z.strictObject({ session, item_id: itemId }),
      result: item,
      refusals: ['not_found'],
    },
    add_item_to_cart: {
      about: 'Put units of an item into the cart, if enough are on sale now; this reserves nothing',
      params: z.strictObject({ ...keyed, item_id: itemId, quantity: cartQuantity }),
      result: units,
      keyed: 'session',
      refusals: ['not_found', 'out_of_stock', 'limit_exceeded'],
    },
    remove_item_from_cart: {
      about: 'Take units of an item out of the cart',
      params: z.strictObject({ ...keyed, item_id: itemId, quantity: cartQuantity }),
      result: units,
      keyed: 'session',
      refusals: ['not_in_cart'],
    },
    save_cart: {
      about: 'Save the cart for your later sessions, until you buy what is in it; the last save wins',
      params: z.strictObject({ session }),
      result: ok,
      refusals: [],
    },
    clear_cart: {
      about: "Empty the session's cart; the saved cart stays",
      params: z.strictObject({ session }),
      result: ok,
      refusals: [],
    },
    display_cart: {
      about: "Show the session's cart, with current prices and the units on sale",
      params: z.strictObject({ session }),
      result: z.strictObject({ lines: z.array(cartLine.extend({ available: count })) }),
      refusals: [],
    },
    make_purchase: {
      about:
        'Buy the whole cart at current prices, or nothing; given a total, buy at that total only. ' +
        'What is bought also leaves the saved cart',
      params: z.strictObject({ ...keyed, total_cents: total.optional() }),
      result: purchase,
      keyed: 'account',
      refusals: ['cart_empty', 'out_of_stock', 'price_changed'],
    },
    get_buyer_purchases: {
      about: 'List your purchases, newest first, and count all units that you purchased',
      params: z.strictObject({
        session,
        limit: limit(100).default(20),
        cursor: idCursor.optional(),
      }),
      result: z.strictObject({
        items_purchased: count,
        purchases: z.array(purchase.extend({ purchased_at: count.describe('seconds since 1970') })),
        next_cursor: idCursor.optional(),
      }),
      refusals: [],
    },
    provide_feedback: {
      about: 'Vote an item that you have purchased up or down; a new vote replaces the old one',
      params: z.strictObject({ session, item_id: itemId, vote }),
      result: ok,
      refusals: ['not_found', 'not_purchased'],
    },
    get_seller_rating: {
      about: "Show a seller's rating and how many items the seller has sold",
      params: z.strictObject({ session, seller_id: id.describe('number of the seller') }),
      result: rating,
      refusals: ['not_found'],
    },
  },
} as const satisfies Record<Role, Record<string, Operation>>

/** Operations of a role whose calls, in flight together, take effect in the order in which they arrive. */
type Ordered = { [R in Role]: { role: R; operations: readonly Name<R>[]; within: 'session'; about: string } }[Role]

/** In which order calls take effect, for whoever sends several at once. */
export const ORDER: { readonly rule: string; readonly ordered: readonly Ordered[] } = {
  rule:
    'Requests in flight together are concurrent: they take effect in any order, and are answered in any order. ' +
    'To have one done before another, wait for its reply.',
  /** The exceptions to the rule. */
  ordered: [],
}

export type Name<R extends Role> = keyof (typeof operations)[R] & string

type Entry<R extends Role, N extends Name<R>> = (typeof operations)[R][N] extends infer E extends Operation ? E : never

export type Params<R extends Role, N extends Name<R>> = z.infer<Entry<R, N>['params']>
/** Parameters as a client writes them: those with a default may be left out. */
export type Input<R extends Role, N extends Name<R>> = z.input<Entry<R, N>['params']>
export type Result<R extends Role, N extends Name<R>> = z.infer<Entry<R, N>['result']>

/** A role's operations. A map, since a name from the wire may be anything, `__proto__` too. */
export function operationsByName(role: Role): ReadonlyMap<string, Operation> {
  return new Map<string, Operation>(Object.entries(operations[role]))
}

/** All that an operation may be refused for. */
export function refusalsOf({ open, keyed, refusals }: Operation): readonly ErrorCode[] {
  const session: ErrorCode[] = open ? [] : ['unauthenticated']
  const key: ErrorCode[] = keyed ? ['idempotency_mismatch'] : []
  return [...refusals, ...key, ...session, ...COMMON_REFUSALS]
}
