import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { toNetwork } from '../../src/server/peer.ts'
import { type Path, Turns } from '../../src/server/turns.ts'

function takeAll<T>(turns: Turns<T>): (T | undefined)[] {
  return Array.from({ length: turns.size }, () => turns.take())
}

function lineOf(entries: readonly (readonly [Path, string])[]): Turns<string> {
  const turns = new Turns<string>(100, 100, 100)
  for (const [path, entry] of entries) assert.ok(turns.add(path, entry))
  return turns
}

describe('A waiting line', () => {
  test('hands out the entries of one path in order of arrival', () => {
    const turns = lineOf(['1', '2', '3'].map((entry) => [['a', 'x'], entry]))
    assert.deepEqual(takeAll(turns), ['1', '2', '3'])
    assert.equal(turns.take(), undefined)
  })

  test('gives every network a turn, however many connections another has', () => {
    const many = Array.from({ length: 50 }, (_, index) => [['a', index], `a${index}`] as const)
    assert.deepEqual(takeAll(lineOf([...many, [['b', 'x'], 'b']])).slice(0, 3), ['a0', 'b', 'a1'])
  })

  test('gives every connection of a network a turn, however many entries another has', () => {
    const many = Array.from({ length: 50 }, (_, index) => [['a', 'x'], `x${index}`] as const)
    assert.deepEqual(takeAll(lineOf([...many, [['a', 'y'], 'y']])).slice(0, 3), ['x0', 'y', 'x1'])
  })

  test('puts who had the last turn behind those who come meanwhile', () => {
    const turns = lineOf([
      [['a', 'x'], 'a1'],
      [['a', 'x'], 'a2'],
      [['b', 'x'], 'b1'],
    ])
    assert.equal(turns.take(), 'a1')
    turns.add(['c', 'x'], 'c1')
    assert.deepEqual(takeAll(turns), ['b1', 'c1', 'a2'])
  })

  test('has no place beyond the bound of any level, and has one again when an entry leaves', () => {
    const turns = new Turns<string>(4, 3, 2)
    assert.deepEqual([turns.add(['a', 'x'], '1'), turns.add(['a', 'x'], '2')], [true, true])
    assert.equal(turns.add(['a', 'x'], '3'), false, 'a third entry of a connection')
    assert.equal(turns.add(['a', 'y'], '3'), true)
    assert.equal(turns.add(['a', 'z'], '4'), false, 'a fourth entry of a network')
    assert.equal(turns.add(['b', 'x'], '4'), true)
    assert.equal(turns.add(['c', 'x'], '5'), false, 'a fifth entry')
    turns.take()
    assert.equal(turns.add(['c', 'x'], '5'), true)
    assert.equal(turns.size, 4)
  })

  test('forgets an entry that is deleted, and its network with the last one', () => {
    const turns = lineOf([
      [['a', 'x'], '1'],
      [['a', 'x'], '2'],
      [['b', 'y'], '3'],
    ])
    turns.delete(['a', 'x'], '1')
    turns.delete(['b', 'y'], '3')
    turns.delete(['b', 'y'], '3')
    turns.delete(['c', 'z'], '4')
    assert.equal(turns.size, 1)
    assert.deepEqual(takeAll(turns), ['2'])
  })
})

describe('The network of an address', () => {
  for (const [address, network] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:0002::9', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['', ''],
  ] as const) {
    test(`${address || 'nothing'} is ${network || 'nothing'}`, () => assert.equal(toNetwork(address), network))
  }
})
