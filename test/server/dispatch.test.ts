/**
 * From a line to its reply, over real sockets: pipelining, replies out of
 * order, notifications, and every error code of the protocol.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ERROR_NUMBERS, type ErrorCode } from '../../src/contract/refusals.ts'
import { withConnection } from '../../src/db/connect.ts'
import { below, seeded } from '../../src/loadgen/random.ts'
import { VERSION } from '../../src/process/start.ts'
import { anItem, Caller, encodeRequest, openAccount, Wire } from '../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let buyers: RunningServer<'buyer'>
let session: string
let buyersSession: string

before(async () => {
  marketplace = await startTestMarketplace()
  ;[sellers, buyers] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
  session = (await openAccount(await Caller.connect(sellers))).session
  buyersSession = (await openAccount(await Caller.connect(buyers))).session
})
after(() => marketplace?.close())

/** Sends one line on a connection of its own; resolves to the reply. */
async function send(bytes: string | Buffer, server: RunningServer = sellers) {
  const wire = await Wire.connect(server)
  wire.send(bytes)
  const reply = await wire.reply()
  wire.destroy()
  assert.ok(reply !== undefined)
  return reply
}

/** The error codes in replies so far; in the end all codes. */
const seenCodes = new Set<string>()

async function sendRefused(bytes: string | Buffer, server?: RunningServer) {
  const { error, ...reply } = await send(bytes, server)
  assert.ok(error !== undefined, 'a refusal was expected')
  seenCodes.add(error.data.code)
  return { ...error, id: reply.id }
}

describe('requests on one connection', () => {
  it('are each answered once when many come in one write', async () => {
    const wire = await Wire.connect(sellers)
    const params = { session }
    wire.send(
      Array.from({ length: 200 }, (_, id) => encodeRequest({ id, method: 'get_seller_rating', params })).join(''),
    )
    const replies = await wire.replies(200)
    for (let id = 0; id < 200; id += 1) assert.ok(replies.get(id)?.result !== undefined)
    wire.destroy()
  })

  it('are answered as they finish, so that a ping does not wait for the login before it', async () => {
    const wire = await Wire.connect(sellers)
    wire.request('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    wire.request('fast', 'ping')
    assert.deepEqual([(await wire.reply())?.id, (await wire.reply())?.id], ['fast', 'slow'])
    wire.destroy()
  })

  it('may have ids of every kind, also equal ones', async () => {
    const wire = await Wire.connect(sellers)
    for (const id of [1, '1', 'ü'.repeat(1_000), null, 7, 7]) wire.send(encodeRequest({ id, method: 'ping' }))
    const ids = []
    for (let count = 0; count < 6; count += 1) ids.push((await wire.reply())?.id)
    assert.deepEqual(ids, [1, '1', 'ü'.repeat(1_000), null, 7, 7])
    wire.destroy()
  })

  it('may arrive byte by byte, with empty lines between them and with either line end', async () => {
    const wire = await Wire.connect(sellers)
    const bytes = Buffer.from(
      `\n\r\n${encodeRequest({ id: 'é😀', method: 'ping' }).trimEnd()}\r\n\n${encodeRequest({ id: 2, method: 'ping' })}`,
    )
    for (const byte of bytes) {
      wire.send(Buffer.from([byte]))
      await new Promise(setImmediate)
    }
    const replies = await wire.replies(2)
    assert.deepEqual([...replies.keys()], ['é😀', 2])
    wire.destroy()
  })

  it('are answered after the client’s FIN, also the last one if its line has no end', async () => {
    const wire = await Wire.connect(sellers)
    wire.send(encodeRequest({ id: 1, method: 'login', params: { username: 'nobody', password: 'nobody nobody' } }))
    wire.send(encodeRequest({ id: 2, method: 'get_seller_rating', params: { session } }).trimEnd())
    wire.end()
    const replies = await wire.rest()
    assert.deepEqual(replies.map(({ id }) => id).toSorted(), [1, 2])
  })

  it('are carried out but not answered if they have no id, whatever is wrong with them', async () => {
    const wire = await Wire.connect(sellers)
    const params = { session, ...anItem({ name: 'Notified', category: 77 }) }
    wire.send(encodeRequest({ method: 'register_item_for_sale', params }))
    wire.send(encodeRequest({ method: 'no_such_thing' }))
    wire.send(encodeRequest({ method: 'whoami', params: { session: 'wrong' } }))
    wire.send(encodeRequest({ method: 'whoami', params: { session: 7 } }))
    wire.send('{}\n{"jsonrpc":"1.0","method":"ping"}\n{"jsonrpc":"2.0","method":7}\n')
    wire.send('{"jsonrpc":"2.0","method":"ping","params":[]}\n{"jsonrpc":"2.0","method":"ping","params":{"a":1}}\n')
    wire.send('{"jsonrpc":"2.0","id":1,"result":{}}\n{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}\n')
    wire.end()
    assert.deepEqual(await wire.rest(), [])
    const items = await marketplace.sql('product', 'SELECT name FROM item WHERE category = 77')
    assert.deepEqual(items, [{ name: 'Notified' }])
  })

  it('are answered also after a line that was refused', async () => {
    const wire = await Wire.connect(sellers)
    wire.send(`no json\n[]\n{"jsonrpc":"2.0","id":1}\n${encodeRequest({ id: 2, method: 'ping' })}`)
    const codes = []
    for (let count = 0; count < 4; count += 1) codes.push((await wire.reply())?.error?.data.code)
    assert.deepEqual(codes, ['parse_error', 'invalid_request', 'invalid_request', undefined])
    wire.destroy()
  })
})

const PING = encodeRequest({ id: 'ping', method: 'ping' }).trimEnd()
const PONG = { jsonrpc: '2.0', id: 'ping', result: { ok: true, version: VERSION } }

/** The replies to an array, which must be one line: each as its id with the code of its error. */
async function sendArray(wire: Wire, ...entries: readonly (string | object)[]) {
  wire.send(`[${entries.map((entry) => (typeof entry === 'string' ? entry : JSON.stringify(entry))).join(',')}]\n`)
  return (await wire.replyArray()).map(({ id, error }) => [id, error?.data.code])
}

describe('an array of requests', () => {
  const call = (id: number | string, method: string, params: object = {}) => ({ jsonrpc: '2.0', id, method, params })

  it('is answered by an array of replies, in the order of the requests, when the last is there', async () => {
    const wire = await Wire.connect(sellers)
    const login = call('slow', 'login', { username: 'nobody', password: 'nobody nobody' })
    assert.deepEqual(
      await sendArray(wire, login, PING, call(2, 'get_seller_rating', { session }), call(2, 'nothing')),
      [
        ['slow', 'unauthenticated'],
        ['ping', undefined],
        [2, undefined],
        [2, 'unknown_method'],
      ],
    )
    wire.destroy()
  })

  it('does not hold up other lines, and each line is answered by itself', async () => {
    const wire = await Wire.connect(sellers)
    const login = {
      jsonrpc: '2.0',
      id: 'slow',
      method: 'login',
      params: { username: 'nobody', password: 'nobody nobody' },
    }
    wire.send(`${JSON.stringify([login])}\n${PING}\n[${PING}]\n`)
    assert.deepEqual(await wire.reply(), PONG)
    assert.deepEqual(await wire.replyArray(), [PONG])
    assert.deepEqual(
      (await wire.replyArray()).map(({ id }) => id),
      ['slow'],
    )
    wire.destroy()
  })

  it('has an error for each entry that is no request, and nothing for those without an id', async () => {
    const wire = await Wire.connect(sellers)
    const entries = ['1', 'null', '"x"', '[]', `[${PING}]`, '{}', '{"id":7}', '{"jsonrpc":"2.0","method":"ping"}', PING]
    assert.deepEqual(await sendArray(wire, ...entries), [
      ...Array.from({ length: 5 }, () => [null, 'invalid_request']),
      [7, 'invalid_request'],
      ['ping', undefined],
    ])
    assert.deepEqual(await sendArray(wire, '1'), [[null, 'invalid_request']])
    wire.destroy()
  })

  it('is carried out but not answered if no request has an id', async () => {
    const wire = await Wire.connect(sellers)
    const params = { session, ...anItem({ name: 'Notified', category: 76 }) }
    const notification = encodeRequest({ method: 'register_item_for_sale', params }).trimEnd()
    wire.send(`[${notification},{},{"method":"ping"},${notification}]\n[{}]\n`)
    wire.end()
    assert.equal(await wire.line(), undefined)
    const items = await marketplace.sql('product', 'SELECT name FROM item WHERE category = 76')
    assert.deepEqual(items, [{ name: 'Notified' }, { name: 'Notified' }])
  })

  it('ends with a notification and is answered nevertheless', async () => {
    const wire = await Wire.connect(sellers)
    const notification = encodeRequest({ method: 'get_seller_rating', params: { session } }).trimEnd()
    assert.deepEqual(await sendArray(wire, PING, notification), [['ping', undefined]])
    wire.destroy()
  })

  it('may be the last line, without a line end', async () => {
    const wire = await Wire.connect(sellers)
    const rating = call(1, 'get_seller_rating', { session })
    wire.send(`[${JSON.stringify(rating)},${PING}]`)
    wire.end()
    assert.deepEqual(
      (await wire.replyArray()).map(({ id }) => id),
      [1, 'ping'],
    )
    assert.equal(await wire.line(), undefined)
  })

  it('that is deeply nested, or of 30,000 numbers, gets its errors without holding up others', async () => {
    const [wire, other] = await Promise.all([Wire.connect(sellers), Wire.connect(sellers)])
    assert.deepEqual(await sendArray(wire, '['.repeat(30_000) + ']'.repeat(30_000)), [[null, 'invalid_request']])
    const errors = sendArray(wire, ...Array.from({ length: 30_000 }, () => '1'))
    assert.ok((await ping(other))?.result)
    assert.equal((await errors).length, 30_000)
    for (const each of [wire, other]) each.destroy()
  })

  it('is taken beside notifications and single requests: all with an id are answered once', async () => {
    const wire = await Wire.connect(sellers)
    const random = seeded(20_261_122)
    let ids = 0
    const draw = (): unknown => {
      const kind = below(8, random)
      if (kind === 0) return { jsonrpc: '2.0', method: 'ping' }
      if (kind === 1) return { jsonrpc: '1.0', method: 'ping' }
      if (kind === 2) return { jsonrpc: '2.0', id: ids++, method: 'no_such_thing' }
      if (kind === 3) return { jsonrpc: '2.0', id: ids++, method: 'ping', params: [] }
      if (kind === 4) return { id: ids++ }
      if (kind === 5) return { jsonrpc: '2.0', id: ids++, result: {} }
      return { jsonrpc: '2.0', id: ids++, method: 'get_seller_rating', params: { session } }
    }
    const lines = Array.from({ length: 400 }, () =>
      below(2, random) === 0 ? draw() : Array.from({ length: 1 + below(12, random) }, draw),
    )
    wire.send(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    wire.end()
    const answers: string[] = []
    for (let line = await wire.line(); line !== undefined; line = await wire.line()) {
      answers.push(describeIds(JSON.parse(line), () => true))
    }
    const asked = lines.map((line) => describeIds(line, (entry) => 'id' in entry && !('result' in entry)))
    assert.deepEqual(answers.toSorted(), asked.filter((ids) => ids !== '[]' && ids !== '').toSorted())
  })

  /** The ids in a line, in brackets if it is an array. */
  function describeIds(line: unknown, counts: (entry: object) => boolean): string {
    if (Array.isArray(line)) return `[${line.filter(counts).map(({ id }) => id)}]`
    return counts(line as object) ? String((line as { id: unknown }).id) : ''
  }
})

describe('the server', () => {
  const expected: { about: string; line: string | Buffer; code: ErrorCode; id: number | string | null }[] = [
    { about: 'a line that is not JSON', line: 'canary\n', code: 'parse_error', id: null },
    { about: 'invalid UTF-8', line: Buffer.from([0x22, 0xff, 0x22, 0x0a]), code: 'parse_error', id: null },
    { about: 'brackets that are never closed', line: `${'['.repeat(65_000)}\n`, code: 'parse_error', id: null },
    { about: 'an empty array', line: '[]\n', code: 'invalid_request', id: null },
    {
      about: 'an object for an id',
      line: `{"jsonrpc":"2.0","id":${'['.repeat(30_000)}${']'.repeat(30_000)},"method":"canary"}\n`,
      code: 'invalid_request',
      id: null,
    },
    { about: 'a request without a version', line: '{"id":5,"method":"ping"}\n', code: 'invalid_request', id: 5 },
    {
      about: 'an id that is too large',
      line: '{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}\n',
      code: 'invalid_request',
      id: null,
    },
    { about: 'an unknown method', line: encodeRequest({ id: 5, method: 'canary' }), code: 'unknown_method', id: 5 },
    {
      about: 'a method of the other role',
      line: encodeRequest({ id: 5, method: 'search_items' }),
      code: 'unknown_method',
      id: 5,
    },
    {
      about: 'an array as params',
      line: encodeRequest({ id: 5, method: 'ping', params: ['canary'] }),
      code: 'invalid_params',
      id: 5,
    },
    {
      about: 'a request without a session',
      line: encodeRequest({ id: 5, method: 'whoami' }),
      code: 'invalid_params',
      id: 5,
    },
    {
      about: 'a wrong session',
      line: encodeRequest({ id: 5, method: 'whoami', params: { session: 'canary' } }),
      code: 'unauthenticated',
      id: 5,
    },
  ]
  for (const { about, line: sent, code, id } of expected) {
    it(`refuses ${about} with ${code}, and repeats nothing of the line`, async () => {
      const refusal = await sendRefused(sent)
      assert.equal(refusal.data.code, code)
      assert.equal(refusal.id, id)
      assert.ok(!JSON.stringify(refusal).includes('canary'))
    })
  }

  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '']) {
    it(`refuses ${JSON.stringify(name)} like any unknown method, and like any unknown field`, async () => {
      assert.equal((await sendRefused(encodeRequest({ id: 1, method: name }))).data.code, 'unknown_method')
      const asField = `{"jsonrpc":"2.0","id":1,"method":"ping","params":{${JSON.stringify(name)}:{"canary":1}}}\n`
      const refusal = await sendRefused(asField)
      assert.equal(refusal.data.code, 'invalid_params')
      assert.deepEqual(Object.entries(refusal.data.fields as object), [[name, 'is not a parameter']])
      assert.ok(!JSON.stringify(refusal).includes('canary'))
      const within = `{"jsonrpc":"2.0","id":1,"method":"whoami","params":{"session":{${JSON.stringify(name)}:1}}}\n`
      assert.equal((await sendRefused(within)).data.code, 'invalid_params')
    })
  }

  it('refuses unknown and server-owned fields with invalid_params, and changes nothing', async () => {
    for (const [name, value] of Object.entries({ seller_id: 1, thumbs_up: 9, item_id: 1, colour: 'canary' })) {
      const params = { session, ...anItem({ category: 78 }), [name]: value }
      const refusal = await sendRefused(encodeRequest({ id: 1, method: 'register_item_for_sale', params }))
      assert.deepEqual(refusal.data, { code: 'invalid_params', fields: { [name]: 'is not a parameter' } })
    }
    assert.deepEqual(await marketplace.sql('product', 'SELECT id FROM item WHERE category = 78'), [])
  })

  it('repeats the names of five unknown fields at most, shortened, and without characters that break a line', async () => {
    const names = [
      ['x'.repeat(60_000), 'x'.repeat(64)],
      ['\u{1f943}'.repeat(100), '\u{1f943}'.repeat(64)],
      ['a\n\u001b[31m\u0085', 'a\ufffd\ufffd[31m\ufffd'],
      ['\u202eb\u2028\ud800', '\ufffdb\ufffd\ufffd'],
    ] as const
    for (const [name, shown] of names) {
      const refusal = await sendRefused(encodeRequest({ id: 1, method: 'ping', params: { [name]: 1 } }))
      assert.deepEqual(Object.keys(refusal.data.fields as object), [shown])
    }
    const many = Object.fromEntries(Array.from({ length: 3_000 }, (_, number) => [`field ${number}`, 1]))
    const { data } = await sendRefused(encodeRequest({ id: 1, method: 'ping', params: many }))
    const first = [0, 1, 2, 3, 4].map((number) => `field ${number}`)
    assert.deepEqual(Object.keys(data.fields as object), first)
  })

  /** JSON texts, since some of the values cannot be written in TypeScript. */
  const wrong = {
    name: ['""', '" edge"', '"edge "', '"a\\nb"', `"${'x'.repeat(33)}"`, '"\\ud800"', '7', 'null', '{}', '["a"]'],
    category: ['-1', '65536', '1.5', '"1"', 'null', '1e400', '[1]'],
    keywords: ['"lamp"', '[""]', '["123456789"]', '["a","b","c","d","e","f"]', '[1]', '[["a"]]'],
    condition: ['"old"', '"NEW"', '""', '1'],
    price_cents: ['-1', '1000000001', '0.5', '"5"'],
    quantity: ['0', '-1', '1000001', '9007199254740993', '"1"'],
    idempotency_key: ['""', `"${'x'.repeat(65)}"`, '1'],
  }
  for (const [field, values] of Object.entries(wrong)) {
    it(`refuses an invalid value of ${field}, and names the field`, async () => {
      const params = JSON.stringify({ session, ...anItem() }).slice(0, -1)
      for (const value of values) {
        const method = 'register_item_for_sale'
        const sent = `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params},"${field}":${value}}}\n`
        const { data } = await sendRefused(sent)
        assert.equal(data.code, 'invalid_params', value)
        const names = Object.keys(data.fields as object).map((name) => name.split('.')[0])
        assert.deepEqual([...new Set(names)], [field], value)
      }
    })
  }

  it('names all invalid fields at once', async () => {
    const refusal = await sendRefused(
      encodeRequest({ id: 1, method: 'register_item_for_sale', params: { session, other: 1 } }),
    )
    const fields = ['category', 'condition', 'keywords', 'name', 'other', 'price_cents', 'quantity']
    assert.deepEqual(Object.keys(refusal.data.fields as object).toSorted(), fields)
  })

  it('refuses items and sellers that do not exist with not_found', async () => {
    const item = { session: buyersSession, item_id: 999_999_999 }
    assert.equal(
      (await sendRefused(encodeRequest({ id: 1, method: 'get_item', params: item }), buyers)).data.code,
      'not_found',
    )
    const seller = { session: buyersSession, seller_id: 999_999_999 }
    assert.equal(
      (await sendRefused(encodeRequest({ id: 1, method: 'get_seller_rating', params: seller }), buyers)).data.code,
      'not_found',
    )
  })

  it('refuses a taken user name with username_taken if the password differs', async () => {
    const account = { username: 'taken', password: 'correct horse', name: 'Ann' }
    await send(encodeRequest({ id: 1, method: 'create_account', params: account }))
    const other = { ...account, password: 'another horse' }
    assert.equal(
      (await sendRefused(encodeRequest({ id: 1, method: 'create_account', params: other }))).data.code,
      'username_taken',
    )
  })

  it('refuses to change a password with wrong_password if the current one is wrong', async () => {
    const params = { session, password: 'wrong horse', new_password: 'another horse' }
    const refusal = await sendRefused(encodeRequest({ id: 1, method: 'change_password', params }))
    assert.equal(refusal.data.code, 'wrong_password')
  })

  it('refuses one wrong password after the other with too_many_attempts', async () => {
    const params = { username: 'nobody-here', password: 'wrong horse' }
    const codes = new Set<unknown>()
    for (let tries = 0; tries < 12 && !codes.has('too_many_attempts'); tries += 1)
      codes.add((await sendRefused(encodeRequest({ id: 1, method: 'login', params }))).data.code)
    assert.deepEqual([...codes], ['unauthenticated', 'too_many_attempts'])
  })

  it('refuses other parameters under a used key with idempotency_mismatch', async () => {
    const item = { session, idempotency_key: 'once', ...anItem() }
    await send(encodeRequest({ id: 1, method: 'register_item_for_sale', params: item }))
    const other = { ...item, quantity: 4 }
    const refusal = await sendRefused(encodeRequest({ id: 1, method: 'register_item_for_sale', params: other }))
    assert.equal(refusal.data.code, 'idempotency_mismatch')
  })

  it('refuses impossible cart operations with not_in_cart, cart_empty, price_changed, out_of_stock, limit_exceeded or not_purchased', async () => {
    const fields = anItem({ category: 81, quantity: 1_000_000 })
    const registered = await send(
      encodeRequest({ id: 1, method: 'register_item_for_sale', params: { session, ...fields } }),
    )
    const item_id = registered.result?.item_id as number
    const sendForCode = async (method: string, params: object = {}) => {
      const sent = encodeRequest({ id: 1, method, params: { session: buyersSession, ...params } })
      return (await sendRefused(sent, buyers)).data.code
    }
    assert.equal(await sendForCode('remove_item_from_cart', { item_id, quantity: 1 }), 'not_in_cart')
    assert.equal(await sendForCode('make_purchase'), 'cart_empty')
    assert.equal(await sendForCode('provide_feedback', { item_id, vote: 'up' }), 'not_purchased')
    const most = { session: buyersSession, item_id, quantity: 10_000 }
    await send(encodeRequest({ id: 1, method: 'add_item_to_cart', params: most }), buyers)
    assert.equal(await sendForCode('add_item_to_cart', { item_id, quantity: 1 }), 'limit_exceeded')
    assert.equal(await sendForCode('make_purchase', { total_cents: 1 }), 'price_changed')
    const soldOut = { session, item_id, change: -1_000_000 }
    await send(encodeRequest({ id: 1, method: 'update_units_for_sale', params: soldOut }))
    assert.equal(await sendForCode('make_purchase'), 'out_of_stock')
  })

  it('refuses calls with timeout and the outcome none, within the time limit, when their rows stay held', async () => {
    const hasty = await marketplace.serve('seller', { limitRequestMs: 500 })
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.query('LOCK TABLES item WRITE')
      const params = { session, ...anItem({ category: 79 }) }
      const refusal = await sendRefused(encodeRequest({ id: 1, method: 'register_item_for_sale', params }), hasty)
      assert.deepEqual(refusal.data, { code: 'timeout', outcome: 'none' })
      const reading = await sendRefused(
        encodeRequest({ id: 1, method: 'display_items_for_sale', params: { session } }),
        hasty,
      )
      assert.deepEqual(reading.data, { code: 'timeout', outcome: 'none' })
    })
    await send(encodeRequest({ id: 1, method: 'display_items_for_sale', params: { session } }), hasty)
    assert.deepEqual(await marketplace.sql('product', 'SELECT id FROM item WHERE category = 79'), [])
  })

  it('refuses calls with overloaded at once when others have waited too long, and says when to retry', async () => {
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.query('LOCK TABLES item WRITE')
      const wire = await Wire.connect(sellers)
      const refusal = await sendUntilRefused(wire, { session, ...anItem({ category: 80 }) })
      seenCodes.add(refusal.data.code)
      assert.equal(refusal.data.code, 'overloaded')
      assert.ok((refusal.data.retry_after_ms as number) >= 100)
      wire.destroy()
    })
  })

  it('refuses calls that fail unexpectedly with internal, logs the error, and reveals nothing of the database', async () => {
    await marketplace.sql('product', "ALTER TABLE item ADD CONSTRAINT never CHECK (name <> 'never')")
    const params = { session, ...anItem({ name: 'never' }) }
    const refusal = await sendRefused(encodeRequest({ id: 1, method: 'register_item_for_sale', params }))
    await marketplace.sql('product', 'ALTER TABLE item DROP CONSTRAINT never')
    assert.deepEqual(refusal.data, { code: 'internal' })
    assert.ok(!/never|insert|souk_test/i.test(JSON.stringify(refusal)))
    assert.match(sellers.program.log, /`never` failed/)
    assert.ok(!sellers.program.log.includes(session))
  })

  it('refuses calls that the database can’t do with unavailable, and reveals nothing of it', async () => {
    await marketplace.sql('product', 'RENAME TABLE seller_score TO elsewhere')
    const refusal = await sendRefused(encodeRequest({ id: 1, method: 'get_seller_rating', params: { session } }))
    await marketplace.sql('product', 'RENAME TABLE elsewhere TO seller_score')
    assert.deepEqual(refusal.data, { code: 'unavailable', retry_after_ms: 1_000 })
    assert.ok(!/seller_score|select|souk_test/i.test(JSON.stringify(refusal)))
    assert.match(sellers.program.log, /product database refuses reads: .*seller_score/)
    assert.ok(!sellers.program.log.includes(session))
  })

  it('refuses calls with shutting_down while it drains', async () => {
    const server = await marketplace.serve('seller')
    const wire = await Wire.connect(server)
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.query('LOCK TABLES item WRITE')
      wire.request('held', 'register_item_for_sale', { session, ...anItem() })
      wire.request('ping', 'ping')
      assert.equal((await wire.reply())?.id, 'ping')
      const ended = server.program.end()
      let reply = await ping(wire)
      while (reply?.error === undefined) reply = await ping(wire)
      assert.equal(reply.error.data.code, 'shutting_down')
      seenCodes.add('shutting_down')
      await connection.query('UNLOCK TABLES')
      const [held, farewell] = await wire.rest()
      assert.ok(held?.id === 'held' && held.result !== undefined)
      assert.equal(farewell?.method, 'shutting_down')
      assert.equal(await ended, 0)
    })
  })

  it('has given every error code in these tests', () => {
    assert.deepEqual([...seenCodes].toSorted(), Object.keys(ERROR_NUMBERS).toSorted())
  })
})

async function ping(wire: Wire) {
  wire.request('ping', 'ping')
  return wire.reply()
}

/** Sends requests until one is refused; resolves to the error. */
async function sendUntilRefused(wire: Wire, params: object) {
  const sending = setInterval(() => wire.request('sent', 'register_item_for_sale', params), 20)
  try {
    for (;;) {
      const reply = await wire.reply()
      assert.ok(reply !== undefined)
      if (reply.error !== undefined) return reply.error
    }
  } finally {
    clearInterval(sending)
  }
}
