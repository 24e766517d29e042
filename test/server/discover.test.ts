/** `rpc.discover`, asked of real servers; and the story of the contract's examples, told to them. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { EXAMPLES } from '../../src/contract/examples.ts'
import { describeRole } from '../../src/contract/openrpc.ts'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { VERSION } from '../../src/process/start.ts'
import { DEFAULT_LIMITS, describeLimits } from '../../src/server/limits.ts'
import { SESSION_LIFE } from '../../src/server/market/sessions.ts'
import { encodeRequest, maskVariables, type Reply, Wire } from '../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

let marketplace: TestMarketplace
let servers: Record<Role, RunningServer>

before(async () => {
  marketplace = await startTestMarketplace()
  const [seller, buyer] = await Promise.all([
    marketplace.serve('seller'),
    marketplace.serve('buyer', { limitLineBytes: 70_000, sessionAbsoluteS: 43_000 }),
  ])
  servers = { seller, buyer }
})
after(() => marketplace?.close())

async function ask(role: Role, method: string, params: object = {}): Promise<Reply> {
  const wire = await Wire.connect(servers[role])
  wire.request(1, method, params)
  const reply = await wire.reply()
  wire.destroy()
  assert.ok(reply !== undefined)
  return reply
}

describe('rpc.discover', () => {
  it('answers the contract of the server’s role without a session, with the server’s own limits', async () => {
    const limits = { ...DEFAULT_LIMITS, connections: 2_000 }
    const own = {
      seller: describeLimits(limits, SESSION_LIFE),
      buyer: describeLimits({ ...limits, lineBytes: 70_000 }, { ...SESSION_LIFE, absoluteS: 43_000 }),
    }
    for (const role of ROLES) {
      const { result } = await ask(role, 'rpc.discover')
      assert.deepEqual(result, JSON.parse(JSON.stringify(describeRole(role, { version: VERSION, limits: own[role] }))))
    }
  })

  it('takes no parameters', async () => {
    const { error } = await ask('buyer', 'rpc.discover', { session: 'any' })
    assert.equal(error?.data.code, 'invalid_params')
  })

  it('answers every time, however often it is asked on one connection', async () => {
    const wire = await Wire.connect(servers.buyer)
    wire.send(Array.from({ length: 300 }, (_, id) => encodeRequest({ id, method: 'rpc.discover' })).join(''))
    const replies = await wire.replies(300)
    assert.equal(new Set([...replies.values()].map(({ result }) => JSON.stringify(result))).size, 1)
    wire.destroy()
  })

  it('leaves other names that begin with rpc. unknown', async () => {
    assert.equal((await ask('buyer', 'rpc.other')).error?.data.code, 'unknown_method')
  })
})

describe('the examples of the contract', () => {
  it('are what servers answer, told as one story', async () => {
    const real = new Map<string, unknown>()
    for (const [key, { params, result }] of Object.entries(EXAMPLES)) {
      const [role, name] = key.split('.') as [Role, string]
      const replaced = { ...params, ...('session' in params && { session: real.get(params.session) }) }
      const reply = await ask(role, name, replaced)
      if ('session' in result) real.set(result.session, reply.result?.session)
      const shown = { jsonrpc: '2.0', id: 1, result }
      assert.deepEqual(maskVariables(JSON.stringify(reply)), maskVariables(JSON.stringify(shown)), key)
    }
  })
})
