/**
 * What a handler is: how an operation's calls are carried out, and in what
 * company. The domains (accounts, catalogue, cart, purchases, …) own the
 * handlers themselves; the dispatcher gives each its queue.
 */

import type { Name, Params, Result, Role } from '../../contract/operations.ts'
import type { Answer } from '../../contract/refusals.ts'
import type { Keyed, Lane, Plan } from '../../db.ts'
import type { Account } from './sessions.ts'

/** One call of an operation: whose it is (nobody's if the operation is open), and its checked parameters. */
export interface Call<P> extends Keyed {
  account: Account
  params: P
}

interface Batches {
  /** The largest batch, in weight. */
  cap: number
  /** How many batches may be on the wire at once. */
  inFlight: number
}

interface Gathered<P> extends Batches {
  /** 1 for every call unless given. */
  weigh?(params: P): number
}

/** Asks a batch of calls together. As many answers as calls, in their order. */
type Ask<P, A> = (lane: Lane, calls: readonly Call<P>[], deadlineMs: number) => Promise<readonly A[]>

/** Calls that change nothing. */
interface Reads<P, R> extends Gathered<P> {
  reads: 'customer' | 'product'
  ask: Ask<P, Answer<R>>
  /**
   * A first look, which answers what is cheap to answer. What it leaves open
   * goes on to `ask`, in a queue of its own: nobody else waits for that.
   */
  glance?: Batches & { ask: Ask<P, Answer<R> | undefined> }
}

/**
 * Calls that change something: a batch is decided together, in the order of
 * arrival, on rows that it has locked, and committed as one transaction.
 */
interface Writes<P, R> extends Gathered<P> {
  writes: 'customer' | 'product'
  decide(lane: Lane, calls: readonly Call<P>[], deadlineMs: number): Promise<Plan<R>>
}

/** Calls that go singly, since there is nothing to gather. */
interface Single<P, R> {
  answer(call: Call<P>, deadlineMs: number): Promise<Answer<R>> | Answer<R>
}

export type AnyHandler<P, R> = Reads<P, R> | Writes<P, R> | Single<P, R>

export type Handler<R extends Role, N extends Name<R>> = AnyHandler<Params<R, N>, Result<R, N>>

/** A handler for every operation of a role: a missing one does not compile. */
export type Handlers<R extends Role, N extends Name<R> = Name<R>> = { readonly [K in N]: Handler<R, K> }
