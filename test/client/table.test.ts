/** Tables fit the terminal, however wide characters are; without one, nothing is cut. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import measure from 'fast-string-truncated-width'
import { type Column, printable, Table } from '../../src/client/table.ts'

const COLUMNS: readonly Column[] = [
  { title: 'ITEM', right: true },
  { title: 'NAME', shrinks: true },
  { title: 'PRICE', right: true },
  { title: 'KEYWORDS', shrinks: true },
]
const plain = (text: string) => text

function formatAll(rows: readonly (readonly string[])[], width: number | undefined): string[] {
  return new Table(COLUMNS, width).format(rows, plain)
}

const measureAll = (lines: readonly string[]) => lines.map((line) => measure(line).width)

describe('a table', () => {
  it('has columns as wide as their cells, numbers at the right, and no blanks at the end of a line', () => {
    const rows = [
      ['1', 'Lamp', '9.50', 'light'],
      ['12345', 'Nikon F3', '249.90', ''],
    ]
    const expected = [' ITEM  NAME       PRICE  KEYWORDS', '    1  Lamp        9.50  light', '12345  Nikon F3  249.90']
    for (const width of [undefined, 200, 80, 33]) assert.deepEqual(formatAll(rows, width), expected)
  })

  it('cuts nothing without a terminal', () => {
    const [, row] = formatAll([['1', 'a'.repeat(500), '1.00', 'b'.repeat(500)]], undefined)
    assert.equal(row, `   1  ${'a'.repeat(500)}   1.00  ${'b'.repeat(500)}`)
  })

  it('cuts the widest of the columns that may shrink until it fits', () => {
    const row = ['1', 'n'.repeat(60), '249.90', 'k'.repeat(20)]
    const [head = '', cut = ''] = formatAll([row], 80)
    assert.equal(cut, `   1  ${'n'.repeat(43)}…  249.90  ${'k'.repeat(20)}`)
    assert.equal(head, `ITEM  NAME${' '.repeat(43)}PRICE  KEYWORDS`)
    const [, both] = formatAll([row], 50)
    assert.equal(both, `   1  ${'n'.repeat(16)}…  249.90  ${'k'.repeat(16)}…`)
    assert.deepEqual(formatAll([row], 200)[1], `   1  ${'n'.repeat(60)}  249.90  ${'k'.repeat(20)}`)
  })

  it('shows each row as several lines if even that does not fit', () => {
    const rows = [
      ['1', 'Nikon F3', '249.90', 'camera lens film'],
      ['2', 'Lamp', '9.50', ''],
    ]
    const expected = ['ITEM      1', 'NAME      Nikon F3', 'PRICE     249.90', 'KEYWORDS  camera l…', '']
    assert.deepEqual(formatAll(rows, 19), [...expected, 'ITEM      2', 'NAME      Lamp', 'PRICE     9.50', ''])
  })

  it('keeps columns aligned below wide characters, even when it cuts them', () => {
    const rows = [
      ['1', 'カメラ', '1.00', 'a'],
      ['2', '👩‍👩‍👧 fun', '2.00', 'b'],
      ['3', 'e\u0301te\u0301', '3.00', 'c'],
      ['4', 'カメラ'.repeat(20), '4.00', 'd'],
    ]
    const [head = '', ...others] = formatAll(rows, 40)
    const findColumn = (line: string, text: string) => measure(line.slice(0, line.lastIndexOf(text))).width
    assert.deepEqual(
      others.map((line, index) => findColumn(line, 'abcd'[index] as string)),
      others.map(() => findColumn(head, 'KEYWORDS')),
    )
    assert.match(others[3] ?? '', /カ?… /)
    for (const width of measureAll(others)) assert.ok(width <= 40)
  })

  it('cuts no character in two, and no more characters than it must', () => {
    const shown = (name: string) => new Table([{ title: 'A', shrinks: true }], 8).format([[name]], plain)[1]
    assert.equal(shown('𠮷𠮷𠮷𠮷𠮷'), '𠮷𠮷𠮷…')
    assert.equal(shown('жук👍👍👍👍'), 'жук👍👍…')
    assert.equal(shown('e\u0301'.repeat(9)), `${'e\u0301'.repeat(7)}…`)
    assert.equal(shown('👩‍👩‍👧'.repeat(5)), `${'👩‍👩‍👧'.repeat(3)}…`)
  })

  it('is never wider than the terminal, and keeps later pages in the columns of the first', () => {
    const word = fc.string({ unit: 'grapheme', maxLength: 40 })
    const price = fc.nat({ max: 9_999_999 }).map(String)
    const rows = fc.array(fc.tuple(price, word, price, word), { minLength: 1, maxLength: 5 })
    const fits = (first: string[][], second: string[][], width: number) => {
      const table = new Table(COLUMNS, width)
      const lines = [...table.format(first, plain), ...table.format(second, plain)]
      for (const line of lines) assert.ok(measure(line).width <= width, `${measure(line).width} > ${width}: ${line}`)
    }
    fc.assert(fc.property(rows, rows, fc.constantFrom(20, 40, 80, 200), fits))
  })

  it('styles its heading, and shows it once', () => {
    const table = new Table([{ title: 'A' }], 80)
    assert.deepEqual(
      table.format([['1']], (text) => `<${text}>`),
      ['<A>', '1'],
    )
    assert.deepEqual(
      table.format([['2']], (text) => `<${text}>`),
      ['2'],
    )
  })
})

describe('text that others have written', () => {
  it('can neither steer the terminal nor reverse its text', () => {
    assert.equal(printable('a\x1b[2Jb\r\n\t\x7f\x9bc'), 'a?[2Jb?????c')
    assert.equal(printable('\u202egnp.exe\u202c \u2066x\u2069 \u2028\u2029'), '?gnp.exe? ?x? ??')
    assert.deepEqual(formatAll([['1', 'a\x1b[31mb', '1.00', '\u202e']], 80)[1], '   1  a?[31mb   1.00  ?')
  })

  it('is otherwise shown as it is', () => {
    for (const text of ['Ünïcode カメラ 👩‍👩‍👧', 'שלום', 'a\u200db']) assert.equal(printable(text), text)
  })
})
