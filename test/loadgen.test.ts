/** souk-load as a program: one scenario, Ctrl-C, and what it says of wrong input. */

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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

  test('refuses what it does not know, and a missing record, with a hint, exit 2', () => {
    const cases: [string, string][] = [
      ['--', 'a command is missing: run, study or report: souk-load --help'],
      ['stud', 'there is no command "stud": souk-load study'],
      ['study markt', 'unknown part "markt": replication or market: souk-load study --help'],
      ['study --ful', 'there is no option --ful; there is --full: souk-load study --help'],
      ['run 5', '"5" is one word too many: souk-load run --help'],
      ['run --runs', '--runs needs a value: souk-load run --help'],
      ['run --calls 1 --seconds 1', '--calls and --seconds exclude each other: souk-load run --help'],
      ['study --full --profile tiny', '--full and --profile exclude each other: souk-load study --help'],
      ['report --results 0123', 'no record in 0123; make one: souk-load study'],
      ['report --results=1e3', 'no record in 1e3; make one: souk-load study'],
    ]
    for (const [typed, expected] of cases) {
      const { status, stdout, stderr } = soukLoad(home, ...typed.split(' ').filter(Boolean))
      assert.deepEqual(
        { typed, status, stdout, stderr },
        { typed, status: 2, stdout: '', stderr: `souk: ${expected}\n` },
      )
    }
    const { status, stderr } = soukLoad(home, 'report', '0123')
    assert.equal(status, 2)
    assert.match(stderr, /^souk: 0123 is no record of a study: ENOENT.*: souk-load report --help\n$/)
    writeFileSync(join(home, 'text'), 'no\nJSON')
    const noJson = soukLoad(home, 'report', 'text').stderr
    assert.equal(noJson, 'souk: text is no record of a study: it is not JSON: souk-load report --help\n')
    const several = soukLoad(home, 'study', 'markt', '--sed', '1', '--profile', 'huge')
    assert.deepEqual(several.stderr.split('\n'), [
      'souk: there is no option --sed; there is --seed',
      'souk: unknown part "markt": replication or market',
      'souk: --profile: must be quick, full or tiny: souk-load study --help',
      '',
    ])
  })

  test('explains itself and each command, with examples first, at 80 columns', () => {
    const overview = soukLoad(home, '--help').stdout
    assert.match(overview, /^souk-load \d[\s\S]+\n\nExamples:\n {2}\$ souk-load run [\s\S]+\nCommands:\n {2}run {2}/)
    const ofRun = soukLoad(home, 'run', '-h').stdout
    assert.match(ofRun, /^Carry out one scenario[^\n]+\n\nExamples:[\s\S]+ {2}--clients <n> [^\n]+: 1 to 1000 \(10\)\n/)
    assert.match(ofRun, /flash-sale, hot-item, wide-sale \(all\)/)
    assert.equal(soukLoad(home, 'help', 'run').stdout, ofRun)
    assert.equal(soukLoad(home, 'help').stdout, overview)
    for (const line of (overview + ofRun).split('\n')) assert.ok(line.length <= 80, line)
    assert.match(soukLoad(home, 'run', '-v').stdout, /^souk-load\/\d\S+ \S+ node-v\S+\n$/)
  })

  test('points to the help of settings as it was called', () => {
    const env = { PATH: process.env.PATH, SOUK_HOME: home, SOUK_BUYER_PORT: 'x', npm_command: 'exec' }
    const { stderr } = spawnSync(process.execPath, [...SOUK_LOAD, 'run'], { cwd: home, env, encoding: 'utf8' })
    assert.match(stderr, /^souk: SOUK_BUYER_PORT: .+: npx souk-server --help\n$/)
  })
})
