/**
 * How connections are shared out among addresses. An address may have a multiple
 * of those that are free: alone it may have most of them, and the more addresses
 * have many, the fewer each may have. So no number of greedy addresses takes the
 * last connection, and no address needs a number of its own.
 *
 * This is the dynamic threshold of Choudhury and Hahne, "Dynamic queue length
 * thresholds for shared-memory packet switches" (1998).
 */

import { isIPv4, isIPv6 } from 'node:net'

export class AddressShares {
  readonly #multiple: number
  readonly #taken = new Map<string, number>()

  constructor(multiple: number) {
    this.#multiple = multiple
  }

  /** Whether this address may have one more connection, if so many are free. */
  admits(address: string, free: number): boolean {
    return (this.#taken.get(toNetwork(address)) ?? 0) < this.#multiple * free
  }

  take(address: string): void {
    const network = toNetwork(address)
    this.#taken.set(network, (this.#taken.get(network) ?? 0) + 1)
  }

  release(address: string): void {
    const network = toNetwork(address)
    const left = (this.#taken.get(network) ?? 0) - 1
    if (left > 0) this.#taken.set(network, left)
    else this.#taken.delete(network)
  }
}

/**
 * What counts as one address: an IPv4 address, also in its IPv6 form, or the first 64 bits of an IPv6 address, all of
 * which one customer of a network has.
 */
export function toNetwork(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  if (isIPv4(address) || !isIPv6(address)) return address
  const [left = '', right] = (address.split('%')[0] as string).toLowerCase().split('::')
  const groups = left === '' ? [] : left.split(':')
  if (right !== undefined) {
    const tail = right === '' ? [] : right.split(':')
    const missing = 8 - groups.length - tail.length
    groups.push(...Array(missing).fill('0'), ...tail)
  }
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
