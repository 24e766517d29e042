/** What the project says of itself is true: its files exist, its results are those of the study, the study's page is its record's. */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadRecord, type Study } from '../src/load/record.ts'
import { renderStudy } from '../src/load/report.ts'

const root = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const readme = readFileSync(root('README.md'), 'utf8')

/** The page that the record named in a text comes to. */
function pageOfRecordIn(text: string): string {
  const [name = ''] = /study-[\d-]+\.json/.exec(text) ?? []
  return renderStudy(loadRecord(root(`results/${name}`)) as Study, name)
}

describe('the README', () => {
  test('names no file that is not there', () => {
    const paths = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, path = '']) => path)
    assert.ok(paths.length > 20)
    for (const path of paths) assert.ok(existsSync(root(path)), path)
  })

  test('shows figures of the record it names, word for word', () => {
    const [, section = ''] = readme.split('## The study')
    const rows = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('|'))
    const page = pageOfRecordIn(section)
    assert.ok(rows.length > 5)
    for (const row of rows) assert.ok(page.includes(`${row}\n`), row)
  })
})

test('the page of results says what its record says', () => {
  const page = readFileSync(root('results/README.md'), 'utf8')
  assert.equal(page, pageOfRecordIn(page))
})
