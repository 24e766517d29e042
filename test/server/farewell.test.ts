/**
 * A server that stops while its clients still ask: each request gets one reply,
 * also one that was on its way when the farewell came.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { connect as connectOnce } from '../../src/client/connection.ts'
import { Caller, encodeRequest, type OpenAccount, openAccount, Wire } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

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
