/**
 * The clients of a run: each a closed loop without think time. All connect,
 * wait at a barrier, start together, and act as their scenario says: a client
 * makes its next call once it has the reply, and may remember earlier replies. A
 * latency is the time of a call as its client sees it, in integer microseconds.
 * The first wrong outcome fails the run.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { build, type Histogram } from 'hdr-histogram-js'
import { type Arguments, CallRefused, type Connection, connect } from '../client/connection.ts'
import type { TlsOptions } from '../client/tls.ts'
import { type Name, type Result, ROLES, type Role } from '../contract/operations.ts'
import type { Total } from '../process/progress.ts'
import { isWrite, type Ledger, type Write } from './audit.ts'
import { type Random, seeded } from './random.ts'

export interface Session {
  accountId: number
  session: string
}

/** When a client stops: after this many calls, or this many seconds into the run. */
export type Until = { calls: number } | { seconds: number }

/** The size of one run. */
export interface RunSize {
  /** Clients of each role that the scenario has. */
  clients: number
  until: Until
  /** Calls in flight per client. Each is made by a behaviour of its own, which knows nothing of the others. */
  pipeline: number
  /** Units of each item on sale at the start, instead of the scenario's. They are in the database before the run. */
  stock?: number | undefined
}

/** What a client does while `more()` is true. Started anew for each client, so that it remembers only its own replies. */
export type Behaviour<R extends Role> = (client: Client<R>) => Promise<void>
export type Behaviours = { readonly [R in Role]?: Behaviour<R> }

/** What a behaviour acts through. */
export interface Client<R extends Role> {
  readonly accountId: number
  /** The client's own: it draws the same numbers on every system, in whatever order replies come. */
  readonly random: Random
  /** Whether to start another piece of work. One that was started may be finished. */
  more(): boolean
  /**
   * Resolves to the result, or to undefined after a refusal that is right.
   * Rejects after any other outcome, which ends the run. A call refused as
   * overloaded is made again after the delay that the server gave; all of that
   * is its latency.
   */
  call<N extends Name<R>>(
    operation: N,
    params: Omit<Arguments<R, N>, 'session'>,
    isRight: (result: Result<R, N>) => boolean,
    isRightRefusal?: (refusal: CallRefused) => boolean,
  ): Promise<Result<R, N> | undefined>
  /** Counts a purchase made in several calls, the first of which was sent at this time. */
  purchased(begunMs: number): void
}

export interface Target {
  host: string
  ports: Readonly<Record<Role, number>>
  /** Undefined: no TLS. */
  tls?: TlsOptions | undefined
  /** Answers all calls of an operation alike: no reply is checked, nothing is written. */
  canned: boolean
}

/** What the clients measured in one run. */
export interface Measurement {
  /** From the first call to the last reply. */
  wallS: number
  /** By operation, over both roles. */
  operations: ReadonlyMap<string, Latencies>
  /** Completed purchases, each from its first call to its last reply. */
  purchases: Latencies
  /** Calls that write, with their results. */
  ledger: Ledger
  /** Refusals of calls as overloaded. */
  overloaded: number
  /** Share of the run in which the event loop of this process was busy, 0 to 1. */
  generatorBusy: number
}

export interface Latencies {
  latenciesUs: Histogram
  /** From the first call of the run to the last reply to any client that has latencies here; others may go on. */
  wallS: number
}

const LONGEST_LATENCY_US = 60_000_000
const LATENCY_DIGITS = 3
/** How long a call is repeated while the server refuses it as overloaded. */
const PATIENCE_MS = 30_000

/** Called when all clients are about to start, with the size of the run and a counter of its calls. */
export type OnStart = (total: Total, calls: () => number) => void

/** Carries out one run. Rejects with the first wrong result, wrong refusal or lost connection. */
export async function runFleet(
  target: Target,
  size: RunSize,
  behaviours: Behaviours,
  sessions: Readonly<Record<Role, readonly Session[]>>,
  random: Random,
  onStart: OnStart = () => {},
): Promise<Measurement> {
  const recorder = new Recorder(target.canned)
  const connected = await connectAll(target, size, behaviours, sessions)
  try {
    onStart('calls' in size.until ? size.until.calls * connected.length : size.until, () => recorder.calls)
    const busy = performance.eventLoopUtilization()
    const startedMs = performance.now()
    const elapsedS = () => (performance.now() - startedMs) / 1_000
    const loops = connected.flatMap(({ behave, ...client }) => {
      const budget = createBudget(size.until, startedMs)
      return Array.from({ length: size.pipeline }, async () => {
        const one = new FleetClient(client, budget, seeded(random() * 2 ** 32), recorder)
        await behave(one)
        one.done(elapsedS())
      })
    })
    await Promise.all(loops)
    return {
      wallS: elapsedS(),
      operations: recorder.operations,
      purchases: recorder.purchases,
      ledger: recorder.ledger,
      overloaded: recorder.overloaded,
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
  { host, ports, tls }: Target,
  { clients }: RunSize,
  behaviours: Behaviours,
  sessions: Readonly<Record<Role, readonly Session[]>>,
): Promise<(Connected & { behave: Behaviour<Role> })[]> {
  const connecting = ROLES.flatMap((role) => {
    const behave = behaviours[role] as Behaviour<Role> | undefined
    if (behave === undefined) return []
    const chosen = sessions[role].slice(0, clients)
    if (chosen.length < clients) throw new Error(`${clients} clients, but ${chosen.length} accounts`)
    return chosen.map(async (session) => {
      const connection = (await connect({ host, port: ports[role], tls })) as Connection<Role>
      return { ...session, role, connection, behave }
    })
  })
  return Promise.all(connecting)
}

/** What a client may still do, over all its calls in flight. */
interface Budget {
  calls: number
  untilMs: number
}

function createBudget(until: Until, startedMs: number): Budget {
  return 'calls' in until
    ? { calls: until.calls, untilMs: Number.POSITIVE_INFINITY }
    : { calls: Number.POSITIVE_INFINITY, untilMs: startedMs + until.seconds * 1_000 }
}

/** What all clients of a run record. */
class Recorder {
  readonly operations = new Map<string, Latencies>()
  readonly purchases = newLatencies()
  readonly ledger: Write[] = []
  overloaded = 0
  readonly canned: boolean

  constructor(canned: boolean) {
    this.canned = canned
  }

  get calls(): number {
    return [...this.operations.values()].reduce((sum, { latenciesUs }) => sum + latenciesUs.totalCount, 0)
  }

  latencies(operation: string): Latencies {
    const known = this.operations.get(operation)
    if (known !== undefined) return known
    const latencies = newLatencies()
    this.operations.set(operation, latencies)
    return latencies
  }
}

export function newLatencies(): Latencies {
  const latenciesUs = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_LATENCY_US,
    numberOfSignificantValueDigits: LATENCY_DIGITS,
  })
  return { latenciesUs, wallS: 0 }
}

class FleetClient implements Client<Role> {
  readonly random: Random
  readonly #connected: Connected
  readonly #budget: Budget
  readonly #recorder: Recorder
  /** The latencies to which this client has contributed. */
  readonly #recorded = new Set<Latencies>()

  constructor(connected: Connected, budget: Budget, random: Random, recorder: Recorder) {
    this.#connected = connected
    this.#budget = budget
    this.random = random
    this.#recorder = recorder
  }

  get accountId(): number {
    return this.#connected.accountId
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
    const { role, session, accountId } = this.#connected
    this.#budget.calls -= 1
    const begunMs = performance.now()
    const result = await this.#ask(operation, { ...params, session } as object).catch((error) => {
      if (error instanceof CallRefused && isRightRefusal(error)) return undefined
      throw error instanceof CallRefused
        ? new Error(`${operation} was refused: ${error.code}, ${error.message}`)
        : error
    })
    const answeredMs = performance.now()
    this.#record(this.#recorder.latencies(operation), answeredMs - begunMs)
    if (result === undefined || this.#recorder.canned) return result
    if (isWrite(operation)) {
      const write = { role, accountId, session, operation, params, begunMs, answeredMs, result }
      this.#recorder.ledger.push(write as object as Write)
    }
    if (!holds(isRight, result)) throw new Error(`wrong reply to ${operation}: ${JSON.stringify(result).slice(0, 300)}`)
    return result
  }

  purchased(begunMs: number): void {
    this.#record(this.#recorder.purchases, performance.now() - begunMs)
  }

  /** Called after the client's last reply, this long after the start of the run. */
  done(elapsedS: number): void {
    for (const latencies of this.#recorded) latencies.wallS = Math.max(latencies.wallS, elapsedS)
  }

  async #ask<N extends Name<Role>>(operation: N, params: Arguments<Role, N>): Promise<Result<Role, N>> {
    const untilMs = performance.now() + PATIENCE_MS
    for (;;) {
      try {
        return await this.#connected.connection.call(operation, params)
      } catch (error) {
        const isFull = error instanceof CallRefused && error.code === 'overloaded'
        if (!isFull || performance.now() > untilMs) throw error
        this.#recorder.overloaded += 1
        await sleep(Number(error.details.retry_after_ms))
      }
    }
  }

  #record(latencies: Latencies, latencyMs: number): void {
    latencies.latenciesUs.recordValue(Math.round(latencyMs * 1_000))
    this.#recorded.add(latencies)
  }
}

/** Checks look into results as the contract has them: they throw for a result of another shape. */
function holds<T>(isRight: (result: T) => boolean, result: T): boolean {
  try {
    return isRight(result)
  } catch {
    return false
  }
}
