/**
 * Sessions: who may call, and until when. They live in the customer database,
 * as hashes of their tokens, so that any server of the role accepts them, also
 * after a restart, and so that a copy of the table opens nothing.
 *
 * A server may remember a session for a second, counted from when its check
 * was sent: a busy client then costs no look-up a call. A logout leaves a
 * tombstone for as long, so that a check still on its way can't revive it.
 * Using a session prolongs it. That is written at most every 15 seconds, off
 * the reply path; the expiry in the row allows for that.
 */

import { createHash, randomBytes } from 'node:crypto'
import type { Role } from '../../contract/operations.ts'
import { Refused } from '../../contract/refusals.ts'
import { type Database, placeholders, type Statement } from '../../db.ts'
import { createQueue, type Queue } from '../queue.ts'

/** Whoever calls: the id is of the role of the server that is called. */
export interface Account {
  id: number
  /** Of the session's token: the session's name wherever it is written down. */
  sessionHash: string
  /** When the session ends whatever happens, on this process's clock. */
  endsMs: number
}

export interface SessionLife {
  /** A session ends when it was not used for so long. */
  idleS: number
  /** A session ends so long after login. */
  absoluteS: number
  /** How long a server may go without looking a session up again; 0: never. */
  memoryMs: number
}

export const SESSION_LIFE: Readonly<SessionLife> = { idleS: 300, absoluteS: 43_200, memoryMs: 1_000 }

const TOUCH_S = 15
const SWEEP_MS = 10_000
const SWEEP_ROWS = 1_000
/** Long enough for a sweep or a touch, which nobody waits for. */
const ASIDE_MS = 5_000

interface Found {
  account: Account
  /** When the check was sent that found it. */
  askedMs: number
}

type Row = [string, number, number, number]

export class Sessions {
  readonly #database: Database
  readonly #role: Role
  readonly #life: SessionLife
  readonly #remembered = new Map<string, Found>()
  readonly #endedMs = new Map<string, number>()
  readonly #checks: Queue<string, Found | undefined>
  readonly #changes: Queue<Statement, undefined>
  readonly #sweep: NodeJS.Timeout

  constructor(database: Database, role: Role, life: SessionLife, gathering: { cap: number; inFlight: number }) {
    this.#database = database
    this.#role = role
    this.#life = life
    this.#checks = createQueue({ ...gathering, run: (tokens, deadlineMs) => this.#lookUp(tokens, deadlineMs) })
    this.#changes = createQueue({
      ...gathering,
      changes: true,
      alone: (error) => !(error instanceof Refused),
      run: (statements, deadlineMs) => this.#change(statements, deadlineMs),
    })
    this.#sweep = setInterval(() => this.#sweepOut(), SWEEP_MS).unref()
  }

  /** Begins a session; resolves to its token. */
  async open(accountId: number, deadlineMs: number): Promise<{ session: string; expires_in_s: number }> {
    const session = randomBytes(32).toString('base64url')
    const { idleS, absoluteS } = this.#life
    const statement = {
      sql:
        'INSERT INTO session (token_hash, role, account_id, ends_at, expires_at) ' +
        'VALUES (?, ?, ?, UNIX_TIMESTAMP() + ?, UNIX_TIMESTAMP() + ?)',
      values: [hashOf(session), this.#role, accountId, absoluteS, Math.min(absoluteS, idleS + TOUCH_S)],
    }
    await this.#changes.ask(statement, deadlineMs)
    return { session, expires_in_s: Math.min(absoluteS, idleS) }
  }

  /** Whose session this is, at once when it is remembered. Undefined: nobody's. */
  check(token: string, deadlineMs: number): Account | undefined | Promise<Account | undefined> {
    const found = this.#remembered.get(token)
    if (found !== undefined && performance.now() - found.askedMs < this.#life.memoryMs) return found.account
    return this.#checks.ask(token, deadlineMs).then((fresh) => (this.#endedMs.has(token) ? undefined : fresh?.account))
  }

  /** Seconds until the account's session ends unless it is used again. */
  expiresInS({ endsMs }: Account): number {
    return Math.min(this.#life.idleS, Math.max(0, Math.floor((endsMs - performance.now()) / 1_000)))
  }

  async close(token: string, deadlineMs: number): Promise<void> {
    this.#endedMs.set(token, performance.now())
    this.#remembered.delete(token)
    const values = [hashOf(token), this.#role]
    try {
      await this.#changes.ask({ sql: 'DELETE FROM session WHERE token_hash = ? AND role = ?', values }, deadlineMs)
      this.#endedMs.set(token, performance.now())
    } catch (error) {
      this.#endedMs.delete(token) // the session may live on; the table knows
      throw error
    }
  }

  /** Waits for what is still being written. */
  async drained(): Promise<void> {
    clearInterval(this.#sweep)
    await this.#changes.drained()
  }

  async #lookUp(tokens: readonly string[], deadlineMs: number): Promise<readonly (Found | undefined)[]> {
    const askedMs = performance.now()
    const hashes = tokens.map(hashOf)
    const rows = await this.#database.read(
      (lane) =>
        lane.rows<Row>(
          'SELECT token_hash, account_id, ends_at - UNIX_TIMESTAMP(), expires_at - UNIX_TIMESTAMP() FROM session ' +
            `WHERE role = ? AND expires_at > UNIX_TIMESTAMP() AND token_hash IN (${placeholders(hashes)})`,
          [this.#role, ...hashes],
        ),
      deadlineMs,
    )
    const byHash = new Map(rows.map((row) => [row[0], row]))
    return tokens.map((token, index) => {
      const row = byHash.get(hashes[index] as string)
      if (row === undefined) return undefined
      const [hash, accountId, endsInS, expiresInS] = row
      if (expiresInS <= Math.min(this.#life.idleS, endsInS - 1)) this.#prolong(hash)
      const found = { account: { id: accountId, sessionHash: hash, endsMs: askedMs + endsInS * 1_000 }, askedMs }
      if (!this.#endedMs.has(token)) this.#remembered.set(token, found)
      return found
    })
  }

  #prolong(hash: string): void {
    const sql = 'UPDATE session SET expires_at = LEAST(ends_at, UNIX_TIMESTAMP() + ?) WHERE token_hash = ?'
    this.#aside({ sql, values: [this.#life.idleS + TOUCH_S, hash] })
  }

  #sweepOut(): void {
    const longAgoMs = performance.now() - this.#life.memoryMs
    for (const [token, found] of this.#remembered) if (found.askedMs < longAgoMs) this.#remembered.delete(token)
    for (const [token, endedMs] of this.#endedMs) if (endedMs < longAgoMs) this.#endedMs.delete(token)
    this.#aside({ sql: `DELETE FROM session WHERE expires_at <= UNIX_TIMESTAMP() LIMIT ${SWEEP_ROWS}`, values: [] })
  }

  /** Changes what nobody waits for; if it fails, the next look-up or sweep tries again. */
  #aside(statement: Statement): void {
    this.#changes.ask(statement, performance.now() + ASIDE_MS).catch(() => {})
  }

  async #change(statements: readonly Statement[], deadlineMs: number): Promise<readonly undefined[]> {
    await this.#database.change(statements, deadlineMs)
    return statements.map(() => undefined)
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
