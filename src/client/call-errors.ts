/** How a call ends without a result: refused by the server, or without a reply. */

import type { ErrorCode } from '../contract/refusals.ts'

/** The server refused the call. */
export class CallRefused extends Error {
  readonly code: ErrorCode
  /** All of the reply's `error.data`. */
  readonly details: Readonly<Record<string, unknown>>
  constructor(message: string, details: { code: ErrorCode } & Record<string, unknown>) {
    super(message)
    this.code = details.code
    this.details = details
  }
}

/** No reply came: the connection was lost, could not be made, or was silent too long. */
export class ConnectionLost extends Error {
  /** `none`: the call was never sent; `unknown`: it may have been carried out. */
  readonly outcome: 'none' | 'unknown'
  constructor(message: string, outcome: 'none' | 'unknown') {
    super(message)
    this.outcome = outcome
  }
}

/** What listens there sent something that no server of souk sends. Another attempt would meet the same. */
export class ForeignServer extends ConnectionLost {}
