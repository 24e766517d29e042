/**
 * Prints results: for people as lines and tables, page by page, or as JSON, one
 * document for a command however many pages it has and however it ends.
 */

import type { Name, Role } from '../contract/operations.ts'
import { DISPLAYS, type Part } from './display.ts'
import { errorJson, type Failure } from './failures.ts'
import type { Screen } from './screen.ts'
import { printable, Table } from './table.ts'

export interface Shown {
  role: Role
  operation: Name<Role>
  params: Readonly<Record<string, unknown>>
  json: boolean
}

export type AnyResult = Readonly<Record<string, unknown>>

export class Results {
  readonly #screen: Screen
  readonly #shown: Shown
  #table: Table | undefined
  #pages = 0
  /** Entries of the pages so far. */
  entries = 0

  constructor(screen: Screen, shown: Shown) {
    this.#screen = screen
    this.#shown = shown
  }

  /** The whole result, which may be the first page of a list. */
  show(result: AnyResult): void {
    const { session: _, ...open } = result // a session is a secret
    if (this.#shown.json) {
      this.#screen.line(JSON.stringify(open))
      return
    }
    this.#print(result)
    const { next_cursor } = result
    if (next_cursor !== undefined) this.#screen.note(`there is more: add --all, or --cursor ${next_cursor}`)
  }

  /** One of the pages of a list, which `end` or `fail` finishes. */
  add(page: AnyResult): void {
    const [name, list] = listIn(page)
    if (this.#shown.json)
      this.#screen.write(this.#pages === 0 ? opening(page, name, list) : following(list, this.entries))
    else if (this.#pages === 0 || list.length > 0) this.#print(page)
    this.#pages += 1
    this.entries += list.length
  }

  end(): void {
    if (this.#shown.json) this.#screen.line(']}')
  }

  /** The end of the document, when something went wrong. */
  failed(failure: Failure): string {
    return this.#pages === 0 ? errorJson(failure) : `],${errorJson(failure).slice(1)}`
  }

  #print(result: AnyResult): void {
    for (const part of partsOf(this.#shown, result)) {
      if (typeof part === 'string') {
        if (this.#pages === 0) this.#screen.line(printable(part)) // it is said of the whole list
        continue
      }
      this.#table ??= new Table(part.columns, this.#screen.columns)
      for (const line of this.#table.lines(part.rows, (text) => this.#screen.heading(text))) this.#screen.line(line)
    }
  }
}

function partsOf({ role, operation, params }: Shown, result: AnyResult): readonly Part[] {
  const display = DISPLAYS[role][operation] as (result: AnyResult, params: object) => readonly Part[]
  return display(result, params)
}

/** The field of a page that is its list. */
function listIn(page: AnyResult): [string, readonly unknown[]] {
  return Object.entries(page).find((entry): entry is [string, unknown[]] => Array.isArray(entry[1])) ?? ['', []]
}

/** A document up to the entries of the first page; its other fields come before. */
function opening(page: AnyResult, name: string, list: readonly unknown[]): string {
  const { [name]: _, next_cursor: __, ...others } = page
  const fields = JSON.stringify(others).slice(1, -1)
  return `{${fields}${fields === '' ? '' : ','}${JSON.stringify(name)}:[${entriesOf(list)}`
}

function following(list: readonly unknown[], before: number): string {
  return `${list.length > 0 && before > 0 ? ',' : ''}${entriesOf(list)}`
}

function entriesOf(list: readonly unknown[]): string {
  return list.map((entry) => JSON.stringify(entry)).join(',')
}
