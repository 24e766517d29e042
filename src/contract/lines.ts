/**
 * Lines: a stream of bytes cut at each newline, before anything is decoded.
 * Pure, and shared by both ends of a connection.
 */

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d

/**
 * Cuts a stream of bytes into lines. Lines are pulled, not pushed: a server
 * with enough in flight leaves the rest in here. `overlong` becomes true when a
 * line outgrows the limit; no more lines come out then.
 */
export class LineDecoder {
  overlong = false
  readonly #limitBytes: number
  #begun: Buffer[] = []
  #begunBytes = 0
  #chunk: Buffer = Buffer.alloc(0)
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
        this.#forget()
      } else if (end >= 0) {
        const line = this.#finish(piece)
        if (line.length > 0) return line
      } else {
        if (piece.length > 0) this.#begun.push(piece)
        this.#begunBytes += piece.length
        return undefined
      }
    }
    return undefined
  }

  /** True while a line has begun and is not complete. */
  get unfinished(): boolean {
    return this.#begunBytes > 0
  }

  /** The first byte of the unfinished line. */
  get firstByte(): number | undefined {
    return this.#begun[0]?.[0]
  }

  /** Forgets all bytes that no line has come out of. */
  discard(): void {
    this.#at = this.#chunk.length
    this.#forget()
  }

  /** At the end of the stream: the bytes after the last line end. */
  rest(): Buffer {
    return this.#finish(Buffer.alloc(0))
  }

  #finish(piece: Buffer): Buffer {
    const line = this.#begun.length === 0 ? piece : Buffer.concat([...this.#begun, piece])
    this.#forget()
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line
  }

  #forget(): void {
    this.#begun = []
    this.#begunBytes = 0
  }
}
