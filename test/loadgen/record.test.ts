/** Records: those of earlier versions load as well, and new ones come back as they were written. */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { loadRecord, newestRecords, type ReplicationRecord, saveRecord } from '../../src/loadgen/record.ts'

const CELL = { clients: 10, system: 'souk', until: { calls: 20 }, runs: [] }
const WARM_UP = { system: 'souk', windows: [1], steady: false }

describe('a record', () => {
  const folder = mkdtempSync(join(tmpdir(), 'souk-'))
  after(() => rmSync(folder, { recursive: true, force: true }))

  function write(name: string, record: object): string {
    const path = join(folder, name)
    writeFileSync(path, JSON.stringify(record))
    return path
  }

  test('that calls the scenario of its loads `experiment` loads like one that calls it `scenario`', () => {
    const loads = (name: string) => ({
      format: 1,
      cells: [{ [name]: 'search_items', ...CELL }],
      warmUps: [{ [name]: 'all', ...WARM_UP }],
    })
    const old = loadRecord(write('old.json', loads('experiment')))
    assert.deepEqual(old, loadRecord(write('new.json', loads('scenario'))))
    assert.deepEqual([old.cells[0]?.scenario, old.warmUps[0]?.scenario], ['search_items', 'all'])
  })

  test('of another format is refused', () => {
    assert.throws(() => loadRecord(write('other.json', { format: 2, cells: [], warmUps: [] })), /not of format 1/)
  })

  test('is saved under the name of its part and its start, with `scenario` in it, and loads as it was', () => {
    const cells = [{ scenario: 'all', ...CELL }]
    const record = { format: 1, startedAt: '2026-01-02T03:04:05.678Z', cells, warmUps: [] } as object
    const path = saveRecord(folder, record as ReplicationRecord)
    assert.equal(path, join(folder, 'study-20260102-030405.json'))
    assert.match(readFileSync(path, 'utf8'), /"scenario": "all"/)
    assert.deepEqual(loadRecord(path), record)
    assert.deepEqual(newestRecords(folder), [path])
  })
})
