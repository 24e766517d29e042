/**
 * A link to the database that a test can hold and cut. It listens on TCP,
 * stands before the database's Unix socket, and passes on whole packets of
 * MariaDB's protocol, each only after the test was asked about it.
 */

import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { connectionOptions } from '../../src/db/connect.ts'

/** One packet on its way. It is lost if the connection is cut before it was let go. */
export interface Packet {
  /** Who is to get it: the database, or the server that asked it. */
  to: Side
  bytes: Buffer
  link: Link
}

export type Side = 'database' | 'server'

/** One connection, from both of its ends. */
export class Link {
  readonly ends: Readonly<Record<Side, Socket>>

  constructor(ends: Record<Side, Socket>) {
    this.ends = ends
  }

  /** Ends the connection, for both sides or for one that is not to wait for the other. */
  cut(...sides: Side[]): void {
    for (const side of sides.length > 0 ? sides : (['database', 'server'] as const)) this.ends[side].destroy()
  }
}

/** Asked about every packet; until it is done, the connection stands still in that direction. */
export type Judge = (packet: Packet) => void | Promise<void>

const HEADER_BYTES = 4
const QUERY = 0x03

export class DatabaseProxy {
  /** Replaced by tests; passes everything unless it is. */
  judge: Judge = () => {}
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
      void this.#pass(link, 'database')
      void this.#pass(link, 'server')
    })
  }

  /** Resolves when it accepts connections for the database of this URL, which names a Unix socket. */
  static start(url: string): Promise<DatabaseProxy> {
    const proxy = new DatabaseProxy(url)
    return new Promise((resolve) => proxy.#listener.listen(0, '127.0.0.1', () => resolve(proxy)))
  }

  /** The same database by way of this link. */
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

  /** Passes on what goes one way, packet by packet, until either side ends. */
  async #pass(link: Link, to: Side): Promise<void> {
    const source = link.ends[to === 'server' ? 'database' : 'server']
    const target = link.ends[to]
    let begun: Buffer = Buffer.alloc(0)
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false })) {
        begun = Buffer.concat([begun, chunk])
        for (let packet = wholePacket(begun); packet !== undefined; packet = wholePacket(begun)) {
          begun = begun.subarray(packet.length)
          await this.judge({ to, link, bytes: packet })
          if (target.writable) target.write(packet)
        }
      }
      target.end()
    } catch {
      target.destroy()
    }
  }
}

function wholePacket(bytes: Buffer): Buffer | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const end = HEADER_BYTES + bytes.readUIntLE(0, 3)
  return bytes.length < end ? undefined : bytes.subarray(0, end)
}

export function isCommit({ to, bytes }: Packet): boolean {
  return to === 'database' && bytes[HEADER_BYTES] === QUERY && bytes.toString('latin1', HEADER_BYTES + 1) === 'COMMIT'
}
