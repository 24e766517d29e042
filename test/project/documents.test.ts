/** What the project says about itself is true: files that documents name exist, and every report matches its record. */

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isMarket, loadRecord } from '../../src/loadgen/record.ts'
import { renderMarket } from '../../src/loadgen/reports/market.ts'
import { renderReplication } from '../../src/loadgen/reports/replication.ts'
import { MANAGERS } from '../../src/process/needs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'docs/architecture.md',
  'docs/client.md',
  'docs/operating.md',
  'docs/protocol.md',
  'docs/reliability.md',
]

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The reports rendered from all records that a text names. */
function renderRecordsIn(text: string): string {
  const names = new Set(text.match(/(study|market)-[\d-]+\.json/g))
  assert.ok(names.size > 0, 'no record is named')
  const reports = [...names].map((name) => {
    const record = loadRecord(join(ROOT, 'results', name))
    return isMarket(record) ? renderMarket(record, name) : renderReplication(record, name)
  })
  return reports.join('')
}

describe('the documents', () => {
  test('link only to files that exist', () => {
    const paths = DOCUMENTS.flatMap((document) =>
      [...read(document).matchAll(/\]\((?!https:|#)([^)#]+)[^)]*\)/g)].map(([, path = '']) =>
        join(dirname(document), path),
      ),
    )
    assert.ok(paths.length > 20)
    for (const path of paths) assert.ok(existsSync(join(ROOT, path)), path)
  })

  test('name only paths that exist', () => {
    const named = DOCUMENTS.flatMap((document) => read(document).match(/\b(src|test|docs|baseline)\/[\w./-]*\w/g) ?? [])
    assert.ok(named.length > 20)
    for (const path of named) assert.ok(existsSync(join(ROOT, path)), path)
  })

  test('describe every folder of the source', () => {
    const architecture = read('docs/architecture.md')
    for (const { name } of readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((one) => one.isDirectory())) {
      assert.ok(architecture.includes(`[src/${name}](../src/${name})`), name)
    }
  })
})

test('git ignores the results of short studies', () => {
  assert.match(read('.gitignore'), /^results\/quick\/$/m)
})

describe('the README', () => {
  test('names the package managers that bring what is missing', () => {
    for (const manager of MANAGERS) assert.ok(read('README.md').includes(`\`${manager}\``), manager)
  })

  test('shows the figures of the record it names, word for word', () => {
    const readme = read('README.md')
    const rows = readme.split('\n').filter((row) => row.startsWith('|'))
    const report = renderRecordsIn(readme)
    assert.ok(rows.length > 5)
    for (const row of rows) assert.ok(report.includes(`${row}\n`), row)
  })
})

for (const name of ['README.md', 'market.md']) {
  test(`results/${name} says what its record says`, () => {
    const report = read(`results/${name}`)
    assert.equal(report, renderRecordsIn(report))
  })
}
