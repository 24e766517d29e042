/**
 * What souk saves between commands, for each role and server: the session, the
 * total of its cart that was shown last, and the input of the shell. Only the
 * owner can read the files. A file is written whole and renamed, so a command
 * that is killed leaves no half of one.
 */

import { createHash } from 'node:crypto'
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Role } from '../contract/operations.ts'
import { homeFolder } from '../process/start.ts'
import { decodeText } from '../process/text.ts'
import type { Address } from './address.ts'

export interface KnownSession {
  session: string
  /** Undefined for a session from the environment. */
  username: string | undefined
}

/** As the file has it. */
interface StoredSession extends KnownSession {
  /** It was opened over TLS, and may be sent over nothing else. */
  tls?: boolean
}

/** Entries of the shell's history. */
export const LONGEST_HISTORY = 1_000

export class SavedSession {
  readonly #folder: string
  readonly #name: string
  readonly #given: string | undefined
  readonly #isSecure: boolean

  /** A session in `SOUK_SESSION` wins over the remembered one. */
  constructor(environment: NodeJS.ProcessEnv, role: Role, { host, port, tls }: Omit<Address, 'timeoutMs'>) {
    this.#folder = join(environment.XDG_STATE_HOME || join(homeFolder(), '.local', 'state'), 'souk')
    this.#name = `${role}-${encodeURIComponent(host)}-${port}`
    this.#isSecure = tls !== undefined
    this.#given = environment.SOUK_SESSION || undefined
  }

  /** Whether the session comes from the environment. */
  get isSessionGiven(): boolean {
    return this.#given !== undefined
  }

  /** Whether the session was opened over TLS, and the connection has none. Then `session` is undefined. */
  get isTlsMissing(): boolean {
    return this.#given === undefined && !this.#isSecure && this.#readSession()?.tls === true
  }

  get session(): KnownSession | undefined {
    if (this.#given !== undefined) return { session: this.#given, username: undefined }
    return this.isTlsMissing ? undefined : this.#readSession()
  }

  /** False if the session of the environment still wins. */
  saveSession(session: string, username: string): boolean {
    const stored: StoredSession = { session, username, ...(this.#isSecure ? { tls: true } : {}) }
    this.#write('session', `${JSON.stringify(stored)}\n`)
    this.#remove('total')
    return this.#given === undefined
  }

  /** Forgets this session, but not one that has replaced it. */
  forgetSession(session: string | undefined): void {
    if (session === undefined) return
    if (this.#readTotal()?.session === hash(session)) this.#remove('total')
    if (this.#readSession()?.session === session) this.#remove('session')
  }

  /** The total in cents that the session was last shown of its cart, and that no command has made meaningless since. */
  get shownTotal(): number | undefined {
    const shown = this.#readTotal()
    const { session = '' } = this.session ?? {}
    return shown?.session === hash(session) ? shown.total_cents : undefined
  }

  /** Keeps the total that the session was shown; undefined: none. */
  keepTotal(totalCents: number | undefined): void {
    const { session } = this.session ?? {}
    if (totalCents === undefined || session === undefined) this.#remove('total')
    else this.#write('total', `${JSON.stringify({ session: hash(session), total_cents: totalCents })}\n`)
  }

  /** The input of earlier shells, newest last. */
  readHistory(): string[] {
    const inputs = decodeText(this.#read('history'), this.#path('history')).split('\n').slice(0, -1)
    if (inputs.length <= LONGEST_HISTORY) return inputs
    const newest = inputs.slice(-LONGEST_HISTORY / 2)
    this.#write('history', `${newest.join('\n')}\n`)
    return newest
  }

  addToHistory(input: string): void {
    this.#makeFolder()
    appendFileSync(this.#path('history'), `${input}\n`, { mode: 0o600 })
  }

  #readSession(): StoredSession | undefined {
    try {
      const known = JSON.parse(this.#read('session').toString())
      return typeof known?.session === 'string' ? known : undefined
    } catch {
      return undefined // no file, or not one of ours
    }
  }

  #readTotal(): { session: string; total_cents: number } | undefined {
    try {
      const shown = JSON.parse(this.#read('total').toString())
      return Number.isSafeInteger(shown?.total_cents) ? shown : undefined
    } catch {
      return undefined // no file, or not one of ours
    }
  }

  #path(what: string): string {
    return join(this.#folder, `${what}-${this.#name}`)
  }

  #read(what: string): Buffer {
    try {
      return readFileSync(this.#path(what))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0)
      throw error
    }
  }

  #write(what: string, text: string): void {
    this.#makeFolder()
    const path = this.#path(what)
    writeFileSync(`${path}.${process.pid}`, text, { mode: 0o600 })
    renameSync(`${path}.${process.pid}`, path)
  }

  #remove(what: string): void {
    rmSync(this.#path(what), { force: true })
  }

  #makeFolder(): void {
    mkdirSync(this.#folder, { recursive: true })
    chmodSync(this.#folder, 0o700) // also a folder that was there before
  }
}

/** A session given by the environment must not get into a file. */
function hash(session: string): string {
  return createHash('sha256').update(session).digest('base64url')
}
