/** Text that others have written can neither steer the terminal nor move what stands beside it. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { cut, keepDirection, measureWidth, printable } from '../../src/client/terminal-text.ts'
import { LEGITIMATE_NAMES } from '../support/names.ts'
import { drawOn } from '../support/terminal.ts'

describe('text that others have written', () => {
  it('can neither steer the terminal nor turn its text', () => {
    assert.equal(printable('a\x1b[2Jb\r\n\t\x7f\x9bc'), 'a\\u001b[2Jb\\u000d\\u000a\\u0009\\u007f\\u009bc')
    assert.equal(printable('\u202egnp.exe\u202c \u2066x\u2069 \u2028'), '\\u202egnp.exe\\u202c \\u2066x\\u2069 \\u2028')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(printable(text), /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)
      }),
    )
  })

  it('is otherwise shown as it is', () => {
    for (const text of ['Ünïcode カメラ 👩‍👩‍👧', 'שלום', 'a\u200db', '\\u001b?']) assert.equal(printable(text), text)
  })

  it('keeps its value in JSON', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(JSON.parse(printable(JSON.stringify(text))), text)
      }),
    )
  })
})

describe('words from right to left', () => {
  it('stand between marks, together as far as no other letters are between them', () => {
    assert.equal(keepDirection('3 × שלום עולם on sale'), '3 × \u200eשלום עולם\u200e on sale')
    assert.equal(keepDirection('שלום (12), Nikon مرحبا 5'), '\u200eשלום\u200e (12), Nikon \u200eمرحبا\u200e 5')
    assert.equal(keepDirection('קפה\u0301'), '\u200eקפה\u0301\u200e')
    for (const text of ['Nikon F3', 'カメラ', 'Ü', '']) assert.equal(keepDirection(text), text)
  })

  it('are found in a time that grows with the text', () => {
    const begunMs = performance.now()
    for (const text of ['א', 'א ', 'א a', ' ', '1', '\u0301']) keepDirection(`${text.repeat(200_000 / text.length)}é`)
    assert.ok(performance.now() - begunMs < 2_000)
  })
})

describe('the width of a text', () => {
  it('is the number of cells that terminals take, or more', async () => {
    const exact = { Lamp: 4, カメラ: 6, é: 1, 'e\u0301': 1, 각: 2, '\u1100\u1161\u11a8': 2, 'a\u200bb\u200dc\ufeff': 3 }
    for (const [text, width] of Object.entries(exact)) assert.equal(measureWidth(text), width, text)
    assert.equal(measureWidth(`Z${'\u0301'.repeat(30)}`), 1)
    for (const text of LEGITIMATE_NAMES) {
      const [drawn = ''] = await drawOn([`${text}|`], 80)
      assert.ok(measureWidth(text) >= drawn.indexOf('|'), text)
      assert.ok(measureWidth(text) <= 3 * Math.max(1, drawn.indexOf('|')), text)
    }
  })

  it('is never more than asked for when it is cut, at the end of a character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 20 }), (text, width) => {
        assert.ok(measureWidth(cut(text, width)) <= width)
      }),
    )
  })
})
