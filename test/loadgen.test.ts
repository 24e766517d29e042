/** souk-load as a program: one scenario, Ctrl-C, and what it says of wrong input. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { SOUK_LOAD, soukLoad } from './support/souk-load.ts'

describe('souk-load', () => {
  const home = mkdtempSync(join(tmpdir(), 'souk-'))
  after(() => rmSync(home, { recursive: true, force: true }))

  test('runs one scenario with pipelined calls, and prints a row for each run', () => {
    const scenario = ['--scenario', 'search_items', '--clients', '2', '--calls', '30', '--runs', '2', '--pipeline', '5']
    const { status, stdout, stderr } = soukLoad(home, 'run', ...scenario)
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^search_items\n/)
    assert.equal(stdout.match(/^\| [12] \| 60 \|/gm)?.length, 2)
  })

  test('stops on Ctrl-C, and leaves nothing running', async () => {
    const load = spawn(process.execPath, [...SOUK_LOAD, 'run', '--clients', '20', '--runs', '100'], {
      cwd: home,
      env: { PATH: process.env.PATH, SOUK_HOME: home },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    for await (const text of load.stderr) {
      if (said === '') load.kill('SIGINT')
      said += text
    }
    assert.equal(load.exitCode ?? (await once(load, 'exit'))[0], 130)
    assert.match(said, /interrupted/)
    assert.equal(existsSync(join(home, 'study', 'owner')), false)
    assert.equal(existsSync(join(home, 'study', 'mariadb', 'pid')), false)
  })

  test('names every wrong option, exit 2', () => {
    const { status, stderr } = soukLoad(home, 'run', '--clients', '0', '--scenario', 'steal_items')
    assert.equal(status, 2)
    assert.match(stderr, /--scenario/)
    assert.match(stderr, /--clients/)
  })

  test('refuses an unknown command, part or option, and a missing record, exit 2', () => {
    for (const wrong of [['stud'], ['study', 'markt'], ['study', '--ful'], ['report', '--results', home]]) {
      const { status, stderr } = soukLoad(home, ...wrong)
      assert.equal(status, 2, stderr)
      assert.match(stderr, /^souk: .+/)
    }
  })
})
