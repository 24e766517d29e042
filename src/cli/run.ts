/**
 * One command, from its parameters to what is printed: whose session it is,
 * the call or the calls for all pages, and what is remembered of it.
 */

import { type Name, operationsOf, type Role } from '../operations.ts'
import { type Failure, failureOf, NotLoggedIn } from './advice.ts'
import type { Parsed } from './commands.ts'
import type { Desk } from './desk.ts'
import { passwordFrom } from './password.ts'
import { type AnyResult, errorJson, Results } from './results.ts'

export type Command = Parsed<Role> & { operation: Name<Role> }

/** A wait that is longer is told of. */
const WAIT_SHOWN_MS = 100

export function isCommand(parsed: Parsed<Role>): parsed is Command {
  return parsed.operation !== undefined
}

/** Resolves to what went wrong, if anything did, when that has been told. Rejects with our own mistakes. */
export async function carryOut(desk: Desk, command: Command): Promise<Failure | undefined> {
  const { commands, state, screen, address } = desk
  const { operation, options } = command
  const results = new Results(screen, { role: commands.role, ...command, json: options.json })
  const remembered = state.session
  try {
    const params = { ...command.params, ...(await credentials(desk, command)) }
    await (options.all ? callAll : callOnce)(desk, command, params, results)
    return undefined
  } catch (error) {
    const tried = { commands, ...address, operation, params: command.params, username: remembered?.username }
    const failure = failureOf(error, tried)
    if (failure.code === 'unauthenticated' && operation !== 'login') state.forget(remembered?.session)
    if (options.json) results.fail(failure)
    else screen.failure(failure, desk.place)
    return failure
  }
}

/** Nobody answered in time, or the wait was given up: nobody would end the connection either. */
export function isUnanswered(failure: Failure | undefined): boolean {
  return failure?.code === 'unreachable' || failure?.code === 'interrupted'
}

/** Tells of what could not even be begun. */
export function refuse(desk: Pick<Desk, 'screen' | 'place'>, failure: Failure, json: boolean): Failure {
  if (json) desk.screen.line(errorJson(failure))
  else desk.screen.failure(failure, desk.place)
  return failure
}

/** The session or the password that the operation needs. */
async function credentials(desk: Desk, { operation, options }: Command): Promise<object> {
  const shape = operationsOf(desk.commands.role).get(operation)?.params.shape ?? {}
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
  const waiting = setTimeout(() => {
    desk.progress.begin(`waiting for ${desk.address.host}:${desk.address.port}`)
  }, WAIT_SHOWN_MS)
  const result = await call(desk, command, params).finally(() => {
    clearTimeout(waiting)
    desk.progress.end()
  })
  if (command.operation === 'login') keepSession(desk, { ...params, ...result })
  if (command.operation === 'logout') desk.state.forget((params as { session: string }).session)
  results.show(result)
}

/** Every page, printed as it comes. */
async function callAll(desk: Desk, command: Command, params: object, results: Results): Promise<void> {
  if (!process.stdout.isTTY) desk.progress.begin(command.operation.replaceAll('_', ' '), undefined, 'entries')
  try {
    let cursor: unknown
    do {
      const page = await call(desk, command, cursor === undefined ? params : { ...params, cursor })
      results.add(page)
      desk.progress.advance(results.entries)
      await desk.screen.taken()
      cursor = page.next_cursor
    } while (cursor !== undefined)
  } finally {
    desk.progress.end()
  }
  results.end()
}

async function call(desk: Desk, { operation }: Command, params: object): Promise<AnyResult> {
  const result = await desk.interruptible(desk.client.call(operation, params))
  desk.saw(result)
  return result
}

function keepSession(desk: Desk, { session, username }: { session?: string; username?: string }): void {
  if (desk.state.remember(String(session), String(username))) return
  desk.say('souk: SOUK_SESSION is set: commands go on using it, and not the session that has begun')
}
