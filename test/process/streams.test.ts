/**
 * Programs whose output nobody reads, or can't be written: a server serves on, a
 * load test does its work, whatever they started is stopped, and a program that
 * is run for its output ends. With real pipes, full disks and terminals.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Caller } from '../support/clients.ts'
import { findProcesses, freePorts, temporaryHome, until } from '../support/marketplace.ts'
import { SOUK_LOAD } from '../support/souk-load.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const source = (name: string) => fileURLToPath(new URL(`../../src/${name}.ts`, import.meta.url))
const SOUK_SERVER = [`--import=${import.meta.resolve('tsx')}`, source('server')]
const PROGRAMS = {
  souk: [fileURLToPath(new URL('../../dist/souk.js', import.meta.url))],
  'souk-server': SOUK_SERVER,
  'souk-load': SOUK_LOAD,
}
const A_RUN = ['run', '--scenario', 'get_seller_rating', '--clients', '2', '--calls', '10', '--runs', '1']

let home: string
let ports: { seller: number; buyer: number }
let environment: Record<string, string>
let terminal: Terminal | undefined

beforeEach(async () => {
  home = temporaryHome()
  const [seller = 0, buyer = 0] = await freePorts(2)
  ports = { seller, buyer }
  environment = { SOUK_HOME: home, SOUK_SELLER_PORT: String(seller), SOUK_BUYER_PORT: String(buyer) }
})
afterEach(async () => {
  await terminal?.close()
  terminal = undefined
  for (const { pid } of findProcesses(home)) process.kill(pid, 'SIGKILL')
  await nothingRuns()
  rmSync(home, { recursive: true, force: true })
})

const nothingRuns = () => until('all processes of the home have ended', () => findProcesses(home).length === 0)
const isLocked = (folder = home) => existsSync(join(folder, 'owner'))
const find = (command: RegExp) => findProcesses(home).find((one) => command.test(one.command))?.pid as number

type Stdio = ('pipe' | 'ignore' | number)[]

function start(args: readonly string[], stdio: Stdio = ['ignore', 'pipe', 'pipe'], command = process.execPath) {
  return spawn(command, args, { cwd: home, env: { PATH: process.env.PATH, ...environment }, stdio })
}

/** A server in a shell. It has a notice for stderr, on the few files that it may open, and lines for stdout. */
const startTalking = (stdio: Stdio, redirections = '') =>
  start(['-c', `ulimit -n 1000; exec "$0" "$@" ${redirections}`, process.execPath, ...SOUK_SERVER], stdio, 'sh')

/** The readers leave: one before the first word, the other after it. */
function startUnread(): ChildProcess {
  const child = startTalking(['ignore', 'pipe', 'pipe'])
  child.stderr?.destroy()
  child.stdout?.once('data', () => child.stdout?.destroy())
  return child
}

const startOnFullDisk = () => startTalking(['ignore', openSync('/dev/full', 'w'), openSync('/dev/full', 'w')])
const startWithClosedStreams = () => startTalking(['ignore', 'ignore', 'ignore'], '<&- >&- 2>&-')

async function exitCodeOf(child: ChildProcess): Promise<number | null> {
  return child.exitCode ?? (await once(child, 'exit'))[0]
}

/** The process ids of a program's own children. */
function childrenOf({ pid }: ChildProcess): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
}

const answers = (role: 'seller' | 'buyer') =>
  until(`the ${role} server answers`, async () => {
    try {
      const caller = await Caller.connect({ role, port: ports[role] })
      await caller.call('ping', {})
      await caller.close()
      return true
    } catch {
      return false
    }
  })

describe('a marketplace', () => {
  const unread = {
    'nobody reads': startUnread,
    'is on a full disk': startOnFullDisk,
    'is closed': startWithClosedStreams,
  }
  for (const [how, startProgram] of Object.entries(unread)) {
    it(`whose output ${how} serves, restarts its servers, and stops cleanly`, async () => {
      const marketplace = startProgram()
      await Promise.all([answers('seller'), answers('buyer')])
      process.kill(find(/server\.ts seller$/), 'SIGKILL') // the supervisor says so
      await answers('seller')
      marketplace.kill('SIGTERM')
      assert.equal(await exitCodeOf(marketplace), 0)
      assert.deepEqual([findProcesses(home), isLocked()], [[], false])
    })
  }

  it('stops cleanly when its terminal is closed', async () => {
    terminal = openTerminal({ command: process.execPath, args: SOUK_SERVER, cwd: home, env: environment })
    await terminal.shows(/souk is ready/)
    terminal.hangUp()
    assert.equal(await terminal.ended, 0)
    assert.deepEqual([findProcesses(home), isLocked()], [[], false])
  })

  for (const [shell, line] of [
    ['sh', 'nohup "$0" "$@"; true'],
    ['bash', 'nohup "$0" "$@" & wait'],
  ] as const) {
    it(`started with nohup by ${shell} serves on when its terminal is closed`, async () => {
      const args = ['-c', line, process.execPath, ...SOUK_SERVER]
      terminal = openTerminal({ command: shell, args, cwd: home, env: environment })
      await Promise.all([answers('seller'), answers('buyer')])
      const supervisor = find(/^\S*node .*server\.ts$/)
      terminal.hangUp()
      await terminal.ended
      process.kill(find(/server\.ts seller$/), 'SIGKILL')
      await until('there is no seller server', () => find(/server\.ts seller$/) === undefined)
      await answers('seller')
      process.kill(supervisor, 'SIGTERM')
      await nothingRuns()
      assert.equal(isLocked(), false)
    })
  }

  it('stops cleanly on SIGQUIT', async () => {
    const marketplace = start(SOUK_SERVER, ['ignore', 'ignore', 'ignore'])
    await Promise.all([answers('seller'), answers('buyer')])
    marketplace.kill('SIGQUIT')
    assert.equal(await exitCodeOf(marketplace), 0)
    assert.deepEqual([findProcesses(home), isLocked()], [[], false])
  })

  it('logs an error that nothing has caught, stops what it started, and exits with 1', async () => {
    const fault = `process.argv[2] ?? process.once('SIGUSR2', () => { throw new Error('a fault') })`
    const marketplace = start([`--import=data:text/javascript,${encodeURIComponent(fault)}`, ...SOUK_SERVER])
    const said = text(marketplace.stderr as NonNullable<ChildProcess['stderr']>)
    await Promise.all([answers('seller'), answers('buyer')])
    marketplace.kill('SIGUSR2')
    assert.equal(await exitCodeOf(marketplace), 1)
    assert.match(await said, /^souk: Error: a fault\n {4}at /m)
    assert.deepEqual([findProcesses(home), isLocked()], [[], false])
  })

  it('ends at once at a second Ctrl-C, and tells its database to stop', async () => {
    const marketplace = start(SOUK_SERVER, ['ignore', 'ignore', 'ignore'])
    await Promise.all([answers('seller'), answers('buyer')])
    marketplace.kill('SIGINT')
    marketplace.kill('SIGINT')
    await until('it has ended', () => marketplace.exitCode !== null)
    assert.ok([0, 130].includes(marketplace.exitCode as number))
    await nothingRuns()
    assert.equal(isLocked(), false)
  })
})

describe('souk-load run', () => {
  const study = () => join(home, 'study')

  it('whose figures nobody reads stops what it started, and exits with 141', async () => {
    const load = start([...SOUK_LOAD, ...A_RUN])
    load.stdout?.destroy()
    load.stderr?.destroy()
    assert.equal(await exitCodeOf(load), 141)
    assert.deepEqual([findProcesses(home), isLocked(study())], [[], false])
  })

  it('whose figures can’t be written says so, stops what it started, and exits with 1', async () => {
    const load = start([...SOUK_LOAD, ...A_RUN], ['ignore', openSync('/dev/full', 'w'), 'pipe'])
    const said = await text(load.stderr as NonNullable<ChildProcess['stderr']>)
    assert.equal(await exitCodeOf(load), 1)
    assert.match(said, /\nsouk: the output can't be written: ENOSPC: .*\n$/)
    assert.deepEqual([findProcesses(home), isLocked(study())], [[], false])
  })

  it('stops what it started when its terminal is closed', async () => {
    const args = [...SOUK_LOAD, 'run', '--clients', '2', '--seconds', '1', '--runs', '100']
    terminal = openTerminal({ command: process.execPath, args, cwd: home, env: environment })
    await terminal.shows(/^runs 1\/100/m)
    terminal.hangUp()
    assert.equal(await terminal.ended, 130)
    assert.deepEqual([findProcesses(home), isLocked(study())], [[], false])
  })

  for (const how of ['at a second Ctrl-C', 'at an error that nothing has caught']) {
    it(`ends at once ${how}, and tells what it started to stop`, async () => {
      const fault = `process.once('SIGUSR2', () => { throw new Error('a fault') })`
      const args = [...SOUK_LOAD, 'run', '--seconds', '100']
      const load = start([`--import=data:text/javascript,${encodeURIComponent(fault)}`, ...args])
      load.stdout?.resume()
      const said = text(load.stderr as NonNullable<ChildProcess['stderr']>)
      await until('the database and two servers run', () => childrenOf(load).length === 3)
      const started = childrenOf(load)
      const isFault = how.includes('error')
      for (const signal of isFault ? (['SIGUSR2'] as const) : (['SIGINT', 'SIGINT'] as const)) {
        load.kill(signal)
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
      assert.equal(await exitCodeOf(load), isFault ? 1 : 130)
      await until('all that it started has ended', () => !started.some((pid) => existsSync(`/proc/${pid}`)))
      assert.equal(isLocked(study()), false)
      if (isFault) assert.match(await said, /Error: a fault\n {4}at /)
    })
  }
})

describe('souk-load report', () => {
  it('writes its reports although nobody reads their names', async () => {
    const results = join(home, 'results')
    mkdirSync(results)
    cpSync(fileURLToPath(new URL('../../results', import.meta.url)), results, {
      recursive: true,
      filter: (path) => !path.endsWith('.md'),
    })
    const report = start([...SOUK_LOAD, 'report'])
    report.stdout?.destroy()
    assert.equal(await exitCodeOf(report), 0)
    assert.deepEqual(
      readdirSync(results)
        .filter((name) => name.endsWith('.md'))
        .sort(),
      ['README.md', 'market.md'],
    )
  })
})

describe('help', () => {
  const cases = [
    ['souk', '--help'],
    ['souk', '--version'],
    ['souk-server', '--help'],
    ['souk-server', '--version'],
    ['souk-server', '--show-settings'],
    ['souk-load', '--help'],
    ['souk-load', '--version'],
  ] as const
  for (const [program, flag] of cases) {
    it(`of ${program} ${flag} ends quietly when nobody reads it, and says when it can’t be written`, async () => {
      const args = [...PROGRAMS[program], flag]
      const unread = start(args)
      unread.stdout?.destroy()
      assert.deepEqual(
        [await text(unread.stderr as NonNullable<ChildProcess['stderr']>), await exitCodeOf(unread)],
        ['', 141],
      )
      const stdio = ['ignore', openSync('/dev/full', 'w'), 'pipe'] as ('ignore' | 'pipe' | number)[]
      const full = spawnSync(process.execPath, args, { cwd: home, encoding: 'utf8', stdio })
      assert.equal(full.status, 1)
      assert.match(full.stderr, /^souk: the output can't be written: ENOSPC: .*\n$/)
    })
  }
})
