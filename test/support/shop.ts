/**
 * A shop for the tests of selling and buying: a marketplace with a server of
 * each role, and sellers and buyers by the hundred. They have sessions only,
 * written straight into their table, for a login costs a password hash, and
 * operations on items and carts ask for no account.
 */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { Result, Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import type { RowId } from '../../src/db/plan.ts'
import { anItem, Caller, type ItemFields, line, type Reply, Wire } from './clients.ts'
import { type RunningServer, type SomeSettings, startTestMarketplace, type TestMarketplace } from './marketplace.ts'

/** A seller or a buyer, in one of their sessions. */
export interface Party {
  id: number
  session: string
}

/** Items and how many units of each. */
export type CartLines = readonly (readonly [itemId: number, quantity: number])[]

export interface Shop {
  marketplace: TestMarketplace
  sellers: RunningServer<'seller'>
  buyers: RunningServer<'buyer'>
  /** A connection to each of the two servers, which everybody may use. */
  seller: Caller<'seller'>
  buyer: Caller<'buyer'>
  newSeller(): Promise<Party>
  newSellers(count: number): Promise<Party[]>
  newBuyer(): Promise<Party>
  newBuyers(count: number): Promise<Party[]>
  /** Another session of the same buyer, or of each. */
  again(buyer: Party): Promise<Party>
  allAgain(buyers: readonly Party[]): Promise<Party[]>
  /** Puts items on sale, all in one go. */
  register(seller: Party, ...items: ItemFields[]): Promise<number[]>
  add(buyer: Party, ...lines: CartLines): Promise<void>
  cart(buyer: Party): Promise<Result<'buyer', 'display_cart'>['lines']>
  /** What is in the cart, as it was put in. */
  units(buyer: Party): Promise<CartLines>
  purchase(buyer: Party, ...lines: CartLines): Promise<Result<'buyer', 'make_purchase'>>
  item(itemId: number): Promise<Result<'buyer', 'get_item'>>
  /** Rows of the product database, as arrays. */
  rows(statement: string, values?: unknown[]): Promise<unknown[][]>
  /** Everything in the product database but used keys and blocks of ids: unchanged means unchanged. */
  everything(): Promise<unknown>
  close(): Promise<void>
}

/**
 * What servers of a shop are set to. They are patient, since it is about what
 * calls come to, however slow the machine. They remember no session, so that
 * looking them up keeps the calls of one segment together, whoever calls: as
 * one batch.
 */
export const SHOP: SomeSettings = { limitRequestMs: 20_000, sessionMemoryMs: 0 }

/** Beyond those of accounts that tests open. */
let accountsMade = 1_000

export async function openShop(): Promise<Shop> {
  const marketplace = await startTestMarketplace()
  try {
    const servers = [marketplace.serve('seller', SHOP), marketplace.serve('buyer', SHOP)] as const
    return await shopIn(marketplace, ...(await Promise.all(servers)))
  } catch (error) {
    await marketplace.close()
    throw error
  }
}

async function shopIn(
  marketplace: TestMarketplace,
  sellers: RunningServer<'seller'>,
  buyers: RunningServer<'buyer'>,
): Promise<Shop> {
  const seller = await Caller.connect(sellers)
  const buyer = await Caller.connect(buyers)
  const visitor = await newParty('buyer')

  async function newParty(role: Role): Promise<Party> {
    return (await newParties(role, 1))[0] as Party
  }

  function newParties(role: Role, count: number): Promise<Party[]> {
    const first = accountsMade + 1
    accountsMade += count
    return begin(
      role,
      Array.from({ length: count }, (_, index) => first + index),
    )
  }

  /** Sessions of these accounts, as logins begin them. */
  async function begin(role: Role, ids: readonly number[]): Promise<Party[]> {
    const parties = ids.map((id) => ({ id, session: randomBytes(32).toString('base64url') }))
    const each = `(?, '${role}', ?, UNIX_TIMESTAMP() + 43200, UNIX_TIMESTAMP() + 315)`
    await marketplace.sql(
      'customer',
      `INSERT INTO session VALUES ${parties.map(() => each).join(', ')}`,
      parties.flatMap(({ id, session }) => [hashOf(session), id]),
    )
    return parties
  }

  const allAgain = (buyers: readonly Party[]) =>
    begin(
      'buyer',
      buyers.map(({ id }) => id),
    )

  async function rows(statement: string, values: unknown[] = []): Promise<unknown[][]> {
    return (await marketplace.sql('product', statement, values)).map((row) => Object.values(row))
  }

  async function add({ session }: Party, ...lines: CartLines): Promise<void> {
    for (const [item_id, quantity] of lines) await buyer.call('add_item_to_cart', { session, item_id, quantity })
  }

  async function cart({ session }: Party) {
    return (await buyer.call('display_cart', { session })).lines
  }

  return {
    ...{ marketplace, sellers, buyers, seller, buyer, rows, add, cart },
    newSeller: () => newParty('seller'),
    newSellers: (count) => newParties('seller', count),
    newBuyer: () => newParty('buyer'),
    newBuyers: (count) => newParties('buyer', count),
    allAgain,
    again: async (party) => (await allAgain([party]))[0] as Party,
    async register({ session }, ...items) {
      const calls = items.map((item) => seller.call('register_item_for_sale', { session, ...anItem(item) }))
      return (await Promise.all(calls)).map(({ item_id }) => item_id)
    },
    units: async (party) => (await cart(party)).map(({ item_id, quantity }) => [item_id, quantity] as const),
    async purchase(party, ...lines) {
      await add(party, ...lines)
      return buyer.call('make_purchase', { session: party.session })
    },
    item: (item_id) => buyer.call('get_item', { session: visitor.session, item_id }),
    async everything() {
      const names = await rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'souk_test_product' " +
          "AND table_name NOT IN ('idempotency', 'id_block') ORDER BY table_name",
      )
      return Promise.all(
        names.map(async ([name]) => [name, (await rows(`SELECT * FROM ${name}`)).map(String).toSorted()]),
      )
    },
    close: () => marketplace.close(),
  }
}

/** Under which a session stands in the tables. */
export function hashOf(session: string): string {
  return createHash('sha256').update(session).digest('base64url')
}

/** A call as it goes over a bare socket. */
export type BareCall = readonly [method: string, params: object]

/** Sends calls in one segment, so that they reach the server at once; resolves to the replies in the order of the calls. */
export async function together(server: { port: number }, calls: readonly BareCall[]): Promise<Reply[]> {
  const wire = await Wire.connect(server)
  sendTogether(wire, calls)
  const replies = await wire.replies(calls.length)
  wire.destroy()
  return calls.map((_, id) => replies.get(id) as Reply)
}

/** The replies have the calls' places as ids. */
export function sendTogether(wire: Wire, calls: readonly BareCall[]): void {
  wire.send(calls.map(([method, params], id) => line({ id, method, params })).join(''))
}

/** The result, or the code of the error. */
export function outcomeOf({ result, error }: Reply): unknown {
  return result ?? error?.data.code
}

/** While `work` goes on, somebody else at the database holds these rows in a transaction. */
export function holding<T>({ urls }: TestMarketplace, held: readonly RowId[], work: () => Promise<T>): Promise<T> {
  return withConnection(urls.product, async (connection) => {
    await connection.beginTransaction()
    for (const { table, key, id } of held) {
      const rows = await connection.query(`SELECT 1 FROM ${table} WHERE ${key} = ? FOR UPDATE`, [id])
      assert.equal(rows.length, 1, `there is no row ${id} of ${table} to hold`)
    }
    try {
      return await work()
    } finally {
      await connection.rollback()
    }
  })
}
