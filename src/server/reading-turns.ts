/**
 * Turns: in which order connections are served that have sent something, and
 * for how long before the loop goes on to what else has happened: answers of the
 * database, bytes of others.
 *
 * A connection that has sent a little is served at once. One that has sent more
 * than `QUANTUM` requests stands in line for the rest, behind all others that
 * do. Once a turn of the loop has spent `TURN_MS` on requests, everybody stands
 * in line; who was not served yet, in a line of its own that has precedence. So
 * a client that asks seldom waits for no client that asks much.
 */

/** Requests of a connection that are served before the next one has its turn. */
export const QUANTUM = 16
/**
 * Time for requests in one turn of the loop. Less makes smaller batches: with 2 ms, searches of 100 clients took a
 * quarter more processor time.
 */
export const TURN_MS = 10

export class ReadingTurns<C> {
  /** Serves up to `QUANTUM` requests of the connection, or one when the turn is over. Returns whether it has more. */
  readonly #serve: (connection: C) => boolean
  readonly #now: () => number
  /** Not served since they stood in no line. */
  readonly #first = new Set<C>()
  readonly #later = new Set<C>()
  /** When this turn has spent its time; undefined before it has served anybody. */
  #endsMs: number | undefined

  constructor(serve: (connection: C) => boolean, now = () => performance.now()) {
    this.#serve = serve
    this.#now = now
  }

  /** Whether the connection stands in line. */
  awaits(connection: C): boolean {
    return this.#first.has(connection) || this.#later.has(connection)
  }

  /** Serves a connection that may have something: at once, or when its turn comes. */
  serve(connection: C): void {
    if (this.awaits(connection)) return
    if (this.isOver()) this.#first.add(connection)
    else if (this.#serve(connection)) this.#later.add(connection)
  }

  leave(connection: C): void {
    this.#first.delete(connection)
    this.#later.delete(connection)
  }

  /** Whether this turn of the loop has spent its time. */
  isOver(): boolean {
    const nowMs = this.#now()
    if (this.#endsMs === undefined) {
      this.#endsMs = nowMs + TURN_MS
      setImmediate(this.#nextTurn)
    }
    return nowMs >= this.#endsMs
  }

  /**
   * Also serves one of the later line however many are first, so that nobody waits for ever. The turn after it is planned
   * last: so it begins when the batches of this one have left.
   */
  readonly #nextTurn = (): void => {
    const isIdle = this.#first.size === 0 && this.#later.size === 0
    this.#endsMs = isIdle ? undefined : this.#now() + TURN_MS
    if (isIdle) return
    while (this.#first.size > 0 && !this.isOver()) this.#serveNext(this.#first)
    if (this.#later.size > 0) this.#serveNext(this.#later)
    while (this.#later.size > 0 && !this.isOver()) this.#serveNext(this.#later)
    setImmediate(this.#nextTurn)
  }

  #serveNext(line: Set<C>): void {
    const next = line.values().next().value as C
    line.delete(next)
    if (this.#serve(next)) this.#later.add(next)
  }
}
