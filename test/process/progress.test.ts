/** Progress as a person sees it in a real terminal: of a piece of code, of souk-server and of souk-load. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { withConnection } from '../../src/db/connect.ts'
import { findRunning } from '../../src/db/private-mariadb.ts'
import { Wire } from '../support/clients.ts'
import { findProcesses, temporaryHome, until } from '../support/marketplace.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const NODE = [`--import=${import.meta.resolve('tsx')}`]
const MODULE = new URL('../../src/process/progress.ts', import.meta.url).href

let terminal: Terminal | undefined
afterEach(async () => {
  await terminal?.close()
  terminal = undefined
})

/** Node's arguments for a script that has `progress`, and `sleep`, which takes milliseconds. */
function working(script: string): string[] {
  const imports = `import { createProgress } from '${MODULE}'; import { setTimeout as sleep } from 'node:timers/promises';`
  return [...NODE, '--input-type=module', '-e', `${imports} const progress = createProgress(process.stderr); ${script}`]
}

function work(script: string, columns = 80, env: Record<string, string> = {}): Terminal {
  terminal = openTerminal({ command: process.execPath, args: working(script), cwd: tmpdir(), columns, env })
  return terminal
}

/** Everything that the line has shown, in order. */
function drawn({ raw }: Terminal): string[] {
  return raw.split('\r\x1b[K').filter((line) => line !== '' && !line.endsWith('\n'))
}

const FORTY_OF_A_HUNDRED = `
  progress.begin('filling the catalogue', 100_000, 'items')
  await sleep(300); progress.advance(40_000); await sleep(100_000)`

describe('progress on a terminal', () => {
  it('shows the work done, its rate, and the time left', async () => {
    const { shows } = work(`
      progress.begin('filling the catalogue', 100_000, 'items')
      await sleep(3_000); progress.advance(90_000); await sleep(100_000)`)
    const [, perS = '', leftS = ''] = await shows(
      /^filling the catalogue · 90,000\/100,000 items · ([\d,]+)\/s · 0:(\d\d) left$/,
    )
    const rate = Number(perS.replaceAll(',', ''))
    assert.ok(rate > 1_000 && rate <= 30_100, perS)
    assert.ok(Math.abs(Number(leftS) - 10_000 / rate) <= 1.5, `${leftS} s at ${rate}/s`)
  })

  it('fits a narrow terminal by cutting the name of the work, not the figures', async () => {
    await work(FORTY_OF_A_HUNDRED, 60).shows(/^filling .*… · 40,000\/100,000 items · [\d,]+\/s · 0:0\d left$/)
    assert.ok(drawn(terminal as Terminal).every((line) => line.length < 60))
    await terminal?.close()
    await work(FORTY_OF_A_HUNDRED, 20).shows(/^… · 40,000\/100,000$/)
  })

  it('shows the time passed, or the time left of a known duration, and updates it by itself', async () => {
    await work(`progress.begin('waiting'); await sleep(100_000)`).shows(/^waiting · 0:0[2-9]$/)
    await terminal?.close()
    await work(`progress.begin('waiting', { seconds: 63 }); await sleep(100_000)`).shows(
      /^waiting · (1:0[0-2]|0:5\d) left$/,
    )
  })

  it('is drawn at most ten times a second, however often it advances', async () => {
    const { ended } = work(`
      progress.begin('working', 1e9, 'items')
      const beganMs = performance.now()
      for (let done = 0; performance.now() - beganMs < 1_500; done += 1) progress.advance(done)
      progress.end()`)
    await ended
    const draws = drawn(terminal as Terminal).length
    assert.ok(draws > 2 && draws <= 17, String(draws))
  })

  it('is drawn when all units are done, however soon that is', async () => {
    await work(`progress.begin('working', 3, 'items'); for (const done of [1, 2, 3]) progress.advance(done)`).ended
    const counts = drawn(terminal as Terminal).map((line) => /\d\/3 items/.exec(line)?.[0])
    assert.deepEqual([counts[0], counts.at(-1)], ['0/3 items', '3/3 items'])
  })

  it('polls `done` once a second if it is given', async () => {
    const { ended } = work(`
      let asked = 0
      progress.begin('running', 1000, 'calls', () => { asked += 1; return asked * 100 })
      await sleep(3_500)`)
    await ended
    const counts = drawn(terminal as Terminal).map((line) => /([\d,]+)\/1,000 calls/.exec(line)?.[1])
    assert.ok(counts.length >= 2 && counts.length <= 5, String(counts))
    assert.deepEqual(counts, ['0', '100', '200', '300'].slice(0, counts.length))
  })

  it('shows the steps of a plan before the current piece, until the last is done', async () => {
    const { shows } = work(`
      progress.plan('runs', 2)
      progress.begin('one'); await sleep(500); progress.step()
      progress.begin('two', 50, 'calls'); await sleep(500); progress.advance(10); process.stdin.once('data', () => {
        progress.step(); progress.begin('three')
      })`)
    await shows(/^runs 1\/2, 0:0\d left · two · 10\/50 calls · [\d.]+\/s · 0:0\d left$/)
    assert.equal(drawn(terminal as Terminal)[1], 'runs 0/2 · one')
    terminal?.press('enter')
    await shows(/^three/m)
  })

  it('keeps notes above the line, and leaves nothing else behind', async () => {
    const { pid, shows, ended, screen } = work(`
      process.once('SIGUSR2', () => process.exit())
      progress.begin('working'); progress.note('a note that stays'); progress.begin('more'); await sleep(100_000)`)
    await shows(/^a note that stays\nmore/)
    process.kill(pid, 'SIGUSR2')
    await ended
    assert.equal(screen(), 'a note that stays')
  })

  it('keeps no process alive', { timeout: 30_000 }, async () => {
    assert.equal(await work(`progress.begin('working')`).ended, 0)
    assert.equal(terminal?.screen(), '')
  })

  it('is drawn by the parent, below the lines that a child with a channel to it writes', async () => {
    const child = `
      import { createProgress, writeLine } from '${MODULE}'
      createProgress(process.stderr).begin('what the child does'); writeLine(process.stdout, 'a line'); process.disconnect()`
    const { shows } = work(`
      import { spawn } from 'node:child_process'
      progress.begin('what the parent does')
      const args = [...${JSON.stringify([...NODE, '--input-type=module', '-e'])}, ${JSON.stringify(child)}]
      spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      await sleep(100_000)`)
    await shows(/^a line\nwhat the parent does · 0:\d\d$/)
    assert.ok(!terminal?.raw.includes('what the child does'))
  })
})

describe('progress without a line to draw on', () => {
  const script = `progress.begin('working', 10, 'items'); progress.plan('runs', 3); progress.advance(1); progress.step()
    progress.note('a note'); await sleep(1_500); progress.advance(2); progress.end()`

  it('is only its notes when there is no terminal', () => {
    const { stdout, stderr } = spawnSync(process.execPath, working(script), { encoding: 'utf8' })
    assert.deepEqual([stdout, stderr], ['', 'a note\n'])
  })

  it('is only its notes on a terminal that can’t redraw a line', async () => {
    await work(script, 80, { TERM: 'dumb' }).ended
    assert.equal(terminal?.raw, 'a note\r\n')
  })
})

describe('on a terminal', () => {
  let home: string
  beforeEach(() => {
    home = temporaryHome()
  })
  afterEach(async () => {
    for (const { pid } of findProcesses(home)) process.kill(pid, 'SIGKILL')
    await until('all processes of the home have ended', () => findProcesses(home).length === 0)
    rmSync(home, { recursive: true, force: true })
  })

  const SOURCES = { 'souk-server': 'server', 'souk-load': 'loadgen' } as const

  function start(program: keyof typeof SOURCES, ...rest: string[]): Terminal {
    const path = fileURLToPath(new URL(`../../src/${SOURCES[program]}.ts`, import.meta.url))
    const env = { SOUK_HOME: home, SOUK_SELLER_PORT: '0', SOUK_BUYER_PORT: '0', SOUK_LIMIT_CONNECTIONS: '100' }
    terminal = openTerminal({ command: process.execPath, args: [...NODE, path, ...rest], cwd: home, env, columns: 120 })
    return terminal
  }

  it('souk-server shows the steps of its start, and what it waits for when it stops', async () => {
    const { shows, press, screen, ended } = start('souk-server')
    const [, port] = await shows(/^seller server accepts connections on 127\.0\.0\.1:(\d+)$/m)
    await shows(/^souk is ready$/m)
    assert.equal(screen().split('\n').length, 3, screen())
    const steps = [...new Set(drawn(terminal as Terminal).map((line) => line.split(' · ')[0]))]
    assert.deepEqual(steps, [
      'starting',
      'making the private database',
      'starting the private database',
      'creating databases',
      'starting the servers',
    ])

    const url = (await findRunning(home))?.('souk_customer', 'root') as string
    const wire = await Wire.connect({ port: Number(port) })
    wire.request(0, 'create_account', { username: 'bob', password: 'correct horse', name: 'Bob' })
    await wire.reply()
    await withConnection(url, async (connection) => {
      await connection.query('LOCK TABLES seller WRITE')
      wire.request(1, 'create_account', { username: 'ann', password: 'correct horse', name: 'Ann' })
      wire.request(2, 'ping')
      assert.equal((await wire.reply())?.id, 2)
      press('ctrl-c')
      await shows(/^(\^C)?stopping · 1 request in flight, 1 connection open · 0:0\d left$/m)
    })
    assert.equal(await ended, 0)
    assert.match(screen(), /souk is ready$/)
    assert.ok(drawn(terminal as Terminal).includes('stopping the private database'))
  })

  it('souk-server stops at Ctrl-C while it makes its database, and leaves nothing running', async () => {
    const { shows, press, screen, ended } = start('souk-server')
    await shows(/^making the private database/)
    press('ctrl-c')
    assert.equal(await ended, 0)
    assert.ok(drawn(terminal as Terminal).includes('stopping'))
    assert.equal(screen(), '')
    assert.deepEqual(findProcesses(home), [])
  })

  it('souk-load shows what it prepares, how far its runs are, and that it stops after Ctrl-C', async () => {
    const { shows, press, ended } = start('souk-load', 'run', '--clients', '2', '--seconds', '2.5', '--runs', '50')
    await shows(/^runs 1\/50, \d+:\d\d left · souk, all, 2 clients · [\d,]+ calls · [\d,]+\/s · 0:0\d left$/m)
    const lines = drawn(terminal as Terminal)
    for (const what of [/^starting/, /^making the private database/, /^making databases/, /^starting servers/]) {
      assert.ok(
        lines.some((line) => what.test(line)),
        String(what),
      )
    }
    assert.ok(lines.some((line) => /^filling the catalogue · 10,000\/10,000 items · [\d,]+\/s/.test(line)))
    assert.ok(lines.every((line) => line.length < 120))
    press('ctrl-c')
    await shows(/stopping after this run/)
    assert.equal(await ended, 130)
    assert.match(
      terminal?.screen() ?? '',
      /^making databases\n(souk: at most .*\n)*souk: interrupted: nothing was written$/,
    )
  })
})
