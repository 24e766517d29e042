/**
 * A proxy in front of the database, with connections that a test can delay and
 * cut. It listens on TCP, connects to the database's Unix socket, and forwards
 * whole packets of MariaDB's protocol, each after the test's hook has run.
 */

import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { connectionOptions } from '../../src/db/url.ts'

/** One packet to be forwarded. It is lost if the connection is cut before that. */
export interface Packet {
  /** Its receiver: the database, or the souk server. */
  to: Side
  bytes: Buffer
  link: Link
}

export type Side = 'database' | 'server'

/** A connection through the proxy: the sockets at both of its ends. */
export class Link {
  readonly ends: Readonly<Record<Side, Socket>>

  constructor(ends: Record<Side, Socket>) {
    this.ends = ends
  }

  /** Ends the connection on the given sides, by default on both. */
  cut(...sides: Side[]): void {
    for (const side of sides.length > 0 ? sides : (['database', 'server'] as const)) this.ends[side].destroy()
  }
}

/** Called with every packet. Until it resolves, the connection forwards nothing in that direction. */
export type PacketHook = (packet: Packet) => void | Promise<void>

const HEADER_BYTES = 4
const QUERY = 0x03

export class DatabaseProxy {
  /** Tests replace it; by default every packet is forwarded at once. */
  onPacket: PacketHook = () => {}
  readonly #listener: Server
  readonly #sockets = new Set<Socket>()
  readonly #url: string

  private constructor(url: string) {
    this.#url = url
    const { socketPath } = connectionOptions(url)
    this.#listener = createServer({ noDelay: true }, (server) => {
      const database = createConnection(socketPath as string)
      const link = new Link({ database, server })
      for (const socket of [database, server]) {
        this.#sockets.add(socket)
        socket.on('error', () => {}) // 'close' follows
        socket.on('close', () => this.#sockets.delete(socket))
      }
      void this.#forward(link, 'database')
      void this.#forward(link, 'server')
    })
  }

  /** Resolves when it accepts connections for the database of this URL, which must name a Unix socket. */
  static start(url: string): Promise<DatabaseProxy> {
    const proxy = new DatabaseProxy(url)
    return new Promise((resolve) => proxy.#listener.listen(0, '127.0.0.1', () => resolve(proxy)))
  }

  /** The URL of the same database through this proxy. */
  get url(): string {
    const url = new URL(this.#url)
    url.searchParams.delete('socketPath')
    url.host = `127.0.0.1:${(this.#listener.address() as { port: number }).port}`
    return url.href
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** Forwards the packets of one direction until either side ends. */
  async #forward(link: Link, to: Side): Promise<void> {
    const source = link.ends[to === 'server' ? 'database' : 'server']
    const target = link.ends[to]
    let received: Buffer = Buffer.alloc(0)
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false })) {
        received = Buffer.concat([received, chunk])
        for (let packet = firstPacket(received); packet !== undefined; packet = firstPacket(received)) {
          received = received.subarray(packet.length)
          await this.onPacket({ to, link, bytes: packet })
          if (target.writable) target.write(packet)
        }
      }
      target.end()
    } catch {
      target.destroy()
    }
  }
}

/** The first packet of the bytes, if all of it has arrived. */
function firstPacket(bytes: Buffer): Buffer | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const end = HEADER_BYTES + bytes.readUIntLE(0, 3)
  return bytes.length < end ? undefined : bytes.subarray(0, end)
}

export function isCommit({ to, bytes }: Packet): boolean {
  return to === 'database' && bytes[HEADER_BYTES] === QUERY && bytes.toString('latin1', HEADER_BYTES + 1) === 'COMMIT'
}
