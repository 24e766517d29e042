/**
 * Ids: a quiet shop counts 1, 2, 3, on one server or several and across
 * restarts. Under load there are neither equal ids nor many reservations, and
 * newer things have higher ids to the second.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Refused } from '../../../src/contract/refusals.ts'
import { withConnection } from '../../../src/db/connect.ts'
import { Database } from '../../../src/db.ts'
import { IdBlocks } from '../../../src/server/market/ids.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../../support/marketplace.ts'

const LIFE_MS = 1_100

let marketplace: TestMarketplace
let database: Database
let names = 0

before(async () => {
  marketplace = await startTestMarketplace()
  database = new Database({ url: marketplace.urls.product, connections: 1 })
})
after(async () => {
  await database?.close()
  await marketplace?.close()
})

const deadlineIn = (ms: number) => performance.now() + ms
const takeFrom = async (ids: IdBlocks, count = 1) => [...(await ids.take(count, deadlineIn(10_000)))]

/** The ids of several servers, which all count from 1. */
async function countAnew(servers: number): Promise<IdBlocks[]> {
  names += 1
  const sequence = `test_${names}`
  await marketplace.sql('product', `CREATE SEQUENCE ${sequence} NOCACHE`)
  return Array.from({ length: servers }, () => new IdBlocks(database, sequence))
}

async function readNextId(): Promise<number> {
  const sql = `SELECT next_not_cached_value AS next_id FROM test_${names}`
  const [row] = await marketplace.sql<{ next_id: number }>('product', sql)
  return Number(row?.next_id)
}

const countingTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)

describe('ids', () => {
  it('are consecutive when they are taken one by one, fast or slowly', async () => {
    const [ids] = (await countAnew(1)) as [IdBlocks]
    const taken: number[] = []
    for (let number = 0; number < 300; number += 1) taken.push(...(await takeFrom(ids)))
    await sleep(LIFE_MS)
    taken.push(...(await takeFrom(ids)))
    await sleep(LIFE_MS)
    taken.push(...(await takeFrom(ids)))
    assert.deepEqual(taken, countingTo(302))
  })

  it('are reserved one by one in quiet times, so that a killed server leaves no gap', async () => {
    const [ids] = (await countAnew(1)) as [IdBlocks]
    for (const next of [2, 3, 4]) {
      await takeFrom(ids)
      assert.equal(await readNextId(), next)
      await sleep(200)
    }
  })

  it('are consecutive on servers that take turns', async () => {
    const servers = await countAnew(2)
    const taken: number[] = []
    for (let number = 0; number < 4; number += 1) {
      taken.push(...(await takeFrom(servers[number % 2] as IdBlocks)))
      await sleep(200)
    }
    assert.deepEqual(taken, [1, 2, 3, 4])
  })

  it('have one gap, no larger than the last block, where another server goes on after a burst', async () => {
    const [busy, quiet] = (await countAnew(2)) as [IdBlocks, IdBlocks]
    const burst: number[] = []
    for (let number = 0; number < 100; number += 1) burst.push(...(await takeFrom(busy)))
    const [first = 0] = await takeFrom(quiet)
    assert.ok(first > 100 && first <= 201, `${first}`)
    await sleep(LIFE_MS)
    assert.deepEqual(await takeFrom(busy), [first + 1])
    assert.deepEqual(await takeFrom(quiet), [first + 2])
  })

  it('are never taken twice, and seldom reserved, by servers under load', async () => {
    const servers = await countAnew(3)
    const taken: number[] = []
    const untilMs = performance.now() + 3_000
    const reservations = new Set<number>()
    const client = async (ids: IdBlocks, client: number) => {
      for (let number = 0; performance.now() < untilMs; number += 1) {
        taken.push(...(await takeFrom(ids, 1 + ((client + number) % 7))))
        if (number % 50 === 49) await sleep(1)
      }
    }
    const watch = async () => {
      while (performance.now() < untilMs) {
        reservations.add(await readNextId())
        await sleep(2)
      }
    }
    await Promise.all([
      watch(),
      ...servers.flatMap((ids) => Array.from({ length: 20 }, (_, index) => client(ids, index))),
    ])
    assert.equal(new Set(taken).size, taken.length)
    assert.ok(taken.length > 10_000, `${taken.length} ids`)
    assert.ok(reservations.size < 40 + taken.length / 1_000, `${reservations.size} reservations of ${taken.length} ids`)
  })

  it('are higher for newer things on all servers, to the second', async () => {
    const servers = await countAnew(2)
    let highest = 0
    for (let turn = 0; turn < 4; turn += 1) {
      const taken: number[] = []
      for (let number = 0; number < 20; number += 1)
        for (const ids of servers) taken.push(...(await takeFrom(ids, 1 + (number % 3))))
      assert.ok(Math.min(...taken) > highest, `${Math.min(...taken)} after ${highest}`)
      highest = Math.max(...taken)
      await sleep(LIFE_MS)
    }
  })

  it('that were given back are taken next, and never those that others have taken since', async () => {
    const [ids, other] = (await countAnew(2)) as [IdBlocks, IdBlocks]
    const unused = await takeFrom(ids, 3)
    ids.giveBack(unused.slice(1))
    assert.deepEqual(await takeFrom(ids), [2])
    ids.giveBack(unused)
    assert.deepEqual(await takeFrom(ids), [3])
    await takeFrom(other)
    const [late = 0] = await takeFrom(ids)
    ids.giveBack([3])
    assert.ok((await takeFrom(ids)).every((id) => id > late))
  })

  it('that were taken before the database crashed are not used after it, since it may give them to others', async () => {
    const [busy, other] = (await countAnew(2)) as [IdBlocks, IdBlocks]
    await marketplace.sql('product', 'CREATE TABLE IF NOT EXISTS flushed (id INT)')
    await marketplace.sql('product', 'INSERT INTO flushed VALUES (1)') // makes the sequence durable, and no id of it
    for (let number = 0; number < 100; number += 1) await takeFrom(busy)
    const next = await readNextId()
    process.kill(marketplace.database().pid, 'SIGKILL')
    await marketplace.restartDatabase()
    const forgotten = next - (await readNextId())
    assert.ok(forgotten > 0)
    const taken = await takeFrom(other, forgotten) // the sequence stands where `busy` left it
    taken.push(...(await takeFrom(busy, 10)))
    assert.equal(new Set(taken).size, forgotten + 10)
  })

  it('that could not be reserved in time are refused, and the next ones are new', async () => {
    const [ids, other] = (await countAnew(2)) as [IdBlocks, IdBlocks]
    const [first] = await takeFrom(ids)
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.beginTransaction()
      await connection.query(`LOCK TABLES test_${names} WRITE`)
      await assert.rejects(ids.take(2, deadlineIn(300)), (error: Refused) => error.refusal.code === 'timeout')
    })
    const later = [...(await takeFrom(other, 2)), ...(await takeFrom(ids, 2)), ...(await takeFrom(other, 2))]
    assert.equal(new Set([first, ...later]).size, 7)
  })
})

describe('the numbers of a quiet shop', () => {
  let ann: OpenAccount
  const register = async (server: RunningServer<'seller'>) => {
    const caller = await Caller.connect(server)
    const { item_id } = await caller.call('register_item_for_sale', { session: ann.session, ...anItem() })
    await caller.close()
    return item_id
  }

  it('are 1, 2, 3 for items, by two servers, also after a restart of either', async () => {
    const [one, two] = await Promise.all([marketplace.serve('seller'), marketplace.serve('seller')])
    ann = await openAccount(await Caller.connect(one))
    const numbers: number[] = []
    for (const server of [one, two, one, two]) {
      numbers.push(await register(server))
      await sleep(200)
    }
    await one.program.end('SIGKILL')
    await two.program.end('SIGTERM')
    const three = await marketplace.serve('seller')
    numbers.push(await register(three), await register(three))
    assert.deepEqual(numbers, [1, 2, 3, 4, 5, 6])
  })
  it('are 1, 2, 3 for purchases, whatever is refused in between', async () => {
    const buyer = await Caller.connect(await marketplace.serve('buyer'))
    const { session } = await openAccount(buyer)
    for (const number of [1, 2, 3]) {
      assert.equal((await buyer.refusal('make_purchase', { session })).code, 'cart_empty')
      await buyer.call('add_item_to_cart', { session, item_id: number, quantity: 1 })
      assert.equal((await buyer.call('make_purchase', { session })).purchase_id, number)
    }
  })
})

describe('another session', () => {
  it('can hold no ids: registrations and purchases go on', async () => {
    const [seller, buyer] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
    const [selling, buying] = [await Caller.connect(seller), await Caller.connect(buyer)] as const
    const [ann, dan] = [await openAccount(selling), await openAccount(buying)]
    await withConnection(marketplace.urls.product, async (connection) => {
      await connection.beginTransaction()
      for (const sequence of ['item_id', 'purchase_id']) {
        await connection.query(`SELECT * FROM ${sequence} FOR UPDATE`)
        await connection.query(`SELECT NEXT VALUE FOR ${sequence}`)
      }
      for (let number = 0; number < 3; number += 1) {
        const { item_id } = await selling.call('register_item_for_sale', { session: ann.session, ...anItem() })
        await buying.call('add_item_to_cart', { session: dan.session, item_id, quantity: 1 })
        await buying.call('make_purchase', { session: dan.session })
      }
    })
    await Promise.all([selling.close(), buying.close()])
  })
})
