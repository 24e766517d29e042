/** The report of a market study: what it says of a record. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { build } from 'hdr-histogram-js'
import { SALE_STOCK, SALES, SHARES } from '../../../src/loadgen/behaviours.ts'
import { CATALOGUE, SEARCH } from '../../../src/loadgen/catalogue.ts'
import { type Cell, type LatencySummary, type MarketRecord, type Run, summarise } from '../../../src/loadgen/record.ts'
import { renderMarket } from '../../../src/loadgen/reports/market.ts'
import type { ScenarioName } from '../../../src/loadgen/scenarios.ts'
import type { SystemName } from '../../../src/loadgen/systems.ts'

const SYSTEMS = ['souk', 'queue-off', 'threads', 'pinned'] as const
const SCENARIOS = ['mixed', 'flash-sale', 'hot-item', 'wide-sale'] as const

describe('the report of a market study', () => {
  /** Calls in one second, of which one in fifty is slow. */
  function summary(calls: number, us: number, slowUs: number): LatencySummary {
    const latenciesUs = build({ highestTrackableValue: 1_000_000 })
    latenciesUs.recordValueWithCount(us, calls - Math.ceil(calls / 50))
    latenciesUs.recordValueWithCount(slowUs, Math.ceil(calls / 50))
    return summarise({ latenciesUs, wallS: 1 })
  }

  function cell(scenario: ScenarioName, clients: number, system: SystemName, perS: number[], slowUs: number): Cell {
    const runs = perS.map((calls, order): Run => {
      const purchases = scenario === 'mixed' ? calls / 10 : calls
      return {
        order,
        wallS: 1,
        cpuS: { seller: 0, buyer: 0.5, database: 0.25, generator: 0.1 },
        generatorBusy: 0.5,
        operations: {
          add_item_to_cart: summary(calls, 1_000, slowUs),
          make_purchase: summary(purchases, 1_000, slowUs),
        },
        purchases: summary(purchases, 2_000, slowUs * 2),
      }
    })
    return { scenario, clients, system, until: { seconds: 1 }, runs }
  }

  /** Souk makes `factor` times the calls of the others; its slow calls take 10 ms, theirs `slowUs`. */
  function market(factor: number, slowUs: number, hotFactor = 1): MarketRecord {
    const cells = SCENARIOS.flatMap((scenario) =>
      SYSTEMS.map((system) => {
        const hot = scenario === 'hot-item' ? hotFactor : 1
        const perS = [900, 1_000, 1_200].map((calls) => (system === 'souk' ? calls * factor * hot : calls))
        return cell(scenario, 5, system, perS, system === 'souk' ? 10_000 : slowUs)
      }),
    )
    return {
      format: 1,
      kind: 'market',
      profile: 'quick',
      command: 'npm run study -- market',
      tookS: 60,
      seed: 1,
      startedAt: '2026-01-02T03:04:05.000Z',
      commit: 'c',
      versions: {},
      database: { version: '10' },
      machine: { processor: 'p', cores: 2, memoryGib: 4, system: 's' },
      catalogue: CATALOGUE,
      search: SEARCH,
      shares: SHARES,
      sales: SALES,
      saleStock: SALE_STOCK,
      sweep: [{ poolSize: 4, throughput: { mixed: 7 } }],
      poolSize: 4,
      warmUps: [{ system: 'souk', scenario: 'mixed', windows: [1, 1, 1], steady: true }],
      cells,
      scale: scale(1, 1, 1, 1),
    }
  }

  /** Large sizes take this many times as long as what they are compared with; the longest stall is `stallMs`. */
  function scale(search: number, listing: number, rating: number, stallMs: number): MarketRecord['scale'] {
    const lasting = (times: number) => [summary(100, 1_000 * times, 2_000 * times)]
    const listed = (system: 'souk' | 'threads' | 'driver', items: number, times: number) => ({
      system,
      items,
      bytes: items * 200,
      runs: lasting(times),
    })
    return {
      searches: [
        { items: 10_000, clients: 5, runs: lasting(1) },
        { items: 1_000_000, clients: 5, runs: lasting(search) },
      ],
      largeBytes: 300 * 2 ** 20,
      filledS: 9,
      listings: [
        listed('souk', 10, 1),
        listed('threads', 10, 1),
        listed('driver', 10, 1),
        listed('souk', 7_000, listing),
        listed('threads', 7_000, 4),
        listed('driver', 7_000, 1),
      ],
      stalls: [
        {
          listed: 0,
          clients: 5,
          runs: [1, 1, 1].map((longestStallMs) => ({ longestStallMs, rating: summary(100, 1_000, 2_000) })),
        },
        {
          listed: 7_000,
          clients: 5,
          runs: [1, 1, stallMs].map((longestStallMs) => ({
            longestStallMs,
            rating: summary(100, 1_000, 2_000 * rating),
          })),
        },
      ],
    }
  }

  test('says whether the targets for size are met', () => {
    const report = (...sizes: Parameters<typeof scale>) =>
      renderMarket({ ...market(12, 80_000), scale: scale(...sizes) }, 'x.json')
    const good = report(1.9, 3.9, 4.9, 10)
    assert.doesNotMatch(good, /\*\*not met\*\*/)
    assert.match(
      good,
      /\| search_items, 5 clients \| p50 \| 1,000,000 : 10,000 items \| 1\.90× \| at most 2 \| \*\*met\*\* \|/,
    )
    assert.match(good, /\| 7,000 \| 1,400,000 \| 3\.90 \| 4\.00 \| 1\.00 \|/)
    assert.match(good, /\| one, 7,000 items \| 100 \| 1\.00 \| 9\.8\d \| 1\.00 \| 10\.0 \|/)
    for (const bad of [
      report(3, 3.9, 4.9, 10),
      report(1.9, 5, 4.9, 10),
      report(1.9, 3.9, 6, 10),
      report(1.9, 3.9, 4.9, 11),
    ]) {
      assert.equal(bad.match(/\*\*not met\*\*/g)?.length, 1)
    }
  })

  test('says of each target whether it is met, with the ratio of medians and its range', () => {
    const good = renderMarket(market(12, 80_000), 'x.json')
    assert.match(
      good,
      /mixed, 5 buyers \+ 5 sellers \| calls per second \| souk : threads\.py \| 12\.0× \(12\.0 to 12\.0\) \| at least 6 \| \*\*met\*\*/,
    )
    assert.match(good, /mixed, .* \| p99 of all calls \| .* 0\.125× .* at most 0\.2 \| \*\*met\*\*/)
    assert.match(good, /flash-sale, 5 buyers \| purchases per second \| .* 12\.0× .* at least 10 \| \*\*met\*\*/)
    assert.match(
      good,
      /hot-item, 5 buyers \| purchases per second \| hot-item : wide-sale \| 1\.00× .* \| at least 0\.5 \| \*\*met\*\*/,
    )
    const bad = renderMarket(market(5, 40_000, 0.4), 'x.json')
    assert.equal(bad.match(/\*\*not met\*\*/g)?.length, 4)
    assert.match(bad, /calls per second \| .* 5\.00×/)
    assert.match(bad, /p99 of all calls \| .* 0\.250×/)
    assert.match(bad, /hot-item, .* 0\.400×/)
  })

  test('takes ratios from the medians of the runs, and their range run by run', () => {
    const uneven = market(1, 10_000)
    const souk = uneven.cells.find(({ system, scenario }) => system === 'souk' && scenario === 'flash-sale') as Cell
    souk.runs = cell('flash-sale', 5, 'souk', [1_800, 1_000, 600], 10_000).runs
    assert.match(
      renderMarket(uneven, 'x.json'),
      /\| flash-sale, 5 \| 1,000 \| 1,000 \| 1,000 \| 1,000 \| 1\.00× \(0\.500 to 2\.00\)/,
    )
  })

  test('counts calls in `mixed`, and purchases in the sales', () => {
    const report = renderMarket(market(2, 50_000), 'x.json')
    assert.match(report, /\| mixed, 5 \| 2,200 \| 1,100 \|/)
    assert.match(report, /\| wide-sale, 5 \| 2,000 \| 1,000 \|/)
    assert.match(report, /\| mixed, 5, threads\.py \| 1\.00 \| 1\.00 \| 50\.0 \| 50\.0 \| 100 \| 2\.00 \| 100 \|/)
    const [calls = '', purchases = ''] = report.split('## Processor time')[1]?.split('microseconds per purchase') ?? []
    assert.match(calls, /\| mixed, 5, souk \| 0 \| 0\.500 \|/)
    assert.doesNotMatch(calls, /\| wide-sale, 5, souk/)
    // Half a second of the buyers' server for 1800, 2000 and 2400 purchases.
    assert.match(purchases, /\| wide-sale, 5, souk \| 0 \| 0\.500 \| 0\.250 \| 0\.100 \| 1\.00 \| 0 \| 242 \|/)
  })

  test('states every share, and that of the calls made', () => {
    const report = renderMarket(market(2, 50_000), 'x.json')
    assert.match(report, /\| search_items \| 45\.0 % \| +\| 0\.0 % \|/)
    assert.match(report, /\| add_item_to_cart \| 8\.0 % \| +\| 90\.9 % \|/)
    assert.match(report, /\| get_seller_rating \| 10\.0 % \| 20\.0 % \| 0\.0 % \|/)
    for (const shares of Object.values(SHARES)) {
      assert.equal(
        Object.values(shares).reduce((sum, share) => sum + share, 0),
        1_000,
      )
    }
  })
})
