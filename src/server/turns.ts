/**
 * A waiting line whose entries are handed out in turns: those who ask for more
 * wait longer, and nobody else does. An entry has a path of keys, such as the
 * sender's network and connection: networks take turns, and so do the
 * connections of a network; entries with the same path are handed out in order
 * of arrival. Whoever had the last turn goes behind those who came meanwhile.
 * Every level has a bound, so that one sender can't fill the places of the
 * others. It knows no clock and no sockets.
 */

export type Path = readonly unknown[]

/** A part of the line: what has the same keys so far. At the end of the path it has entries, before that children. */
interface Part<T> {
  size: number
  /** The first has the next turn. */
  readonly children: Map<unknown, Part<T>>
  /** The key that had the last turn. */
  last: unknown
  entries: T[]
}

export class Turns<T> {
  readonly #bounds: readonly number[]
  readonly #line: Part<T> = newPart()

  /** The most entries of the whole line, then of each key: one bound more than a path has keys. */
  constructor(...bounds: readonly number[]) {
    this.#bounds = bounds
  }

  get size(): number {
    return this.#line.size
  }

  /** False if there is no place. */
  add(path: Path, entry: T): boolean {
    if (this.#partsAlong(path).some(({ size }, level) => size >= (this.#bounds[level] ?? 0))) return false
    let part = this.#line
    part.size += 1
    for (const key of path) {
      part = getOrAdd(part.children, key)
      part.size += 1
    }
    part.entries.push(entry)
    return true
  }

  /** Takes the entry whose turn it is; undefined if nothing waits. */
  take(): T | undefined {
    return this.size === 0 ? undefined : takeFrom(this.#line)
  }

  /** Takes an entry out of its turn, if it is still there. */
  delete(path: Path, entry: T): void {
    const parts = this.#partsAlong(path)
    const last = parts.at(-1)
    if (parts.length <= path.length || !last?.entries.includes(entry)) return
    last.entries = last.entries.filter((other) => other !== entry)
    for (const part of parts) part.size -= 1
    for (const [level, key] of path.entries()) {
      if (parts[level + 1]?.size === 0) parts[level]?.children.delete(key)
    }
  }

  /** The line, and its parts as far as the path exists. */
  #partsAlong(path: Path): Part<T>[] {
    const parts = [this.#line]
    for (const key of path) {
      const next = parts.at(-1)?.children.get(key)
      if (next === undefined) break
      parts.push(next)
    }
    return parts
  }
}

function takeFrom<T>(part: Part<T>): T | undefined {
  part.size -= 1
  moveBehind(part.children, part.last)
  const [next] = part.children
  if (next === undefined) return part.entries.shift()
  const [key, child] = next
  const taken = takeFrom(child)
  if (child.size === 0) part.children.delete(key)
  part.last = key
  return taken
}

function moveBehind<T>(children: Map<unknown, Part<T>>, key: unknown): void {
  const child = children.get(key)
  if (child === undefined) return
  children.delete(key)
  children.set(key, child)
}

function getOrAdd<T>(children: Map<unknown, Part<T>>, key: unknown): Part<T> {
  const known = children.get(key)
  if (known !== undefined) return known
  const added = newPart<T>()
  children.set(key, added)
  return added
}

function newPart<T>(): Part<T> {
  return { size: 0, children: new Map(), last: undefined, entries: [] }
}
