/** The table of guards fits the project; whether tests notice each is shown by npm run mutants. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { GUARDS } from './guards.ts'
import { breakGuard, ROOT } from './tree.ts'

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

describe('the table of guards', () => {
  it('has at least twenty, each with a name of its own', () => {
    assert.ok(GUARDS.length >= 20)
    assert.equal(new Set(GUARDS.map(({ name }) => name)).size, GUARDS.length)
  })

  for (const guard of GUARDS) {
    it(`finds the text for “${guard.name}” once, and its tests`, () => {
      const whole = read(guard.file)
      assert.notEqual(breakGuard(guard, whole), whole)
      const tests = read(guard.test)
      for (const title of guard.only?.split('|') ?? []) assert.ok(tests.includes(title), title)
    })
  }
})
