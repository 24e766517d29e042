/**
 * Sessions that tests write straight into the customer database. Operations on
 * items and carts ask for a session and not for an account, and a login costs a
 * password hash, which is slow on purpose.
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

/** As a login sets them: a session ends after its whole life, or sooner when it is idle. */
const LIFE_S = 12 * 3_600
const IDLE_S = 315

/** Opens a session for each account id, in this order. An id that is given twice gets two sessions. */
export async function openSessions(
  customer: Connection,
  role: Role,
  accountIds: readonly number[],
  { idleS = IDLE_S } = {},
): Promise<AccountSession[]> {
  const sessions = accountIds.map((id) => ({ id, session: randomBytes(32).toString('base64url') }))
  await customer.batch(
    INSERT_SESSION,
    sessions.map(({ id, session }) => [hashToken(session), role, id, LIFE_S, idleS]),
  )
  return sessions
}
