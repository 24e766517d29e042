/** Turns of the loop: the test controls the clock; connections are names, with a number of requests each. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { QUANTUM, ReadingTurns, TURN_MS } from '../../src/server/reading-turns.ts'

/** Serving a request takes `requestMs`. */
function createTestTurns(requests: Record<string, number>, requestMs: number, onServed = (_name: string) => {}) {
  const served: string[] = []
  let nowMs = 0
  const turns: ReadingTurns<string> = new ReadingTurns(
    (name) => {
      for (let count = 0; (requests[name] ?? 0) > 0; count += 1) {
        if (count === QUANTUM || (count > 0 && turns.isOver())) return true
        requests[name] = (requests[name] ?? 0) - 1
        nowMs += requestMs
        served.push(name)
        onServed(name)
      }
      return false
    },
    () => nowMs,
  )
  const ask = (name: string, count: number) => {
    requests[name] = (requests[name] ?? 0) + count
    turns.serve(name)
  }
  const allServed = async () => {
    while (Object.values(requests).some((count) => count > 0)) await new Promise(setImmediate)
  }
  return { turns, served, ask, allServed }
}

describe('a connection', () => {
  it('is served at once', () => {
    const { served, ask } = createTestTurns({}, 0.01)
    ask('a', 3)
    assert.deepEqual(served, ['a', 'a', 'a'])
  })

  it('with more than a quantum has the rest served when the others have had their turn', async () => {
    const { served, ask, allServed } = createTestTurns({}, 0.01)
    ask('a', 3 * QUANTUM)
    ask('b', 2 * QUANTUM)
    ask('c', 1)
    await allServed()
    const order = served.filter((name, index) => name !== served[index - 1])
    assert.deepEqual(order, ['a', 'b', 'c', 'a', 'b', 'a'])
  })

  it('that has sent a little is served before what is left of those that have sent much', async () => {
    const { served, ask, allServed } = createTestTurns({}, TURN_MS / 2)
    for (const name of ['a', 'b', 'c']) ask(name, 20)
    ask('d', 1)
    await allServed()
    assert.ok(served.indexOf('d') <= 9, `after ${served.indexOf('d')} requests`)
  })

  it('with much is served even while others come with a little in every turn', async () => {
    const { served, ask } = createTestTurns({}, 2 * TURN_MS)
    ask('much', 10)
    for (let turn = 0; turn < 10; turn += 1) {
      for (const name of ['a', 'b', 'c', 'd']) ask(name, 1)
      await new Promise(setImmediate)
    }
    assert.ok(served.filter((name) => name === 'much').length >= 5, served.join(' '))
  })

  it('is not served any more once it has left', async () => {
    const { turns, served, ask } = createTestTurns({}, 2 * TURN_MS)
    ask('a', 2)
    turns.leave('a')
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate)
    assert.deepEqual(served, ['a'])
    assert.equal(turns.awaits('a'), false)
  })

  it('has its request sent before the turn after its own', async () => {
    const { served, ask, allServed } = createTestTurns({}, TURN_MS, (name) => {
      if (name === 'seldom') setImmediate(() => served.push('batch')) // as queues send them
    })
    ask('much', 10)
    ask('seldom', 1)
    await allServed()
    assert.deepEqual(served.slice(0, 5), ['much', 'seldom', 'much', 'batch', 'much'])
  })
})
