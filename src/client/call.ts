/**
 * Carries out one command: finds the session or password that it needs, makes
 * its call or the calls for all pages, prints the result, and remembers or
 * forgets the session and the total that was shown.
 */

import { operationsByName, type Role } from '../contract/operations.ts'
import { progress } from '../process/progress.ts'
import type { Command } from './commands.ts'
import type { Context } from './context.ts'
import { type Failure, NotLoggedIn, TlsMissing } from './failures.ts'
import { ResultPrinter } from './output.ts'
import { type AnyResult, findPhrase } from './phrases.ts'
import { readPasswordFile, type WantedPasswords } from './prompt.ts'
import { callAtAgreedTotal, noteTotal, withShownTotal } from './purchase.ts'

/** Resolves to the failure, which has been printed, or to undefined. Rejects with errors that are bugs in this program. */
export async function carryOut(context: Context, typed: Command<Role>): Promise<Failure | undefined> {
  const { commands, saved, screen } = context
  const command = withShownTotal(context, typed)
  const { operation, params, options } = command
  const printer = new ResultPrinter(screen, { role: commands.role, operation, params }, options.json)
  const session = saved.session?.session
  try {
    const allParams = { ...params, ...(await readCredentials(context, command)) }
    await (options.all ? callForAllPages : callOnce)(context, command, allParams, printer)
    return undefined
  } catch (error) {
    const failure = context.explain(error, command)
    if (failure.code === 'unauthenticated' && operation !== 'login') saved.forgetSession(session)
    context.printFailure(failure, options.json ? () => printer.encodeFailure(failure) : undefined)
    return failure
  }
}

/** The session and the passwords that the operation needs. */
async function readCredentials(context: Context, { operation, options }: Command<Role>): Promise<object> {
  const shape = shapeOf(context, operation)
  if (context.saved.isTlsMissing && ('session' in shape || 'password' in shape)) throw new TlsMissing()
  const known = context.saved.session
  if ('session' in shape && known === undefined) throw new NotLoggedIn('you are not logged in')
  const session = 'session' in shape ? { session: known?.session } : {}
  if (!('password' in shape)) return session
  const wanted: WantedPasswords =
    'new_password' in shape ? ['current', 'new'] : operation === 'create_account' ? ['new'] : ['current']
  const [password, new_password] =
    options.passwordFile === undefined
      ? await context.readPasswords(wanted)
      : readPasswordFile(options.passwordFile, wanted)
  return new_password === undefined ? { ...session, password } : { ...session, password, new_password }
}

/** The parameters of an operation, by name. */
function shapeOf({ commands }: Context, operation: string): object {
  return operationsByName(commands.role).get(operation)?.params.shape ?? {}
}

async function callOnce(
  context: Context,
  command: Command<Role>,
  params: object,
  printer: ResultPrinter,
): Promise<void> {
  const { operation, options } = command
  const result = await callAtAgreedTotal(context, command, params)
  if (operation === 'login') saveSession(context, { ...params, ...result })
  if (operation === 'logout') context.saved.forgetSession((params as { session: string }).session)
  printer.print(result)
  noteTotal(context, command, result)
  advise(context, command, result)
  const endsList = ['login', 'logout'].includes(operation) // the cursor may belong to the session
  if (!endsList && !('cursor' in shapeOf(context, operation))) return
  context.nextPage = toNextPage(command, result)
  if (context.nextPage === undefined || options.json) return
  context.screen.note(`there is more: ${context.commands.hintForMore(String(result.next_cursor))}`)
}

/** The command for the page after this result, if there is one. */
function toNextPage(command: Command<Role>, { next_cursor }: { next_cursor?: unknown }): Command<Role> | undefined {
  return next_cursor === undefined ? undefined : { ...command, params: { ...command.params, cursor: next_cursor } }
}

/** Prints every page as it comes. */
async function callForAllPages(
  context: Context,
  command: Command<Role>,
  params: object,
  printer: ResultPrinter,
): Promise<void> {
  const { operation } = command
  if (!process.stdout.isTTY) progress.begin(operation.replaceAll('_', ' '), undefined, 'entries')
  let page: AnyResult = {}
  try {
    let cursor: unknown
    do {
      page = await context.call(operation, cursor === undefined ? params : { ...params, cursor })
      printer.addPage(page)
      progress.advance(printer.entries)
      await context.waitFor(context.screen.drained())
      cursor = page.next_cursor
    } while (cursor !== undefined)
  } finally {
    progress.end()
  }
  printer.end()
  if (printer.entries === 0) advise(context, command, page)
}

/** A hint after a result, for a person. */
function advise({ commands, screen }: Context, { operation, options }: Command<Role>, result: AnyResult): void {
  const advice = options.json ? undefined : findPhrase(commands.role, operation).advise?.(result)
  if (advice !== undefined) screen.noteHint(advice.reason, commands.hint(advice.words))
}

function saveSession(context: Context, { session, username }: { session?: string; username?: string }): void {
  if (context.saved.saveSession(String(session), String(username))) return
  context.note('souk: SOUK_SESSION is set: commands keep using it, not the new session')
}
