/**
 * Accounts and sessions, on two seller servers and a buyer server. The tests
 * share accounts, since passwords are slow to hash on purpose.
 */

import assert from 'node:assert/strict'
import { scryptSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { withConnection } from '../../../src/db/connect.ts'
import { hashToken } from '../../../src/server/market/sessions.ts'
import { Caller, type OpenAccount, openAccount } from '../../support/clients.ts'
import { DatabaseProxy, type Link } from '../../support/database-proxy.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../../support/marketplace.ts'

/** Long, since a call may hash several passwords, and the machine may be busy. */
const PATIENT = { limitRequestMs: 30_000 }

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let seller: Caller<'seller'>
let elsewhere: Caller<'seller'>
let buyer: Caller<'buyer'>
let ann: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  const [one, two, buyers] = await Promise.all([
    marketplace.serve('seller', PATIENT),
    marketplace.serve('seller', PATIENT),
    marketplace.serve('buyer', PATIENT),
  ])
  sellers = one
  seller = await Caller.connect(one, 60_000)
  elsewhere = await Caller.connect(two, 60_000)
  buyer = await Caller.connect(buyers, 60_000)
  ann = await openAccount(seller)
})
after(() => marketplace?.close())

const login = async (caller: Caller<'seller'>) => {
  const { session } = await caller.call('login', { username: ann.username, password: ann.password })
  return session
}

describe('create_account', () => {
  it('answers the same id when it is repeated with the same password, and keeps the first name', async () => {
    const again = await seller.call('create_account', { ...credentials(ann), name: 'Another' })
    assert.equal(again.seller_id, ann.id)
    assert.equal((await seller.call('whoami', { session: ann.session })).name, 'Ann')
  })

  it('refuses a user name that is taken if the password differs', async () => {
    const refusal = await seller.refusal('create_account', {
      ...credentials(ann),
      password: 'wrong horse',
      name: 'Ann',
    })
    assert.equal(refusal.code, 'username_taken')
  })

  it('creates one account when it is called at the same time on two servers', async () => {
    const account = { username: 'twice', password: 'correct horse', name: 'Ann' }
    const created = await Promise.all(
      [seller, seller, elsewhere, elsewhere].map((caller) => caller.call('create_account', account)),
    )
    assert.equal(new Set(created.map(({ seller_id }) => seller_id)).size, 1)
    assert.equal((await marketplace.sql('customer', 'SELECT id FROM seller WHERE username = ?', ['twice'])).length, 1)
  })

  it('compares user names byte by byte, and keeps sellers and buyers apart', async () => {
    const upper = { username: ann.username.toUpperCase(), password: 'another horse', name: 'Ann' }
    const asSeller = await seller.call('create_account', upper)
    assert.notEqual(asSeller.seller_id, ann.id)
    await buyer.call('create_account', { ...credentials(ann), password: 'buyers horse', name: 'Ann' })
  })

  for (const username of ['ab', 'a'.repeat(33), 'with space', 'trailing ', 'ümlaut', 'a\u200bb', "a'--", '']) {
    it(`refuses the user name ${JSON.stringify(username)}, and names the field`, async () => {
      const refusal = await seller.refusal('create_account', { username, password: 'correct horse', name: 'Ann' })
      assert.equal(refusal.code, 'invalid_params')
      assert.deepEqual(Object.keys(refusal.details.fields as object), ['username'])
    })
  }
})

describe('login', () => {
  it('gives the same refusal for an unknown user and for a wrong password', async () => {
    const unknown = await seller.refusal('login', { username: 'nobody-there', password: ann.password })
    const wrong = await seller.refusal('login', { username: ann.username, password: 'wrong horse' })
    assert.equal(wrong.code, 'unauthenticated')
    assert.deepEqual([unknown.message, unknown.details], [wrong.message, wrong.details])
  })

  it('opens a new session each time, and all of them are valid', async () => {
    const sessions = await Promise.all([login(seller), login(elsewhere)])
    assert.notEqual(sessions[0], sessions[1])
    for (const session of sessions) assert.equal((await seller.call('whoami', { session })).id, ann.id)
  })

  it('hashes a password again when the parameters of its hash are out of date', async () => {
    const weaker = 'scrypt$10$8$1$c2FsdHNhbHRzYWx0c2FsdA$'
    const salt = Buffer.from('c2FsdHNhbHRzYWx0c2FsdA', 'base64url')
    const hash = scryptSync(ann.password, salt, 32, { N: 1024, r: 8, p: 1 }).toString('base64url')
    await marketplace.sql('customer', 'UPDATE seller SET password = ? WHERE id = ?', [weaker + hash, ann.id])
    const sessions = await Promise.all([login(seller), login(elsewhere)])
    assert.match(await readPassword(ann), /^scrypt\$15\$8\$3\$/)
    for (const session of sessions) assert.equal((await seller.call('whoami', { session })).id, ann.id)
    await login(seller)
  })

  it('stores passwords as scrypt hashes with their parameters', async () => {
    assert.match(await readPassword(ann), /^scrypt\$15\$8\$3\$[\w-]{22}\$[\w-]{43}$/)
  })
})

describe('change_password', () => {
  const change = (caller: Caller<'seller'>, session: string, password: string, new_password: string) =>
    caller.call('change_password', { session, password, new_password })
  const isRefused = async (caller: Caller<'seller'>, session: string) =>
    (await caller.call('whoami', { session }).catch((error) => error.code)) === 'unauthenticated'

  it('replaces the password, and ends all other sessions of the account: here at once, elsewhere within a second', async () => {
    const dan = await openAccount(seller)
    const others = [await seller.call('login', credentials(dan)), await elsewhere.call('login', credentials(dan))]
    const stranger = await openAccount(buyer)
    let isChanged = false
    const changed = change(seller, dan.session, dan.password, 'another horse').finally(() => {
      isChanged = true
    })
    while (!isChanged) {
      // so that both servers remember the sessions until the end
      const calls = [seller, elsewhere].flatMap((caller) => others.map((other) => isRefused(caller, other.session)))
      await Promise.all(calls)
    }
    assert.deepEqual(await changed, { ok: true })
    const changedMs = performance.now()
    for (const { session } of others) assert.ok(await isRefused(seller, session))
    for (const { session } of others) {
      await until('the other server refuses the session', async () => {
        const begunMs = performance.now()
        if (await isRefused(elsewhere, session)) return true
        assert.ok(begunMs - changedMs <= 1_000, 'a session was accepted after its time in the cache')
        return false
      })
    }
    for (const caller of [seller, elsewhere]) await caller.call('whoami', { session: dan.session })
    await seller.call('whoami', { session: ann.session })
    await buyer.call('whoami', { session: stranger.session })
    assert.equal((await seller.refusal('login', credentials(dan))).code, 'unauthenticated')
    const { session } = await seller.call('login', { ...credentials(dan), password: 'another horse' })
    await seller.call('whoami', { session })
  })

  it('ends the sessions of its own role only, whatever the numbers of the accounts', async () => {
    const dan = await openAccount(seller)
    const eve = await openAccount(buyer)
    await marketplace.sql('customer', 'UPDATE session SET account_id = ? WHERE token_hash = ?', [
      dan.id,
      hashToken(eve.session),
    ])
    await marketplace.sql('customer', "INSERT IGNORE INTO buyer VALUES (?, 'of.that.number', 'Eve', '')", [dan.id])
    await change(seller, dan.session, dan.password, 'another horse')
    assert.equal((await buyer.call('whoami', { session: eve.session })).id, dan.id)
  })

  it('refuses a wrong password, and changes nothing', async () => {
    const dan = await openAccount(seller)
    const other = await seller.call('login', credentials(dan))
    const before = await readPassword(dan)
    const params = { session: dan.session, password: 'wrong horse', new_password: 'another horse' }
    assert.equal((await seller.refusal('change_password', params)).code, 'wrong_password')
    assert.equal(await readPassword(dan), before)
    for (const { session } of [dan, other]) await seller.call('whoami', { session })
  })

  it('succeeds again when it is sent again', async () => {
    const dan = await openAccount(seller)
    await change(seller, dan.session, dan.password, 'another horse')
    assert.deepEqual(await change(elsewhere, dan.session, dan.password, 'another horse'), { ok: true })
    await seller.call('login', { ...credentials(dan), password: 'another horse' })
  })

  it('succeeds for one of two calls at the same time; the other has a wrong password', async () => {
    const dan = await openAccount(seller)
    const passwords = ['another horse', 'third horse']
    const answers = await Promise.all(
      passwords.map((password, index) =>
        change(index === 0 ? seller : elsewhere, dan.session, dan.password, password).catch((error) => error.code),
      ),
    )
    const won = answers.findIndex((answer) => typeof answer === 'object')
    assert.equal(answers[1 - won], 'wrong_password')
    await seller.call('login', { ...credentials(dan), password: passwords[won] ?? '' })
    const lost = { ...credentials(dan), password: passwords[1 - won] ?? '' }
    assert.equal((await seller.refusal('login', lost)).code, 'unauthenticated')
  })

  it('ends also a session that a login with the old password opens meanwhile', async () => {
    const dan = await openAccount(seller)
    const lateLogin = await withConnection(marketplace.urls.customer, async (holder) => {
      await holder.beginTransaction()
      await holder.query('SELECT 1 FROM seller WHERE id = ? FOR UPDATE', [dan.id])
      const changed = change(seller, dan.session, dan.password, 'another horse')
      await until('the change waits for the account', async () => {
        const processes = await marketplace.sql<{ Info: string | null }>('customer', 'SHOW PROCESSLIST')
        return processes.some(({ Info }) => Info?.includes('SELECT password FROM seller') === true)
      })
      const login = elsewhere.call('login', credentials(dan))
      await new Promise((resolve) => setTimeout(resolve, 20)) // it has read the old hash, and is checking the password
      await holder.rollback()
      await changed
      return login.catch(() => undefined)
    })
    assert.ok(lateLogin === undefined || (await isRefused(elsewhere, lateLogin.session)))
  })

  it('is not undone by a login that hashes the old password again', async () => {
    const dan = await openAccount(seller)
    const salt = Buffer.from('c2FsdHNhbHRzYWx0c2FsdA', 'base64url')
    const hash = scryptSync(dan.password, salt, 32, { N: 1024, r: 8, p: 1 }).toString('base64url')
    const weaker = `scrypt$10$8$1$${salt.toString('base64url')}$${hash}`
    await marketplace.sql('customer', 'UPDATE seller SET password = ? WHERE id = ?', [weaker, dan.id])
    const login = seller.call('login', credentials(dan))
    await new Promise((resolve) => setTimeout(resolve, 50)) // it has read the weaker hash, and makes another
    await marketplace.sql('customer', "UPDATE seller SET password = 'changed' WHERE id = ?", [dan.id])
    await login.catch(() => undefined)
    assert.equal(await readPassword(dan), 'changed')
  })

  it('needs a session, and a new password of the right form', async () => {
    const params = { password: ann.password, new_password: 'another horse' }
    assert.equal((await seller.refusal('change_password', { ...params, session: 'nobody' })).code, 'unauthenticated')
    const short = { ...params, session: ann.session, new_password: 'short' }
    assert.equal((await seller.refusal('change_password', short)).code, 'invalid_params')
  })
})

describe('a session', () => {
  it('identifies its account on every server of the role', async () => {
    for (const caller of [seller, elsewhere]) {
      const { expires_in_s, ...who } = await caller.call('whoami', { session: ann.session })
      assert.deepEqual(who, { id: ann.id, username: ann.username, name: 'Ann' })
      assert.ok(expires_in_s > 0 && expires_in_s <= 300)
    }
  })

  it('is stored only as a hash, which is not a valid session itself', async () => {
    const rows = await marketplace.sql<{ token_hash: string }>('customer', 'SELECT * FROM session')
    assert.ok(rows.length > 0)
    assert.ok(!JSON.stringify(rows).includes(ann.session))
    for (const { token_hash } of rows) {
      assert.equal((await seller.refusal('whoami', { session: token_hash })).code, 'unauthenticated')
    }
  })

  it('of a seller is refused by buyer servers, and that of a buyer by seller servers', async () => {
    assert.equal((await buyer.refusal('whoami', { session: ann.session })).code, 'unauthenticated')
    const bob = await openAccount(buyer)
    assert.equal((await seller.refusal('whoami', { session: bob.session })).code, 'unauthenticated')
  })

  it('is refused if it was never given out', async () => {
    for (const session of ['x', 'A'.repeat(43), '\u0000', "' OR 1=1 -- "]) {
      assert.equal((await seller.refusal('get_seller_rating', { session })).code, 'unauthenticated')
    }
  })

  it('ends with logout: at once on the same server, and within a second on others, which cache it', async () => {
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
      if (accepted) assert.ok(begunMs - loggedOutMs <= 1_000, 'a session was accepted after its time in the cache')
      return !accepted
    })
    assert.equal((await seller.refusal('logout', { session })).code, 'unauthenticated')
  })

  it('stays valid after a logout that could not be written, and can be ended later', async () => {
    const hasty = await Caller.connect(await marketplace.serve('seller', { limitRequestMs: 2_000 }))
    const session = await login(seller)
    await withConnection(marketplace.urls.customer, async (other) => {
      await other.beginTransaction()
      await other.query('SELECT 1 FROM session WHERE token_hash = ? FOR UPDATE', [hashToken(session)])
      assert.equal((await hasty.refusal('logout', { session })).code, 'timeout')
      await other.rollback()
    })
    assert.equal((await hasty.call('whoami', { session })).id, ann.id)
    await hasty.call('logout', { session })
    assert.equal((await hasty.refusal('whoami', { session })).code, 'unauthenticated')
    await hasty.close()
  })

  it('ends by a logout in the middle of a pipeline, and every call of the pipeline is answered', async () => {
    const session = await login(seller)
    const calls = Array.from({ length: 20 }, (_, index) =>
      index === 10 ? seller.call('logout', { session }) : seller.call('whoami', { session }),
    )
    for (const answer of await Promise.allSettled(calls)) {
      if (answer.status === 'rejected') assert.equal(answer.reason.code, 'unauthenticated')
    }
    assert.equal((await seller.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('is not taken up again by a look-up that was under way at its logout', async () => {
    const session = await login(elsewhere)
    const proxy = await DatabaseProxy.start(marketplace.urls.customer)
    const server = await marketplace.serve('seller', { ...PATIENT, customerDbUrl: proxy.url })
    const [early, late] = await Promise.all([Caller.connect(server, 60_000), Caller.connect(server, 60_000)])
    let held: Link | undefined
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    proxy.onPacket = ({ to, link, bytes }) => {
      if (to === 'server') return link === held ? released : undefined
      if (bytes.includes('FROM session JOIN')) held ??= link
      return undefined
    }
    const lookedUp = early.refusal('whoami', { session })
    await until('the look-up is under way', () => held !== undefined)
    await late.call('logout', { session })
    release()
    assert.equal((await lookedUp).code, 'unauthenticated')
    assert.equal((await early.refusal('whoami', { session })).code, 'unauthenticated')
    await Promise.all([early.close(), late.close()])
    await server.program.end()
    await proxy.close()
  })

  it('serves several connections, and outlives the one that opened it', async () => {
    const first = await Caller.connect(sellers)
    const session = await login(first)
    await first.close()
    const second = await Caller.connect(sellers)
    assert.equal((await second.call('whoami', { session })).id, ann.id)
    await second.close()
  })

  it('ends at its absolute end although it is in use and cached, and is refused by other servers too', async () => {
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
      // Two seconds of life, up to one of rounding by the database's clock, and one in the cache.
      if (accepted) assert.ok(calledMs - begunMs <= 4_000, 'a session was accepted long after its end')
      return !accepted
    })
    assert.equal((await elsewhere.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('is refused at once after logout by a server that does not cache sessions', async () => {
    const uncached = await Caller.connect(await marketplace.serve('seller', { sessionMemoryMs: 0 }))
    const session = await login(seller)
    await uncached.call('whoami', { session })
    await seller.call('logout', { session })
    assert.equal((await uncached.refusal('whoami', { session })).code, 'unauthenticated')
    await uncached.close()
  })

  it('is prolonged by use, and refused once its row has expired', async () => {
    const session = await login(seller)
    const expiresInS = async () => {
      const [row] = await marketplace.sql<{ in_s: number }>(
        'customer',
        'SELECT CAST(expires_at AS SIGNED) - UNIX_TIMESTAMP() AS in_s FROM session WHERE token_hash = ?',
        [hashToken(session)],
      )
      return row?.in_s ?? 0
    }
    const expireIn = (seconds: number) => {
      const sql = 'UPDATE session SET expires_at = UNIX_TIMESTAMP() + ? WHERE token_hash = ?'
      return marketplace.sql('customer', sql, [seconds, hashToken(session)])
    }
    await expireIn(20)
    await seller.call('whoami', { session })
    await until('the row has been prolonged', async () => (await expiresInS()) > 300)
    await expireIn(-1)
    assert.equal((await elsewhere.refusal('whoami', { session })).code, 'unauthenticated')
  })

  it('is deleted from the database some time after it has expired', async () => {
    await marketplace.sql('customer', 'UPDATE session SET expires_at = 1 WHERE token_hash = ?', [
      hashToken(await login(seller)),
    ])
    const caller = await Caller.connect(await marketplace.serve('seller'))
    await until('a sweep has deleted it', async () => {
      const left = await marketplace.sql('customer', 'SELECT token_hash FROM session WHERE expires_at = 1')
      return left.length === 0
    })
    await caller.close()
  })
})

const credentials = ({ username, password }: OpenAccount) => ({ username, password })

async function readPassword({ id }: OpenAccount): Promise<string> {
  const [row] = await marketplace.sql<{ password: string }>('customer', 'SELECT password FROM seller WHERE id = ?', [
    id,
  ])
  return row?.password ?? ''
}
