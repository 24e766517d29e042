/**
 * Accounts and sessions, over real servers: two of sellers, one of buyers. The
 * accounts are shared by the tests of this file, since passwords are slow on
 * purpose.
 */

import assert from 'node:assert/strict'
import { createHash, scryptSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { withConnection } from '../../../src/db/connect.ts'
import { Caller, type OpenAccount, openAccount } from '../../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../../support/marketplace.ts'

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let seller: Caller<'seller'>
let elsewhere: Caller<'seller'>
let buyer: Caller<'buyer'>
let ann: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  const [one, two, buyers] = await Promise.all([
    marketplace.serve('seller'),
    marketplace.serve('seller'),
    marketplace.serve('buyer'),
  ])
  sellers = one
  seller = await Caller.connect(one)
  elsewhere = await Caller.connect(two)
  buyer = await Caller.connect(buyers)
  ann = await openAccount(seller)
})
after(() => marketplace?.close())

const login = async (caller: Caller<'seller'>) => {
  const { session } = await caller.call('login', { username: ann.username, password: ann.password })
  return session
}

describe('create_account', () => {
  it('answers the same id to a repeat with the same password, and keeps the first name', async () => {
    const again = await seller.call('create_account', { ...credentials(ann), name: 'Another' })
    assert.equal(again.seller_id, ann.id)
    assert.equal((await seller.call('whoami', { session: ann.session })).name, 'Ann')
  })

  it('refuses a user name that is taken, with another password', async () => {
    const refusal = await seller.refusal('create_account', {
      ...credentials(ann),
      password: 'wrong horse',
      name: 'Ann',
    })
    assert.equal(refusal.code, 'username_taken')
  })

  it('made twice at once from two servers gives one account', async () => {
    const account = { username: 'twice', password: 'correct horse', name: 'Ann' }
    const created = await Promise.all(
      [seller, seller, elsewhere, elsewhere].map((caller) => caller.call('create_account', account)),
    )
    assert.equal(new Set(created.map(({ seller_id }) => seller_id)).size, 1)
    assert.equal((await marketplace.sql('customer', 'SELECT id FROM seller WHERE username = ?', ['twice'])).length, 1)
  })

  it('tells user names apart byte by byte, and sellers from buyers', async () => {
    const upper = { username: ann.username.toUpperCase(), password: 'another horse', name: 'Ann' }
    const asSeller = await seller.call('create_account', upper)
    assert.notEqual(asSeller.seller_id, ann.id)
    await buyer.call('create_account', { ...credentials(ann), password: 'buyers horse', name: 'Ann' })
  })

  for (const username of ['ab', 'a'.repeat(33), 'with space', 'trailing ', 'ümlaut', 'a\u200bb', "a'--", '']) {
    it(`refuses the user name ${JSON.stringify(username)}, and says which field it is`, async () => {
      const refusal = await seller.refusal('create_account', { username, password: 'correct horse', name: 'Ann' })
      assert.equal(refusal.code, 'invalid_params')
      assert.deepEqual(Object.keys(refusal.details.fields as object), ['username'])
    })
  }
})

describe('login', () => {
  it('answers alike for an unknown user and a wrong password', async () => {
    const unknown = await seller.refusal('login', { username: 'nobody-there', password: ann.password })
    const wrong = await seller.refusal('login', { username: ann.username, password: 'wrong horse' })
    assert.equal(wrong.code, 'unauthenticated')
    assert.deepEqual([unknown.message, unknown.details], [wrong.message, wrong.details])
  })

  it('gives a new session each time, and both are good', async () => {
    const sessions = await Promise.all([login(seller), login(elsewhere)])
    assert.notEqual(sessions[0], sessions[1])
    for (const session of sessions) assert.equal((await seller.call('whoami', { session })).id, ann.id)
  })

  it('writes a password again when the parameters of its hash have risen', async () => {
    const weaker = 'scrypt$10$8$1$c2FsdHNhbHRzYWx0c2FsdA$'
    const salt = Buffer.from('c2FsdHNhbHRzYWx0c2FsdA', 'base64url')
    const hash = scryptSync(ann.password, salt, 32, { N: 1024, r: 8, p: 1 }).toString('base64url')
    await marketplace.sql('customer', 'UPDATE seller SET password = ? WHERE id = ?', [weaker + hash, ann.id])
    await login(seller)
    assert.match(await passwordOf(ann), /^scrypt\$15\$8\$3\$/)
    await login(seller)
  })

  it('keeps passwords as scrypt hashes that name their parameters', async () => {
    assert.match(await passwordOf(ann), /^scrypt\$15\$8\$3\$[\w-]{22}\$[\w-]{43}$/)
  })
})

describe('a session', () => {
  it('tells who calls, on every server of the role', async () => {
    for (const caller of [seller, elsewhere]) {
      const { expires_in_s, ...who } = await caller.call('whoami', { session: ann.session })
      assert.deepEqual(who, { id: ann.id, username: ann.username, name: 'Ann' })
      assert.ok(expires_in_s > 0 && expires_in_s <= 300)
    }
  })

  it('stands in the database only as a hash that opens nothing', async () => {
    const rows = await marketplace.sql<{ token_hash: string }>('customer', 'SELECT * FROM session')
    assert.ok(rows.length > 0)
    assert.ok(!JSON.stringify(rows).includes(ann.session))
    for (const { token_hash } of rows) {
      assert.equal((await seller.refusal('whoami', { session: token_hash })).code, 'unauthenticated')
    }
  })

  it('of a seller is nobody to the buyers, and the other way round', async () => {
    assert.equal((await buyer.refusal('whoami', { session: ann.session })).code, 'unauthenticated')
    const bob = await openAccount(buyer)
    assert.equal((await seller.refusal('whoami', { session: bob.session })).code, 'unauthenticated')
  })

  it('that was never given out is refused', async () => {
    for (const session of ['x', 'A'.repeat(43), '\u0000', "' OR 1=1 -- "]) {
      assert.equal((await seller.refusal('get_seller_rating', { session })).code, 'unauthenticated')
    }
  })

  it('ends with logout: at once on that server, within its memory of a second on others', async () => {
    const session = await login(seller)
    await elsewhere.call('whoami', { session })
    await seller.call('logout', { session })
    const loggedOutMs = performance.now()
    assert.equal((await seller.refusal('whoami', { session })).code, 'unauthenticated')
    await until('the other server refuses the session', async () => {
      const begunMs = performance.now()
      const accepted = await elsewhere.call('whoami', { session }).then(
        () => true,
        () => false,
      )
      if (accepted) assert.ok(begunMs - loggedOutMs <= 1_000, 'a session was accepted after it should be forgotten')
      return !accepted
    })
    assert.equal((await seller.refusal('logout', { session })).code, 'unauthenticated')
  })

  it('lives on after a logout that could not be written, and can be ended then', async () => {
    const hasty = await Caller.connect(await marketplace.serve('seller', { limitRequestMs: 2_000 }))
    const session = await login(seller)
    await withConnection(marketplace.urls.customer, async (other) => {
      await other.beginTransaction()
      await other.query('SELECT 1 FROM session WHERE token_hash = ? FOR UPDATE', [hashOf(session)])
      assert.equal((await hasty.refusal('logout', { session })).code, 'timeout')
      await other.rollback()
    })
    assert.equal((await hasty.call('whoami', { session })).id, ann.id)
    await hasty.call('logout', { session })
    assert.equal((await hasty.refusal('whoami', { session })).code, 'unauthenticated')
    await hasty.close()
  })

  it('that is ended while calls are beside it in the pipeline answers each of them', async () => {
    const session = await login(seller)
    const calls = Array.from({ length: 20 }, (_, index) =>
      index === 10 ? seller.call('logout', { session }) : seller.call('whoami', { session }),
    )
    for (const outcome of await Promise.allSettled(calls)) {
      if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'unauthenticated')
    }
    assert.equal((await seller.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('serves several connections, and outlives the one that opened it', async () => {
    const first = await Caller.connect(sellers)
    const session = await login(first)
    await first.close()
    const second = await Caller.connect(sellers)
    assert.equal((await second.call('whoami', { session })).id, ann.id)
    await second.close()
  })

  it('ends when it expires, however well remembered, and its row is not used again', async () => {
    const server = await marketplace.serve('seller', { sessionIdleS: 1, sessionAbsoluteS: 2 })
    const caller = await Caller.connect(server)
    const { session, expires_in_s } = await caller.call('login', credentials(ann))
    const begunMs = performance.now()
    assert.equal(expires_in_s, 1)
    await until('the session is refused, though it is always in use', async () => {
      const calledMs = performance.now()
      const accepted = await caller.call('whoami', { session }).then(
        () => true,
        () => false,
      )
      // Whole seconds of the database's clock, and a second of memory.
      if (accepted) assert.ok(calledMs - begunMs <= 4_000, 'a session was accepted long after its end')
      return !accepted
    })
    assert.equal((await elsewhere.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('is refused on a server without memory as soon as another has ended it', async () => {
    const forgetful = await Caller.connect(await marketplace.serve('seller', { sessionMemoryMs: 0 }))
    const session = await login(seller)
    await forgetful.call('whoami', { session })
    await seller.call('logout', { session })
    assert.equal((await forgetful.refusal('whoami', { session })).code, 'unauthenticated')
    await forgetful.close()
  })

  it('is prolonged by being used, and refused once its row has expired', async () => {
    const session = await login(seller)
    const expiresInS = async () => {
      const [row] = await marketplace.sql<{ in_s: number }>(
        'customer',
        'SELECT CAST(expires_at AS SIGNED) - UNIX_TIMESTAMP() AS in_s FROM session WHERE token_hash = ?',
        [hashOf(session)],
      )
      return row?.in_s ?? 0
    }
    const expireIn = (seconds: number) => {
      const sql = 'UPDATE session SET expires_at = UNIX_TIMESTAMP() + ? WHERE token_hash = ?'
      return marketplace.sql('customer', sql, [seconds, hashOf(session)])
    }
    await expireIn(20)
    await seller.call('whoami', { session })
    await until('the use is written down', async () => (await expiresInS()) > 300)
    await expireIn(-1)
    assert.equal((await elsewhere.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('that was not used is swept out of the database in the end', async () => {
    await marketplace.sql('customer', 'UPDATE session SET expires_at = 1 WHERE token_hash = ?', [
      hashOf(await login(seller)),
    ])
    const caller = await Caller.connect(await marketplace.serve('seller'))
    await until('the sweep has come by', async () => {
      const left = await marketplace.sql('customer', 'SELECT token_hash FROM session WHERE expires_at = 1')
      return left.length === 0
    })
    await caller.close()
  })
})

const credentials = ({ username, password }: OpenAccount) => ({ username, password })

async function passwordOf({ id }: OpenAccount): Promise<string> {
  const [row] = await marketplace.sql<{ password: string }>('customer', 'SELECT password FROM seller WHERE id = ?', [
    id,
  ])
  return row?.password ?? ''
}

function hashOf(session: string): string {
  return createHash('sha256').update(session).digest('base64url')
}
