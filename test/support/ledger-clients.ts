/**
 * Clients that enter each of their writing calls, with its result, into a shared
 * ledger. In the end the auditor compares the ledger with the product database.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Arguments, CallRefused, ConnectionLost } from '../../src/client/connection.ts'
import { type Name, operationsByName, type Result, type Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import { withConnection } from '../../src/db/connect.ts'
import { findViolations, isWrite, readSnapshot, type Snapshot, type Write } from '../../src/loadgen/audit.ts'
import type { TestMarketplace } from './marketplace.ts'
import { type AccountSession, createAccounts, openSessions } from './sessions.ts'

/** What a client calls operations through: a connection, or a client that retries. */
export interface OperationCaller<R extends Role> {
  call<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<Result<R, N>>
}

const SESSION_IDLE_S = 3_600
const MOST_SHOWN = 20

/** Opens `count` clients, at least one, with new accounts. Client 0 calls through `connect(0)`, and so on. */
export async function openLedgerClients<R extends Role>(
  { urls }: TestMarketplace,
  role: R,
  count: number,
  ledger: AuditedLedger,
  connect: (number: number) => OperationCaller<R> | Promise<OperationCaller<R>>,
): Promise<[LedgerClient<R>, ...LedgerClient<R>[]]> {
  const sessions = await withConnection(urls.customer, async (customer) => {
    return openSessions(customer, role, await createAccounts(customer, role, count), { idleS: SESSION_IDLE_S })
  })
  const clients = sessions.map(
    async (session, number) => new LedgerClient(role, session, await connect(number), ledger),
  )
  return (await Promise.all(clients)) as [LedgerClient<R>, ...LedgerClient<R>[]]
}

/** The rows from before the first call, and every call since that wrote or may have written. */
export class AuditedLedger {
  readonly #url: string
  readonly #before: Snapshot
  readonly #writes: Write[] = []

  private constructor(url: string, before: Snapshot) {
    this.#url = url
    this.#before = before
  }

  static async open({ urls }: TestMarketplace): Promise<AuditedLedger> {
    return new AuditedLedger(urls.product, await readSnapshot(urls.product))
  }

  enter(write: Write): void {
    this.#writes.push(write)
  }

  /** Fails if the database differs from the ledger. All calls must have been answered. Resolves to the rows. */
  async audit(): Promise<Snapshot> {
    const after = await readSnapshot(this.#url)
    const violations = findViolations(this.#before, after, this.#writes)
    assert.ok(
      violations.length === 0,
      [`${violations.length} violations`, ...violations.slice(0, MOST_SHOWN)].join('\n'),
    )
    return after
  }
}

export type ClientParams<R extends Role, N extends Name<R>> = Omit<Arguments<R, N>, 'session'>

/** A client in one session, whose calls are entered into the ledger. */
export class LedgerClient<R extends Role> implements AccountSession {
  readonly id: number
  readonly session: string
  readonly #role: R
  readonly #caller: OperationCaller<R>
  readonly #ledger: AuditedLedger

  constructor(role: R, { id, session }: AccountSession, caller: OperationCaller<R>, ledger: AuditedLedger) {
    this.id = id
    this.session = session
    this.#role = role
    this.#caller = caller
    this.#ledger = ledger
  }

  /** The same account and session through another caller. Calls through both race each other. */
  through(caller: OperationCaller<R>): LedgerClient<R> {
    return new LedgerClient(this.#role, this, caller, this.#ledger)
  }

  /**
   * Calls an operation. If the operation takes a key and none is given, the
   * call gets a new one. The result must match the contract. A call refused as
   * overloaded is made again. Rejects with `CallRefused` or `ConnectionLost`.
   */
  async call<N extends Name<R>>(operation: N, given: ClientParams<R, N>): Promise<Result<R, N>> {
    const contract = operationsByName(this.#role).get(operation)
    const params = contract?.keyed !== undefined ? { ...newKey(), ...given } : given
    const begunMs = performance.now()
    try {
      const result = await this.#caller.call(operation, { ...params, session: this.session } as object as Arguments<
        R,
        N
      >)
      contract?.result.parse(result)
      this.#enter({ operation, params, begunMs, answeredMs: performance.now(), result })
      return result
    } catch (error) {
      if (error instanceof CallRefused && error.code === 'overloaded') {
        await sleep(Number(error.details.retry_after_ms))
        return this.call(operation, given)
      }
      if (mayHaveHappened(error)) this.#enter({ operation, params, begunMs })
      throw error
    }
  }

  /** Resolves to the result, or to a refusal with one of the expected codes; rejects with any other. */
  async attempt<N extends Name<R>>(
    operation: N,
    params: ClientParams<R, N>,
    ...expected: readonly ErrorCode[]
  ): Promise<Result<R, N> | CallRefused> {
    return this.call(operation, params).catch((error) => {
      if (error instanceof CallRefused && expected.includes(error.code)) return error
      throw error
    })
  }

  #enter(entry: { operation: string; params: object; begunMs: number; answeredMs?: number; result?: object }): void {
    const write = { ...entry, role: this.#role, accountId: this.id, session: this.session }
    if (isWrite(entry.operation)) this.#ledger.enter(write as object as Write)
  }
}

function mayHaveHappened(error: unknown): boolean {
  if (error instanceof CallRefused) return error.details.outcome === 'unknown' || error.code === 'internal'
  return !(error instanceof ConnectionLost && error.outcome === 'none')
}

export interface Key {
  idempotency_key: string | undefined
}

export const WITHOUT_KEY: Key = { idempotency_key: undefined }

/** A key that was never used before. */
export function newKey(): Key {
  return { idempotency_key: randomBytes(16).toString('base64url') }
}
