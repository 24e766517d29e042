/**
 * Many clients at once, and the books on what they were told. Their sessions
 * stand in the customer database without a login, since passwords are slow to
 * hash on purpose. In the end the auditor holds the books against the product
 * database.
 */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Arguments, CallRefused, ConnectionLost } from '../../src/client/connection.ts'
import { type Name, operationsByName, type Result, type Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import { isWrite, readState, type State, violationsOf, type Write } from '../../src/loadgen/audit.ts'
import type { TestMarketplace } from './marketplace.ts'

interface Session {
  accountId: number
  session: string
}

/** Whatever calls operations: a connection, a client that retries. */
export interface Line<R extends Role> {
  call<N extends Name<R>>(method: N, params: Arguments<R, N>): Promise<Result<R, N>>
}

const SESSION_S = 3_600
const MOST_TOLD = 20

/** So many clients, one or more, with new accounts, each on the line that `connect` makes for its number. */
export async function gather<R extends Role>(
  market: TestMarketplace,
  role: R,
  count: number,
  books: Books,
  connect: (number: number) => Line<R> | Promise<Line<R>>,
): Promise<[Client<R>, ...Client<R>[]]> {
  const sessions = await openSessions(market, role, count)
  const clients = sessions.map(async (session, number) => new Client(role, session, await connect(number), books))
  return (await Promise.all(clients)) as [Client<R>, ...Client<R>[]]
}

async function openSessions(market: TestMarketplace, role: Role, count: number): Promise<Session[]> {
  const each = (values: string) => Array(count).fill(values).join(', ')
  const accounts = await market.sql<{ id: number }>(
    'customer',
    `INSERT INTO ${role} (username, name, password) VALUES ${each("(?, 'Bob', '')")} RETURNING id`,
    Array.from({ length: count }, () => randomBytes(12).toString('hex')),
  )
  const sessions = accounts.map(({ id }) => ({ accountId: id, session: randomBytes(32).toString('base64url') }))
  const until = `UNIX_TIMESTAMP() + ${SESSION_S}`
  await market.sql(
    'customer',
    'INSERT INTO session (token_hash, role, account_id, ends_at, expires_at) VALUES ' +
      each(`(?, '${role}', ?, ${until}, ${until})`),
    sessions.flatMap(({ accountId, session }) => [createHash('sha256').update(session).digest('base64url'), accountId]),
  )
  return sessions
}

/** What was there at first, and every call since that wrote or may have written. */
export class Books {
  readonly #url: string
  readonly #before: State
  readonly #ledger: Write[] = []

  private constructor(url: string, before: State) {
    this.#url = url
    this.#before = before
  }

  static async open({ urls }: TestMarketplace): Promise<Books> {
    return new Books(urls.product, await readState(urls.product))
  }

  enter(write: Write): void {
    this.#ledger.push(write)
  }

  /** Fails if the database is not as the books have it. All calls must have been answered. */
  async audit(): Promise<State> {
    const after = await readState(this.#url)
    const violations = violationsOf(this.#before, after, this.#ledger)
    assert.ok(
      violations.length === 0,
      [`${violations.length} violations`, ...violations.slice(0, MOST_TOLD)].join('\n'),
    )
    return after
  }
}

export type Parameters<R extends Role, N extends Name<R>> = Omit<Arguments<R, N>, 'session'>

/** A client with a session, whose calls are in the books. */
export class Client<R extends Role> implements Session {
  readonly accountId: number
  readonly session: string
  readonly #role: R
  readonly #line: Line<R>
  readonly #books: Books

  constructor(role: R, { accountId, session }: Session, line: Line<R>, books: Books) {
    this.accountId = accountId
    this.session = session
    this.#role = role
    this.#line = line
    this.#books = books
  }

  /** The same client on another line: its calls race those on this one. */
  over(line: Line<R>): Client<R> {
    return new Client(this.#role, this, line, this.#books)
  }

  /**
   * With a key of its own wherever the operation takes one, unless another is
   * given. Every result must be just what the contract says. A call that came
   * to a server too busy for it comes again. Rejects with `CallRefused` or
   * `ConnectionLost`.
   */
  async call<N extends Name<R>>(operation: N, given: Parameters<R, N>): Promise<Result<R, N>> {
    const contract = operationsByName(this.#role).get(operation)
    const params = contract?.keyed === true ? { ...newKey(), ...given } : given
    const begunMs = performance.now()
    try {
      const result = await this.#line.call(operation, { ...params, session: this.session } as object as Arguments<R, N>)
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

  /** The result, or the refusal if its code is one of those expected; rejects with every other. */
  async attempt<N extends Name<R>>(
    operation: N,
    params: Parameters<R, N>,
    ...expected: readonly ErrorCode[]
  ): Promise<Result<R, N> | CallRefused> {
    return this.call(operation, params).catch((error) => {
      if (error instanceof CallRefused && expected.includes(error.code)) return error
      throw error
    })
  }

  #enter(entry: { operation: string; params: object; begunMs: number; answeredMs?: number; result?: object }): void {
    const { accountId, session } = this
    const write = { ...entry, role: this.#role, accountId, session }
    if (isWrite(entry.operation)) this.#books.enter(write as object as Write)
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

/** A key that nobody has used. */
export function newKey(): Key {
  return { idempotency_key: randomBytes(16).toString('base64url') }
}
