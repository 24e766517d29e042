/** The client that programs import, as it stands in src. test/project/package.test.ts has it as it is installed. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ConnectionLost, connect, Refused } from '../src/library.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from './support/marketplace.ts'

describe('a client of the library', () => {
  let marketplace: TestMarketplace
  let sellers: RunningServer<'seller'>

  before(async () => {
    marketplace = await startTestMarketplace()
    sellers = await marketplace.serve('seller')
  })
  after(() => marketplace?.close())

  it('makes calls together on one connection, and sends keys by itself', async () => {
    const seller = connect({ role: 'seller', port: sellers.port })
    const credentials = { username: 'ann', password: 'correct horse' }
    await seller.call('create_account', { ...credentials, name: 'Ann' })
    const { session } = await seller.call('login', credentials)
    const condition = 'new' as const
    const lamp = { name: 'Lamp', category: 1, keywords: [], condition, price_cents: 100, quantity: 1 }
    const calls = Array.from({ length: 5 }, () => seller.call('register_item_for_sale', { session, ...lamp }))
    const ids = (await Promise.all(calls)).map(({ item_id }) => item_id)
    assert.equal(new Set(ids).size, 5)
    const keys = await marketplace.sql('product', 'SELECT DISTINCT idempotency_key FROM idempotency')
    assert.equal(keys.length, 5)
    await seller.close()
  })

  it('rejects with the code of a refusal', async () => {
    const seller = connect({ role: 'seller', port: sellers.port })
    const error = await seller.call('whoami', { session: 'no session' }).catch((reason) => reason)
    assert.ok(error instanceof Refused)
    assert.equal(error.code, 'unauthenticated')
    await seller.close()
  })

  it('rejects with the outcome of a call that no server took', async () => {
    const server = await marketplace.serve('buyer')
    await server.program.end()
    const buyer = connect({ role: 'buyer', port: server.port, timeoutMs: 300 })
    const error = await buyer.call('ping', {}).catch((reason) => reason)
    assert.ok(error instanceof ConnectionLost)
    assert.equal(error.outcome, 'none')
    await buyer.close()
  })

  it('has a role that exists', () => {
    assert.throws(() => connect({ role: 'guest' as 'buyer' }), /role must be one of seller, buyer/)
  })
})
