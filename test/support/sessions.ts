/**
 * Accounts and sessions that tests write straight into the customer database:
 * opening an account and logging in cost a password hash each, which is slow on
 * purpose.
 */

import { randomBytes } from 'node:crypto'
import type { Connection } from 'mariadb'
import type { Role } from '../../src/contract/operations.ts'
import { hashToken, INSERT_SESSION } from '../../src/server/market/sessions.ts'

/** A seller or a buyer, by account id, and one of their sessions. */
export interface AccountSession {
  id: number
  session: string
}

interface TestAccount {
  id: number
  name: string
}

/** An account that was created here, and one of its sessions. */
export type NamedSession = AccountSession & TestAccount

/** As a login sets them: a session ends after its whole life, or sooner when it is idle. */
const LIFE_S = 12 * 3_600
const IDLE_S = 315

/** Creates accounts that no password opens. Each has a name of its own. */
export async function createAccounts(customer: Connection, role: Role, count: number): Promise<TestAccount[]> {
  const names = Array.from({ length: count }, () => randomBytes(12).toString('hex'))
  const values = Array(count).fill("(?, ?, '')").join(', ')
  return customer.query<TestAccount[]>(
    `INSERT INTO ${role} (username, name, password) VALUES ${values} RETURNING id, name`,
    names.flatMap((name) => [name, name]),
  )
}

/** Opens a session for each account, in this order. An account that is given twice gets two sessions. */
export async function openSessions<A extends { id: number }>(
  customer: Connection,
  role: Role,
  accounts: readonly A[],
  { idleS = IDLE_S } = {},
): Promise<(A & AccountSession)[]> {
  const sessions = accounts.map((account) => ({ ...account, session: randomBytes(32).toString('base64url') }))
  await customer.batch(
    INSERT_SESSION,
    sessions.map(({ id, session }) => [hashToken(session), role, id, LIFE_S, idleS]),
  )
  return sessions
}
