/** Bytes as text: what is one line, what is no text, and what changes nothing. */

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { describe, it } from 'node:test'
import { UsageError } from '../../src/process/command-line.ts'
import { decodeLine, decodeText, readLines, splitLines } from '../../src/process/text.ts'

/** The lines of a stream that arrives in pieces of this many bytes. */
async function linesOf(bytes: Buffer, pieceBytes: number): Promise<string[]> {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes))
  const lines: string[] = []
  for await (const line of readLines(Readable.from(pieces))) lines.push(line.toString())
  return lines
}

describe('the lines of a stream', () => {
  it('end at any line end and at nothing else, in whatever pieces they come', async () => {
    const text = '\u{FEFF}one\ntwo\r\n\rthree\u2028\u2029\u0085\v\ffour\r\r\n\n é\u{FEFF}\rfünf'
    const lines = ['one', 'two', '', 'three\u2028\u2029\u0085\v\ffour', '', '', ' é\u{FEFF}', 'fünf']
    for (let pieceBytes = 1; pieceBytes <= 50; pieceBytes += 1)
      assert.deepEqual(await linesOf(Buffer.from(text), pieceBytes), lines, `pieces of ${pieceBytes}`)
    assert.deepEqual(await linesOf(Buffer.from('a\r'), 9), ['a'])
    assert.deepEqual(await linesOf(Buffer.from(''), 9), [])
    assert.deepEqual(splitLines(text.slice(1)), lines)
  })

  it('come out as soon as each is complete', async () => {
    const stream = new Readable({ read: () => {} })
    const lines = readLines(stream)
    for (const end of ['\n', '\r\n', '\r']) {
      stream.push(`a${end}`)
      assert.equal((await lines.next()).value?.toString(), 'a')
    }
  })
})

describe('bytes that are no text', () => {
  const refused = (bytes: Buffer, message: string) =>
    assert.throws(
      () => decodeText(bytes, 'file'),
      (error) => error instanceof UsageError && error.message === message,
    )

  it('are refused, with the line', () => {
    for (const bytes of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0x80], [0xf5, 0x80, 0x80, 0x80]]) {
      refused(Buffer.from([0x61, ...bytes, 0x62]), 'line 1 of file is not UTF-8')
      refused(Buffer.concat([Buffer.from('\u{FEFF}a\r\nb\rc\n'), Buffer.from(bytes)]), 'line 4 of file is not UTF-8')
      assert.throws(() => decodeLine(Buffer.from(bytes), 'it'), { message: 'it is not UTF-8' })
    }
    refused(Buffer.from('a\nb\0'), 'line 2 of file has a NUL byte, which no text has')
  })

  it('because they are UTF-16 are called so', () => {
    const text = Buffer.from('\u{FEFF}a\n', 'utf16le')
    refused(text, 'line 1 of file is UTF-16: save it as UTF-8')
    refused(text.swap16(), 'line 1 of file is UTF-16: save it as UTF-8')
  })
})

describe('text', () => {
  it('is what it was, without the mark at its start', () => {
    for (const text of ['', ' a ', 'a\u{FEFF}', '\u{FFFD}', 'é', '\u2028']) {
      assert.equal(decodeText(Buffer.from(text), 'file'), text)
      assert.equal(decodeText(Buffer.from(`\u{FEFF}${text}`), 'file'), text)
    }
  })
})
