/** A short run of npm run fuzz. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { operations, ROLES } from '../../src/contract/operations.ts'
import { seeded } from '../../src/loadgen/random.ts'
import { drawBatch } from './batches.ts'
import { escapeBytes, fuzz } from './run.ts'

const LINES = 4_000
/** Called seldom: they hash a password each, or end the session. */
const RARE = ['login', 'create_account', 'change_password', 'logout']

describe('servers that are sent lines by no good client', () => {
  it('live, answer each request as the contract says, log nothing, and serve others meanwhile', async (test) => {
    const seed = Date.now() % 1_000_000
    test.diagnostic(`seed ${seed}`)
    const { failure, answers } = await fuzz({ seed, lines: LINES })
    assert.equal(failure && `${failure.at}: ${failure.what}\n${escapeBytes(failure.bytes ?? Buffer.of())}`, undefined)
    const names = ROLES.flatMap((role) => Object.keys(operations[role]))
    const reached = new Set([...answers.keys()].map((answer) => answer.split(' ')[0]))
    const unreached = names.filter((name) => !reached.has(name) && !RARE.includes(name))
    assert.deepEqual(unreached, [], 'operations that were never called')
    const results = [...answers].filter(([answer]) => answer.endsWith(' result'))
    assert.ok(results.reduce((sum, [, times]) => sum + times, 0) > LINES / 10, 'few calls were carried out')
    for (const code of ['parse_error', 'invalid_request', 'invalid_params', 'unknown_method'])
      assert.ok(answers.has(code), code)
  })

  it('get the same bytes from the same seed', () => {
    const world = { sessions: ['a'], foreignSessions: ['b'], username: 'ann', items: [1] }
    const draw = (seed: number) => drawBatch('buyer', seeded(seed), world)
    for (let seed = 0; seed < 20; seed += 1) assert.deepEqual(draw(seed), draw(seed))
    assert.notDeepEqual(draw(1), draw(2))
  })
})
