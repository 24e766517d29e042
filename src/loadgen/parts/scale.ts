/**
 * What size does to a marketplace: searches among very many items, listings of
 * very many, and what those who ask for little notice of those who ask for
 * much. Measured on product databases that are only read, beside the bench's.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createConnection } from 'mariadb'
import type { Result } from '../../contract/operations.ts'
import { encodeResult } from '../../contract/protocol.ts'
import { connectionOptions, DRIVER_OPTIONS, withConnection } from '../../db/connect.ts'
import type { Progress } from '../../process/progress.ts'
import { programArguments } from '../../process/start.ts'
import { ITEM_COLUMNS } from '../../server/market/items.ts'
import type { Bench } from '../bench.ts'
import { fillForReading, makeDatabase, type Urls } from '../databases.ts'
import { type Begins, type Behaviour, type Extent, newTally, type RunFigures, runFleet, type Tally } from '../fleet.ts'
import { figuresOf, type Scale } from '../record.ts'
import type { System } from '../systems.ts'
import {
  type CatalogueItem,
  catalogueItems,
  createPlanners,
  createSearches,
  ITEMS,
  scoreOf,
  seeded,
  takingTurns,
} from '../workload.ts'

export interface ScaleProfile {
  runs: number
  until: Extent['until']
  /** Items of the large catalogue. */
  items: number
  searchers: readonly number[]
  /** Items of each listing; the n-th seller has as many as the n-th of these. */
  listings: readonly number[]
  /** Listings of a run. */
  listed: number
  /** Clients beside the one who lists. */
  others: number
}

export async function measureScale(
  bench: Bench,
  profile: ScaleProfile,
  seed: number,
  progress: Progress,
): Promise<Scale> {
  progress.note(`searches among ${profile.items.toLocaleString('en')} items`)
  const search = await measureSearches(bench, profile, seed, progress)
  progress.note(`listings of up to ${Math.max(...profile.listings).toLocaleString('en')} items`)
  const urls = { ...bench.urls, product: besides(bench.urls.product, 'listings') }
  await makeDatabase(urls.product, 'product')
  const listed = [...itemsListed(profile.listings)]
  progress.begin('filling the catalogue', listed.length, 'items')
  await fillForReading(urls.product, listed, progress.advance)
  const listings = await measureListings(bench, urls, profile, progress)
  const stalls = await measureStalls(bench, urls, profile, progress)
  return { ...search, listings, stalls }
}

/** The URL of a database beside the given one. */
function besides(url: string, name: string): string {
  const other = new URL(url)
  other.pathname = `${other.pathname}_${name}`
  return other.href
}

async function measureSearches(bench: Bench, profile: ScaleProfile, seed: number, progress: Progress) {
  const large = { ...bench.urls, product: besides(bench.urls.product, 'large') }
  await makeDatabase(large.product, 'product')
  const beganMs = performance.now()
  progress.begin('filling the catalogue', profile.items, 'items')
  await fillForReading(large.product, catalogueItems(profile.items), progress.advance)
  const filledS = (performance.now() - beganMs) / 1_000
  const systems = await Promise.all([bench.start('souk'), bench.start('souk', { urls: large })])
  const sizes = [ITEMS, profile.items]
  const searching = sizes.map((items) =>
    takingTurns(createPlanners(createSearches(seed, items)).filter(({ operation }) => operation === 'search_items')),
  )
  progress.plan('searches', profile.searchers.length * sizes.length * (1 + profile.runs))
  const play = async (index: number, clients: number, number: number) => {
    const done = await runOn(
      bench,
      systems[index] as System,
      { clients, until: profile.until },
      { buyer: searching[index] as Behaviour<'buyer'> },
      number,
      (total, calls) =>
        progress.begin(`${clients} clients, ${sizes[index]?.toLocaleString('en')} items`, total, 'calls', calls),
    )
    progress.step()
    return done
  }
  const searches: Scale['searches'] = []
  for (const clients of profile.searchers) {
    const cells = sizes.map((items) => ({ items, clients, runs: [] as Scale['searches'][number]['runs'] }))
    for (const index of sizes.keys()) await play(index, clients, 0) // unrecorded: caches are filled
    await inTurns(profile.runs, cells, async (cell, run) => {
      const { operations } = await play(cells.indexOf(cell), clients, run)
      cell.runs.push(figuresOf(operations.get('search_items') as Tally))
    })
    searches.push(...cells)
  }
  await Promise.all(systems.map((system) => system.stop()))
  return { searches, largeBytes: await bytesOf(large.product), filledS }
}

/** Bytes of the tables that searches read, with their indexes. */
function bytesOf(url: string): Promise<number> {
  return withConnection(url, async (connection) => {
    const [row] = await connection.query<{ bytes: number }[]>(
      'SELECT CAST(SUM(data_length + index_length) AS UNSIGNED) AS bytes FROM information_schema.tables WHERE table_schema = DATABASE()',
    )
    return Number(row?.bytes ?? 0)
  })
}

function* itemsListed(listings: readonly number[]): Generator<CatalogueItem> {
  const sellers = listings.flatMap((count, index) => Array<number>(count).fill(index + 1))
  for (const item of catalogueItems(sellers.length)) yield { ...item, sellerId: sellers[item.id - 1] as number }
}

/** Souk, threads.py, and the database's driver alone on the same rows; one client each. */
async function measureListings(
  bench: Bench,
  urls: Urls,
  profile: ScaleProfile,
  progress: Progress,
): Promise<Scale['listings']> {
  const [souk, threads] = await Promise.all([bench.start('souk', { urls }), bench.start('threads', { urls })])
  const fetching = await openFetching(urls.product)
  const cells: Scale['listings'] = []
  const systems = ['souk', 'threads', 'driver'] as const
  progress.plan('listings', profile.listings.length * systems.length * (1 + profile.runs))
  for (const [index, items] of profile.listings.entries()) {
    let bytes = 0
    const begins: Begins = (total, calls) => progress.begin(`listings of ${items} items`, total, 'calls', calls)
    const onServer = async (system: System, number: number) => {
      const listing: Behaviour<'seller'> = async (client) => {
        while (client.more()) {
          const result = await client.call('display_items_for_sale', { limit: items }, (page) =>
            isWhole(page, index + 1, items),
          )
          bytes ||= Buffer.byteLength(encodeResult(1, JSON.stringify(result)))
        }
      }
      const seller = { ...bench, sessions: { ...bench.sessions, seller: bench.sessions.seller.slice(index) } }
      const { operations } = await runOn(
        seller,
        system,
        { clients: 1, until: { calls: profile.listed } },
        { seller: listing },
        number,
        begins,
      )
      return operations.get('display_items_for_sale') as Tally
    }
    const measured = {
      souk: (run: number) => onServer(souk, run),
      threads: (run: number) => onServer(threads, run),
      driver: () => fetching.listings(index + 1, items, profile.listed, begins),
    }
    const rows = systems.map((system) => ({
      system,
      async measure(run: number) {
        const tally = await measured[system](run)
        progress.step()
        return tally
      },
      runs: [] as Scale['listings'][number]['runs'],
    }))
    for (const { measure } of rows) await measure(0) // unrecorded: code is compiled
    await inTurns(profile.runs, rows, async ({ measure, runs }, run) => {
      runs.push(figuresOf(await measure(run)))
    })
    cells.push(...rows.map(({ system, runs }) => ({ system, items, bytes, runs })))
  }
  await Promise.all([souk.stop(), threads.stop(), fetching.close()])
  return cells
}

function isWhole({ items }: Result<'seller', 'display_items_for_sale'>, sellerId: number, count: number): boolean {
  const isNext = (id: number, index: number) => index === 0 || id < (items[index - 1]?.item_id ?? 0)
  return (
    items.length === count && items.every((item, index) => item.seller_id === sellerId && isNext(item.item_id, index))
  )
}

/** The driver as the server uses it, and nothing around it. */
async function openFetching(url: string) {
  const connection = await createConnection({ ...DRIVER_OPTIONS, ...connectionOptions(url) })
  const sql =
    `SELECT ${ITEM_COLUMNS} FROM item FORCE INDEX (by_seller) ` +
    'WHERE seller_id = ? AND id < ? AND quantity > 0 ORDER BY id DESC LIMIT ?'
  async function listings(sellerId: number, items: number, count: number, begins: Begins): Promise<Tally> {
    const tally = newTally()
    begins(count, () => tally.latenciesUs.totalCount)
    const beganMs = performance.now()
    for (let fetched = 0; fetched < count; fetched += 1) {
      const askedMs = performance.now()
      const rows = await connection.query<unknown[]>(sql, [sellerId, Number.MAX_SAFE_INTEGER, items + 1])
      tally.latenciesUs.recordValue(Math.round((performance.now() - askedMs) * 1_000))
      if (rows.length !== items) throw new Error(`${rows.length} rows, not ${items}`)
    }
    return { ...tally, wallS: (performance.now() - beganMs) / 1_000 }
  }
  return { listings, close: () => connection.end() }
}

/** Ratings for many clients, with and without somebody beside them who lists everything, again and again. */
async function measureStalls(
  bench: Bench,
  urls: Urls,
  profile: ScaleProfile,
  progress: Progress,
): Promise<Scale['stalls']> {
  const souk = await bench.start('souk', { urls, watched: true })
  const rating: Behaviour<'seller'> = async (client) => {
    const score = JSON.stringify(scoreOf(client.accountId))
    while (client.more()) await client.call('get_seller_rating', {}, (result) => JSON.stringify(result) === score)
  }
  const extent = { clients: profile.others, until: profile.until }
  const rows = [0, Math.max(...profile.listings)].map((listed) => ({
    listed,
    clients: profile.others,
    runs: [] as Scale['stalls'][number]['runs'],
  }))
  const rate = async (run: number) => {
    const done = await runOn(bench, souk, extent, { seller: rating }, run, (total, calls) =>
      progress.begin('ratings beside who lists everything', total, 'calls', calls),
    )
    progress.step()
    return done
  }
  progress.plan('runs', 1 + rows.length * profile.runs)
  await rate(0) // unrecorded: code is compiled
  await inTurns(profile.runs, rows, async ({ listed, runs }, run) => {
    const lister = listed === 0 ? undefined : await startLister(bench, souk, profile.listings.indexOf(listed), listed)
    try {
      await souk.longestStallMs('seller')
      const { operations } = await rate(run)
      const longestStallMs = await souk.longestStallMs('seller')
      runs.push({ longestStallMs, rating: figuresOf(operations.get('get_seller_rating') as Tally) })
    } finally {
      await lister?.()
    }
  })
  await souk.stop()
  return rows
}

/** Resolves when the first listing has come, to what ends it. */
async function startLister(
  { sessions }: Bench,
  { ports }: System,
  sellerIndex: number,
  limit: number,
): Promise<() => Promise<void>> {
  const account = { port: ports.seller, session: sessions.seller[sellerIndex]?.session, limit }
  const lister = spawn(process.execPath, programArguments('loadgen/children/lister'), {
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
  extent: Omit<Extent, 'pipeline'>,
  behaviours: Parameters<typeof runFleet>[2],
  number: number,
  begins: Begins,
): Promise<RunFigures> {
  return runFleet(
    { ...system, canned: false },
    { ...extent, pipeline: 1 },
    behaviours,
    sessions,
    seeded(number),
    begins,
  )
}

/** A B C, C B A, …: none is always the first. */
async function inTurns<Row>(
  runs: number,
  rows: readonly Row[],
  measure: (row: Row, run: number) => Promise<void>,
): Promise<void> {
  for (let run = 1; run <= runs; run += 1) {
    for (const row of run % 2 === 1 ? rows : rows.toReversed()) await measure(row, run)
  }
}
