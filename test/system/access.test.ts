/**
 * Who may do what: every operation of the contract is called without a session
 * of the role, on what belongs to somebody else, with fields that it does not
 * have, and with SQL in every text. The calls come from the contract, so a new
 * operation is attacked too.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { EXAMPLES } from '../../src/contract/examples.ts'
import { type Operation, operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { hashPassword } from '../../src/server/market/passwords.ts'
import { EXTRA_FIELDS, SQL_VECTORS } from '../fuzz/values.ts'
import { encodeRequest, openAccount, type Reply, Wire } from '../support/clients.ts'
import { type AccountSession, openSessions } from '../support/sessions.ts'
import { openShop, type Shop } from '../support/shop.ts'

type Params = Record<string, unknown>

const OPERATIONS = ROLES.flatMap((role) =>
  [...operationsByName(role)].map(([name, operation]) => ({ role, name, operation })),
)
const WITH_SESSION = OPERATIONS.filter(({ operation }) => operation.open !== true)

let shop: Shop
/** A seller and a buyer with the same number; and another seller, who owns an item. */
let own: Record<Role, AccountSession>
let foreignItem: number
let owner: AccountSession

before(async () => {
  shop = await openShop()
  own = { seller: await shop.newSeller(), buyer: await shop.newBuyer() }
  while (own.seller.id !== own.buyer.id) {
    const role = own.seller.id < own.buyer.id ? 'seller' : 'buyer'
    own[role] = role === 'seller' ? await shop.newSeller() : await shop.newBuyer()
  }
  owner = await shop.newSeller()
  const [item] = await shop.register(owner, { name: 'Lamp', quantity: 10 })
  foreignItem = item as number
})
after(() => shop?.close())

const serverOf = (role: Role) => (role === 'seller' ? shop.sellers : shop.buyers)

/** Parameters that the operation takes. */
function exampleOf(role: Role, name: string): Params {
  return { ...(EXAMPLES[`${role}.${name}` as keyof typeof EXAMPLES].params as Params) }
}

async function send(role: Role, calls: readonly [method: string, params: Params][]): Promise<Reply[]> {
  const wire = await Wire.connect(serverOf(role))
  const lines = calls.map(([method, params], id) => encodeRequest({ id, method, params }))
  wire.send(lines.join(''))
  const replies = await wire.replies(calls.length)
  wire.destroy()
  return calls.map((_, id) => replies.get(id) as Reply)
}

/** Everything that an attack could change. Sessions that have expired may be swept at any time. */
async function everything(): Promise<unknown> {
  const sessions =
    'SELECT token_hash, role, account_id, ends_at FROM session WHERE expires_at > UNIX_TIMESTAMP() ORDER BY token_hash'
  const accounts =
    'SELECT id, username, name, password FROM seller UNION ALL SELECT id, username, name, password FROM buyer'
  const customer = await Promise.all([sessions, accounts].map((sql) => shop.marketplace.sql('customer', sql)))
  return JSON.stringify([await shop.snapshot(), customer], (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  )
}

/** Sends calls that must all be refused with the code, and change nothing. */
async function assertRefused(role: Role, calls: readonly [string, Params][], code: string): Promise<void> {
  const earlier = await everything()
  for (const [index, reply] of (await send(role, calls)).entries()) {
    assert.equal(reply.error?.data.code, code, `${JSON.stringify(calls[index])} was answered ${JSON.stringify(reply)}`)
  }
  assert.equal(await everything(), earlier)
}

describe('a call', () => {
  /** Tokens that open nothing on a server of the role. */
  const NO_SESSIONS: Record<string, (role: Role) => Promise<string>> = {
    'that was never given out': async () => 'A'.repeat(43),
    'of the other role, whose account has the same number': async (role) =>
      own[role === 'seller' ? 'buyer' : 'seller'].session,
    'that has expired': async (role) => (await openSession(role, { idleS: -1 })).session,
    'that has logged out': async (role) => {
      const { session } = await openSession(role)
      assert.ok((await send(role, [['whoami', { session }]]))[0]?.result)
      assert.ok((await send(role, [['logout', { session }]]))[0]?.result)
      return session
    },
    'whose hash is in the database': async (role) => {
      const [row] = await shop.marketplace.sql<{ token_hash: string }>(
        'customer',
        'SELECT token_hash FROM session WHERE role = ?',
        [role],
      )
      return row?.token_hash as string
    },
  }

  async function openSession(role: Role, life = {}): Promise<AccountSession> {
    const open = await withConnection(shop.marketplace.urls.customer, (customer) =>
      openSessions(customer, role, [own[role]], life),
    )
    return open[0] as AccountSession
  }

  for (const [about, makeToken] of Object.entries(NO_SESSIONS)) {
    for (const role of ROLES) {
      it(`of any operation of a ${role} is refused with a session ${about}, and changes nothing`, async () => {
        const session = await makeToken(role)
        const calls = WITH_SESSION.filter((one) => one.role === role).map(({ name }): [string, Params] => [
          name,
          { ...exampleOf(role, name), session },
        ])
        await assertRefused(role, calls, 'unauthenticated')
      })
    }
  }

  for (const role of ROLES) {
    it(`of any operation of a ${role} is refused without a session, and with one that is no text`, async () => {
      const calls = WITH_SESSION.filter((one) => one.role === role).flatMap(({ name }) => {
        const { session: _, ...rest } = exampleOf(role, name)
        const wrong = ['', null, 1, true, [own[role].session], { session: own[role].session }, 'a'.repeat(129)]
        return [rest, ...wrong.map((session) => ({ ...rest, session }))].map((params): [string, Params] => [
          name,
          params,
        ])
      })
      await assertRefused(role, calls, 'invalid_params')
    })

    it(`of an operation that only the other role has is refused by the server of ${role}s`, async () => {
      const mine = operationsByName(role)
      const others = OPERATIONS.filter((one) => one.role !== role && !mine.has(one.name))
      assert.ok(others.length > 0)
      const calls = others.map(({ role: other, name }): [string, Params] => [
        name,
        { ...exampleOf(other, name), session: own[role].session },
      ])
      await assertRefused(role, calls, 'unknown_method')
    })
  }

  it('that changes an item is refused for the item of another seller like for none, by every such operation', async () => {
    const changing = WITH_SESSION.filter(
      ({ role, operation }) => role === 'seller' && 'item_id' in operation.params.shape,
    )
    assert.ok(changing.length >= 3)
    for (const item_id of [foreignItem, 999_999_999]) {
      const calls = changing.map(({ name }): [string, Params] => [
        name,
        { ...exampleOf('seller', name), session: own.seller.session, item_id, ...unusedKey(name) },
      ])
      await assertRefused('seller', calls, 'not_found')
    }
  })

  for (const { role, name, operation } of OPERATIONS) {
    it(`of ${name} by a ${role} is refused with fields that no operation has, or only another one`, async () => {
      const params = {
        ...exampleOf(role, name),
        ...('session' in operation.params.shape && { session: own[role].session }),
      }
      const extra = EXTRA_FIELDS.filter((field) => !(field in operation.params.shape) && field !== '__proto__')
      const calls = extra.map((field): [string, Params] => [name, { ...params, [field]: 1 }])
      await assertRefused(role, calls, 'invalid_params')
    })
  }
})

/** So that the call is new, whatever was called before. */
const unusedKey = (name: string) =>
  name === 'update_units_for_sale' ? { idempotency_key: `unused ${Math.random()}` } : {}

/** For operations that hash a password for each call. */
const SOME_VECTORS = SQL_VECTORS.filter((_, index) => index % 6 === 5)

describe('SQL in a text', () => {
  for (const { role, name, operation } of OPERATIONS) {
    const texts = Object.keys(operation.params.shape).filter((field) => isText(role, name, operation, field))
    for (const field of texts) {
      it(`is only text to ${name} of a ${role} as ${field}`, async () => {
        const params = {
          ...exampleOf(role, name),
          ...('session' in operation.params.shape && { session: own[role].session }),
        }
        const vectors = 'password' in operation.params.shape ? SOME_VECTORS : SQL_VECTORS
        const values = vectors.map((vector) => (field === 'keywords' ? [vector.slice(0, 8).trim()] : vector))
        const calls = values.map((value): [string, Params] => [
          name,
          { ...params, ...withKey(operation), [field]: value },
        ])
        for (const [index, { result, error }] of (await send(role, calls)).entries()) {
          const code = error?.data.code ?? ''
          assert.ok(result !== undefined || isRefusal(code), `${JSON.stringify(calls[index])} was answered ${code}`)
          if (field === 'session') assert.equal(code, 'unauthenticated')
        }
        await assertUnharmed()
      })
    }
  }

  function isText(role: Role, name: string, { params }: Operation, field: string): boolean {
    const given = exampleOf(role, name)
    return (
      [`a b`, ['a'], '7', '7-7'].some((value) => {
        return (
          params.safeParse({ ...given, [field]: value }).success && (typeof value === 'string' || field === 'keywords')
        )
      }) ||
      field === 'username' ||
      field === 'session'
    )
  }

  /** Of the call: nothing has gone wrong in the server or its database. */
  const isRefusal = (code: string) => code !== '' && !['internal', 'timeout', 'unavailable'].includes(code)

  const withKey = ({ keyed }: Operation) => (keyed === undefined ? {} : { idempotency_key: `key ${Math.random()}` })

  /** All tables are there, and a stranger's item and session are as they were. */
  async function assertUnharmed(): Promise<void> {
    assert.equal((await shop.item(foreignItem)).quantity, 10)
    assert.ok((await send('seller', [['whoami', { session: owner.session }]]))[0]?.result)
    assert.equal(shop.sellers.program.log + shop.buyers.program.log, '')
  }
})

describe('a login', () => {
  it('takes as long for an unknown user name as for a wrong password', async () => {
    const { username } = await openAccount(shop.seller)
    const shortestMs = async (name: string) => {
      const times: number[] = []
      for (let number = 0; number < 4; number += 1) {
        const beganMs = performance.now()
        const [reply] = await send('seller', [['login', { username: name, password: `wrong password ${number}` }]])
        assert.equal(reply?.error?.data.code, 'unauthenticated')
        times.push(performance.now() - beganMs)
      }
      return Math.min(...times)
    }
    const hashMs = await shortestHashMs()
    for (const name of [username, 'nobody-at-all']) {
      const ms = await shortestMs(name)
      assert.ok(ms > hashMs / 3, `${name} was answered in ${ms} ms; a hash takes ${hashMs} ms`)
    }
  })

  /** On this machine, at its quickest. */
  async function shortestHashMs(): Promise<number> {
    const times: number[] = []
    for (let number = 0; number < 4; number += 1) {
      const beganMs = performance.now()
      await hashPassword('any password')
      times.push(performance.now() - beganMs)
    }
    return Math.min(...times)
  }
})
