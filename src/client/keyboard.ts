/**
 * What is typed on a terminal, on its way to readline. readline replaces bytes
 * that are not UTF-8, and takes two separators for the Enter key that are none.
 * Here they become lone halves of surrogate pairs, which no text contains:
 * readline keeps those as they are.
 */

import { Transform, type TransformCallback } from 'node:stream'
import { TextDecoder } from 'node:util'

const SEPARATORS = ['\u2028', '\u2029']
/** Halves in place of them. */
const HALVES = ['\uD800', '\uD801']
/** A half in place of bytes that are not UTF-8. */
const NO_TEXT = '\uD802'

/** The text that was typed. It is not well-formed if it was not UTF-8. */
export function restoreTyped(input: string): string {
  return input.replaceAll(/[\uD800\uD801]/gu, (half) => SEPARATORS[HALVES.indexOf(half)] as string) // u: not of pairs
}

export class Keyboard extends Transform {
  readonly #terminal: NodeJS.ReadStream
  #decoder = newDecoder()

  constructor(terminal: NodeJS.ReadStream) {
    super({ readableObjectMode: true }) // so that it hands on text, not bytes
    this.#terminal = terminal
    terminal.pipe(this)
  }

  /** Called by readline. */
  setRawMode(isRaw: boolean): void {
    this.#terminal.setRawMode(isRaw)
  }

  /** Leaves the terminal to others, or lets the process end. */
  release(): void {
    this.#terminal.unpipe(this)
    this.#terminal.pause()
  }

  override _transform(bytes: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    done(
      null,
      this.#decode(bytes).replaceAll(/[\u2028\u2029]/g, (one) => HALVES[SEPARATORS.indexOf(one)] as string),
    )
  }

  #decode(bytes: Buffer): string {
    try {
      return this.#decoder.decode(bytes, { stream: true })
    } catch {
      this.#decoder = newDecoder()
      return NO_TEXT + bytes.toString().replaceAll('\u{FFFD}', '')
    }
  }
}

function newDecoder(): TextDecoder {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
}
