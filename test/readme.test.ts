/** What the project says of itself is true: its files exist, its results are those of the study, the study's page is its record's. */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadStudy, newestStudy } from '../src/load/record.ts'
import { renderStudy } from '../src/load/report.ts'

const root = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const readme = readFileSync(root('README.md'), 'utf8')
const results = readFileSync(root('results/README.md'), 'utf8')

describe('the README', () => {
  test('names no file that is not there', () => {
    const paths = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, path = '']) => path)
    assert.ok(paths.length > 20)
    for (const path of paths) assert.ok(existsSync(root(path)), path)
  })

  test('shows results that the study has written, word for word', () => {
    const [, section = ''] = readme.split('## The study')
    const rows = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('|'))
    assert.ok(rows.length > 5)
    for (const row of rows) assert.ok(results.includes(`${row}\n`), row)
  })
})

describe('the committed results', () => {
  test('say what their record says', () => {
    const path = newestStudy(root('results'))
    assert.ok(path !== undefined)
    assert.equal(results, renderStudy(loadStudy(path), basename(path)))
  })
})
