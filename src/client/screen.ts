/**
 * What a command writes on: results to standard output, all else to standard
 * error; how wide a terminal is, and whether there are colours.
 */

import { once } from 'node:events'
import { styleText } from 'node:util'
import type { Failure } from './failures.ts'
import { printable } from './table.ts'

type Style = Parameters<typeof styleText>[0]

export class Screen {
  readonly #colors: { output: boolean; notes: boolean }

  constructor(wanted: boolean, environment: NodeJS.ProcessEnv) {
    const colors = (stream: NodeJS.WriteStream) => wanted && isColorful(stream, environment)
    this.#colors = { output: colors(process.stdout), notes: colors(process.stderr) }
  }

  /** Of a terminal; undefined where lines may be of any length. */
  get columns(): number | undefined {
    return process.stdout.isTTY ? process.stdout.columns || 80 : undefined
  }

  /** Adds to the result. */
  write(text: string): void {
    process.stdout.write(text)
  }

  /** A line of the result. */
  line(text: string): void {
    this.write(`${text}\n`)
  }

  /** A line for a person, beside the result. */
  note(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  /** What went wrong, and what to type next. */
  failure({ message, next }: Failure, place = ''): void {
    const lines = message.split('\n').map(printable)
    const last = `${lines.at(-1)}${next === undefined ? '' : `: ${this.#hint(next)}`}`
    for (const line of [...lines.slice(0, -1), last]) this.note(`${this.#problem('souk:')} ${place}${line}`)
  }

  /** Resolves when whoever reads the results has taken them. */
  async taken(): Promise<void> {
    if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
  }

  heading(text: string): string {
    return this.#colors.output ? styled('bold', text) : text
  }

  #problem(text: string): string {
    return this.#colors.notes ? styled('red', text) : text
  }

  #hint(text: string): string {
    return this.#colors.notes ? styled('cyan', text) : text
  }
}

function isColorful(stream: NodeJS.WriteStream, { FORCE_COLOR, NO_COLOR, TERM }: NodeJS.ProcessEnv): boolean {
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0'
  return stream.isTTY === true && !NO_COLOR && TERM !== 'dumb'
}

function styled(style: Style, text: string): string {
  return styleText(style, text, { validateStream: false })
}
