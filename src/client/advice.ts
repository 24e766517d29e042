/** Turns errors into failures: what is wrong, and what to type next. */

import type { CartLine, Name, Role } from '../contract/operations.ts'
import type { ErrorCode } from '../contract/refusals.ts'
import { asTyped } from '../process/start.ts'
import { isLoopback } from './address.ts'
import type { Commands } from './commands.ts'
import { CallRefused, ConnectionLost, ForeignServer } from './connection.ts'
import {
  Declined,
  EXIT,
  type Failure,
  Interrupted,
  NotLoggedIn,
  TlsMissing,
  toUsageFailure,
  UsageError,
} from './failures.ts'
import { formatAmount } from './money.ts'

/** What was tried. */
export interface Attempt {
  commands: Commands<Role>
  host: string
  /** Undefined if the input was no command, or no shell could begin. */
  operation: AnyName | undefined
  params: Readonly<Record<string, unknown>>
  /** What to type for a new session. */
  login: string
}

type AnyName = Name<'seller'> | Name<'buyer'>
type Advice = Partial<Pick<Failure, 'message' | 'hint'>>
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
  price_changed: EXIT.conflict,
  shutting_down: EXIT.unreachable,
  unavailable: EXIT.unreachable,
}

/** The command that shows whether an operation was carried out. */
const SHOWN_BY: { readonly [N in AnyName]?: string } = {
  create_account: 'login <username>',
  register_item_for_sale: 'display-items-for-sale',
  change_item_price: 'display-items-for-sale',
  update_units_for_sale: 'display-items-for-sale',
  edit_item: 'display-items-for-sale',
  add_item_to_cart: 'display-cart',
  remove_item_from_cart: 'display-cart',
  clear_cart: 'display-cart',
  make_purchase: 'get-buyer-purchases',
}

/** Rethrows errors that are bugs in this program. */
export function explain(error: unknown, attempt: Attempt): Failure {
  if (error instanceof UsageError) return toUsageFailure(error)
  if (error instanceof Interrupted) return explainInterruption(error, attempt)
  if (error instanceof ConnectionLost) return explainLoss(error, attempt)
  if (error instanceof CallRefused) return explainRefusal(error, attempt)
  const { message } = error as Error
  if (error instanceof NotLoggedIn) {
    return { exitCode: EXIT.notLoggedIn, code: 'unauthenticated', message, hint: attempt.login, details: {} }
  }
  if (error instanceof TlsMissing) {
    return { exitCode: EXIT.usage, code: 'usage', message, hint: undefined, details: {} }
  }
  if (error instanceof Declined) {
    return { exitCode: EXIT.conflict, code: 'price_changed', message, hint: undefined, details: {} }
  }
  if (error instanceof Error && 'syscall' in error) {
    return { exitCode: EXIT.failure, code: 'system', message, hint: undefined, details: {} }
  }
  throw error
}

function explainInterruption({ message, sent }: Interrupted, attempt: Attempt): Failure {
  const hint = sent ? hintToCheck(attempt) : undefined
  return {
    exitCode: EXIT.interrupted,
    code: 'interrupted',
    message: hint === undefined ? message : `${message}; it may have been carried out`,
    hint,
    details: {},
  }
}

function explainLoss(error: ConnectionLost, attempt: Attempt): Failure {
  const { message, outcome } = error
  const failure = { exitCode: EXIT.unreachable, code: 'unreachable', details: { outcome } }
  const check = hintToCheck(attempt)
  if (outcome === 'unknown' && check !== undefined) {
    return { ...failure, message: `${message}; it may have been carried out`, hint: check }
  }
  if (outcome === 'none' && isLoopback(attempt.host) && !(error instanceof ForeignServer)) {
    return { ...failure, message: `${message}; start a server`, hint: asTyped('souk-server') }
  }
  return { ...failure, message, hint: attempt.operation && attempt.commands.hintForStatus() }
}

function explainRefusal({ code, message, details }: CallRefused, attempt: Attempt): Failure {
  const exitCode = EXIT_CODES[code] ?? EXIT.failure
  const { code: _, ...others } = details
  return { exitCode, code, message, hint: undefined, details: others, ...ADVICE[code]?.(details, attempt) }
}

const ADVICE: Partial<Record<ErrorCode, (details: Details, attempt: Attempt) => Advice>> = {
  invalid_params: ({ fields }) => {
    const problems = Object.entries((fields ?? {}) as Record<string, string>)
    if (problems.length === 0) return {}
    return { message: problems.map(([field, problem]) => `${field}: ${problem}`).join('\n') }
  },
  unauthenticated: (_, { operation, login }) =>
    operation === 'login' ? {} : { message: 'the session has ended', hint: login },
  not_found: (_, { commands, operation }) => {
    if (operation === 'get_seller_rating') return {}
    return commands.role === 'seller'
      ? { message: 'you have no such item; see yours', hint: commands.hint('display-items-for-sale') }
      : { message: 'no such item; look for one', hint: hintByExample(commands, 'search-items') }
  },
  username_taken: (_, { commands, params }) => ({
    message: `the user name ${params.username} is taken; if it is yours, log in`,
    hint: commands.hint(`login ${params.username}`),
  }),
  out_of_stock: explainShortage,
  not_in_cart: ({ item_id, quantity }, { commands }) =>
    quantity === 0
      ? { message: `item ${item_id} is not in the cart`, hint: commands.hint('display-cart') }
      : {
          message: `the cart has ${quantity} of item ${item_id}`,
          hint: commands.hint(`remove-item-from-cart ${item_id} ${quantity}`),
        },
  cart_empty: (_, { commands }) => ({
    message: 'the cart is empty; put something into it',
    hint: hintByExample(commands, 'add-item-to-cart'),
  }),
  price_changed: explainPrices,
  not_purchased: (_, { commands }) => ({ hint: commands.hint('get-buyer-purchases') }),
  timeout: ({ outcome }, attempt) => {
    const check = hintToCheck(attempt)
    if (outcome !== 'unknown' || check === undefined) return { message: 'the server did not answer in time' }
    return { message: 'the server did not finish in time; it may have been carried out', hint: check }
  },
  too_many_attempts: ({ retry_after_ms }) => ({
    message: `too many wrong passwords; try again in ${formatWait(Number(retry_after_ms))}`,
  }),
  overloaded: () => ({ message: 'the server has too much to do; try again' }),
  unavailable: () => ({ message: "the server's database can't do this now; try again later" }),
}

function explainShortage(details: Details, attempt: Attempt): Advice {
  const shortage = details as unknown as Shortage
  if (attempt.operation === 'make_purchase') return explainCart(shortage, details.items as Shortage[], attempt)
  if (attempt.operation === 'update_units_for_sale') return explainStock(shortage, attempt)
  return explainAddition(shortage, attempt)
}

function explainCart({ item_id, requested, available }: Shortage, items: Shortage[], { commands }: Attempt): Advice {
  const problems = items.map(
    (item) => `item ${item.item_id}: ${item.available} in stock, the cart has ${item.requested}`,
  )
  return {
    message: problems.join('\n'),
    hint: commands.hint(`remove-item-from-cart ${item_id} ${requested - available}`),
  }
}

function explainStock({ item_id, requested, available }: Shortage, { commands }: Attempt): Advice {
  return {
    message: `item ${item_id} has ${available} on sale, you asked to remove ${requested}`,
    hint: available === 0 ? undefined : commands.hint(`update-units-for-sale ${item_id} -${available}`),
  }
}

/** Here `requested` includes the units that the cart already has. */
function explainAddition({ item_id, requested, available }: Shortage, { commands, params }: Attempt): Advice {
  const asked = Number(params.quantity)
  const inCart = requested - asked
  const left = available - inCart
  if (available === 0 && inCart === 0) return { message: `item ${item_id} is sold out` }
  return {
    message:
      inCart === 0
        ? `${available} in stock, you asked for ${asked}`
        : `${available} in stock, the cart has ${inCart}, you asked for ${asked} more`,
    hint: commands.hint(left > 0 ? `add-item-to-cart ${item_id} ${left}` : 'display-cart'),
  }
}

function explainPrices(details: Details, { commands, params }: Attempt): Advice {
  const now = formatAmount(Number(details.total_cents))
  const prices = (details.lines as CartLine[]).map(
    ({ item_id, name, quantity, price_cents }) =>
      `item ${item_id}: ${quantity} × ${name} at ${formatAmount(price_cents)}`,
  )
  return {
    message: [...prices, `the total is ${now} now, not ${formatAmount(Number(params.total_cents))}`].join('\n'),
    hint: commands.hint(`make-purchase --total ${now}`),
  }
}

function formatWait(waitMs: number): string {
  const minutes = Math.ceil(waitMs / 60_000)
  return minutes > 1 ? `${minutes} minutes` : 'a minute'
}

function hintToCheck({ commands, operation, params, login }: Attempt): string | undefined {
  if (operation === 'change_password') return login // with either password
  const words = operation && SHOWN_BY[operation]
  return words && commands.hint(words.replace('<username>', String(params.username)))
}

function hintByExample(commands: Commands<Role>, word: string): string {
  return commands.hint(commands.find(word)?.examples[0] ?? word)
}
