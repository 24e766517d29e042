/** Faults of contention: F14, the race for a last unit; F15, an item that everybody buys. */

import { below } from '../../../src/loadgen/random.ts'
import { anItem } from '../../support/clients.ts'
import type { Client } from '../client.ts'
import { drawSteps, type Fault, formatCounts, LIGHT_LOAD } from '../fault.ts'
import { newClient, newClients, summarise } from '../probes.ts'
import { judgeTyped } from './database.ts'

const MOST_RACERS = 1_000
const SLOWDOWN = 50
const MOST_RETRIES = 0.05

export const F14: Fault = {
  about: 'many buyers race for the last unit of an item',
  seconds: 30,
  load: LIGHT_LOAD,
  settings: { limitRequestMs: 20_000 },
  plan(random, seconds) {
    const buyers = Math.min(MOST_RACERS, 40 * seconds)
    return drawSteps(
      seconds,
      () => ({ calmMs: below(50, random), buyers }),
      ({ buyers }) => Number(buyers) * 2,
    )
  },
  async run(stage, steps) {
    const seller = await newClient(stage, 'seller')
    const buyers = await newClients(stage, 'buyer', Number(steps[0]?.buyers))
    const { result } = await seller.call('register_item_for_sale', anItem({ quantity: 1 }))
    const item_id = Number(result?.item_id)
    const winners: number[] = []
    const codes: Record<string, number> = {}
    let withEmptyCart: Client[] = buyers
    for (const { calmMs } of steps) {
      await stage.pause(calmMs)
      await Promise.all(
        withEmptyCart.map((buyer) => buyer.call('add_item_to_cart', { item_id, quantity: 1, ...newKey() })),
      )
      const outcomes = await Promise.all(buyers.map((buyer) => buyer.call('make_purchase', newKey())))
      withEmptyCart = buyers.filter((_, number) => outcomes[number]?.result !== undefined)
      winners.push(withEmptyCart.length)
      for (const { result, refused } of outcomes) {
        const code = result === undefined ? (refused?.code ?? 'unknown') : 'purchases'
        codes[code] = (codes[code] ?? 0) + 1
      }
      stage.count('races')
      await seller.call('update_units_for_sale', { item_id, change: 1, ...newKey() })
    }
    for (const client of [seller, ...buyers]) client.close()
    const odd = winners.filter((count) => count !== 1).length
    const others = Object.keys(codes).filter((code) => code !== 'purchases' && code !== 'out_of_stock')
    return [
      {
        what: 'one winner in each race',
        figure: `${winners.length - odd} of ${winners.length}, ${buyers.length} buyers each`,
        holds: odd === 0,
      },
      { what: 'all others hear that it is sold out', figure: formatCounts(codes), holds: others.length === 0 },
    ]
  },
  judge: (entries) => [judgeTyped(entries)],
}

export const F15: Fault = {
  about: 'all purchases are of one item',
  seconds: 20,
  load: LIGHT_LOAD,
  plan: (_random, seconds) => [{ calmMs: 0, buyers: 50, phaseMs: (seconds * 1_000) / 2 }],
  async run(stage, [step]) {
    const seller = await newClient(stage, 'seller')
    const buyers = await newClients(stage, 'buyer', Number(step?.buyers))
    const { result } = await seller.call('register_item_for_sale', anItem({ quantity: 1_000_000 }))
    const item_id = Number(result?.item_id)
    const buy = async (some: readonly Client[], ms: number) => {
      const timesMs: number[] = []
      const beganMs = performance.now()
      const work = async (buyer: Client) => {
        while (performance.now() - beganMs < ms) {
          stage.signal.throwIfAborted()
          await buyer.call('add_item_to_cart', { item_id, quantity: 1, ...newKey() })
          const askedMs = performance.now()
          await buyer.call('make_purchase', newKey())
          timesMs.push(performance.now() - askedMs)
        }
      }
      await Promise.all(some.map(work))
      return summarise(timesMs, performance.now() - beganMs)
    }
    const alone = await buy(buyers.slice(0, 1), Number(step?.phaseMs) / 4)
    const together = await buy(buyers, Number(step?.phaseMs))
    for (const client of [seller, ...buyers]) client.close()
    stage.count('purchases of one item', together.calls)
    const bought = stage.log.entries.filter((entry) => entry.kind === 'call' && entry.operation === 'make_purchase')
    const retried = bought.filter((entry) => entry.kind === 'call' && entry.attempts > 1).length / bought.length
    return [
      {
        what: `p99 under ${SLOWDOWN} times that of one buyer`,
        figure: `${alone.p99Ms.toFixed(1)} → ${together.p99Ms.toFixed(1)} ms`,
        holds: together.p99Ms < SLOWDOWN * alone.p99Ms,
      },
      { what: 'under 5 % are retried', figure: `${(retried * 100).toFixed(2)} %`, holds: retried < MOST_RETRIES },
    ]
  },
  judge: (entries) => [judgeTyped(entries)],
}

function newKey(): { idempotency_key: string } {
  return { idempotency_key: crypto.randomUUID() }
}
