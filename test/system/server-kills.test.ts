/**
 * A flash sale while both buyer servers are killed in turn, and database
 * connections at random: clients that retry get nearly every call answered, and
 * the database agrees with the clients' ledger.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RetryingClient } from '../../src/client/retrying-client.ts'
import type { Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import type { Random } from '../../src/loadgen/random.ts'
import { below, oneOf } from '../../src/loadgen/random.ts'
import { FlashSale } from '../support/flash-sale.ts'
import { AuditedLedger, openLedgerClients } from '../support/ledger-clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'
import { ROUNDS, seedRandom } from '../support/random.ts'

const BUYERS = 200
const SELLERS = 4
const SERVERS_KILLED = 2
const LONGEST_CALM_MS = 1_000
const CONNECTION_KILLED_EVERY_MS = 50
const PATIENCE_MS = 40_000
const LEAST_SHARE_ANSWERED = 0.99

let marketplace: TestMarketplace
let sellers: RunningServer<'seller'>
const buyers: RunningServer<'buyer'>[] = []

before(async () => {
  marketplace = await startTestMarketplace()
  sellers = await marketplace.serve('seller')
  buyers.push(...(await Promise.all([marketplace.serve('buyer'), marketplace.serve('buyer')])))
})
after(() => marketplace?.close())

describe('a flash sale during which servers and their database connections are killed', () => {
  it('has nearly every call answered, and leaves each unit where the answers say it is', async (test) => {
    const random = seedRandom(test)
    const ledger = await AuditedLedger.open(marketplace)
    const clients = {
      sellers: await openLedgerClients(marketplace, 'seller', SELLERS, ledger, () => retrying(sellers)),
      buyers: await openLedgerClients(marketplace, 'buyer', BUYERS, ledger, (number) =>
        retrying(buyers[number % 2] as RunningServer<'buyer'>),
      ),
    }
    const sales: FlashSale[] = []
    const kills = { servers: 0, connections: 0 }
    let isOver = false
    const sell = async () => {
      while (kills.servers < SERVERS_KILLED * ROUNDS) {
        const sale = new FlashSale({ ...clients, items: 10, units: 100, changes: 40, random })
        sales.push(sale)
        await sale.run()
      }
    }
    const selling = sell().finally(() => {
      isOver = true
    })
    const goesOn = () => !isOver
    await Promise.all([selling, killServers(goesOn, random, kills), killConnections(goesOn, random, kills)])
    const answered = sales.reduce((sum, sale) => sum + sale.answered, 0)
    const failed = sales.reduce((sum, sale) => sum + sale.failed, 0)
    const failures = JSON.stringify(sales.map((sale) => sale.failures))
    test.diagnostic(`${kills.servers} servers and ${kills.connections} connections killed: ${sales.join(', ')}`)
    await ledger.audit()
    assert.ok(
      answered / (answered + failed) >= LEAST_SHARE_ANSWERED,
      `${failed} of ${answered + failed} failed: ${failures}`,
    )
    assert.ok(!failures.includes('internal'), failures)
  })
})

function retrying<R extends Role>({ role, port }: RunningServer<R>): RetryingClient<R> {
  return new RetryingClient({ role, host: '127.0.0.1', port, timeoutMs: PATIENCE_MS })
}

interface Kills {
  servers: number
  connections: number
}

/** Kills both servers in turn. Each is back on its port before the other is killed. */
async function killServers(goesOn: () => boolean, random: Random, kills: Kills): Promise<void> {
  for (; goesOn(); kills.servers += 1) {
    await sleep(below(LONGEST_CALM_MS, random))
    const { port, program } = buyers[kills.servers % 2] as RunningServer<'buyer'>
    await program.end('SIGKILL')
    buyers[kills.servers % 2] = await restart(port, goesOn)
  }
}

/** Starts a server. It ends if its connection is killed while it starts; then it is started again. */
function restart(port: number, goesOn: () => boolean): Promise<RunningServer<'buyer'>> {
  return marketplace.serve('buyer', { buyerPort: port }).catch((error) => {
    if (goesOn()) return restart(port, goesOn)
    throw error
  })
}

function killConnections(goesOn: () => boolean, random: Random, kills: Kills): Promise<void> {
  return withConnection(marketplace.urls.product, async (connection) => {
    while (goesOn()) {
      await sleep(CONNECTION_KILLED_EVERY_MS)
      const victims = await connection.query<{ id: number }[]>(
        "SELECT id FROM information_schema.processlist WHERE db LIKE 'souk_test_%' AND id <> CONNECTION_ID()",
      )
      const killed = await connection.query(`KILL CONNECTION ${oneOf(victims, random).id}`).catch((error) => error)
      if (!(killed instanceof Error)) kills.connections += 1
    }
  })
}
