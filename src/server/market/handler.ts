/**
 * What a handler is: how the calls of one operation are done, and in what
 * batches. The other files of this folder own the handlers; the dispatcher
 * gives each its queue.
 */

import type { Name, Params, Result, Role } from '../../contract/operations.ts'
import type { Answer } from '../../contract/refusals.ts'
import type { Keyed } from '../../db/idempotency.ts'
import type { Lane } from '../../db/lane.ts'
import type { Plan } from '../../db/plan.ts'
import type { Peer } from '../peer.ts'
import type { Account } from './sessions.ts'

/** One call of an operation: its account (nobody's, if the operation needs no session), its checked parameters, and who sent it. */
export interface Call<P> extends Keyed {
  account: Account
  params: P
  peer: Peer
}

/** How calls are gathered. */
interface Batches {
  /** The largest batch, in weight. */
  cap: number
  /** How many batches may be on the wire at once. */
  inFlight: number
}

interface Gathered<P> extends Batches {
  /** Weight of a call; 1 unless given. */
  weigh?(params: P): number
}

/** Answers a batch of calls: one answer for each, in order. */
type Ask<P, A> = (lane: Lane, calls: readonly Call<P>[], deadlineMs: number) => Promise<readonly A[]>

/** Calls that change nothing. */
interface Reads<P, R> extends Gathered<P> {
  reads: 'customer' | 'product'
  ask: Ask<P, Answer<R>>
  /** Answers cheap calls. Those it leaves undefined go on to `ask`, in a queue of their own. */
  firstRound?: Batches & { ask: Ask<P, Answer<R> | undefined> }
}

/** Calls that change something: a batch locks rows, decides its calls in order of arrival, and commits once. */
interface Writes<P, R> extends Gathered<P> {
  writes: 'customer' | 'product'
  decide(lane: Lane, calls: readonly Call<P>[], deadlineMs: number): Promise<Plan<R>>
}

/** Calls that are done one by one, since there is nothing to gather. */
interface Single<P, R> {
  answer(call: Call<P>, deadlineMs: number): Promise<Answer<R>> | Answer<R>
}

export type AnyHandler<P, R> = Reads<P, R> | Writes<P, R> | Single<P, R>

export type Handler<R extends Role, N extends Name<R>> = AnyHandler<Params<R, N>, Result<R, N>>

/** A handler for every operation of a role: a missing one does not compile. */
export type Handlers<R extends Role, N extends Name<R> = Name<R>> = { readonly [K in N]: Handler<R, K> }
