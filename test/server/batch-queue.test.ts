/**
 * The queue without a database: the test controls the batches, the clock and the
 * end of a turn.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Refused } from '../../src/contract/refusals.ts'
import { createQueue, type QueueOptions } from '../../src/server/batch-queue.ts'

interface SentBatch {
  batch: readonly string[]
  deadlineMs: number
  answer(answers: readonly string[]): void
  fail(error: unknown): void
}

const NEVER_MS = Number.MAX_SAFE_INTEGER

/** A queue of strings. Its batches collect in `sent` until the test answers them. */
function createTestQueue(options: Partial<QueueOptions<string, string>> = {}) {
  const sent: SentBatch[] = []
  const clock = { nowMs: 0 }
  let atEndOfTurn: (() => void)[] = []
  const queue = createQueue<string, string>({
    cap: 100,
    inFlight: 1,
    run: (batch, deadlineMs) => new Promise((answer, fail) => sent.push({ batch, deadlineMs, answer, fail })),
    endOfTurn: (go) => atEndOfTurn.push(go),
    now: () => clock.nowMs,
    ...options,
  })
  function endTurn(): void {
    const due = atEndOfTurn
    atEndOfTurn = []
    for (const go of due) go()
  }
  const ask = (request: string, deadlineMs = NEVER_MS) => countSettlements(queue.ask(request, deadlineMs))
  const batches = () => sent.map(({ batch }) => batch.join(' '))
  return { queue, sent, clock, endTurn, ask, batches }
}

interface Settled {
  promise: Promise<string>
  times: number
}

/** Counts how often a promise's callbacks are called, and leaves no rejection unhandled. */
function countSettlements(promise: Promise<string>): Settled {
  const settled: Settled = { promise, times: 0 }
  const count = () => {
    settled.times += 1
  }
  promise.then(count, count)
  return settled
}

const toUpper = (batch: readonly string[]) => batch.map((request) => request.toUpperCase())
const all = (asked: readonly Settled[]) => Promise.all(asked.map(({ promise }) => promise))
/** Keeps the process alive until the promise settles: the queue's own timer does not. */
async function keepAlive(pending: Promise<unknown>): Promise<void> {
  const timer = setInterval(() => {}, 1_000)
  await pending.finally(() => clearInterval(timer))
}
const microtasks = () => new Promise((resolve) => setImmediate(resolve))

function refusedAs(code: string, details: object) {
  return (error: unknown) => {
    assert.ok(error instanceof Refused)
    assert.equal(error.refusal.code, code)
    assert.deepEqual(error.refusal.details, details)
    return true
  }
}

describe('an idle queue', () => {
  it('sends everything that was asked in one turn as one batch, at the end of the turn', async () => {
    const { ask, endTurn, batches, sent } = createTestQueue()
    const asked = [ask('a'), ask('b'), ask('c')]
    assert.deepEqual(batches(), [])
    endTurn()
    assert.deepEqual(batches(), ['a b c'])
    sent[0]?.answer(toUpper(sent[0].batch))
    assert.deepEqual(await all(asked), ['A', 'B', 'C'])
  })

  it('uses the real end of the turn by default', async () => {
    const batches: string[][] = []
    const queue = createQueue<string, string>({
      cap: 10,
      inFlight: 1,
      run: async (batch) => {
        batches.push([...batch])
        return toUpper(batch)
      },
    })
    const asked = [queue.ask('a', NEVER_MS), Promise.resolve().then(() => queue.ask('b', NEVER_MS))]
    assert.deepEqual(await Promise.all(asked), ['A', 'B'])
    assert.deepEqual(batches, [['a', 'b']])
  })

  it('gives a batch the latest deadline of its requests', () => {
    const { ask, endTurn, sent } = createTestQueue()
    ask('a', 500)
    ask('b', 900)
    ask('c', 700)
    endTurn()
    assert.equal(sent[0]?.deadlineMs, 900)
  })

  it('refuses a request at its own deadline and no earlier when its batch has more time', async () => {
    const { ask, endTurn, sent, clock } = createTestQueue({ changes: true })
    const early = ask('a', 500)
    const late = ask('b', 5_000)
    endTurn()
    clock.nowMs = 499
    await new Promise((resolve) => setTimeout(resolve, 250))
    assert.deepEqual([early.times, late.times], [0, 0])
    clock.nowMs = 1_000
    await new Promise((resolve) => setTimeout(resolve, 250)) // the queue's timer keeps no process alive
    await assert.rejects(early.promise, (error) => {
      assert.ok(error instanceof Refused)
      assert.deepEqual([error.refusal.code, error.refusal.details], ['timeout', { outcome: 'unknown' }])
      return true
    })
    assert.equal(late.times, 0)
    sent[0]?.answer(['A', 'B'])
    assert.equal(await late.promise, 'B')
    assert.deepEqual([early.times, late.times], [1, 1])
  })
})

describe('a busy queue', () => {
  it('gathers requests, and sends the next batch before it hands out the answers of the last', async () => {
    const order: string[] = []
    const { queue, endTurn, sent } = createTestQueue()
    queue.ask('a', NEVER_MS).then(() => order.push(`a answered after ${sent.length} batches`))
    endTurn()
    queue.ask('b', NEVER_MS)
    queue.ask('c', NEVER_MS)
    endTurn()
    assert.equal(sent.length, 1)
    assert.equal(queue.waiting, 2)
    sent[0]?.answer(['A'])
    await microtasks()
    assert.deepEqual(sent[1]?.batch, ['b', 'c'])
    assert.deepEqual(order, ['a answered after 2 batches'])
  })

  it('sends a second batch beside the first only when it is as large', async () => {
    const { ask, endTurn, batches, sent } = createTestQueue({ inFlight: 2 })
    for (const request of ['a', 'b', 'c']) ask(request)
    endTurn()
    for (const request of ['d', 'e']) ask(request)
    endTurn()
    assert.deepEqual(batches(), ['a b c'])
    ask('f')
    endTurn()
    assert.deepEqual(batches(), ['a b c', 'd e f'])
    ask('g')
    sent[0]?.answer(toUpper(sent[0].batch))
    await microtasks()
    assert.deepEqual(batches(), ['a b c', 'd e f', 'g'], 'the free place was not taken at once')
  })

  it('has no more batches in flight than allowed', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ cap: 1, inFlight: 2 })
    for (const request of ['a', 'b', 'c', 'd']) ask(request)
    endTurn()
    assert.deepEqual(batches(), ['a', 'b'])
    sent[1]?.answer(['B'])
    await microtasks()
    assert.deepEqual(batches(), ['a', 'b', 'c'])
  })

  it('sends a request while another batch is in flight, if a place is free', () => {
    const { ask, endTurn, batches } = createTestQueue({ inFlight: 2 })
    ask('a')
    endTurn()
    ask('b')
    endTurn()
    assert.deepEqual(batches(), ['a', 'b'])
  })

  it('fills batches up to the cap by weight', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ cap: 4, weigh: (request) => request.length })
    for (const request of ['aa', 'bb', 'c', 'dddd', 'e']) ask(request)
    endTurn()
    for (let next = 0; next < 4; next += 1) {
      sent[next]?.answer(toUpper(sent[next]?.batch ?? []))
      await microtasks()
    }
    assert.deepEqual(batches(), ['aa bb', 'c', 'dddd', 'e'])
  })

  it('sends a request that is heavier than the cap in a batch of its own', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ cap: 2, weigh: (request) => request.length })
    for (const request of ['a', 'bbbbb', 'c', 'd']) ask(request)
    endTurn()
    for (const next of [0, 1]) {
      sent[next]?.answer(toUpper(sent[next]?.batch ?? []))
      await microtasks()
    }
    assert.deepEqual(batches(), ['a', 'bbbbb', 'c d'])
  })

  it('takes the requests of senders in turns when not all fit, and those of each in their order', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ cap: 3, sender: (request) => request[0] })
    const asked = ['a1', 'a2', 'a3', 'a4', 'a5', 'b1', 'c1', 'b2'].map((request) => ask(request))
    endTurn()
    for (let answered = 0; answered < 3; answered += 1) {
      sent[answered]?.answer(toUpper(sent[answered]?.batch ?? []))
      await new Promise(setImmediate)
    }
    assert.deepEqual(batches(), ['a1 b1 c1', 'a2 b2 a3', 'a4 a5'])
    assert.deepEqual(await all(asked), ['A1', 'A2', 'A3', 'A4', 'A5', 'B1', 'C1', 'B2'])
  })

  it('counts a heavy request of a sender as many turns', () => {
    const options = { cap: 4, sender: (request: string) => request[0], weigh: (request: string) => request.length }
    const { ask, endTurn, batches } = createTestQueue({ ...options, inFlight: 2 })
    for (const request of ['aaaa', 'aaab', 'b', 'b']) ask(request)
    endTurn()
    assert.deepEqual(batches(), ['aaaa', 'b b'])
  })
})

describe('a full queue', () => {
  it('refuses a request at once if it exceeds the bound by weight', async () => {
    const { ask, endTurn, queue } = createTestQueue({ bound: 5, weigh: (request) => request.length })
    ask('aaa')
    ask('bb')
    await assert.rejects(ask('c').promise, refusedAs('overloaded', { retry_after_ms: 100 }))
    assert.equal(queue.waiting, 2)
    endTurn()
    assert.equal(queue.waiting, 0)
    ask('ccccc')
    assert.equal(queue.waiting, 1)
  })

  it('refuses requests while the oldest has waited more than a second, and accepts them again when it has left', async () => {
    const { ask, endTurn, clock, sent, queue } = createTestQueue()
    ask('a')
    endTurn()
    ask('b')
    clock.nowMs = 1_000
    ask('c')
    assert.equal(queue.waiting, 2)
    clock.nowMs = 1_500
    await assert.rejects(ask('d').promise, refusedAs('overloaded', { retry_after_ms: 1_500 }))
    sent[0]?.answer(['A'])
    await microtasks()
    ask('e')
    assert.equal(queue.waiting, 1)
  })
})

describe('a request that is still waiting at its deadline', () => {
  it('is refused as timeout with the outcome none, and is never sent', async () => {
    const { ask, endTurn, clock, sent, batches } = createTestQueue()
    ask('a')
    endTurn()
    const late = ask('b', 300)
    const patient = ask('c', 9_000)
    clock.nowMs = 300
    await keepAlive(assert.rejects(late.promise, refusedAs('timeout', { outcome: 'none' })))
    sent[0]?.answer(['A'])
    await microtasks()
    assert.deepEqual(batches(), ['a', 'c'])
    sent[1]?.answer(['C'])
    assert.equal(await patient.promise, 'C')
    assert.equal(late.times, 1)
  })

  it('gives its weight back to the queue', async () => {
    const { ask, endTurn, clock, queue } = createTestQueue({ bound: 1 })
    ask('a')
    endTurn()
    const late = ask('b', 300)
    clock.nowMs = 300
    await keepAlive(assert.rejects(late.promise))
    ask('c')
    assert.equal(queue.waiting, 1)
  })
})

describe('a batch that fails', () => {
  const fault = new Error('the statement is at fault')

  it('has all its requests rejected, and the queue goes on', async () => {
    const { ask, endTurn, sent } = createTestQueue()
    const asked = [ask('a'), ask('b')]
    endTurn()
    const next = ask('c')
    sent[0]?.fail(fault)
    for (const { promise } of asked) await assert.rejects(promise, fault)
    sent[1]?.answer(['C'])
    assert.equal(await next.promise, 'C')
  })

  it('is run again, once, one request at a time, if the error calls for it', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ alone: (error) => error === fault })
    const asked = [ask('a'), ask('poison'), ask('c')]
    endTurn()
    sent[0]?.fail(fault)
    await microtasks()
    sent[1]?.answer(['A'])
    await microtasks()
    sent[2]?.fail(fault)
    await microtasks()
    sent[3]?.answer(['C'])
    assert.equal(await asked[0]?.promise, 'A')
    await assert.rejects(asked[1]?.promise as Promise<string>, fault)
    assert.equal(await asked[2]?.promise, 'C')
    assert.deepEqual(batches(), ['a poison c', 'a', 'poison', 'c'])
  })

  it('keeps its place in flight while its requests are run one at a time', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ alone: () => true })
    ask('a')
    ask('b')
    endTurn()
    ask('c')
    sent[0]?.fail(fault)
    await microtasks()
    sent[1]?.answer(['A'])
    await microtasks()
    assert.deepEqual(batches(), ['a b', 'a', 'b'])
  })

  it('is not run again for other errors', async () => {
    const { ask, endTurn, sent, batches } = createTestQueue({ alone: (error) => error !== fault })
    const asked = [ask('a'), ask('b')]
    endTurn()
    sent[0]?.fail(fault)
    for (const { promise } of asked) await assert.rejects(promise, fault)
    assert.deepEqual(batches(), ['a b'])
  })

  it('has its requests rejected also if the function throws instead of returning a promise', async () => {
    const queue = createQueue<string, string>({
      cap: 1,
      inFlight: 1,
      run: () => {
        throw fault
      },
    })
    await assert.rejects(queue.ask('a', NEVER_MS), fault)
    await assert.rejects(queue.ask('b', NEVER_MS), fault)
  })
})

describe('a batch of 2 requests', () => {
  for (const answers of [[], ['A'], ['A', 'B', 'C']]) {
    it(`has both rejected if it gets ${answers.length} answers`, async () => {
      const { ask, endTurn, sent } = createTestQueue()
      const asked = [ask('a'), ask('b')]
      endTurn()
      sent[0]?.answer(answers)
      for (const { promise } of asked) await assert.rejects(promise, /answers to 2 requests/)
    })
  }
})

describe('drained()', () => {
  it('resolves at once when the queue is idle', async () => {
    await createTestQueue().queue.drained()
  })

  it('resolves when no request is waiting and no batch is in flight', async () => {
    const { queue, ask, endTurn, sent } = createTestQueue()
    let drained = false
    ask('a')
    endTurn()
    ask('b')
    const draining = queue.drained().then(() => {
      drained = true
    })
    sent[0]?.answer(['A'])
    await microtasks()
    assert.equal(drained, false)
    sent[1]?.answer(['B'])
    await draining
  })

  it('resolves when the last waiting request reaches its deadline', async () => {
    const { queue, ask, clock } = createTestQueue()
    const late = ask('a', 10)
    const draining = queue.drained()
    clock.nowMs = 10
    await keepAlive(assert.rejects(late.promise))
    await draining
  })
})

describe('any queue', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('ask' as const), weight: fc.integer({ min: 1, max: 6 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('end the turn' as const) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), which: fc.nat(), alone: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('miscount' as const), which: fc.nat() }) },
  )
  const shape = fc.record({
    cap: fc.integer({ min: 1, max: 8 }),
    inFlight: fc.integer({ min: 1, max: 3 }),
    bound: fc.integer({ min: 1, max: 20 }),
  })

  it('settles each request once, with its own answer, within its limits and in order of arrival', async () => {
    const property = fc.asyncProperty(shape, fc.array(step, { maxLength: 60 }), async (limits, steps) => {
      const weigh = (request: string) => Number(request.split(' ')[1])
      const { queue, sent, ask, endTurn } = createTestQueue({ ...limits, weigh, alone: (error) => error === 'alone' })
      const asked: { request: string; settled: Settled }[] = []
      const done = new Set<SentBatch>()
      const open = () => sent.filter((one) => !done.has(one))
      const pick = (which: number) => open()[which % Math.max(1, open().length)]
      const finish = (one: SentBatch | undefined, how: (one: SentBatch) => void) => {
        if (one === undefined) return
        done.add(one)
        how(one)
      }
      const check = () => {
        assert.ok(open().length <= limits.inFlight, 'more batches are in flight than allowed')
        for (const { batch } of sent) {
          const weight = batch.reduce((sum, request) => sum + weigh(request), 0)
          assert.ok(weight <= limits.cap || batch.length === 1, 'a batch is heavier than its cap')
        }
      }
      for (const one of steps) {
        if (one.do === 'ask') {
          const request = `${asked.length} ${one.weight}`
          asked.push({ request, settled: ask(request) })
        } else if (one.do === 'end the turn') endTurn()
        else if (one.do === 'answer') finish(pick(one.which), ({ batch, answer }) => answer(toUpper(batch)))
        else if (one.do === 'fail') finish(pick(one.which), ({ fail }) => fail(one.alone ? 'alone' : 'failed'))
        else finish(pick(one.which), ({ batch, answer }) => answer(['too', ...batch]))
        await microtasks()
        check()
      }
      while (queue.waiting > 0 || open().length > 0) {
        endTurn()
        for (const one of open()) finish(one, ({ batch, answer }) => answer(toUpper(batch)))
        await microtasks()
      }
      await queue.drained()
      for (const {
        request,
        settled: { promise, times },
      } of asked) {
        assert.equal(times, 1)
        const answer = await promise.catch(() => 'refused or failed')
        assert.ok(answer === request || answer === 'refused or failed', 'an answer went to another request')
      }
      const firstSent = [...new Set(sent.flatMap(({ batch }) => batch))].map((request) => Number(request.split(' ')[0]))
      assert.deepEqual(
        firstSent,
        firstSent.toSorted((one, other) => one - other),
      )
    })
    await fc.assert(property, { numRuns: 300 })
  })
})
