/**
 * From a request to its reply: find the operation, check the parameters, check
 * the session, ask the operation's queue, encode the answer. Every operation
 * takes this one way, and refusals are early returns in that order. Contract and
 * handlers are given.
 */

import { createHash } from 'node:crypto'
import * as z from 'zod'
import { DISCOVER } from '../contract/openrpc.ts'
import { type KeyScope, operationsByName, type Role } from '../contract/operations.ts'
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
import { type IdempotencyKey, toSessionKey } from '../db/idempotency.ts'
import type { Database } from '../db.ts'
import { type HeldBytes, TOO_MUCH_HELD } from './held-bytes.ts'
import { joinSlices } from './long-lines.ts'
import type { AnyHandler, Call, Handlers } from './market/handler.ts'
import type { Account, Sessions } from './market/sessions.ts'
import type { OnAnswer, QueueWatch } from './observe/counts.ts'
import type { Peer } from './peer.ts'
import { createReads, createWrites, type Round } from './rounds.ts'

/** A dispatched request: its weight, and its reply as a line. The promise never rejects. */
export interface Dispatched {
  weight: number
  reply: EncodedLine | Promise<EncodedLine>
}

export interface DispatchOptions<R extends Role> {
  role: R
  handlers: Handlers<R>
  databases: { customer: Database; product: Database }
  sessions: Sessions
  /** The contract as an OpenRPC document. */
  document: object
  /** Replaces the handlers' batch sizes. With the queue off the cap is one. */
  gathering?: { cap: number; inFlight: number } | undefined
  requestMs: number
  /** Asked once for each operation, and for `unknown` ones: who is told how each call ended. */
  observe?: ((operation: string) => OnAnswer) | undefined
  /** Asked once for each queue. */
  watch?: ((queue: string) => QueueWatch) | undefined
  held: HeldBytes
  log(problem: unknown): void
}

/** Checked parameters. Fields beside these two belong to the operation. */
interface AnyParams {
  session?: string
  idempotency_key?: string
}

interface Route {
  onAnswer: OnAnswer | undefined
  params: z.ZodType<AnyParams>
  open: boolean
  keyed: KeyScope | undefined
  /** Whether it only reads: its answer may be replaced by a refusal. */
  reads: boolean
  weigh(params: AnyParams): number
  ask(call: Call<AnyParams>, deadlineMs: number): Promise<Answer<object>> | Answer<object>
}

/** Longer results wait for no client that is slow while too much is held. */
const LONG_BYTES = 16 * 1024
const NOTHING = z.strictObject({})
/** Names of unknown fields that a refusal repeats, and the characters of each. */
const MOST_UNKNOWN_NAMES = 5
const LONGEST_NAME = 64
const NOBODY: Account = { id: 0, name: '', sessionHash: '', endsMs: 0 }

export function createDispatcher<R extends Role>(
  options: DispatchOptions<R>,
): (request: Request, peer: Peer) => Dispatched {
  const { role, sessions, requestMs, held, log } = options
  const routes = createRoutes(options)
  const documentJson = JSON.stringify(options.document)
  const onDiscover = options.observe?.(DISCOVER)
  const onUnknown = options.observe?.('unknown')

  function dispatch({ id, method, params }: Request, peer: Peer): Dispatched {
    const begunMs = performance.now()
    const replyId = id ?? null
    if (method === DISCOVER) return discover(replyId, params, begunMs)
    const route = routes.get(method)
    const onAnswer = route === undefined ? onUnknown : route.onAnswer
    const refuse = (refusal: Refusal): Dispatched => ({ weight: 1, reply: encodeAnswer({ refused: refusal }) })
    const encodeAnswer = (answer: Answer<object>): EncodedLine | Promise<EncodedLine> => {
      const line = 'ok' in answer ? encodeOk(replyId, answer.ok, peer, route?.reads) : undefined
      const refusal = 'ok' in answer ? TOO_MUCH_HELD : answer.refused
      onAnswer?.(line === undefined ? refusal.code : 'ok', performance.now() - begunMs)
      if (line !== undefined) return line
      if (refusal.code === 'overloaded') peer.overloaded?.()
      return encodeRefusal(replyId, refusal)
    }
    if (route === undefined) return refuse({ code: 'unknown_method', message: `no such operation for a ${role}` })
    const checked = route.params.safeParse(params)
    if (!checked.success) return refuse(refuseParams(checked.error))
    const weight = route.weigh(checked.data)
    if (held.isFull && weight > 1 && route.reads) return refuse(TOO_MUCH_HELD)
    const deadlineMs = begunMs + requestMs
    const account = route.open ? NOBODY : sessions.check(checked.data.session ?? '', deadlineMs)
    const answer = isPromise(account)
      ? account.then((known) => carryOut(route, method, known, checked.data, peer, deadlineMs))
      : carryOut(route, method, account, checked.data, peer, deadlineMs)
    const reply = isPromise(answer)
      ? answer.then(encodeAnswer, (error) => encodeAnswer({ refused: toRefusal(error) }))
      : encodeAnswer(answer)
    return { weight, reply }
  }

  /** Bytes, which at once count as unsent: the reply is long, and the request short. */
  function discover(id: RequestId, params: object, begunMs: number): Dispatched {
    const checked = NOTHING.safeParse(params)
    const refusal = checked.success ? (held.isFull ? TOO_MUCH_HELD : undefined) : refuseParams(checked.error)
    onDiscover?.(refusal?.code ?? 'ok', performance.now() - begunMs)
    const reply = refusal === undefined ? encodeResult(id, documentJson) : encodeRefusal(id, refusal)
    return { weight: 1, reply: Buffer.from(reply) }
  }

  /** Returns undefined for a long result that would wait with too many others; never for one of a write. */
  function encodeOk(
    id: RequestId,
    result: object,
    peer: Peer,
    reads: boolean | undefined,
  ): EncodedLine | Promise<EncodedLine> | undefined {
    const mayRefuse = reads && held.isFull
    if (isLong(result)) return mayRefuse ? undefined : joinSlices(encodeSlices(id, result), peer, held)
    const line = encodeResult(id, JSON.stringify(result))
    return mayRefuse && line.length > LONG_BYTES ? undefined : line
  }

  function carryOut(
    route: Route,
    method: string,
    account: Account | undefined,
    params: AnyParams,
    peer: Peer,
    deadlineMs: number,
  ): Answer<object> | Promise<Answer<object>> {
    if (account === undefined) return { refused: { code: 'unauthenticated', message: 'log in first' } }
    const key = route.keyed && toKey(role, account, route.keyed, method, params)
    return route.ask({ account, params, key, peer }, deadlineMs)
  }

  function toRefusal(error: unknown): Refusal {
    if (error instanceof Refused) return error.refusal
    log(error)
    return { code: 'internal', message: 'internal error; it was logged' }
  }

  return dispatch
}

function createRoutes<R extends Role>(options: DispatchOptions<R>): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>()
  for (const [name, operation] of operationsByName(options.role)) {
    const handler = options.handlers[name as keyof Handlers<R>] as unknown as AnyHandler<AnyParams, object>
    routes.set(name, {
      params: operation.params as z.ZodType<AnyParams>,
      open: operation.open ?? false,
      reads: 'reads' in handler,
      keyed: operation.keyed,
      onAnswer: options.observe?.(name),
      weigh: 'answer' in handler ? () => 1 : (handler.weigh ?? (() => 1)),
      ask: createAsk(name, handler, options),
    })
  }
  return routes
}

/** Most calls wait for something. The others are answered in the turn that read them. */
function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return value instanceof Promise
}

/** Gives a handler its queue, or the queues of its rounds. */
function createAsk<R extends Role>(
  name: string,
  handler: AnyHandler<AnyParams, object>,
  { databases, gathering, watch }: DispatchOptions<R>,
): Route['ask'] {
  if ('answer' in handler) return (call, deadlineMs) => handler.answer(call, deadlineMs)
  const gather = ({ cap, inFlight }: { cap: number; inFlight: number }) => ({
    cap,
    inFlight,
    ...(gathering ?? { sender: ({ peer }: Call<AnyParams>) => peer }),
    weigh: ({ params }: Call<AnyParams>) => handler.weigh?.(params) ?? 1,
    alone: (error: unknown) => !(error instanceof Refused),
    watch: (round: Round) => watch?.(round === 1 ? name : `${name} round ${round}`),
  })
  if ('writes' in handler) return createWrites(databases[handler.writes], handler.decide, gather(handler))
  const { reads, ask, firstRound } = handler
  return createReads<Call<AnyParams>, Answer<object>>(
    databases[reads],
    { ask, gathering: gather(handler) },
    firstRound && { ask: firstRound.ask, gathering: gather(firstRound) },
  )
}

/**
 * What is wrong with the parameters, by field. Says what was expected, and never repeats a value that came; of unknown
 * fields it repeats a few names.
 */
function refuseParams(error: z.ZodError): Refusal {
  const fields: Record<string, string> = Object.create(null)
  for (const issue of error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys.slice(0, MOST_UNKNOWN_NAMES)) fields[toShownName(key)] = 'is not a parameter'
    } else {
      fields[issue.path.join('.')] ??= issue.message
    }
  }
  return { code: 'invalid_params', message: 'invalid parameters', details: { fields } }
}

/** A name that a client made up, short and without characters that break or turn the line in which it is shown. */
function toShownName(name: string): string {
  const start = [...name.slice(0, 2 * LONGEST_NAME)].slice(0, LONGEST_NAME).join('')
  return start.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

function toKey(
  role: Role,
  account: Account,
  scope: KeyScope,
  method: string,
  params: AnyParams,
): IdempotencyKey | undefined {
  const { session: _, idempotency_key: given, ...rest } = params
  if (given === undefined) return undefined
  const key = scope === 'session' ? toSessionKey(account.sessionHash, given) : given
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([method, rest]))
    .digest('base64url')
  return { role, accountId: account.id, key, fingerprint }
}
