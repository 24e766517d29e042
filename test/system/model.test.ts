/**
 * Random sequences of all operations, from several users at once, get the
 * answers of the reference and leave its rows. `npm run model` runs more of
 * them, or those of one seed again.
 */

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { describe, it } from 'node:test'
import { explore } from '../support/model.ts'

const OPERATIONS = 10_000
const SEEDS = 2 ** 30

describe('a marketplace', () => {
  it('answers and stores the same as the reference for random sequences of calls', async (test) => {
    const seed = randomInt(SEEDS)
    const { operations, sequences, failure, neverReached } = await explore({ seed, operations: OPERATIONS })
    test.diagnostic(`seed ${seed}: ${operations} operations in ${sequences} sequences`)
    assert.equal(failure, undefined, failure)
    assert.deepEqual(neverReached, [], 'some possible answers were never reached')
  })
})
