/**
 * The model test: random sequences of calls against a real marketplace and the
 * reference, and after each the whole database against the reference. Several
 * sequences play at once, each in a world of its own, so that their calls meet
 * in the servers' batches. The n-th sequence follows from seed + n alone.
 */

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { withConnection } from '../../src/db/connect.ts'
import { Caller } from './clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from './marketplace.ts'
import type { Servers } from './model-calls.ts'
import { possibleOutcomes, sequences } from './sequences.ts'
import { closeWorld, type Databases, openWorld, PASSWORD, rowsExpected, rowsStored, type Tally } from './world.ts'

export interface Plan {
  seed: number
  operations: number
  /** Told after each sequence how many operations are done. */
  progress?(operations: number): void
  /** Ends it all at once. */
  signal?: AbortSignal
}

export interface Findings {
  operations: number
  sequences: number
  tally: Tally
  /** What no call came to, though it can. */
  neverReached: readonly string[]
  /** The report of the first sequence that failed, shrunk. */
  failure?: string
}

const AT_ONCE = 8
const LONGEST_SEQUENCE = 400
const SHRINKING_MS = 120_000
/** For a machine that has much else to do: nothing here is about time. */
const PATIENCE_MS = 60_000
const PATIENT = { limitRequestMs: PATIENCE_MS }

/** What a sequence needs to be played, and where it counts what it came to. */
interface Player {
  servers: Servers
  databases: Databases
  passwordHash: string
  tally: Tally
}

/**
 * Plays sequences until so many operations are done and every outcome was
 * reached, and gives up on the latter when twice as many are done.
 */
export async function explore({ seed, operations, progress, signal }: Plan): Promise<Findings> {
  const marketplace = await startTestMarketplace()
  signal?.addEventListener('abort', () => marketplace.close())
  try {
    const [sellers, buyers] = await Promise.all([
      marketplace.serve('seller', PATIENT),
      marketplace.serve('buyer', PATIENT),
    ])
    const passwordHash = await hashOfPassword(marketplace, sellers)
    const tally: Tally = new Map()
    const findings: Findings = { operations: 0, sequences: 0, tally, neverReached: possibleOutcomes() }
    const isEnough = () =>
      findings.failure !== undefined || findings.operations >= operations * (findings.neverReached.length === 0 ? 1 : 2)

    async function playOn(databases: Databases): Promise<void> {
      const [seller, buyer] = await Promise.all([
        Caller.connect(sellers, 2 * PATIENCE_MS),
        Caller.connect(buyers, 2 * PATIENCE_MS),
      ])
      const player = { servers: { seller, buyer }, databases, passwordHash, tally }
      while (!isEnough()) {
        const failure = await play(seed + findings.sequences++, player)
        if (failure !== undefined) findings.failure ??= failure
        findings.operations = operationsIn(tally)
        findings.neverReached = possibleOutcomes().filter((outcome) => !tally.has(outcome))
        progress?.(findings.operations)
      }
    }

    await Promise.all(Array.from({ length: AT_ONCE }, () => withDatabases(marketplace, playOn)))
    return findings
  } finally {
    await marketplace.close()
  }
}

/** One sequence; when it fails, its report after shrinking. */
async function play(seed: number, { servers, databases, passwordHash, tally }: Player): Promise<string | undefined> {
  let failed: { atMs: number; operations: number } | undefined
  const property = fc.asyncProperty(sequences(LONGEST_SEQUENCE), async (commands) => {
    if (failed !== undefined && performance.now() - failed.atMs > SHRINKING_MS) return // small enough
    const world = await openWorld(databases, passwordHash, tally)
    try {
      await fc.asyncModelRun(() => ({ model: world, real: servers }), commands)
      assert.deepEqual(await rowsStored(world, databases), rowsExpected(world))
    } catch (error) {
      failed ??= { atMs: performance.now(), operations: operationsIn(tally) }
      throw error
    } finally {
      await closeWorld(world, databases)
    }
  })
  const report = await fc.asyncDefaultReportMessage(
    await fc.check(property, { seed, numRuns: 1, includeErrorInReport: true }),
  )
  if (report === undefined || failed === undefined) return undefined
  return `${report}\nfirst after ${failed.operations} operations; again: npm run model -- --seed ${seed} --operations 1`
}

function operationsIn(tally: Tally): number {
  return [...tally.values()].reduce((sum, times) => sum + times, 0)
}

function withDatabases<T>({ urls }: TestMarketplace, work: (databases: Databases) => Promise<T>): Promise<T> {
  return withConnection(urls.customer, (customer) =>
    withConnection(urls.product, (product) => work({ customer, product })),
  )
}

/** What the database keeps of the password: made once, since it is slow on purpose. */
async function hashOfPassword(marketplace: TestMarketplace, server: RunningServer<'seller'>): Promise<string> {
  const caller = await Caller.connect(server)
  await caller.call('create_account', { username: 'first', password: PASSWORD, name: 'First' })
  await caller.close()
  const [row] = await marketplace.sql<{ password: string }>('customer', 'SELECT password FROM seller')
  return (row as { password: string }).password
}
