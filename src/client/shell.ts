/**
 * The shell of a role, in which a person logs in and types one command after
 * the other. It says when the connection is lost and when it is restored, and
 * warns before an unused session ends.
 */

import type { Role } from '../contract/operations.ts'
import { findNearest } from '../process/command-line.ts'
import { progress } from '../process/progress.ts'
import { VERSION } from '../process/start.ts'
import { BUILTINS, Commands, type Options } from './commands.ts'
import { findCandidates } from './completion.ts'
import { CallRefused } from './connection.ts'
import { Context } from './context.ts'
import type { Failure } from './failures.ts'
import { formatDuration } from './phrases.ts'
import { askPasswords, Prompter } from './prompt.ts'
import { carryOutInput, createBuiltins } from './script.ts'
import { printable } from './terminal-text.ts'

/** How long before the end of a session the shell warns; for a short session, a third of its length. */
const WARNING_S = 60
/** Node's timers can't run longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Resolves to the exit code. Throws `UsageError`. */
export async function runShell(role: Role, options: Options): Promise<number> {
  const shell = new Shell(role, options)
  const { context, prompter, watch } = shell
  let isLeft = false
  const builtins = createBuiltins(context, options, () => {
    isLeft = true
  })
  const unreachable = await greet(shell)
  while (unreachable === undefined && !isLeft) {
    const input = await prompter.ask(shell.prompt)
    if (input === undefined) {
      process.stdout.write('\n') // Ctrl-D leaves the cursor behind the prompt
      break
    }
    const failure = await carryOutInput(context, input, options.json, builtins)
    shell.keep(input, failure)
    void watch.check()
  }
  shell.close()
  return unreachable?.exitCode ?? 0
}

/** Says which server this is; resolves to the failure, which has been printed, if it does not answer. */
async function greet({ context, watch }: Shell): Promise<Failure | undefined> {
  const { commands, address, screen } = context
  try {
    const { version } = await context.showWaiting(context.call('ping', {}))
    const other = version === VERSION ? '' : `, which is souk ${version}`
    screen.printLine(`souk ${VERSION}, as a ${commands.role} at ${address.host}:${address.port}${other}`)
    screen.print('help lists the commands, Tab completes them, exit leaves')
    await watch.check()
    return undefined
  } catch (error) {
    const failure = context.explain(error)
    context.printFailure(failure, undefined)
    return failure
  }
}

class Shell {
  readonly context: Context
  readonly prompter: Prompter
  readonly watch: SessionWatch
  readonly #seenItems = new Set<number>()
  #isClosed = false
  #historyWarned = false

  /** Throws `UsageError`. */
  constructor(role: Role, options: Options) {
    this.context = new Context(new Commands(role, { inShell: true }), options, {
      readPasswords: (wanted) => askPasswords(this.prompter, wanted),
      confirm: (question) => this.prompter.confirm(question),
      note: (text) => this.#note(text),
      onCall: (params) => {
        if ('session' in params) this.watch.markUsed()
      },
      onResult: (result) => {
        for (const id of findItemIds(result)) this.#seenItems.add(id)
      },
    })
    this.prompter = new Prompter({
      output: process.stdout,
      history: this.#tryHistory(() => this.context.saved.readHistory()) ?? [],
      complete: (input) => this.#complete(input),
      onInterrupt: () => {
        this.context.interrupt()
      },
    })
    this.watch = new SessionWatch(this.context, () => this.prompter.setPrompt(this.prompt))
  }

  get prompt(): string {
    const { commands, screen } = this.context
    const { username } = this.watch
    return screen.heading(username === undefined ? `${commands.role}> ` : `${printable(username)}@${commands.role}> `)
  }

  /**
   * Adds input to the history that outlives the shell, unless it was no valid command. If it was none but resembles a
   * command with a password, it may contain one: then Up does not bring it back in this shell either.
   */
  keep(input: string, failure: Failure | undefined): void {
    const { commands, saved } = this.context
    const words = input.trim().replace(/^(npx\s+)?souk\s+\S+\s*/, '') // also of a whole command line
    const [first = ''] = words.split(/\s+/)
    const withPassword = commands.entries.filter(({ takesPassword }) => takesPassword)
    const names = withPassword.flatMap(({ word, alias }) => [word, alias ?? word])
    if (failure?.code !== 'usage' && first !== '') this.#tryHistory(() => saved.addToHistory(input))
    else if (findNearest(first, names) !== undefined) this.prompter.forget(input)
  }

  close(): void {
    this.#isClosed = true
    this.watch.stop()
    this.prompter.close()
    this.context.close()
  }

  #note(text: string): void {
    progress.end()
    if (!this.#isClosed) this.prompter.note(text)
  }

  /** The shell works without a history too: only the first failure is reported. */
  #tryHistory<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      const { screen } = this.context
      if (!this.#historyWarned) screen.note(`souk: the history is not kept: ${(error as Error).message}`)
      this.#historyWarned = true
      return undefined
    }
  }

  #complete(input: string): { words: string[]; begun: string } {
    const words = input.split(/\s+/)
    const begun = words.pop() ?? ''
    const candidates = findCandidates(this.context.commands, words, begun, this.#seenItems)
    const builtins = words.length === 0 ? BUILTINS.filter(({ word }) => word.startsWith(begun)) : []
    return { words: [...candidates, ...builtins].map(({ word }) => word), begun }
  }
}

/** Knows whose session the shell has, warns before its end, and reports its end. Never prolongs a session. */
class SessionWatch {
  /** Undefined when nobody is logged in. */
  username: string | undefined
  readonly #context: Context
  readonly #onEnd: () => void
  /** The session that was last checked, and whether it was used since. */
  #session: string | undefined
  #isUsed = false
  #timers: NodeJS.Timeout[] = []
  /** Counts checks: the answer to any but the last is out of date. */
  #checks = 0

  constructor(context: Context, onEnd: () => void) {
    this.#context = context
    this.#onEnd = onEnd
  }

  markUsed(): void {
    this.#isUsed = true
  }

  /** Asks the server whose session it is and until when; only if it is new or was just used, so the call prolongs nothing. */
  async check(): Promise<void> {
    const { saved, client } = this.#context
    const known = saved.session
    if (known?.session === this.#session && !this.#isUsed) return
    this.#session = known?.session
    this.#isUsed = false
    this.#checks += 1
    const check = this.#checks
    this.#clearTimers()
    this.username = known?.username
    if (known === undefined) return
    try {
      const { username, expires_in_s } = await client.call('whoami', { session: known.session })
      if (check === this.#checks) this.#awaitEnd(username, expires_in_s)
    } catch (error) {
      if (check !== this.#checks || !(error instanceof CallRefused && error.code === 'unauthenticated')) return
      saved.forgetSession(known.session)
      this.#end(known.username)
    }
  }

  stop(): void {
    this.#checks += 1
    this.#clearTimers()
  }

  #awaitEnd(username: string, expiresInS: number): void {
    this.username = username
    if (expiresInS * 1_000 > LONGEST_TIMER_MS) return
    const warningS = Math.min(WARNING_S, Math.floor(expiresInS / 3))
    const warning = `souk: the session ends in ${formatDuration(warningS)}, unless it is used`
    this.#timers = [
      setTimeout(() => this.#context.note(warning), (expiresInS - warningS) * 1_000),
      setTimeout(() => this.#end(username), expiresInS * 1_000),
    ]
  }

  #end(username: string | undefined): void {
    this.username = undefined
    this.#onEnd()
    const hint = this.#context.commands.hint(`login ${username ?? '<username>'}`)
    this.#context.note(`souk: the session has ended: ${hint}`)
  }

  #clearTimers(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer)
  }
}

function* findItemIds(value: unknown): Generator<number> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) {
    if (name === 'item_id') yield Number(inner)
    else yield* findItemIds(inner)
  }
}
