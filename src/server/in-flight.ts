/**
 * What is in flight on a server, and the part of it that a connection may have.
 * More than `ENOUGH` makes no batch better, and every answer later. So beyond it
 * each connection that has something in flight may have an equal part of it, and
 * one request at least. Who has as much is not read until it is answered. So a
 * request of others waits behind few.
 *
 * Only what moves counts against the part. A call that has been under way for
 * long waits for something else than its turn, such as a row that somebody
 * holds: it counts against its connection's own limit only. A call that was
 * refused as overloaded goes on counting for a while, so that who was refused is
 * read more slowly.
 */

/** The record of a connection. */
export interface Part {
  /** Weight of its requests in flight. */
  inFlight: number
  /** Of those that began in this period or in the one before; and refusals of a short while ago. */
  moving: number
  /** Of those that began in this period. */
  recent: number
}

/** Weight in flight at which a server does the most. */
const ENOUGH = 512
/** After one of these, or two, a request no longer counts as moving. */
const PERIOD_MS = 500
const REST_MS = 100

export class InFlight<P extends Part> {
  /** The most weight of one connection. */
  readonly #limit: number
  readonly #onRoom: (part: P) => void
  /** With something that moves. */
  readonly #active = new Set<P>()
  #moving = 0
  #period = 0
  readonly #timer: NodeJS.Timeout

  /** `onRoom` is called for a connection that may have room again, though none of its requests was answered. */
  constructor(limit: number, onRoom: (part: P) => void) {
    this.#limit = limit
    this.#onRoom = onRoom
    this.#timer = setInterval(() => this.#beginPeriod(), PERIOD_MS).unref()
  }

  hasRoom({ inFlight, moving }: Part): boolean {
    if (inFlight >= this.#limit) return false
    return this.#moving < ENOUGH || moving < Math.max(1, Math.floor(ENOUGH / this.#active.size))
  }

  /** A request begins. Returns a function that ends it. */
  begin(part: P, weight: number): () => void {
    part.inFlight += weight
    const stop = this.#move(part, weight)
    return () => {
      part.inFlight -= weight
      stop()
    }
  }

  /** A request was refused as overloaded. */
  rest(part: P): void {
    const stop = this.#move(part, 1)
    setTimeout(() => {
      stop()
      this.#onRoom(part)
    }, REST_MS).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #move(part: P, weight: number): () => void {
    const period = this.#period
    if (part.moving === 0) this.#active.add(part)
    part.moving += weight
    part.recent += weight
    this.#moving += weight
    return () => {
      if (period < this.#period - 1) return
      if (period === this.#period) part.recent -= weight
      part.moving -= weight
      this.#moving -= weight
      if (part.moving === 0) this.#active.delete(part)
    }
  }

  #beginPeriod(): void {
    const active = [...this.#active]
    this.#period += 1
    this.#moving = 0
    for (const part of active) {
      part.moving = part.recent
      part.recent = 0
      this.#moving += part.moving
      if (part.moving === 0) this.#active.delete(part)
    }
    for (const part of active) this.#onRoom(part)
  }
}
