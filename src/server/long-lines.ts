/** Long lines to send: encoded in slices, so that other clients have a turn of the loop after each. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { HeldBytes } from './held-bytes.ts'
import type { Peer } from './peer.ts'

/** Encodes no more when the client has gone. What is encoded counts as held until it is whole. */
export async function joinSlices(slices: Iterable<Buffer>, peer: Peer, held: HeldBytes): Promise<Buffer> {
  const encoded: Buffer[] = []
  let bytes = 0
  for (const slice of slices) {
    if (encoded.length > 0) await nextTurn()
    if (peer.closed) break
    encoded.push(slice)
    bytes += slice.length
    held.bytes += slice.length
  }
  held.bytes -= bytes
  return Buffer.concat(encoded)
}
