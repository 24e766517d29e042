/** The replication from end to end, at its smallest, as a program: its record, and a report that agrees with it. */

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import { loadRecord, type ReplicationRecord } from '../../../src/loadgen/record.ts'
import { CLONE } from '../../../src/process/start.ts'
import { SOUK_LOAD, soukLoad } from '../../support/souk-load.ts'
import { openTerminal } from '../../support/terminal.ts'

const SYSTEMS = ['souk', 'queue-off', 'threads', 'pinned', 'null']
const SCENARIOS = ['get_seller_rating', 'search_items', 'display_items_for_sale', 'register_item_for_sale', 'all']
const OPERATIONS = SCENARIOS.slice(0, 4)

describe('the replication', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  const results = join(home, 'results', CLONE === undefined ? '' : 'quick')
  let drawn: string
  let record: ReplicationRecord
  let report: string

  before(async () => {
    const args = [...SOUK_LOAD, 'study', 'replication', '--profile', 'tiny']
    const terminal = openTerminal({
      command: process.execPath,
      args,
      cwd: home,
      env: { SOUK_HOME: home },
      columns: 200,
    })
    assert.equal(await terminal.ended, 0, terminal.screen())
    drawn = terminal.raw
    const [file = ''] = readdirSync(results).filter((name) => name.endsWith('.json'))
    record = loadRecord(join(results, file)) as ReplicationRecord
    report = readFileSync(join(results, 'README.md'), 'utf8')
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  test('has a cell for every system and load, with all its runs', () => {
    const expected = SYSTEMS.flatMap((system) =>
      SCENARIOS.flatMap((scenario) => [1, 2, 3].map((clients) => `${system} ${scenario} ${clients}`)),
    )
    const actual = record.cells.map(({ system, scenario, clients }) => `${system} ${scenario} ${clients}`)
    assert.deepEqual(actual.sort(), expected.sort())
    for (const { runs } of record.cells) assert.equal(runs.length, 2)
  })

  test('shows every step of its plans on a terminal', () => {
    for (const [plan, steps] of Object.entries({ 'sweeping pools': 2 * 4, 'warming up': 5 * 4, runs: 15 * 5 * 2 })) {
      const done = [...drawn.matchAll(new RegExp(`\\r\\x1b\\[K${plan} (\\d+)/${steps}\\b`, 'g'))].map(([, count]) =>
        Number(count),
      )
      assert.deepEqual([...new Set(done)], [...Array(steps).keys()])
    }
  })

  test('lets the systems take turns, each first in half of the rounds', () => {
    const orders = (system: string) =>
      record.cells
        .filter((cell) => cell.system === system && cell.scenario === 'search_items' && cell.clients === 1)
        .flatMap(({ runs }) => runs.map(({ order }) => order))
    const [souk = [], nulls = []] = [orders('souk'), orders('null')]
    assert.equal((nulls[0] as number) - (souk[0] as number), SYSTEMS.length - 1)
    assert.equal((souk[1] as number) - (nulls[1] as number), SYSTEMS.length - 1)
  })

  test('counts every call of every client, and keeps each in a histogram', () => {
    for (const { scenario, clients, runs } of record.cells) {
      for (const { operations } of runs) {
        const figures = Object.values(operations)
        const expected = scenario === 'all' ? clients * 2 * 20 : clients * 20
        assert.equal(
          figures.reduce((sum, { calls }) => sum + calls, 0),
          expected,
        )
        for (const { calls, histogram, p50Us, p99Us, maxUs } of figures) {
          const latencies = decodeFromCompressedBase64(histogram)
          assert.equal(latencies.totalCount, calls)
          assert.equal(latencies.getValueAtPercentile(50), p50Us)
          assert.ok(p50Us > 0 && p50Us <= p99Us && p99Us <= maxUs)
        }
      }
    }
  })

  test("obeys Little's law: never more calls in flight than clients", () => {
    for (const { scenario, clients, runs } of record.cells) {
      if (scenario === 'all') continue
      for (const { operations } of runs) {
        for (const { calls, wallS, meanUs } of Object.values(operations)) {
          assert.ok(((calls / wallS) * meanUs) / 1e6 <= clients * 1.02, 'more calls in flight than clients')
        }
      }
    }
  })

  test('writes a report with the figures of its record', () => {
    const [, sideBySide = ''] = report.split('## Side by side')
    const heads = sideBySide.split('\n').find((line) => line.startsWith('|')) ?? ''
    assert.match(
      heads,
      /souk \| souk with the queue off \| threads.py \| threads.py on one CPU \| null server \| souk : souk with/,
    )
    const row = (name: string) =>
      sideBySide
        .split('\n')
        .find((line) => line.startsWith(`| ${name} |`))
        ?.split('|')
        .map((cell) => Number(cell.replace(/[×,\s]/g, '')))
    for (const scenario of SCENARIOS) {
      for (const clients of [1, 2, 3]) {
        const [, , ...shown] = row(`${scenario}, ${clients}`) ?? []
        const perS = SYSTEMS.map((system) => middleThroughput(record, system, scenario, clients))
        const [souk = 0, ...others] = perS
        const expected = [...perS, ...others.map((other) => souk / other)]
        for (const [index, exact] of expected.entries()) near(shown[index], exact)
      }
    }
    for (const operation of OPERATIONS) {
      assert.ok(
        report.includes(`${operation} ${record.replyBytes[operation as 'search_items'].toLocaleString('en')} bytes`),
      )
    }
    for (const observation of [1, 2, 3, 4]) assert.ok(report.includes(`**Observation ${observation}:`))
  })

  test('writes the same report from the same record again, and another one from another record', () => {
    assert.equal(soukLoad(home, 'report', '--results', results).status, 0)
    assert.equal(readFileSync(join(results, 'README.md'), 'utf8'), report)
    const slower = structuredClone(record)
    for (const { runs } of slower.cells)
      for (const { operations } of runs) for (const figures of Object.values(operations)) figures.wallS *= 2
    const elsewhere = join(home, 'study-slower.json')
    writeFileSync(elsewhere, JSON.stringify(slower))
    assert.equal(soukLoad(home, 'report', elsewhere, '--results', results).status, 0)
    assert.notEqual(readFileSync(join(results, 'README.md'), 'utf8'), report)
  })

  test('captures replies of the size that they should have', () => {
    const { search_items: search, display_items_for_sale: listing } = record.replyBytes
    assert.ok(search > 20 * 100 && listing > 10 * 100 && search > listing)
  })

  test('leaves nothing running, and nothing behind but its databases', () => {
    assert.deepEqual(readdirSync(join(home, 'study')).sort(), ['mariadb', 'mariadb.log', 'tmp', 'users.cnf'])
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })
})

function middleThroughput({ cells }: ReplicationRecord, system: string, scenario: string, clients: number): number {
  const cell = cells.find((one) => one.system === system && one.scenario === scenario && one.clients === clients)
  const [a = 0, b = 0] = (cell?.runs ?? []).map(({ operations }) =>
    Object.values(operations).reduce((sum, { calls, wallS }) => sum + calls / wallS, 0),
  )
  return (a + b) / 2
}

/** The report has three digits of each number. */
function near(shown: number | undefined, exact: number): void {
  assert.ok(Math.abs((shown ?? 0) / exact - 1) < 0.006, `${shown} is shown for ${exact}`)
}
