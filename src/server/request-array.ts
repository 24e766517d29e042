/**
 * The requests of one line that is a JSON array. They are handed out one by
 * one, as if each had a line of its own. Their replies are collected, and leave
 * together as one line, in the order of the requests.
 */

import { type EncodedLine, encodeArray, type Malformed, type Request, toRequest } from '../contract/protocol.ts'
import type { HeldBytes } from './held-bytes.ts'
import { joinSlices } from './long-lines.ts'
import type { Peer } from './peer.ts'

/** What an entry that has been decoded costs, beside its text. */
const ENTRY_BYTES = 64

export class RequestArray {
  readonly #entries: readonly unknown[]
  readonly #replies: (EncodedLine | undefined)[] = []
  /** What the requests cost, as long as some are unanswered. */
  readonly requestBytes: number
  #begun = 0
  #settled = 0
  /** Bytes of the replies so far. */
  bytes = 0

  constructor(entries: readonly unknown[], lineBytes: number) {
    this.#entries = entries
    this.requestBytes = lineBytes + entries.length * ENTRY_BYTES
  }

  /** Whether all requests have been handed out. */
  get exhausted(): boolean {
    return this.#begun === this.#entries.length
  }

  /** The next request, and its place among the replies. */
  next(): { request: Request | Malformed; place: number } {
    const place = this.#begun++
    return { request: toRequest(this.#entries[place]), place }
  }

  /** Whether all requests have been settled. */
  get complete(): boolean {
    return this.#settled === this.#entries.length
  }

  /** Settles a request, once: with its reply, or without one. */
  settle(place: number, reply: EncodedLine | undefined): void {
    this.#replies[place] = reply
    this.bytes += reply === undefined ? 0 : Buffer.byteLength(reply)
    this.#settled += 1
  }

  /** All replies in one line; undefined if there are none. */
  encode(peer: Peer, held: HeldBytes): Promise<EncodedLine> | undefined {
    const replies = this.#replies.filter((reply) => reply !== undefined)
    return replies.length === 0 ? undefined : joinSlices(encodeArray(replies), peer, held)
  }
}
