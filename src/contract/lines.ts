/**
 * Lines: a stream of bytes cut at each newline, before anything is decoded.
 * Pure, and shared by both ends of a connection.
 */

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
const NOTHING = Buffer.alloc(0)
/** Room for a begun line, at first. */
const LEAST_ROOM_BYTES = 256

/**
 * Cuts a stream of bytes into lines. Lines are pulled, not pushed: a server
 * with enough in flight leaves the rest in here. `overlong` becomes true when a
 * line outgrows the limit; no more lines come out then.
 */
export class LineDecoder {
  overlong = false
  readonly #limitBytes: number
  /**
   * The begun line, with room for more. Its pieces are copied, since each of them may be a single byte, and would cost
   * hundreds by itself or keep the whole chunk that it came in.
   */
  #begun: Buffer = NOTHING
  #begunBytes = 0
  #chunk: Buffer = NOTHING
  #at = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  push(chunk: Buffer): void {
    this.#chunk = this.#at === this.#chunk.length ? chunk : Buffer.concat([this.#chunk.subarray(this.#at), chunk])
    this.#at = 0
  }

  /** The next whole line that is not empty, without its line end; undefined if none is complete. */
  next(): Buffer | undefined {
    while (!this.overlong) {
      const end = this.#chunk.indexOf(NEWLINE, this.#at)
      const piece = this.#chunk.subarray(this.#at, end < 0 ? undefined : end)
      this.#at = end < 0 ? this.#chunk.length : end + 1
      if (this.#begunBytes + piece.length > this.#limitBytes) {
        this.overlong = true
        this.discard()
      } else if (end >= 0) {
        const line = this.#finish(piece)
        if (line.length > 0) return line
      } else {
        this.#keep(piece)
        this.#chunk = NOTHING
        this.#at = 0
        return undefined
      }
    }
    return undefined
  }

  /** Bytes that no line has come out of yet. */
  get bytes(): number {
    return this.#begunBytes + this.#chunk.length - this.#at
  }

  /** True while a line has begun and is not complete. */
  get unfinished(): boolean {
    return this.#begunBytes > 0
  }

  /** The first byte of the unfinished line. */
  get firstByte(): number | undefined {
    return this.#begunBytes > 0 ? this.#begun[0] : undefined
  }

  /** Forgets all bytes that no line has come out of. */
  discard(): void {
    this.#chunk = NOTHING
    this.#at = 0
    this.#forget()
  }

  /** At the end of the stream: the bytes after the last line end. */
  rest(): Buffer {
    return this.#finish(NOTHING)
  }

  #keep(piece: Buffer): void {
    const bytes = this.#begunBytes + piece.length
    if (bytes > this.#begun.length) {
      const begun = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.#begun.length, LEAST_ROOM_BYTES))
      this.#begun.copy(begun, 0, 0, this.#begunBytes)
      this.#begun = begun
    }
    piece.copy(this.#begun, this.#begunBytes)
    this.#begunBytes = bytes
  }

  #finish(piece: Buffer): Buffer {
    if (this.#begunBytes > 0) this.#keep(piece)
    const line = this.#begunBytes > 0 ? this.#begun.subarray(0, this.#begunBytes) : piece
    this.#forget()
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line
  }

  #forget(): void {
    this.#begun = NOTHING
    this.#begunBytes = 0
  }
}
