/**
 * A server that stops while its clients still ask: each request gets one reply,
 * also one that was on its way when the farewell came, and a client that retries
 * does not notice the restart.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { connect as connectOnce } from '../../src/client/connection.ts'
import { RetryingClient } from '../../src/client/retrying-client.ts'
import { Caller, encodeRequest, type OpenAccount, openAccount, Wire } from '../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../support/marketplace.ts'

let marketplace: TestMarketplace
let ann: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  const server = await marketplace.serve('seller')
  ann = await openAccount(await Caller.connect(server))
  await server.program.end('SIGKILL')
})
after(() => marketplace?.close())

describe('a request that is sent before the farewell has arrived', () => {
  it('is refused with shutting_down, each once, alone or in an array, and then the connection ends', async () => {
    const server = await marketplace.serve('seller')
    const wire = await Wire.connect(server)
    wire.request('first', 'ping')
    await wire.reply()
    const sent = new Promise<void>((resolve) => {
      wire.socket.once('data', () => {
        const requests = Array.from({ length: 40 }, (_, id) => ({
          id,
          method: 'whoami',
          params: { session: ann.session },
        }))
        wire.send(requests.map(encodeRequest).join(''))
        wire.send(`[${requests.map((request) => encodeRequest(request).trimEnd())}]\n`)
        resolve()
      })
    })
    const ended = server.program.end()
    assert.equal((await wire.reply())?.method, 'shutting_down')
    await sent
    for (let id = 0; id < 40; id += 1) {
      const reply = await wire.reply()
      assert.deepEqual([reply?.id, reply?.error?.data.code], [id, 'shutting_down'])
    }
    const array = await wire.replyArray()
    assert.deepEqual(
      array.map(({ id, error }) => [id, error?.data.code]),
      Array.from({ length: 40 }, (_, id) => [id, 'shutting_down']),
    )
    assert.equal(await wire.reply(), undefined)
    assert.equal(await ended, 0)
  })

  it('is answered at once, and the connection ended, if the client has ended its side', async () => {
    const server = await marketplace.serve('seller')
    const wire = await Wire.connect(server)
    wire.request('first', 'ping')
    await wire.reply()
    wire.socket.once('data', () => wire.socket.end(encodeRequest({ id: 'last', method: 'ping' })))
    const ended = server.program.end()
    const replies = await wire.rest()
    assert.deepEqual(
      replies.map(({ id, method, error }) => id ?? method ?? error),
      ['shutting_down', 'last'],
    )
    assert.equal(replies[1]?.error?.data.code, 'shutting_down')
    assert.equal(await ended, 0)
  })
})

describe('a connection of the client', () => {
  it('sends nothing more after the farewell, and says that such calls were not carried out', async () => {
    const server = await marketplace.serve('seller')
    const connection = await connectOnce({ role: 'seller' as const, host: '127.0.0.1', port: server.port })
    await connection.call('ping', {})
    const ended = server.program.end()
    await connection.closed
    await assert.rejects(connection.call('ping', {}), { outcome: 'none' })
    assert.equal(await ended, 0)
  })
})

describe('a rolling restart by SIGTERM under load', () => {
  it('fails no call of a client that retries, and doubles none', async () => {
    let server: RunningServer<'seller'> = await marketplace.serve('seller')
    const own = server.port
    const clients = Array.from(
      { length: 30 },
      () => new RetryingClient({ role: 'seller' as const, host: '127.0.0.1', port: own, timeoutMs: 60_000 }),
    )
    const item = { name: 'Lamp', category: 7, keywords: [], condition: 'new' as const, price_cents: 100, quantity: 1 }
    const failures: unknown[] = []
    let stopping = false
    let registered = 0
    const working = clients.map(async (client) => {
      while (!stopping) {
        try {
          await client.call('register_item_for_sale', { session: ann.session, ...item })
          registered += 1
          await client.call('get_seller_rating', { session: ann.session })
        } catch (error) {
          failures.push(error)
        }
      }
    })
    for (let restarts = 0; restarts < 3; restarts += 1) {
      const before = registered
      await until('clients make progress', () => registered > before + 200)
      assert.equal(await server.program.end(), 0)
      server = await marketplace.serve('seller', { sellerPort: own })
    }
    const before = registered
    await until('clients make progress', () => registered > before + 200)
    stopping = true
    await Promise.all(working)
    assert.deepEqual(failures, [])
    const [row] = await marketplace.sql<{ items: number }>(
      'product',
      'SELECT COUNT(*) AS items FROM item WHERE category = 7',
    )
    assert.equal(Number(row?.items), registered)
    await Promise.all(clients.map((client) => client.close()))
    assert.equal(await server.program.end(), 0)
  })
})
