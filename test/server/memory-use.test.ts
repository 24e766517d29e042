/**
 * The memory that a thousand idle clients cost a server. The server is the
 * compiled one: a compiler in its process would be measured too.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Caller, openAccount, Wire } from '../support/clients.ts'
import { openConnections, startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

const CLIENTS = 1_000
const MOST_MIB = 150
const PROGRAM = fileURLToPath(new URL('../../dist/server.js', import.meta.url))

let marketplace: TestMarketplace

before(async () => {
  marketplace = await startTestMarketplace()
})
after(() => marketplace?.close())

function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(status.match(/^VmRSS:\s+(\d+) kB$/m)?.[1]) / 1024
}

describe('a server', () => {
  it(`needs less than ${MOST_MIB} MiB for 1000 idle clients that have called once`, {
    skip: process.platform !== 'linux',
  }, async (test) => {
    const server = await marketplace.serve('seller', {}, [process.execPath, PROGRAM])
    const { session } = await openAccount(await Caller.connect(server))
    const wires = await Promise.all(Array.from({ length: CLIENTS }, () => Wire.connect(server)))
    for (const wire of wires) wire.request(1, 'get_seller_rating', { session })
    for (const wire of wires) assert.ok((await wire.reply())?.result !== undefined)
    assert.equal(openConnections(server), CLIENTS + 1)
    const mib = residentMib(server.program.pid)
    test.diagnostic(`${mib.toFixed(0)} MiB`)
    assert.ok(mib < MOST_MIB, `${mib} MiB`)
    for (const wire of wires) wire.destroy()
  })
})
