/** A client that does no harm, beside others that do: how often it is answered meanwhile, and how fast. */

import { Caller, openAccount } from './clients.ts'
import type { RunningServer } from './marketplace.ts'

export interface Service {
  answersPerS: number
  p50Ms: number
  p99Ms: number
  /** Calls that were refused, or not answered. */
  failed: number
}

const CONNECTIONS = 4

export class Bystander {
  readonly #callers: Caller<'seller'>[]
  readonly #session: string

  private constructor(callers: Caller<'seller'>[], session: string) {
    this.#callers = callers
    this.#session = session
  }

  static async connect(server: RunningServer<'seller'>): Promise<Bystander> {
    const callers = await Promise.all(Array.from({ length: CONNECTIONS }, () => Caller.connect(server)))
    const { session } = await openAccount(callers[0] as Caller<'seller'>)
    return new Bystander(callers, session)
  }

  /** Calls for so long, on each connection one call after the other. */
  async measure(durationMs: number): Promise<Service> {
    const latenciesMs: number[] = []
    let failed = 0
    const beginMs = performance.now()
    const callOn = async (caller: Caller<'seller'>) => {
      while (performance.now() - beginMs < durationMs) {
        const askedMs = performance.now()
        await caller.call('get_seller_rating', { session: this.#session }).then(
          () => latenciesMs.push(performance.now() - askedMs),
          () => {
            failed += 1
          },
        )
      }
    }
    await Promise.all(this.#callers.map(callOn))
    latenciesMs.sort((a, b) => a - b)
    const quantile = (share: number) => latenciesMs[Math.floor(latenciesMs.length * share)] ?? Number.NaN
    const answersPerS = (latenciesMs.length * 1_000) / (performance.now() - beginMs)
    return { answersPerS, p50Ms: quantile(0.5), p99Ms: quantile(0.99), failed }
  }

  async close(): Promise<void> {
    await Promise.all(this.#callers.map((caller) => caller.close()))
  }
}
