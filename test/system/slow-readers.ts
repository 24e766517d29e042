/**
 * Fault F8: clients that ask for long listings and read nothing, beside normal
 * load. Each sends an empty line every second, now and then another request, and
 * comes back when it is disconnected. What the server holds for them must stay
 * within one bound, and they must be disconnected in time.
 */

import { createConnection, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { below, type Random, seeded } from '../../src/loadgen/random.ts'
import { DEFAULT_LIMITS } from '../../src/server/limits.ts'
import { Bystander, type Service } from '../support/bystander.ts'
import { Caller, encodeRequest, openAccount } from '../support/clients.ts'
import { SOURCE_SERVER, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { residentMib, watchResidentMib } from '../support/resident-memory.ts'

export interface AttackOptions {
  seed: number
  seconds: number
  clients: number
  /** The command that starts souk-server. */
  command?: readonly string[]
}

export interface AttackReport {
  verdict: 'held' | 'broken'
  /** What was broken. */
  problems: string[]
  figures: Record<string, number>
}

const ITEMS = 10_000
const LISTINGS = 4
const BYTE_MS = 1_000
/** A client asks again with every so manieth byte, at random. */
const AGAIN_IN = 20
const STUCK_MS = 10_000
const QUIET_MS = 3_000
/** Beyond the bound: results that the database has sent and that are not encoded yet, buffers, connections. */
const MOST_BEYOND_MIB = 200

const SETTLE_MS = 20_000
const PAUSE_MS = 500
/** Of the memory that was in use before. */
const MOST_LEFT = 1.1

export async function attackBySlowReaders(options: AttackOptions): Promise<AttackReport> {
  const { seed, seconds, clients, command } = options
  const marketplace = await startTestMarketplace()
  try {
    const settings = { limitConnections: clients + 1_000, limitStuckMs: STUCK_MS }
    const server = await marketplace.serve('seller', settings, withMemory(command ?? SOURCE_SERVER))
    const seller = await Caller.connect(server)
    const { id, session } = await openAccount(seller)
    await fillListing(marketplace, id)
    const bystander = await Bystander.connect(server)
    const quiet = await bystander.measure(QUIET_MS)
    const usedBeforeMib = await server.program.ask<number>('memory')
    const beforeMib = residentMib(server.program.pid)
    const mostMib = watchResidentMib(server.program.pid)
    const readers = new SlowReaders(server.port, session, clients, seeded(seed))
    const beside = await bystander.measure(seconds * 1_000)
    const peakMib = mostMib()
    readers.stop()
    const afterwards = await bystander.measure(QUIET_MS)
    const usedAfterMib = await settle(() => server.program.ask<number>('memory'), MOST_LEFT * usedBeforeMib)
    const afterMib = residentMib(server.program.pid)
    await Promise.all([bystander.close(), seller.close()])
    const figures = {
      clients,
      beforeMib,
      peakMib,
      afterMib,
      usedBeforeMib,
      usedAfterMib,
      boundMib: DEFAULT_LIMITS.heldBytes / 1_024 / 1_024,
      disconnected: readers.disconnectedAfterMs.length,
      longestHeldMs: Math.max(0, ...readers.disconnectedAfterMs),
      ...named('quiet', quiet),
      ...named('beside', beside),
      ...named('afterwards', afterwards),
    }
    const problems = judge(figures, server.program.log)
    return { verdict: problems.length === 0 ? 'held' : 'broken', problems, figures }
  } finally {
    await marketplace.close()
  }
}

/** The value, asked for again while it is too much: what clients that left had asked for is still carried out. */
async function settle(ask: () => Promise<number>, most: number): Promise<number> {
  const untilMs = performance.now() + SETTLE_MS
  for (;;) {
    const value = await ask()
    if (value < most || performance.now() > untilMs) return value
    await sleep(PAUSE_MS)
  }
}

/** The command with server-memory.mjs loaded into the server. */
function withMemory(command: readonly string[]): string[] {
  const memory = `--import=${import.meta.resolve('../support/server-memory.mjs')}`
  return [...command.slice(0, -1), memory, ...command.slice(-1)]
}

function judge(figures: Record<string, number>, log: string): string[] {
  const { beforeMib = 0, peakMib = 0, boundMib = 0, disconnected = 0, longestHeldMs = 0 } = figures
  const { besideFailed = 0, afterwardsFailed = 0, usedBeforeMib = 0, usedAfterMib = 0 } = figures
  const rules = [
    [peakMib - beforeMib < boundMib + MOST_BEYOND_MIB, 'the server holds more than its bound'],
    [disconnected > 0 && longestHeldMs < 2 * STUCK_MS, 'clients that read nothing are not disconnected in time'],
    [besideFailed === 0, 'short calls of others fail meanwhile'],
    [afterwardsFailed === 0, 'short calls of others fail afterwards'],
    [usedAfterMib < MOST_LEFT * usedBeforeMib, 'the server goes on using memory for them afterwards'],
    [log === '', `the server logs ${log.slice(0, 200)}`],
  ] as const
  return rules.filter(([holds]) => !holds).map(([, problem]) => problem)
}

export function named(when: string, { answersPerS, p50Ms, p99Ms, failed }: Service): Record<string, number> {
  return {
    [`${when}AnswersPerS`]: answersPerS,
    [`${when}P50Ms`]: p50Ms,
    [`${when}P99Ms`]: p99Ms,
    [`${when}Failed`]: failed,
  }
}

/** Items for one long listing, each as long as an ordinary one. */
export async function fillListing(marketplace: TestMarketplace, sellerId: number, items = ITEMS): Promise<void> {
  const columns =
    'id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity, thumbs_up, thumbs_down'
  await marketplace.sql(
    'product',
    `INSERT INTO item (${columns}) SELECT 1000000 + seq, ?, REPEAT('s', 32), REPEAT('n', 32), 1, ` +
      `'keyword1\\nkeyword2\\nkeyword3\\nkeyword4\\nkeyword5', 'new', 100000, 1000, 0, 0 FROM seq_1_to_${items}`,
    [sellerId],
  )
}

/** As many connections as wanted, each replaced when it is closed. */
class SlowReaders {
  /** How long each closed connection lasted after its client had last asked. */
  readonly disconnectedAfterMs: number[] = []
  /** When each last asked. */
  readonly #sockets = new Map<Socket, number>()
  readonly #port: number
  readonly #session: string
  readonly #random: Random
  readonly #nudging: NodeJS.Timeout
  #stopped = false

  constructor(port: number, session: string, clients: number, random: Random) {
    this.#port = port
    this.#session = session
    this.#random = random
    for (let client = 0; client < clients; client += 1) this.#connect()
    this.#nudging = setInterval(() => {
      for (const socket of this.#sockets.keys()) {
        if (below(AGAIN_IN, random) === 0) this.#ask(socket, 1)
        else if (!socket.connecting) socket.write('\n')
      }
    }, BYTE_MS).unref()
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#nudging)
    for (const socket of this.#sockets.keys()) socket.destroy()
  }

  #connect(): void {
    const socket = createConnection({ host: '127.0.0.1', port: this.#port })
    socket.pause()
    this.#ask(socket, LISTINGS)
    socket.once('error', () => {}) // 'close' follows
    socket.once('close', () => {
      const askedMs = this.#sockets.get(socket) as number
      this.#sockets.delete(socket)
      if (this.#stopped) return
      this.disconnectedAfterMs.push(performance.now() - askedMs)
      this.#connect()
    })
  }

  /** Asks for long listings. No two are equal, so that each is read from the database. */
  #ask(socket: Socket, count: number): void {
    this.#sockets.set(socket, performance.now())
    const requests = Array.from({ length: count }, (_, listing) => {
      const params = { session: this.#session, limit: ITEMS, cursor: String(2_000_000 + below(1e9, this.#random)) }
      return encodeRequest({ id: listing, method: 'display_items_for_sale', params })
    })
    socket.write(requests.join(''))
  }
}
