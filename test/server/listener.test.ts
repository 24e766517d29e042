/**
 * The limits on one client: what the server does at each, and that it loses
 * nothing that the limit allows. The tests set low limits, each on a server of
 * its own where two would interfere.
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
/** A listing of ITEMS has more than 100 KiB and is encoded in slices; one of FEWER_ITEMS is not. */
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

/** A ping of `bytes` bytes, without its line end. */
function encodePing(bytes: number, id: number | string): string {
  const ping = encodeRequest({ id, method: 'ping' }).trimEnd()
  return ping + ' '.repeat(bytes - ping.length)
}

/** Requests for listings of `limit` items. No two are equal, so that each makes the server read from the database. */
function encodeListings(count: number, limit: number): string {
  const params = (id: number) => ({ session, limit, cursor: String(1_000_000_000 + id) })
  return Array.from({ length: count }, (_, id) =>
    encodeRequest({ id, method: 'display_items_for_sale', params: params(id) }),
  ).join('')
}

/** Waits until the database sends no more rows; resolves to the number sent meanwhile. */
async function countRowsSent(): Promise<number> {
  const readRowsSent = async () => {
    const [row] = await marketplace.sql<{ Value: string }>('product', "SHOW GLOBAL STATUS LIKE 'Rows_sent'")
    return Number(row?.Value)
  }
  const first = await readRowsSent()
  let last = first
  let unchanged = 0
  await until('the database sends no more rows', async () => {
    const now = await readRowsSent()
    unchanged = now - last < FEWER_ITEMS ? unchanged + 1 : 0
    last = now
    return unchanged > 20
  })
  return last - first
}

describe('a line', () => {
  it('is answered if it has exactly as many bytes as allowed', async () => {
    const wire = await Wire.connect(sellers)
    wire.send(`${encodePing(LINE_BYTES, 1)}\n${encodePing(LINE_BYTES, 2)}`)
    wire.end()
    assert.deepEqual(
      (await wire.rest()).map(({ id }) => id),
      [1, 2],
    )
  })

  for (const [about, lineEnd] of [
    ['when its end arrives', '\n'],
    ['before its end arrives', ''],
  ]) {
    it(`is refused ${about} if it is one byte too long; earlier requests are answered, and the connection ends`, async () => {
      const wire = await Wire.connect(sellers)
      const before = encodeRequest({
        id: 'slow',
        method: 'login',
        params: { username: 'nobody', password: 'nobody nobody' },
      })
      wire.send(`${before}${encodePing(LINE_BYTES + 1, 'long')}${lineEnd}`)
      if (lineEnd !== '') wire.request('after', 'ping')
      const replies = await wire.rest()
      const codes = new Map(replies.map(({ id, error }) => [id, error?.data.code]))
      assert.deepEqual(
        [...codes],
        [
          [null, 'invalid_request'],
          ['slow', 'unauthenticated'],
        ],
      )
      await wire.ended
    })
  }

  it('ends the connection if it is not finished in time, also when bytes keep coming', async () => {
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
  it('stay unread beyond the limit, and none is lost when 5000 come in one write', async () => {
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

  it('stay unread beyond the limit also behind long listings, and none is lost', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 16 })
    const wire = await Wire.connect(server)
    const ratings = Array.from({ length: 500 }, (_, number) =>
      encodeRequest({ id: 10 + number, method: 'get_seller_rating', params: { session } }),
    )
    wire.send(encodeListings(10, ITEMS) + ratings.join(''))
    const replies = await wire.replies(510)
    for (const { result } of replies.values()) assert.notEqual(result, undefined)
    wire.destroy()
  })

  it('never exceed the limit, so that with a limit of one a ping stays behind a slow request', async () => {
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

  it('count by weight, so that long listings fill a connection sooner', async () => {
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
    it(`of ${items} items each is not read until it takes them, and then gets every one`, async () => {
      const server = await marketplace.serve('seller', { limitUnsentBytes: MIB })
      const wire = await Wire.connect(server)
      wire.socket.pause()
      const count = 600
      wire.send(encodeListings(count, items))
      const readFromDatabase = (await countRowsSent()) / items
      assert.ok(readFromDatabase < count / 2, `${readFromDatabase} listings were read for a client that takes none`)
      const others = await Caller.connect(server)
      await others.call('ping', {})
      wire.socket.resume()
      const replies = await wire.replies(count)
      for (let id = 0; id < count; id += 1) {
        const { result, error } = replies.get(id) ?? {}
        assert.equal((result?.items as unknown[] | undefined)?.length, items, JSON.stringify(error))
      }
      wire.destroy()
      await others.close()
    })
  }

  it('is disconnected after some time', async () => {
    const server = await marketplace.serve('seller', { limitUnsentBytes: MIB, limitStuckMs: 300 })
    const wire = await Wire.connect(server)
    wire.socket.pause()
    wire.send(encodeListings(600, FEWER_ITEMS))
    await until('the server has begun to answer', () => wire.socket.readableLength > 0)
    await until('the server has closed the connection', () => openConnections(server) === 0)
    wire.destroy()
  })
})

describe('connections', () => {
  it('are refused with an error line beyond the limit, and accepted again when one has ended', async () => {
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

  it('are closed when they have been idle for too long, and not while they are in use', async () => {
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

  it('leave nothing behind when the client breaks them off in the middle of a request and a reply', async () => {
    for (let round = 0; round < 50; round += 1) {
      const wire = await Wire.connect(sellers)
      wire.request(1, 'display_items_for_sale', { session })
      wire.send('{"jsonrpc":"2.0","id":2,')
      if (round % 2 === 0) wire.socket.resetAndDestroy()
      else wire.destroy()
    }
    await until('all connections are closed', () => openConnections(sellers) === 0)
    assert.equal(sellers.program.log, '')
  })
})
