/** docs/reliability.md is what its records say. */

import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { describe, test } from 'node:test'
import { temporaryHome } from '../support/marketplace.ts'
import {
  PAGE_PATH,
  type RunRecord,
  readRecords,
  renderPage,
  type Verdict,
  writeRecord,
} from '../support/reliability.ts'

const RECORD: RunRecord = {
  kind: 'chaos',
  date: '2026-01-02T03:04:05.678Z',
  commit: '0123456789',
  command: 'npm run chaos -- --seed 7',
  seed: 7,
  options: { minutes: 1 },
  counts: { calls: 1_234 },
  verdicts: [
    { of: 'F1', what: 'a killed server answers again: at most 1000 ms', figure: '612 ms of 20', holds: true },
    { of: 'F5', what: 'recovery', figure: '3 s', holds: false },
  ],
  skipped: [{ what: 'F11', why: 'no right to mount' }],
}

describe('docs/reliability.md', () => {
  test('is what `npm run docs` writes', () => {
    assert.equal(readFileSync(PAGE_PATH, 'utf8'), renderPage(readRecords()), 'run npm run docs')
  })
})

describe('the page of a record', () => {
  test('has what was run, its counts, its seed, and each verdict as it was', () => {
    const page = renderPage([RECORD, { ...RECORD, date: '2026-01-03T03:04:05.678Z', seed: 8 }])
    assert.match(page, /^## Chaos\n\n2 runs, together:\n\n- 2,468 calls$/m)
    assert.match(
      page,
      /^- 2026-01-02, commit 0123456789, `npm run chaos -- --seed 7`: 1,234 calls; skipped: F11, because of no right to mount$/m,
    )
    assert.match(page, /F5 \| recovery \| 3 s \| \*\*does not hold\*\* in 2 of 2 runs/)
  })

  test('has one row for all verdicts on a thing, with the figures of those that do not hold', () => {
    const [, verdict] = RECORD.verdicts as [Verdict, Verdict]
    const better = { ...RECORD, verdicts: [{ ...verdict, figure: '1 s', holds: true }] }
    assert.match(renderPage([RECORD, better]), /F5 \| recovery \| 3 s \| \*\*does not hold\*\* in 1 of 2 runs/)
    assert.match(renderPage([better, better]), /F5 \| recovery \| 1 s \| holds \|/)
  })

  test('comes from files, oldest first', () => {
    const folder = temporaryHome()
    const newer = { ...RECORD, date: '2026-02-01T00:00:00.000Z' }
    for (const record of [newer, RECORD]) writeRecord(record, folder)
    assert.deepEqual(readRecords(folder), [RECORD, newer])
    rmSync(folder, { recursive: true })
  })
})
