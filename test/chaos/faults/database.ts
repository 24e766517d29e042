/** Faults of the database: F2, killed; F3, stopped; F4, connections killed; F5, out of connections; F12, a held row. */

import { randomUUID } from 'node:crypto'
import { createConnection } from 'mariadb'
import { withConnection } from '../../../src/db/connect.ts'
import { connectionOptions } from '../../../src/db/url.ts'
import { below, oneOf, seeded } from '../../../src/loadgen/random.ts'
import { anItem } from '../../support/clients.ts'
import { withRowsHeld } from '../../support/shop.ts'
import type { Client } from '../client.ts'
import {
  atLeast,
  atMostMs,
  type Bound,
  drawSteps,
  eachStep,
  type Fault,
  formatCounts,
  LIGHT_LOAD,
  NORMAL_LOAD,
  replyTimesMs,
  shareSettled,
  troubleCodes,
} from '../fault.ts'
import type { Entry } from '../log.ts'
import { closedLoop, newClient } from '../probes.ts'
import type { Stage } from '../stage.ts'

const REQUEST_MS = 5_000
const RECOVERY_MS = 2_000
/** A database that was killed reads its log first. */
const RESTART_MS = 1_500
const STOPS_MS = [1_000, 5_000, 30_000]
const KILL_EVERY_MS = 50
const FEW_CONNECTIONS = 10
const HOT_CALLS = 20

export const F2: Fault = {
  about: 'kill -9 of mariadbd',
  seconds: 40,
  load: NORMAL_LOAD,
  plan(random, seconds) {
    const draw = () => ({ calmMs: 500 + below(2_000, random), downMs: random() < 0.5 ? 0 : below(2_000, random) })
    return drawSteps(seconds, draw, ({ calmMs, downMs }) => calmMs + Number(downMs) + RESTART_MS)
  },
  async run(stage, steps) {
    const backMs: number[] = []
    const rssBefore = stage.readRssMib()
    let rssMost = 0
    await eachStep(stage, steps, async ({ downMs }) => {
      const database = stage.marketplace.database()
      process.kill(database.pid, 'SIGKILL')
      await database.ended
      await stage.pause(Number(downMs))
      rssMost = Math.max(rssMost, stage.readRssMib())
      await stage.marketplace.restartDatabase()
      backMs.push(await untilAllAnswer(stage))
      stage.count('kills of mariadbd')
    })
    const memory = {
      what: 'memory of the servers meanwhile: at most 2 times and 128 MiB',
      figure: `${Math.round(rssBefore)} → ${Math.round(rssMost)} MiB`,
    }
    return [
      atMostMs('all servers answer after the database is back', backMs, RECOVERY_MS),
      { ...memory, holds: rssMost <= 2 * rssBefore + 128 },
    ]
  },
  judge: (entries) => [judgeTyped(entries)],
}

export const F3: Fault = {
  about: 'SIGSTOP of mariadbd',
  seconds: 50,
  load: NORMAL_LOAD,
  plan(random, seconds) {
    const fitting = STOPS_MS.filter((stopMs) => stopMs === STOPS_MS[0] || stopMs + REQUEST_MS < seconds * 1_000)
    const first = below(fitting.length, random)
    const draw = (number: number) => ({
      calmMs: 500 + below(1_500, random),
      stopMs: fitting[(first + number) % fitting.length] as number,
    })
    return drawSteps(seconds, draw, ({ calmMs, stopMs }) => calmMs + Number(stopMs))
  },
  async run(stage, steps) {
    await eachStep(stage, steps, async ({ stopMs }) => {
      const { pid } = stage.marketplace.database()
      process.kill(pid, 'SIGSTOP')
      try {
        await stage.pause(Number(stopMs))
      } finally {
        process.kill(pid, 'SIGCONT')
      }
      await untilAllAnswer(stage)
      stage.count(`pauses of ${Number(stopMs) / 1_000} s`)
    })
    return []
  },
  judge: (entries) => [judgeTyped(entries), atMostMs('time until a reply', replyTimesMs(entries), REQUEST_MS + 1_000)],
}

export const F4: Fault = {
  about: 'KILL CONNECTION of a random connection every 50 ms',
  seconds: 60,
  load: NORMAL_LOAD,
  plan: (random, seconds) => [
    { calmMs: 200, seed: below(2 ** 32, random), kills: Math.ceil((seconds * 1_000) / KILL_EVERY_MS) },
  ],
  async run(stage, [step]) {
    const random = seeded(Number(step?.seed))
    await withConnection(stage.marketplace.urls.product, async (connection) => {
      for (let kill = 0; kill < Number(step?.kills); kill += 1) {
        await stage.pause(KILL_EVERY_MS)
        const victims = await listConnections(connection)
        if (victims.length === 0) continue
        const killed = await connection.query(`KILL CONNECTION ${oneOf(victims, random)}`).catch((error) => error)
        if (!(killed instanceof Error)) stage.count('connections killed')
      }
    })
    return []
  },
  judge: (entries) => [atLeast('calls settled, with retries', shareSettled(entries), 0.99), judgeTyped(entries)],
}

export const F5: Fault = {
  about: 'the database has no connection left',
  seconds: 20,
  load: NORMAL_LOAD,
  plan(random, seconds) {
    const draw = () => ({ calmMs: 500 + below(1_000, random), holdMs: 500 + below(2_500, random) })
    return drawSteps(seconds, draw, ({ calmMs, holdMs }) => calmMs + Number(holdMs) + 500)
  },
  async run(stage, steps) {
    const backMs: number[] = []
    await eachStep(stage, steps, async ({ holdMs }) => {
      await withConnection(stage.marketplace.urls.product, async (root) => {
        const [{ most } = { most: 0 }] = await root.query<{ most: number }[]>('SELECT @@max_connections AS most')
        await root.query(`SET GLOBAL max_connections = ${FEW_CONNECTIONS}`)
        try {
          for (const id of await listConnections(root)) await root.query(`KILL CONNECTION ${id}`).catch(() => {})
          const release = await takeConnections(stage.marketplace.urls.product)
          await stage.pause(Number(holdMs)).finally(release)
        } finally {
          await root.query(`SET GLOBAL max_connections = ${most}`)
        }
      })
      backMs.push(await untilAllAnswer(stage))
      stage.count('times without connections')
    })
    return [atMostMs('all servers answer after connections are free', backMs, 1_000)]
  },
  judge: (entries) => [judgeTyped(entries)],
}

export const F12: Fault = {
  about: 'another session holds the row of an item for 10 s',
  seconds: 25,
  load: LIGHT_LOAD,
  plan(random, seconds) {
    return [{ calmMs: 200 + below(500, random), heldMs: Math.min(10_000, (seconds * 1_000) / 2) }]
  },
  async run(stage, [step]) {
    const heldMs = Number(step?.heldMs)
    const seller = await newClient(stage, 'seller')
    const { result } = await seller.call('register_item_for_sale', anItem({ quantity: 10 }))
    const hot = Number(result?.item_id)
    const others = await closedLoop(stage, { role: 'seller', clients: 8, prepare: registerOne, call: sellOne })
    await others.run(heldMs / 4) // warms up
    const quiet = await others.run(heldMs)
    const beside = await withRowsHeld(stage.marketplace, [{ table: 'item', key: 'id', id: hot }], async () => {
      const addOne = () => seller.call('update_units_for_sale', { item_id: hot, change: 1, idempotency_key: newKey() })
      const waiting = Array.from({ length: HOT_CALLS }, addOne)
      return { measured: await others.run(heldMs), waiting }
    })
    await Promise.all(beside.waiting)
    others.close()
    seller.close()
    stage.count('seconds held', heldMs / 1_000)
    return [atLeast('calls on other rows, of those in quiet', beside.measured.perS / quiet.perS, 0.95)]
  },
  judge: (entries) => [judgeTyped(entries)],
}

async function registerOne(client: Client): Promise<number> {
  const { result } = await client.call('register_item_for_sale', anItem({ quantity: 1_000 }))
  return Number(result?.item_id)
}

async function sellOne(client: Client, itemId: number): Promise<void> {
  await client.call('update_units_for_sale', { item_id: itemId, change: 1, idempotency_key: newKey() })
}

function newKey(): string {
  return randomUUID()
}

/** Every call was answered, or refused with a code that says what to do. */
export function judgeTyped(entries: readonly Entry[]): Bound {
  const codes = troubleCodes(entries)
  return {
    what: 'refusals meanwhile are typed, none `internal`',
    figure: formatCounts(codes),
    holds: codes.internal === undefined,
  }
}

/** The time until every server reaches its databases. */
export async function untilAllAnswer(stage: Stage): Promise<number> {
  return Math.max(...(await Promise.all(stage.servers.map((server) => stage.answersAfterMs(server, true)))))
}

/** The ids of the servers' connections. */
async function listConnections(connection: { query<T>(sql: string): Promise<T> }): Promise<number[]> {
  const rows = await connection.query<{ id: number }[]>(
    "SELECT id FROM information_schema.processlist WHERE db LIKE 'souk_test_%' AND id <> CONNECTION_ID() ORDER BY id",
  )
  return rows.map(({ id }) => id)
}

/** Takes all connections that the database gives; resolves to the function that gives them back. */
async function takeConnections(url: string): Promise<() => void> {
  const taken: { destroy(): void }[] = []
  for (let number = 0; number < FEW_CONNECTIONS; number += 1) {
    const connection = await createConnection({ ...connectionOptions(url), connectTimeout: 1_000 }).catch(
      () => undefined,
    )
    if (connection === undefined) break
    connection.on('error', () => {})
    taken.push(connection)
  }
  return () => {
    for (const connection of taken) connection.destroy()
  }
}
