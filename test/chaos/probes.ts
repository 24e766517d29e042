/** Clients of a fault's own: logged like all others, and measured. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Role } from '../../src/contract/operations.ts'
import { Client, type Identity, WireCaller } from './client.ts'
import type { Stage } from './stage.ts'

export interface Measured {
  calls: number
  perS: number
  p50Ms: number
  p99Ms: number
}

export interface LoopOptions<T> {
  role: Role
  clients: number
  /** Longest pause between two calls of a client (0). */
  pauseMs?: number
  prepare(client: Client): Promise<T>
  call(client: Client, prepared: T): Promise<unknown>
}

export interface Loop {
  run(ms: number): Promise<Measured>
  close(): void
}

/** A client with a new account, which calls any server of the role. */
export async function newClient(stage: Stage, role: Role): Promise<Client> {
  return (await newClients(stage, role, 1))[0] as Client
}

export async function newClients(stage: Stage, role: Role, count: number): Promise<Client[]> {
  return (await stage.newIdentities(role, count)).map((identity) => connectClient(stage, identity))
}

export function connectClient(stage: Stage, identity: Identity): Client {
  return new Client(
    identity,
    new WireCaller(identity.role, stage.ports(identity.role), stage.random, stage.log),
    stage.log,
  )
}

/** Clients that each make one call after the other, while `run` runs. */
export async function closedLoop<T>(
  stage: Stage,
  { role, clients, pauseMs = 0, prepare, call }: LoopOptions<T>,
): Promise<Loop> {
  const callers = await newClients(stage, role, clients)
  const prepared = await Promise.all(callers.map(prepare))
  return {
    async run(ms) {
      const timesMs: number[] = []
      const beganMs = performance.now()
      const work = async (client: Client, number: number) => {
        while (performance.now() - beganMs < ms) {
          stage.signal.throwIfAborted()
          const askedMs = performance.now()
          await call(client, prepared[number] as T)
          timesMs.push(performance.now() - askedMs)
          if (pauseMs > 0) await sleep(stage.random() * pauseMs)
        }
      }
      await Promise.all(callers.map(work))
      return summarise(timesMs, performance.now() - beganMs)
    },
    close() {
      for (const client of callers) client.close()
    },
  }
}

export function summarise(timesMs: number[], tookMs: number): Measured {
  const sorted = timesMs.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0
  return { calls: sorted.length, perS: (sorted.length / tookMs) * 1_000, p50Ms: at(0.5), p99Ms: at(0.99) }
}
