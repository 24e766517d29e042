/**
 * The replies that one client has not taken yet. The socket gets them piece by
 * piece, each when the one before is taken: so a client that reads slowly is told
 * from one that does not read, and every byte that waits is counted. A reply counts
 * as taken when the kernel has taken it: how much of it the client has, nobody says.
 */

import type { Socket } from 'node:net'
import type { EncodedLine } from '../contract/protocol.ts'

/** The most that the socket gets at once, and the least that a client must take in its time. */
const PIECE_BYTES = 64 * 1024
/** Shorter replies share a buffer: one of its own would cost more than they do. */
const SHORT_BYTES = PIECE_BYTES / 4

/** Replies that wait, from `at` to `end`. */
interface Waiting {
  bytes: Buffer
  at: number
  end: number
  queuedMs: number
}

export class Unsent {
  readonly #socket: Socket
  readonly #onTaken: () => void
  /** Made with the first reply that has to wait: most connections never need it. */
  #waiting: Waiting[] | undefined
  #waitingBytes = 0
  #ending = false
  /** The piece that the socket has and the kernel has not: its length, and when it was queued. */
  #pieceBytes = 0
  #pieceQueuedMs = 0
  /** When the client fell behind, or has last taken a whole piece since; and what it took after that. */
  #behindSinceMs: number | undefined
  #takenBytes = 0

  /** `onTaken` is called after a piece that had to wait was taken. */
  constructor(socket: Socket, onTaken: () => void) {
    this.#socket = socket
    this.#onTaken = onTaken
  }

  get bytes(): number {
    return this.#waitingBytes + this.#socket.writableLength
  }

  /** When the oldest of these bytes was queued; undefined if there is none. */
  get oldestMs(): number | undefined {
    return this.#pieceBytes > 0 ? this.#pieceQueuedMs : undefined
  }

  /** Whether the client has taken less than a piece for so long, although something waits. */
  isStuck(nowMs: number, limitMs: number): boolean {
    return this.#behindSinceMs !== undefined && nowMs - this.#behindSinceMs > limitMs
  }

  write(line: EncodedLine): void {
    if (!this.#socket.writable) return
    if (line.length <= PIECE_BYTES && this.bytes === 0) {
      this.#hand(line)
    } else {
      this.#waitingBytes += this.#queue(line)
      this.#handWaiting()
    }
  }

  /** Ends this side of the connection after the last reply. */
  end(): void {
    this.#ending = true
    this.#handWaiting()
  }

  /** Returns the bytes of the line. */
  #queue(line: EncodedLine): number {
    this.#waiting ??= []
    const length = Buffer.byteLength(line)
    const last = this.#waiting.at(-1)
    if (typeof line === 'string' && last !== undefined && last.bytes.length - last.end >= length) {
      last.end += last.bytes.write(line, last.end)
      return length
    }
    this.#waiting.push({ bytes: toBuffer(line, length), at: 0, end: length, queuedMs: performance.now() })
    return length
  }

  #handWaiting(): void {
    while (this.#waitingBytes > 0 && this.#pieceBytes === 0 && this.#socket.writable) {
      const [first] = this.#waiting as [Waiting]
      const piece = first.bytes.subarray(first.at, Math.min(first.end, first.at + PIECE_BYTES))
      first.at += piece.length
      this.#waitingBytes -= piece.length
      if (first.at === first.end) this.#waiting?.shift()
      this.#hand(piece, first.queuedMs)
    }
    if (this.#ending && this.#waitingBytes === 0 && this.#socket.writable) this.#socket.end()
  }

  /** Gives the socket a piece. Often the kernel takes it at once. */
  #hand(piece: EncodedLine, queuedMs?: number): void {
    this.#socket.write(piece, this.#taken)
    if (this.#socket.writableLength === 0) {
      this.#takenBytes += piece.length
      return
    }
    const nowMs = performance.now()
    this.#pieceBytes = piece.length
    this.#pieceQueuedMs = queuedMs ?? nowMs
    if (this.#behindSinceMs === undefined) this.#countFrom(nowMs)
  }

  /** Is called for each piece, also if it was taken at once. */
  readonly #taken = (): void => {
    if (this.#pieceBytes === 0 || this.#socket.writableLength > 0) return
    this.#takenBytes += this.#pieceBytes
    this.#pieceBytes = 0
    this.#handWaiting()
    if (this.#pieceBytes === 0) this.#behindSinceMs = undefined
    else if (this.#takenBytes >= PIECE_BYTES) this.#countFrom(performance.now())
    this.#onTaken()
  }

  #countFrom(nowMs: number): void {
    this.#behindSinceMs = nowMs
    this.#takenBytes = 0
  }
}

function toBuffer(line: EncodedLine, length: number): Buffer {
  if (typeof line !== 'string') return line
  if (length >= SHORT_BYTES) return Buffer.from(line)
  const shared = Buffer.allocUnsafeSlow(PIECE_BYTES)
  shared.write(line)
  return shared
}
