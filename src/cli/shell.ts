/**
 * The shell of a role: somebody logs in and works, line by line. It says when
 * the connection was lost and is there again, and when the session is about to
 * end because nothing was done.
 */

import { CallRefused } from '../connection.ts'
import type { Role } from '../operations.ts'
import { VERSION } from '../program.ts'
import { type Failure, failureOf } from './advice.ts'
import { candidatesFor } from './candidates.ts'
import { Commands, nearestOf, type Options } from './commands.ts'
import { Desk } from './desk.ts'
import { durationOf } from './display.ts'
import { type Builtins, carryOutLine } from './lines.ts'
import { askPassword } from './password.ts'
import { Prompter } from './prompter.ts'
import { refuse } from './run.ts'
import { showStatus } from './status.ts'

/** A session's end is told so long before; of a short one in its last third. */
const WARNING_S = 60

/** Resolves to the exit code. Throws `UsageError`. */
export async function runShell(role: Role, options: Options): Promise<number> {
  const desk = new ShellDesk(new Commands(role, { inShell: true }), options)
  let left = false
  const leave = () => {
    left = true
  }
  const help = ([word]: readonly string[]) => {
    const isThere = word === undefined || desk.commands.named(word) !== undefined
    desk.commands.parse([word ?? [], isThere ? '--help' : []].flat())
  }
  const builtins: Builtins = new Map(
    Object.entries({ help, status: () => status(desk, options), exit: leave, quit: leave }),
  )
  const unreachable = await greet(desk)
  while (unreachable === undefined && !left) {
    const line = await desk.prompter.line(desk.prompt)
    if (line === undefined) process.stdout.write('\n')
    if (line === undefined) break
    const failure = await carryOutLine(desk, line, options.json, builtins)
    keepLine(desk, line, failure)
    void desk.lookAtSession()
  }
  desk.leave()
  return unreachable?.exitCode ?? 0
}

/** Says where this is; resolves to why nobody answers there, if nobody does. */
async function greet(desk: ShellDesk): Promise<Failure | undefined> {
  const { commands, address, screen } = desk
  try {
    const { version } = await desk.client.call('ping', {})
    const where = `${address.host}:${address.port}`
    screen.line(
      `souk ${VERSION}, as a ${commands.role} at ${where}${version === VERSION ? '' : `, which is souk ${version}`}`,
    )
    screen.line('help lists the commands, Tab completes them, exit leaves')
    await desk.lookAtSession()
    return undefined
  } catch (error) {
    const tried = { commands, ...address, operation: undefined, params: {}, username: undefined }
    return refuse(desk, failureOf(error, tried), false)
  }
}

async function status({ commands, screen, address }: Desk, { timeout }: Options): Promise<void> {
  const port = { [`${commands.role}Port`]: String(address.port) }
  await showStatus(screen, { host: address.host, ...port, ...(timeout === undefined ? {} : { timeout }) })
}

/** Lines that can be carried out are kept for later; one that may have a password in it is not even brought back by Up. */
function keepLine({ state, commands, prompter }: ShellDesk, line: string, failure: Failure | undefined): void {
  if (failure?.code !== 'usage') {
    if (line.trim() !== '') state.addToHistory(line)
    return
  }
  const words = line.trim().split(/\s+/)
  const first = (words[0] === 'souk' ? words[2] : words[0]) ?? '' // also of a whole command line
  const secretive = commands.entries.filter(({ takesPassword }) => takesPassword)
  const names = secretive.flatMap(({ word, alias }) => [word, alias ?? word])
  if (nearestOf(first, names) !== undefined) prompter.forget(line)
}

class ShellDesk extends Desk {
  readonly prompter: Prompter
  readonly #seenItems = new Set<number>()
  #username: string | undefined
  /** Since it was last looked at. */
  #isSessionUsed = true
  #ends: NodeJS.Timeout[] = []
  /** Counts looks at the session: an answer to an earlier one says nothing any more. */
  #look = 0

  constructor(commands: Commands<Role>, options: Options) {
    super(commands, options)
    this.prompter = new Prompter({
      history: this.state.history(),
      complete: (line) => this.#complete(line),
      interrupt: () => void this.interrupt(),
    })
  }

  get prompt(): string {
    const { role } = this.commands
    return this.screen.heading(this.#username === undefined ? `${role}> ` : `${this.#username}@${role}> `)
  }

  override password(isNew: boolean): Promise<string> {
    return askPassword((prompt) => this.prompter.hidden(prompt), isNew)
  }

  override interruptible<T>(call: Promise<T>): Promise<T> {
    this.#isSessionUsed = true
    return super.interruptible(call)
  }

  override saw(result: object): void {
    for (const id of itemIdsIn(result)) this.#seenItems.add(id)
  }

  override say(line: string): void {
    this.progress.end()
    this.prompter.say(line)
  }

  /** Learns whose session it is and until when: only when it was just used, so that this prolongs nothing. */
  async lookAtSession(): Promise<void> {
    const remembered = this.state.session
    if (remembered !== undefined && !this.#isSessionUsed) return
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
    for (const timer of this.#ends) clearTimeout(timer)
    this.prompter.close()
    void this.close()
  }

  #awaitEnd(username: string, expiresInS: number): void {
    this.#username = username
    const warningS = Math.min(WARNING_S, Math.floor(expiresInS / 3))
    const warn = () => this.say(`souk: the session ends in ${durationOf(warningS)}, unless it is used`)
    this.#ends = [
      setTimeout(warn, (expiresInS - warningS) * 1_000),
      setTimeout(() => this.#ended(username), expiresInS * 1_000),
    ]
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
