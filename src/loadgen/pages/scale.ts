/** The page's part on what size does, computed from the record alone. */

import { median, rowOf } from '../figures.ts'
import { type Figures, merged, type Scale } from '../record.ts'
import { number, table, times } from './markdown.ts'

/** Whether souk is as indifferent to size as it is meant to be. Ratios of medians of the runs. */
export function scaleVerdicts(scale: Scale): string[] {
  const [small, large] = catalogueSizes(scale)
  const searches = searcherCounts(scale).map((clients) => {
    const ratio = p50MsOf(searchesOf(scale, large, clients)) / p50MsOf(searchesOf(scale, small, clients))
    return `- search_items, ${clientsText(clients)}: the median among ${large.toLocaleString('en')} items ${times(ratio)} that among ${small.toLocaleString('en')}; meant to be at most ${times(2)}: **${met(ratio <= 2)}**.`
  })
  const most = Math.max(...scale.listings.map(({ items }) => items))
  const listing = p50MsOf(listingsOf(scale, 'souk', most)) / p50MsOf(listingsOf(scale, 'driver', most))
  const [alone, beside] = scale.stalls as [Stall, Stall]
  const p99 = p99MsOf(beside) / p99MsOf(alone)
  const stalls = beside.runs.map((run) => run.longestStallMs)
  const longestMs = Math.max(...stalls)
  return [
    ...searches,
    `- A listing of ${most.toLocaleString('en')} items, one client, until it is parsed: ${times(listing)} the time of the database's driver alone for the same rows; meant to be at most ${times(4)}: **${met(listing <= 4)}**.`,
    `- get_seller_rating, ${clientsText(beside.clients)}, beside one who lists ${beside.listed.toLocaleString('en')} items again and again: p99 ${times(p99)} that without; meant to be at most ${times(5)}: **${met(p99 <= 5)}**. The longest stall of the server's loop ${number(longestMs)} ms, in the median of the runs ${number(median(stalls))} ms; meant to be at most 10 ms: **${met(longestMs <= 10)}**.`,
  ]
}

export function renderScale(scale: Scale): string {
  return [searches(scale), listings(scale), stalls(scale)].join('\n\n')
}

type Stall = Scale['stalls'][number]

function searches(scale: Scale): string {
  const [small, large] = catalogueSizes(scale)
  const rows = searcherCounts(scale).map((clients) => {
    const cells = [searchesOf(scale, small, clients), searchesOf(scale, large, clients)]
    const p50s = cells.map(p50MsOf)
    const rates = cells.map((runs) => median(runs.map((run) => rowOf(run).throughput)))
    return [String(clients), ...[...p50s, ...rates].map(number), times((p50s[1] ?? 0) / (p50s[0] ?? 0))]
  })
  const heads = [
    'clients',
    ...[small, large].map((items) => `p50 ms, ${items.toLocaleString('en')} items`),
    ...[small, large].map((items) => `searches/s, ${items.toLocaleString('en')} items`),
    'p50, large : small',
  ]
  return `Searches of the same workload in two catalogues, each on a souk of its own; both have the same categories, keywords and sellers, so that in the large one a keyword has ${number(large / small)} times the items. Every reply was the very one it must be. The large one's tables and indexes hold ${number(scale.largeBytes / 2 ** 20)} MiB, filled in ${number(scale.filledS)} s.\n\n${table(heads, rows)}`
}

/** The study that souk answers told of 244 ms for 7000 items and 6 ms for few. */
function listings(scale: Scale): string {
  const sizes = [...new Set(scale.listings.map(({ items }) => items))]
  const rows = sizes.map((items) => {
    const [souk, threads, driver] = (['souk', 'threads', 'driver'] as const).map((system) =>
      listingsOf(scale, system, items),
    )
    const bytes = scale.listings.find((cell) => cell.items === items)?.bytes ?? 0
    const p50s = [souk, threads, driver].map((runs) => p50MsOf(runs ?? []))
    const p95s = [souk, threads].map((runs) => merged(runs ?? []).getValueAtPercentile(95) / 1_000)
    return [
      ...[items.toLocaleString('en'), bytes.toLocaleString('en')],
      ...[...p50s, ...p95s].map(number),
      times((p50s[0] ?? 0) / (p50s[2] ?? 0)),
      times((p50s[0] ?? 0) / (p50s[1] ?? 0)),
    ]
  })
  const heads = [
    ...[
      'items',
      'bytes',
      'p50 ms, souk',
      'p50 ms, threads.py',
      "p50 ms, the driver's rows",
      'p95 ms, souk',
      'p95 ms, threads.py',
    ],
    ...['souk : driver', 'souk : threads.py'],
  ]
  return `Listings of a seller's items, one client, until the reply is parsed. The original told of 6 ms for few items and 244 ms for 7,000.\n\n${table(heads, rows)}`
}

function stalls({ stalls }: Scale): string {
  const rows = stalls.map((stall) => {
    const ratings = stall.runs.map(({ rating }) => rating)
    const longest = stall.runs.map((run) => run.longestStallMs)
    return [
      stall.listed === 0 ? 'nobody' : `one, ${stall.listed.toLocaleString('en')} items`,
      ...[median(ratings.map((run) => rowOf(run).throughput)), p50MsOf(ratings), p99MsOf(stall)].map(number),
      ...[median(longest), Math.max(...longest)].map(number),
    ]
  })
  const heads = [
    'who lists',
    'ratings/s',
    'p50 ms',
    'p99 ms',
    'longest stall ms, median of the runs',
    'the longest of all',
  ]
  return `Ratings for ${clientsText(stalls[0]?.clients ?? 0)} of a server, with nobody and with somebody beside them who lists all items again and again, from a process of its own. Stalls of the server's event loop were measured within it; they contain what other processes took of its two cores.\n\n${table(heads, rows)}`
}

function catalogueSizes({ searches }: Scale): [number, number] {
  const sizes = [...new Set(searches.map(({ items }) => items))]
  return sizes as [number, number]
}

function searcherCounts({ searches }: Scale): number[] {
  return [...new Set(searches.map(({ clients }) => clients))]
}

function searchesOf({ searches }: Scale, items: number, clients: number): readonly Figures[] {
  return searches.find((cell) => cell.items === items && cell.clients === clients)?.runs ?? []
}

function listingsOf(
  { listings }: Scale,
  system: Scale['listings'][number]['system'],
  items: number,
): readonly Figures[] {
  return listings.find((cell) => cell.items === items && cell.system === system)?.runs ?? []
}

function p50MsOf(runs: readonly Figures[]): number {
  return median(runs.map((run) => rowOf(run).p50Ms))
}

function p99MsOf({ runs }: Stall): number {
  return median(runs.map(({ rating }) => rowOf(rating).p99Ms))
}

function clientsText(clients: number): string {
  return clients === 1 ? '1 client' : `${clients} clients`
}

function met(isMet: boolean): string {
  return isMet ? 'met' : 'not met'
}
