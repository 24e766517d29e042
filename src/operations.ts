/**
 * The contract: every operation of both roles, its parameters and its result.
 * Pure data, read by server, clients, load generator and documentation; a
 * field that is not in it is refused. Parameters come out of their schemas
 * checked and in normal form, so whoever handles them trusts them.
 */

import { z } from 'zod'

export const ROLES = ['seller', 'buyer'] as const
export type Role = (typeof ROLES)[number]

/** Text in normal form C, counted in code points, with no control character and no space at its edges. */
function text(longest: number) {
  const fits = new RegExp(`^(?!\\s)[^\\p{Cc}\\p{Cs}]{1,${longest}}$(?<!\\s)`, 'u')
  return z
    .string()
    .normalize('NFC')
    .regex(fits, `must have 1 to ${longest} characters, none of them a control character, no space at its edges`)
}

const id = z.int().min(1)
const count = z.int().min(0)
const name = text(32)
const category = z.int().min(0).max(65_535)
const condition = z.enum(['new', 'used'])
const price = z.int().min(0).max(1_000_000_000)
const quantity = z.int().min(1).max(1_000_000)
const keywords = z
  .array(text(8).toLowerCase().pipe(text(8)))
  .max(5)
  .transform((words) => [...new Set(words)])
const username = z.string().regex(/^[a-zA-Z0-9_.-]{3,32}$/, 'must have 3 to 32 of a-z A-Z 0-9 _ . -')
const password = z
  .string()
  .normalize('NFC')
  .regex(/^[^\p{Cc}\p{Cs}]{8,128}$/u, 'must have 8 to 128 characters')
const session = z.string().min(1).max(128)
const idempotencyKey = text(64).optional()

/** Cursors are opaque to clients: they hand back what they were given. */
const itemCursor = z.string().regex(/^[1-9]\d{0,15}$/, 'must be a next_cursor of an earlier reply')
const searchCursor = z.string().regex(/^[1-5]-[1-9]\d{0,15}$/, 'must be a next_cursor of an earlier reply')

const ok = z.strictObject({ ok: z.literal(true) })
const item = z.strictObject({
  item_id: id,
  seller_id: id,
  name,
  category,
  keywords: z.array(z.string()),
  condition,
  price_cents: price,
  quantity: count,
  thumbs_up: count,
  thumbs_down: count,
})
const rating = z.strictObject({ thumbs_up: count, thumbs_down: count, items_sold: count })
export type Item = z.infer<typeof item>

interface Operation {
  about: string
  /** With the session, unless the operation is open to everybody. */
  params: z.ZodObject
  result: z.ZodObject
  /** Needs no session. */
  open?: true
  /** Takes an idempotency key: the same key again gives the first answer and no second effect. */
  keyed?: true
}

/** The operations that both roles have. */
function forBoth<Created extends z.ZodRawShape>(created: Created) {
  return {
    create_account: {
      about: 'Open an account; once more with the same password answers the same id',
      params: z.strictObject({ username, password, name }),
      result: z.strictObject(created),
      open: true,
    },
    login: {
      about: 'Begin a session',
      params: z.strictObject({ username, password }),
      result: z.strictObject({ session, expires_in_s: count }),
      open: true,
    },
    logout: {
      about: 'End the session',
      params: z.strictObject({ session }),
      result: ok,
    },
    whoami: {
      about: 'Tell whose session this is, and how long it lasts unless it is used',
      params: z.strictObject({ session }),
      result: z.strictObject({ id, username, name, expires_in_s: count }),
    },
    ping: {
      about: 'Tell that the server answers, and its version',
      params: z.strictObject({}),
      result: ok.extend({ version: z.string() }),
      open: true,
    },
  } as const
}

export const operations = {
  seller: {
    ...forBoth({ seller_id: id }),
    get_seller_rating: {
      about: 'Tell your rating and how many items you sold',
      params: z.strictObject({ session }),
      result: rating,
    },
    register_item_for_sale: {
      about: 'Put an item on sale',
      params: z.strictObject({
        session,
        idempotency_key: idempotencyKey,
        name,
        category,
        keywords,
        condition,
        price_cents: price,
        quantity,
      }),
      result: z.strictObject({ item_id: id }),
      keyed: true,
    },
    display_items_for_sale: {
      about: 'List your items, newest first',
      params: z.strictObject({
        session,
        limit: z.int().min(1).max(10_000).default(1_000),
        cursor: itemCursor.optional(),
        include_sold_out: z.boolean().default(false),
      }),
      result: z.strictObject({ items: z.array(item), next_cursor: itemCursor.optional() }),
    },
  },
  buyer: {
    ...forBoth({ buyer_id: id }),
    search_items: {
      about:
        'Find items on sale in a category: more matching keywords first, newer first among equals, ' +
        'ranked among the newest 2,000 of each keyword; without keywords, newest first',
      params: z.strictObject({
        session,
        category,
        keywords: keywords.default([]),
        limit: z.int().min(1).max(100).default(20),
        cursor: searchCursor.optional(),
      }),
      result: z.strictObject({ items: z.array(item), next_cursor: searchCursor.optional() }),
    },
    get_item: {
      about: 'Show one item',
      params: z.strictObject({ session, item_id: id }),
      result: item,
    },
    get_seller_rating: {
      about: "Tell a seller's rating and how many items the seller sold",
      params: z.strictObject({ session, seller_id: id }),
      result: rating,
    },
  },
} as const satisfies Record<Role, Record<string, Operation>>

export type Name<R extends Role> = keyof (typeof operations)[R] & string

type Entry<R extends Role, N extends Name<R>> = (typeof operations)[R][N] extends infer E extends Operation ? E : never

export type Params<R extends Role, N extends Name<R>> = z.infer<Entry<R, N>['params']>
export type Result<R extends Role, N extends Name<R>> = z.infer<Entry<R, N>['result']>

/** An operation by its name, whatever stands in the name: own properties only. */
export function operationsOf(role: Role): ReadonlyMap<string, Operation> {
  return new Map<string, Operation>(Object.entries(operations[role]))
}
