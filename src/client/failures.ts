/** How commands fail: what may be thrown, what is told of it, and the exit code by which a script knows. */

export const EXIT = {
  failure: 1,
  usage: 2,
  notLoggedIn: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  interrupted: 130,
  /** Whoever read the results had enough of them, as when SIGPIPE ends a program. */
  unread: 141,
} as const

/** A command failed, as it is told. */
export interface Failure {
  exitCode: number
  /** The contract's, or `usage`, `unreachable`, `interrupted`, `system`. */
  code: string
  /** Has a line for each problem. */
  message: string
  /** What to type next. */
  next: string | undefined
  /** What the server said beside it. */
  details: Readonly<Record<string, unknown>>
}

/** What was typed can't be carried out. */
export class UsageError extends Error {
  /** What to type instead. */
  readonly next: string | undefined
  constructor(problems: readonly string[], next?: string) {
    super(problems.join('\n'))
    this.next = next
  }
}

/** There is no session to call with. */
export class NotLoggedIn extends Error {}

/** Ctrl-C, or the end of the input where an answer was wanted. */
export class Interrupted extends Error {
  /** A call was under way, and may be carried out. */
  readonly sent: boolean
  constructor(sent: boolean) {
    super('interrupted')
    this.sent = sent
  }
}

export function usageFailure({ message, next }: UsageError): Failure {
  return { exitCode: EXIT.usage, code: 'usage', message, next, details: {} }
}

/** A failure as a document. */
export function errorJson({ code, message, next, details }: Failure): string {
  return JSON.stringify({ error: { ...details, code, message, next } })
}
