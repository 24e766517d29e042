/**
 * The client that retries: whatever breaks, a call has one effect and one
 * answer, or rejects in time with what is known of it. Links break at every
 * place, servers are killed and restarted under load; the tables tell what
 * happened. One scripted server says what ours says too rarely.
 */

import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { CallRefused, ConnectionLost } from '../../src/client/connection.ts'
import { RetryingClient, type RetryingClientOptions } from '../../src/client/retrying-client.ts'
import type { Role } from '../../src/contract/operations.ts'
import { encodeRefusal } from '../../src/contract/protocol.ts'
import type { Refusal } from '../../src/contract/refusals.ts'
import { withConnection } from '../../src/db/connect.ts'
import { anItem, Caller, type OpenAccount, openAccount, Wire } from '../support/clients.ts'
import { type Fault, FaultyLink } from '../support/faulty-link.ts'
import {
  openConnections,
  type RunningServer,
  startTestMarketplace,
  type TestMarketplace,
  until,
} from '../support/marketplace.ts'

/** Longer than any restart takes on a busy machine. */
const PATIENT_MS = 60_000

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let ann: OpenAccount
let toClose: { close(): unknown }[] = []

before(async () => {
  marketplace = await startTestMarketplace()
  sellers = await marketplace.serve('seller', { sessionMemoryMs: 0 })
  ann = await openNewAccount()
})
afterEach(async () => {
  await Promise.all(toClose.map((one) => one.close()))
  toClose = []
})
after(() => marketplace?.close())

async function openNewAccount(): Promise<OpenAccount> {
  const caller = await Caller.connect(sellers)
  const account = await openAccount(caller)
  await caller.close()
  return account
}

type Timing = Pick<RetryingClientOptions<Role>, 'timeoutMs' | 'attemptMs'>

/** A client of whatever listens on that port, closed after the test. */
function openClient({ port }: { port: number }, timing: Timing = { timeoutMs: PATIENT_MS }): RetryingClient<'seller'> {
  const client = new RetryingClient({ role: 'seller', host: '127.0.0.1', port, ...timing })
  toClose.push(client)
  return client
}

async function openLink({ port }: { port: number }): Promise<FaultyLink> {
  const link = await FaultyLink.start(port)
  toClose.unshift(link) // closed before its clients, which may wait for it
  return link
}

/** A port on which nobody listens. */
async function findFreePort(): Promise<number> {
  const link = await FaultyLink.start(0)
  await link.close()
  return link.port
}

/** The error that a call rejects with. */
async function catchError(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    (result) => assert.fail(`not rejected: ${JSON.stringify(result)}`),
    (error) => error,
  )
}

function register(client: RetryingClient<'seller'>, category: number, name: string, idempotencyKey?: string) {
  const key = idempotencyKey === undefined ? {} : { idempotency_key: idempotencyKey }
  return client.call('register_item_for_sale', { session: ann.session, ...key, ...anItem({ name, category }) })
}

function readItems(category: number): Promise<{ id: number; name: string }[]> {
  return marketplace.sql('product', 'SELECT id, name FROM item WHERE category = ?', [category])
}

/** Checks that the items of a category are exactly those of the log, which has their ids by name. */
async function checkItems(category: number, log: ReadonlyMap<string, number>): Promise<void> {
  const items = (await readItems(category)).map(({ id, name }) => [name, id])
  assert.deepEqual(items.sort(), [...log].sort(), 'items there, and items that clients were answered')
}

describe('a link that breaks while a call is under way', () => {
  for (const [to, about, step, category] of [
    ['server', 'the request', 5, 20],
    ['client', 'the reply', 1, 21],
  ] as const) {
    it(`after any byte of ${about} leaves one item for each call`, async () => {
      const link = await openLink(sellers)
      const client = openClient(link)
      const log = new Map<string, number>()
      let bytes = 0
      do {
        for (const does of ['close', 'reset'] as const) {
          const name = `${does} after ${bytes}`
          link.arm({ to, after: { bytes }, does })
          log.set(name, (await register(client, category, name)).item_id)
        }
        bytes += step
      } while (!link.armed) // in the end no call has so many bytes
      assert.ok(bytes > 40 * step, `the calls were over after ${bytes} bytes`)
      await checkItems(category, log)
    })
  }

  it('with many calls on it leaves one item for each, over one new connection', async () => {
    const link = await openLink(sellers)
    const client = openClient(link)
    const log = new Map<string, number>()
    link.arm({ to: 'client', after: { lines: 10 }, does: 'reset' })
    const names = Array.from({ length: 50 }, (_, number) => `Lamp ${number}`)
    await Promise.all(names.map(async (name) => log.set(name, (await register(client, 22, name)).item_id)))
    assert.ok(!link.armed)
    assert.equal(link.connections, 2)
    await checkItems(22, log)
  })

  it('opens an account and ends a session as if it had not broken', async () => {
    const link = await openLink(sellers)
    const client = openClient(link)
    const beforeReply: Fault = { to: 'client', after: { bytes: 0 }, does: 'reset' }
    const credentials = { username: 'bea', password: 'correct horse' }
    link.arm(beforeReply)
    const { seller_id } = await client.call('create_account', { ...credentials, name: 'Bea' })
    link.arm(beforeReply)
    const { session } = await client.call('login', credentials)
    assert.equal((await client.call('whoami', { session })).id, seller_id)
    link.arm(beforeReply)
    assert.deepEqual(await client.call('logout', { session }), { ok: true })
    assert.ok(!link.armed)
    const again = await catchError(client.call('logout', { session }))
    assert.ok(again instanceof CallRefused && again.code === 'unauthenticated')
  })
})

describe('a link that is silent', () => {
  it('is given up before the call is, and the call uses a new connection', async () => {
    const link = await openLink(sellers)
    const client = openClient(link, { timeoutMs: PATIENT_MS, attemptMs: 1_000 })
    const log = new Map<string, number>()
    for (const [name, fault] of [
      ['request', { to: 'server', after: { bytes: 100 }, does: 'silence' }],
      ['reply', { to: 'client', after: { bytes: 10 }, does: 'silence' }],
      ['late reply', { to: 'client', after: { bytes: 10 }, does: { delayMs: 3_000 } }],
    ] as const) {
      link.arm(fault)
      log.set(name, (await register(client, 23, name)).item_id)
      assert.ok(!link.armed)
    }
    assert.equal(link.connections, 4)
    await checkItems(23, log)
  })

  it('for less than the time of an attempt is waited for', async () => {
    const link = await openLink(sellers)
    const client = openClient(link)
    link.arm({ to: 'client', after: { bytes: 10 }, does: { delayMs: 300 } })
    const begunMs = performance.now()
    await client.call('ping', {})
    assert.ok(performance.now() - begunMs >= 299)
    assert.equal(link.connections, 1)
  })

  it('holds up no call beyond its time limit, and leaves its outcome unknown', async () => {
    const link = await openLink(sellers)
    const client = openClient(link, { timeoutMs: 500, attemptMs: 5_000 })
    link.arm({ to: 'client', after: { bytes: 0 }, does: 'silence' })
    const begunMs = performance.now()
    const error = await catchError(register(client, 24, 'Lamp'))
    assert.ok(error instanceof ConnectionLost && error.outcome === 'unknown')
    assert.ok(performance.now() - begunMs < 4_000, 'as long as an attempt may take')
    await link.close()
  })
})

describe('equal keys', () => {
  it('of two clients give one item and equal answers', async () => {
    const clients = [openClient(sellers), openClient(sellers)]
    const answers = await Promise.all(clients.map((client) => register(client, 25, 'Lamp', 'one key')))
    assert.deepEqual(answers[0], answers[1])
    await checkItems(25, new Map([['Lamp', answers[0]?.item_id as number]]))
  })

  it('are never made for two calls: each call without a key gets 128 random bits', async () => {
    const client = openClient(sellers)
    const account = await openNewAccount()
    for (let call = 0; call < 5; call += 1) {
      await client.call('register_item_for_sale', { session: account.session, ...anItem() })
    }
    const rows = await marketplace.sql<{ idempotency_key: string }>(
      'product',
      'SELECT idempotency_key FROM idempotency WHERE account_id = ?',
      [account.id],
    )
    const keys = rows.map((row) => row.idempotency_key)
    assert.equal(new Set(keys).size, 5)
    for (const key of keys) assert.match(key, /^[\w-]{22}$/)
  })
})

/** Starts clients that register items, each several at a time, until `stop`, which rejects if a call failed. */
function registerEverywhere(port: number, category: number) {
  const log = new Map<string, number>()
  let stopping = false
  const clients = Array.from({ length: 8 }, () => openClient({ port }))
  const working = Promise.all(
    clients.flatMap((client, number) =>
      Array.from({ length: 4 }, async (_, loop) => {
        for (let call = 0; !stopping; call += 1) {
          const name = `${number} ${loop} ${call}`
          log.set(name, (await register(client, category, name)).item_id)
        }
      }),
    ),
  )
  working.catch(() => {}) // `stop` rejects with it
  return {
    log,
    async stop() {
      stopping = true
      await working
    },
  }
}

/** Whether the server refuses connections. */
function refusesConnections(server: { port: number }): Promise<boolean> {
  return Wire.connect(server).then(
    (wire) => {
      wire.destroy()
      return false
    },
    () => true,
  )
}

describe('a server under load', () => {
  for (const [about, signal, category] of [
    ['killed with -9', 'SIGKILL', 30],
    ['told to stop', 'SIGTERM', 31],
  ] as const) {
    it(`that is ${about} and started again, three times, fails no call and leaves one item for each`, async () => {
      let server = await marketplace.serve('seller')
      const { log, stop } = registerEverywhere(server.port, category)
      for (let round = 0; round < 3; round += 1) {
        const done = log.size
        await until('the clients get on', () => log.size > done + 200)
        assert.equal(await server.program.end(signal), signal === 'SIGTERM' ? 0 : signal)
        server = await marketplace.serve('seller', { sellerPort: server.port })
      }
      const done = log.size
      await until('the clients get on', () => log.size > done + 200)
      await stop()
      await checkItems(category, log)
    })
  }

  it('that is killed with -9 while its replies are lost, and started again, leaves one item for each call', async () => {
    const server = await marketplace.serve('seller')
    const link = await openLink(server)
    const { log, stop } = registerEverywhere(link.port, 32)
    await until('the clients get on', () => log.size > 200)
    link.cut('silence')
    await until('there are items that no client knows of', async () => (await readItems(32)).length > log.size)
    await server.program.end('SIGKILL')
    link.cut('reset')
    await marketplace.serve('seller', { sellerPort: server.port })
    const done = log.size
    await until('the clients get on', () => log.size > done + 200)
    await stop()
    await checkItems(32, log)
  })

  it('that refuses calls while it shuts down, and answers others, fails none', async () => {
    const server = await marketplace.serve('seller')
    const link = await openLink(server)
    const client = openClient(link)
    await client.call('ping', {})
    const calls = await withConnection(marketplace.urls.product, async (connection) => {
      await connection.query('LOCK TABLES item WRITE')
      const begun = register(client, 33, 'Lamp')
      await until('it is under way', () => link.lines.server === 2)
      void server.program.end()
      await until('the server takes no connections', () => refusesConnections(server))
      const refused = client.call('ping', {})
      await until('it was refused', () => link.lines.client > 1)
      return [begun, refused]
    })
    await marketplace.serve('seller', { sellerPort: server.port })
    await Promise.all(calls)
  })
})

describe('a server that is not there', () => {
  it('makes calls reject in time, with the outcome none', async () => {
    const client = openClient({ port: await findFreePort() }, { timeoutMs: 500 })
    const begunMs = performance.now()
    const error = await catchError(register(client, 34, 'Lamp'))
    assert.ok(error instanceof ConnectionLost && error.outcome === 'none')
    assert.match(error.message, /ECONNREFUSED/)
    assert.ok(performance.now() - begunMs < 5_000)
  })

  it('is waited for until it is there', async () => {
    const port = await findFreePort()
    const call = openClient({ port }).call('ping', {})
    await marketplace.serve('seller', { sellerPort: port })
    assert.equal((await call).ok, true)
  })

  it('any more leaves the outcome of calls that were sent to it unknown', async () => {
    const server = await marketplace.serve('seller')
    const link = await openLink(server)
    const client = openClient(link, { timeoutMs: 2_000 })
    link.arm({ to: 'client', after: { bytes: 0 }, does: 'silence' })
    const call = catchError(register(client, 35, 'Lamp'))
    await until('it was answered', () => !link.armed)
    await Promise.all([server.program.end('SIGKILL'), link.close()])
    const error = await call
    assert.ok(error instanceof ConnectionLost && error.outcome === 'unknown')
  })
})

describe('a server with too many connections', () => {
  it('is asked again when it said, until it accepts one more', async () => {
    const server = await marketplace.serve('seller', { limitConnections: 1 })
    const taken = await Wire.connect(server)
    taken.request(1, 'ping')
    await taken.reply()
    const link = await openLink(server)
    const call = openClient(link).call('ping', {})
    await until('a connection was refused', () => link.lines.client === 1)
    taken.end()
    assert.equal((await call).ok, true)
    assert.equal(link.connections, 2)
  })
})

describe('a refusal', () => {
  let scripted: Server | undefined
  afterEach(() => scripted?.close())

  /** A server that refuses one request with each of these refusals, and then answers; `askedMs` says when it was asked. */
  async function serveRefusals(...refusals: Refusal[]) {
    const askedMs: number[] = []
    const answer = (socket: Socket, line: string) => {
      askedMs.push(performance.now())
      const { id } = JSON.parse(line)
      const refusal = refusals.shift()
      const result = { jsonrpc: '2.0', id, result: { ok: true, version: '0' } }
      socket.write(refusal === undefined ? `${JSON.stringify(result)}\n` : encodeRefusal(id, refusal))
    }
    const listening = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => answer(socket, chunk.toString()))
    })
    scripted = listening
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
    return { port: (listening.address() as { port: number }).port, askedMs }
  }

  it('for overload leads to another attempt no sooner than the server said', async () => {
    const details = { retry_after_ms: 400 }
    const { port, askedMs } = await serveRefusals({ code: 'overloaded', message: 'too much', details })
    await openClient({ port }).call('ping', {})
    const [first = 0, second = 0] = askedMs
    assert.equal(askedMs.length, 2)
    assert.ok(second - first >= 398, `asked again after ${second - first} ms`) // timers may be early by a fraction
  })

  it('for overload that outlasts the call is final at once', async () => {
    const details = { retry_after_ms: 50_000 }
    const { port } = await serveRefusals({ code: 'overloaded', message: 'too much', details })
    const error = await catchError(openClient({ port }, { timeoutMs: 40_000 }).call('ping', {}))
    assert.ok(error instanceof CallRefused && error.code === 'overloaded')
  })

  it('for overload that says no usable time leads to another attempt within the time of the call', async () => {
    for (const retry_after_ms of ['soon', -5_000, null, undefined]) {
      const refusal = { code: 'overloaded', message: 'too much', details: { retry_after_ms } } as const
      const { port, askedMs } = await serveRefusals(...Array.from({ length: 1_000 }, () => refusal))
      const error = await catchError(openClient({ port }, { timeoutMs: 300 }).call('ping', {}))
      assert.ok(error instanceof CallRefused && error.code === 'overloaded')
      assert.ok(askedMs.length > 1 && askedMs.length < 100, `${askedMs.length} attempts`)
      scripted?.close()
    }
  })

  it('that passes leads to another attempt', async () => {
    const { port, askedMs } = await serveRefusals(
      { code: 'timeout', message: 'late', details: { outcome: 'unknown' } },
      { code: 'shutting_down', message: 'going' },
      { code: 'timeout', message: 'late', details: { outcome: 'none' } },
    )
    await openClient({ port }).call('ping', {})
    assert.equal(askedMs.length, 4)
  })

  it('does not hide the unknown outcome of an earlier attempt, unless it settles it', async () => {
    const unknown: Refusal = { code: 'timeout', message: 'late', details: { outcome: 'unknown' } }
    const cases = [
      [{ code: 'overloaded', message: 'too much', details: { retry_after_ms: 50_000 } }, 'timeout'],
      [{ code: 'unauthenticated', message: 'log in first' }, 'timeout'],
      [{ code: 'internal', message: 'this should not have happened' }, 'timeout'],
      [{ code: 'idempotency_mismatch', message: 'other parameters' }, 'idempotency_mismatch'],
    ] as const satisfies [Refusal, string][]
    for (const [refusal, told] of cases) {
      const { port } = await serveRefusals(unknown, refusal)
      const error = await catchError(register(openClient({ port }, { timeoutMs: 40_000 }), 36, 'Lamp'))
      assert.ok(error instanceof CallRefused)
      assert.equal(error.code, told, refusal.code)
      scripted?.close()
    }
    const { port } = await serveRefusals(unknown, { code: 'unauthenticated', message: 'log in first' })
    const error = await catchError(openClient({ port }).call('get_seller_rating', { session: 'x' }))
    assert.ok(error instanceof CallRefused && error.code === 'unauthenticated', 'reading again does no harm')
  })

  it('that would be the same next time is final at once', async () => {
    const link = await openLink(sellers)
    const client = openClient(link)
    const { session } = ann
    const calls = [
      ['invalid_params', () => client.call('register_item_for_sale', { session, ...anItem({ quantity: 0 }) })],
      ['unauthenticated', () => client.call('register_item_for_sale', { session: 'nobody', ...anItem() })],
      ['unauthenticated', () => client.call('logout', { session: 'nobody' })],
    ] as const
    for (const [index, [code, call]] of calls.entries()) {
      const error = await catchError(call())
      assert.ok(error instanceof CallRefused && error.code === code)
      assert.equal(link.lines.server, index + 1)
    }
  })
})

describe('a client', () => {
  it('connects at its first call, once for all calls', async () => {
    const link = await openLink(sellers)
    const client = openClient(link)
    assert.equal(link.connections, 0)
    await Promise.all(Array.from({ length: 50 }, () => client.call('whoami', { session: ann.session })))
    await client.call('ping', {})
    assert.equal(link.connections, 1)
  })

  it('that is closed gets its calls answered, makes no more, and leaves no connection', async () => {
    const server = await marketplace.serve('seller')
    const client = openClient(server)
    await client.call('ping', {})
    const begun = register(client, 37, 'Lamp')
    await new Promise(setImmediate)
    await client.close()
    assert.ok((await begun).item_id > 0)
    const error = await catchError(client.call('ping', {}))
    assert.ok(error instanceof ConnectionLost && error.outcome === 'none')
    assert.equal(openConnections(server), 0)
  })

  it('that is closed before or while it connects, or between two attempts, makes no more attempts', async () => {
    const link = await openLink(sellers)
    const begunMs = performance.now()
    for (const port of [link.port, await findFreePort()]) {
      const client = openClient({ port })
      const call = catchError(client.call('ping', {}))
      await client.close()
      assert.ok((await call) instanceof ConnectionLost)
      assert.ok((await catchError(client.call('ping', {}))) instanceof ConnectionLost)
    }
    assert.ok(performance.now() - begunMs < PATIENT_MS / 2, 'calls continued after their client was closed')
    assert.equal(link.connections, 1)
    await until('no connection is left', () => openConnections(sellers) === 0)
  })
})
