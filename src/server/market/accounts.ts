/** Accounts: opening one, logging in and out, changing the password, showing whose session it is. */

import type { Role } from '../../contract/operations.ts'
import type { Answer, Refusal } from '../../contract/refusals.ts'
import { type Lane, placeholders } from '../../db/lane.ts'
import type { Plan } from '../../db/plan.ts'
import type { Database } from '../../db.ts'
import { createQueue } from '../batch-queue.ts'
import type { Peer } from '../peer.ts'
import { type Guess, Guesses } from './guesses.ts'
import type { AnyHandler } from './handler.ts'
import { hashPassword, inTurn, isOutdated, type Sender, verifyPassword } from './passwords.ts'
import type { Account, Sessions } from './sessions.ts'

interface Credentials {
  username: string
  password: string
}

interface StoredAccount {
  id: number
  username: string
  name: string
  hash: string
}

const GATHERED = { cap: 200, inFlight: 2 } as const
/** Not `unauthenticated`, which says that there is no session. */
const WRONG_PASSWORD: Refusal = { code: 'wrong_password', message: 'wrong password' }

/** The operations that both roles have. `created(id)` is the result of create_account: seller_id or buyer_id. */
export function accounts<Created extends object>(
  role: Role,
  customer: Database,
  sessions: Sessions,
  created: (id: number) => Created,
) {
  const guesses = new Guesses(customer, role, GATHERED)
  const byUsername = createQueue<string, StoredAccount | undefined>({
    ...GATHERED,
    run: (usernames, deadlineMs) =>
      customer.read(
        (lane) => readAccounts('username', (account) => account.username, lane, role, usernames),
        deadlineMs,
      ),
  })

  /** Whether the password is that of the hash. Rejects with `Refused`. */
  async function isRight(
    guess: Guess,
    hash: string | undefined,
    deadlineMs: number,
    hasSession = false,
  ): Promise<boolean> {
    const { peer, username, password } = guess
    const admitted = await guesses.begin(guess, hasSession, deadlineMs)
    let wasWrong = false
    try {
      return await inTurn({ peer, knownAs: admitted.isKnown ? username : undefined }, deadlineMs, async () => {
        await guesses.charge(admitted, deadlineMs)
        const right = await verifyPassword(password, hash)
        if (right) await guesses.refund(admitted, deadlineMs)
        wasWrong = !right
        return right
      })
    } finally {
      guesses.end(admitted, wasWrong)
    }
  }

  function newHash(sender: Sender, password: string, deadlineMs: number): Promise<string> {
    return inTurn(sender, deadlineMs, () => hashPassword(password))
  }

  /** Writes a new account. Does nothing if the user name is taken. */
  function insertAccount(guess: Guess, name: string, hash: string, deadlineMs: number): Promise<void> {
    const sql = `INSERT INTO ${role} (username, name, password) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE id = id`
    const insert = { sql, values: [guess.username, name, hash] }
    return customer.change([insert, guesses.know(guess, hash)], deadlineMs)
  }

  /** A new name is no guess. */
  const createAccount: AnyHandler<Credentials & { name: string }, Created> = {
    async answer({ params: { username, password, name }, peer }, deadlineMs) {
      const guess = { username, password, peer }
      const earlier = await byUsername.ask(username, deadlineMs)
      const hash = earlier === undefined ? await newHash({ peer }, password, deadlineMs) : undefined
      if (hash !== undefined) await insertAccount(guess, name, hash, deadlineMs)
      const account = await byUsername.ask(username, deadlineMs) // ours, or that of a faster client
      if (account === undefined) throw new Error('a written account is missing')
      const same = account.hash === hash || (await isRight(guess, account.hash, deadlineMs))
      return same
        ? { ok: created(account.id) }
        : { refused: { code: 'username_taken', message: 'this user name is taken' } }
    },
  }

  const login: AnyHandler<Credentials, { session: string; expires_in_s: number }> = {
    async answer({ params: { username, password }, peer }, deadlineMs) {
      const account = await byUsername.ask(username, deadlineMs)
      const right = await isRight({ username, password, peer }, account?.hash, deadlineMs)
      if (!right || account === undefined) {
        return { refused: { code: 'unauthenticated', message: 'wrong user name or password' } }
      }
      const hash = isOutdated(account.hash) ? await rehash(account, password, peer, deadlineMs) : account.hash
      return { ok: await sessions.open(account.id, hash, deadlineMs) }
    },
  }

  /** Stores a hash with today's parameters, unless another login or a change of the password was faster. */
  async function rehash(account: StoredAccount, password: string, peer: Peer, deadlineMs: number): Promise<string> {
    const sender = { peer, knownAs: account.username }
    const hash = await newHash(sender, password, deadlineMs)
    const sql = `UPDATE ${role} SET password = ? WHERE id = ? AND password = ?`
    await customer.change([{ sql, values: [hash, account.id, account.hash] }], deadlineMs)
    const stored = await byUsername.ask(account.username, deadlineMs)
    if (stored === undefined) return hash
    const isSame = await inTurn(sender, deadlineMs, () => verifyPassword(password, stored.hash))
    return isSame ? stored.hash : hash
  }

  const logout: AnyHandler<{ session: string }, { ok: true }> = {
    async answer({ params: { session } }, deadlineMs) {
      await sessions.close(session, deadlineMs)
      return { ok: { ok: true } }
    },
  }

  /** A call that is sent again finds the new password set, and succeeds too. */
  const changePassword: AnyHandler<{ password: string; new_password: string }, { ok: true }> = {
    async answer({ account, params: { password, new_password }, peer }, deadlineMs) {
      for (;;) {
        const read = (lane: Lane) => readAccounts('id', ({ id }) => id, lane, role, [account.id])
        const [stored] = await customer.read(read, deadlineMs)
        if (stored === undefined) throw new Error('a session without an account')
        const { username } = stored
        const isCurrent = await isRight({ username, password, peer }, stored.hash, deadlineMs, true)
        if (!isCurrent && !(await isRight({ username, password: new_password, peer }, stored.hash, deadlineMs, true))) {
          return { refused: WRONG_PASSWORD }
        }
        const hash = isCurrent ? await newHash({ peer, knownAs: username }, new_password, deadlineMs) : stored.hash
        const replaced = await replaceHash(account, stored.hash, hash, deadlineMs)
        if ('refused' in replaced) return replaced
        if (replaced.ok) return { ok: { ok: true } }
      }
    },
  }

  /** Stores another hash and ends the account's other sessions. Not ok if the stored hash is not `before` any more. */
  async function replaceHash(
    account: Account,
    before: string,
    hash: string,
    deadlineMs: number,
  ): Promise<Answer<boolean>> {
    const decide = async (lane: Lane): Promise<Plan<boolean>> => {
      const [row] = await lane.rows<[string]>(`SELECT password FROM ${role} WHERE id = ? FOR UPDATE`, [account.id])
      if (row?.[0] !== before) return { decisions: [{ ok: false }], writes: [] }
      const update = { sql: `UPDATE ${role} SET password = ? WHERE id = ?`, values: [hash, account.id] }
      return { decisions: [{ ok: true }], writes: [update, sessions.endOthers(account)] }
    }
    try {
      const [result] = await customer.write([{}], decide, deadlineMs)
      if (result === undefined || !('ok' in result || 'refused' in result)) throw new Error('no decision')
      return result
    } finally {
      sessions.forgetOthers(account) // also if the outcome is unknown: the table knows
    }
  }

  const whoami: AnyHandler<object, { id: number; username: string; name: string; expires_in_s: number }> = {
    reads: 'customer',
    ...GATHERED,
    async ask(lane, calls) {
      const ids = calls.map((call) => call.account.id)
      const found = await readAccounts('id', (account) => account.id, lane, role, ids)
      return calls.map((call, index) => {
        const { id, username, name } = found[index] as StoredAccount
        return { ok: { id, username, name, expires_in_s: sessions.expiresInS(call.account) } }
      })
    },
  }

  return { create_account: createAccount, login, logout, change_password: changePassword, whoami }
}

/** The account of each key, in order; undefined where there is none. */
async function readAccounts<K extends string | number>(
  column: 'id' | 'username',
  pickKey: (account: StoredAccount) => K,
  lane: Lane,
  role: Role,
  keys: readonly K[],
): Promise<readonly (StoredAccount | undefined)[]> {
  const distinct = [...new Set(keys)]
  const rows = await lane.rows<[number, string, string, string]>(
    `SELECT id, username, name, password FROM ${role} WHERE ${column} IN (${placeholders(distinct)})`,
    distinct,
  )
  const found = rows.map(([id, username, name, hash]) => ({ id, username, name, hash }))
  const byKey = new Map(found.map((account) => [pickKey(account), account]))
  return keys.map((key) => byKey.get(key))
}
