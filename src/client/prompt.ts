/**
 * Lines typed on a terminal: the prompt, what was typed before, Tab, Ctrl-C,
 * answers that are not shown, and messages that come while somebody types.
 */

import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from 'node:readline'
import { Writable } from 'node:stream'
import { Interrupted } from './failures.ts'
import { LONGEST_HISTORY_LINES } from './memory.ts'

export interface PrompterOptions {
  /** Earlier lines, newest last. */
  history: readonly string[]
  /** The words that may stand in place of the last one. */
  complete(line: string): { words: string[]; begun: string }
  /** Ctrl-C while no line is asked for. */
  interrupt(): void
}

interface Asked {
  resolve(line: string | undefined): void
  reject(error: Interrupted): void
  hidden: boolean
}

export class Prompter {
  readonly #lines: Interface
  readonly #options: PrompterOptions
  /** Typed before they were asked for. */
  readonly #waiting: string[] = []
  #asked: Asked | undefined
  #ended = false
  /** Nothing that readline draws is shown. */
  #isSilent = false
  /** readline's own, newest first. */
  #history: string[] = []

  constructor(options: PrompterOptions) {
    this.#options = options
    const { stdin: input, stdout } = process
    const output = Object.assign(
      new Writable({
        write: (chunk, _encoding, done) => {
          if (this.#asked?.hidden !== true && !this.#isSilent) stdout.write(chunk)
          done()
        },
      }),
      { columns: stdout.columns },
    )
    stdout.on('resize', () => {
      output.columns = stdout.columns
      output.emit('resize')
    })
    this.#lines = createInterface({
      ...{ input, output, terminal: true, historySize: LONGEST_HISTORY_LINES, removeHistoryDuplicates: true },
      history: [...options.history].reverse(),
      completer: (line: string) => this.#complete(line),
    })
    this.#lines.on('history', (history) => {
      this.#history = history
      if (this.#asked?.hidden) history.shift()
    })
    this.#lines.on('line', (line) => this.#take(line))
    this.#lines.on('SIGINT', () => this.#interrupted())
    this.#lines.on('close', () => {
      this.#ended = true
      this.#settle()?.resolve(undefined)
    })
  }

  /** The next line; undefined at the end of the input. */
  line(prompt: string): Promise<string | undefined> {
    const typed = this.#waiting.shift()
    if (typed !== undefined || this.#ended) return Promise.resolve(typed)
    this.#lines.setPrompt(prompt)
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject, hidden: false }
      this.#lines.prompt()
    })
  }

  /** The next line, which is neither shown nor kept: what was typed before, and so was seen, is not it. Rejects with `Interrupted`. */
  hidden(prompt: string): Promise<string> {
    for (const line of this.#waiting.splice(0)) this.forget(line)
    if (this.#ended) return Promise.reject(new Interrupted(false))
    process.stdout.write(prompt)
    return new Promise<string>((resolve, reject) => {
      this.#lines.setPrompt('')
      const ended = () => reject(new Interrupted(false))
      this.#asked = { resolve: (line) => (line === undefined ? ended() : resolve(line)), reject, hidden: true }
    }).finally(() => process.stdout.write('\n'))
  }

  /** Shows a line above what is being typed. */
  say(line: string): void {
    const typing = this.#asked !== undefined && !this.#asked.hidden
    const rows = typing ? this.#rowsAboveCursor() : 0
    if (typing) {
      moveCursor(process.stdout, 0, -rows)
      cursorTo(process.stdout, 0)
      clearScreenDown(process.stdout)
    }
    process.stdout.write(line + '\n'.repeat(1 + rows)) // readline goes up as many again
    if (typing) this.#lines.prompt(true)
  }

  /** Another prompt from now on, once it is shown again. */
  setPrompt(prompt: string): void {
    if (this.#asked?.hidden === false) this.#lines.setPrompt(prompt)
  }

  /** Takes a line out of what Up brings back. */
  forget(line: string): void {
    for (let at = this.#history.indexOf(line); at >= 0; at = this.#history.indexOf(line)) this.#history.splice(at, 1)
  }

  close(): void {
    this.#lines.close()
  }

  #take(line: string): void {
    const asked = this.#settle()
    if (asked === undefined) this.#waiting.push(line)
    else asked.resolve(line)
  }

  /** What is asked for stops being so: it is answered once. */
  #settle(): Asked | undefined {
    const asked = this.#asked
    this.#asked = undefined
    return asked
  }

  /** Ctrl-C: a line that was begun is dropped, an answer given up, or whatever is under way. */
  #interrupted(): void {
    if (this.#asked === undefined) {
      this.#options.interrupt()
      return
    }
    if (this.#asked.hidden) {
      const { reject } = this.#asked
      this.#asked.resolve = () => reject(new Interrupted(false))
      this.#lines.write(null, { name: 'return' }) // so that readline keeps nothing of it, not even for undo
      return
    }
    this.#rowsAboveCursor()
    this.#lines.write(null, { ctrl: true, name: 'e' })
    process.stdout.write(`^C${'\n'.repeat(1 + this.#rowsAboveCursor())}`) // readline goes up as many again
    this.#lines.write(null, { ctrl: true, name: 'u' })
    this.#lines.prompt()
  }

  /** Rows of what is being typed; readline, which misses those that were pasted, counts again. */
  #rowsAboveCursor(): number {
    this.#isSilent = true
    this.#lines.prompt(true)
    this.#isSilent = false
    return this.#lines.getCursorPos().rows
  }

  #complete(line: string): [string[], string] {
    if (this.#asked?.hidden !== false) return [[], line]
    const { words, begun } = this.#options.complete(line)
    return [words.length === 1 ? [`${words[0]} `] : words, begun]
  }
}
