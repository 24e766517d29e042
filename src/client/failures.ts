/** How commands fail: the errors that they throw, the failures that are printed, and their exit codes. */

import { UsageError } from '../process/command-line.ts'

export { UsageError }

export const EXIT = {
  failure: 1,
  usage: 2,
  notLoggedIn: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  interrupted: 130,
} as const

/** The failure of a command, as souk prints it. */
export interface Failure {
  exitCode: number
  /** A code of the contract, or `usage`, `unreachable`, `interrupted`, `system`. */
  code: string
  /** A line for each problem. */
  message: string
  /** What to type next. */
  hint: string | undefined
  /** Further fields of the server's refusal, or of the error document. */
  details: Readonly<Record<string, unknown>>
}

/** The call needs a session, and there is none. */
export class NotLoggedIn extends Error {}

/** A session or a password would go over the wire in plain, to a server that was used with TLS before. */
export class TlsMissing extends Error {
  constructor() {
    super('you are logged in to this server over TLS: no session or password is sent to it without: add --tls')
  }
}

/** Ctrl-C, or the end of the input where an answer was wanted. */
export class Interrupted extends Error {
  /** A call was under way, and may have been carried out. */
  readonly sent: boolean
  constructor(sent: boolean) {
    super('interrupted')
    this.sent = sent
  }
}

/** A person was asked whether to go on, and is not. */
export class Declined extends Error {}

export function toUsageFailure({ message, hint }: UsageError): Failure {
  return { exitCode: EXIT.usage, code: 'usage', message, hint, details: {} }
}

/** A failure as one JSON document. */
export function encodeFailure({ code, message, hint, details }: Failure): string {
  return JSON.stringify({ error: { ...details, code, message, next: hint } })
}
