/**
 * A shop for the tests of selling and buying: a marketplace with one server of
 * each role, and any number of sellers and buyers (see sessions.ts).
 */

import assert from 'node:assert/strict'
import type { Result, Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import type { RowId } from '../../src/db/plan.ts'
import { anItem, Caller, encodeRequest, type ItemFields, type Reply, Wire } from './clients.ts'
import { type RunningServer, type SomeSettings, startTestMarketplace, type TestMarketplace } from './marketplace.ts'
import { type AccountSession, createAccounts, type NamedSession, openSessions } from './sessions.ts'

/** The cart lines of one cart, in its order. */
export type CartLines = readonly (readonly [itemId: number, quantity: number])[]

export interface Shop {
  marketplace: TestMarketplace
  sellers: RunningServer<'seller'>
  buyers: RunningServer<'buyer'>
  /** One connection to each of the two servers, shared by all sessions. */
  seller: Caller<'seller'>
  buyer: Caller<'buyer'>
  newSeller(): Promise<NamedSession>
  newSellers(count: number): Promise<NamedSession[]>
  newBuyer(): Promise<NamedSession>
  newBuyers(count: number): Promise<NamedSession[]>
  /** Opens another session of the same buyer, or one of each buyer. */
  newSession(buyer: AccountSession): Promise<AccountSession>
  newSessions(buyers: readonly AccountSession[]): Promise<AccountSession[]>
  /** Puts items on sale, all at the same time; resolves to their ids. */
  register(seller: AccountSession, ...items: ItemFields[]): Promise<number[]>
  add(buyer: AccountSession, ...lines: CartLines): Promise<void>
  /** The cart as it is displayed. */
  cart(buyer: AccountSession): Promise<Result<'buyer', 'display_cart'>['lines']>
  /** The same cart in the form in which `add` takes it. */
  cartLines(buyer: AccountSession): Promise<CartLines>
  /** Adds the lines to the cart and purchases it. */
  purchase(buyer: AccountSession, ...lines: CartLines): Promise<Result<'buyer', 'make_purchase'>>
  item(itemId: number): Promise<Result<'buyer', 'get_item'>>
  /** Rows of the product database, as arrays. */
  rows(statement: string, values?: unknown[]): Promise<unknown[][]>
  /** All rows of the product database but idempotency keys and blocks of ids. Equal snapshots: nothing has changed. */
  snapshot(): Promise<unknown>
  close(): Promise<void>
}

/**
 * The settings of a shop's servers. The time limit is long, so that a slow
 * machine fails no test. Sessions are not cached: every call waits for its
 * session, so that calls of one segment reach the handlers as one batch, also
 * if they come from different sessions.
 */
export const SHOP_SETTINGS: SomeSettings = { limitRequestMs: 20_000, sessionMemoryMs: 0 }

export async function openShop(): Promise<Shop> {
  const marketplace = await startTestMarketplace()
  try {
    const servers = [marketplace.serve('seller', SHOP_SETTINGS), marketplace.serve('buyer', SHOP_SETTINGS)] as const
    return await openShopIn(marketplace, ...(await Promise.all(servers)))
  } catch (error) {
    await marketplace.close()
    throw error
  }
}

async function openShopIn(
  marketplace: TestMarketplace,
  sellers: RunningServer<'seller'>,
  buyers: RunningServer<'buyer'>,
): Promise<Shop> {
  const seller = await Caller.connect(sellers)
  const buyer = await Caller.connect(buyers)
  const visitor = await newAccount('buyer')

  async function newAccount(role: Role): Promise<NamedSession> {
    return (await newAccounts(role, 1))[0] as NamedSession
  }

  function newAccounts(role: Role, count: number): Promise<NamedSession[]> {
    return withConnection(marketplace.urls.customer, async (customer) =>
      openSessions(customer, role, await createAccounts(customer, role, count)),
    )
  }

  const newSessions = (buyers: readonly AccountSession[]) =>
    withConnection(marketplace.urls.customer, (customer) => openSessions(customer, 'buyer', buyers))

  async function rows(statement: string, values: unknown[] = []): Promise<unknown[][]> {
    return (await marketplace.sql('product', statement, values)).map((row) => Object.values(row))
  }

  async function add({ session }: AccountSession, ...lines: CartLines): Promise<void> {
    for (const [item_id, quantity] of lines) await buyer.call('add_item_to_cart', { session, item_id, quantity })
  }

  async function cart({ session }: AccountSession) {
    return (await buyer.call('display_cart', { session })).lines
  }

  return {
    marketplace,
    sellers,
    buyers,
    seller,
    buyer,
    newSeller: () => newAccount('seller'),
    newSellers: (count) => newAccounts('seller', count),
    newBuyer: () => newAccount('buyer'),
    newBuyers: (count) => newAccounts('buyer', count),
    newSession: async (buyer) => (await newSessions([buyer]))[0] as AccountSession,
    newSessions,
    async register({ session }, ...items) {
      const calls = items.map((item) => seller.call('register_item_for_sale', { session, ...anItem(item) }))
      return (await Promise.all(calls)).map(({ item_id }) => item_id)
    },
    add,
    cart,
    cartLines: async (owner) => (await cart(owner)).map(({ item_id, quantity }) => [item_id, quantity] as const),
    async purchase(purchaser, ...lines) {
      await add(purchaser, ...lines)
      return buyer.call('make_purchase', { session: purchaser.session })
    },
    item: (item_id) => buyer.call('get_item', { session: visitor.session, item_id }),
    rows,
    async snapshot() {
      const names = await rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'souk_test_product' " +
          "AND table_type = 'BASE TABLE' AND table_name <> 'idempotency' ORDER BY table_name",
      )
      return Promise.all(
        names.map(async ([name]) => [name, (await rows(`SELECT * FROM ${name}`)).map(String).toSorted()]),
      )
    },
    close: () => marketplace.close(),
  }
}

/** A call without its id, to be sent over a bare socket. */
export type RawCall = readonly [method: string, params: object]

/** Sends calls in one segment, so that they reach the server together; resolves to the replies in the order of the calls. */
export async function callTogether(server: { port: number }, calls: readonly RawCall[]): Promise<Reply[]> {
  const wire = await Wire.connect(server)
  sendTogether(wire, calls)
  const replies = await wire.replies(calls.length)
  wire.destroy()
  return calls.map((_, id) => replies.get(id) as Reply)
}

/** Sends calls in one segment. The id of each is its index, and so is that of its reply. */
export function sendTogether(wire: Wire, calls: readonly RawCall[]): void {
  wire.send(calls.map(([method, params], id) => encodeRequest({ id, method, params })).join(''))
}

/** The result, or the code of the refusal. */
export function resultOrCode({ result, error }: Reply): unknown {
  return result ?? error?.data.code
}

/** Runs `work` while a foreign transaction holds these rows. */
export function withRowsHeld<T>({ urls }: TestMarketplace, rows: readonly RowId[], work: () => Promise<T>): Promise<T> {
  return withConnection(urls.product, async (connection) => {
    await connection.beginTransaction()
    for (const { table, key, id } of rows) {
      const locked = await connection.query(`SELECT 1 FROM ${table} WHERE ${key} = ? FOR UPDATE`, [id])
      assert.equal(locked.length, 1, `${table} has no row ${id} to hold`)
    }
    try {
      return await work()
    } finally {
      await connection.rollback()
    }
  })
}
