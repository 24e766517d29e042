/**
 * Purchases at the total that the buyer was shown. souk keeps the total that it
 * showed last, as long as the cart stays the same, and sends it along. If the
 * total is another by then, souk shows that one, and on a terminal asks whether
 * to buy at it.
 */

import type { CartLine, Role } from '../contract/operations.ts'
import type { Command } from './commands.ts'
import { CallRefused } from './connection.ts'
import type { Context } from './context.ts'
import { Declined } from './failures.ts'
import { formatAmount, sumPrices } from './money.ts'

type Result = Readonly<Record<string, unknown>>

const CHANGE_THE_CART = ['add_item_to_cart', 'remove_item_from_cart', 'clear_cart', 'make_purchase']

/** Adds the total that was shown last to a purchase for which none was typed. */
export function withShownTotal({ saved }: Context, command: Command<Role>): Command<Role> {
  const operation: string = command.operation
  const total_cents = operation === 'make_purchase' ? saved.shownTotal : undefined
  return total_cents === undefined ? command : { ...command, params: { total_cents, ...command.params } }
}

/**
 * Makes the call of a command; a purchase at another total only if a person agrees. Rejects like `Context.call`, and
 * with `Declined`.
 */
export async function callAtAgreedTotal(context: Context, command: Command<Role>, params: object): Promise<Result> {
  try {
    return await context.showWaiting(context.call(command.operation, params))
  } catch (error) {
    if (!(error instanceof CallRefused && error.code === 'price_changed')) throw error
    const total_cents = Number(error.details.total_cents)
    keepTotal(context, total_cents)
    if (command.options.json || context.confirm === undefined) throw error
    context.screen.noteFailure({ ...context.explain(error, command), hint: undefined })
    if (!(await context.confirm(`Buy at ${formatAmount(total_cents)}?`))) throw new Declined('nothing was bought')
    const agreed = { ...command, params: { ...command.params, total_cents } }
    return callAtAgreedTotal(context, agreed, { ...params, total_cents })
  }
}

/** After a command: keeps the total that it showed, or forgets the one that it made meaningless. */
export function noteTotal(context: Context, command: Command<Role>, result: Result): void {
  const operation: string = command.operation
  if (CHANGE_THE_CART.includes(operation)) keepTotal(context, undefined)
  if (operation !== 'display_cart') return
  const lines = result.lines as CartLine[]
  keepTotal(context, lines.length > 0 ? sumPrices(lines) : undefined)
}

/** A command does not fail because the total can't be written. */
function keepTotal(context: Context, totalCents: number | undefined): void {
  try {
    context.saved.keepTotal(totalCents)
  } catch (error) {
    context.note(`souk: the total is not kept for your purchase: ${(error as Error).message}`)
  }
}
