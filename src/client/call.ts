/**
 * One command, from its parameters to what is printed: whose session it is,
 * the call or the calls for all pages, and what is remembered of it.
 */

import { type Name, operationsByName, type Role } from '../contract/operations.ts'
import { progress } from '../process/progress.ts'
import type { Parsed } from './commands.ts'
import type { Desk } from './context.ts'
import { type Failure, NotLoggedIn } from './failures.ts'
import { type AnyResult, Results } from './output.ts'
import { passwordFrom } from './password.ts'

export type Command = Parsed<Role> & { operation: Name<Role> }

export function isCommand(parsed: Parsed<Role>): parsed is Command {
  return parsed.operation !== undefined
}

/** Resolves to what went wrong, if anything did, when that has been told. Rejects with our own mistakes. */
export async function carryOut(desk: Desk, command: Command): Promise<Failure | undefined> {
  const { commands, state, screen } = desk
  const { operation, options } = command
  const results = new Results(screen, { role: commands.role, ...command, json: options.json })
  const session = state.session?.session
  try {
    const params = { ...command.params, ...(await credentials(desk, command)) }
    await (options.all ? callAll : callOnce)(desk, command, params, results)
    return undefined
  } catch (error) {
    const failure = desk.failureOf(error, command)
    if (failure.code === 'unauthenticated' && operation !== 'login') state.forget(session)
    return desk.tell(failure, options.json ? () => results.failed(failure) : undefined)
  }
}

/** The session or the password that the operation needs. */
async function credentials(desk: Desk, { operation, options }: Command): Promise<object> {
  const shape = operationsByName(desk.commands.role).get(operation)?.params.shape ?? {}
  if ('password' in shape) {
    if (options.passwordFile !== undefined) return { password: passwordFrom(options.passwordFile) }
    return { password: await desk.password(operation === 'create_account') }
  }
  if (!('session' in shape)) return {}
  const remembered = desk.state.session
  if (remembered === undefined) throw new NotLoggedIn('you are not logged in')
  return { session: remembered.session }
}

async function callOnce(desk: Desk, command: Command, params: object, results: Results): Promise<void> {
  const result = await desk.shown(call(desk, command, params))
  if (command.operation === 'login') keepSession(desk, { ...params, ...result })
  if (command.operation === 'logout') desk.state.forget((params as { session: string }).session)
  results.show(result)
}

/** Every page, printed as it comes. */
async function callAll(desk: Desk, command: Command, params: object, results: Results): Promise<void> {
  if (!process.stdout.isTTY) progress.begin(command.operation.replaceAll('_', ' '), undefined, 'entries')
  try {
    let cursor: unknown
    do {
      const page = await call(desk, command, cursor === undefined ? params : { ...params, cursor })
      results.add(page)
      progress.advance(results.entries)
      await desk.answer(desk.screen.taken())
      cursor = page.next_cursor
    } while (cursor !== undefined)
  } finally {
    progress.end()
  }
  results.end()
}

async function call(desk: Desk, { operation }: Command, params: object): Promise<AnyResult> {
  desk.asks(params)
  const result = await desk.answer(desk.client.call(operation, params))
  desk.saw(result)
  return result
}

function keepSession(desk: Desk, { session, username }: { session?: string; username?: string }): void {
  if (desk.state.remember(String(session), String(username))) return
  desk.say('souk: SOUK_SESSION is set: commands go on using it, and not the session that has begun')
}
