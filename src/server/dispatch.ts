/**
 * From a request to its reply: find the operation, check the parameters, check
 * whose session it is, ask the operation's queue, write down what came of it.
 * Refusals are early returns, in that order. The contract and the handlers are
 * given; every operation takes this one way.
 */

import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { z } from 'zod'
import { operationsByName, type Role } from '../contract/operations.ts'
import {
  type EncodedLine,
  encodeRefusal,
  encodeResult,
  encodeSlices,
  isLong,
  type Request,
  type RequestId,
} from '../contract/protocol.ts'
import { type Answer, type Refusal, Refused } from '../contract/refusals.ts'
import type { Database, IdempotencyKey } from '../db.ts'
import type { AnyHandler, Call, Handlers } from './market/handler.ts'
import type { Account, Sessions } from './market/sessions.ts'
import { createQueue } from './queue.ts'
import { createWriter } from './rounds.ts'

/** A request under way: what it weighs, and its reply as a line, which never fails. */
export interface Work {
  weight: number
  reply: EncodedLine | Promise<EncodedLine>
}

export interface DispatchOptions<R extends Role> {
  role: R
  handlers: Handlers<R>
  databases: { customer: Database; product: Database }
  sessions: Sessions
  /** Replaces what the handlers say of their batches: the queue off is a cap of one. */
  gathering?: { cap: number; inFlight: number } | undefined
  requestMs: number
  log(problem: unknown): void
}

/** Parameters as the contract's schemas give them out; what is in them beside these two is the operation's. */
interface AnyParams {
  session?: string
  idempotency_key?: string
}

interface Route {
  params: z.ZodType<AnyParams>
  open: boolean
  keyed: boolean
  weigh(params: AnyParams): number
  ask(call: Call<AnyParams>, deadlineMs: number): Promise<Answer<object>> | Answer<object>
}

/** No request may count for more than this, or a connection could never make it. */
const HEAVIEST = 64
const NOBODY: Account = { id: 0, sessionHash: '', endsMs: 0 }

export function createDispatcher<R extends Role>(options: DispatchOptions<R>): (request: Request) => Work {
  const { role, sessions, requestMs, log } = options
  const routes = routesOf(options)

  function dispatch({ id, method, params }: Request): Work {
    const replyId = id ?? null
    const refuse = (refusal: Refusal): Work => ({ weight: 1, reply: encodeRefusal(replyId, refusal) })
    const route = routes.get(method)
    if (route === undefined) return refuse({ code: 'unknown_method', message: `no such operation for a ${role}` })
    const checked = route.params.safeParse(params)
    if (!checked.success) return refuse(wrongFields(checked.error))
    const deadlineMs = performance.now() + requestMs
    const account = route.open ? NOBODY : sessions.check(checked.data.session ?? '', deadlineMs)
    const answer = isPromise(account)
      ? account.then((known) => carryOut(route, method, known, checked.data, deadlineMs))
      : carryOut(route, method, account, checked.data, deadlineMs)
    const encode = (answer: Answer<object>): EncodedLine | Promise<EncodedLine> =>
      'ok' in answer ? encodeOk(replyId, answer.ok) : encodeRefusal(replyId, answer.refused)
    const reply = isPromise(answer)
      ? answer.then(encode, (error) => encodeRefusal(replyId, refusalOf(error)))
      : encode(answer)
    return { weight: Math.min(HEAVIEST, route.weigh(checked.data)), reply }
  }

  function carryOut(
    route: Route,
    method: string,
    account: Account | undefined,
    params: AnyParams,
    deadlineMs: number,
  ): Answer<object> | Promise<Answer<object>> {
    if (account === undefined) return { refused: { code: 'unauthenticated', message: 'log in first' } }
    const key = route.keyed ? keyOf(role, account, method, params) : undefined
    return route.ask({ account, params, key }, deadlineMs)
  }

  function refusalOf(error: unknown): Refusal {
    if (error instanceof Refused) return error.refusal
    log(error)
    return { code: 'internal', message: 'this should not have happened; it was logged' }
  }

  return dispatch
}

function encodeOk(id: RequestId, result: object): EncodedLine | Promise<EncodedLine> {
  return isLong(result) ? encodeInTurns(id, result) : encodeResult(id, JSON.stringify(result))
}

/** Everybody else has a turn after each slice. */
async function encodeInTurns(id: RequestId, result: object): Promise<Buffer> {
  const slices: Buffer[] = []
  for (const slice of encodeSlices(id, result)) {
    slices.push(slice)
    await nextTurn()
  }
  return Buffer.concat(slices)
}

function routesOf<R extends Role>(options: DispatchOptions<R>): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>()
  for (const [name, operation] of operationsByName(options.role)) {
    const handler = options.handlers[name as keyof Handlers<R>] as unknown as AnyHandler<AnyParams, object>
    routes.set(name, {
      params: operation.params as z.ZodType<AnyParams>,
      open: operation.open ?? false,
      keyed: operation.keyed ?? false,
      weigh: 'answer' in handler ? () => 1 : (handler.weigh ?? (() => 1)),
      ask: askerOf(handler, options),
    })
  }
  return routes
}

/** Most calls wait for something; those that don't are answered within the turn that read them. */
function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return value instanceof Promise
}

/** Gives a handler its queue, or queues. */
function askerOf<R extends Role>(
  handler: AnyHandler<AnyParams, object>,
  { databases, gathering }: DispatchOptions<R>,
): Route['ask'] {
  if ('answer' in handler) return (call, deadlineMs) => handler.answer(call, deadlineMs)
  const queueOptions = ({ cap, inFlight }: { cap: number; inFlight: number }) => ({
    ...{ cap, inFlight, ...gathering },
    weigh: ({ params }: Call<AnyParams>) => handler.weigh?.(params) ?? 1,
    alone: (error: unknown) => !(error instanceof Refused),
  })
  if ('writes' in handler) return createWriter(databases[handler.writes], handler.decide, queueOptions(handler))
  const { reads, ask, glance } = handler
  const asking = createQueue<Call<AnyParams>, Answer<object>>({
    ...queueOptions(handler),
    run: (calls, deadlineMs) => databases[reads].read((lane) => ask(lane, calls, deadlineMs), deadlineMs),
  })
  if (glance === undefined) return asking.ask
  const glancing = createQueue<Call<AnyParams>, Answer<object> | undefined>({
    ...queueOptions(glance),
    run: (calls, deadlineMs) => databases[reads].read((lane) => glance.ask(lane, calls, deadlineMs), deadlineMs),
  })
  return async (call, deadlineMs) => (await glancing.ask(call, deadlineMs)) ?? asking.ask(call, deadlineMs)
}

/** What is wrong with the parameters, by field. Says what was expected, never what came. */
function wrongFields(error: z.ZodError): Refusal {
  const fields: Record<string, string> = Object.create(null)
  for (const issue of error.issues) {
    const names = issue.code === 'unrecognized_keys' ? ['(unknown fields)'] : [issue.path.join('.')]
    for (const name of names)
      fields[name] ??= issue.code === 'unrecognized_keys' ? 'not in the contract' : issue.message
  }
  return { code: 'invalid_params', message: 'the parameters are not as they should be', details: { fields } }
}

function keyOf(role: Role, account: Account, method: string, params: AnyParams): IdempotencyKey | undefined {
  const { session: _, idempotency_key: key, ...rest } = params
  if (key === undefined) return undefined
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([method, rest]))
    .digest('base64url')
  return { role, accountId: account.id, key, fingerprint }
}
