/**
 * What commands have at hand: the server they talk to, what is remembered of
 * it, and where they print. In a shell and in a script some of it is different.
 */

import type { Role } from '../operations.ts'
import { progress } from '../program.ts'
import type { Progress } from '../progress.ts'
import { RetryingClient } from '../retrying.ts'
import { type Address, readAddress } from './address.ts'
import type { Commands, Options } from './commands.ts'
import { Interrupted, readPassword } from './password.ts'
import { Screen } from './screen.ts'
import { State } from './state.ts'

/** Longer than the server takes to refuse a call. */
const LONGEST_ATTEMPT_MS = 7_000

export class Desk {
  readonly commands: Commands<Role>
  readonly address: Address
  readonly state: State
  readonly screen: Screen
  readonly progress: Progress = progress
  /** Where the command stands, said before what goes wrong with it. */
  place = ''
  #client: RetryingClient<Role>
  #interrupt: (() => void) | undefined

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

  /** Is told of every result. */
  saw(_result: object): void {}

  /** Says something beside the results. */
  say(line: string): void {
    this.progress.note(line)
  }

  /** Waits for the work; rejects with `Interrupted` when that comes first. */
  async interruptible<T>(work: Promise<T>): Promise<T> {
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = () => reject(new Interrupted())
    })
    try {
      return await Promise.race([work, interrupted])
    } finally {
      this.#interrupt = undefined
    }
  }

  /** Gives up what is waited for; false if that is nothing. */
  interrupt(): boolean {
    if (this.#interrupt === undefined) return false
    this.#interrupt()
    void this.#client.close()
    this.#client = this.#connecting()
    return true
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  #connecting(): RetryingClient<Role> {
    const { host, port, timeoutMs } = this.address
    let lost = false
    return new RetryingClient({
      ...{ role: this.commands.role, host, port, timeoutMs, attemptMs: Math.min(timeoutMs, LONGEST_ATTEMPT_MS) },
      waitForServer: false,
      onRetry: ({ message }) => {
        if (!lost) this.say(`souk: ${message}; trying again, for ${timeoutMs / 1_000} s at most`)
        lost = true
      },
      onReconnect: () => {
        this.say(`souk: connected to ${host}:${port} again`)
        lost = false
      },
    })
  }
}
