/** Words as values: which words are numbers, hosts and folders. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decimalNumber, describeValue, FOLDER, HOST, wholeNumber } from '../../src/process/values.ts'

const NO_NUMBERS = ['', ' ', '  7', '7 ', '\t7', '0x10', '1e3', '1_000', '1,000', 'Infinity', 'NaN', '٣', '--5', 'x']

describe('a whole number', () => {
  it('is decimal digits within its bounds', () => {
    const port = wholeNumber(0, 65_535)
    for (const [word, value] of Object.entries({ 0: 0, 65535: 65_535, '07101': 7_101 }))
      assert.equal(port.parse(word), value)
    for (const word of [...NO_NUMBERS, '-0', '+1', '-1', '1.0', '65536', '9'.repeat(400)]) {
      const { error } = port.safeParse(word)
      assert.deepEqual(
        error?.issues.map(({ message }) => message),
        ['must be a whole number from 0 to 65535'],
        word,
      )
    }
  })

  it('has a sign only where it may be negative', () => {
    const change = wholeNumber(-5, 5)
    assert.deepEqual(
      ['-5', '+5', '5'].map((word) => change.parse(word)),
      [-5, 5, 5],
    )
    for (const word of ['-6', '+6', '+', '-', '+-1', '1-']) assert.equal(change.safeParse(word).success, false, word)
  })
})

describe('a number', () => {
  it('may have a fraction', () => {
    const seconds = decimalNumber(0.5, 10)
    assert.deepEqual(
      ['0.5', '2.50', '10', '010'].map((word) => seconds.parse(word)),
      [0.5, 2.5, 10, 10],
    )
    for (const word of [...NO_NUMBERS, '.5', '1.', '1.2.3', '+1', '0.49', '10.01']) {
      assert.equal(seconds.safeParse(word).error?.issues[0]?.message, 'must be a number from 0.5 to 10', word)
    }
  })

  it('is shown in help with its bounds, also if it has a default or may be left out', () => {
    const words = { value: 'n', bounds: '1 to 9' }
    for (const schema of [wholeNumber(1, 9), wholeNumber(1, 9).default(3), wholeNumber(1, 9).optional()])
      assert.deepEqual(describeValue(schema), words)
  })
})

describe('a host and a folder', () => {
  it('are not empty, and a host is no URL', () => {
    for (const host of ['127.0.0.1', '::1', 'fe80::1%eth0', 'db1.example.org', 'bücher.example', '0123'])
      assert.equal(HOST.parse(host), host)
    for (const host of ['', ' ', 'a b', 'http://a', 'me@host', 'a\n'])
      assert.equal(HOST.safeParse(host).success, false, host)
    for (const folder of ['0123', '1e3', ' x', '.']) assert.equal(FOLDER.parse(folder), folder)
    for (const folder of ['', ' ', '\t']) assert.equal(FOLDER.safeParse(folder).success, false)
  })
})
