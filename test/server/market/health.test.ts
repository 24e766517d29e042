import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Caller } from '../../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../../support/marketplace.ts'
import { SoukUser } from '../../support/souk.ts'

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
let buyers: RunningServer<'buyer'>
let caller: Caller<'seller'>
let bob: SoukUser

before(async () => {
  marketplace = await startTestMarketplace()
  ;[sellers, buyers] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
  caller = await Caller.connect(sellers)
  bob = new SoukUser([sellers, buyers])
})
after(async () => {
  await bob.leave()
  await marketplace.close()
})

/** What `souk status --json` says, without what varies. */
async function readStatus() {
  const { exitCode, stdout } = await bob.souk('status --json')
  const servers: { role: string; reachable: boolean; databases: object }[] = JSON.parse(stdout).servers
  return { exitCode, servers: servers.map(({ role, reachable, databases }) => ({ role, reachable, databases })) }
}

const both = (databases: object) => ['seller', 'buyer'].map((role) => ({ role, reachable: true, databases }))

describe('a ping', () => {
  it('asks no database, unless it is told to', async () => {
    assert.deepEqual(Object.keys(await caller.call('ping', {})), ['ok', 'version'])
    const { databases } = await caller.call('ping', { databases: true })
    assert.deepEqual(databases, { customer: true, product: true })
  })

  it('says which databases do not answer, also when they are frozen, and souk status says it too', async () => {
    await bob.join('buyer', 'bob')
    assert.deepEqual(await readStatus(), { exitCode: 0, servers: both({ customer: true, product: true }) })
    const { pid } = marketplace.database()
    process.kill(pid, 'SIGSTOP')
    try {
      const { databases } = await caller.call('ping', { databases: true })
      assert.deepEqual(databases, { customer: false, product: false })
      assert.deepEqual(await readStatus(), { exitCode: 6, servers: both({ customer: false, product: false }) })
      for (const role of ['seller', 'buyer'])
        assert.match((await bob.souk('status')).stdout, new RegExp(`^${role} .* souk \\d.* no database\\b`, 'm'))
      assert.equal((await caller.call('ping', {})).ok, true)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const { databases } = await caller.call('ping', { databases: true })
    assert.deepEqual(databases, { customer: true, product: true })
  })
})
