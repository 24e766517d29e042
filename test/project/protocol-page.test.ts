/** docs/protocol.md is current, and its first session is a real one: `nc` says the same to a real server. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { operationsByName, ROLES } from '../../src/contract/operations.ts'
import { ERROR_NUMBERS } from '../../src/contract/refusals.ts'
import { LIMIT_NAMES } from '../../src/server/limits.ts'
import { maskVariables } from '../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const page = readFileSync(root('docs/protocol.md'), 'utf8')

describe('docs/protocol.md', () => {
  test('is what `npm run docs` writes', () => {
    const script = ['--import', 'tsx', root('scripts/protocol.ts'), '--print']
    assert.equal(page, execFileSync(process.execPath, script, { encoding: 'utf8' }), 'run npm run docs')
  })

  test('has every operation, every code and every limit', () => {
    for (const role of ROLES) {
      for (const name of operationsByName(role).keys()) assert.ok(page.includes(`\n#### ${name}\n`), name)
    }
    for (const [code, number] of Object.entries(ERROR_NUMBERS)) assert.ok(page.includes(`| \`${code}\` | ${number} |`))
    for (const limit of LIMIT_NAMES) assert.ok(page.includes(`| \`${limit}\` |`), limit)
  })
})

describe('the first session', () => {
  let marketplace: TestMarketplace
  let buyers: RunningServer<'buyer'>

  before(async () => {
    marketplace = await startTestMarketplace()
    buyers = await marketplace.serve('buyer')
  })
  after(() => marketplace?.close())

  test('is what nc prints when it is typed', () => {
    const [, section = ''] = page.split('\n## A first session\n')
    const lines = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('    '))
    assert.ok(lines.length > 4)
    let session = ''
    for (let at = 0; at < lines.length; at += 2) {
      const [, typed = ''] = /^ {4}\$ (.*)$/.exec(lines[at] ?? '') ?? []
      const command = typed.replace('7102', String(buyers.port)).replace('session-of-eve', session)
      const printed = execFileSync('bash', ['-c', command], { encoding: 'utf8' })
      session ||= JSON.parse(printed).result.session ?? ''
      assert.deepEqual(maskVariables(printed), maskVariables(lines[at + 1] ?? ''))
    }
  })
})
