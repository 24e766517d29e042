/**
 * What one client may ask of a server, at each limit: what it is told, and
 * that nothing is lost which the limit allows. The limits are set low, each on
 * a server of its own where they would be in each other's way.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { anItem, Caller, encodeRequest, openAccount, Wire } from '../support/clients.ts'
import {
  openConnections,
  type RunningServer,
  startTestMarketplace,
  type TestMarketplace,
  until,
} from '../support/marketplace.ts'

const MIB = 1024 * 1024
const LINE_BYTES = 2_048
const CONNECTIONS = 3
/** A listing of them all has more than 100 KiB, and is long enough to be encoded in slices; one of the fewer is not. */
const ITEMS = 600
const FEWER_ITEMS = 400

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let session: string

before(async () => {
  marketplace = await startTestMarketplace()
  sellers = await marketplace.serve('seller', { limitLineBytes: LINE_BYTES })
  const seller = await Caller.connect(sellers)
  session = (await openAccount(seller)).session
  const items = Array.from({ length: ITEMS }, (_, number) =>
    seller.call('register_item_for_sale', { session, ...anItem({ name: `Lamp ${number}` }) }),
  )
  await Promise.all(items)
  await seller.close()
})
after(() => marketplace?.close())

/** A ping in so many bytes, without its line end. */
function pingOf(bytes: number, id: number | string): string {
  const ping = encodeRequest({ id, method: 'ping' }).trimEnd()
  return ping + ' '.repeat(bytes - ping.length)
}

/** Requests for so many items each, no two of them equal, so that each is asked of the database. */
function listings(count: number, limit: number): string {
  const params = (id: number) => ({ session, limit, cursor: String(1_000_000_000 + id) })
  return Array.from({ length: count }, (_, id) =>
    encodeRequest({ id, method: 'display_items_for_sale', params: params(id) }),
  ).join('')
}

/** Rows that the database has sent since this was called, when it sends no more. */
async function rowsSentInTheEnd(): Promise<number> {
  const rowsSent = async () => {
    const [row] = await marketplace.sql<{ Value: string }>('product', "SHOW GLOBAL STATUS LIKE 'Rows_sent'")
    return Number(row?.Value)
  }
  const first = await rowsSent()
  let last = first
  let unchanged = 0
  await until('the database is left alone', async () => {
    const now = await rowsSent()
    unchanged = now - last < FEWER_ITEMS ? unchanged + 1 : 0
    last = now
    return unchanged > 20
  })
  return last - first
}

describe('a line', () => {
  it('of just as many bytes as allowed is answered', async () => {
    const wire = await Wire.connect(sellers)
    wire.send(`${pingOf(LINE_BYTES, 1)}\n${pingOf(LINE_BYTES, 2)}`)
    wire.end()
    assert.deepEqual(
      (await wire.rest()).map(({ id }) => id),
      [1, 2],
    )
  })

  for (const [about, lineEnd] of [
    ['with its end', '\n'],
    ['before its end has come', ''],
  ]) {
    it(`one byte longer is refused ${about}, after what came before it, and the connection ends`, async () => {
      const wire = await Wire.connect(sellers)
      const before = encodeRequest({
        id: 'slow',
        method: 'login',
        params: { username: 'nobody', password: 'nobody nobody' },
      })
      wire.send(`${before}${pingOf(LINE_BYTES + 1, 'long')}${lineEnd}`)
      if (lineEnd !== '') wire.request('after', 'ping')
      const replies = await wire.rest()
      const told = new Map(replies.map(({ id, error }) => [id, error?.data.code]))
      assert.deepEqual(
        [...told],
        [
          [null, 'invalid_request'],
          ['slow', 'unauthenticated'],
        ],
      )
      await wire.ended
    })
  }

  it('that is begun and not finished in time ends the connection, also when bytes keep coming', async () => {
    const server = await marketplace.serve('seller', { limitUnfinishedLineMs: 300 })
    const [silent, slow, idle] = await Promise.all([Wire.connect(server), Wire.connect(server), Wire.connect(server)])
    silent.send('{"jsonrpc"')
    const drip = setInterval(() => slow.send(' '), 50).unref()
    slow.send('{')
    assert.deepEqual(await silent.rest(), [])
    assert.deepEqual(await slow.rest(), [])
    clearInterval(drip)
    idle.request(1, 'ping')
    assert.equal((await idle.reply())?.id, 1)
    idle.destroy()
  })
})

describe('requests in flight', () => {
  it('beyond the limit wait unread, and none is lost: 5000 in one write are all answered', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 8 })
    const wire = await Wire.connect(server)
    const params = { session }
    wire.send(
      Array.from({ length: 5_000 }, (_, id) => encodeRequest({ id, method: 'get_seller_rating', params })).join(''),
    )
    const replies = await wire.replies(5_000)
    for (let id = 0; id < 5_000; id += 1) assert.ok(replies.get(id)?.result !== undefined)
    wire.destroy()
  })

  it('beyond the limit wait unread behind long listings too, and none is lost', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 16 })
    const wire = await Wire.connect(server)
    const ratings = Array.from({ length: 500 }, (_, number) =>
      encodeRequest({ id: 10 + number, method: 'get_seller_rating', params: { session } }),
    )
    wire.send(listings(10, ITEMS) + ratings.join(''))
    const replies = await wire.replies(510)
    for (const { result } of replies.values()) assert.notEqual(result, undefined)
    wire.destroy()
  })

  it('are no more than the limit: with one allowed, a ping behind a slow request waits for it', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 1 })
    const wire = await Wire.connect(server)
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    wire.request('fast', 'ping')
    assert.deepEqual([(await wire.reply())?.id, (await wire.reply())?.id], ['slow', 'fast'])
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    wire.send(encodeRequest({ id: 'last', method: 'ping' }).trimEnd())
    wire.end()
    assert.deepEqual(
      (await wire.rest()).map(({ id }) => id),
      ['slow', 'last'],
    )
  })

  it('weigh what they are: long listings fill a connection sooner', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 64 })
    const wire = await Wire.connect(server)
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    for (const id of ['one', 'two']) wire.request(id, 'display_items_for_sale', { session, limit: 10_000 })
    wire.request('light', 'ping')
    const order = [...(await wire.replies(4)).keys()]
    assert.ok(
      order.indexOf('light') > order.indexOf('one'),
      'the ping was read while the listing filled the connection',
    )
    wire.destroy()
  })
})

describe('a client that takes no replies', () => {
  for (const items of [FEWER_ITEMS, ITEMS]) {
    it(`of ${items} items is not read until it takes them, and then gets every one`, async () => {
      const server = await marketplace.serve('seller', { limitUnsentBytes: MIB })
      const wire = await Wire.connect(server)
      wire.socket.pause()
      const asked = 600
      wire.send(listings(asked, items))
      const askedOfDatabase = (await rowsSentInTheEnd()) / items
      assert.ok(askedOfDatabase < asked / 2, `${askedOfDatabase} listings were made for a client that takes none`)
      const others = await Caller.connect(server)
      await others.call('ping', {})
      wire.socket.resume()
      const replies = await wire.replies(asked)
      for (let id = 0; id < asked; id += 1) {
        const { result, error } = replies.get(id) ?? {}
        assert.equal((result?.items as unknown[] | undefined)?.length, items, JSON.stringify(error))
      }
      wire.destroy()
      await others.close()
    })
  }

  it('for too long is closed', async () => {
    const server = await marketplace.serve('seller', { limitUnsentBytes: MIB, limitStuckMs: 300 })
    const wire = await Wire.connect(server)
    wire.socket.pause()
    wire.send(listings(600, FEWER_ITEMS))
    await until('the server has begun to answer', () => wire.socket.readableLength > 0)
    await until('the server has let go of the connection', () => openConnections(server) === 0)
    wire.destroy()
  })
})

describe('connections', () => {
  it('beyond the limit are refused with an error line, and taken again when one has gone', async () => {
    const server = await marketplace.serve('seller', { limitConnections: CONNECTIONS })
    const wires = await Promise.all(Array.from({ length: CONNECTIONS }, () => Wire.connect(server)))
    for (const wire of wires) {
      wire.request(1, 'ping')
      await wire.reply()
    }
    const refused = await Wire.connect(server)
    const [reply, ...more] = await refused.rest()
    assert.deepEqual(reply?.error?.data, { code: 'overloaded', retry_after_ms: 1_000 })
    assert.deepEqual(more, [])
    wires[0]?.end()
    await until('a connection is free', async () => {
      const wire = await Wire.connect(server)
      wire.request(1, 'ping')
      const { error } = (await wire.reply()) ?? {}
      wire.destroy()
      return error === undefined
    })
    for (const wire of wires) wire.destroy()
  })

  it('without a request for too long are closed, and those in use are not', async () => {
    const server = await marketplace.serve('seller', { limitIdleMs: 1_500 })
    const [idle, busy] = await Promise.all([Wire.connect(server), Wire.connect(server)])
    let pings = 0
    const pinging = setInterval(() => {
      pings += 1
      busy.request(pings, 'ping')
    }, 100).unref()
    assert.deepEqual(await idle.rest(), [])
    clearInterval(pinging)
    await busy.replies(pings)
    busy.destroy()
  })

  it('that a client breaks off in the middle of everything leave nothing behind', async () => {
    for (let round = 0; round < 50; round += 1) {
      const wire = await Wire.connect(sellers)
      wire.request(1, 'display_items_for_sale', { session })
      wire.send('{"jsonrpc":"2.0","id":2,')
      if (round % 2 === 0) wire.socket.resetAndDestroy()
      else wire.destroy()
    }
    await until('all are gone', () => openConnections(sellers) === 0)
    assert.equal(sellers.program.log, '')
  })
})
