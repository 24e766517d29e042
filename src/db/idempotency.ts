/**
 * Idempotency: a call with a key has one effect and one answer, however often
 * it is sent. The key's INSERT travels with the writes of the call and decides:
 * it fails if the key was used before. This file owns the table `idempotency`.
 */

import { createHash } from 'node:crypto'
import type { Role } from '../contract/operations.ts'
import type { Answer, Refusal } from '../contract/refusals.ts'
import { type Lane, placeholders, type Statement } from './lane.ts'
import type { OldRows } from './old-rows.ts'
import type { Decision } from './plan.ts'

/** The key of a call, its account, and a fingerprint of operation and parameters. */
export interface IdempotencyKey {
  role: Role
  accountId: number
  key: string
  fingerprint: string
}

/** Anything that may carry a key: a call, as writes see it. */
export interface Keyed {
  key?: IdempotencyKey | undefined
}

/** Keys that are too old for a retry. */
export const OLD_KEYS: OldRows = { table: 'idempotency', age: 'created_at', lifeS: 24 * 3_600 }

export const MISMATCH: Refusal = { code: 'idempotency_mismatch', message: 'this key was used with other parameters' }

/** A key in the scope of a session, as it is stored: among those of the account, no other session has it. */
export function toSessionKey(sessionHash: string, key: string): string {
  return createHash('sha256').update(`${sessionHash} ${key}`).digest('base64url')
}

/** Of calls with equal keys, only the first is carried out; `repeats` maps each other one to it. */
export function foldEqualKeys<C extends Keyed>(
  calls: readonly C[],
): { first: readonly C[]; repeats: ReadonlyMap<C, C> } {
  const firstByKey = new Map<string, C>()
  const repeats = new Map<C, C>()
  const first = calls.filter((call) => {
    if (call.key === undefined) return true
    const name = keyName(call.key)
    const earlier = firstByKey.get(name)
    if (earlier === undefined) firstByKey.set(name, call)
    else repeats.set(call, earlier)
    return earlier === undefined
  })
  return { first, repeats }
}

/** The INSERT that claims the keys. Refusals are not stored: the same call may succeed next time. */
export function insertKeys<R>(calls: readonly Keyed[], decisions: readonly Decision<R>[]): Statement {
  const rows = calls.flatMap(({ key }, index) => {
    const decision = decisions[index] as Decision<R>
    if (key === undefined || !('ok' in decision)) return []
    return [[key.role, key.accountId, key.key, key.fingerprint, JSON.stringify(decision.ok)]]
  })
  return {
    sql:
      'INSERT INTO idempotency (role, account_id, idempotency_key, fingerprint, answer, created_at) ' +
      'VALUES (?, ?, ?, ?, ?, UNIX_TIMESTAMP())',
    rows,
  }
}

/** The answers stored for the calls' keys. A call without a key, or with an unused one, has no entry. */
export async function readStoredAnswers<C extends Keyed, R>(
  lane: Lane,
  calls: readonly C[],
): Promise<ReadonlyMap<C, Answer<R>>> {
  const keyed = calls.flatMap((call) => (call.key === undefined ? [] : [{ call, key: call.key }]))
  const rows = await lane.rows<[Role, number, string, string, string]>(
    'SELECT role, account_id, idempotency_key, fingerprint, answer FROM idempotency ' +
      `WHERE (role, account_id, idempotency_key) IN (${placeholders(keyed, '(?, ?, ?)')})`,
    keyed.flatMap(({ key }) => [key.role, key.accountId, key.key]),
  )
  const byKey = new Map(rows.map(([role, accountId, key, ...stored]) => [keyName({ role, accountId, key }), stored]))
  return new Map(
    keyed.flatMap(({ call, key }): [C, Answer<R>][] => {
      const [fingerprint, answer = ''] = byKey.get(keyName(key)) ?? []
      if (fingerprint === undefined) return []
      return [[call, fingerprint === key.fingerprint ? { ok: JSON.parse(answer) } : { refused: MISMATCH }]]
    }),
  )
}

function keyName({ role, accountId, key }: Omit<IdempotencyKey, 'fingerprint'>): string {
  return JSON.stringify([role, accountId, key])
}
