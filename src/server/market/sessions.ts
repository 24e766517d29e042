/**
 * Sessions: who may call, and until when. They live in the customer database,
 * so any server of the role accepts them, also after a restart. The table holds
 * hashes of tokens: a copy of it opens nothing.
 *
 * A server may remember a session for a second, counted from when its check was
 * sent, so a busy client costs no look-up per call. Logout leaves a tombstone
 * for that long, so that a check in flight can't revive the session; a change
 * of the password leaves one for all other sessions of the account. Each use
 * prolongs a session. That is written at most every 15 seconds, off the reply
 * path; the expiry in the row allows for the delay.
 */

import { createHash, randomBytes } from 'node:crypto'
import type { Role } from '../../contract/operations.ts'
import { Refused } from '../../contract/refusals.ts'
import { placeholders, type Statement } from '../../db/lane.ts'
import type { OldRows } from '../../db/old-rows.ts'
import type { Database } from '../../db.ts'
import { createQueue, type Queue } from '../batch-queue.ts'

/** The calling account, of the server's role, and its session. */
export interface Account {
  id: number
  /** The name that others see. It never changes. */
  name: string
  /** Hash of the session's token: the session's name in tables. */
  sessionHash: string
  /** When the session ends, however much it is used; on this process's clock. */
  endsMs: number
}

export interface SessionLife {
  /** A session ends after this time without a call. */
  idleS: number
  /** A session ends this long after login. */
  absoluteS: number
  /** How long a server trusts a session check; 0: not at all. */
  memoryMs: number
}

export const SESSION_LIFE: Readonly<SessionLife> = { idleS: 300, absoluteS: 43_200, memoryMs: 1_000 }

const INSERT = 'INSERT INTO session (token_hash, role, account_id, ends_at, expires_at)'

/** Values: token hash, role, account, seconds until the absolute end, seconds until the expiry. */
export const INSERT_SESSION = `${INSERT} VALUES (?, ?, ?, UNIX_TIMESTAMP() + ?, UNIX_TIMESTAMP() + ?)`

/** Sessions that have expired. */
export const OLD_SESSIONS: OldRows = { table: 'session', age: 'expires_at', lifeS: 0 }

const TOUCH_S = 15
const SWEEP_MS = 10_000
/** Deadline of writes in the background: the prolonging of a session. */
const BACKGROUND_MS = 5_000

/** A checked session. */
interface Checked {
  account: Account
  /** When its check was sent. */
  askedMs: number
}

/** Token hash, account, its name, seconds until the absolute end, seconds until the expiry. */
type SessionRow = [string, number, string, number, number]

export class Sessions {
  readonly #database: Database
  readonly #role: Role
  readonly #life: SessionLife
  readonly #remembered = new Map<string, Checked>()
  readonly #endedMs = new Map<string, number>()
  /** By account: when all its sessions but one were ended. */
  readonly #othersEnded = new Map<number, { keptHash: string; endedMs: number }>()
  readonly #checks: Queue<string, Checked | undefined>
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

  /**
   * Begins a session. Resolves to its token. If the account has another password hash by now, the session has ended
   * already: the lock on the account puts logins and changes of the password into an order.
   */
  async open(
    accountId: number,
    passwordHash: string,
    deadlineMs: number,
  ): Promise<{ session: string; expires_in_s: number }> {
    const session = randomBytes(32).toString('base64url')
    const { idleS, absoluteS } = this.#life
    const expiresS = Math.min(absoluteS, idleS + TOUCH_S)
    const statement = {
      sql:
        `${INSERT} SELECT ?, ?, id, UNIX_TIMESTAMP() + ?, UNIX_TIMESTAMP() + ? FROM ${this.#role} ` +
        'WHERE id = ? AND password = ? LOCK IN SHARE MODE',
      values: [hashToken(session), this.#role, absoluteS, expiresS, accountId, passwordHash],
    }
    await this.#changes.ask(statement, deadlineMs)
    return { session, expires_in_s: Math.min(absoluteS, idleS) }
  }

  /** The account of a session, at once if it is remembered; undefined if there is no such session. */
  check(token: string, deadlineMs: number): Account | undefined | Promise<Account | undefined> {
    const found = this.#remembered.get(token)
    const isFresh = found !== undefined && performance.now() - found.askedMs < this.#life.memoryMs
    if (isFresh && !this.#isOverridden(found)) return found.account
    return this.#checks.ask(token, deadlineMs).then((checked) => {
      if (checked === undefined || this.#endedMs.has(token)) return undefined
      return this.#isOverridden(checked) ? this.check(token, deadlineMs) : checked.account
    })
  }

  /** Seconds until the account's session ends, if it is not used again. */
  expiresInS({ endsMs }: Account): number {
    return Math.min(this.#life.idleS, Math.max(0, Math.floor((endsMs - performance.now()) / 1_000)))
  }

  async close(token: string, deadlineMs: number): Promise<void> {
    this.#endedMs.set(token, performance.now())
    this.#remembered.delete(token)
    const values = [hashToken(token), this.#role]
    try {
      await this.#changes.ask({ sql: 'DELETE FROM session WHERE token_hash = ? AND role = ?', values }, deadlineMs)
      this.#endedMs.set(token, performance.now())
    } catch (error) {
      this.#endedMs.delete(token) // the session may live on: the table knows
      throw error
    }
  }

  /** Deletes all other sessions of the account. `forgetOthers` must follow. */
  endOthers({ id, sessionHash }: Account): Statement {
    const sql = 'DELETE FROM session WHERE role = ? AND account_id = ? AND token_hash <> ?'
    return { sql, values: [this.#role, id, sessionHash] }
  }

  /** Trusts no check of the account's other sessions that was sent before now. */
  forgetOthers({ id, sessionHash }: Account): void {
    this.#othersEnded.set(id, { keptHash: sessionHash, endedMs: performance.now() })
  }

  /** Resolves when nothing is being written any more. */
  async drained(): Promise<void> {
    clearInterval(this.#sweep)
    await this.#changes.drained()
  }

  async #lookUp(tokens: readonly string[], deadlineMs: number): Promise<readonly (Checked | undefined)[]> {
    const askedMs = performance.now()
    const hashes = tokens.map(hashToken)
    const rows = await this.#database.read(
      (lane) =>
        lane.rows<SessionRow>(
          'SELECT token_hash, account_id, name, ends_at - UNIX_TIMESTAMP(), expires_at - UNIX_TIMESTAMP() ' +
            `FROM session JOIN ${this.#role} AS account ON account.id = account_id ` +
            `WHERE role = ? AND expires_at > UNIX_TIMESTAMP() AND token_hash IN (${placeholders(hashes)})`,
          [this.#role, ...hashes],
        ),
      deadlineMs,
    )
    const byHash = new Map(rows.map((row) => [row[0], row]))
    return tokens.map((token, index) => {
      const row = byHash.get(hashes[index] as string)
      if (row === undefined) return undefined
      const [hash, id, name, endsInS, expiresInS] = row
      if (expiresInS <= Math.min(this.#life.idleS, endsInS - 1)) this.#prolong(hash)
      const found = { account: { id, name, sessionHash: hash, endsMs: askedMs + endsInS * 1_000 }, askedMs }
      if (!this.#endedMs.has(token)) this.#remembered.set(token, found)
      return found
    })
  }

  /** Whether the check was sent before the session was ended from another one. */
  #isOverridden({ account, askedMs }: Checked): boolean {
    const ended = this.#othersEnded.get(account.id)
    return ended !== undefined && ended.keptHash !== account.sessionHash && askedMs <= ended.endedMs
  }

  #prolong(hash: string): void {
    const sql = 'UPDATE session SET expires_at = LEAST(ends_at, UNIX_TIMESTAMP() + ?) WHERE token_hash = ?'
    this.#changeInBackground({ sql, values: [this.#life.idleS + TOUCH_S, hash] })
  }

  #sweepOut(): void {
    const longAgoMs = performance.now() - this.#life.memoryMs
    for (const [token, found] of this.#remembered) if (found.askedMs < longAgoMs) this.#remembered.delete(token)
    for (const [token, endedMs] of this.#endedMs) if (endedMs < longAgoMs) this.#endedMs.delete(token)
    for (const [id, { endedMs }] of this.#othersEnded) if (endedMs < longAgoMs) this.#othersEnded.delete(id)
  }

  /** A write that no call waits for. If it fails, the next check or sweep tries again. */
  #changeInBackground(statement: Statement): void {
    this.#changes.ask(statement, performance.now() + BACKGROUND_MS).catch(() => {})
  }

  async #change(statements: readonly Statement[], deadlineMs: number): Promise<readonly undefined[]> {
    await this.#database.change(statements, deadlineMs)
    return statements.map(() => undefined)
  }
}

/** The name of a session in tables, for its token. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
