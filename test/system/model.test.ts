/**
 * Random sequences of all operations, by several users at once, come to what
 * the reference says, call by call and in the database. `npm run model` plays
 * more of them, or those of one seed again.
 */

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { it } from 'node:test'
import { explore } from '../support/model.ts'

const OPERATIONS = 10_000
const SEEDS = 2 ** 30

it('answers and stores what the reference does, whatever is called in whatever order', async (t) => {
  const seed = randomInt(SEEDS)
  const { operations, sequences, failure, neverReached } = await explore({ seed, operations: OPERATIONS })
  t.diagnostic(`seed ${seed}: ${operations} operations in ${sequences} sequences`)
  assert.equal(failure, undefined, failure)
  assert.deepEqual(neverReached, [], 'a model test proves nothing about what it never reaches')
})
