/**
 * Input that a person types on a terminal: commands, with history, Tab and
 * Ctrl-C; answers to questions; and passwords, which are never shown or kept.
 * Notes that arrive meanwhile appear above the input.
 */

import { readFileSync } from 'node:fs'
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from 'node:readline'
import { Writable } from 'node:stream'
import { decodeLine, decodeText, readLines, splitLines } from '../process/text.ts'
import { Interrupted, UsageError } from './failures.ts'
import { Keyboard, restoreTyped } from './keyboard.ts'
import { LONGEST_HISTORY } from './saved-session.ts'

export interface PrompterOptions {
  /** The terminal to draw on. */
  output: NodeJS.WriteStream
  /** Earlier input, newest last. */
  history?: readonly string[]
  /** The words that may stand in place of the last one. */
  complete?(input: string): { words: string[]; begun: string }
  /** Called on Ctrl-C when no input is asked for. */
  onInterrupt?(): void
}

/** Input that is asked for. */
interface Question {
  wants: 'command' | 'answer' | 'password'
  /** Undefined at the end of the input. */
  resolve(input: string | undefined): void
  reject(error: Interrupted): void
}

/** Draws with readline, which writes to a stream that can be silenced. */
export class Prompter {
  readonly #options: PrompterOptions
  readonly #keyboard = new Keyboard(process.stdin)
  readonly #readline: Interface
  /** Typed before it was asked for. */
  readonly #typedAhead: string[] = []
  #question: Question | undefined
  #hasEnded = false
  /** Set to keep readline from drawing; while a password is typed it never draws. */
  #isSilent = false
  /** readline's own list, newest first. */
  #history: string[] = []

  constructor(options: PrompterOptions) {
    this.#options = options
    this.#readline = createInterface({
      input: this.#keyboard,
      output: this.#createCanvas(),
      terminal: true,
      history: [...(options.history ?? [])].reverse(),
      historySize: LONGEST_HISTORY,
      removeHistoryDuplicates: true,
      completer: (input: string) => this.#complete(input),
    })
    this.#readline.on('history', (history) => {
      this.#history = history
      if (this.#question !== undefined && this.#question.wants !== 'command') history.shift()
    })
    this.#readline.on('line', (input) => this.#take(restoreTyped(input)))
    this.#readline.on('SIGINT', () => this.#interrupt())
    this.#readline.on('close', () => {
      this.#keyboard.release()
      this.#hasEnded = true
      this.#settle()?.resolve(undefined)
    })
  }

  /** Asks for a command; resolves to undefined at the end of the input. */
  ask(prompt: string): Promise<string | undefined> {
    const typed = this.#typedAhead.shift()
    if (typed !== undefined || this.#hasEnded) return Promise.resolve(typed)
    this.#readline.setPrompt(prompt)
    return new Promise((resolve, reject) => {
      this.#question = { wants: 'command', resolve, reject }
      this.#readline.prompt()
    })
  }

  /**
   * Asks a question: only "y" and "yes" mean yes. What was typed before answers nothing. Rejects with `Interrupted` on
   * Ctrl-C; the end of the input means no.
   */
  async confirm(question: string): Promise<boolean> {
    if (this.#hasEnded) return false
    this.#readline.setPrompt(`${question} [y/N] `)
    const answer = await new Promise<string | undefined>((resolve, reject) => {
      this.#question = { wants: 'answer', resolve, reject }
      this.#readline.prompt()
    })
    return /^y(es)?$/i.test((answer ?? '').trim())
  }

  /**
   * Asks for input that is neither shown nor kept. What was typed before, and so was seen, is dropped. Rejects with
   * `Interrupted` on Ctrl-C and at the end of the input.
   */
  askHidden(prompt: string): Promise<string> {
    for (const input of this.#typedAhead.splice(0)) this.forget(input)
    if (this.#hasEnded) return Promise.reject(new Interrupted(false))
    const { output } = this.#options
    output.write(prompt)
    return new Promise<string>((resolve, reject) => {
      this.#readline.setPrompt('')
      const take = (input: string | undefined) => {
        if (input === undefined) reject(new Interrupted(false))
        else resolve(input)
      }
      this.#question = { wants: 'password', resolve: take, reject }
    }).finally(() => output.write('\n'))
  }

  /** Shows a note above what is being typed. */
  note(text: string): void {
    const { output } = this.#options
    const isTyping = this.#question !== undefined && this.#question.wants !== 'password'
    const rows = isTyping ? this.#countRowsAboveCursor() : 0
    if (isTyping) {
      moveCursor(output, 0, -rows)
      cursorTo(output, 0)
      clearScreenDown(output)
    }
    output.write(text + '\n'.repeat(1 + rows)) // readline goes up by as many rows again
    if (isTyping) this.#readline.prompt(true)
  }

  /** Changes the prompt of the command that is asked for; it shows at the next redraw. */
  setPrompt(prompt: string): void {
    if (this.#question?.wants === 'command') this.#readline.setPrompt(prompt)
  }

  /** Takes an input out of the history, so that Up does not bring it back. */
  forget(input: string): void {
    const history = this.#history
    for (let at = history.indexOf(input); at >= 0; at = history.indexOf(input)) history.splice(at, 1)
  }

  close(): void {
    this.#readline.close()
  }

  /** The stream that readline draws on: it passes everything to the terminal, except while nothing may be seen. */
  #createCanvas(): Writable {
    const { output } = this.#options
    const canvas = Object.assign(
      new Writable({
        write: (chunk, _encoding, done) => {
          if (this.#question?.wants !== 'password' && !this.#isSilent) output.write(chunk)
          done()
        },
      }),
      { columns: output.columns },
    )
    output.on('resize', () => {
      canvas.columns = output.columns
      canvas.emit('resize')
    })
    return canvas
  }

  #take(input: string): void {
    const question = this.#settle()
    if (question === undefined) this.#typedAhead.push(input)
    else question.resolve(input)
  }

  /** Takes the question, so that it is answered once. */
  #settle(): Question | undefined {
    const question = this.#question
    this.#question = undefined
    return question
  }

  /** Ctrl-C drops the command being typed, gives up another question, or interrupts the command under way. */
  #interrupt(): void {
    if (this.#question === undefined) {
      this.#options.onInterrupt?.()
      return
    }
    if (this.#question.wants !== 'command') {
      const { reject } = this.#question
      this.#question.resolve = () => reject(new Interrupted(false))
      this.#readline.write(null, { name: 'return' }) // so that readline keeps nothing of it, not even for undo
      return
    }
    this.#countRowsAboveCursor()
    this.#readline.write(null, { ctrl: true, name: 'e' })
    this.#options.output.write(`^C${'\n'.repeat(1 + this.#countRowsAboveCursor())}`) // readline goes up by as many rows
    this.#readline.write(null, { ctrl: true, name: 'u' })
    this.#readline.prompt()
  }

  /** The rows of the typed text above the cursor. Makes readline count them again, since it misses pasted rows. */
  #countRowsAboveCursor(): number {
    this.#isSilent = true
    this.#readline.prompt(true)
    this.#isSilent = false
    return this.#readline.getCursorPos().rows
  }

  #complete(input: string): [string[], string] {
    if (this.#question?.wants !== 'command' || this.#options.complete === undefined) return [[], input]
    const { words, begun } = this.#options.complete(input)
    return [words.length === 1 ? [`${words[0]} `] : words, begun]
  }
}

/** The passwords that a command needs: the account's, one to be set, or both, to change it. */
export type WantedPasswords = readonly ['current' | 'new'] | readonly ['current', 'new']

/** The passwords in the first lines of a file, one in each. Throws `UsageError` if one is missing. */
export function readPasswordFile(file: string, wanted: WantedPasswords): string[] {
  try {
    const lines = splitLines(decodeText(readFileSync(file), file))
    return requireAll(lines, wanted, [`${file} is empty`, `${file} has no second line`])
  } catch (error) {
    throw new UsageError([`--password-file: ${(error as Error).message}`])
  }
}

/**
 * Asks for passwords on the terminal, or takes the first lines of standard input if that is no terminal. Rejects with
 * `Interrupted`; and with `UsageError` if nobody can be asked, or a new password is not repeated.
 */
export async function readPasswords(wanted: WantedPasswords): Promise<string[]> {
  const missing = 'the password is missing: give --password-file <file>, or standard input'
  const missingNew = 'the new password is missing: give it in the second line'
  if (!process.stdin.isTTY) return requireAll(await readFirstLines(wanted.length), wanted, [missing, missingNew])
  if (process.env.CI) throw new UsageError([missing])
  const prompter = new Prompter({ output: process.stderr })
  try {
    return await askPasswords(prompter, wanted)
  } finally {
    prompter.close()
  }
}

/** Whether a person is there to be asked: on a terminal, where the question is seen. */
export function isAttended(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY && !process.env.CI
}

/** Asks a question on the terminal, like `Prompter.confirm`. */
export async function confirm(question: string): Promise<boolean> {
  const prompter = new Prompter({ output: process.stderr })
  try {
    return await prompter.confirm(question)
  } finally {
    prompter.close()
  }
}

/** Asks for passwords, for a new one twice. Rejects like `readPasswords`. */
export async function askPasswords(prompter: Prompter, wanted: WantedPasswords): Promise<string[]> {
  const passwords: string[] = []
  for (const which of wanted) {
    const current = wanted.length > 1 ? 'Current password: ' : 'Password: '
    const password = await prompter.askHidden(which === 'new' ? 'New password: ' : current)
    if (!password.isWellFormed()) throw new UsageError(['the password is not UTF-8'])
    if (which === 'new' && (await prompter.askHidden('Repeat password: ')) !== password) {
      throw new UsageError(['the passwords differ'])
    }
    passwords.push(password)
  }
  return passwords
}

/** The first lines of standard input, as soon as they arrive; fewer if there are no more. Rejects with `UsageError`. */
async function readFirstLines(count: number): Promise<string[]> {
  const first: string[] = []
  for await (const line of readLines(process.stdin)) {
    first.push(decodeLine(line, count === 1 ? 'standard input' : `line ${first.length + 1} of standard input`))
    if (first.length === count) break
  }
  process.stdin.destroy() // its writer may keep it open for long
  return first
}

/** As many lines as passwords are wanted. Throws `UsageError`: the problem of the first that is empty or absent. */
function requireAll(lines: readonly string[], wanted: WantedPasswords, problems: readonly string[]): string[] {
  const passwords = wanted.map((_, index) => lines[index] ?? '')
  const missing = passwords.indexOf('')
  if (missing >= 0) throw new UsageError([problems[missing] ?? ''])
  return passwords
}
