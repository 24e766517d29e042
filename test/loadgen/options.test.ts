/** The options of souk-load: what the help says of them, and what becomes of what is typed. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkOptions, checkPart, describeOptions, RUN_OPTIONS, STUDY_OPTIONS } from '../../src/loadgen/options.ts'

describe('an option of souk-load', () => {
  test('is in the help with its default', () => {
    const help = describeOptions({ ...RUN_OPTIONS, ...STUDY_OPTIONS }).map(({ typed, about }) => `${typed}  ${about}`)
    assert.ok(help.includes('--runs <n>  number of runs (3)'), help.join('\n'))
    assert.ok(help.some((line) => /^--full {2}.*[^)]$/.test(line)))
    assert.ok(help.some((line) => /^--scenario <name> {2}one of get_seller_rating, .* \(all\)$/.test(line)))
  })

  test('has its default unless it is typed, and is a number if it counts something', () => {
    const { clients, runs, calls } = checkOptions(RUN_OPTIONS, { clients: '7' })
    assert.deepEqual([clients, runs, calls], [7, 3, undefined])
  })
})

describe('the part of a study', () => {
  test('is the replication by default, and by its old name', () => {
    assert.deepEqual([undefined, 'replication', 'report', 'market'].map(checkPart), [
      'replication',
      'replication',
      'replication',
      'market',
    ])
  })
})
