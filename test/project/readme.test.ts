/** What the project says about itself is true: the files exist, and every page of results matches its record. */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isMarket, loadRecord } from '../../src/loadgen/record.ts'
import { renderMarket } from '../../src/loadgen/reports/market.ts'
import { renderReplication } from '../../src/loadgen/reports/replication.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const readme = readFileSync(root('README.md'), 'utf8')

/** The pages rendered from all records that a text names. */
function pagesOfRecordsIn(text: string): string {
  const names = new Set(text.match(/(study|market)-[\d-]+\.json/g))
  assert.ok(names.size > 0, 'no record is named')
  const pages = [...names].map((name) => {
    const record = loadRecord(root(`results/${name}`))
    return isMarket(record) ? renderMarket(record, name) : renderReplication(record, name)
  })
  return pages.join('')
}

describe('the README', () => {
  test('links only to files that exist', () => {
    const paths = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, path = '']) => path)
    assert.ok(paths.length > 20)
    for (const path of paths) assert.ok(existsSync(root(path)), path)
  })

  test('shows the figures of the records it names, word for word', () => {
    const [, section = ''] = readme.split('## The study')
    const rows = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('|'))
    const page = pagesOfRecordsIn(section)
    assert.ok(rows.length > 5)
    for (const row of rows) assert.ok(page.includes(`${row}\n`), row)
  })
})

for (const name of ['README.md', 'market.md']) {
  test(`results/${name} says what its record says`, () => {
    const page = readFileSync(root(`results/${name}`), 'utf8')
    assert.equal(page, pagesOfRecordsIn(page))
  })
}
