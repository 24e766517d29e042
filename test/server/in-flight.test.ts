/** What connections may have in flight, without sockets. The clock of the periods is the test's. */

import assert from 'node:assert/strict'
import { describe, it, mock } from 'node:test'
import { InFlight, type Part } from '../../src/server/in-flight.ts'

const LIMIT = 256

function createTest() {
  const roomy: Part[] = []
  const inFlight = new InFlight<Part>(LIMIT, (part) => roomy.push(part))
  const connect = (): Part => ({ inFlight: 0, moving: 0, recent: 0 })
  /** Begins requests as long as there is room. */
  const fill = (part: Part) => {
    const ends: (() => void)[] = []
    while (inFlight.hasRoom(part)) ends.push(inFlight.begin(part, 1))
    return ends
  }
  return { inFlight, connect, fill, roomy }
}

describe('a connection', () => {
  it('alone may have as many requests in flight as the limit says', () => {
    const { inFlight, connect, fill } = createTest()
    const one = connect()
    const ends = fill(one)
    assert.equal(ends.length, LIMIT)
    ends[0]?.()
    assert.equal(inFlight.hasRoom(one), true)
    inFlight.close()
  })

  it('may begin one request however many others have, and as many as each of them later', () => {
    const { inFlight, connect, fill } = createTest()
    const others = Array.from({ length: 8 }, connect)
    const ends = others.map(fill)
    const late = connect()
    assert.equal(inFlight.hasRoom(late), true)
    const own = fill(late)
    assert.ok(own.length >= 512 / 9 - 1 && own.length <= 512 / 8 + 1, `${own.length} requests`)
    for (const end of ends.flat()) end()
    assert.equal(own.length + fill(late).length, LIMIT)
    inFlight.close()
  })

  it('has one request in flight, if there are more connections than parts', () => {
    const { inFlight, connect, fill } = createTest()
    const many = Array.from({ length: 2_000 }, connect)
    for (const one of many) if (inFlight.hasRoom(one)) inFlight.begin(one, 1)
    const counts = new Set(many.slice(1_000).map((one) => one.inFlight))
    assert.deepEqual([...counts], [1])
    assert.equal(fill(many[1_999] as Part).length, 0)
    inFlight.close()
  })

  it('is not kept back by requests of others that don’t move, nor by its own', () => {
    mock.timers.enable({ apis: ['setInterval'] })
    try {
      const { inFlight, connect, fill, roomy } = createTest()
      const blocked = Array.from({ length: 600 }, connect)
      const ends = blocked.map((one) => inFlight.begin(one, 1))
      const [one, other] = [blocked[0] as Part, connect()]
      assert.equal(inFlight.hasRoom(one), false)
      mock.timers.tick(1_000)
      assert.ok(roomy.includes(one))
      assert.equal(fill(one).length, LIMIT - 1)
      assert.ok(fill(other).length >= LIMIT / 2)
      for (const end of ends) end()
      assert.equal(one.inFlight, LIMIT - 1)
      assert.equal(one.moving, LIMIT - 1)
      inFlight.close()
    } finally {
      mock.timers.reset()
    }
  })

  it('that is refused is read no faster than its part every tenth of a second', () => {
    mock.timers.enable({ apis: ['setInterval', 'setTimeout'] })
    try {
      const { inFlight, connect, roomy } = createTest()
      const one = connect()
      let refused = 0
      const refuse = () => {
        while (inFlight.hasRoom(one)) {
          inFlight.begin(one, 1)()
          inFlight.rest(one)
          refused += 1
        }
      }
      refuse()
      assert.equal(refused, 512)
      mock.timers.tick(99)
      refuse()
      assert.equal(refused, 512)
      mock.timers.tick(1)
      assert.ok(roomy.includes(one))
      refuse()
      assert.equal(refused, 1_024)
      inFlight.close()
    } finally {
      mock.timers.reset()
    }
  })
})
