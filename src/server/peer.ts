/** The other end of a connection. One object for each connection: whoever shares something out compares them. */

import { isIPv6 } from 'node:net'

export interface Peer {
  /** The IP address that the connection comes from; empty if it broke before that was asked. */
  readonly address: string
  /** Whether the connection has ended: nobody gets a reply any more. */
  closed: boolean
  /** To be called when a call of this connection was refused as overloaded: it is read more slowly for a while. */
  overloaded?(): void
}

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i
const NETWORK_GROUPS = 4

/** What one sender has for itself: an IPv4 address, or the first 64 bits of an IPv6 address. */
export function toNetwork(address: string): string {
  const mapped = MAPPED.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.replace(/%.*/, '').split('::')
  const before = splitGroups(head)
  const after = splitGroups(tail ?? '')
  const groups = [...before, ...Array(8 - before.length - after.length).fill('0'), ...after]
  return `${groups
    .slice(0, NETWORK_GROUPS)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}

/** An IPv4 address at the end stands for two groups, which are not of the network. */
function splitGroups(part: string): string[] {
  if (part === '') return []
  return part.split(':').flatMap((group) => (group.includes('.') ? ['0', '0'] : [group]))
}
