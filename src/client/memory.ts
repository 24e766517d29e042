/**
 * What souk remembers between commands: the session at a server, and what was
 * typed in its shell. Files that only their owner can read, written whole, so
 * that a command that is killed leaves no half of one.
 */

import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Role } from '../contract/operations.ts'

export interface Remembered {
  session: string
  /** Undefined for a session from the environment. */
  username: string | undefined
}

export const LONGEST_HISTORY_LINES = 1_000

export class State {
  readonly #folder: string
  readonly #name: string
  readonly #given: string | undefined

  /** `SOUK_SESSION` in the environment is a session that wins over the remembered one. */
  constructor(environment: NodeJS.ProcessEnv, role: Role, { host, port }: { host: string; port: number }) {
    this.#folder = join(environment.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'souk')
    this.#name = `${role}-${encodeURIComponent(host)}-${port}`
    this.#given = environment.SOUK_SESSION || undefined
  }

  /** Whether the session comes from the environment. */
  get isGiven(): boolean {
    return this.#given !== undefined
  }

  get session(): Remembered | undefined {
    return this.#given === undefined ? this.#remembered() : { session: this.#given, username: undefined }
  }

  /** False when the environment has a session that goes on winning. */
  remember(session: string, username: string): boolean {
    this.#write('session', `${JSON.stringify({ session, username })}\n`)
    return this.#given === undefined
  }

  /** Forgets the session, unless another one has taken its place. */
  forget(session: string | undefined): void {
    if (session !== undefined && this.#remembered()?.session === session) rmSync(this.#path('session'), { force: true })
  }

  /** Lines that were typed in the shell, newest last. */
  history(): string[] {
    const lines = this.#read('history').split('\n').slice(0, -1)
    if (lines.length <= LONGEST_HISTORY_LINES) return lines
    const newest = lines.slice(-LONGEST_HISTORY_LINES / 2)
    this.#write('history', `${newest.join('\n')}\n`)
    return newest
  }

  addToHistory(line: string): void {
    this.#makeFolder()
    appendFileSync(this.#path('history'), `${line}\n`, { mode: 0o600 })
  }

  #remembered(): Remembered | undefined {
    try {
      const kept = JSON.parse(this.#read('session'))
      return typeof kept?.session === 'string' ? kept : undefined
    } catch {
      return undefined // none, or what is no file of ours
    }
  }

  #path(what: string): string {
    return join(this.#folder, `${what}-${this.#name}`)
  }

  #read(what: string): string {
    try {
      return readFileSync(this.#path(what), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  #write(what: string, text: string): void {
    this.#makeFolder()
    const path = this.#path(what)
    writeFileSync(`${path}.${process.pid}`, text, { mode: 0o600 })
    renameSync(`${path}.${process.pid}`, path)
  }

  #makeFolder(): void {
    mkdirSync(this.#folder, { recursive: true })
    chmodSync(this.#folder, 0o700) // also one that was there before
  }
}
