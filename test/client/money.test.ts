/** Amounts of money: what people type becomes exact cents, or is refused. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { formatAmount, parseAmount } from '../../src/client/money.ts'

const MOST_CENTS = 1_000_000_000
/** Of a full cart. */
const MOST_TOTAL_CENTS = 10 ** 15
const cents = fc.oneof(
  fc.integer({ min: 0, max: MOST_CENTS }),
  fc.maxSafeNat().map((some) => some % MOST_TOTAL_CENTS),
)

describe('an amount', () => {
  it('has two decimals, and parses to the same cents', () => {
    const same = (some: number) => {
      assert.match(formatAmount(some), /^\d+\.\d\d$/)
      assert.equal(parseAmount(formatAmount(some)), some)
    }
    fc.assert(fc.property(cents, same), {
      examples: [[0], [1], [9], [10], [99], [100], [24_990], [MOST_CENTS], [MOST_TOTAL_CENTS]],
    })
  })

  it('parses to exact cents with no, one or two decimals', () => {
    const whole = fc.nat({ max: MOST_CENTS / 100 })
    const read = (units: number, decimals: number) => {
      assert.equal(parseAmount(String(units)), units * 100)
      assert.equal(parseAmount(`${units}.${decimals}`), units * 100 + decimals * 10)
      assert.equal(parseAmount(`${units}.0${decimals}`), units * 100 + decimals)
    }
    fc.assert(fc.property(whole, fc.nat({ max: 9 }), read))
  })

  it('is refused when written in any other way', () => {
    const others = ['', ' ', '-1', '+1', '.5', '5.', '1.999', '249,90', '1e3', '0x10', '1_000', '1 000', '1.5 ', '٣']
    for (const other of [...others, 'Infinity', 'NaN', '1\n', '99999999999999'])
      assert.equal(parseAmount(other), undefined)
  })
})
