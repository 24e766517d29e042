/**
 * What souk saves between commands, for each role and server: the session,
 * and the input of the shell. Only the owner can read the files. A file is
 * written whole and renamed, so a command that is killed leaves no half of one.
 */

import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Role } from '../contract/operations.ts'

export interface KnownSession {
  session: string
  /** Undefined for a session from the environment. */
  username: string | undefined
}

/** Entries of the shell's history. */
export const LONGEST_HISTORY = 1_000

export class SavedSession {
  readonly #folder: string
  readonly #name: string
  readonly #given: string | undefined

  /** A session in `SOUK_SESSION` wins over the remembered one. */
  constructor(environment: NodeJS.ProcessEnv, role: Role, { host, port }: { host: string; port: number }) {
    this.#folder = join(environment.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'souk')
    this.#name = `${role}-${encodeURIComponent(host)}-${port}`
    this.#given = environment.SOUK_SESSION || undefined
  }

  /** Whether the session comes from the environment. */
  get isSessionGiven(): boolean {
    return this.#given !== undefined
  }

  get session(): KnownSession | undefined {
    return this.#given === undefined ? this.#readSession() : { session: this.#given, username: undefined }
  }

  /** False if the session of the environment still wins. */
  saveSession(session: string, username: string): boolean {
    this.#write('session', `${JSON.stringify({ session, username })}\n`)
    return this.#given === undefined
  }

  /** Forgets this session, but not one that has replaced it. */
  forgetSession(session: string | undefined): void {
    if (session !== undefined && this.#readSession()?.session === session) {
      rmSync(this.#path('session'), { force: true })
    }
  }

  /** The input of earlier shells, newest last. */
  readHistory(): string[] {
    const inputs = this.#read('history').split('\n').slice(0, -1)
    if (inputs.length <= LONGEST_HISTORY) return inputs
    const newest = inputs.slice(-LONGEST_HISTORY / 2)
    this.#write('history', `${newest.join('\n')}\n`)
    return newest
  }

  addToHistory(input: string): void {
    this.#makeFolder()
    appendFileSync(this.#path('history'), `${input}\n`, { mode: 0o600 })
  }

  #readSession(): KnownSession | undefined {
    try {
      const known = JSON.parse(this.#read('session'))
      return typeof known?.session === 'string' ? known : undefined
    } catch {
      return undefined // no file, or not one of ours
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
    chmodSync(this.#folder, 0o700) // also a folder that was there before
  }
}
