/** Tables fit the terminal, however wide characters are; without one, nothing is cut. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Column, Table } from '../../src/client/table.ts'
import { measureWidth } from '../../src/client/terminal-text.ts'
import { LEGITIMATE_NAMES } from '../support/names.ts'
import { drawOn } from '../support/terminal.ts'

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

const measureAll = (lines: readonly string[]) => lines.map(measureWidth)

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
    const findColumn = (line: string, text: string) => measureWidth(line.slice(0, line.lastIndexOf(text)))
    assert.deepEqual(
      others.map((line, index) => findColumn(line, 'abcd'[index] as string)),
      others.map(() => findColumn(head, 'KEYWORDS')),
    )
    assert.match(others[3] ?? '', /カ?… /)
    for (const width of measureAll(others)) assert.ok(width <= 40)
  })

  it('keeps its columns on a terminal that draws characters wider or narrower', async () => {
    const names = [...LEGITIMATE_NAMES, `Z${'\u0301'.repeat(30)}`, 'カ\u200bメ\u2060ラ', '\u1100\u1161\u11a8'.repeat(3)]
    const rows = names.map((name, index) => [String(index), name, `${index}.50`, name])
    const lines = new Table(COLUMNS, 100, true).format(rows, plain)
    const [heading = '', ...drawn] = await drawOn(lines, 100)
    for (const [index, line] of drawn.entries()) {
      const price = `${index}.50`.padStart(5)
      assert.equal(line.indexOf(price) + price.length, heading.indexOf('PRICE') + 5, `${line}\n${heading}`)
      assert.ok(line.search(/\S/) >= 0 && line[heading.indexOf('KEYWORDS') - 1] === ' ')
    }
  })

  it('moves the cursor behind what is not ASCII only, and on a terminal only', () => {
    const moves = (name: string, width: number | undefined, movesCursor: boolean) =>
      new Table(COLUMNS, width, movesCursor)
        .format([['1', name, '1.00', 'a b']], plain)
        .join()
        .includes('\x1b')
    assert.equal(moves('カ', 80, true), true)
    assert.equal(moves('Lamp', 80, true), false)
    assert.equal(moves('カ', 80, false), false)
    assert.equal(moves('カ', undefined, true), false)
  })

  it('keeps words from right to left in their cells, on a terminal', () => {
    const row = ['1', 'שלום', '12.50', 'מצלמה 35']
    const lines = (width: number | undefined) => new Table(COLUMNS, width).format([row], plain)[1]
    assert.equal(lines(80), '   1  \u200eשלום\u200e  12.50  \u200eמצלמה\u200e 35')
    assert.equal(lines(undefined), '   1  שלום  12.50  מצלמה 35')
    assert.equal(lines(18)?.includes('\u200e'), true)
  })

  it('cuts no character in two, and no more characters than it must', () => {
    const shown = (name: string) => new Table([{ title: 'A', shrinks: true }], 8).format([[name]], plain)[1]
    assert.equal(shown('𠮷𠮷𠮷𠮷𠮷'), '𠮷𠮷𠮷…')
    assert.equal(shown('жук👍👍👍👍'), 'жук👍👍…')
    assert.equal(shown('e\u0301'.repeat(9)), `${'e\u0301'.repeat(7)}…`)
    assert.equal(shown('👩‍👩‍👧'.repeat(5)), '👩‍👩‍👧…')
    assert.equal(shown('🇩🇪'.repeat(5)), '🇩🇪🇩🇪🇩🇪…')
  })

  it('is never wider than the terminal, and keeps later pages in the columns of the first', () => {
    const word = fc.string({ unit: 'grapheme', maxLength: 40 })
    const price = fc.nat({ max: 9_999_999 }).map(String)
    const rows = fc.array(fc.tuple(price, word, price, word), { minLength: 1, maxLength: 5 })
    const fits = (first: string[][], second: string[][], width: number) => {
      const table = new Table(COLUMNS, width)
      const lines = [...table.format(first, plain), ...table.format(second, plain)]
      for (const line of lines) assert.ok(measureWidth(line) <= width, `${measureWidth(line)} > ${width}: ${line}`)
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
