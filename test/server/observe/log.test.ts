/**
 * The log of a running server: JSON for machines, words on a terminal, as much as
 * its level lets through, never a secret, and never in the way of the server.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import mariadb from 'mariadb'
import { createLogger, logProblem } from '../../../src/server/observe/log.ts'
import { Caller } from '../../support/clients.ts'
import { SOURCE_SERVER, startTestMarketplace, type TestMarketplace, until } from '../../support/marketplace.ts'
import { openTerminal } from '../../support/terminal.ts'

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

let marketplace: TestMarketplace
before(async () => {
  marketplace = await startTestMarketplace()
})
after(() => marketplace?.close())

/** A stream that keeps what is written; what nobody has read yet counts as unwritten. */
function fakeStream() {
  const lines: string[] = []
  const stream = { isTTY: false, writableLength: 0, write: (line: string) => lines.push(line) > 0 }
  return { lines, stream: stream as unknown as NodeJS.WriteStream & { writableLength: number } }
}

/** Makes every registration fail with an error of the database that quotes what it was given. */
async function breakRegistration(): Promise<void> {
  await marketplace.sql(
    'product',
    "CREATE TRIGGER quoting BEFORE INSERT ON item FOR EACH ROW SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1366, MESSAGE_TEXT = 'Incorrect value: ''canary-value'''",
  )
}

const anItem = {
  name: 'canary-item',
  category: 1,
  keywords: ['canaryk'] as string[],
  condition: 'new' as const,
  price_cents: 1,
  quantity: 1,
}

/** Opens an account and registers an item, which fails; returns what no log may have. */
async function callWithCanaries(caller: Caller<'seller'>): Promise<string[]> {
  const password = 'canary-password'
  const username = `canary${Math.random().toString(36).slice(2, 10)}`
  await caller.call('create_account', { username, password, name: 'canary-name' } as never)
  const { session } = await caller.call('login', { username, password })
  const call = { session, ...anItem, idempotency_key: 'canary-key' }
  assert.equal((await caller.refusal('register_item_for_sale', call)).code, 'internal')
  return [password, username, session, 'canary', 'souk_test_customer?', 'mariadb://']
}

describe('the log', () => {
  it('is one JSON text on each line, with the codes of an error, and no value of a client at any level', async () => {
    await breakRegistration()
    try {
      const { program, port } = await marketplace.serve('seller', { logLevel: 'debug' })
      const caller = await Caller.connect({ role: 'seller' as const, port })
      const canaries = await callWithCanaries(caller)
      await until('the calls are logged', () => /"outcome":"internal"/.test(program.log))
      const lines = program.log
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      for (const { time, level, role, pid } of lines) {
        assert.match(time, TIME)
        assert.ok(['error', 'warn', 'info', 'debug'].includes(level))
        assert.deepEqual([role, pid], ['seller', program.pid])
      }
      const [fault] = lines.filter(({ level }) => level === 'error')
      const { stack, ...described } = fault.err
      assert.deepEqual(described, {
        type: 'SqlError',
        message: 'Incorrect value: …',
        code: 'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD',
        errno: 1366,
        sqlState: '45000',
      })
      assert.match(stack, /^ {4}at /)
      const calls = lines.filter(({ msg }) => msg === 'call').map(({ operation, outcome }) => `${operation} ${outcome}`)
      assert.deepEqual(calls, ['create_account ok', 'login ok', 'register_item_for_sale internal'])
      for (const canary of canaries) assert.ok(!program.log.includes(canary), canary)
      await program.end()
    } finally {
      await marketplace.sql('product', 'DROP TRIGGER quoting')
    }
  })

  it('has nothing of a call by default, and nothing at all when it is silent', async () => {
    await breakRegistration()
    try {
      for (const [logLevel, levels] of [
        ['info', ['error']],
        ['silent', []],
      ] as const) {
        const { program, port } = await marketplace.serve('seller', { logLevel })
        await callWithCanaries(await Caller.connect({ role: 'seller' as const, port }))
        await program.end()
        const lines = program.log.split('\n').filter(Boolean)
        assert.deepEqual(
          lines.map((line) => JSON.parse(line).level),
          levels,
        )
      }
    } finally {
      await marketplace.sql('product', 'DROP TRIGGER quoting')
    }
  })

  it('is words on a terminal', async () => {
    const { customer, product } = marketplace.urls
    const [command = '', ...args] = SOURCE_SERVER
    const env = {
      SOUK_CUSTOMER_DB_URL: customer,
      SOUK_PRODUCT_DB_URL: product,
      SOUK_LIMIT_CONNECTIONS: '200',
      SOUK_SELLER_PORT: '0',
      SOUK_LOG_LEVEL: 'debug',
    }
    const options = { command, args: [...args, 'seller'], cwd: marketplace.home, env, columns: 120 }
    const terminal = openTerminal(options)
    try {
      const [, port] = await terminal.shows(/accepts connections on 127\.0\.0\.1:(\d+)/)
      const caller = await Caller.connect({ role: 'seller' as const, port: Number(port) })
      await caller.call('ping', {})
      await terminal.shows(/^\d{4}-\S+Z seller debug: call operation=ping outcome=ok ms=[\d.]+$/m)
      await caller.close()
      terminal.press('ctrl-c')
      assert.equal(await terminal.ended, 0)
    } finally {
      await terminal.close()
    }
  })

  it('of a reader that reads nothing is dropped beyond a bound, while the server goes on', async () => {
    const { customer, product } = marketplace.urls
    const [command = '', ...args] = SOURCE_SERVER
    const settings = { SOUK_CUSTOMER_DB_URL: customer, SOUK_PRODUCT_DB_URL: product, SOUK_SELLER_PORT: '0' }
    const env = { PATH: process.env.PATH, ...settings, SOUK_LIMIT_CONNECTIONS: '200', SOUK_LOG_LEVEL: 'debug' }
    const child = spawn(command, [...args, 'seller'], { cwd: marketplace.home, env, stdio: ['ignore', 'pipe', 'pipe'] })
    try {
      let output = ''
      child.stdout.on('data', (text) => {
        output += text
      })
      await until('it is ready', () => /accepts connections/.test(output))
      const port = Number(/:(\d+)\n/.exec(output)?.[1])
      const caller = await Caller.connect({ role: 'seller' as const, port })
      for (let n = 0; n < 200; n += 1) await Promise.all(Array.from({ length: 100 }, () => caller.call('ping', {})))
      let log = ''
      child.stderr.setEncoding('utf8').on('data', (text) => {
        log += text
      })
      await until('the log tells what is missing', async () => {
        await caller.call('ping', {})
        return /"msg":"\d+ lines were dropped: nobody read the log"/.test(log)
      })
      const dropped = Number(/"msg":"(\d+) lines/.exec(log)?.[1])
      await until('every call is logged or counted', () => {
        const calls = log.match(/"msg":"call"/g)?.length ?? 0
        return calls + dropped >= 20_000
      })
      for (const line of log.trim().split('\n')) JSON.parse(line)
      child.kill('SIGTERM')
      assert.deepEqual(await once(child, 'exit'), [0, null])
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('has the error that ends the process, as its last line', async () => {
    const fault = `process.argv[2] && process.once('SIGUSR2', () => { throw new Error('a fault') })`
    const [node = '', ...rest] = SOURCE_SERVER
    const command = [node, `--import=data:text/javascript,${encodeURIComponent(fault)}`, ...rest]
    const { program } = await marketplace.serve('seller', {}, command)
    assert.equal(await program.end('SIGUSR2'), 1)
    const { level, err } = JSON.parse(program.log)
    assert.deepEqual([level, err.type, err.message], ['error', 'Error', 'a fault'])
  })
})

describe('an error in the log', () => {
  const logOf = (problem: unknown, isTTY = false) => {
    const { lines, stream } = fakeStream()
    logProblem(createLogger('seller', 'debug', Object.assign(stream, { isTTY })), problem)
    return lines.join('')
  }
  const sqlError = (text: string) => new mariadb.SqlError(text, "SELECT 'canary'", false, {} as never, '23000', 1062)

  it('keeps no value that the database quotes, however the value is made', () => {
    for (const text of [
      "Duplicate entry 'canary' for key 'PRIMARY'",
      "Duplicate entry 'a'b canary",
      'near "canary"',
      "near ' \n at canary'",
    ]) {
      for (const isTTY of [false, true]) assert.doesNotMatch(logOf(sqlError(text), isTTY), /canary|PRIMARY/)
    }
    assert.match(logOf(sqlError("Duplicate entry 'canary'")), /"message":"Duplicate entry …".*"errno":1062/)
  })

  it('keeps nothing of a text that was not JSON', () => {
    let problem: unknown
    try {
      JSON.parse('{"session": canary')
    } catch (error) {
      problem = error
    }
    assert.doesNotMatch(logOf(problem), /canary/)
  })

  it('does not steer a terminal', () => {
    const line = logOf(new Error('\x1b[2J\r\x9b31m red'), true)
    assert.ok(line.includes(' error: Error: \ufffd[2J\ufffd\ufffd31m red\n    at '), line)
  })
})
