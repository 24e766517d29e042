/**
 * Fault F9: clients that begin a line and never end it, a byte every 5 seconds,
 * beside normal load. Each must be disconnected when its time for a line is over.
 */

import { createConnection, type Socket } from 'node:net'
import { below, type Random, seeded } from '../../src/loadgen/random.ts'
import { DEFAULT_LIMITS } from '../../src/server/limits.ts'
import { Bystander } from '../support/bystander.ts'
import { startTestMarketplace } from '../support/marketplace.ts'
import { residentMib, watchResidentMib } from '../support/resident-memory.ts'
import { type AttackOptions, type AttackReport, named } from './slow-readers.ts'

const BYTE_MS = 5_000
const QUIET_MS = 3_000
/** Beyond the limit on the time for a line: two sweeps, and what a busy machine needs to see the end. */
const GRACE_MS = 5_000

export async function attackBySlowloris({ seed, seconds, clients, command }: AttackOptions): Promise<AttackReport> {
  const marketplace = await startTestMarketplace()
  try {
    const server = await marketplace.serve('seller', { limitConnections: 2 * clients + 1_000 }, command)
    const bystander = await Bystander.connect(server)
    const quiet = await bystander.measure(QUIET_MS)
    const beforeMib = residentMib(server.program.pid)
    const mostMib = watchResidentMib(server.program.pid)
    const lorises = new Slowloris(server.port, clients, seeded(seed))
    const beside = await bystander.measure(seconds * 1_000)
    lorises.stop()
    await bystander.close()
    const figures = {
      clients,
      beforeMib,
      peakMib: mostMib(),
      disconnected: lorises.lastedMs.length,
      longestMs: Math.max(0, ...lorises.lastedMs),
      ...named('quiet', quiet),
      ...named('beside', beside),
    }
    const limitMs = DEFAULT_LIMITS.unfinishedLineMs
    const rules = [
      [seconds * 1_000 < limitMs + GRACE_MS || figures.disconnected >= clients, 'not all are disconnected'],
      [figures.longestMs < limitMs + GRACE_MS, 'some last too long'],
      [beside.failed === 0, 'calls of others fail'],
    ] as const
    const problems = rules.filter(([holds]) => !holds).map(([, problem]) => problem)
    return { verdict: problems.length === 0 ? 'held' : 'broken', problems, figures }
  } finally {
    await marketplace.close()
  }
}

/** As many connections as wanted, each replaced when it is closed. */
class Slowloris {
  /** How long each connection lasted after its first byte. */
  readonly lastedMs: number[] = []
  readonly #port: number
  readonly #random: Random
  #sockets = new Set<Socket>()
  #stopped = false

  constructor(port: number, clients: number, random: Random) {
    this.#port = port
    this.#random = random
    for (let client = 0; client < clients; client += 1) this.#connect()
  }

  stop(): void {
    this.#stopped = true
    for (const socket of this.#sockets) socket.destroy()
  }

  #connect(): void {
    const socket = createConnection({ host: '127.0.0.1', port: this.#port })
    this.#sockets.add(socket)
    let begunMs = performance.now()
    let dripping: NodeJS.Timeout | undefined
    socket.resume()
    socket.once('connect', () => {
      begunMs = performance.now()
      socket.write('{')
      dripping = setInterval(() => socket.write(' '), BYTE_MS - below(BYTE_MS / 2, this.#random))
    })
    socket.once('error', () => {}) // 'close' follows
    socket.once('close', () => {
      clearInterval(dripping)
      this.#sockets.delete(socket)
      if (this.#stopped) return
      this.lastedMs.push(performance.now() - begunMs)
      this.#connect()
    })
  }
}
