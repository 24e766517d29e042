/**
 * What commands have at hand: the server they talk to, what is remembered of
 * it, and where they print. In a shell and in a script some of it is different.
 */

import type { Role } from '../contract/operations.ts'
import { progress, whileWaiting } from '../process/progress.ts'
import { type Address, readAddress } from './address.ts'
import { failureOf } from './advice.ts'
import type { Commands, Options, Parsed } from './commands.ts'
import { type Failure, Interrupted } from './failures.ts'
import { State } from './memory.ts'
import { readPassword } from './password.ts'
import { RetryingClient } from './retrying.ts'
import { Screen } from './screen.ts'

export class Desk {
  readonly commands: Commands<Role>
  readonly address: Address
  readonly state: State
  readonly screen: Screen
  /** Of the script that is carried out. */
  lineNumber: number | undefined
  #client: RetryingClient<Role>
  #interrupt: (() => void) | undefined
  /** What was said of the connection since the last answer. */
  readonly #said = new Set<'lost' | 'again'>()

  /** Throws `UsageError`. */
  constructor(commands: Commands<Role>, options: Options) {
    this.commands = commands
    this.address = readAddress(commands.role, options, process.env)
    this.state = new State(process.env, commands.role, this.address)
    this.screen = new Screen(options.color, process.env)
    this.#client = this.#connecting()
  }

  get client(): RetryingClient<Role> {
    return this.#client
  }

  /** Reads a password from wherever it comes: one for a new account, or an account's. */
  password(isNew: boolean): Promise<string> {
    return readPassword(isNew)
  }

  /** Is told of every call that is made, and of every result. */
  asks(_params: object): void {}
  saw(_result: object): void {}

  /** Says something beside the results. */
  say(line: string): void {
    progress.note(line)
  }

  /** Waits for an answer; rejects with `Interrupted` when that comes first. */
  async answer<T>(call: Promise<T>): Promise<T> {
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = () => reject(new Interrupted(true))
    })
    try {
      const answer = await Promise.race([call, interrupted])
      this.#said.clear()
      return answer
    } finally {
      this.#interrupt = undefined
    }
  }

  /** Tells whoever is at the terminal that the server is waited for. */
  shown<T>(wait: Promise<T>): Promise<T> {
    const { host, port } = this.address
    return whileWaiting(progress, `waiting for ${host}:${port}`, wait)
  }

  /** Gives up the answer that is waited for; false if there is none. */
  interrupt(): boolean {
    if (this.#interrupt === undefined) return false
    this.#interrupt()
    this.#client.destroy()
    this.#client = this.#connecting()
    return true
  }

  /** What went wrong with a command, or with a line before it was one. Rethrows our own mistakes. */
  failureOf(error: unknown, { operation, params = {} }: Partial<Parsed<Role>> = {}): Failure {
    const { commands, address, state, lineNumber } = this
    const login = state.isGiven
      ? 'unset SOUK_SESSION'
      : commands.line(`login ${state.session?.username ?? '<username>'}`)
    const failure = failureOf(error, { commands, host: address.host, operation, params, login })
    return lineNumber === undefined ? failure : { ...failure, details: { ...failure.details, line: lineNumber } }
  }

  /** Prints what went wrong; `document` makes it one of JSON. */
  tell(failure: Failure, document: ((failure: Failure) => string) | undefined): Failure {
    const place = this.lineNumber === undefined ? '' : `line ${this.lineNumber}: `
    if (document === undefined) this.screen.failure(failure, place)
    else this.screen.line(document(failure))
    return failure
  }

  close(): void {
    this.#client.destroy()
  }

  #connecting(): RetryingClient<Role> {
    const { host, port, timeoutMs } = this.address
    const sayOnce = (what: 'lost' | 'again', line: string) => {
      if (!this.#said.has(what)) this.say(line)
      this.#said.add(what)
    }
    return new RetryingClient({
      role: this.commands.role,
      host,
      port,
      timeoutMs,
      waitForServer: false,
      onRetry: ({ message }) => sayOnce('lost', `souk: ${message}; trying again, for ${timeoutMs / 1_000} s at most`),
      onReconnect: () => sayOnce('again', `souk: connected to ${host}:${port} again`),
    })
  }
}
