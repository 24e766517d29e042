/**
 * The model test: runs random sequences of calls against a real marketplace and
 * the reference, and after each compares all its rows with the reference.
 * Several sequences run at the same time, each in a context of its own, so that
 * their calls share the servers' batches. Sequence n depends on seed + n alone.
 */

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { withConnection } from '../../src/db/connect.ts'
import { Caller } from './clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from './marketplace.ts'
import type { Servers } from './model-calls.ts'
import {
  type AnswerCounts,
  closeContext,
  type Databases,
  openContext,
  PASSWORD,
  readStoredRows,
  toExpectedRows,
} from './sequence-context.ts'
import { possibleAnswers, sequences } from './sequences.ts'

export interface ExploreOptions {
  seed: number
  /** The least number of operations to carry out. */
  operations: number
  /** Called after each sequence with the number of operations so far. */
  progress?(operations: number): void
  /** Ends everything at once. */
  signal?: AbortSignal
}

export interface Findings {
  operations: number
  sequences: number
  answerCounts: AnswerCounts
  /** Possible answers that no call got. */
  neverReached: readonly string[]
  /** A description of the first sequence that failed, after shrinking. */
  failure?: string
}

const AT_ONCE = 8
const LONGEST_SEQUENCE = 400
const SHRINKING_MS = 120_000
/** Long, since nothing here is about time and the machine may be busy. */
const PATIENCE_MS = 60_000
const PATIENT = { limitRequestMs: PATIENCE_MS }

/** What a sequence needs to run, and the counts that it adds to. */
interface Resources {
  servers: Servers
  databases: Databases
  passwordHash: string
  answerCounts: AnswerCounts
}

/**
 * Runs sequences until `operations` are done and every possible answer has been
 * reached. After twice as many operations it gives up on the missing answers.
 */
export async function explore({ seed, operations, progress, signal }: ExploreOptions): Promise<Findings> {
  const marketplace = await startTestMarketplace()
  signal?.addEventListener('abort', () => marketplace.close())
  try {
    const [sellers, buyers] = await Promise.all([
      marketplace.serve('seller', PATIENT),
      marketplace.serve('buyer', PATIENT),
    ])
    // Sequences guess more often than anybody may, and the reference can't know when.
    await marketplace.sql(
      'customer',
      'CREATE TRIGGER uncounted BEFORE UPDATE ON password_guess FOR EACH ROW SET NEW.free_at = UNIX_TIMESTAMP()',
    )
    const passwordHash = await readPasswordHash(marketplace, sellers)
    const answerCounts: AnswerCounts = new Map()
    const findings: Findings = { operations: 0, sequences: 0, answerCounts, neverReached: possibleAnswers() }
    const isEnough = () =>
      findings.failure !== undefined || findings.operations >= operations * (findings.neverReached.length === 0 ? 1 : 2)

    async function runSequences(databases: Databases): Promise<void> {
      const [seller, buyer] = await Promise.all([
        Caller.connect(sellers, 2 * PATIENCE_MS),
        Caller.connect(buyers, 2 * PATIENCE_MS),
      ])
      const resources = { servers: { seller, buyer }, databases, passwordHash, answerCounts }
      while (!isEnough()) {
        const failure = await runSequence(seed + findings.sequences++, resources)
        if (failure !== undefined) findings.failure ??= failure
        findings.operations = countOperations(answerCounts)
        findings.neverReached = possibleAnswers().filter((answer) => !answerCounts.has(answer))
        progress?.(findings.operations)
      }
    }

    await Promise.all(Array.from({ length: AT_ONCE }, () => withDatabases(marketplace, runSequences)))
    return findings
  } finally {
    await marketplace.close()
  }
}

/** Runs one sequence. If it fails, shrinks it and resolves to a description of the failure. */
async function runSequence(seed: number, resources: Resources): Promise<string | undefined> {
  const { servers, databases, passwordHash, answerCounts } = resources
  let failed: { atMs: number; operations: number } | undefined
  const property = fc.asyncProperty(sequences(LONGEST_SEQUENCE), async (commands) => {
    if (failed !== undefined && performance.now() - failed.atMs > SHRINKING_MS) return // small enough
    const context = await openContext(databases, passwordHash, answerCounts)
    try {
      await fc.asyncModelRun(() => ({ model: context, real: servers }), commands)
      assert.deepEqual(await readStoredRows(context, databases), toExpectedRows(context))
    } catch (error) {
      failed ??= { atMs: performance.now(), operations: countOperations(answerCounts) }
      throw error
    } finally {
      await closeContext(context, databases)
    }
  })
  const failure = await fc.asyncDefaultReportMessage(
    await fc.check(property, { seed, numRuns: 1, includeErrorInReport: true }),
  )
  if (failure === undefined || failed === undefined) return undefined
  return `${failure}\nfailed after ${failed.operations} operations; to repeat: npm run model -- --seed ${seed} --operations 1`
}

function countOperations(answerCounts: AnswerCounts): number {
  return [...answerCounts.values()].reduce((sum, times) => sum + times, 0)
}

function withDatabases<T>({ urls }: TestMarketplace, work: (databases: Databases) => Promise<T>): Promise<T> {
  return withConnection(urls.customer, (customer) =>
    withConnection(urls.product, (product) => work({ customer, product })),
  )
}

/** The hash of the password, as a server stores it. Made once: hashing is slow on purpose. */
async function readPasswordHash(marketplace: TestMarketplace, server: RunningServer<'seller'>): Promise<string> {
  const caller = await Caller.connect(server)
  await caller.call('create_account', { username: 'first', password: PASSWORD, name: 'First' })
  await caller.close()
  const [row] = await marketplace.sql<{ password: string }>('customer', 'SELECT password FROM seller')
  return (row as { password: string }).password
}
