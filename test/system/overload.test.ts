/**
 * More load than a server can answer. A short run of what `npm run overload` measures, with wide bounds: all are
 * ratios within the run, because a busy machine is slow in all of it.
 */

import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { type Overload, overload } from './overload.ts'

const TIMES = 4

describe('a server that is offered several times what it can answer', () => {
  let figures: Overload['figures']
  before(async () => {
    figures = (await overload({ seed: 1, seconds: 4, times: [TIMES] })).figures
  })

  it('spends about as little on an answered call as at its peak', () => {
    const during = figures.overloads[0]?.during.cpuUs ?? Number.POSITIVE_INFINITY
    assert.ok(during < 2 * figures.peakCpuUs, JSON.stringify(figures))
  })

  it('refuses with a code and a pause only', () => {
    const { refused, withoutPause } = figures.overloads[0]?.during ?? {}
    assert.deepEqual(
      Object.keys(refused ?? {}).filter((code) => code !== 'overloaded'),
      [],
    )
    assert.equal(withoutPause, 0)
  })

  it('answers a bystander before those that ask for much', () => {
    const { latenciesMs, bystander } = figures.overloads[0]?.during ?? {}
    for (const { p50, refused } of Object.values(bystander ?? {})) {
      assert.equal(refused, 0)
      assert.ok(p50 < (latenciesMs?.p50 ?? 0) / 5, JSON.stringify(figures))
    }
  })
})
