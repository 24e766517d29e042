/**
 * The shell of a role: somebody logs in and works, line by line. It says when
 * the connection was lost and is there again, and when the session is about to
 * end because nothing was done.
 */

import type { Role } from '../contract/operations.ts'
import { progress } from '../process/progress.ts'
import { VERSION } from '../process/start.ts'
import { nearestOf } from './argv.ts'
import { candidatesFor } from './candidates.ts'
import { Commands, type Options } from './commands.ts'
import { CallRefused } from './connection.ts'
import { Desk } from './context.ts'
import { durationOf } from './display.ts'
import type { Failure } from './failures.ts'
import { builtinsOf, carryOutLine } from './lines.ts'
import { askPassword } from './password.ts'
import { Prompter } from './prompt.ts'

/** A session's end is told so long before; of a short one in its last third. */
const WARNING_S = 60
/** Timers can't be set for longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Resolves to the exit code. Throws `UsageError`. */
export async function runShell(role: Role, options: Options): Promise<number> {
  const desk = new ShellDesk(new Commands(role, { inShell: true }), options)
  let left = false
  const builtins = builtinsOf(desk, options, () => {
    left = true
  })
  const unreachable = await greet(desk)
  while (unreachable === undefined && !left) {
    const line = await desk.prompter.line(desk.prompt)
    if (line === undefined) {
      process.stdout.write('\n') // the end of the input is typed too
      break
    }
    const failure = await carryOutLine(desk, line, options.json, builtins)
    desk.keep(line, failure)
    void desk.lookAtSession()
  }
  desk.leave()
  return unreachable?.exitCode ?? 0
}

/** Says where this is; resolves to why nobody answers there, if nobody does. */
async function greet(desk: ShellDesk): Promise<Failure | undefined> {
  const { commands, address, screen } = desk
  try {
    const { version } = await desk.answer(desk.shown(desk.client.call('ping', {})))
    const other = version === VERSION ? '' : `, which is souk ${version}`
    screen.line(`souk ${VERSION}, as a ${commands.role} at ${address.host}:${address.port}${other}`)
    screen.line('help lists the commands, Tab completes them, exit leaves')
    await desk.lookAtSession()
    return undefined
  } catch (error) {
    return desk.tell(desk.failureOf(error), undefined)
  }
}

class ShellDesk extends Desk {
  readonly prompter: Prompter
  readonly #seenItems = new Set<number>()
  #username: string | undefined
  /** The one that was last looked at, and whether it was used since. */
  #session: string | undefined
  #isSessionUsed = false
  #ends: NodeJS.Timeout[] = []
  #isLeft = false
  #hasToldOfHistory = false
  /** Counts looks at the session: an answer to an earlier one says nothing any more. */
  #look = 0

  constructor(commands: Commands<Role>, options: Options) {
    super(commands, options)
    this.prompter = new Prompter({
      history: this.#bestEffort(() => this.state.history()) ?? [],
      complete: (line) => this.#complete(line),
      interrupt: () => {
        this.interrupt()
      },
    })
  }

  get prompt(): string {
    const { role } = this.commands
    return this.screen.heading(this.#username === undefined ? `${role}> ` : `${this.#username}@${role}> `)
  }

  override password(isNew: boolean): Promise<string> {
    return askPassword((prompt) => this.prompter.hidden(prompt), isNew)
  }

  override asks(params: object): void {
    if ('session' in params) this.#isSessionUsed = true
  }

  override saw(result: object): void {
    for (const id of itemIdsIn(result)) this.#seenItems.add(id)
  }

  override say(line: string): void {
    progress.end()
    if (!this.#isLeft) this.prompter.say(line)
  }

  /** Lines that can be carried out are kept for later; one that may have a password in it is not even brought back by Up. */
  keep(line: string, failure: Failure | undefined): void {
    const words = line.trim().split(/\s+/)
    const first = (words[0] === 'souk' ? words[2] : words[0]) ?? '' // also of a whole command line
    const secretive = this.commands.entries.filter(({ takesPassword }) => takesPassword)
    const names = secretive.flatMap(({ word, alias }) => [word, alias ?? word])
    if (failure?.code !== 'usage' && first !== '') this.#bestEffort(() => this.state.addToHistory(line))
    else if (nearestOf(first, names) !== undefined) this.prompter.forget(line)
  }

  /** Learns whose session it is and until when: only when it was just used, so that this prolongs nothing. */
  async lookAtSession(): Promise<void> {
    const remembered = this.state.session
    if (remembered?.session === this.#session && !this.#isSessionUsed) return
    this.#session = remembered?.session
    this.#isSessionUsed = false
    this.#look += 1
    const look = this.#look
    for (const timer of this.#ends.splice(0)) clearTimeout(timer)
    this.#username = remembered?.username
    if (remembered === undefined) return
    try {
      const { username, expires_in_s } = await this.client.call('whoami', { session: remembered.session })
      if (look === this.#look) this.#awaitEnd(username, expires_in_s)
    } catch (error) {
      if (look !== this.#look || !(error instanceof CallRefused && error.code === 'unauthenticated')) return
      this.state.forget(remembered.session)
      this.#ended(remembered.username)
    }
  }

  leave(): void {
    this.#isLeft = true
    this.#look += 1
    for (const timer of this.#ends) clearTimeout(timer)
    this.prompter.close()
    this.close()
  }

  #awaitEnd(username: string, expiresInS: number): void {
    this.#username = username
    const warningS = Math.min(WARNING_S, Math.floor(expiresInS / 3))
    const warn = () => this.say(`souk: the session ends in ${durationOf(warningS)}, unless it is used`)
    if (expiresInS * 1_000 > LONGEST_TIMER_MS) return
    this.#ends = [
      setTimeout(warn, (expiresInS - warningS) * 1_000),
      setTimeout(() => this.#ended(username), expiresInS * 1_000),
    ]
  }

  /** For what the shell can do without; why it can't be had is told once. */
  #bestEffort<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!this.#hasToldOfHistory) this.screen.note(`souk: lines are not kept: ${(error as Error).message}`)
      this.#hasToldOfHistory = true
      return undefined
    }
  }

  #ended(username: string | undefined): void {
    this.#username = undefined
    this.prompter.setPrompt(this.prompt)
    this.say(`souk: the session has ended: ${this.commands.line(`login ${username ?? '<username>'}`)}`)
  }

  #complete(line: string): { words: string[]; begun: string } {
    const words = line.split(/\s+/)
    const begun = words.pop() ?? ''
    const candidates = candidatesFor(this.commands, words, begun, this.#seenItems)
    const own = words.length === 0 ? ['help', 'status', 'exit'].filter((word) => word.startsWith(begun)) : []
    return { words: [...candidates.map(({ word }) => word), ...own], begun }
  }
}

function* itemIdsIn(value: unknown): Generator<number> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) {
    if (name === 'item_id') yield Number(inner)
    else yield* itemIdsIn(inner)
  }
}
