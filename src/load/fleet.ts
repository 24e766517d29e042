/**
 * The clients of a run: a closed loop each, without think time. All connect,
 * wait at a barrier, begin together, and each makes its next call when the last
 * one is answered. Latency is a call's time as its client sees it, in integer
 * microseconds; the first reply that is not the right one fails the run.
 */

import { build, type Histogram } from 'hdr-histogram-js'
import { type Connection, connect } from '../connection.ts'
import { ROLES, type Role } from '../operations.ts'
import type { OperationName, PlannedCall, Random, Workload } from './workload.ts'

export interface Session {
  accountId: number
  session: string
}

export interface Scenario {
  /** Clients of each role that the operations need. */
  clients: number
  /** A client's calls take turns among the operations of its role. */
  operations: readonly OperationName[]
  /** When a client is done: after so many calls, or when so many seconds have passed. */
  until: { calls: number } | { seconds: number }
  /** Calls a client has under way at once. */
  pipeline: number
}

export interface Target {
  host: string
  ports: Readonly<Record<Role, number>>
}

export interface RunFigures {
  /** From the first call to the last reply. */
  wallS: number
  /** The same for each role: clients that are done leave the others to go on. */
  roleWallS: Partial<Record<Role, number>>
  operations: Map<OperationName, Histogram>
  /** Share of its time in which the event loop of this process was busy, 0 to 1. */
  generatorBusy: number
}

const LONGEST_LATENCY_US = 60_000_000
const LATENCY_DIGITS = 3

/** Carries a scenario out once. Rejects with the first wrong reply, refusal or lost connection. */
export async function runScenario(
  target: Target,
  scenario: Scenario,
  workloads: Record<OperationName, Workload>,
  sessions: Readonly<Record<Role, readonly Session[]>>,
  random: Random,
): Promise<RunFigures> {
  const figures = new Map(scenario.operations.map((operation) => [operation, newHistogram()]))
  const clients = await connectClients(target, scenario, workloads, sessions)
  try {
    const busy = performance.eventLoopUtilization()
    const beganMs = performance.now()
    const mayGoOn = 'calls' in scenario.until ? countDown(scenario.until.calls) : clock(scenario.until.seconds)
    const roleWallS: RunFigures['roleWallS'] = {}
    const elapsedS = () => (performance.now() - beganMs) / 1_000
    const loops = clients.flatMap((client) => {
      const more = mayGoOn()
      return Array.from({ length: scenario.pipeline }, async () => {
        await loop(client, more, workloads, figures, random)
        roleWallS[client.role] = elapsedS()
      })
    })
    await Promise.all(loops)
    return {
      wallS: elapsedS(),
      roleWallS,
      operations: figures,
      generatorBusy: performance.eventLoopUtilization(busy).utilization,
    }
  } finally {
    await Promise.all(clients.map(({ connection }) => connection.close()))
  }
}

function newHistogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_LATENCY_US,
    numberOfSignificantValueDigits: LATENCY_DIGITS,
  })
}

interface Client extends Session {
  role: Role
  connection: Connection<Role>
  operations: readonly OperationName[]
  /** How many calls it has begun. */
  begun: number
}

function connectClients(
  { host, ports }: Target,
  scenario: Scenario,
  workloads: Record<OperationName, Workload>,
  sessions: Readonly<Record<Role, readonly Session[]>>,
): Promise<Client[]> {
  const connecting = ROLES.flatMap((role) => {
    const operations = scenario.operations.filter((operation) => workloads[operation].role === role)
    if (operations.length === 0) return []
    const theirs = sessions[role].slice(0, scenario.clients)
    if (theirs.length < scenario.clients) throw new Error(`${scenario.clients} clients, but ${theirs.length} accounts`)
    return theirs.map(async (session): Promise<Client> => {
      const connection = (await connect({ host, port: ports[role] })) as Connection<Role>
      return { ...session, role, connection, operations, begun: 0 }
    })
  })
  return Promise.all(connecting)
}

/** One call after the other. Results of calls of one connection may overtake each other only between its loops. */
async function loop(
  client: Client,
  more: () => boolean,
  workloads: Record<OperationName, Workload>,
  figures: ReadonlyMap<OperationName, Histogram>,
  random: Random,
): Promise<void> {
  while (more()) {
    const operation = client.operations[client.begun++ % client.operations.length] as OperationName
    const call = workloads[operation].plan(random, client.accountId)
    const begunMs = performance.now()
    const result = await ask(client, operation, call)
    figures.get(operation)?.recordValue(Math.round((performance.now() - begunMs) * 1_000))
    if (!call.isRight(result)) throw new Error(`wrong reply to ${operation}: ${JSON.stringify(result).slice(0, 300)}`)
  }
}

/** Parameters were planned for the operation's role, which the type of a connection to either can't say. */
function ask({ connection, session }: Client, operation: OperationName, { params }: PlannedCall): Promise<unknown> {
  return connection.call(operation as 'whoami', { session, ...params })
}

/** For each client a count of its own, which its loops share. */
function countDown(calls: number): () => () => boolean {
  return () => {
    let left = calls
    return () => left-- > 0
  }
}

function clock(seconds: number): () => () => boolean {
  const untilMs = performance.now() + seconds * 1_000
  return () => () => performance.now() < untilMs
}
