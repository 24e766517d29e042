/**
 * The HTTP port of a server: what it answers to probes and Prometheus, while all
 * is well, while databases are away, and to clients that mean harm. What it counts
 * is what happened.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { Caller, openAccount } from '../../support/clients.ts'
import {
  freePorts,
  type RunningServer,
  startTestMarketplace,
  type TestMarketplace,
  until,
} from '../../support/marketplace.ts'
import { findPromtool } from '../../support/promtool.ts'

let marketplace: TestMarketplace
let server: RunningServer<'seller'>
let httpPort: number
let caller: Caller<'seller'>

before(async () => {
  marketplace = await startTestMarketplace()
  server = await marketplace.serve('seller', { sellerHttpPort: 0, limitLineBytes: 2_000 })
  httpPort = httpPortOf(server)
  caller = await Caller.connect(server)
})
after(() => marketplace?.close())

function httpPortOf({ program }: RunningServer): number {
  return Number(/answers HTTP on 127\.0\.0\.1:(\d+)\n/.exec(program.output)?.[1])
}

const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${httpPort}${path}`, init)

/** The values of all series, by name with labels. */
async function readMetrics(): Promise<Map<string, number>> {
  const text = await (await get('/metrics')).text()
  const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    series.map((line) => {
      const [, name = '', value] = /^(.+) (\S+)$/.exec(line) ?? []
      return [name, Number(value)]
    }),
  )
}

async function readUntil(what: string, isRight: (metrics: Map<string, number>) => boolean) {
  let metrics = new Map<string, number>()
  await until(what, async () => {
    metrics = await readMetrics()
    return isRight(metrics)
  })
  return metrics
}

/** Sends bytes as they are; resolves to what comes back until the connection is closed. */
async function talk(text: string): Promise<string> {
  const socket = connect(httpPort, '127.0.0.1')
  let answer = ''
  socket.setEncoding('utf8').on('data', (some) => {
    answer += some
  })
  socket.on('error', () => {}) // 'close' follows
  socket.write(text)
  await new Promise((resolve) => socket.once('close', resolve))
  return answer
}

describe('the HTTP port', () => {
  it('answers probes, on the loopback address', async () => {
    assert.deepEqual([(await get('/livez')).status, await (await get('/livez?verbose')).text()], [200, 'alive\n'])
    assert.deepEqual([(await get('/readyz')).status, await (await get('/readyz')).text()], [200, 'ready\n'])
    assert.equal(await (await get('/livez', { method: 'HEAD' })).text(), '')
  })

  it('is closed unless it is set', async () => {
    const other = await marketplace.serve('seller')
    assert.doesNotMatch(other.program.output, /HTTP/)
    await other.program.end()
  })

  it('names the setting of a port that is taken', async () => {
    const rejected = await marketplace.serve('buyer', { buyerHttpPort: server.port }).catch(String)
    assert.match(String(rejected), /souk: SOUK_BUYER_HTTP_PORT: something else listens on 127\.0\.0\.1:\d+\n/)
  })

  it('counts what happened, exactly', async () => {
    const before = await readMetrics()
    const grown = (now: Map<string, number>, name: string) => (now.get(name) ?? 0) - (before.get(name) ?? 0)
    const { session } = await openAccount(caller)
    for (let n = 0; n < 7; n += 1) await caller.call('get_seller_rating', { session })
    assert.equal((await caller.refusal('get_seller_rating', { session: 'x'.repeat(43) })).code, 'unauthenticated')
    assert.equal(
      (await caller.refusal('update_units_for_sale', { session, item_id: 999, change: 1 })).code,
      'not_found',
    )
    for (const method of ['__proto__', 'constructor', 'a"b\n']) {
      assert.equal((await caller.refusal(method as 'ping', {})).code, 'unknown_method')
    }
    assert.equal((await caller.refusal('ping', { further: 1 } as never)).code, 'invalid_params')
    const raw = connect(server.port, '127.0.0.1')
    raw.write(`no JSON\n${'x'.repeat(3_000)}`)
    await once(raw.resume(), 'close')

    const rated = 'souk_calls_total{operation="get_seller_rating",outcome="ok"}'
    const now = await readUntil('the calls are counted', (metrics) => grown(metrics, rated) === 7)
    const expected = {
      'souk_calls_total{operation="get_seller_rating",outcome="unauthenticated"}': 1,
      'souk_calls_total{operation="update_units_for_sale",outcome="not_found"}': 1,
      'souk_calls_total{operation="unknown",outcome="unknown_method"}': 3,
      'souk_calls_total{operation="ping",outcome="invalid_params"}': 1,
      'souk_calls_total{operation="login",outcome="ok"}': 1,
      'souk_call_seconds_count{operation="get_seller_rating"}': 8,
      'souk_call_seconds_bucket{operation="get_seller_rating",le="+Inf"}': 8,
      'souk_batch_size_sum{queue="get_seller_rating"}': 7,
      'souk_batch_size_count{queue="get_seller_rating"}': 7,
      'souk_batch_size_sum{queue="update_units_for_sale"}': 1,
      'souk_refusals_total{reason="unknown_method"}': 3,
      'souk_refusals_total{reason="unauthenticated"}': 1,
      'souk_refusals_total{reason="parse_error"}': 1,
      'souk_refusals_total{reason="invalid_request"}': 1,
      'souk_queue_waiting{queue="get_seller_rating"}': 0,
    }
    const found = Object.keys(expected).map((name) => [name, grown(now, name)])
    assert.deepEqual(Object.fromEntries(found), expected)
    assert.equal(now.get('souk_connections'), 1)
    assert.equal(now.get('souk_database_up{database="product"}'), 1)
    assert.ok((now.get('souk_lanes{database="product",pool="reading",state="idle"}') ?? 0) > 0)
    assert.ok((now.get('souk_event_loop_busy_seconds_total') ?? 0) > 0)
  })

  it('has as many series after names that clients made up as before', async () => {
    const before = await readMetrics()
    for (let n = 0; n < 100; n += 1) await caller.refusal(`made_up_${n}` as 'ping', {})
    const name = 'souk_calls_total{operation="unknown",outcome="unknown_method"}'
    const now = await readUntil('they are counted', (one) => one.get(name) === (before.get(name) ?? 0) + 100)
    const souks = (metrics: Map<string, number>) => [...metrics.keys()].filter((one) => one.startsWith('souk_')).length
    assert.equal(souks(now), souks(before))
  })

  it('has metrics that promtool finds nothing wrong with', async (context) => {
    const promtool = findPromtool()
    if (promtool === undefined) return context.skip('there is no promtool')
    const input = await (await get('/metrics')).text()
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input, encoding: 'utf8' })
    assert.deepEqual([status, stdout, stderr], [0, '', ''])
  })
})

describe('a client of the HTTP port', () => {
  it('gets 404 for any other path, and 405 for any other method', async () => {
    const traversal = '/metrics/../../../../etc/passwd'
    for (const path of ['/', '/metricsx', '/livez/', '/constructor', '/__proto__', '/%2e%2e/etc/passwd', traversal])
      assert.match(await talk(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 404 /, path)
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'])
      assert.match(await talk(`${method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 405 /, method)
  })

  it('gets one answer for a connection, whatever it sends after', async () => {
    const answers = await talk('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000))
    assert.equal(answers.match(/^HTTP/gm)?.length, 1)
    assert.match(await talk(`POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n`), / 405 /)
  })

  it('is refused with a header that is too large, or that is no HTTP', async () => {
    assert.match(await talk(`GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`), / 431 /)
    assert.match(await talk('\x16\x03\x01 no HTTP\r\n\r\n'), / 400 /)
  })

  it('can not keep others out by connections that it leaves unfinished', async () => {
    const sockets: Socket[] = Array.from({ length: 300 }, () => {
      const socket = connect(httpPort, '127.0.0.1').on('error', () => {})
      socket.write('GET /livez HTTP/1.1\r\nX: ')
      return socket.resume()
    })
    const drip = setInterval(() => {
      for (const socket of sockets) if (socket.writable) socket.write('x')
    }, 500)
    try {
      await until('probes are answered again', async () =>
        get('/livez').then(
          ({ status }) => status === 200,
          () => false,
        ),
      )
      await until('the unfinished ones are closed', async () => sockets.every(({ closed }) => closed))
      await caller.call('ping', {})
    } finally {
      clearInterval(drip)
      for (const socket of sockets) socket.destroy()
    }
  })
})

describe('readiness', () => {
  it('ends while a database does not answer, liveness does not, and both say no secret', async () => {
    const { pid } = marketplace.database()
    const readyz = async () => {
      const answer = await get('/readyz')
      return `${answer.status} ${await answer.text()}`
    }
    process.kill(pid, 'SIGSTOP')
    try {
      const expected = 'not ready: the customer database does not answer, the product database does not answer\n'
      await until('it is not ready', async () => (await readyz()) === `503 ${expected}`)
      assert.equal((await get('/livez')).status, 200)
      await readUntil('the loss is known', (metrics) => metrics.get('souk_database_up{database="product"}') === 0)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await until('it is ready', async () => (await readyz()) === '200 ready\n')
    process.kill(marketplace.database().pid, 'SIGKILL')
    await until('it is not ready', async () => (await readyz()).startsWith('503 '))
    await marketplace.restartDatabase()
    await until('it is ready', async () => (await readyz()) === '200 ready\n')
    await readUntil('its return is known', (metrics) => metrics.get('souk_database_up{database="product"}') === 1)
  })

  it('asks the database no more often than once a second, however many ask', async () => {
    const questions = async () => {
      const [row] = await marketplace.sql<{ Value: string }>('product', "SHOW GLOBAL STATUS LIKE 'Com_select'")
      return Number(row?.Value)
    }
    const before = await questions()
    const beganMs = performance.now()
    for (let n = 0; n < 300; n += 1) assert.equal((await get('/readyz')).status, 200)
    const seconds = (performance.now() - beganMs) / 1_000
    assert.ok((await questions()) - before < 2 * (seconds + 2) + 20)
  })

  it('ends when the server begins to stop', async () => {
    const [port = 0] = await freePorts(1)
    const stopping = await marketplace.serve('buyer', { buyerHttpPort: port })
    const buyer = await Caller.connect(stopping)
    const { session } = await openAccount(buyer)
    process.kill(marketplace.database().pid, 'SIGSTOP')
    try {
      const pending = buyer.refusal('display_cart', { session }).catch(() => {})
      await until('the call waits', async () =>
        fetch(`http://127.0.0.1:${port}/metrics`).then(async (answer) =>
          /^souk_requests_in_flight 1$/m.test(await answer.text()),
        ),
      )
      const ended = stopping.program.end('SIGTERM')
      await until('it is not ready', async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/readyz`).then((one) => one.text(), String)
        return answer === 'not ready: the server is stopping\n'
      })
      process.kill(marketplace.database().pid, 'SIGCONT')
      await pending
      assert.equal(await ended, 0)
    } finally {
      process.kill(marketplace.database().pid, 'SIGCONT')
    }
  })
})
