/**
 * The guarantees of the database layer: a key has one effect, however often and
 * over whichever server it is used; a call that fails does not affect the others
 * of its batch; a lost COMMIT is reported or resolved; and the answers are the
 * same with the queue on and off.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Answer } from '../src/contract/refusals.ts'
import { withConnection } from '../src/db/connect.ts'
import type { IdempotencyKey, Keyed } from '../src/db/idempotency.ts'
import type { Lane } from '../src/db/lane.ts'
import type { Plan } from '../src/db/plan.ts'
import { Database } from '../src/db.ts'
import { anItem, Caller, encodeRequest, type OpenAccount, openAccount, type Reply, Wire } from './support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from './support/marketplace.ts'

let marketplace: TestMarketplace
let one: RunningServer<'seller'>
let two: RunningServer<'seller'>
let ann: OpenAccount
let eve: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  ;[one, two] = await Promise.all([marketplace.serve('seller'), marketplace.serve('seller')])
  const seller = await Caller.connect(one)
  ;[ann, eve] = await Promise.all([openAccount(seller), openAccount(seller)])
  await marketplace.sql('product', 'CREATE TABLE note (writer INT NOT NULL, text VARCHAR(32) NOT NULL)')
})
after(() => marketplace?.close())

async function readItemIds(category: number): Promise<number[]> {
  const rows = await marketplace.sql<{ id: number }>('product', 'SELECT id FROM item WHERE category = ? ORDER BY id', [
    category,
  ])
  return rows.map(({ id }) => id)
}

const keyed = (key: string, category: number, fields = {}) => ({
  session: ann.session,
  idempotency_key: key,
  ...anItem({ category, ...fields }),
})

describe('a key', () => {
  it('has one effect and equal answers when several connections to two servers use it at the same time', async () => {
    const callers = await Promise.all([one, one, two, two].map((server) => Caller.connect(server)))
    for (let round = 0; round < 100; round += 1) {
      const call = keyed(`race ${round}`, 10)
      const answers = await Promise.all(callers.map((caller) => caller.call('register_item_for_sale', call)))
      assert.equal(new Set(answers.map(({ item_id }) => item_id)).size, 1, `round ${round}`)
    }
    assert.equal((await readItemIds(10)).length, 100)
    const postings = await marketplace.sql('product', 'SELECT item_id FROM item_keyword WHERE category = 10')
    assert.equal(postings.length, 200) // for each item its keyword and the category itself
    await Promise.all(callers.map((caller) => caller.close()))
  })

  it('has one effect and equal answers when it is repeated within one batch', async () => {
    const wire = await Wire.connect(one)
    const call = keyed('same batch', 11)
    wire.send(
      Array.from({ length: 50 }, (_, id) => encodeRequest({ id, method: 'register_item_for_sale', params: call })).join(
        '',
      ),
    )
    const replies = [...(await wire.replies(50)).values()]
    const [item] = await readItemIds(11)
    assert.deepEqual(await readItemIds(11), [item])
    for (const { result } of replies) assert.deepEqual(result, { item_id: item })
    wire.destroy()
  })

  it('gets the same answer later, from another server, and from a new server', async () => {
    const first = await Caller.connect(one)
    const answer = await first.call('register_item_for_sale', keyed('later', 12))
    for (const server of [one, two, await marketplace.serve('seller')]) {
      const caller = await Caller.connect(server)
      assert.deepEqual(await caller.call('register_item_for_sale', keyed('later', 12)), answer)
    }
    assert.equal((await readItemIds(12)).length, 1)
  })

  it('is refused with other parameters, within a batch, later, and in a race', async () => {
    const caller = await Caller.connect(one)
    const calls = [{}, { quantity: 9 }, {}, { name: 'Other' }].map((fields) => keyed('mixed', 13, fields))
    const answers = await Promise.allSettled(calls.map((call) => caller.call('register_item_for_sale', call)))
    const codes = answers.map((answer) => (answer.status === 'fulfilled' ? 'ok' : answer.reason.code))
    assert.deepEqual(codes, ['ok', 'idempotency_mismatch', 'ok', 'idempotency_mismatch'])
    assert.equal((await caller.refusal('register_item_for_sale', keyed('mixed', 14))).code, 'idempotency_mismatch')
    const other = await Caller.connect(two)
    for (let round = 0; round < 30; round += 1) {
      const raced = await Promise.allSettled([
        caller.call('register_item_for_sale', keyed(`mixed ${round}`, 15, { quantity: 1 })),
        other.call('register_item_for_sale', keyed(`mixed ${round}`, 15, { quantity: 2 })),
      ])
      const won = raced.filter(({ status }) => status === 'fulfilled')
      const lost = raced.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason.code] : []))
      assert.deepEqual([won.length, lost], [1, ['idempotency_mismatch']])
    }
    assert.equal((await readItemIds(15)).length, 30)
  })

  it('belongs to one account, and is compared byte by byte', async () => {
    const caller = await Caller.connect(one)
    const asAnn = await caller.call('register_item_for_sale', keyed('mine', 16))
    const asEve = await caller.call('register_item_for_sale', { ...keyed('mine', 16), session: eve.session })
    const upper = await caller.call('register_item_for_sale', keyed('MINE', 16))
    assert.equal(new Set([asAnn, asEve, upper].map(({ item_id }) => item_id)).size, 3)
  })

  it('that was used before leaves the other calls of its batch their own effects', async () => {
    const caller = await Caller.connect(one)
    const earlier = await caller.call('register_item_for_sale', keyed('early bird', 17))
    const calls = ['new 1', 'early bird', 'new 2'].map((key) => caller.call('register_item_for_sale', keyed(key, 17)))
    const plain = caller.call('register_item_for_sale', { session: ann.session, ...anItem({ category: 17 }) })
    const ids = (await Promise.all([...calls, plain])).map(({ item_id }) => item_id)
    assert.equal(ids[1], earlier.item_id)
    assert.deepEqual(
      await readItemIds(17),
      ids.toSorted((first, second) => first - second),
    )
  })
})

describe('a call that the database rejects', () => {
  it('fails alone, and the other calls of its batch succeed, each once', async () => {
    await marketplace.sql('product', 'ALTER TABLE item ADD CONSTRAINT no_poison CHECK (price_cents <> 666)')
    const wire = await Wire.connect(one)
    for (let round = 0; round < 3; round += 1) {
      const lines = Array.from({ length: 40 }, (_, id) => {
        const poison = id === 17
        const fields = poison ? { name: 'canary', price_cents: 666 } : {}
        const key = id % 2 === 0 ? {} : { idempotency_key: `poison ${round} ${id}` }
        const params = { session: ann.session, ...key, ...anItem({ category: 20 + round, ...fields }) }
        return encodeRequest({ id, method: 'register_item_for_sale', params })
      })
      wire.send(lines.join(''))
      const replies = await wire.replies(40)
      const refused = [...replies.values()].filter(({ error }) => error !== undefined)
      assert.deepEqual(
        refused.map(({ id, error }) => [id, error?.data]),
        [[17, { code: 'internal' }]],
      )
      const acknowledged = [...replies.values()].flatMap(({ result }) =>
        result === undefined ? [] : [result.item_id as number],
      )
      assert.deepEqual(
        await readItemIds(20 + round),
        acknowledged.toSorted((first, second) => first - second),
      )
    }
    await marketplace.sql('product', 'ALTER TABLE item DROP CONSTRAINT no_poison')
    assert.match(one.program.log, /no_poison/)
    assert.ok(!one.program.log.includes('canary') && !one.program.log.includes(ann.session))
    const params = keyed('poison 0 17', 23, { price_cents: 666 })
    wire.request('again', 'register_item_for_sale', params)
    assert.ok((await wire.reply())?.result !== undefined, 'the key of the rejected call is not free')
    wire.destroy()
  })
})

interface Note extends Keyed {
  writer: number
}

/** Plans one note for each call. */
function planNotes(text: string) {
  return async (_lane: Lane, calls: readonly Note[]): Promise<Plan<string>> => ({
    decisions: calls.map(({ writer }): Answer<string> => ({ ok: `${text} of ${writer}` })),
    writes: [{ sql: 'INSERT INTO note (writer, text) VALUES (?, ?)', rows: calls.map(({ writer }) => [writer, text]) }],
  })
}

const newKey = (writer: number, key: string): IdempotencyKey => ({
  role: 'seller',
  accountId: writer,
  key,
  fingerprint: 'x',
})
const deadlineIn = (ms: number) => performance.now() + ms

async function readWriters(text: string): Promise<number[]> {
  const rows = await marketplace.sql<{ writer: number }>(
    'product',
    'SELECT writer FROM note WHERE text = ? ORDER BY writer',
    [text],
  )
  return rows.map(({ writer }) => writer)
}

async function withDatabase(work: (database: Database) => Promise<void>): Promise<void> {
  const database = new Database({ url: marketplace.urls.product, connections: 4 })
  try {
    await work(database)
  } finally {
    await database.close()
  }
}

describe('Database.write', () => {
  it('stores no refusal, so that a refused call can be made again under its key', async () => {
    await withDatabase(async (database) => {
      const call: Note = { writer: 1, key: newKey(1, 'refused') }
      const refused = { refused: { code: 'not_found', message: 'not yet' } } as const
      const refuse = async () => ({ decisions: [refused], writes: [] })
      assert.deepEqual(await database.write([call], refuse, deadlineIn(5_000)), [refused])
      assert.deepEqual(await database.write([call], planNotes('second try'), deadlineIn(5_000)), [
        { ok: 'second try of 1' },
      ])
      assert.deepEqual(await database.write([call], refuse, deadlineIn(5_000)), [{ ok: 'second try of 1' }])
      assert.deepEqual(await readWriters('second try'), [1])
    })
  })

  it('writes nothing when any one of its statements fails', async () => {
    await withDatabase(async (database) => {
      for (const at of [0, 1, 2]) {
        const writes = [1, 2].map((writer) => ({ sql: 'INSERT INTO note VALUES (?, ?)', values: [writer, 'half'] }))
        writes.splice(at, 0, { sql: 'INSERT INTO note VALUES (?, ?)', values: [3, 'x'.repeat(33)] })
        const calls: Note[] = [{ writer: 1, key: newKey(1, 'half') }]
        await assert.rejects(
          database.write(calls, async () => ({ decisions: [{ ok: 1 }], writes }), deadlineIn(5_000)),
          /too long/,
        )
      }
      assert.deepEqual(await readWriters('half'), [])
      const rows = await marketplace.sql('product', "SELECT 1 FROM idempotency WHERE idempotency_key = 'half'")
      assert.deepEqual(rows, [])
    })
  })

  it('rejects at once when a row other than an idempotency key is a duplicate', async () => {
    await withDatabase(async (database) => {
      const row = { sql: 'INSERT INTO seller_score (seller_id) VALUES (?)', values: [777] }
      const calls: Note[] = [{ writer: 1, key: newKey(1, 'taken') }]
      const twice = async () => ({ decisions: [{ ok: 1 }], writes: [row, row] })
      await assert.rejects(database.write(calls, twice, deadlineIn(60_000)), { errno: 1062 })
    })
  })

  it('decides again after a deadlock, and loses nothing', async () => {
    await withDatabase(async (database) => {
      await marketplace.sql('product', 'INSERT INTO seller_score (seller_id) VALUES (901), (902)')
      const bump = (first: number, second: number) => async () => ({
        decisions: [{ ok: true }],
        writes: [first, second].map((id) => ({
          sql: 'UPDATE seller_score SET items_sold = items_sold + 1 WHERE seller_id = ?',
          values: [id],
        })),
      })
      const crossing = Array.from({ length: 60 }, (_, number) =>
        database.write([{}], number % 2 === 0 ? bump(901, 902) : bump(902, 901), deadlineIn(10_000)),
      )
      assert.deepEqual(
        await Promise.all(crossing),
        crossing.map(() => [{ ok: true }]),
      )
      const scores = await marketplace.sql(
        'product',
        'SELECT items_sold FROM seller_score WHERE seller_id IN (901, 902)',
      )
      assert.deepEqual(scores, [{ items_sold: 60 }, { items_sold: 60 }])
    })
  })

  it('reports an unknown outcome when its COMMIT is lost and the call has no key, and resolves a call with a key', async () => {
    await withDatabase(async (database) => {
      const decidedFor: number[][] = []
      let lane = 0
      const calls: Note[] = [{ writer: 1 }, { writer: 2, key: newKey(2, 'lost') }]
      await withConnection(marketplace.urls.product, async (other) => {
        const writing = database.write(
          calls,
          async (one, some) => {
            decidedFor.push(some.map(({ writer }) => writer))
            const [row] = await one.rows<[number]>('SELECT CONNECTION_ID()')
            if (lane === 0) lane = row?.[0] ?? 0
            const plan = await planNotes('lost')(one, some)
            const wait = { sql: 'DO GET_LOCK(?, 10)', values: ['before the first COMMIT'] }
            return { ...plan, writes: decidedFor.length === 1 ? [...plan.writes, wait] : plan.writes }
          },
          deadlineIn(10_000),
        )
        await other.query("DO GET_LOCK('before the first COMMIT', 10)")
        await until('the batch has written and is blocked', async () => (await readThreadState(lane)) === 'User lock')
        const stages = ['START', 'FLUSH', 'BLOCK_DDL', 'BLOCK_COMMIT'] // from here on every COMMIT blocks
        for (const stage of stages) await other.query(`BACKUP STAGE ${stage}`)
        await other.query("DO RELEASE_LOCK('before the first COMMIT')")
        await until('the COMMIT is blocked', async () => (await readThreadState(lane)) === 'Waiting for backup lock')
        await other.query(`KILL CONNECTION ${lane}`)
        await other.query('BACKUP STAGE END')
        const answers = await writing
        assert.deepEqual(answers[1], { ok: 'lost of 2' })
        const [unkeyed] = answers
        assert.ok(unkeyed !== undefined && 'refused' in unkeyed)
        assert.deepEqual(unkeyed.refused.details, { outcome: 'unknown' })
        assert.equal(unkeyed.refused.code, 'timeout')
      })
      assert.deepEqual(decidedFor, [[1, 2], [2]])
      const written = await readWriters('lost')
      assert.equal(written.filter((writer) => writer === 2).length, 1)
      assert.ok(written.filter((writer) => writer === 1).length <= 1)
    })
  })
})

async function readThreadState(lane: number): Promise<string | undefined> {
  const sql = 'SELECT state FROM information_schema.processlist WHERE id = ?'
  return (await marketplace.sql<{ state: string }>('customer', sql, [lane]))[0]?.state
}

describe('a server with the queue off', () => {
  it('lets no two writers block each other, however few connections they share', async () => {
    const server = await marketplace.serve('seller', { queue: 'off', dbConnections: 2 })
    const caller = await Caller.connect(server)
    const call = { session: ann.session, ...anItem({ category: 42 }) }
    await caller.call('get_seller_rating', { session: ann.session }) // so that the session is cached
    const answers = await Promise.all(Array.from({ length: 50 }, () => caller.call('register_item_for_sale', call)))
    assert.deepEqual(answers.map(({ item_id }) => item_id).sort(), (await readItemIds(42)).sort())
    await caller.close()
  })

  it('gives the same answers to the same calls as one with the queue on', async () => {
    const scripts = [
      { queue: 'on', category: 40, account: 'on' },
      { queue: 'off', category: 41, account: 'off' },
    ] as const
    const answers = await Promise.all(
      scripts.map(async ({ queue, category, account }) => {
        const [sellers, buyers] = await Promise.all([
          marketplace.serve('seller', { queue }),
          marketplace.serve('buyer', { queue }),
        ])
        return runScript(sellers, buyers, category, account)
      }),
    )
    assert.ok((answers[0]?.length ?? 0) > 60)
    assert.deepEqual(answers[0], answers[1])
  })
})

/** Makes a fixed series of calls in this category and account; resolves to the replies without their identities. */
async function runScript(
  sellers: RunningServer,
  buyers: RunningServer,
  category: number,
  account: string,
): Promise<unknown[]> {
  const wires = { seller: await Wire.connect(sellers), buyer: await Wire.connect(buyers) }
  const replies: Reply[] = []
  const firstIds: number[] = []
  async function ask(role: 'seller' | 'buyer', ...calls: [method: string, params: object][]) {
    wires[role].send(calls.map(([method, params], id) => encodeRequest({ id, method, params })).join(''))
    const byId = await wires[role].replies(calls.length)
    const inOrder = calls.map((_, id) => byId.get(id) as Reply)
    replies.push(...inOrder)
    return inOrder
  }
  const credentials = { username: `script-${account}`, password: 'correct horse' }
  for (const role of ['seller', 'buyer'] as const) {
    await ask(role, ['create_account', { ...credentials, name: 'Ann' }])
    await ask(role, ['login', { ...credentials, password: 'wrong horse' }], ['ping', {}])
  }
  const [sold] = await ask('seller', ['login', credentials])
  const [bought] = await ask('buyer', ['login', credentials])
  const [session, buyersSession] = [sold?.result?.session, bought?.result?.session]
  for (let number = 0; number < 12; number += 1) {
    const item = anItem({ category, name: `Lamp ${number}`, keywords: number % 2 === 0 ? ['red'] : ['red', 'blue'] })
    const [reply] = await ask('seller', [
      'register_item_for_sale',
      { session, idempotency_key: `key ${number % 10}`, ...item },
    ])
    firstIds.push(reply?.result?.item_id as number)
  }
  await ask(
    'seller',
    ['display_items_for_sale', { session }],
    ['display_items_for_sale', { session, limit: 3 }],
    ['get_seller_rating', { session }],
    ['whoami', { session }],
    ['get_seller_rating', { session: 'nobody' }],
    ['display_items_for_sale', { session, limit: 0 }],
  )
  const searches = [[], ['red'], ['red', 'blue'], ['blue', 'green', 'red'], ['green']].flatMap((keywords) =>
    [2, 100].map((limit): [string, object] => ['search_items', { session: buyersSession, category, keywords, limit }]),
  )
  await ask('buyer', ...searches, ...searches)
  await ask(
    'buyer',
    ...firstIds.map((item_id): [string, object] => ['get_item', { session: buyersSession, item_id: item_id || 1e9 }]),
    ['get_item', { session: buyersSession, item_id: 1e9 }],
    ['get_seller_rating', { session: buyersSession, seller_id: 1e9 }],
    ['search_items', { session: buyersSession, category: 'x' }],
  )
  await ask('seller', ['logout', { session }])
  await ask('seller', ['whoami', { session }])
  for (const wire of Object.values(wires)) wire.destroy()
  return replies.map((reply) => withoutIdentities(reply, firstIds))
}

/** The reply with item ids replaced by their indices, and without accounts and sessions. */
function withoutIdentities(reply: Reply, itemIds: readonly number[]): unknown {
  const text = JSON.stringify(reply, (name, value) => {
    if (['session', 'seller_id', 'buyer_id', 'username', 'category'].includes(name)) return '(its own)'
    if (name === 'id' && 'result' in reply && reply.result !== undefined && 'username' in reply.result)
      return '(its own)'
    if (name === 'item_id') return itemIds.indexOf(value)
    if (name === 'next_cursor') return String(value).replace(/\d+$/, (id) => `item ${itemIds.indexOf(Number(id))}`)
    return value
  })
  return JSON.parse(text)
}
