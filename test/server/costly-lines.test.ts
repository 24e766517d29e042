/**
 * The time that one line keeps the loop for itself: decoded, checked and refused or handed on, by processor time and
 * compared with the parsing of a line as long, so that a busy machine changes nothing. The handlers do nothing.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'
import { decodeLine } from '../../src/contract/protocol.ts'
import { createDispatcher, type DispatchOptions } from '../../src/server/dispatch.ts'
import { answerForeign } from '../../src/server/foreign.ts'
import { HeldBytes } from '../../src/server/held-bytes.ts'
import { DEFAULT_LIMITS } from '../../src/server/limits.ts'
import { adversarialLines } from '../support/adversarial-lines.ts'

const LINE_BYTES = DEFAULT_LIMITS.lineBytes
/** How many times as long as the parsing of the costliest JSON. That takes up to 5 ms of a free processor. */
const MOST_TIMES = 4
const ATTEMPTS = 5

function dispatcherOf(role: Role) {
  const answer = () => ({ ok: {} })
  const handlers = Object.fromEntries([...operationsByName(role).keys()].map((name) => [name, { answer }]))
  const sessions = { check: () => ({ id: 1, name: 'Ann', sessionHash: '', endsMs: 0 }) }
  const held = new HeldBytes(Number.POSITIVE_INFINITY)
  const options = { role, handlers, sessions, held, document: {}, requestMs: 1_000, log: () => {} }
  return createDispatcher(options as unknown as DispatchOptions<Role>)
}

function cpuMs(work: () => unknown): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

const leastOf = (attempts: number, measure: () => number) => Math.min(...Array.from({ length: attempts }, measure))

describe('a line of any content', () => {
  const names = Array.from({ length: LINE_BYTES / 10 }, (_, index) => `"${index.toString(36)}":1`).join(',')
  let parses = 0
  const parseMs = leastOf(ATTEMPTS, () => cpuMs(() => JSON.parse(`{"${parses++}":1,${names}}`)))

  for (const role of ROLES) {
    it(`keeps the loop of a ${role} server not much longer than its parsing`, () => {
      const dispatch = dispatcherOf(role)
      for (const [name, line] of adversarialLines(role, LINE_BYTES)) {
        const bytes = Buffer.from(line)
        assert.ok(bytes.length > LINE_BYTES * 0.9 && bytes.length <= LINE_BYTES, `${name}: ${bytes.length} bytes`)
        const measure = () =>
          cpuMs(() => {
            const decoded = decodeLine(bytes)
            if (Array.isArray(decoded)) return
            if ('refusal' in decoded) answerForeign(bytes)
            else dispatch(decoded, { address: '127.0.0.1', closed: false })
          })
        const times = measure() / parseMs
        if (times > MOST_TIMES) {
          const least = leastOf(ATTEMPTS, measure) / parseMs
          assert.ok(least <= MOST_TIMES, `${name}: ${least.toFixed(1)} times as long as parsing many names`)
        }
      }
    })
  }
})
