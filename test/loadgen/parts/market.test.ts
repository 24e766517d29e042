/** The market study: what its page makes of a record, and the whole of it at its smallest, as a program. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'hdr-histogram-js'
import { SALE_STOCK, SALES, SHARES } from '../../../src/loadgen/behaviours.ts'
import { renderMarket } from '../../../src/loadgen/pages/market.ts'
import { type Cell, type Figures, figuresOf, loadRecord, type Market, type Run } from '../../../src/loadgen/record.ts'
import type { ScenarioName } from '../../../src/loadgen/scenarios.ts'
import type { SystemName } from '../../../src/loadgen/systems.ts'
import { CATALOGUE, SEARCH } from '../../../src/loadgen/workload.ts'

const PROGRAM = [
  `--import=${import.meta.resolve('tsx')}`,
  fileURLToPath(new URL('../../../src/loadgen.ts', import.meta.url)),
]
const SYSTEMS = ['souk', 'queue-off', 'threads', 'pinned'] as const
const SCENARIOS = ['mixed', 'flash-sale', 'hot-item', 'wide-sale'] as const

describe('the page of a market study', () => {
  /** Figures of so many calls in a second, of which one of fifty is slow. */
  function figures(calls: number, us: number, slowUs: number): Figures {
    const latenciesUs = build({ highestTrackableValue: 1_000_000 })
    latenciesUs.recordValueWithCount(us, calls - Math.ceil(calls / 50))
    latenciesUs.recordValueWithCount(slowUs, Math.ceil(calls / 50))
    return figuresOf({ latenciesUs, wallS: 1 })
  }

  function cell(experiment: ScenarioName, clients: number, system: SystemName, perS: number[], slowUs: number): Cell {
    const runs = perS.map((calls, order): Run => {
      const purchases = experiment === 'mixed' ? calls / 10 : calls
      return {
        ...{ order, wallS: 1, cpuS: { seller: 0, buyer: 0.5, database: 0.25, generator: 0.1 }, generatorBusy: 0.5 },
        operations: {
          add_item_to_cart: figures(calls, 1_000, slowUs),
          make_purchase: figures(purchases, 1_000, slowUs),
        },
        purchases: figures(purchases, 2_000, slowUs * 2),
      }
    })
    return { experiment, clients, system, until: { seconds: 1 }, runs }
  }

  /** souk makes `factor` as many calls as the others, its slowest last 10 ms, theirs as long as given. */
  function market(factor: number, slowUs: number, hotFactor = 1): Market {
    const cells = SCENARIOS.flatMap((experiment) =>
      SYSTEMS.map((system) => {
        const hot = experiment === 'hot-item' ? hotFactor : 1
        const perS = [900, 1_000, 1_200].map((calls) => (system === 'souk' ? calls * factor * hot : calls))
        return cell(experiment, 5, system, perS, system === 'souk' ? 10_000 : slowUs)
      }),
    )
    return {
      ...{ format: 1, kind: 'market', profile: 'quick', command: 'npm run study -- market', tookS: 60, seed: 1 },
      ...{ startedAt: '2026-01-02T03:04:05.000Z', commit: 'c', versions: {}, database: { version: '10' } },
      machine: { processor: 'p', cores: 2, memoryGib: 4, system: 's' },
      ...{ catalogue: CATALOGUE, search: SEARCH, shares: SHARES, sales: SALES, saleStock: SALE_STOCK },
      sweep: [{ poolSize: 4, throughput: { mixed: 7 } }],
      ...{ poolSize: 4, warmUps: [{ system: 'souk', experiment: 'mixed', windows: [1, 1, 1], steady: true }], cells },
      scale: scale(1, 1, 1, 1),
    }
  }

  /** What is large takes so many times as long as what it is compared with; a loop stalls for so long. */
  function scale(search: number, listing: number, rating: number, stallMs: number): Market['scale'] {
    const lasting = (times: number) => [figures(100, 1_000 * times, 2_000 * times)]
    const listed = (system: 'souk' | 'threads' | 'driver', items: number, times: number) => ({
      ...{ system, items, bytes: items * 200, runs: lasting(times) },
    })
    return {
      searches: [
        { items: 10_000, clients: 5, runs: lasting(1) },
        { items: 1_000_000, clients: 5, runs: lasting(search) },
      ],
      ...{ largeBytes: 300 * 2 ** 20, filledS: 9 },
      listings: [
        ...[listed('souk', 10, 1), listed('threads', 10, 1), listed('driver', 10, 1)],
        ...[listed('souk', 7_000, listing), listed('threads', 7_000, 4), listed('driver', 7_000, 1)],
      ],
      stalls: [
        {
          listed: 0,
          clients: 5,
          runs: [1, 1, 1].map((longestStallMs) => ({ longestStallMs, rating: figures(100, 1_000, 2_000) })),
        },
        {
          ...{ listed: 7_000, clients: 5 },
          runs: [1, 1, stallMs].map((longestStallMs) => ({
            longestStallMs,
            rating: figures(100, 1_000, 2_000 * rating),
          })),
        },
      ],
    }
  }

  test('says of size whether its targets are met', () => {
    const page = (...sizes: Parameters<typeof scale>) =>
      renderMarket({ ...market(12, 80_000), scale: scale(...sizes) }, 'x.json')
    const good = page(1.9, 3.9, 4.9, 10)
    assert.doesNotMatch(good, /\*\*not met\*\*/)
    assert.match(
      good,
      /search_items, 5 clients: the median among 1,000,000 items 1\.90× that among 10,000; .*\*\*met\*\*/,
    )
    assert.match(good, /\| 7,000 \| 1,400,000 \| 3\.90 \| 4\.00 \| 1\.00 \|/)
    assert.match(good, /\| one, 7,000 items \| 100 \| 1\.00 \| 9\.8\d \| 1\.00 \| 10\.0 \|/)
    for (const bad of [page(3, 3.9, 4.9, 10), page(1.9, 5, 4.9, 10), page(1.9, 3.9, 6, 10), page(1.9, 3.9, 4.9, 11)]) {
      assert.equal(bad.match(/\*\*not met\*\*/g)?.length, 1)
    }
  })

  test('says of each target whether it is met, with the ratio of medians and its range', () => {
    const good = renderMarket(market(12, 80_000), 'x.json')
    assert.match(
      good,
      /mixed, 5 buyers \+ 5 sellers, calls a second: .* 12\.0× \(12\.0 to 12\.0\) those of threads\.py\. Meant to be at least 6: \*\*met\*\*/,
    )
    assert.match(good, /mixed, .*, p99 of all calls: .* 0\.125× .* at most 0\.2: \*\*met\*\*/)
    assert.match(good, /flash-sale, 5 buyers, purchases a second: .* 12\.0× .* at least 10: \*\*met\*\*/)
    assert.match(
      good,
      /hot-item, 5 buyers, purchases a second: .* 1\.00× .* its own in wide-sale\. Meant to be at least 0\.5: \*\*met\*\*/,
    )
    const bad = renderMarket(market(5, 40_000, 0.4), 'x.json')
    assert.equal(bad.match(/\*\*not met\*\*/g)?.length, 4)
    assert.match(bad, /calls a second: .* 5\.00×/)
    assert.match(bad, /p99 of all calls: .* 0\.250×/)
    assert.match(bad, /hot-item, .* 0\.400×/)
  })

  test('takes a ratio run by run for its range, and medians for itself', () => {
    const uneven = market(1, 10_000)
    const souk = uneven.cells.find(({ system, experiment }) => system === 'souk' && experiment === 'flash-sale') as Cell
    souk.runs = cell('flash-sale', 5, 'souk', [1_800, 1_000, 600], 10_000).runs
    assert.match(
      renderMarket(uneven, 'x.json'),
      /\| flash-sale, 5 \| 1,000 \| 1,000 \| 1,000 \| 1,000 \| 1\.00× \(0\.500 to 2\.00\)/,
    )
  })

  test('counts calls in mixed and purchases in sales', () => {
    const page = renderMarket(market(2, 50_000), 'x.json')
    assert.match(page, /\| mixed, 5 \| 2,200 \| 1,100 \|/)
    assert.match(page, /\| wide-sale, 5 \| 2,000 \| 1,000 \|/)
    assert.match(page, /\| mixed, 5, threads\.py \| 1\.00 \| 1\.00 \| 50\.0 \| 50\.0 \| 100 \| 2\.00 \| 100 \|/)
    const [calls = '', purchases = ''] = page.split('## Processor time')[1]?.split('microseconds a purchase') ?? []
    assert.match(calls, /\| mixed, 5, souk \| 0 \| 0\.500 \|/)
    assert.doesNotMatch(calls, /\| wide-sale, 5, souk/)
    // Half a second of the buyers' server for 1800, 2000 and 2400 purchases.
    assert.match(purchases, /\| wide-sale, 5, souk \| 0 \| 0\.500 \| 0\.250 \| 0\.100 \| 1\.00 \| 0 \| 242 \|/)
  })

  test('states every share, and what came about', () => {
    const page = renderMarket(market(2, 50_000), 'x.json')
    assert.match(page, /\| search_items \| 45\.0 % \| +\| 0\.0 % \|/)
    assert.match(page, /\| add_item_to_cart \| 8\.0 % \| +\| 90\.9 % \|/)
    assert.match(page, /\| get_seller_rating \| 10\.0 % \| 20\.0 % \| 0\.0 % \|/)
    for (const shares of Object.values(SHARES)) {
      assert.equal(
        Object.values(shares).reduce((sum, share) => sum + share, 0),
        1_000,
      )
    }
  })
})

describe('the market study', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  const results = join(home, 'results')
  let market: Market
  let page: string

  const soukLoad = (...rest: string[]) =>
    spawnSync(process.execPath, [...PROGRAM, ...rest, '--results', results], {
      ...{ cwd: home, env: { PATH: process.env.PATH, SOUK_HOME: home }, encoding: 'utf8' },
    })

  before(() => {
    const { status, stderr } = soukLoad('study', 'market', '--profile', 'tiny')
    assert.equal(status, 0, stderr)
    const names = readdirSync(results).sort()
    assert.deepEqual(
      names.map((name) => name.replace(/-[\d-]+/, '')),
      ['market.json', 'market.md'],
    )
    market = loadRecord(join(results, names[0] as string)) as Market
    page = readFileSync(join(results, 'market.md'), 'utf8')
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  test('has a cell for every system, scenario and load, with purchases in every sale', () => {
    const loads = ['mixed 1', 'mixed 3', 'flash-sale 4', 'hot-item 4', 'wide-sale 4']
    const expected = loads.flatMap((load) => SYSTEMS.map((system) => `${load} ${system}`))
    const actual = market.cells.map(({ experiment, clients, system }) => `${experiment} ${clients} ${system}`)
    assert.deepEqual(actual.sort(), expected.sort())
    for (const { experiment, clients, system, runs } of market.cells) {
      assert.equal(runs.length, 2)
      for (const { operations, purchases } of runs) {
        const calls = Object.values(operations).reduce((sum, figures) => sum + figures.calls, 0)
        const least = clients * 20 * (experiment === 'mixed' ? 2 : 1)
        assert.ok(calls >= least && calls <= least * 1.4, `${calls} calls of ${experiment} ${clients} on ${system}`)
        if (experiment !== 'mixed') assert.equal(purchases?.calls, operations.make_purchase?.calls)
        if (experiment === 'hot-item') assert.equal(purchases?.calls, clients * 10)
      }
    }
  })

  test('lets what is compared take turns: systems, and the sales of one item and of all', () => {
    const ordersOf = (scenario: string) =>
      market.cells
        .filter(({ experiment }) => experiment === scenario)
        .flatMap(({ runs }) => runs.map(({ order }) => order))
    const [hot, wide] = [ordersOf('hot-item'), ordersOf('wide-sale')]
    assert.ok(Math.max(...hot) > Math.min(...wide) && Math.max(...wide) > Math.min(...hot))
    assert.equal(Math.max(...hot, ...wide) - Math.min(...hot, ...wide), 2 * 2 * SYSTEMS.length - 1)
  })

  test('renders the same page from the record again', () => {
    assert.equal(soukLoad('report').status, 0)
    assert.equal(readFileSync(join(results, 'market.md'), 'utf8'), page)
    for (const scenario of SCENARIOS) assert.ok(page.includes(`| ${scenario}, `))
  })

  test('measures what size does, on every size and system', () => {
    const { searches, listings, stalls, largeBytes } = market.scale
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
    assert.ok(Math.max(...longest) > 0, 'no stall of any length was seen')
  })

  test('leaves nothing running', () => {
    assert.equal(existsSync(join(home, 'study', 'owner')), false)
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })
})
