/**
 * The report of the market study, computed from its record alone: whether souk
 * meets its targets, and the figures behind that.
 */

import {
  averageFigures,
  callsPerS,
  compare,
  countCalls,
  countPurchases,
  findCell,
  median,
  p99Ms,
  purchasesPerS,
  type Ratio,
} from '../figures.ts'
import { type AnyOperation, type MarketRecord, merge, type Run } from '../record.ts'
import type { Load, ScenarioName } from '../scenarios.ts'
import { SYSTEMS, type SystemName } from '../systems.ts'
import { count, list, number, table, times } from './markdown.ts'
import { formatVerdict, listScaleVerdicts, renderScale } from './scale.ts'
import {
  cellName,
  checksTable,
  describeCatalogue,
  describePools,
  describeSearches,
  describeUntil,
  describeWarmUps,
  listSystems,
  processorTime,
  provenance,
} from './sections.ts'

const COMPARED = ['souk', 'queue-off', 'threads', 'pinned'] as const satisfies readonly SystemName[]

/** `source` is the name of the record's file. */
export function renderMarket(record: MarketRecord, source: string): string {
  const sections = [
    introduction(record, source),
    '## Targets',
    verdicts(record),
    '## Side by side',
    sideBySide(record),
    latencies(record),
    '## What users do',
    shares(record),
    operations(record),
    '## The effect of size',
    renderScale(record.scale),
    '## Checks on the measurement',
    checks(record),
    '## Processor time',
    processorTime(record.cells.filter(({ scenario }) => !isSale(scenario))),
    processorTime(
      record.cells.filter(({ scenario }) => isSale(scenario)),
      'purchase',
      countPurchases,
    ),
    '## Set-up',
    setUp(record),
  ]
  return `${sections.join('\n\n')}\n`
}

function introduction(record: MarketRecord, source: string): string {
  const { 'flash-sale': flash, 'wide-sale': wide } = record.sales
  const scenarios = [
    '`mixed`: N buyers and N sellers, who behave as users do.',
    `\`flash-sale\`: buyers put 1 to ${flash.mostLines} of ${flash.items} items into their carts, one unit of each, ` +
      'and purchase them, again and again.',
    '`hot-item`: the same, but every cart has one unit of one item, the same item for all buyers.',
    `\`wide-sale\`: the same, but every cart has one unit of any of ${count(wide.items)} items.`,
  ]
  return `# Results: a marketplace under load

${provenance(record, source)}

${listSystems(COMPARED)}

The scenarios. Their clients are closed loops without think time, and act on the replies they get:

${list(scenarios)}

A sale starts with ${count(record.saleStock)} units of each item, more than any run sells.`
}

/** Souk's targets, each at the largest load of its scenario. */
const TARGETS: readonly {
  scenario: ScenarioName
  measured: string
  measure(run: Run): number
  /** Another system in the same scenario, or souk in another scenario. */
  against: { system: SystemName } | { scenario: ScenarioName }
  /** Of the ratio of medians. */
  bound: { least: number } | { most: number }
}[] = [
  {
    scenario: 'mixed',
    measured: 'calls per second',
    measure: callsPerS,
    against: { system: 'threads' },
    bound: { least: 6 },
  },
  {
    scenario: 'mixed',
    measured: 'p99 of all calls',
    measure: p99Ms,
    against: { system: 'threads' },
    bound: { most: 0.2 },
  },
  {
    scenario: 'flash-sale',
    measured: 'purchases per second',
    measure: purchasesPerS,
    against: { system: 'threads' },
    bound: { least: 10 },
  },
  {
    scenario: 'hot-item',
    measured: 'purchases per second',
    measure: purchasesPerS,
    against: { scenario: 'wide-sale' },
    bound: { least: 0.5 },
  },
]

function verdicts(record: MarketRecord): string {
  const rows = TARGETS.map(({ scenario, measured, measure, against, bound }) => {
    const clients = mostClients(record, scenario)
    const souk = findCell(record, scenario, clients, 'souk')
    const other =
      'system' in against
        ? findCell(record, scenario, clients, against.system)
        : findCell(record, against.scenario, clients, 'souk')
    const ratio = compare(souk, other, measure)
    const isMet = 'least' in bound ? ratio.ofMedians >= bound.least : ratio.ofMedians <= bound.most
    return [
      `${scenario}, ${describeClients(scenario, clients)}`,
      measured,
      'system' in against ? `souk : ${SYSTEMS[against.system].label}` : `${scenario} : ${against.scenario}`,
      formatRatio(ratio),
      'least' in bound ? `at least ${bound.least}` : `at most ${bound.most}`,
      formatVerdict(isMet),
    ]
  })
  const heads = ['load', 'measured', 'compared', 'result', 'target', '']
  return `Ratios of the medians of the runs; in brackets, the range of the ratios run by run.

${table(heads, [...rows, ...listScaleVerdicts(record.scale)], 3)}`
}

function sideBySide(record: MarketRecord): string {
  const others = COMPARED.filter((name) => name !== 'souk')
  const rows = listLoads(record).map(({ scenario, clients }) => {
    const cell = (system: SystemName) => findCell(record, scenario, clients, system)
    const measure = isSale(scenario) ? purchasesPerS : callsPerS
    return [
      `${scenario}, ${clients}`,
      ...COMPARED.map((system) => number(median(cell(system).runs.map(measure)))),
      ...others.map((other) => formatRatio(compare(cell('souk'), cell(other), measure))),
      times(compare(cell('queue-off'), cell('threads'), measure).ofMedians),
    ]
  })
  const heads = [
    'scenario, clients',
    ...COMPARED.map((system) => SYSTEMS[system].label),
    ...others.map((other) => `souk : ${SYSTEMS[other].label}`),
    'off : threads.py',
  ]
  return `Calls per second in \`mixed\`, purchases per second in the sales; the median of the runs.

${table(heads, rows)}`
}

function latencies(record: MarketRecord): string {
  const rows = record.cells.map((cell) => {
    const calls = merge(cell.runs.flatMap(({ operations }) => Object.values(operations)))
    const at = (percentile: number) => number(calls.getValueAtPercentile(percentile) / 1_000)
    const purchases = averageFigures(cell, 'purchases')
    return [
      cellName(cell),
      at(50),
      at(95),
      at(99),
      at(100),
      number(median(cell.runs.map(purchasesPerS))),
      number(purchases.p50Ms),
      number(purchases.p99Ms),
    ]
  })
  const heads = ['cell', 'call: p50 ms', 'p95 ms', 'p99 ms', 'max ms', 'purchases/s', 'purchase: p50 ms', 'p99 ms']
  return `Latencies of the calls of all runs together. A purchase lasts from its first \`add_item_to_cart\` to the reply
to \`make_purchase\`; in \`mixed\` its buyer browses in between.

${table(heads, rows)}`
}

/** The shares as stated, and those of the calls that were made. */
function shares(record: MarketRecord): string {
  const cell = findCell(record, 'mixed', mostClients(record, 'mixed'), 'souk')
  const calls = cell.runs.reduce((sum, run) => sum + countCalls(run), 0)
  const stated = Object.values(record.shares).map((share) => new Map(Object.entries(share)))
  const names = new Set(stated.flatMap((share) => [...share.keys()]))
  const rows = [...names].map((name) => [
    name,
    ...stated.map((share) => (share.has(name) ? formatShare((share.get(name) ?? 0) / 1_000) : '')),
    formatShare(averageFigures(cell, name as AnyOperation).calls / calls),
  ])
  const heads = ['operation', ...Object.keys(record.shares).map((role) => `of a ${role}'s calls`), 'of all calls, souk']
  return `A client of \`mixed\` draws each next operation by these shares. An operation that is not possible yet is replaced
by one that makes it possible: a purchase with an empty cart by an \`add_item_to_cart\`, an \`add_item_to_cart\`
without any item found by a search, and so on. The last column is each operation's share of the calls made by souk's
clients at ${describeClients('mixed', cell.clients)}.

${table(heads, rows)}`
}

function operations(record: MarketRecord): string {
  const clients = mostClients(record, 'mixed')
  const cells = COMPARED.map((system) => findCell(record, 'mixed', clients, system))
  const subjects = new Set(Object.values(record.shares).flatMap((share) => Object.keys(share) as AnyOperation[]))
  const rows = [...subjects].map((subject) => {
    const figures = cells.map((cell) => averageFigures(cell, subject))
    return [subject, ...figures.map(({ p50Ms }) => number(p50Ms)), ...figures.map(({ p99Ms }) => number(p99Ms))]
  })
  const labels = COMPARED.map((system) => SYSTEMS[system].label)
  const heads = [
    'operation',
    ...labels.map((label) => `p50 ms, ${label}`),
    ...labels.map((label) => `p99 ms, ${label}`),
  ]
  return `Latencies by operation of \`mixed\` at ${describeClients('mixed', clients)}, all runs together.

${table(heads, rows)}`
}

function checks({ cells }: MarketRecord): string {
  return `Little's law: throughput × mean latency / clients. Every reply was checked against the earlier replies to its
client; a refusal was right only for an item that others had bought meanwhile. After each run an auditor compared the
database with the replies to all clients: stock, purchases and their lines, keys and their answers, votes, scores,
carts, and the keyword index. Any violation would have ended the study.

${checksTable(cells)}`
}

function setUp(record: MarketRecord): string {
  const untils = [...new Set(record.cells.map(({ until }) => describeUntil(until)))]
  const facts = [
    `Catalogue, restored before each run: ${describeCatalogue(record)}; in \`mixed\` 1 to 50 units of each item. ` +
      'No carts, purchases, votes or keys.',
    `Searches: ${describeSearches(record)}.`,
    'Items that sellers of `mixed` register are in categories that are never searched.',
    'Every keyed operation carried a new key, on every system.',
    `Each client had an account and a session before the first run. A run lasted ${untils.join(' or ')}; ` +
      'purchases in progress were then completed.',
    `Warm-up, not recorded: ${describeWarmUps(record)}.`,
  ]
  return `${list(facts)}\n\n${describePools(record)}`
}

/** The loads, in the order in which they were run. */
function listLoads({ cells }: MarketRecord): Load[] {
  return cells.filter(({ system }) => system === 'souk')
}

function mostClients(record: MarketRecord, scenario: ScenarioName): number {
  const loads = listLoads(record).filter((load) => load.scenario === scenario)
  return Math.max(...loads.map(({ clients }) => clients))
}

function isSale(scenario: ScenarioName): boolean {
  return scenario !== 'mixed'
}

function describeClients(scenario: ScenarioName, clients: number): string {
  return scenario === 'mixed' ? `${clients} buyers + ${clients} sellers` : `${clients} buyers`
}

function formatRatio({ ofMedians, least, most }: Ratio): string {
  return `${times(ofMedians)} (${number(least)} to ${number(most)})`
}

function formatShare(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
