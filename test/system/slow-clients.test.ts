/** Short runs of the faults F8 and F9: clients that read nothing, and clients that never end a line. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { type AttackOptions, type AttackReport, attackBySlowReaders } from './slow-readers.ts'
import { attackBySlowloris } from './slowloris.ts'

const SEED = Number(process.env.SOUK_TEST_SEED ?? Date.now() % 1_000_000)

async function assertHeld(
  test: TestContext,
  attack: (options: AttackOptions) => Promise<AttackReport>,
  size: Omit<AttackOptions, 'seed'>,
): Promise<void> {
  const { problems, figures } = await attack({ seed: SEED, ...size })
  test.diagnostic(JSON.stringify({ seed: SEED, ...figures }))
  assert.deepEqual(problems, [])
}

describe('a server', { skip: process.platform !== 'linux' }, () => {
  it('disconnects clients that read nothing, and holds no more than its bound for them', (test) =>
    assertHeld(test, attackBySlowReaders, { clients: 60, seconds: 20 }))

  it('disconnects clients that never end a line', (test) =>
    assertHeld(test, attackBySlowloris, { clients: 200, seconds: 16 }))
})
