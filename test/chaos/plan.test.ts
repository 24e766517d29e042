/** The plan of a chaos run depends on seed and options alone. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FAULT_NAMES } from './faults.ts'
import { makePlan } from './plan.ts'

describe('the plan of a chaos run', () => {
  it('is the same for the same seed, step by step, and another for another seed', () => {
    const options = { minutes: 30, faults: FAULT_NAMES }
    assert.deepEqual(makePlan({ seed: 42, ...options }), makePlan({ seed: 42, ...options }))
    assert.notDeepEqual(makePlan({ seed: 42, ...options }), makePlan({ seed: 43, ...options }))
  })

  it('has every fault that is asked for, however short it is', () => {
    for (const minutes of [1, 5, 60]) {
      const planned = new Set(makePlan({ seed: 1, minutes, faults: FAULT_NAMES }).map(({ fault }) => fault))
      assert.equal(planned.size, FAULT_NAMES.length)
    }
  })

  it('has only the faults that are asked for, as often as the time allows', () => {
    const short = makePlan({ seed: 1, minutes: 5, faults: ['F1', 'F2'] })
    const long = makePlan({ seed: 1, minutes: 50, faults: ['F1', 'F2'] })
    assert.deepEqual([...new Set(long.map(({ fault }) => fault))].sort(), ['F1', 'F2'])
    assert.ok(long.length >= 8 * short.length)
    for (const { steps } of long) assert.ok(steps.length > 5)
  })

  it('is plain data, which can be printed and read again', () => {
    const plan = makePlan({ seed: 3, minutes: 10, faults: FAULT_NAMES })
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan)
  })
})
