/**
 * What a server holds in memory for all its clients, in bytes: begun lines,
 * requests in flight, replies under way and replies not taken. One bound for the
 * sum, since any number of clients may each stay below their own limits. When it is
 * reached, long reads are refused, and clients with replies to take are not read.
 */

import type { Refusal } from '../contract/refusals.ts'

export const TOO_MUCH_HELD: Refusal = {
  code: 'overloaded',
  message: 'too many replies wait for their clients',
  details: { retry_after_ms: 1_000 },
}

export class HeldBytes {
  readonly #most: number
  bytes = 0

  constructor(most: number) {
    this.#most = most
  }

  get isFull(): boolean {
    return this.bytes >= this.#most
  }

  /** Half of the bound: so much is left when those who hold the oldest bytes have been disconnected. */
  get isHalfFull(): boolean {
    return this.bytes >= this.#most / 2
  }
}
