/** The study from end to end, at its smallest, as a program: what it writes, and that its page says what its record says. */

import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import { loadRecord, type Study } from '../../../src/loadgen/record.ts'
import { openTerminal } from '../../support/terminal.ts'

const PROGRAM = [
  `--import=${import.meta.resolve('tsx')}`,
  fileURLToPath(new URL('../../../src/loadgen.ts', import.meta.url)),
]
const SYSTEMS = ['souk', 'queue-off', 'threads', 'pinned', 'null']
const EXPERIMENTS = ['get_seller_rating', 'search_items', 'display_items_for_sale', 'register_item_for_sale', 'all']
const OPERATIONS = EXPERIMENTS.slice(0, 4)

describe('the study', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  const results = join(home, 'results')
  let drawn: string
  let study: Study
  let page: string

  before(async () => {
    const args = [...PROGRAM, 'study', '--profile', 'tiny', '--results', results]
    const terminal = openTerminal({
      command: process.execPath,
      args,
      cwd: home,
      env: { SOUK_HOME: home },
      columns: 200,
    })
    assert.equal(await terminal.ended, 0, terminal.screen())
    drawn = terminal.raw
    const [record = ''] = readdirSync(results).filter((name) => name.endsWith('.json'))
    study = loadRecord(join(results, record)) as Study
    page = readFileSync(join(results, 'README.md'), 'utf8')
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  test('has a cell for every system, load and experiment, with as many runs as were asked for', () => {
    const expected = SYSTEMS.flatMap((system) =>
      EXPERIMENTS.flatMap((experiment) => [1, 2, 3].map((clients) => `${system} ${experiment} ${clients}`)),
    )
    const actual = study.cells.map(({ system, experiment, clients }) => `${system} ${experiment} ${clients}`)
    assert.deepEqual(actual.sort(), expected.sort())
    for (const { runs } of study.cells) assert.equal(runs.length, 2)
  })

  test('shows on a terminal each step of its plans', () => {
    for (const [plan, steps] of Object.entries({ 'sweeping pools': 2 * 4, 'warming up': 5 * 4, runs: 15 * 5 * 2 })) {
      const done = [...drawn.matchAll(new RegExp(`\\r\\x1b\\[K${plan} (\\d+)/${steps}\\b`, 'g'))].map(([, count]) =>
        Number(count),
      )
      assert.deepEqual([...new Set(done)], [...Array(steps).keys()])
    }
  })

  test('lets the systems take turns, each the first in half of the rounds', () => {
    const orders = (system: string) =>
      study.cells
        .filter((cell) => cell.system === system && cell.experiment === 'search_items' && cell.clients === 1)
        .flatMap(({ runs }) => runs.map(({ order }) => order))
    const [souk = [], nulls = []] = [orders('souk'), orders('null')]
    assert.equal((nulls[0] as number) - (souk[0] as number), SYSTEMS.length - 1)
    assert.equal((souk[1] as number) - (nulls[1] as number), SYSTEMS.length - 1)
  })

  test('counts every call of every client, and keeps each in the histogram', () => {
    for (const { experiment, clients, runs } of study.cells) {
      for (const { operations } of runs) {
        const figures = Object.values(operations)
        const expected = experiment === 'all' ? clients * 2 * 20 : clients * 20
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

  test("obeys Little's law at the load it had, for calls follow each other without a pause", () => {
    for (const { experiment, clients, runs } of study.cells) {
      if (experiment === 'all') continue
      for (const { operations } of runs) {
        for (const { calls, wallS, meanUs } of Object.values(operations)) {
          assert.ok(((calls / wallS) * meanUs) / 1e6 <= clients * 1.02, 'more calls under way than there were clients')
        }
      }
    }
  })

  test('says on its page what its record says', () => {
    const [, sideBySide = ''] = page.split('## Side by side')
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
    for (const experiment of EXPERIMENTS) {
      for (const clients of [1, 2, 3]) {
        const [, , ...shown] = row(`${experiment}, ${clients}`) ?? []
        const perS = SYSTEMS.map((system) => middleThroughput(study, system, experiment, clients))
        const [souk = 0, ...others] = perS
        const expected = [...perS, ...others.map((other) => souk / other)]
        for (const [index, exact] of expected.entries()) near(shown[index], exact)
      }
    }
    for (const operation of OPERATIONS) {
      assert.ok(
        page.includes(`${operation} ${study.replyBytes[operation as 'search_items'].toLocaleString('en')} bytes`),
      )
    }
    for (const observation of [1, 2, 3, 4]) assert.ok(page.includes(`**Observation ${observation}:`))
  })

  test('renders the same page from the record again, and another one from another record', () => {
    assert.equal(soukLoad(home, 'report', '--results', results).status, 0)
    assert.equal(readFileSync(join(results, 'README.md'), 'utf8'), page)
    const slower = structuredClone(study)
    for (const { runs } of slower.cells)
      for (const { operations } of runs) for (const figures of Object.values(operations)) figures.wallS *= 2
    const elsewhere = join(home, 'study-slower.json')
    writeFileSync(elsewhere, JSON.stringify(slower))
    assert.equal(soukLoad(home, 'report', elsewhere, '--results', results).status, 0)
    assert.notEqual(readFileSync(join(results, 'README.md'), 'utf8'), page)
  })

  test('has replies as large as they should be', () => {
    const { search_items: search, display_items_for_sale: listing } = study.replyBytes
    assert.ok(search > 20 * 100 && listing > 10 * 100 && search > listing)
  })

  test('leaves nothing running, and nothing but its databases', () => {
    assert.deepEqual(readdirSync(join(home, 'study')).sort(), ['mariadb', 'mariadb.log', 'tmp'])
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })
})

describe('souk-load', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  after(() => rmSync(home, { recursive: true, force: true }))

  test('runs one scenario, with calls pipelined, and prints a row for each run', () => {
    const scenario = ['--scenario', 'search_items', '--clients', '2', '--calls', '30', '--runs', '2', '--pipeline', '5']
    const { status, stdout, stderr } = soukLoad(home, 'run', ...scenario)
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^search_items\n/)
    assert.equal(stdout.match(/^\| [12] \| 60 \|/gm)?.length, 2)
  })

  test('stops on Ctrl-C, and leaves nothing running', async () => {
    const environment = { PATH: process.env.PATH, SOUK_HOME: home }
    const load = spawn(process.execPath, [...PROGRAM, 'run', '--clients', '20', '--runs', '100'], {
      ...{ cwd: home, env: environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    for await (const text of load.stderr) {
      if (said === '') load.kill('SIGINT')
      said += text
    }
    assert.equal(load.exitCode ?? (await once(load, 'exit'))[0], 130)
    assert.match(said, /interrupted/)
    assert.equal(existsSync(join(home, 'study', 'owner')), false)
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })

  test('names everything that is wrong with its options, exit 2', () => {
    const { status, stderr } = soukLoad(home, 'run', '--clients', '0', '--scenario', 'steal_items')
    assert.equal(status, 2)
    assert.match(stderr, /--scenario/)
    assert.match(stderr, /--clients/)
  })

  test('tells of an unknown command, an unknown option and a missing study, exit 2', () => {
    for (const wrong of [['stud'], ['study', '--ful'], ['report', '--results', home]]) {
      const { status, stderr } = soukLoad(home, ...wrong)
      assert.equal(status, 2, stderr)
      assert.match(stderr, /^souk: .+/)
    }
  })
})

function soukLoad(home: string, ...rest: string[]): SpawnSyncReturns<string> {
  const environment = { PATH: process.env.PATH, SOUK_HOME: home }
  return spawnSync(process.execPath, [...PROGRAM, ...rest], { cwd: home, env: environment, encoding: 'utf8' })
}

function middleThroughput({ cells }: Study, system: string, experiment: string, clients: number): number {
  const cell = cells.find((one) => one.system === system && one.experiment === experiment && one.clients === clients)
  const [a = 0, b = 0] = (cell?.runs ?? []).map(({ operations }) =>
    Object.values(operations).reduce((sum, { calls, wallS }) => sum + calls / wallS, 0),
  )
  return (a + b) / 2
}

/** The page has three digits of each number. */
function near(shown: number | undefined, exact: number): void {
  assert.ok(Math.abs((shown ?? 0) / exact - 1) < 0.006, `${shown} is shown for ${exact}`)
}
