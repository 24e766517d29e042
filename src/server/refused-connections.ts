/**
 * Connections that get a refusal and nothing else. Each is closed as soon as its
 * client has closed it, or at the next sweep: closed at once, with bytes of the
 * client unread, it would be reset, and the refusal lost. Only a few are kept so.
 */

import type { Socket } from 'node:net'
import { encodeRefusal } from '../contract/protocol.ts'
import type { Refusal } from '../contract/refusals.ts'

const MOST_KEPT = 64

export class RefusedConnections {
  /** The oldest first. Those that came before the last sweep end with the next. */
  readonly #kept = new Set<Socket>()
  #sweptBefore: readonly Socket[] = []

  refuse(socket: Socket, refusal: Refusal): void {
    this.#kept.add(socket)
    socket.on('error', () => {}) // 'close' follows
    socket.on('end', () => socket.destroy())
    socket.on('close', () => this.#kept.delete(socket))
    socket.end(encodeRefusal(null, refusal))
    socket.resume()
    const [oldest] = this.#kept
    if (this.#kept.size > MOST_KEPT) oldest?.destroy()
  }

  sweep(): void {
    for (const socket of this.#sweptBefore) socket.destroy()
    this.#sweptBefore = [...this.#kept]
  }

  destroyAll(): void {
    for (const socket of this.#kept) socket.destroy()
  }
}
