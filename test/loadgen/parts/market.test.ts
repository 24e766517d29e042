/** The market study from end to end, at its smallest, as a program. */

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { loadRecord, type MarketRecord } from '../../../src/loadgen/record.ts'
import { soukLoad } from '../../support/souk-load.ts'

const SYSTEMS = ['souk', 'queue-off', 'threads', 'pinned'] as const
const SCENARIOS = ['mixed', 'flash-sale', 'hot-item', 'wide-sale'] as const

describe('the market study', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  const results = join(home, 'results')
  let record: MarketRecord
  let report: string

  before(() => {
    const { status, stderr } = soukLoad(home, 'study', 'market', '--profile', 'tiny', '--results', results)
    assert.equal(status, 0, stderr)
    const names = readdirSync(results).sort()
    assert.deepEqual(
      names.map((name) => name.replace(/-[\d-]+/, '')),
      ['market.json', 'market.md'],
    )
    record = loadRecord(join(results, names[0] as string)) as MarketRecord
    report = readFileSync(join(results, 'market.md'), 'utf8')
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  test('has a cell for every system and load, with purchases in every sale', () => {
    const loads = ['mixed 1', 'mixed 3', 'flash-sale 4', 'hot-item 4', 'wide-sale 4']
    const expected = loads.flatMap((load) => SYSTEMS.map((system) => `${load} ${system}`))
    const actual = record.cells.map(({ scenario, clients, system }) => `${scenario} ${clients} ${system}`)
    assert.deepEqual(actual.sort(), expected.sort())
    for (const { scenario, clients, system, runs } of record.cells) {
      assert.equal(runs.length, 2)
      for (const { operations, purchases } of runs) {
        const calls = Object.values(operations).reduce((sum, figures) => sum + figures.calls, 0)
        const least = clients * 20 * (scenario === 'mixed' ? 2 : 1)
        assert.ok(calls >= least && calls <= least * 1.4, `${calls} calls of ${scenario} ${clients} on ${system}`)
        if (scenario !== 'mixed') assert.equal(purchases?.calls, operations.make_purchase?.calls)
        if (scenario === 'hot-item') assert.equal(purchases?.calls, clients * 10)
      }
    }
  })

  test('lets everything that is compared take turns: the systems, and the sales of one item and of all', () => {
    const orders = (scenario: string) =>
      record.cells.filter((cell) => cell.scenario === scenario).flatMap(({ runs }) => runs.map(({ order }) => order))
    const [hot, wide] = [orders('hot-item'), orders('wide-sale')]
    assert.ok(Math.max(...hot) > Math.min(...wide) && Math.max(...wide) > Math.min(...hot))
    assert.equal(Math.max(...hot, ...wide) - Math.min(...hot, ...wide), 2 * 2 * SYSTEMS.length - 1)
  })

  test('writes the same report from its record again', () => {
    assert.equal(soukLoad(home, 'report', '--results', results).status, 0)
    assert.equal(readFileSync(join(results, 'market.md'), 'utf8'), report)
    for (const scenario of SCENARIOS) assert.ok(report.includes(`| ${scenario}, `))
  })

  test('measures the effect of size, for every size and system', () => {
    const { searches, listings, stalls, largeBytes } = record.scale
    const names = searches.map(({ items, clients, runs }) => `${items} ${clients} ${runs.length}`)
    assert.deepEqual(names, ['10000 1 2', '20000 1 2', '10000 3 2', '20000 3 2'])
    assert.ok(largeBytes > 1e6, `${largeBytes} bytes`)
    for (const items of [10, 20, 700]) {
      const cells = listings.filter((cell) => cell.items === items)
      assert.deepEqual(cells.map(({ system }) => system).sort(), ['driver', 'souk', 'threads'])
      for (const { bytes, runs } of cells) {
        assert.ok(bytes > items * 100, `${bytes} bytes for ${items} items`)
        assert.deepEqual(
          runs.map(({ calls }) => calls),
          [3, 3],
        )
      }
    }
    assert.deepEqual(
      stalls.map(({ listed, clients, runs }) => [listed, clients, runs.length]),
      [
        [0, 2, 2],
        [700, 2, 2],
      ],
    )
    const longest = stalls.flatMap(({ runs }) => runs.map(({ longestStallMs }) => longestStallMs))
    assert.ok(Math.max(...longest) > 0, 'no stall was seen')
  })

  test('leaves nothing running', () => {
    assert.equal(existsSync(join(home, 'study', 'owner')), false)
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })
})
