/**
 * What is given to whoever watches souk: the alert rules, the dashboard, and the
 * tables of metrics in docs/operating.md name metrics and labels that a running
 * server has, and Prometheus' own checker finds nothing wrong with them.
 */

import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parser } from '@prometheus-io/lezer-promql'
import { parse } from 'yaml'
import { Caller } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'
import { findPromtool } from '../support/promtool.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
/** Labels that Prometheus adds. */
const ADDED_LABELS = ['instance', 'job']

let marketplace: TestMarketplace
/** The labels of every metric of a running server, by the name of its series. */
const labelsOf = new Map<string, Set<string>>([['up', new Set(ADDED_LABELS)]])

before(async () => {
  marketplace = await startTestMarketplace()
  const { port, program } = await marketplace.serve('buyer', { buyerHttpPort: 0 })
  const caller = await Caller.connect({ role: 'buyer' as const, port })
  await caller.refusal('get_item', { session: 'x'.repeat(43), item_id: 1 })
  const [, httpPort] = await program.says(/answers HTTP on 127\.0\.0\.1:(\d+)\n/)
  let page = ''
  await until('the first sweep is counted', async () => {
    page = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text()
    return page.includes('souk_sweep_slices_total{')
  })
  for (const [, name = '', labels = ''] of page.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const known = labelsOf.get(name) ?? new Set(ADDED_LABELS)
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label)
    labelsOf.set(name, known)
  }
})
after(() => marketplace?.close())

/** Fails on an expression that is no PromQL, or names a metric or a label that no server has. */
function checkExpression(expression: string): void {
  const text = expression.replaceAll('$__rate_interval', '5m')
  const metrics: string[] = []
  const labels: string[] = []
  parser.parse(text).iterate({
    enter({ name, from, to, type }) {
      const word = text.slice(from, to)
      assert.ok(!type.isError, `no PromQL: ${expression}`)
      if (name === 'Identifier') metrics.push(word)
      if (name === 'LabelName') labels.push(word)
    },
  })
  assert.ok(metrics.length > 0, expression)
  for (const metric of metrics) assert.ok(labelsOf.has(metric), `${metric} in ${expression}`)
  const known = metrics.flatMap((metric) => [...(labelsOf.get(metric) ?? [])])
  for (const label of labels) assert.ok(known.includes(label), `${label} in ${expression}`)
}

interface Panel {
  id: number
  title: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets: { expr: string; legendFormat: string }[]
}

describe('the alert rules', () => {
  const rules: { alert: string; expr: string; annotations: Record<string, string> }[] = parse(
    read('observe/souk-alerts.yml'),
  ).groups.flatMap(({ rules }: { rules: object[] }) => rules)

  it('ask for metrics that a server has', () => {
    assert.ok(rules.length > 5)
    for (const { expr } of rules) checkExpression(expr)
  })

  it('are each tested', () => {
    const tests = parse(read('observe/souk-alerts.test.yml')).tests as {
      alert_rule_test: { alertname: string; exp_alerts: object[] }[]
    }[]
    const fired = tests.flatMap((one) => one.alert_rule_test).filter(({ exp_alerts: alerts }) => alerts.length > 0)
    assert.deepEqual(fired.map(({ alertname }) => alertname).toSorted(), rules.map(({ alert }) => alert).toSorted())
  })

  it('pass the checks and tests of promtool', (context) => {
    const promtool = findPromtool()
    if (promtool === undefined) {
      context.skip('there is no promtool')
      return
    }
    for (const words of [
      'check config prometheus.yml',
      'check rules souk-alerts.yml',
      'test rules souk-alerts.test.yml',
    ]) {
      const ended: SpawnSyncReturns<string> = spawnSync(promtool, words.split(' '), {
        cwd: join(ROOT, 'observe'),
        encoding: 'utf8',
      })
      assert.equal(ended.status, 0, ended.stdout + ended.stderr)
    }
  })
})

describe('the dashboard', () => {
  const dashboard = JSON.parse(read('observe/souk-dashboard.json'))
  const panels: Panel[] = dashboard.panels

  it('asks for metrics that a server has', () => {
    for (const { targets } of panels) for (const { expr } of targets) checkExpression(expr)
    const [, metric = ''] = /label_values\((\w+), instance\)/.exec(JSON.stringify(dashboard.templating)) ?? []
    assert.ok(labelsOf.has(metric))
  })

  it('shows labels that its expressions keep', () => {
    for (const { targets } of panels) {
      for (const { expr, legendFormat } of targets) {
        const kept = /by \(([^)]*)\)/.exec(expr)?.[1]?.split(', ') ?? ADDED_LABELS
        for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(kept.includes(label), expr)
      }
    }
  })

  it('has panels that do not overlap, with ids of their own', () => {
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      assert.ok(x + w <= 24)
      return Array.from({ length: w * h }, (_, at) => `${x + (at % w)} ${y + Math.floor(at / w)}`)
    })
    assert.equal(new Set(cells).size, cells.length)
  })
})

describe('docs/operating.md', () => {
  it('explains every metric of souk, and no other', () => {
    const rows = read('docs/operating.md').match(/^\| `souk_.*$/gm) ?? []
    const explained = rows.flatMap((row) => row.split('|')[1]?.match(/\w+_\w+/g) ?? [])
    const own = [...labelsOf.keys()].filter((name) => name.startsWith('souk_'))
    const had = new Set(own.map((name) => name.replace(/_(bucket|sum|count)$/, '')))
    assert.deepEqual(explained.toSorted(), [...had].toSorted())
  })
})
