/**
 * Guesses: how many passwords anybody may try. Whatever says whether a password
 * is right is a guess: it is charged before it is looked at, and a right one is
 * refunded. This file owns the table `password_guess`: all servers of a role
 * count together, and a restart forgets nothing.
 *
 * A guess is charged to the account and to the network that it comes from, and
 * both must have one left. But an account knows the networks from which it was
 * opened or logged in before: it has guesses of their own there, which nobody
 * elsewhere can use up, and which the network's other guesses do not touch. An
 * account that does not exist is counted like one that does.
 *
 * What is charged has `MOST` guesses, and gets another every `INTERVAL_S`: fewer
 * than fifty in any hour. Most of them are for first tries. A connection that
 * has guessed wrong before, and a password that was wrong before, have
 * `MOST_REPEATED`: whoever goes on so leaves a way in for an owner beside them.
 * Guesses that wait here for their turn count like charged and wrong ones, but
 * who is refused because of them is told `overloaded`.
 */

import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { Role } from '../../contract/operations.ts'
import { Refused } from '../../contract/refusals.ts'
import type { Keyed } from '../../db/idempotency.ts'
import { type Lane, placeholders, type Statement } from '../../db/lane.ts'
import type { OldRows } from '../../db/old-rows.ts'
import type { Plan } from '../../db/plan.ts'
import type { Database } from '../../db.ts'
import { createQueue, type Queue } from '../batch-queue.ts'
import { type Peer, toNetwork } from '../peer.ts'

export interface Guess {
  username: string
  password: string
  peer: Peer
}

/** Rows that say nothing any more. */
export const OLD_GUESSES: OldRows = { table: 'password_guess', age: 'expires_at', lifeS: 0 }

/** A guess that may be looked at when its turn comes. */
export interface Admitted extends Guess {
  /** Whether the account knows the network. */
  isKnown: boolean
  isRepeat: boolean
  /** What it is charged to: keys of rows. */
  keys: readonly string[]
}

const MOST = 28
const MOST_REPEATED = 8
const INTERVAL_S = 180
/** How long an account knows a network. */
const KNOWN_S = 90 * 86_400
const MOST_REMEMBERED = 10_000
const RETRY_AFTER_MS = 1_000

const CHARGE =
  'INSERT INTO password_guess (key_hash, free_at, expires_at) ' +
  `VALUES (?, UNIX_TIMESTAMP() + ${INTERVAL_S}, UNIX_TIMESTAMP() + ${INTERVAL_S}) ON DUPLICATE KEY UPDATE ` +
  `free_at = GREATEST(free_at, UNIX_TIMESTAMP()) + ${INTERVAL_S}, expires_at = GREATEST(expires_at, free_at) ` +
  'RETURNING CAST(free_at AS SIGNED) - UNIX_TIMESTAMP()'
const REFUND = `UPDATE password_guess SET free_at = free_at - LEAST(free_at, ${INTERVAL_S}) WHERE key_hash = ?`
const KNOW = 'ON DUPLICATE KEY UPDATE expires_at = GREATEST(expires_at, UNIX_TIMESTAMP() + ?)'

export class Guesses {
  readonly #database: Database
  readonly #role: Role
  readonly #repeats = new Repeats()
  /** How many guesses wait here that will be charged to a row. */
  readonly #waiting = new Map<string, number>()
  /** Seconds until a row is as if it had never been charged; undefined without a row. */
  readonly #rows: Queue<string, number | undefined>

  constructor(database: Database, role: Role, gathering: { cap: number; inFlight: number }) {
    this.#database = database
    this.#role = role
    this.#rows = createQueue({
      ...gathering,
      run: (keys, deadlineMs) => database.read((lane) => readRows(lane, keys), deadlineMs),
    })
  }

  /**
   * Admits a guess if anything is left for it, without a charge. `end` must follow. A session of the account makes the
   * network known.
   */
  async begin(guess: Guess, hasSession: boolean, deadlineMs: number): Promise<Admitted> {
    const pair = this.#pairKey(guess)
    const open = [this.#key('account', guess.username), this.#key('network', toNetwork(guess.peer.address))]
    const [pairS, ...openS] = await Promise.all([pair, ...open].map((key) => this.#rows.ask(key, deadlineMs)))
    const isKnown = hasSession || pairS !== undefined
    const keys = isKnown ? [pair] : open
    const isRepeat = this.#repeats.has(guess)
    const freeS = (isKnown ? [pairS] : openS).map((seconds = 0) => Math.max(0, seconds) + INTERVAL_S)
    refuseBeyond(Math.max(...freeS), isRepeat)
    const waiting = Math.max(...keys.map((key, index) => this.#countWaiting(key) * INTERVAL_S + (freeS[index] ?? 0)))
    if (waiting > longestS(isRepeat)) {
      const details = { retry_after_ms: RETRY_AFTER_MS }
      throw new Refused({ code: 'overloaded', message: 'other passwords are being looked at', details })
    }
    for (const key of keys) this.#waiting.set(key, this.#countWaiting(key) + 1)
    this.#repeats.add(guess)
    return { ...guess, isKnown, isRepeat, keys }
  }

  /** Charges a guess whose turn it is. Refuses it if nothing is left any more. */
  async charge({ keys, isRepeat }: Admitted, deadlineMs: number): Promise<void> {
    const decide = async (lane: Lane): Promise<Plan<undefined>> => {
      for (const key of keys) {
        const [row] = await lane.rows<[number]>(CHARGE, [key])
        refuseBeyond(row?.[0] ?? 0, isRepeat) // which undoes the charges
      }
      return { decisions: [{ ok: undefined }], writes: [] }
    }
    const [result] = await this.#database.write<Keyed, undefined>([{}], decide, deadlineMs)
    if (result !== undefined && 'refused' in result)
      throw new Refused({ ...result.refused, details: { outcome: 'none' } })
  }

  /** Refunds a guess that was right. From now on the account knows the network. */
  async refund(guess: Admitted, deadlineMs: number): Promise<void> {
    const know = {
      sql: `INSERT INTO password_guess (key_hash, free_at, expires_at) VALUES (?, 0, UNIX_TIMESTAMP() + ?) ${KNOW}`,
      values: [this.#pairKey(guess), KNOWN_S, KNOWN_S],
    }
    await this.#database.change([...guess.keys.map((key) => ({ sql: REFUND, values: [key] })), know], deadlineMs)
  }

  /** The guess waits no more. */
  end(guess: Admitted, wasWrong: boolean): void {
    for (const key of guess.keys) {
      const others = this.#countWaiting(key) - 1
      if (others > 0) this.#waiting.set(key, others)
      else this.#waiting.delete(key)
    }
    if (!wasWrong) this.#repeats.delete(guess)
  }

  /** Lets an account know the network from which it is opened, if its row is there with this hash. */
  know(guess: Guess, hash: string): Statement {
    const sql =
      'INSERT INTO password_guess (key_hash, free_at, expires_at) ' +
      `SELECT ?, 0, UNIX_TIMESTAMP() + ? FROM ${this.#role} WHERE username = ? AND password = ? ${KNOW}`
    return { sql, values: [this.#pairKey(guess), KNOWN_S, guess.username, hash, KNOWN_S] }
  }

  #countWaiting(key: string): number {
    return this.#waiting.get(key) ?? 0
  }

  #pairKey({ username, peer }: Guess): string {
    return this.#key('pair', username, toNetwork(peer.address))
  }

  #key(...parts: readonly string[]): string {
    return createHash('sha256')
      .update(JSON.stringify([this.#role, ...parts]))
      .digest('base64url')
  }
}

/** The longest time until a row is free, for a guess to be looked at. */
function longestS(isRepeat: boolean): number {
  return (isRepeat ? MOST_REPEATED : MOST) * INTERVAL_S
}

/** `freeS`: seconds until the row is free, with this guess charged. */
function refuseBeyond(freeS: number, isRepeat: boolean): void {
  const waitS = freeS - longestS(isRepeat)
  if (waitS <= 0) return
  const details = { retry_after_ms: waitS * 1_000 }
  throw new Refused({ code: 'too_many_attempts', message: 'too many wrong passwords', details })
}

/** The connections and the passwords of guesses that were wrong here before, or wait. */
class Repeats {
  readonly #peers = new WeakMap<Peer, number>()
  readonly #secret = randomBytes(32)
  /** Keyed hashes of user names and passwords; the oldest are forgotten first. */
  readonly #passwords = new Set<string>()

  has(guess: Guess): boolean {
    return (this.#peers.get(guess.peer) ?? 0) > 0 || this.#passwords.has(this.#hash(guess))
  }

  add(guess: Guess): void {
    this.#count(guess.peer, 1)
    this.#passwords.add(this.#hash(guess))
    const [oldest] = this.#passwords
    if (this.#passwords.size > MOST_REMEMBERED && oldest !== undefined) this.#passwords.delete(oldest)
  }

  delete(guess: Guess): void {
    this.#count(guess.peer, -1)
    this.#passwords.delete(this.#hash(guess))
  }

  #count(peer: Peer, change: number): void {
    this.#peers.set(peer, (this.#peers.get(peer) ?? 0) + change)
  }

  #hash({ username, password }: Guess): string {
    return createHmac('sha256', this.#secret)
      .update(JSON.stringify([username, password]))
      .digest('base64url')
  }
}

async function readRows(lane: Lane, keys: readonly string[]): Promise<readonly (number | undefined)[]> {
  const distinct = [...new Set(keys)]
  const rows = await lane.rows<[string, number]>(
    'SELECT key_hash, CAST(free_at AS SIGNED) - UNIX_TIMESTAMP() FROM password_guess ' +
      `WHERE expires_at > UNIX_TIMESTAMP() AND key_hash IN (${placeholders(distinct)})`,
    distinct,
  )
  const byKey = new Map(rows)
  return keys.map((key) => byKey.get(key))
}
