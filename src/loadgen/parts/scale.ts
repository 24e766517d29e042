/**
 * The effect of size on a marketplace: searches in a large catalogue, long
 * listings, and short calls beside long ones. Measured on product databases of
 * its own, which are only read, on the bench's database server.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createConnection } from 'mariadb'
import { encodeResult } from '../../contract/protocol.ts'
import { DRIVER_OPTIONS, withConnection } from '../../db/connect.ts'
import { connectionOptions } from '../../db/url.ts'
import type { Progress } from '../../process/progress.ts'
import { programArguments } from '../../process/start.ts'
import { ITEM_COLUMNS } from '../../server/market/items.ts'
import type { Bench } from '../bench.ts'
import { callingInTurn, createPlanners, isListing } from '../calls.ts'
import { type CatalogueItem, catalogueItems, createSearches, ITEMS, sellerName, sellerScore } from '../catalogue.ts'
import { createStudyDatabase, fillForReading, type Urls } from '../databases.ts'
import {
  type Behaviour,
  type Behaviours,
  type Latencies,
  type Measurement,
  newLatencies,
  type OnStart,
  type RunSize,
  runFleet,
  type Until,
} from '../fleet.ts'
import { seeded } from '../random.ts'
import { type LatencySummary, type ScaleRecord, summarise } from '../record.ts'
import type { System } from '../systems.ts'
import { takeTurns } from '../turns.ts'

export interface ScaleProfile {
  runs: number
  until: Until
  /** Items of the large catalogue. */
  items: number
  searchers: readonly number[]
  /** Items of each listing; the n-th seller has the n-th number of items. */
  listings: readonly number[]
  /** Listings of a run. */
  listed: number
  /** Clients beside the one that lists. */
  others: number
}

export async function measureScale(
  bench: Bench,
  profile: ScaleProfile,
  seed: number,
  progress: Progress,
): Promise<ScaleRecord> {
  progress.note(`searches among ${profile.items.toLocaleString('en')} items`)
  const search = await measureSearches(bench, profile, seed, progress)
  progress.note(`listings of up to ${Math.max(...profile.listings).toLocaleString('en')} items`)
  const urls = { ...bench.urls, product: siblingUrl(bench.urls.product, 'listings') }
  await createStudyDatabase(urls.product, 'product')
  const listed = [...listedItems(profile.listings)]
  progress.begin('filling the catalogue', listed.length, 'items')
  await fillForReading(urls.product, listed, progress.advance)
  const listings = await measureListings(bench, urls, profile, progress)
  const stalls = await measureStalls(bench, urls, profile, progress)
  return { ...search, listings, stalls }
}

/** The URL of a database beside the given one. */
function siblingUrl(url: string, name: string): string {
  const other = new URL(url)
  other.pathname = `${other.pathname}_${name}`
  return other.href
}

async function measureSearches(bench: Bench, profile: ScaleProfile, seed: number, progress: Progress) {
  const large = { ...bench.urls, product: siblingUrl(bench.urls.product, 'large') }
  await createStudyDatabase(large.product, 'product')
  const beganMs = performance.now()
  progress.begin('filling the catalogue', profile.items, 'items')
  await fillForReading(large.product, catalogueItems(profile.items), progress.advance)
  const filledS = (performance.now() - beganMs) / 1_000
  const systems = await Promise.all([bench.start('souk'), bench.start('souk', { urls: large })])
  const sizes = [ITEMS, profile.items]
  const searching = sizes.map((items) =>
    callingInTurn(createPlanners(createSearches(seed, items)).filter(({ operation }) => operation === 'search_items')),
  )
  progress.plan('searches', profile.searchers.length * sizes.length * (1 + profile.runs))
  const search = async (index: number, clients: number, number: number) => {
    const title = `${clients} clients, ${sizes[index]?.toLocaleString('en')} items`
    const { operations } = await runOn(
      bench,
      systems[index] as System,
      { clients, until: profile.until },
      { buyer: searching[index] as Behaviour<'buyer'> },
      number,
      (total, calls) => progress.begin(title, total, 'calls', calls),
    )
    progress.step()
    return operations.get('search_items') as Latencies
  }
  const searches: ScaleRecord['searches'] = []
  for (const clients of profile.searchers) {
    const cells = sizes.map((items) => ({ items, clients, runs: [] as LatencySummary[] }))
    for (const index of sizes.keys()) await search(index, clients, 0) // unrecorded: caches get filled
    await takeTurns(profile.runs, cells, async (cell, round) => {
      cell.runs.push(summarise(await search(cells.indexOf(cell), clients, round + 1)))
    })
    searches.push(...cells)
  }
  await Promise.all(systems.map((system) => system.stop()))
  return { searches, largeBytes: await readTableBytes(large.product), filledS }
}

/** Bytes of all tables of a database, with their indexes. */
function readTableBytes(url: string): Promise<number> {
  return withConnection(url, async (connection) => {
    const [row] = await connection.query<{ bytes: number }[]>(
      'SELECT CAST(SUM(data_length + index_length) AS UNSIGNED) AS bytes ' +
        'FROM information_schema.tables WHERE table_schema = DATABASE()',
    )
    return Number(row?.bytes ?? 0)
  })
}

function* listedItems(listings: readonly number[]): Generator<CatalogueItem> {
  const sellers = listings.flatMap((count, index) => Array<number>(count).fill(index + 1))
  for (const item of catalogueItems(sellers.length)) yield { ...item, sellerId: sellers[item.id - 1] as number }
}

/** Listings by souk, by threads.py, and by the database's driver alone on the same rows; one client each. */
async function measureListings(
  bench: Bench,
  urls: Urls,
  profile: ScaleProfile,
  progress: Progress,
): Promise<ScaleRecord['listings']> {
  const [souk, threads] = await Promise.all([bench.start('souk', { urls }), bench.start('threads', { urls })])
  const driver = await openDriver(urls.product)
  const cells: ScaleRecord['listings'] = []
  const systems = ['souk', 'threads', 'driver'] as const
  progress.plan('listings', profile.listings.length * systems.length * (1 + profile.runs))
  for (const [index, items] of profile.listings.entries()) {
    let bytes = 0
    const sellerId = index + 1
    const onStart: OnStart = (total, calls) => progress.begin(`listings of ${items} items`, total, 'calls', calls)
    const onServer = async (system: System, number: number) => {
      const listing: Behaviour<'seller'> = async (client) => {
        while (client.more()) {
          const result = await client.call(
            'display_items_for_sale',
            { limit: items },
            (page) => page.items.length === items && isListing(page.items, sellerId),
          )
          bytes ||= Buffer.byteLength(encodeResult(1, JSON.stringify(result)))
        }
      }
      const seller = { sessions: { ...bench.sessions, seller: bench.sessions.seller.slice(index) } }
      const size = { clients: 1, until: { calls: profile.listed } }
      const { operations } = await runOn(seller, system, size, { seller: listing }, number, onStart)
      return operations.get('display_items_for_sale') as Latencies
    }
    const list = {
      souk: (number: number) => onServer(souk, number),
      threads: (number: number) => onServer(threads, number),
      driver: () => driver.list(sellerId, items, profile.listed, onStart),
    }
    const entries = systems.map((system) => ({
      system,
      async measure(number: number) {
        const latencies = await list[system](number)
        progress.step()
        return latencies
      },
      runs: [] as LatencySummary[],
    }))
    for (const { measure } of entries) await measure(0) // unrecorded: code gets compiled
    await takeTurns(profile.runs, entries, async ({ measure, runs }, round) => {
      runs.push(summarise(await measure(round + 1)))
    })
    cells.push(...entries.map(({ system, runs }) => ({ system, items, bytes, runs })))
  }
  await Promise.all([souk.stop(), threads.stop(), driver.close()])
  return cells
}

/** The driver as the server uses it, and nothing around it. */
async function openDriver(url: string) {
  const connection = await createConnection({ ...DRIVER_OPTIONS, ...connectionOptions(url) })
  const sql =
    `SELECT ${ITEM_COLUMNS} FROM item FORCE INDEX (by_seller) ` +
    'WHERE seller_id = ? AND id < ? AND quantity > 0 ORDER BY id DESC LIMIT ?'
  async function list(sellerId: number, items: number, count: number, onStart: OnStart): Promise<Latencies> {
    const { latenciesUs } = newLatencies()
    onStart(count, () => latenciesUs.totalCount)
    const startedMs = performance.now()
    for (let listings = 0; listings < count; listings += 1) {
      const askedMs = performance.now()
      const rows = await connection.query<unknown[]>(sql, [sellerId, Number.MAX_SAFE_INTEGER, items + 1])
      latenciesUs.recordValue(Math.round((performance.now() - askedMs) * 1_000))
      if (rows.length !== items) throw new Error(`${rows.length} rows, not ${items}`)
    }
    return { latenciesUs, wallS: (performance.now() - startedMs) / 1_000 }
  }
  return { list, close: () => connection.end() }
}

/** Ratings for many clients: alone, and beside a client that lists everything again and again. */
async function measureStalls(
  bench: Bench,
  urls: Urls,
  profile: ScaleProfile,
  progress: Progress,
): Promise<ScaleRecord['stalls']> {
  const souk = await bench.start('souk', { urls, watched: true })
  const rating: Behaviour<'seller'> = async (client) => {
    const { accountId } = client
    const right = JSON.stringify({ seller_name: sellerName(accountId), ...sellerScore(accountId) })
    while (client.more()) await client.call('get_seller_rating', {}, (result) => JSON.stringify(result) === right)
  }
  const size = { clients: profile.others, until: profile.until }
  const cells = [0, Math.max(...profile.listings)].map((listed) => ({
    listed,
    clients: profile.others,
    runs: [] as ScaleRecord['stalls'][number]['runs'],
  }))
  const rate = async (number: number) => {
    const { operations } = await runOn(bench, souk, size, { seller: rating }, number, (total, calls) =>
      progress.begin('ratings beside long listings', total, 'calls', calls),
    )
    progress.step()
    return operations.get('get_seller_rating') as Latencies
  }
  progress.plan('runs', 1 + cells.length * profile.runs)
  await rate(0) // unrecorded: code gets compiled
  await takeTurns(profile.runs, cells, async ({ listed, runs }, round) => {
    const lister = listed === 0 ? undefined : await startLister(bench, souk, profile.listings.indexOf(listed), listed)
    try {
      await souk.longestStallMs('seller')
      const rating = summarise(await rate(round + 1))
      const longestStallMs = await souk.longestStallMs('seller')
      runs.push({ longestStallMs, rating })
    } finally {
      await lister?.()
    }
  })
  await souk.stop()
  return cells
}

/** Resolves when the first listing has arrived, to a function that stops the lister. */
async function startLister(
  { sessions }: Bench,
  { ports }: System,
  sellerIndex: number,
  limit: number,
): Promise<() => Promise<void>> {
  const account = { port: ports.seller, session: sessions.seller[sellerIndex]?.session, limit }
  const lister = spawn(process.execPath, programArguments('loadgen/children/listing-seller'), {
    env: { ...process.env, SOUK_LISTER: JSON.stringify(account) },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const ended = once(lister, 'exit')
  await Promise.race([once(lister.stdout as NonNullable<ChildProcess['stdout']>, 'data'), ended])
  if (lister.exitCode !== null) throw new Error('the lister has ended')
  return async () => {
    lister.kill('SIGTERM')
    await ended
  }
}

function runOn(
  { sessions }: Pick<Bench, 'sessions'>,
  system: System,
  size: Omit<RunSize, 'pipeline'>,
  behaviours: Behaviours,
  number: number,
  onStart: OnStart,
): Promise<Measurement> {
  const target = { ...system, canned: false }
  return runFleet(target, { ...size, pipeline: 1 }, behaviours, sessions, seeded(number), onStart)
}
