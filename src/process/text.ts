/**
 * Bytes as text. What is not UTF-8 is refused, since replacing it would make one
 * of two different words; what editors put around text changes nothing: a mark
 * at the start, any line end. Other separators (U+2028, U+0085, form feeds) are
 * part of a line.
 */

import { isUtf8 } from 'node:buffer'
import { UsageError } from './command-line.ts'

const LINE_END = /\r\n|\n|\r/
const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
/** What some editors put at the start. */
const MARK = Buffer.of(0xef, 0xbb, 0xbf)
const UTF16_MARKS = [Buffer.of(0xff, 0xfe), Buffer.of(0xfe, 0xff)]

/** The text of a file, without the mark at its start. Throws `UsageError`, which names `place` and the line. */
export function decodeText(bytes: Buffer, place: string): string {
  const lines = [...cutLines(bytes)]
  for (const [index, line] of lines.entries()) decodeLine(line, `line ${index + 1} of ${place}`)
  return withoutMark(bytes).toString()
}

/** Like `split` at line ends: the last line is what follows the last one, often nothing. */
export function splitLines(text: string): string[] {
  return text.split(LINE_END)
}

/** Throws `UsageError`, which names `place`. */
export function decodeLine(line: Buffer, place: string): string {
  if (UTF16_MARKS.some((mark) => line.subarray(0, mark.length).equals(mark))) {
    throw new UsageError([`${place} is UTF-16: save it as UTF-8`])
  }
  if (!isUtf8(line)) throw new UsageError([`${place} is not UTF-8`])
  if (line.includes(0)) throw new UsageError([`${place} has a NUL byte, which no text has`])
  return line.toString()
}

/** The lines of a stream, each as soon as it is complete, without line ends and without the mark at the start. */
export async function* readLines(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer = Buffer.alloc(0)
  let isFirst = true
  let endedWithReturn = false
  for await (const chunk of stream) {
    const isRestOfEnd = endedWithReturn && chunk[0] === NEWLINE
    const bytes = Buffer.concat([begun, isRestOfEnd ? chunk.subarray(1) : chunk])
    if (chunk.length > 0) endedWithReturn = chunk.at(-1) === CARRIAGE_RETURN
    const lines = [...cutLines(bytes)]
    begun = lines.pop() ?? begun
    for (const line of lines) {
      yield isFirst ? withoutMark(line) : line
      isFirst = false
    }
  }
  if (begun.length > 0) yield isFirst ? withoutMark(begun) : begun
}

/** The bytes between line ends; what follows the last one is the last, often empty. */
function* cutLines(bytes: Buffer): Generator<Buffer> {
  let begin = 0
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] !== NEWLINE && bytes[at] !== CARRIAGE_RETURN) continue
    yield bytes.subarray(begin, at)
    if (bytes[at] === CARRIAGE_RETURN && bytes[at + 1] === NEWLINE) at += 1
    begin = at + 1
  }
  yield bytes.subarray(begin)
}

function withoutMark(bytes: Buffer): Buffer {
  return bytes.subarray(0, MARK.length).equals(MARK) ? bytes.subarray(MARK.length) : bytes
}
