/**
 * What a command prints. Results go to standard output, everything else to
 * standard error. A result is text and tables for people, page by page; or
 * JSON, one document for each command, however many pages the result has and
 * however the command ends.
 */

import { once } from 'node:events'
import { styleText } from 'node:util'
import type { Name, Role } from '../contract/operations.ts'
import { encodeFailure, type Failure } from './failures.ts'
import { type AnyResult, findPhrase } from './phrases.ts'
import { type Column, Table } from './table.ts'
import { keepDirection, printable } from './terminal-text.ts'

type Style = Parameters<typeof styleText>[0]

/** The two streams of the program, and whether they have colours. */
export class Screen {
  readonly #colors: { output: boolean; notes: boolean }
  readonly #isDumb: boolean

  /** If `wanted` is false, nothing has colours. */
  constructor(wanted: boolean, environment: NodeJS.ProcessEnv) {
    const hasColors = (stream: NodeJS.WriteStream) => wanted && isColorful(stream, environment)
    this.#colors = { output: hasColors(process.stdout), notes: hasColors(process.stderr) }
    this.#isDumb = environment.TERM === 'dumb'
  }

  /** Adds to the result. */
  write(text: string): void {
    process.stdout.write(text)
  }

  /** Adds to the result, and ends the line. */
  print(text: string): void {
    this.write(`${text}\n`)
  }

  /** Adds a line to the result. Others may have written parts of it. */
  printLine(text: string): void {
    this.print(toLine(text, process.stdout))
  }

  /** A table as wide as the terminal; without one, of any width. */
  createTable(columns: readonly Column[]): Table {
    return new Table(columns, process.stdout.isTTY ? process.stdout.columns || 80 : undefined, !this.#isDumb)
  }

  printTable(table: Table, rows: readonly (readonly string[])[]): void {
    for (const text of table.format(rows, (heading) => this.heading(heading))) this.print(text)
  }

  /** Writes a note, which is not part of the result. Others may have written parts of it. */
  note(text: string): void {
    process.stderr.write(`${toLine(text, process.stderr)}\n`)
  }

  /** Notes what to type next, and why. */
  noteHint(reason: string, hint: string): void {
    process.stderr.write(`${toLine(reason, process.stderr)}: ${this.#styleNote('cyan', printable(hint))}\n`)
  }

  /** Notes what went wrong and what to type next; `place` says where it went wrong. */
  noteFailure({ message, hint }: Failure, place = ''): void {
    const problems = message.split('\n').map((problem) => toLine(problem, process.stderr))
    const next = hint === undefined ? '' : `: ${this.#styleNote('cyan', printable(hint))}`
    for (const [index, problem] of problems.entries()) {
      const end = index === problems.length - 1 ? next : ''
      process.stderr.write(`${this.#styleNote('red', 'souk:')} ${place}${problem}${end}\n`)
    }
  }

  /** Resolves when the reader of the results has taken them. */
  async drained(): Promise<void> {
    if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
  }

  heading(text: string): string {
    return this.#colors.output ? styleText('bold', text, { validateStream: false }) : text
  }

  #styleNote(style: Style, text: string): string {
    return this.#colors.notes ? styleText(style, text, { validateStream: false }) : text
  }
}

function toLine(text: string, stream: NodeJS.WriteStream): string {
  return stream.isTTY ? keepDirection(printable(text)) : printable(text)
}

function isColorful(stream: NodeJS.WriteStream, { FORCE_COLOR, NO_COLOR, TERM }: NodeJS.ProcessEnv): boolean {
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0'
  return stream.isTTY === true && !NO_COLOR && TERM !== 'dumb'
}

/** The call that a result answers. */
export interface Source {
  role: Role
  operation: Name<Role>
  params: Readonly<Record<string, unknown>>
}

/** Prints the result of one command: whole with `print`, or with `addPage` for each page and then `end`. */
export class ResultPrinter {
  readonly #screen: Screen
  readonly #source: Source
  readonly #json: boolean
  #table: Table | undefined
  #pages = 0
  /** Entries of the pages so far. */
  entries = 0

  constructor(screen: Screen, source: Source, json: boolean) {
    this.#screen = screen
    this.#source = source
    this.#json = json
  }

  /** Prints the only result, or one page of a list. */
  print(result: AnyResult): void {
    const { session: _, ...open } = result // a session is a secret
    if (this.#json) {
      this.#screen.print(printable(JSON.stringify(open)))
      return
    }
    this.#printParts(result)
  }

  /** Prints the next page of a list. */
  addPage(page: AnyResult): void {
    const [name, list] = findList(page)
    if (this.#json)
      this.#screen.write(printable(this.#pages === 0 ? encodeFirst(page, name, list) : encodeNext(list, this.entries)))
    else if (this.#pages === 0 || list.length > 0) this.#printParts(page)
    this.#pages += 1
    this.entries += list.length
  }

  /** Ends the document after the last page. */
  end(): void {
    if (this.#json) this.#screen.print(']}')
  }

  /** The failure as JSON: a document, or the end of the one that pages have begun. */
  encodeFailure(failure: Failure): string {
    return this.#pages === 0 ? encodeFailure(failure) : `],${encodeFailure(failure).slice(1)}`
  }

  #printParts(result: AnyResult): void {
    const { role, operation, params } = this.#source
    for (const part of findPhrase(role, operation).say(result, params)) {
      if (typeof part === 'string') {
        if (this.#pages === 0) this.#screen.printLine(part) // it is about the whole list
      } else {
        this.#table ??= this.#screen.createTable(part.columns)
        this.#screen.printTable(this.#table, part.rows)
      }
    }
  }
}

/** The field of a page that is its list. */
function findList(page: AnyResult): [name: string, list: readonly unknown[]] {
  return Object.entries(page).find((entry): entry is [string, unknown[]] => Array.isArray(entry[1])) ?? ['', []]
}

/** A document up to the last entry of the first page; its other fields come before the list. */
function encodeFirst(page: AnyResult, name: string, list: readonly unknown[]): string {
  const { [name]: _, next_cursor: __, ...others } = page
  const fields = JSON.stringify(others).slice(1, -1)
  return `{${fields}${fields === '' ? '' : ','}${JSON.stringify(name)}:[${encodeEntries(list)}`
}

function encodeNext(list: readonly unknown[], before: number): string {
  return `${list.length > 0 && before > 0 ? ',' : ''}${encodeEntries(list)}`
}

function encodeEntries(list: readonly unknown[]): string {
  return list.map((entry) => JSON.stringify(entry)).join(',')
}
