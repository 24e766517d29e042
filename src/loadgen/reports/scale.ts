/** The section on the effect of size in the report of the market study. */

import { median, toFigures } from '../figures.ts'
import { type LatencySummary, merge, type ScaleRecord } from '../record.ts'
import { count, number, plural, table, times } from './markdown.ts'

/** Upper bounds for souk in a large marketplace; the first three are for ratios of medians over the runs. */
const TARGETS = { search: 2, listing: 4, p99: 5, stallMs: 10 }

type StallCell = ScaleRecord['stalls'][number]

/** Rows of the table of targets: load, measured, compared, result, target, verdict. */
export function listScaleVerdicts(scale: ScaleRecord): string[][] {
  const [small, large] = catalogueSizes(scale)
  const searches = searcherCounts(scale).map((clients) => {
    const ratio = p50Ms(searchRuns(scale, large, clients)) / p50Ms(searchRuns(scale, small, clients))
    return [
      `search_items, ${plural(clients, 'client')}`,
      'p50',
      `${count(large)} : ${count(small)} items`,
      times(ratio),
      `at most ${TARGETS.search}`,
      formatVerdict(ratio <= TARGETS.search),
    ]
  })
  const most = Math.max(...scale.listings.map(({ items }) => items))
  const listing = p50Ms(listingRuns(scale, 'souk', most)) / p50Ms(listingRuns(scale, 'driver', most))
  const [alone, beside] = scale.stalls as [StallCell, StallCell]
  const p99 = ratingP99Ms(beside) / ratingP99Ms(alone)
  const stallsMs = beside.runs.map((run) => run.longestStallMs)
  const longestMs = Math.max(...stallsMs)
  const raters = `get_seller_rating, ${plural(beside.clients, 'client')}`
  const lister = `one that lists ${count(beside.listed)} items`
  return [
    ...searches,
    [
      `a listing of ${count(most)} items, 1 client`,
      'p50, until the reply is parsed',
      'souk : driver alone',
      times(listing),
      `at most ${TARGETS.listing}`,
      formatVerdict(listing <= TARGETS.listing),
    ],
    [
      raters,
      'p99',
      `beside ${lister} : alone`,
      times(p99),
      `at most ${TARGETS.p99}`,
      formatVerdict(p99 <= TARGETS.p99),
    ],
    [
      `${raters}, beside ${lister}`,
      "longest stall of the server's event loop",
      '',
      `${number(longestMs)} ms (median of the runs ${number(median(stallsMs))} ms)`,
      `at most ${TARGETS.stallMs} ms`,
      formatVerdict(longestMs <= TARGETS.stallMs),
    ],
  ]
}

export function formatVerdict(isMet: boolean): string {
  return isMet ? '**met**' : '**not met**'
}

export function renderScale(scale: ScaleRecord): string {
  return [searches(scale), listings(scale), stalls(scale)].join('\n\n')
}

function searches(scale: ScaleRecord): string {
  const [small, large] = catalogueSizes(scale)
  const rows = searcherCounts(scale).map((clients) => {
    const [inSmall, inLarge] = [searchRuns(scale, small, clients), searchRuns(scale, large, clients)]
    const rates = [inSmall, inLarge].map((runs) => median(runs.map((run) => toFigures(run).throughput)))
    return [
      String(clients),
      number(p50Ms(inSmall)),
      number(p50Ms(inLarge)),
      ...rates.map(number),
      times(p50Ms(inLarge) / p50Ms(inSmall)),
    ]
  })
  const heads = [
    'clients',
    ...[small, large].map((items) => `p50 ms, ${count(items)} items`),
    ...[small, large].map((items) => `searches/s, ${count(items)} items`),
    'p50, large : small',
  ]
  return `The same searches in two catalogues, each on a souk of its own. Both have the same categories, keywords and
sellers, so a keyword has ${number(large / small)} times as many items in the large one. Every reply was exactly the right one.
The tables and indexes of the large one take ${number(scale.largeBytes / 2 ** 20)} MiB; filling them took ${number(scale.filledS)} s.

${table(heads, rows)}`
}

function listings(scale: ScaleRecord): string {
  const sizes = [...new Set(scale.listings.map(({ items }) => items))]
  const rows = sizes.map((items) => {
    const [souk, threads, driver] = [
      listingRuns(scale, 'souk', items),
      listingRuns(scale, 'threads', items),
      listingRuns(scale, 'driver', items),
    ]
    const p95s = [souk, threads].map((runs) => merge(runs).getValueAtPercentile(95) / 1_000)
    return [
      count(items),
      count(scale.listings.find((cell) => cell.items === items)?.bytes ?? 0),
      ...[p50Ms(souk), p50Ms(threads), p50Ms(driver), ...p95s].map(number),
      times(p50Ms(souk) / p50Ms(driver)),
      times(p50Ms(souk) / p50Ms(threads)),
    ]
  })
  const heads = [
    'items',
    'bytes',
    'p50 ms, souk',
    'p50 ms, threads.py',
    'p50 ms, driver alone',
    'p95 ms, souk',
    'p95 ms, threads.py',
    'souk : driver',
    'souk : threads.py',
  ]
  return `Listings of a seller's items, 1 client, until the reply is parsed. The original measured
6 ms for few items and 244 ms for 7,000.

${table(heads, rows)}`
}

function stalls({ stalls }: ScaleRecord): string {
  const rows = stalls.map((cell) => {
    const ratings = cell.runs.map(({ rating }) => rating)
    const longestMs = cell.runs.map((run) => run.longestStallMs)
    const throughput = median(ratings.map((run) => toFigures(run).throughput))
    return [
      cell.listed === 0 ? 'none' : `one, ${count(cell.listed)} items`,
      ...[throughput, p50Ms(ratings), ratingP99Ms(cell), median(longestMs), Math.max(...longestMs)].map(number),
    ]
  })
  const heads = [
    'client that lists',
    'ratings/s',
    'p50 ms',
    'p99 ms',
    'longest stall ms, median of the runs',
    'longest stall ms, of all runs',
  ]
  const clients = plural(stalls[0]?.clients ?? 0, 'client')
  return `Ratings for ${clients} of one server: alone, and beside a client in its own process that lists all items again
and again. Stalls of the event loop were measured inside the server; they include time in which other processes had
its processor.

${table(heads, rows)}`
}

function catalogueSizes({ searches }: ScaleRecord): [number, number] {
  return [...new Set(searches.map(({ items }) => items))] as [number, number]
}

function searcherCounts({ searches }: ScaleRecord): number[] {
  return [...new Set(searches.map(({ clients }) => clients))]
}

function searchRuns({ searches }: ScaleRecord, items: number, clients: number): readonly LatencySummary[] {
  return searches.find((cell) => cell.items === items && cell.clients === clients)?.runs ?? []
}

function listingRuns(
  { listings }: ScaleRecord,
  system: ScaleRecord['listings'][number]['system'],
  items: number,
): readonly LatencySummary[] {
  return listings.find((cell) => cell.items === items && cell.system === system)?.runs ?? []
}

function p50Ms(runs: readonly LatencySummary[]): number {
  return median(runs.map((run) => toFigures(run).p50Ms))
}

function ratingP99Ms({ runs }: StallCell): number {
  return median(runs.map(({ rating }) => toFigures(rating).p99Ms))
}
