/**
 * Overload: an open-loop generator offers a server several times what it can answer, then half of it. Measured beside
 * it: a bystander, who pings and reads on connections of its own; and the server's own clock. Generator and bystander
 * run on one CPU, server and database on another, if there are two.
 *
 *     npm run overload -- --seconds 10 --times 1.5,2,5
 */

import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { seeded } from '../../src/loadgen/random.ts'
import { readCpuSeconds } from '../../src/loadgen/systems.ts'
import { wholeNumber } from '../../src/process/values.ts'
import { anItem, Caller, openAccount } from '../support/clients.ts'
import {
  type RunningServer,
  SOURCE_SERVER,
  startTestMarketplace,
  type TestMarketplace,
} from '../support/marketplace.ts'
import { type Counts, OpenLoop } from '../support/open-loop.ts'
import { readOptions } from '../support/options.ts'
import type { ClockReading } from '../support/server-clock.ts'

export interface OverloadOptions {
  seed: number
  /** Of each overload. */
  seconds: number
  /** Offered loads, as multiples of the peak. */
  times?: readonly number[]
  connections?: number
  load?: keyof typeof LOADS
  /** The file of souk-server; the source unless given. */
  server?: string | undefined
}

export interface Overload {
  verdict: 'holds' | string[]
  figures: {
    /** Calls answered a second, in a closed loop. */
    peak: number
    /** Processor time of server and database for an answered call, in that loop. */
    peakCpuUs: number
    quiet: Bystander
    overloads: readonly { times: number; during: Phase; after: Phase }[]
  }
}

export interface Phase {
  /** Calls a second. */
  offered: number
  sent: number
  answered: number
  refused: Record<string, number>
  /** Refusals as `overloaded` that name no pause. */
  withoutPause: number
  /** Processor time of server and database for an answered call. */
  cpuUs: number
  latenciesMs: { p50: number; p99: number }
  bystander: Bystander
  server: ClockReading
}

/** Latencies of calls that were answered. */
interface Bystander {
  ping: Latencies
  read: Latencies
}
interface Latencies {
  count: number
  refused: number
  p50: number
  p99: number
  max: number
}

/** The loads: operations of which all connections send some at random. */
export const LOADS = {
  rating: ['get_seller_rating'],
  reads: ['get_seller_rating', 'search_items', 'get_item'],
  search: ['search_items'],
  carts: ['add_item_to_cart'],
  mixed: ['get_seller_rating', 'search_items', 'get_item', 'add_item_to_cart', 'display_cart', 'clear_cart'],
  pings: ['ping'],
  unknown: ['no_such_method'],
} as const

const CPUS = availableParallelism() >= 2 ? { generator: 0, server: 1 } : undefined
const ITEMS = 300
const SESSIONS = 50
const PEAK_IN_FLIGHT = 512
const WARM_UP_S = 2
const PEAK_S = 4
const QUIET_S = 4
const PAUSE_S = 2
const AFTER_S = 4
const BYSTANDER_PAUSE_MS = 4

/** What must hold. */
const LEAST_GOODPUT = 0.9
const LONGEST_REFUSAL_MS = 50
const MOST_TIMES_QUIET = 5

export async function overload(options: OverloadOptions): Promise<Overload> {
  const { seed, seconds, times = [5], connections = 100, load = 'reads', server } = options
  const marketplace = await startTestMarketplace()
  let generator: OpenLoop | undefined
  try {
    if (CPUS !== undefined) pin(marketplace.database().pid, CPUS.server)
    const buyers = await marketplace.serve('buyer', {}, serverCommand(server))
    const requests = await prepareRequests(marketplace, seed, load)
    const bystander = await BystanderClients.connect(buyers)
    generator = await OpenLoop.start({ port: buyers.port, connections, requests, cpu: CPUS?.generator })

    const usedCpuUs = createCpuClock([buyers.program.pid, marketplace.database().pid])
    const inFlight = Math.ceil(PEAK_IN_FLIGHT / connections)
    await generator.offer({ inFlight })
    await sleep(WARM_UP_S)
    await generator.look()
    usedCpuUs()
    await sleep(PEAK_S)
    const { answered, seconds: peakS } = await generator.look()
    const peak = answered / peakS
    const peakCpuUs = usedCpuUs() / answered
    await generator.offer({ rate: 0 })
    await sleep(PAUSE_S)
    const quiet = await bystander.measure(QUIET_S)

    const overloads: Overload['figures']['overloads'][number][] = []
    for (const factor of times) {
      const measure = async (measureS: number): Promise<Phase> => {
        await generator?.look()
        await buyers.program.readClock()
        usedCpuUs()
        const measured = await bystander.measure(measureS)
        const counts = (await generator?.look()) as Counts
        return toPhase(counts, usedCpuUs() / counts.answered, measured, await buyers.program.readClock())
      }
      await generator.offer({ rate: factor * peak })
      const during = await measure(seconds)
      await generator.offer({ rate: peak / 2 })
      await sleep(PAUSE_S)
      const after = await measure(AFTER_S)
      overloads.push({ times: factor, during, after })
      await generator.end() // what it has not been answered, it has not got any more
      generator = await OpenLoop.start({ port: buyers.port, connections, requests, cpu: CPUS?.generator })
      await sleep(PAUSE_S)
    }
    await bystander.close()
    const figures = { peak, peakCpuUs, quiet, overloads }
    const violations = findViolations(figures)
    return { verdict: violations.length === 0 ? 'holds' : violations, figures }
  } finally {
    await generator?.end()
    await marketplace.close()
  }
}

function findViolations({ peak, quiet, overloads }: Overload['figures']): string[] {
  const violations: string[] = []
  for (const { times, during, after } of overloads) {
    const expect = (holds: boolean, what: string) => holds || violations.push(`at ${times} times the peak: ${what}`)
    expect(
      during.answered >= LEAST_GOODPUT * peak,
      `${Math.round(during.answered)} calls/s answered of ${Math.round(peak)}`,
    )
    const codes = Object.keys(during.refused).filter((code) => code !== 'overloaded')
    expect(codes.length === 0, `refused as ${codes}`)
    const { max, p99 } = during.server.refusalsMs
    expect(p99 <= LONGEST_REFUSAL_MS, `refusals after ${p99.toFixed(1)} ms, at most ${max.toFixed(1)}`)
    for (const kind of ['ping', 'read'] as const) {
      const most = MOST_TIMES_QUIET * quiet[kind].p99
      expect(during.bystander[kind].refused === 0, `a bystander’s ${kind} refused`)
      expect(
        during.bystander[kind].p99 <= most,
        `a bystander’s ${kind} after ${during.bystander[kind].p99.toFixed(1)} ms`,
      )
      expect(after.bystander[kind].p99 <= most, `and ${after.bystander[kind].p99.toFixed(1)} ms afterwards`)
    }
  }
  return violations
}

/** Processor time of some processes since the last call. */
function createCpuClock(pids: readonly number[]): () => number {
  const read = () => pids.reduce((sum, pid) => sum + (readCpuSeconds(pid) ?? 0), 0) * 1e6
  let lastUs = read()
  return () => {
    const beforeUs = lastUs
    lastUs = read()
    return lastUs - beforeUs
  }
}

function toPhase(counts: Counts, cpuUs: number, bystander: Bystander, server: ClockReading): Phase {
  const perS = (count: number) => Math.round(count / counts.seconds)
  const refused = Object.fromEntries(Object.entries(counts.refused).map(([code, count]) => [code, perS(count)]))
  const { offered, sent, answered, withoutPause, latenciesMs } = counts
  return {
    offered: perS(offered),
    sent: perS(sent),
    answered: perS(answered),
    refused,
    withoutPause,
    cpuUs,
    latenciesMs,
    bystander,
    server,
  }
}

/** Its own sessions and connections, one of each kind of call. */
class BystanderClients {
  readonly #kinds: Record<keyof Bystander, { caller: Caller<'buyer'>; call(): Promise<unknown> }>

  private constructor(ping: Caller<'buyer'>, read: Caller<'buyer'>, session: string) {
    this.#kinds = {
      ping: { caller: ping, call: () => ping.call('ping', {}) },
      read: { caller: read, call: () => read.call('get_seller_rating', { session, seller_id: 1 }) },
    }
  }

  static async connect(buyers: RunningServer<'buyer'>): Promise<BystanderClients> {
    const [ping, read] = await Promise.all([Caller.connect(buyers), Caller.connect(buyers)])
    return new BystanderClients(ping, read, (await openAccount(read)).session)
  }

  async measure(seconds: number): Promise<Bystander> {
    const untilMs = performance.now() + seconds * 1_000
    const measureKind = async (kind: keyof Bystander): Promise<Latencies> => {
      const latencies: number[] = []
      let refused = 0
      while (performance.now() < untilMs) {
        const begunMs = performance.now()
        await this.#kinds[kind].call().catch(() => (refused += 1))
        latencies.push(performance.now() - begunMs)
        await sleep(BYSTANDER_PAUSE_MS / 1_000)
      }
      return { ...summarize(latencies), refused }
    }
    const [ping, read] = await Promise.all([measureKind('ping'), measureKind('read')])
    return { ping, read }
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#kinds).map(({ caller }) => caller.close()))
  }
}

function summarize(latencies: number[]): Omit<Latencies, 'refused'> {
  const sorted = latencies.sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}

export async function prepareRequests(marketplace: TestMarketplace, seed: number, load: keyof typeof LOADS) {
  const sellers = await marketplace.serve('seller')
  const seller = await Caller.connect(sellers)
  const { session: sellerSession } = await openAccount(seller)
  const items = Array.from({ length: ITEMS }, (_, number) =>
    seller.call('register_item_for_sale', {
      session: sellerSession,
      ...anItem({ name: `Lamp ${number}`, keywords: [`lamp${number % 10}`], quantity: 1_000_000 }),
    }),
  )
  const ids = (await Promise.all(items)).map(({ item_id }) => item_id)
  await seller.close()
  await sellers.program.end()
  const buyers = await marketplace.serve('buyer')
  const buyer = await Caller.connect(buyers)
  const sessions: string[] = []
  while (sessions.length < SESSIONS / 10) sessions.push((await openAccount(buyer)).session)
  await buyer.close()
  await buyers.program.end()
  const random = seeded(seed)
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T
  const params: Record<string, () => object> = {
    get_seller_rating: () => ({ session: pick(sessions), seller_id: 1 }),
    search_items: () => ({
      session: pick(sessions),
      category: 1,
      keywords: [`lamp${pick([0, 1, 2, 3, 4, 5, 6])}`],
      limit: 10,
    }),
    get_item: () => ({ session: pick(sessions), item_id: pick(ids) }),
    add_item_to_cart: () => ({ session: pick(sessions), item_id: pick(ids.slice(0, 40)), quantity: 1 }),
    display_cart: () => ({ session: pick(sessions) }),
    clear_cart: () => ({ session: pick(sessions) }),
    ping: () => ({}),
    no_such_method: () => ({}),
  }
  return Array.from({ length: 1_000 }, () => {
    const method = pick<string>(LOADS[load])
    return { method, params: params[method]?.() ?? {} }
  })
}

/** souk-server with a clock of its own, on its CPU. */
export function serverCommand(server = SOURCE_SERVER.at(-1) as string): string[] {
  const [node = '', tsx = ''] = SOURCE_SERVER
  const clock = `--import=${fileURLToPath(new URL('../support/server-clock.ts', import.meta.url))}`
  const command = [node, tsx, clock, resolve(server)]
  return CPUS === undefined ? command : ['taskset', '-c', `${CPUS.server}`, ...command]
}

export function pin(pid: number, cpu: number): void {
  const { status, stderr } = spawnSync('taskset', ['-a', '-p', '-c', `${cpu}`, `${pid}`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
}

const OPTIONS = {
  seconds: { value: 'n', about: 'length of each overload', schema: wholeNumber(1, 3_600).default(10) },
  times: {
    value: 'list',
    about: 'offered loads, as multiples of the peak',
    schema: z
      .string()
      .transform((list) => list.split(',').map(Number))
      .default([1.5, 2, 5]),
  },
  connections: { value: 'n', about: 'connections of the generator', schema: wholeNumber(1, 1_900).default(100) },
  load: {
    value: 'name',
    about: Object.keys(LOADS).join(', '),
    schema: z.enum(Object.keys(LOADS) as [keyof typeof LOADS]).default('reads'),
  },
  seed: { value: 'n', about: 'seed of the calls', schema: wholeNumber(0, 2 ** 31 - 1).default(1) },
  server: { value: 'file', about: 'another souk-server', schema: z.string().optional() },
}

async function main(): Promise<void> {
  const options = readOptions('npm run overload --', 'Offers a server more than it can answer.', OPTIONS)
  const { verdict, figures } = await overload(options)
  process.stdout.write(
    `${JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value), 1)}\n`,
  )
  process.stdout.write(`${verdict === 'holds' ? 'holds' : verdict.join('\n')}\n`)
  if (verdict !== 'holds') process.exitCode = 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
