/**
 * The request queue without a database: the batches, the clock and the end of
 * a turn are in the test's hand.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Refused } from '../../src/contract/refusals.ts'
import { createQueue, type QueueOptions } from '../../src/server/queue.ts'

interface Sent {
  batch: readonly string[]
  deadlineMs: number
  answer(answers: readonly string[]): void
  fail(error: unknown): void
}

const NEVER_MS = Number.MAX_SAFE_INTEGER

/** A queue of strings whose batches wait in `sent` until the test answers them. */
function queueInHand(options: Partial<QueueOptions<string, string>> = {}) {
  const sent: Sent[] = []
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
  const ask = (request: string, deadlineMs = NEVER_MS) => settled(queue.ask(request, deadlineMs))
  const batches = () => sent.map(({ batch }) => batch.join(' '))
  return { queue, sent, clock, endTurn, ask, batches }
}

interface Settled {
  promise: Promise<string>
  times: number
}

/** Counts how often a promise's callbacks are called, and leaves no rejection unhandled. */
function settled(promise: Promise<string>): Settled {
  const state: Settled = { promise, times: 0 }
  const count = () => {
    state.times += 1
  }
  promise.then(count, count)
  return state
}

const upper = (batch: readonly string[]) => batch.map((request) => request.toUpperCase())
const answersOf = (asked: readonly Settled[]) => Promise.all(asked.map(({ promise }) => promise))
/** The queue's own clockwork keeps no process alive; whoever waits for it does. */
async function whileAwake(waiting: Promise<unknown>): Promise<void> {
  const awake = setInterval(() => {}, 1_000)
  await waiting.finally(() => clearInterval(awake))
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
  it('sends what one turn asked together, at the end of the turn', async () => {
    const { ask, endTurn, batches, sent } = queueInHand()
    const asked = [ask('a'), ask('b'), ask('c')]
    assert.deepEqual(batches(), [])
    endTurn()
    assert.deepEqual(batches(), ['a b c'])
    sent[0]?.answer(upper(sent[0].batch))
    assert.deepEqual(await answersOf(asked), ['A', 'B', 'C'])
  })

  it('uses the real end of turn unless given another', async () => {
    const batches: string[][] = []
    const queue = createQueue<string, string>({
      ...{ cap: 10, inFlight: 1 },
      run: async (batch) => {
        batches.push([...batch])
        return upper(batch)
      },
    })
    const asked = [queue.ask('a', NEVER_MS), Promise.resolve().then(() => queue.ask('b', NEVER_MS))]
    assert.deepEqual(await Promise.all(asked), ['A', 'B'])
    assert.deepEqual(batches, [['a', 'b']])
  })

  it('gives the batch the latest of its deadlines', () => {
    const { ask, endTurn, sent } = queueInHand()
    ask('a', 500)
    ask('b', 900)
    ask('c', 700)
    endTurn()
    assert.equal(sent[0]?.deadlineMs, 900)
  })

  it('tells a request whose batch has more time at its own deadline, and no earlier', async () => {
    const { ask, endTurn, sent, clock } = queueInHand({ changes: true })
    const early = ask('a', 500)
    const late = ask('b', 5_000)
    endTurn()
    clock.nowMs = 499
    await new Promise((resolve) => setTimeout(resolve, 250))
    assert.deepEqual([early.times, late.times], [0, 0])
    clock.nowMs = 1_000
    await new Promise((resolve) => setTimeout(resolve, 250)) // the sweep keeps no process alive
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
  it('gathers, and sends the next batch before the answers of the last are handed out', async () => {
    const order: string[] = []
    const { queue, endTurn, sent } = queueInHand()
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

  it('sends a batch beside another only when it is as large', async () => {
    const { ask, endTurn, batches, sent } = queueInHand({ inFlight: 2 })
    for (const request of ['a', 'b', 'c']) ask(request)
    endTurn()
    for (const request of ['d', 'e']) ask(request)
    endTurn()
    assert.deepEqual(batches(), ['a b c'])
    ask('f')
    endTurn()
    assert.deepEqual(batches(), ['a b c', 'd e f'])
    ask('g')
    sent[0]?.answer(upper(sent[0].batch))
    await microtasks()
    assert.deepEqual(batches(), ['a b c', 'd e f', 'g'], 'a place that became free is taken at once')
  })

  it('has no more batches under way than allowed', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ cap: 1, inFlight: 2 })
    for (const request of ['a', 'b', 'c', 'd']) ask(request)
    endTurn()
    assert.deepEqual(batches(), ['a', 'b'])
    sent[1]?.answer(['B'])
    await microtasks()
    assert.deepEqual(batches(), ['a', 'b', 'c'])
  })

  it('sends what is asked while it has room, though a batch is under way', () => {
    const { ask, endTurn, batches } = queueInHand({ inFlight: 2 })
    ask('a')
    endTurn()
    ask('b')
    endTurn()
    assert.deepEqual(batches(), ['a', 'b'])
  })

  it('fills batches up to the cap, in weight', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ cap: 4, weigh: (request) => request.length })
    for (const request of ['aa', 'bb', 'c', 'dddd', 'e']) ask(request)
    endTurn()
    for (let next = 0; next < 4; next += 1) {
      sent[next]?.answer(upper(sent[next]?.batch ?? []))
      await microtasks()
    }
    assert.deepEqual(batches(), ['aa bb', 'c', 'dddd', 'e'])
  })

  it('sends a request heavier than the cap alone', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ cap: 2, weigh: (request) => request.length })
    for (const request of ['a', 'bbbbb', 'c', 'd']) ask(request)
    endTurn()
    for (const next of [0, 1]) {
      sent[next]?.answer(upper(sent[next]?.batch ?? []))
      await microtasks()
    }
    assert.deepEqual(batches(), ['a', 'bbbbb', 'c d'])
  })
})

describe('a full queue', () => {
  it('refuses at once what goes beyond its bound in weight', async () => {
    const { ask, endTurn, queue } = queueInHand({ bound: 5, weigh: (request) => request.length })
    ask('aaa')
    ask('bb')
    await assert.rejects(ask('c').promise, refusedAs('overloaded', { retry_after_ms: 100 }))
    assert.equal(queue.waiting, 2)
    endTurn()
    assert.equal(queue.waiting, 0)
    ask('ccccc')
    assert.equal(queue.waiting, 1)
  })

  it('refuses at once when the oldest has waited more than a second, and takes more when that has left', async () => {
    const { ask, endTurn, clock, sent, queue } = queueInHand()
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

describe('a deadline', () => {
  it('that passes while a request waits is answered timeout with outcome none, and the request is never sent', async () => {
    const { ask, endTurn, clock, sent, batches } = queueInHand()
    ask('a')
    endTurn()
    const late = ask('b', 300)
    const patient = ask('c', 9_000)
    clock.nowMs = 300
    await whileAwake(assert.rejects(late.promise, refusedAs('timeout', { outcome: 'none' })))
    sent[0]?.answer(['A'])
    await microtasks()
    assert.deepEqual(batches(), ['a', 'c'])
    sent[1]?.answer(['C'])
    assert.equal(await patient.promise, 'C')
    assert.equal(late.times, 1)
  })

  it('gives back the weight of what it takes back', async () => {
    const { ask, endTurn, clock, queue } = queueInHand({ bound: 1 })
    ask('a')
    endTurn()
    const late = ask('b', 300)
    clock.nowMs = 300
    await whileAwake(assert.rejects(late.promise))
    ask('c')
    assert.equal(queue.waiting, 1)
  })
})

describe('a batch that fails', () => {
  const fault = new Error('the statement is at fault')

  it('rejects all its requests, and the queue goes on', async () => {
    const { ask, endTurn, sent } = queueInHand()
    const asked = [ask('a'), ask('b')]
    endTurn()
    const next = ask('c')
    sent[0]?.fail(fault)
    for (const { promise } of asked) await assert.rejects(promise, fault)
    sent[1]?.answer(['C'])
    assert.equal(await next.promise, 'C')
  })

  it('is run singly, once, when the error asks for that', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ alone: (error) => error === fault })
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

  it('keeps its place under way while it is run singly', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ alone: () => true })
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

  it('is not run singly for other errors', async () => {
    const { ask, endTurn, sent, batches } = queueInHand({ alone: (error) => error !== fault })
    const asked = [ask('a'), ask('b')]
    endTurn()
    sent[0]?.fail(fault)
    for (const { promise } of asked) await assert.rejects(promise, fault)
    assert.deepEqual(batches(), ['a b'])
  })

  it('may fail without a promise', async () => {
    const queue = createQueue<string, string>({
      ...{ cap: 1, inFlight: 1 },
      run: () => {
        throw fault
      },
    })
    await assert.rejects(queue.ask('a', NEVER_MS), fault)
    await assert.rejects(queue.ask('b', NEVER_MS), fault)
  })
})

describe('answers', () => {
  for (const answers of [[], ['A'], ['A', 'B', 'C']]) {
    it(`are counted: ${answers.length} to 2 requests reject both`, async () => {
      const { ask, endTurn, sent } = queueInHand()
      const asked = [ask('a'), ask('b')]
      endTurn()
      sent[0]?.answer(answers)
      for (const { promise } of asked) await assert.rejects(promise, /answers to 2 requests/)
    })
  }
})

describe('drained()', () => {
  it('resolves at once when nothing is to be done', async () => {
    await queueInHand().queue.drained()
  })

  it('resolves when nothing waits and nothing is under way', async () => {
    const { queue, ask, endTurn, sent } = queueInHand()
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

  it('resolves when the last that waited ran out of time', async () => {
    const { queue, ask, clock } = queueInHand()
    const late = ask('a', 10)
    const draining = queue.drained()
    clock.nowMs = 10
    await whileAwake(assert.rejects(late.promise))
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

  it('settles each waiter once, with its own answer, within its limits, in order of arrival', async () => {
    const property = fc.asyncProperty(shape, fc.array(step, { maxLength: 60 }), async (limits, steps) => {
      const weigh = (request: string) => Number(request.split(' ')[1])
      const { queue, sent, ask, endTurn } = queueInHand({ ...limits, weigh, alone: (error) => error === 'alone' })
      const asked: { request: string; settled: Settled }[] = []
      const done = new Set<Sent>()
      const open = () => sent.filter((one) => !done.has(one))
      const pick = (which: number) => open()[which % Math.max(1, open().length)]
      const finish = (one: Sent | undefined, how: (one: Sent) => void) => {
        if (one === undefined) return
        done.add(one)
        how(one)
      }
      const check = () => {
        assert.ok(open().length <= limits.inFlight, 'more batches are under way than allowed')
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
        else if (one.do === 'answer') finish(pick(one.which), ({ batch, answer }) => answer(upper(batch)))
        else if (one.do === 'fail') finish(pick(one.which), ({ fail }) => fail(one.alone ? 'alone' : 'failed'))
        else finish(pick(one.which), ({ batch, answer }) => answer(['too', ...batch]))
        await microtasks()
        check()
      }
      while (queue.waiting > 0 || open().length > 0) {
        endTurn()
        for (const one of open()) finish(one, ({ batch, answer }) => answer(upper(batch)))
        await microtasks()
      }
      await queue.drained()
      for (const {
        request,
        settled: { promise, times },
      } of asked) {
        assert.equal(times, 1)
        const outcome = await promise.catch(() => 'refused or failed')
        assert.ok(outcome === request || outcome === 'refused or failed', 'an answer went to another request')
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
