/**
 * The page of the market study, computed from its record alone: whether souk
 * is as much better as it is meant to be, and the figures behind that.
 */

import {
  averageOf,
  callsIn,
  cellOf,
  median,
  p99MsOf,
  purchasesIn,
  purchasesPerS,
  type Ratio,
  ratioOf,
  throughputOf,
} from '../figures.ts'
import { type Called, type Cell, type Market, merged, type Run } from '../record.ts'
import type { ScenarioName } from '../scenarios.ts'
import { SYSTEMS, type SystemName } from '../systems.ts'
import { nameOf } from './findings.ts'
import { number, table, times } from './markdown.ts'
import {
  catalogueText,
  checksTable,
  poolTable,
  processorTime,
  provenance,
  searchesText,
  untilText,
  warmUpText,
} from './replication.ts'
import { renderScale, scaleVerdicts } from './scale.ts'

const SYSTEMS_COMPARED = ['souk', 'queue-off', 'threads', 'pinned'] as const satisfies readonly SystemName[]

/** `source` is the name of the record's file. */
export function renderMarket(market: Market, source: string): string {
  const sections = [
    introduction(market, source),
    '## What was to be shown',
    verdicts(market),
    '## Side by side',
    sideBySide(market),
    latencies(market),
    '## What users do',
    shares(market),
    operations(market),
    '## What size does',
    renderScale(market.scale),
    '## Checks on the measurement',
    checks(market),
    '## Processor time',
    processorTime(market.cells.filter((cell) => !isSale(cell))),
    processorTime(market.cells.filter(isSale), 'purchase', purchasesIn),
    '## Set-up',
    setUp(market),
  ]
  return `${sections.join('\n\n')}\n`
}

function introduction(market: Market, source: string): string {
  return `# Results: a marketplace under load

${provenance(market, source)}

The systems, on the same databases, their runs taking turns: ${SYSTEMS_COMPARED.map((name) => SYSTEMS[name]).join('; ')}.
Clients are closed loops without think time, and act on what they are told. \`mixed\`: N buyers and N sellers, as users behave.
\`flash-sale\`: buyers put 1 to ${market.sales['flash-sale'].mostLines} of ${market.sales['flash-sale'].items} items into their carts, one unit of each, and purchase them, again and again.
\`hot-item\`: the same with one unit of one item, the same for all. \`wide-sale\`: with one unit of any of ${market.sales['wide-sale'].items.toLocaleString('en')} items.
In the sales ${market.saleStock.toLocaleString('en')} units of each item are on sale, which outlasts every run.`
}

/** What souk is meant to reach, each at the largest load of its scenario. */
const TARGETS: readonly {
  experiment: ScenarioName
  measured: string
  measure(run: Run): number
  against: { experiment?: ScenarioName; system: SystemName }
  /** Of the ratio of medians. */
  bound: { least: number } | { most: number }
}[] = [
  {
    ...{ experiment: 'mixed', measured: 'calls a second', measure: throughputOf },
    ...{ against: { system: 'threads' }, bound: { least: 6 } },
  },
  {
    ...{ experiment: 'mixed', measured: 'p99 of all calls', measure: p99MsOf },
    ...{ against: { system: 'threads' }, bound: { most: 0.2 } },
  },
  {
    ...{ experiment: 'flash-sale', measured: 'purchases a second', measure: purchasesPerS },
    ...{ against: { system: 'threads' }, bound: { least: 10 } },
  },
  {
    ...{ experiment: 'hot-item', measured: 'purchases a second', measure: purchasesPerS },
    ...{ against: { experiment: 'wide-sale', system: 'souk' }, bound: { least: 0.5 } },
  },
]

function verdicts(market: Market): string {
  const lines = TARGETS.map(({ experiment, measured, measure, against, bound }) => {
    const clients = mostClients(market, experiment)
    const other = cellOf(market, against.experiment ?? experiment, clients, against.system)
    const ratio = ratioOf(cellOf(market, experiment, clients, 'souk'), other, measure)
    const isMet = 'least' in bound ? ratio.ofMedians >= bound.least : ratio.ofMedians <= bound.most
    const target = 'least' in bound ? `at least ${bound.least}` : `at most ${bound.most}`
    const others =
      against.experiment === undefined ? `those of ${nameOf(against.system)}` : `its own in ${other.experiment}`
    return `- ${experiment}, ${clientsText(experiment, clients)}, ${measured}: souk's are ${ratioText(ratio)} ${others}. Meant to be ${target}: **${isMet ? 'met' : 'not met'}**.`
  })
  return `Ratios of medians, and in brackets between which the runs lie that took turns.\n\n${[...lines, ...scaleVerdicts(market.scale)].join('\n')}`
}

function sideBySide(market: Market): string {
  const others = SYSTEMS_COMPARED.filter((name) => name !== 'souk')
  const rows = loadsOf(market).map(({ experiment, clients }) => {
    const cell = (system: SystemName) => cellOf(market, experiment, clients, system)
    const measure = isSale({ experiment }) ? purchasesPerS : throughputOf
    return [
      `${experiment}, ${clients}`,
      ...SYSTEMS_COMPARED.map((system) => number(median(cell(system).runs.map(measure)))),
      ...others.map((other) => ratioText(ratioOf(cell('souk'), cell(other), measure))),
      times(median(cell('queue-off').runs.map(measure)) / median(cell('threads').runs.map(measure))),
    ]
  })
  const heads = [
    ...['scenario, clients', ...SYSTEMS_COMPARED.map(nameOf)],
    ...others.map((other) => `souk : ${nameOf(other)}`),
    'off : threads.py',
  ]
  return `In \`mixed\` calls a second, in the sales purchases a second; the median of the runs.\n\n${table(heads, rows)}`
}

function latencies(market: Market): string {
  const rows = market.cells.map((cell) => {
    const calls = merged(cell.runs.flatMap(({ operations }) => Object.values(operations)))
    const at = (percentile: number) => number(calls.getValueAtPercentile(percentile) / 1_000)
    const purchases = averageOf(cell, 'purchases')
    return [
      `${cell.experiment}, ${cell.clients}, ${nameOf(cell.system)}`,
      ...[at(50), at(95), at(99), at(100)],
      ...[number(median(cell.runs.map(purchasesPerS))), number(purchases.p50Ms), number(purchases.p99Ms)],
    ]
  })
  const heads = [
    ...['cell', 'a call: p50 ms', 'p95 ms', 'p99 ms', 'max ms'],
    ...['purchases/s', 'a purchase: p50 ms', 'p99 ms'],
  ]
  return `Latencies, of the calls of all runs together. A purchase lasts from its first \`add_item_to_cart\` to the reply to \`make_purchase\`; in \`mixed\` its buyer browses meanwhile.\n\n${table(heads, rows)}`
}

/** As stated, and as it came about: what is not possible yet is replaced by what makes it possible. */
function shares(market: Market): string {
  const cell = cellOf(market, 'mixed', mostClients(market, 'mixed'), 'souk')
  const calls = cell.runs.reduce((sum, run) => sum + callsIn(run), 0)
  const stated = Object.values(market.shares).map((share) => new Map(Object.entries(share)))
  const names = new Set(stated.flatMap((share) => [...share.keys()]))
  const rows = [...names].map((name) => {
    const made = averageOf(cell, name as Called).calls / calls
    return [
      name,
      ...stated.map((share) => (share.has(name) ? percent((share.get(name) ?? 0) / 1_000) : '')),
      percent(made),
    ]
  })
  const heads = ['operation', ...Object.keys(market.shares).map((role) => `of a ${role}'s calls`), 'of all calls, souk']
  return `A client of \`mixed\` draws what it does next from these shares. What is not possible yet is replaced by what makes it possible: a purchase with an empty cart by an \`add_item_to_cart\`, that by a search, and so on. The last column is what came about at ${clientsText('mixed', cell.clients)}.\n\n${table(heads, rows)}`
}

function operations(market: Market): string {
  const clients = mostClients(market, 'mixed')
  const cells = SYSTEMS_COMPARED.map((system) => cellOf(market, 'mixed', clients, system))
  const subjects = new Set(Object.values(market.shares).flatMap((share) => Object.keys(share) as Called[]))
  const rows = [...subjects].map((subject) => {
    const figures = cells.map((cell) => averageOf(cell, subject))
    return [subject, ...figures.map(({ p50Ms }) => number(p50Ms)), ...figures.map(({ p99Ms }) => number(p99Ms))]
  })
  const names = SYSTEMS_COMPARED.map(nameOf)
  const heads = ['operation', ...names.map((name) => `p50 ms, ${name}`), ...names.map((name) => `p99 ms, ${name}`)]
  return `Latencies by operation, \`mixed\` at ${clientsText('mixed', clients)}, of all runs together.\n\n${table(heads, rows)}`
}

function checks({ cells }: Market): string {
  return `Little's law: throughput times mean latency over the number of clients. Every reply was checked against what its client had been told before; a refusal was right only for an item that others had bought meanwhile. After each run an auditor held the database against all that clients were told: stock, purchases and their lines, keys and their answers, votes, scores, carts, the keyword index. It found nothing amiss, or this page would not exist.\n\n${checksTable(cells)}`
}

function setUp(market: Market): string {
  const { catalogue, search, sweep, poolSize, warmUps, cells } = market
  const [cell] = cells
  return `- Catalogue, before each run: ${catalogueText(catalogue)}; in \`mixed\` 1 to 50 units each. No carts, purchases, votes or keys.
- Searches: ${searchesText(search)}. What sellers of \`mixed\` register stands in categories that nobody searches.
- Every keyed operation carried a new key, on every system.
- Each client had an account and a session before the first run; a run ended after ${cell === undefined ? '' : untilText(cell.until)}, a purchase that was begun was finished.
- Warm-up, not recorded: ${warmUpText(warmUps)}.
- The systems that don't gather had pools of ${poolSize} connections, the best of these for threads.py (calls a second at the largest loads, geometric mean); souk has 8:

${poolTable(sweep, [...new Set(sweep.flatMap(({ throughput }) => Object.keys(throughput)))])}`
}

function loadsOf({ cells }: Market): Pick<Cell, 'experiment' | 'clients'>[] {
  return cells.filter(({ system }) => system === 'souk')
}

function mostClients(market: Market, experiment: ScenarioName): number {
  const loads = loadsOf(market).filter((load) => load.experiment === experiment)
  return Math.max(...loads.map(({ clients }) => clients))
}

function isSale({ experiment }: Pick<Cell, 'experiment'>): boolean {
  return experiment !== 'mixed'
}

function clientsText(experiment: ScenarioName, clients: number): string {
  return experiment === 'mixed' ? `${clients} buyers + ${clients} sellers` : `${clients} buyers`
}

function ratioText({ ofMedians, least, most }: Ratio): string {
  return `${times(ofMedians)} (${number(least)} to ${number(most)})`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
