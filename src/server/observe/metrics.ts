/**
 * The metrics of a server, for Prometheus. Nothing is added up here: what the
 * server has counted, and what it holds at the moment, is read when somebody asks.
 */

import { performance } from 'node:perf_hooks'
import { Counter, collectDefaultMetrics, Gauge, type Histogram, Registry } from 'prom-client'
import type { Role } from '../../contract/operations.ts'
import type { DatabaseName } from '../../db/schema.ts'
import type { PoolUse } from '../../db.ts'
import { VERSION } from '../../process/start.ts'
import type { Counts, Distribution } from './counts.ts'

/** What a server is asked for when its metrics are. */
export interface Observed {
  role: Role
  counts: Counts
  remaining(): { requests: number; connections: number }
  pools: Readonly<Record<DatabaseName, () => readonly PoolUse[]>>
  /** Whether a database is known to be lost. */
  isLost: Readonly<Record<DatabaseName, () => boolean>>
}

/** Metrics of prom-client that are gauges with the name of a counter. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

export function createMetrics(observed: Observed): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  addCalls(registry, observed.counts)
  addQueues(registry, observed.counts)
  addDatabases(registry, observed)
  addServer(registry, observed)
  return registry
}

function addCalls(registry: Registry, { calls, refusals, sweeps }: Counts): void {
  const callNames = ['operation', 'outcome'] as const
  addCounter(registry, 'souk_calls_total', 'Calls answered, by operation and outcome', callNames, () =>
    [...calls].flatMap(([operation, { outcomes }]) =>
      [...outcomes].map(([outcome, count]) => ({ labels: { operation, outcome }, value: count })),
    ),
  )
  addHistogram(registry, 'souk_call_seconds', 'Time from request to answer, by operation', () =>
    [...calls].map(([operation, { seconds }]) => ({ labels: { operation }, distribution: seconds })),
  )
  addCounter(registry, 'souk_refusals_total', 'Refusals, of calls and of anything else, by code', ['reason'], () => {
    const all = new Map(refusals)
    for (const { outcomes } of calls.values()) {
      for (const [code, count] of outcomes) if (code !== 'ok') all.set(code, (all.get(code) ?? 0) + count)
    }
    return [...all].map(([reason, value]) => ({ labels: { reason }, value }))
  })
  addCounter(registry, 'souk_sweep_slices_total', 'Slices in which old rows were looked for', ['table'], () =>
    [...sweeps].map(([table, { slices }]) => ({ labels: { table }, value: slices })),
  )
  addCounter(registry, 'souk_swept_rows_total', 'Old rows deleted', ['table'], () =>
    [...sweeps].map(([table, { rows }]) => ({ labels: { table }, value: rows })),
  )
}

function addQueues(registry: Registry, { queues }: Counts): void {
  addGauge(registry, 'souk_queue_waiting', 'Calls that wait for a batch, by queue', ['queue'], () =>
    [...queues].map(([queue, { waiting }]) => ({ labels: { queue }, value: waiting() })),
  )
  addHistogram(registry, 'souk_batch_size', 'Calls in a batch, by queue', () =>
    [...queues].map(([queue, { batchSizes }]) => ({ labels: { queue }, distribution: batchSizes })),
  )
}

function addDatabases(registry: Registry, { pools, isLost }: Observed): void {
  const ofPools = (pick: (use: PoolUse) => Record<string, number>, name: string) => () =>
    Object.entries(pools).flatMap(([database, uses]) =>
      uses().flatMap((use) =>
        Object.entries(pick(use)).map(([state, value]) => ({
          labels: { database, pool: use.pool, ...(name && { [name]: state }) },
          value,
        })),
      ),
    )
  const lanes = ofPools(({ active, idle }) => ({ active, idle }), 'state')
  addGauge(registry, 'souk_lanes', 'Connections to a database, by pool and state', ['database', 'pool', 'state'], lanes)
  const waiting = ofPools((use) => ({ waiting: use.waiting }), '')
  addGauge(
    registry,
    'souk_lane_waiting',
    'Batches that wait for a connection to a database',
    ['database', 'pool'],
    waiting,
  )
  addGauge(registry, 'souk_database_up', 'Whether a database is not known to be lost', ['database'], () =>
    Object.entries(isLost).map(([database, lost]) => ({ labels: { database }, value: lost() ? 0 : 1 })),
  )
}

function addServer(registry: Registry, { role, remaining }: Observed): void {
  addGauge(registry, 'souk_connections', 'Open connections of clients', [], () => [
    { labels: {}, value: remaining().connections },
  ])
  addGauge(registry, 'souk_requests_in_flight', 'Requests not yet answered', [], () => [
    { labels: {}, value: remaining().requests },
  ])
  const busy = 'souk_event_loop_busy_seconds_total'
  addCounter(registry, busy, 'Time in which the event loop did not wait; its rate is the utilisation', [], () => [
    { labels: {}, value: performance.eventLoopUtilization().active / 1_000 },
  ])
  addGauge(registry, 'souk_build_info', 'The version and the role', ['version', 'role'], () => [
    { labels: { version: VERSION, role }, value: 1 },
  ])
}

interface Value<L extends string> {
  labels: Partial<Record<L, string>>
  value: number
}

function addCounter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
  read: () => readonly Value<L>[],
): void {
  new Counter<L>({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset()
      for (const { labels, value } of read()) this.inc(labels, value)
    },
  })
}

function addGauge<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[],
  read: () => readonly Value<L>[],
): void {
  new Gauge<L>({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset()
      for (const { labels, value } of read()) this.set(labels, value)
    },
  })
}

/** A histogram whose observations were counted elsewhere, which prom-client has no class for. */
function addHistogram(
  registry: Registry,
  name: string,
  help: string,
  read: () => readonly { labels: Record<string, string>; distribution: Distribution }[],
): void {
  const get = async () => {
    const values = read().flatMap(({ labels, distribution }) => toValues(name, labels, distribution))
    return { name, help, type: 'histogram', values }
  }
  registry.registerMetric({ name, get } as unknown as Histogram)
}

function toValues(name: string, labels: object, { bounds, counts, sum }: Distribution) {
  let total = 0
  const buckets = counts.map((count, index) => {
    total += count
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bounds[index] ?? '+Inf' }, value: total }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ]
}
