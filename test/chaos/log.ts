/**
 * The log of the clients: every call with its outcome, and of bare connections
 * every request and every reply. The checker reads nothing else of what clients
 * saw. Times are by one clock for all processes of the machine.
 */

import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs'
import type { Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'

/**
 * Why a call was made: as load; to learn what became of one with unknown outcome; to hear its first answer again; or,
 * with its key and other parameters, to be refused.
 */
export type Purpose = 'load' | 'resolve' | 'replay' | 'mismatch'

/** A call, with all its attempts. Without result and refusal, its outcome is unknown. */
export interface CallEntry {
  kind: 'call'
  purpose: Purpose
  role: Role
  /** 0 in calls without a session. */
  account: number
  session: string
  /** Of the server that settled it. */
  port: number
  operation: string
  /** Without session and password. */
  params: Record<string, unknown>
  attempts: number
  begunMs: number
  settledMs: number
  /** The time at which the session had ended by itself, if it was made to. */
  expiredMs?: number
  result?: Record<string, unknown>
  /** `unreachable`: it was never sent. */
  refused?: { code: ErrorCode | 'unreachable' } & Record<string, unknown>
}

/** A request on a bare connection. Connections have numbers, and so has each request of one. */
export interface RequestEntry {
  kind: 'request'
  connection: string
  id: number
  operation: string
  atMs: number
}

export interface ReplyEntry {
  kind: 'reply'
  connection: string
  id: number | string | null
  atMs: number
  /** Of a refusal. */
  code?: string
}

export interface EndEntry {
  kind: 'end'
  connection: string
  atMs: number
}

export type Entry = CallEntry | RequestEntry | ReplyEntry | EndEntry

export interface Log {
  write(entry: Entry): void
}

/** Milliseconds since 1970, with fractions. In one process it never goes back. */
export function clockMs(): number {
  return performance.timeOrigin + performance.now()
}

const WRITTEN_AT_ONCE = 500

/** A log in a file, for another process to read when this one has closed it. */
export class FileLog implements Log {
  readonly #file: number
  #waiting: string[] = []

  constructor(path: string) {
    this.#file = openSync(path, 'a', 0o600)
  }

  write(entry: Entry): void {
    this.#waiting.push(`${JSON.stringify(entry)}\n`)
    if (this.#waiting.length >= WRITTEN_AT_ONCE) this.#flush()
  }

  close(): void {
    this.#flush()
    closeSync(this.#file)
  }

  #flush(): void {
    appendFileSync(this.#file, this.#waiting.join(''))
    this.#waiting = []
  }
}

export function readLog(path: string): Entry[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Entry)
}

/** A log in memory. */
export class MemoryLog implements Log {
  readonly entries: Entry[] = []

  write(entry: Entry): void {
    this.entries.push(entry)
  }
}
