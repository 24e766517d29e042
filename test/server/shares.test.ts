/** Shares of addresses: what counts as one address, and how many connections it may have. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { AddressShares, toNetwork } from '../../src/server/shares.ts'

const networks: [address: string, network: string][] = [
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::FFFF:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8:0:0:1::', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['', ''],
]

/** Takes connections for each address in turn until none gets another; resolves to how many each has. */
function fill(shares: AddressShares, connections: number, addresses: readonly string[]): number[] {
  const taken = addresses.map(() => 0)
  let free = connections
  for (let grew = true; grew; ) {
    grew = false
    for (const [index, address] of addresses.entries()) {
      if (!shares.admits(address, free)) continue
      shares.take(address)
      taken[index] = (taken[index] as number) + 1
      free -= 1
      grew = true
    }
  }
  return taken
}

describe('an address', () => {
  for (const [address, network] of networks) {
    it(`${address || 'that is unknown'} counts as ${network || 'one'}`, () => assert.equal(toNetwork(address), network))
  }
})

describe('the share of an address', () => {
  it('is most of the connections if it is alone, and less for each the more addresses want many', () => {
    assert.deepEqual(fill(new AddressShares(3), 20_000, ['192.0.2.1']), [15_000])
    assert.deepEqual(fill(new AddressShares(1), 20_000, ['192.0.2.1']), [10_000])
    assert.ok(fill(new AddressShares(3), 7_000, ['192.0.2.1', '192.0.2.2']).every((taken) => taken === 3_000))
  })

  it('leaves a connection for a new address, however many are greedy', () => {
    const shares = new AddressShares(3)
    const greedy = Array.from({ length: 50 }, (_, host) => `192.0.2.${host}`)
    const taken = fill(shares, 20_000, greedy).reduce((sum, count) => sum + count)
    assert.ok(shares.admits('198.51.100.1', 20_000 - taken))
  })

  it('is all connections with a large multiple, and none when none is free', () => {
    assert.deepEqual(fill(new AddressShares(1_000_000), 20_000, ['127.0.0.1']), [20_000])
  })

  it('counts connections that end as free', () => {
    const shares = new AddressShares(1)
    fill(shares, 2, ['::1'])
    assert.equal(shares.admits('::2', 1), false)
    shares.release('::1')
    assert.equal(shares.admits('::2', 2), true)
  })
})
