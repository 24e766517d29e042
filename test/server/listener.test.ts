/**
 * The limits on one client: what the server does at each, and that it loses
 * nothing that the limit allows. The tests set low limits, each on a server of
 * its own where two would interfere.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { anItem, Caller, encodeRequest, openAccount, type Reply, Wire } from '../support/clients.ts'
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

  it('is disconnected after some time, also if it sends a byte now and then', async () => {
    const server = await marketplace.serve('seller', { limitUnsentBytes: MIB, limitStuckMs: 300 })
    const wire = await Wire.connect(server)
    wire.socket.pause()
    wire.send(encodeListings(600, FEWER_ITEMS))
    const nudging = setInterval(() => wire.send('\n'), 50).unref()
    await until('the server has begun to answer', () => wire.socket.readableLength > 0)
    await until('the server has closed the connection', () => openConnections(server) === 0)
    clearInterval(nudging)
    wire.destroy()
  })

  it('fast enough for the limit gets every one nevertheless, if it goes on taking them', async () => {
    const server = await marketplace.serve('seller', { limitStuckMs: 1_500 })
    const wire = await Wire.connect(server)
    const beganMs = performance.now()
    wire.socket.on('data', () => {
      wire.socket.pause()
      setTimeout(() => wire.socket.resume(), 20).unref()
    })
    wire.send(encodeListings(100, ITEMS))
    assert.equal((await wire.replies(100)).size, 100)
    assert.ok(performance.now() - beganMs > 3_000, 'it was always behind for longer than the limit')
    wire.destroy()
  })
})

describe('clients that together leave more unread than a server holds', () => {
  const COUNT = 8

  /** Each of these is owed more than the kernel's buffers hold, and reads nothing. */
  async function connectReaders(server: RunningServer): Promise<Wire[]> {
    const wires = await Promise.all(Array.from({ length: COUNT }, () => Wire.connect(server)))
    for (const wire of wires) {
      wire.socket.pause()
      wire.send(encodeListings(200, FEWER_ITEMS))
    }
    return wires
  }

  it('are disconnected before their time; meanwhile long pages are refused, and short calls are answered', async () => {
    const server = await marketplace.serve('seller', { limitHeldBytes: 2 * MIB })
    const seller = await Caller.connect(server)
    const wires = await connectReaders(server)
    const list = () => seller.call('display_items_for_sale', { session, limit: ITEMS })
    const codes = new Set<unknown>()
    await until('a long page is refused', async () => {
      await seller.call('get_seller_rating', { session })
      codes.add(
        await list().then(
          () => undefined,
          (error) => error.code,
        ),
      )
      return codes.has('overloaded')
    })
    assert.deepEqual(
      [...codes].filter((code) => code !== undefined),
      ['overloaded'],
    )
    await until('some are disconnected', () => {
      for (const wire of wires) if (wire.socket.writable) wire.send(encodeListings(10, FEWER_ITEMS)) // those before may have been refused
      return openConnections(server) < COUNT + 1
    })
    await until('a long page is answered again', () =>
      list().then(
        () => true,
        () => false,
      ),
    )
    await seller.call('ping', {})
    for (const wire of wires) wire.destroy()
    await seller.close()
  })

  it('leave no trace in what the server counts as held when they close', async () => {
    const server = await marketplace.serve('seller', { limitHeldBytes: 2 * MIB })
    const array = `[${encodeListings(20, FEWER_ITEMS).trimEnd().replaceAll('\n', ',')}]\n`
    for (let round = 0; round < 5; round += 1) {
      const wires = await connectReaders(server)
      for (const wire of wires) wire.send(`${array}${encodePing(LINE_BYTES, 'unfinished')}`)
      await until('the server has begun to answer', () => wires.some((wire) => wire.socket.readableLength > 0))
      for (const wire of wires) wire.destroy()
    }
    const seller = await Caller.connect(server)
    // What the others asked is still being done: a page may be refused because of that.
    const list = () =>
      seller.call('display_items_for_sale', { session, limit: ITEMS }).then(
        ({ items }) => items.length === ITEMS,
        ({ message }) => /requests are waiting/.test(message) || message,
      )
    await until('a long page is answered', async () => (await list()) === true)
    for (let call = 0; call < 20; call += 1) assert.equal(await list(), true)
    await seller.close()
  })

  it('or leave lines unfinished, are disconnected before their time too', async () => {
    const server = await marketplace.serve('seller', { limitHeldBytes: MIB, limitUnfinishedLineMs: 3_600_000 })
    const wires = await Promise.all(Array.from({ length: 40 }, () => Wire.connect(server)))
    for (const wire of wires) wire.send(' '.repeat(60_000))
    await until('some are disconnected', () => openConnections(server) < wires.length)
    const left = openConnections(server)
    assert.ok(left > 0, 'not all')
    for (const wire of wires) wire.destroy()
  })
})

describe('an array of requests', () => {
  const ids = (count: number) => Array.from({ length: count }, (_, id) => id)
  const encodeArray = (lines: string) => `[${lines.trimEnd().replaceAll('\n', ',')}]\n`
  const encodeRatings = (count: number) =>
    ids(count)
      .map((id) => encodeRequest({ id, method: 'get_seller_rating', params: { session } }))
      .join('')

  it('is begun as far as the limit on requests in flight allows, and continued when they are answered', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 1 })
    const wire = await Wire.connect(server)
    const slow = encodeRequest({
      id: 'slow',
      method: 'login',
      params: { username: 'nobody', password: 'nobody nobody' },
    })
    wire.send(encodeArray(slow + encodeRatings(300)) + encodeRequest({ id: 'after', method: 'ping' }))
    const replies = await wire.replyArray()
    assert.deepEqual(
      replies.map(({ id }) => id),
      ['slow', ...ids(300)],
    )
    assert.ok(replies.slice(1).every(({ result }) => result !== undefined))
    assert.equal((await wire.reply())?.id, 'after')
    wire.destroy()
  })

  it('is refused from where its replies are larger than what may stay unread, and keeps no others from theirs', async () => {
    const server = await marketplace.serve('seller', { limitUnsentBytes: MIB, limitInFlight: 4 })
    const wire = await Wire.connect(server)
    wire.send(
      encodeArray(encodeListings(100, FEWER_ITEMS)) + encodeArray(encodeListings(3, ITEMS)) + encodeListings(1, 1),
    )
    const codes = (await wire.replyArray()).map(({ error }) => error?.data.code)
    const answered = codes.filter((code) => code === undefined).length
    assert.ok(answered > 5 && answered < 50, `${answered} listings were answered`)
    assert.deepEqual(codes.slice(answered), codes.slice(answered).fill('limit_exceeded'))
    const second = await wire.replyArray()
    assert.deepEqual(
      second.map(({ result }) => (result?.items as unknown[] | undefined)?.length),
      [ITEMS, ITEMS, ITEMS],
    )
    assert.equal((await wire.reply())?.id, 0)
    wire.destroy()
  })

  it('waits while another one has collected as much as may stay unread, and is not refused for it', async () => {
    const server = await marketplace.serve('seller', { limitUnsentBytes: MIB, limitInFlight: 12 })
    const wire = await Wire.connect(server)
    const params = { username: 'nobody', password: 'nobody nobody' }
    const slow = ids(6).map((id) => encodeRequest({ id, method: 'login', params }))
    wire.send(encodeArray(slow.join('') + encodeListings(15, ITEMS)) + encodeArray(encodeListings(3, ITEMS)))
    assert.equal((await wire.replyArray()).length, 21)
    const second = await wire.replyArray()
    assert.deepEqual(
      second.map(({ result }) => (result?.items as unknown[] | undefined)?.length),
      [ITEMS, ITEMS, ITEMS],
    )
    wire.destroy()
  })

  it('keeps no other client waiting, also if all of its entries are answered at once', async () => {
    const server = await marketplace.serve('seller')
    const [long, other] = await Promise.all([Wire.connect(server), Wire.connect(server)])
    for (const wire of [long, other]) {
      wire.request('first', 'ping')
      await wire.reply()
    }
    const order: string[] = []
    long.socket.once('data', () => order.push('array'))
    other.socket.once('data', () => order.push('ping'))
    long.send(`[${ids(32_000).fill(1)}]\n${encodeRequest({ id: 'after', method: 'ping' })}`)
    other.request('other', 'ping')
    assert.equal((await long.replyArray()).length, 32_000)
    assert.equal((await long.reply())?.id, 'after')
    assert.deepEqual(order, ['ping', 'array'])
    for (const wire of [long, other]) wire.destroy()
  })

  it('that is not begun as a whole when the server drains is answered, with refusals for the rest', async () => {
    const server = await marketplace.serve('seller', { limitInFlight: 2 })
    const wire = await Wire.connect(server)
    const slow = ids(3).map((id) => ({
      id,
      method: 'login',
      params: { username: 'nobody', password: 'nobody nobody' },
    }))
    const ping = encodeRequest({ id: 'ping', method: 'ping' })
    wire.send(ping + encodeArray(slow.map(encodeRequest).join('') + encodeRatings(200)))
    assert.equal((await wire.reply())?.id, 'ping')
    const ended = server.program.end()
    const codes = (await wire.replyArray()).map(({ error }) => error?.data.code)
    assert.equal(codes.length, 203)
    assert.equal(codes.at(-1), 'shutting_down')
    assert.equal((await wire.reply())?.method, 'shutting_down')
    assert.equal(await wire.reply(), undefined)
    assert.equal(await ended, 0)
  })
})

describe('an array that its client keeps from being begun as a whole, by taking no replies', () => {
  it('is answered nevertheless when the server drains, with refusals for the rest', async () => {
    // A listing and one rating are in flight at once; a listing alone is too much to leave unread, all ratings are not.
    const server = await marketplace.serve('seller', { limitUnsentBytes: 50_000, limitInFlight: 5 })
    const wire = await Wire.connect(server)
    wire.socket.pause()
    const ratings = Array.from({ length: 200 }, (_, id) => ({ id, method: 'get_seller_rating', params: { session } }))
    const array = `[${ratings.map((request) => encodeRequest(request).trimEnd())}]\n`
    wire.send(Array.from({ length: 300 }, () => encodeListings(1, FEWER_ITEMS) + array).join(''))
    await countRowsSent()
    const ended = server.program.end()
    await new Promise((resolve) => setTimeout(resolve, 500))
    wire.socket.resume()
    const lines: { error?: { data: { code: string } }; method?: string }[][] = []
    for (let line = await wire.line(); line !== undefined; line = await wire.line())
      lines.push([JSON.parse(line)].flat())
    const farewell = lines.findIndex(([line]) => line?.method === 'shutting_down')
    assert.equal(lines.length, 2 * 300 + 1, 'a request was not answered')
    const codes = lines[farewell - 1]?.map(({ error }) => error?.data.code)
    assert.equal(codes?.length, ratings.length)
    assert.deepEqual([codes?.at(0), codes?.at(-1)], [undefined, 'shutting_down'])
    const behind = lines.slice(farewell + 1).flat()
    assert.ok(behind.every(({ error }) => error?.data.code === 'shutting_down'))
    assert.equal(await ended, 0)
  })
})

describe('a client of another protocol', () => {
  const account = { username: 'web-page', password: 'correct horse', name: 'Web' }
  const create = encodeRequest({ id: 1, method: 'create_account', params: account })
  const post = (requestLine: string) =>
    `${requestLine}\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: ${create.length}\r\n\r\n${create}`

  /** Everything that the server sends until it ends the connection. */
  async function readAll(wire: Wire): Promise<string> {
    const lines: string[] = []
    for (let line = await wire.line(); line !== undefined; line = await wire.line()) lines.push(line)
    return lines.join('\n')
  }

  /** An account opened now comes after all that the server has begun. */
  async function assertNothingDone(): Promise<void> {
    const seller = await Caller.connect(sellers)
    await openAccount(seller)
    await seller.close()
    assert.deepEqual(await marketplace.sql('customer', "SELECT id FROM seller WHERE username = 'web-page'"), [])
  }

  const requestLines = [
    'POST / HTTP/1.1',
    'GET /?x={"jsonrpc":"2.0"} HTTP/1.0',
    'OPTIONS * HTTP/1.1',
    'CONNECT 127.0.0.1:80 HTTP/1.1',
    'PRI * HTTP/2.0',
    'post / HTTP/1.1',
    'M-SEARCH * HTTP/1.1',
    'GET /\u00e9 HTTP/1.1',
    `GET /${'x'.repeat(LINE_BYTES - 20)} HTTP/1.1`,
  ]
  for (const requestLine of requestLines) {
    it(`gets one answer to ${requestLine.slice(0, 40)}, and nothing after it is carried out`, async () => {
      for (const before of ['', '\n\r\n', encodeRequest({ method: 'ping' })]) {
        const wire = await Wire.connect(sellers)
        wire.send(Buffer.from(before + post(requestLine), 'latin1'))
        const answer = await readAll(wire)
        const [head, body] = answer.split('\r\n\r\n') as [string, string]
        assert.match(head, /^HTTP\/1\.1 400 Bad Request\r\n/)
        assert.match(head, /\r\nConnection: close(\r\n|$)/)
        assert.ok(head.includes(`Content-Length: ${body.length + 1}`), 'the last line end belongs to the body')
        assert.ok(!/access-control/i.test(head))
        assert.match(body, /^This is no web server: [^\n]*$/)
        wire.destroy()
      }
      await assertNothingDone()
    })
  }

  it('gets it also when its bytes come one by one, and a large body follows', async () => {
    const wire = await Wire.connect(sellers)
    for (const byte of Buffer.from('GET / HTTP/1.1\r\n')) {
      wire.send(Buffer.from([byte]))
      await new Promise(setImmediate)
    }
    wire.send(create.repeat(20_000))
    assert.match(await readAll(wire), /^HTTP\/1\.1 400 /)
    await assertNothingDone()
  })

  it('gets it through a browser’s fetch', async () => {
    const response = await fetch(`http://127.0.0.1:${sellers.port}/`, { method: 'POST', body: create })
    assert.equal(response.status, 400)
    assert.match(await response.text(), /no web server/)
    await assertNothingDone()
  })

  it('gets no body if it asks for none', async () => {
    const wire = await Wire.connect(sellers)
    wire.send('HEAD / HTTP/1.1\r\n\r\n')
    assert.match(await readAll(wire), /^HTTP\/1\.1 400 Bad Request\r\n.*\r\nConnection: close\r\n\r$/s)
  })

  it('gets it behind the replies to earlier requests', async () => {
    const wire = await Wire.connect(sellers)
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    wire.request('fast', 'ping')
    wire.send(post('POST / HTTP/1.1'))
    const answer = await readAll(wire)
    assert.match(answer, /"id":"fast"/)
    assert.match(answer, /HTTP\/1\.1 400 /)
    assert.match(answer, /"id":"slow"/)
    await assertNothingDone()
  })

  it('is told at its first byte that the server does not speak TLS', async () => {
    for (const bytes of [Buffer.from([0x16]), Buffer.from([0x16, 0x03, 0x01, 0x0a, 0x00, 0x01])]) {
      const wire = await Wire.connect(sellers)
      const begunMs = performance.now()
      wire.send(bytes)
      const [reply, ...more] = await wire.rest()
      assert.deepEqual([reply?.id, reply?.error?.data.code, more], [null, 'parse_error', []])
      assert.match(reply?.error?.message ?? '', /TLS/)
      assert.ok(performance.now() - begunMs < 5_000)
    }
    await assert.rejects(fetch(`https://127.0.0.1:${sellers.port}/`))
  })

  it('is not taken for one because a line that is not JSON mentions HTTP', async () => {
    const wire = await Wire.connect(sellers)
    wire.send(`{"jsonrpc": "see GET / HTTP/1.1\nHTTP/1.1\n"GET / HTTP/1.1\n${encodeRequest({ id: 1, method: 'ping' })}`)
    const codes: unknown[] = []
    for (let count = 0; count < 4; count += 1) codes.push((await wire.reply())?.error?.data.code)
    assert.deepEqual(codes, ['parse_error', 'parse_error', 'parse_error', undefined])
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

  it('are shared out among addresses, so that none takes all', async () => {
    const server = await marketplace.serve('seller', { limitConnections: 8, limitAddressShare: 1 })
    const ping = async (wire: Wire) => {
      wire.request(1, 'ping')
      return wire.reply()
    }
    const own: Wire[] = []
    let refused: Reply['error']
    while (refused === undefined) {
      const wire = await Wire.connect(server)
      const { error } = (await ping(wire)) ?? {}
      if (error === undefined) own.push(wire)
      else refused = error
    }
    assert.equal(own.length, 4)
    assert.deepEqual(refused.data, { code: 'overloaded', retry_after_ms: 1_000 })
    assert.match(refused.message, /address/)
    const others = [await Wire.connect(server, '127.0.0.2'), await Wire.connect(server, '127.0.0.3')]
    for (const other of others) assert.equal((await ping(other))?.error, undefined)
    for (const wire of [...own, ...others]) wire.destroy()
    await until('all are closed', () => openConnections(server) === 0)
    const again = await Wire.connect(server)
    assert.equal((await ping(again))?.error, undefined)
    again.destroy()
  })

  it('that are refused get the reason also if they have asked already, and are closed if their clients do not', async () => {
    const server = await marketplace.serve('seller', { limitConnections: 1 })
    const first = await Wire.connect(server)
    first.request(1, 'ping')
    await first.reply()
    const wires = await Promise.all(Array.from({ length: 50 }, () => Wire.connect(server)))
    for (const wire of wires) {
      wire.socket.allowHalfOpen = true
      wire.request(1, 'ping')
      assert.equal((await wire.reply())?.error?.data.code, 'overloaded')
    }
    await until('they are closed', () => openConnections(server) === 1)
    for (const wire of [first, ...wires]) wire.destroy()
  })

  it('are idle without requests, whatever else is sent', async () => {
    const server = await marketplace.serve('seller', { limitIdleMs: 1_000 })
    for (const bytes of ['\n', '\r\n', ' \n', '1\n']) {
      const wire = await Wire.connect(server)
      const nudging = setInterval(() => wire.send(bytes), 50).unref()
      await until('the server has closed the connection', () => openConnections(server) === 0)
      clearInterval(nudging)
      wire.destroy()
    }
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
