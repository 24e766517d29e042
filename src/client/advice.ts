/** What is said when a command fails: what is wrong, and what to type next. */

import type { Name, Role } from '../contract/operations.ts'
import type { ErrorCode } from '../contract/refusals.ts'
import { isLoopback } from './address.ts'
import type { Commands } from './commands.ts'
import { CallRefused, ConnectionLost } from './connection.ts'
import { EXIT, type Failure, Interrupted, NotLoggedIn, UsageError, usageFailure } from './failures.ts'

/** What was tried. */
export interface Attempt {
  commands: Commands<Role>
  host: string
  /** Undefined when there was no command yet. */
  operation: AnyName | undefined
  params: Readonly<Record<string, unknown>>
  /** What begins a session for whoever had this one. */
  login: string
}

type AnyName = Name<'seller'> | Name<'buyer'>

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
const SHOWN_BY: { readonly [N in AnyName]?: string } = {
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
  if (error instanceof UsageError) return usageFailure(error)
  if (error instanceof Interrupted) return interruption(error, attempt)
  if (error instanceof ConnectionLost) return lost(error, attempt)
  if (error instanceof CallRefused) return refused(error, attempt)
  const told = { message: (error as Error).message, next: undefined, details: {} }
  if (error instanceof NotLoggedIn) {
    return { ...told, exitCode: EXIT.notLoggedIn, code: 'unauthenticated', next: attempt.login }
  }
  if (error instanceof Error && 'syscall' in error) return { ...told, exitCode: EXIT.failure, code: 'system' }
  throw error
}

function lost({ message, outcome }: ConnectionLost, attempt: Attempt): Failure {
  const failure = {
    exitCode: EXIT.unreachable,
    code: 'unreachable',
    message,
    next: 'souk status',
    details: { outcome },
  }
  const shownBy = shownByLine(attempt)
  if (outcome === 'unknown' && shownBy !== undefined) {
    return { ...failure, message: `${message}; it may have been carried out`, next: shownBy }
  }
  if (outcome === 'unknown' || !isLoopback(attempt.host)) return failure
  return { ...failure, message: `${message}; start a server`, next: 'souk-server' }
}

function refused({ code, message, details }: CallRefused, attempt: Attempt): Failure {
  const exitCode = EXIT_CODES[code] ?? EXIT.failure
  const { code: _, ...others } = details
  return { exitCode, code, message, next: undefined, details: others, ...ADVICE[code]?.(details, attempt) }
}

function interruption({ message, sent }: Interrupted, attempt: Attempt): Failure {
  const failure = { exitCode: EXIT.interrupted, code: 'interrupted', message, next: undefined, details: {} }
  const shownBy = sent ? shownByLine(attempt) : undefined
  if (shownBy === undefined) return failure
  return { ...failure, message: `${message}; it may have been carried out`, next: shownBy }
}

const ADVICE: Partial<Record<ErrorCode, (details: Details, attempt: Attempt) => Told>> = {
  invalid_params: ({ fields }) => {
    const problems = Object.entries((fields ?? {}) as Record<string, string>)
    return problems.length === 0
      ? {}
      : { message: problems.map(([field, problem]) => `${field}: ${problem}`).join('\n') }
  },
  unauthenticated: (_, { operation, login }) =>
    operation === 'login' ? {} : { message: 'the session has ended', next: login },
  not_found: (_, { commands, operation }) => {
    if (operation === 'get_seller_rating') return {}
    return commands.role === 'seller'
      ? { message: 'you have no such item; see yours', next: commands.line('display-items-for-sale') }
      : { message: 'no such item; look for one', next: commands.line(exampleOf(commands, 'search-items')) }
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
  const words = operation && SHOWN_BY[operation]
  return words && commands.line(words.replace('<username>', String(params.username)))
}

function exampleOf({ entries }: Commands<Role>, wanted: string): string {
  return entries.find(({ word }) => word === wanted)?.examples[0] ?? wanted
}
