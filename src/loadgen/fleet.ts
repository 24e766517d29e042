/**
 * The clients of a run: a closed loop each, without think time. All connect,
 * wait at a barrier and begin together, and each behaves as the scenario has
 * it: it makes its next call when the last one is answered, and may remember
 * what it was told. Latency is a call's time as its client sees it, in integer
 * microseconds; the first outcome that is not a right one fails the run.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { build, type Histogram } from 'hdr-histogram-js'
import { type Arguments, CallRefused, type Connection, connect } from '../client/connection.ts'
import { type Name, type Result, ROLES, type Role } from '../contract/operations.ts'
import type { Total } from '../process/progress.ts'
import { isWrite, type Ledger, type Write } from './audit.ts'
import { type Random, seeded } from './workload.ts'

export interface Session {
  accountId: number
  session: string
}

/** How large a run is. */
export interface Extent {
  /** Clients of each role that there are behaviours for. */
  clients: number
  /** When a client is done: after so many calls, or when so many seconds have passed. */
  until: { calls: number } | { seconds: number }
  /** Calls a client has under way at once: each in a behaviour of its own, which knows nothing of the others. */
  pipeline: number
}

/** What a client does, until it may do no more. Made anew for each client, so what it remembers is the client's. */
export type Behaviour<R extends Role> = (client: Client<R>) => Promise<void>
export type Behaviours = { readonly [R in Role]?: Behaviour<R> }

/** What a behaviour is given to act with. */
export interface Client<R extends Role> {
  readonly accountId: number
  /** Its own: clients draw the same whatever the system, and whoever is answered first. */
  readonly random: Random
  /** Whether it may begin another piece of work; one that was begun may be finished. */
  more(): boolean
  /**
   * Resolves to the result, or to undefined for a refusal that is right.
   * Rejects for every other outcome, and thereby ends the run; but a server
   * that has too much to do is asked again when it says, and all of that is the
   * call's latency.
   */
  call<N extends Name<R>>(
    operation: N,
    params: Omit<Arguments<R, N>, 'session'>,
    isRight: (result: Result<R, N>) => boolean,
    isRightRefusal?: (refusal: CallRefused) => boolean,
  ): Promise<Result<R, N> | undefined>
  /** Counts a purchase that was made in several calls, the first of which began then. */
  purchased(begunMs: number): void
}

export interface Target {
  host: string
  ports: Readonly<Record<Role, number>>
  /** Gives one answer to all calls of an operation: no reply is checked, nothing is written. */
  canned: boolean
}

export interface RunFigures {
  /** From the first call to the last reply. */
  wallS: number
  /** By operation, both roles' calls of it together. */
  operations: ReadonlyMap<string, Tally>
  /** Completed purchases, from the first call for one to its last reply. */
  purchases: Tally
  /** What clients were told of calls that write. */
  ledger: Ledger
  /** How often a call was refused because too much was waiting. */
  overloaded: number
  /** Share of its time in which the event loop of this process was busy, 0 to 1. */
  generatorBusy: number
}

export interface Tally {
  latenciesUs: Histogram
  /** From the first call of the run to the last reply to a client that takes part: those that are done leave the others to go on. */
  wallS: number
}

const LONGEST_LATENCY_US = 60_000_000
const LATENCY_DIGITS = 3
/** How long an overloaded server is asked again. */
const PATIENCE_MS = 30_000

/** Is given how much there is to do, and what tells how many calls have been made, when all clients are about to begin. */
export type Begins = (total: Total, calls: () => number) => void

/** Carries a scenario out once. Rejects with the first wrong reply, wrong refusal or lost connection. */
export async function runFleet(
  target: Target,
  extent: Extent,
  behaviours: Behaviours,
  sessions: Readonly<Record<Role, readonly Session[]>>,
  random: Random,
  begins: Begins = () => {},
): Promise<RunFigures> {
  const book = new Book(target.canned)
  const connected = await connectAll(target, extent, behaviours, sessions)
  try {
    begins('calls' in extent.until ? extent.until.calls * connected.length : extent.until, () => book.calls)
    const busy = performance.eventLoopUtilization()
    const beganMs = performance.now()
    const elapsedS = () => (performance.now() - beganMs) / 1_000
    const loops = connected.flatMap(({ behave, ...client }) => {
      const budget = budgetOf(extent.until, beganMs)
      return Array.from({ length: extent.pipeline }, async () => {
        const one = new FleetClient(client, budget, seeded(random() * 2 ** 32), book)
        await behave(one)
        one.done(elapsedS())
      })
    })
    await Promise.all(loops)
    return {
      ...{ wallS: elapsedS(), operations: book.operations, purchases: book.purchases },
      ...{ ledger: book.ledger, overloaded: book.overloaded },
      generatorBusy: performance.eventLoopUtilization(busy).utilization,
    }
  } finally {
    await Promise.all(connected.map(({ connection }) => connection.close()))
  }
}

interface Connected extends Session {
  role: Role
  connection: Connection<Role>
}

async function connectAll(
  { host, ports }: Target,
  { clients }: Extent,
  behaviours: Behaviours,
  sessions: Readonly<Record<Role, readonly Session[]>>,
): Promise<(Connected & { behave: Behaviour<Role> })[]> {
  const connecting = ROLES.flatMap((role) => {
    const behave = behaviours[role] as Behaviour<Role> | undefined
    if (behave === undefined) return []
    const theirs = sessions[role].slice(0, clients)
    if (theirs.length < clients) throw new Error(`${clients} clients, but ${theirs.length} accounts`)
    return theirs.map(async (session) => {
      const connection = (await connect({ host, port: ports[role] })) as Connection<Role>
      return { ...session, role, connection, behave }
    })
  })
  return Promise.all(connecting)
}

/** What a client may still do; its calls under way at once share it. */
interface Budget {
  calls: number
  untilMs: number
}

function budgetOf(until: Extent['until'], beganMs: number): Budget {
  return 'calls' in until
    ? { calls: until.calls, untilMs: Number.POSITIVE_INFINITY }
    : { calls: Number.POSITIVE_INFINITY, untilMs: beganMs + until.seconds * 1_000 }
}

/** What is written down of a run. */
class Book {
  readonly operations = new Map<string, Tally>()
  readonly purchases = newTally()
  readonly ledger: Write[] = []
  overloaded = 0
  readonly canned: boolean

  constructor(canned: boolean) {
    this.canned = canned
  }

  get calls(): number {
    return [...this.operations.values()].reduce((sum, { latenciesUs }) => sum + latenciesUs.totalCount, 0)
  }

  tallyOf(operation: string): Tally {
    const known = this.operations.get(operation)
    if (known !== undefined) return known
    const tally = newTally()
    this.operations.set(operation, tally)
    return tally
  }
}

export function newTally(): Tally {
  const latenciesUs = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_LATENCY_US,
    numberOfSignificantValueDigits: LATENCY_DIGITS,
  })
  return { latenciesUs, wallS: 0 }
}

class FleetClient implements Client<Role> {
  readonly random: Random
  readonly #who: Connected
  readonly #budget: Budget
  readonly #book: Book
  readonly #tallies = new Set<Tally>()

  constructor(who: Connected, budget: Budget, random: Random, book: Book) {
    this.#who = who
    this.#budget = budget
    this.random = random
    this.#book = book
  }

  get accountId(): number {
    return this.#who.accountId
  }

  more(): boolean {
    return this.#budget.calls > 0 && performance.now() < this.#budget.untilMs
  }

  async call<N extends Name<Role>>(
    operation: N,
    params: Omit<Arguments<Role, N>, 'session'>,
    isRight: (result: Result<Role, N>) => boolean,
    isRightRefusal: (refusal: CallRefused) => boolean = () => false,
  ): Promise<Result<Role, N> | undefined> {
    const { role, session, accountId } = this.#who
    this.#budget.calls -= 1
    const begunMs = performance.now()
    const result = await this.#ask(operation, { ...params, session } as object).catch((error) => {
      if (error instanceof CallRefused && isRightRefusal(error)) return undefined
      throw error instanceof CallRefused
        ? new Error(`${operation} was refused: ${error.code}, ${error.message}`)
        : error
    })
    const answeredMs = performance.now()
    this.#record(this.#book.tallyOf(operation), answeredMs - begunMs)
    if (result === undefined || this.#book.canned) return result
    if (isWrite(operation)) {
      const told = { role, accountId, session, operation, params, begunMs, answeredMs, result }
      this.#book.ledger.push(told as object as Write)
    }
    if (!isRight(result)) throw new Error(`wrong reply to ${operation}: ${JSON.stringify(result).slice(0, 300)}`)
    return result
  }

  purchased(begunMs: number): void {
    this.#record(this.#book.purchases, performance.now() - begunMs)
  }

  /** So long after the run began. */
  done(elapsedS: number): void {
    for (const tally of this.#tallies) tally.wallS = Math.max(tally.wallS, elapsedS)
  }

  async #ask<N extends Name<Role>>(operation: N, params: Arguments<Role, N>): Promise<Result<Role, N>> {
    const untilMs = performance.now() + PATIENCE_MS
    for (;;) {
      try {
        return await this.#who.connection.call(operation, params)
      } catch (error) {
        const isFull = error instanceof CallRefused && error.code === 'overloaded'
        if (!isFull || performance.now() > untilMs) throw error
        this.#book.overloaded += 1
        await sleep(Number(error.details.retry_after_ms))
      }
    }
  }

  #record(tally: Tally, latencyMs: number): void {
    tally.latenciesUs.recordValue(Math.round(latencyMs * 1_000))
    this.#tallies.add(tally)
  }
}
