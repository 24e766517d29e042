/**
 * What is said when a command fails: what is wrong, what to type next, and the
 * exit code by which a script knows.
 */

import { CallRefused, ConnectionLost } from '../connection.ts'
import type { Role } from '../operations.ts'
import type { ErrorCode } from '../protocol.ts'
import { isLoopback } from './address.ts'
import { type Commands, UsageError } from './commands.ts'
import { Interrupted } from './password.ts'

export const EXIT = {
  failure: 1,
  usage: 2,
  notLoggedIn: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  interrupted: 130,
} as const

/** A command failed, as it is told. */
export interface Failure {
  exitCode: number
  /** The contract's, or `usage`, `unreachable`, `interrupted`. */
  code: string
  message: string
  /** What to type next. */
  next: string | undefined
  /** What the server said beside it. */
  details: Readonly<Record<string, unknown>>
}

/** There is no session to call with. */
export class NotLoggedIn extends Error {}

/** What was tried. */
export interface Attempt {
  commands: Commands<Role>
  host: string
  port: number
  /** Undefined when there was no command yet. */
  operation: string | undefined
  params: Readonly<Record<string, unknown>>
  /** Whose session it was. */
  username: string | undefined
}

type Told = Partial<Pick<Failure, 'message' | 'next'>>
type Details = Readonly<Record<string, unknown>>

interface Shortage {
  item_id: number
  requested: number
  available: number
}

const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  invalid_params: EXIT.usage,
  unauthenticated: EXIT.notLoggedIn,
  not_found: EXIT.notFound,
  username_taken: EXIT.conflict,
  out_of_stock: EXIT.conflict,
  not_in_cart: EXIT.conflict,
  cart_empty: EXIT.conflict,
  not_purchased: EXIT.conflict,
  limit_exceeded: EXIT.conflict,
  idempotency_mismatch: EXIT.conflict,
  shutting_down: EXIT.unreachable,
}

/** What shows whether an operation was carried out after all. */
const SHOWN_BY: Readonly<Record<string, string>> = {
  create_account: 'login <username>',
  register_item_for_sale: 'display-items-for-sale',
  change_item_price: 'display-items-for-sale',
  update_units_for_sale: 'display-items-for-sale',
  add_item_to_cart: 'display-cart',
  remove_item_from_cart: 'display-cart',
  clear_cart: 'display-cart',
  make_purchase: 'get-buyer-purchases',
}

/** Rethrows what is a mistake in this program. */
export function failureOf(error: unknown, attempt: Attempt): Failure {
  const { commands, username } = attempt
  if (error instanceof UsageError) return usageFailure(error)
  if (error instanceof NotLoggedIn) {
    const next = commands.line(`login ${username ?? '<username>'}`)
    return { exitCode: EXIT.notLoggedIn, code: 'unauthenticated', message: error.message, next, details: {} }
  }
  if (error instanceof Interrupted) return interruption(attempt)
  if (error instanceof ConnectionLost) return lost(error, attempt)
  if (error instanceof CallRefused) return refused(error, attempt)
  if (error instanceof Error && 'syscall' in error) {
    return { exitCode: EXIT.failure, code: 'system', message: error.message, next: undefined, details: {} }
  }
  throw error
}

export function usageFailure({ message, next }: UsageError): Failure {
  return { exitCode: EXIT.usage, code: 'usage', message, next, details: {} }
}

function lost({ message, outcome }: ConnectionLost, attempt: Attempt): Failure {
  const shownBy = shownByLine(attempt)
  const told: Told =
    outcome === 'none'
      ? isLoopback(attempt.host)
        ? { message: `${message}; start a server`, next: 'souk-server' }
        : { next: 'souk status' }
      : shownBy === undefined
        ? { next: 'souk status' }
        : { message: `${message}; it may have been carried out`, next: shownBy }
  return { exitCode: EXIT.unreachable, code: 'unreachable', message, next: undefined, details: { outcome }, ...told }
}

function refused({ code, message, details }: CallRefused, attempt: Attempt): Failure {
  const exitCode = EXIT_CODES[code] ?? EXIT.failure
  const { code: _, ...others } = details
  return { exitCode, code, message, next: undefined, details: others, ...ADVICE[code]?.(details, attempt) }
}

/** Ctrl-C, perhaps while a call was under way. */
function interruption(attempt: Attempt): Failure {
  const shownBy = shownByLine(attempt)
  const told: Told =
    shownBy === undefined
      ? { message: 'interrupted' }
      : { message: 'interrupted; it may have been carried out', next: shownBy }
  return { exitCode: EXIT.interrupted, code: 'interrupted', message: '', next: undefined, details: {}, ...told }
}

const ADVICE: Partial<Record<ErrorCode, (details: Details, attempt: Attempt) => Told>> = {
  invalid_params: ({ fields }) => {
    const problems = Object.entries((fields ?? {}) as Record<string, string>)
    return problems.length === 0
      ? {}
      : { message: problems.map(([field, problem]) => `${field}: ${problem}`).join('\n') }
  },
  unauthenticated: (_, { commands, operation, username }) =>
    operation === 'login'
      ? {}
      : { message: 'the session has ended', next: commands.line(`login ${username ?? '<username>'}`) },
  not_found: (_, { commands, operation }) => {
    if (operation === 'get_seller_rating') return {}
    return {
      next: commands.line(commands.role === 'seller' ? 'display-items-for-sale' : exampleOf(commands, 'search-items')),
    }
  },
  username_taken: (_, { commands, params }) => ({
    message: `the user name ${params.username} is taken; if it is yours, log in`,
    next: commands.line(`login ${params.username}`),
  }),
  out_of_stock: outOfStock,
  not_in_cart: ({ item_id, quantity }, { commands }) =>
    quantity === 0
      ? { message: `item ${item_id} is not in the cart`, next: commands.line('display-cart') }
      : {
          message: `the cart has ${quantity} of item ${item_id}`,
          next: commands.line(`remove-item-from-cart ${item_id} ${quantity}`),
        },
  cart_empty: (_, { commands }) => ({
    message: 'the cart is empty; put something into it',
    next: commands.line(exampleOf(commands, 'add-item-to-cart')),
  }),
  not_purchased: (_, { commands }) => ({ next: commands.line('get-buyer-purchases') }),
  timeout: ({ outcome }, attempt) => {
    const shownBy = shownByLine(attempt)
    if (outcome !== 'unknown' || shownBy === undefined) return { message: 'the server did not get to it in time' }
    return { message: 'the server did not finish in time; it may have been carried out', next: shownBy }
  },
  overloaded: () => ({ message: 'the server has too much to do; try again' }),
}

function outOfStock(details: Details, { commands, operation, params }: Attempt): Told {
  const { item_id, requested, available } = details as unknown as Shortage
  if (operation === 'make_purchase') {
    const items = details.items as Shortage[]
    const short = items.map(
      (item) => `item ${item.item_id}: ${item.available} in stock, the cart has ${item.requested}`,
    )
    return {
      message: short.join('\n'),
      next: commands.line(`remove-item-from-cart ${item_id} ${requested - available}`),
    }
  }
  if (operation === 'update_units_for_sale') {
    const message = `item ${item_id} has ${available} on sale, ${requested} were to go`
    return {
      message,
      next: available === 0 ? undefined : commands.line(`update-units-for-sale ${item_id} -${available}`),
    }
  }
  const asked = Number(params.quantity)
  const inCart = requested - asked
  const more = available - inCart
  const message =
    inCart === 0
      ? `${available} in stock, you asked for ${asked}`
      : `${available} in stock, the cart has ${inCart}, you asked for ${asked} more`
  if (more > 0) return { message, next: commands.line(`add-item-to-cart ${item_id} ${more}`) }
  if (available === 0 && inCart === 0) return { message: `item ${item_id} is sold out` }
  return { message, next: commands.line('display-cart') }
}

function shownByLine({ commands, operation, params }: Attempt): string | undefined {
  const words = SHOWN_BY[operation ?? '']
  return words && commands.line(words.replace('<username>', String(params.username)))
}

function exampleOf({ entries }: Commands<Role>, wanted: string): string {
  return entries.find(({ word }) => word === wanted)?.examples[0] ?? wanted
}
