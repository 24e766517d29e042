/**
 * What commands work with: the client of their server, the memory, and the
 * screen. A single command, a script and the shell pass different
 * collaborators.
 */

import type { Role } from '../contract/operations.ts'
import { progress, whileWaiting } from '../process/progress.ts'
import { type Address, readAddress } from './address.ts'
import { explain } from './advice.ts'
import type { Command, Commands, Options } from './commands.ts'
import { type Failure, Interrupted } from './failures.ts'
import { Screen } from './output.ts'
import type { WantedPasswords } from './prompt.ts'
import { RetryingClient } from './retrying-client.ts'
import { SavedSession } from './saved-session.ts'
import { printable } from './terminal-text.ts'

export interface Collaborators {
  /** The wanted passwords, in order. Rejects with `Interrupted` or `UsageError`. */
  readPasswords(wanted: WantedPasswords): Promise<string[]>
  /** Asks a person whether to go on. Absent if nobody can be asked. Rejects with `Interrupted`. */
  confirm?(question: string): Promise<boolean>
  /** Writes a note, which is not part of the results. */
  note?(text: string): void
  onCall?(params: object): void
  onResult?(result: object): void
}

export class Context {
  readonly commands: Commands<Role>
  readonly address: Address
  readonly saved: SavedSession
  readonly screen: Screen
  /** Of the script's current line; undefined if no script is carried out. */
  lineNumber: number | undefined
  /** The command for the next page of the list shown last; undefined if there is none. */
  nextPage: Command<Role> | undefined
  readonly #collaborators: Collaborators
  #client: RetryingClient<Role>
  #interrupt: (() => void) | undefined
  /** What was noted about the connection since the last answer. */
  readonly #noted = new Set<'lost' | 'again'>()

  /** Throws `UsageError`. */
  constructor(commands: Commands<Role>, options: Options, collaborators: Collaborators) {
    this.commands = commands
    this.address = readAddress(commands.role, options, process.env)
    this.saved = new SavedSession(process.env, commands.role, this.address)
    this.screen = new Screen(options.color, process.env)
    this.#collaborators = collaborators
    this.#client = this.#createClient()
  }

  get client(): RetryingClient<Role> {
    return this.#client
  }

  readPasswords(wanted: WantedPasswords): Promise<string[]> {
    return this.#collaborators.readPasswords(wanted)
  }

  /** Undefined if nobody can be asked. */
  get confirm(): Collaborators['confirm'] {
    return this.#collaborators.confirm
  }

  note(text: string): void {
    if (this.#collaborators.note === undefined) progress.note(printable(text))
    else this.#collaborators.note(printable(text))
  }

  /** Makes a call, and tells the observers. Rejects like `waitFor`. */
  async call(operation: Command<Role>['operation'], params: object): Promise<Readonly<Record<string, unknown>>> {
    this.#collaborators.onCall?.(params)
    const result = await this.waitFor(this.#client.call(operation, params))
    this.#collaborators.onResult?.(result)
    return result
  }

  /** Waits for an answer; rejects with `Interrupted` if `interrupt` comes first. */
  async waitFor<T>(answer: Promise<T>): Promise<T> {
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = () => reject(new Interrupted(true))
    })
    try {
      const answered = await Promise.race([answer, interrupted])
      this.#noted.clear()
      return answered
    } finally {
      this.#interrupt = undefined
    }
  }

  /** Shows on a terminal that the server has not answered yet. */
  showWaiting<T>(answer: Promise<T>): Promise<T> {
    const { host, port } = this.address
    return whileWaiting(progress, `waiting for ${host}:${port}`, answer)
  }

  /** Makes the present `waitFor` reject, and ends the connection; false if nothing is waited for. */
  interrupt(): boolean {
    if (this.#interrupt === undefined) return false
    this.#interrupt()
    this.#client.destroy()
    this.#client = this.#createClient()
    return true
  }

  /** The failure of a command, or of input that was no command. Rethrows errors that are bugs in this program. */
  explain(error: unknown, { operation, params = {} }: Partial<Command<Role>> = {}): Failure {
    const { commands, address, saved, lineNumber } = this
    const login = saved.isSessionGiven
      ? 'unset SOUK_SESSION'
      : commands.hint(`login ${saved.session?.username ?? '<username>'}`)
    const failure = explain(error, { commands, host: address.host, operation, params, login })
    return lineNumber === undefined ? failure : { ...failure, details: { ...failure.details, line: lineNumber } }
  }

  /** Prints the failure, as JSON if `encode` is given. */
  printFailure(failure: Failure, encode: ((failure: Failure) => string) | undefined): void {
    const place = this.lineNumber === undefined ? '' : `line ${this.lineNumber}: `
    if (encode === undefined) this.screen.noteFailure(failure, place)
    else this.screen.print(printable(encode(failure)))
  }

  close(): void {
    this.#client.destroy()
  }

  #createClient(): RetryingClient<Role> {
    const { host, port, tls, timeoutMs } = this.address
    const noteOnce = (what: 'lost' | 'again', text: string) => {
      if (!this.#noted.has(what)) this.note(text)
      this.#noted.add(what)
    }
    return new RetryingClient({
      role: this.commands.role,
      host,
      port,
      tls,
      timeoutMs,
      waitForServer: false,
      onRetry: ({ message }) => noteOnce('lost', `souk: ${message}; trying again, for ${timeoutMs / 1_000} s at most`),
      onReconnect: () => noteOnce('again', `souk: connected to ${host}:${port} again`),
    })
  }
}
