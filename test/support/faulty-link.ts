/**
 * A TCP link to a server that breaks when a test says so. It forwards bytes as
 * they come, or slower and in pieces, and counts them. At a given byte, or after
 * a given line, it closes the connection or one direction of it, resets it,
 * falls silent, or delays the bytes that follow. It does not know what the bytes
 * mean.
 */

import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Fault {
  /** The direction that is counted: requests go to the server, replies to the client. */
  to: 'server' | 'client'
  /**
   * What is still forwarded before the fault happens, counted from now on over all connections. With 0 the fault
   * happens when the next byte comes, and that byte is not forwarded.
   */
  after: { bytes: number } | { lines: number }
  does: Cut | { delayMs: number }
}

/**
 * How a connection ends. `silence`: nothing is forwarded any more, in either direction, and neither side learns of it.
 * `half-close`: the server's direction ends, and the client's stays open.
 */
export type Cut = 'close' | 'reset' | 'silence' | 'half-close'

/** How bytes are forwarded; by default at once, as they come. */
export interface Shape {
  /** Before each chunk. */
  delayMs?: number
  bytesPerS?: number
  sliceBytes?: number
}

/** The server's port on the loopback address, or its Unix socket. */
export type Target = number | { path: string }

interface LinkConnection {
  readonly client: Socket
  readonly server: Socket
  silent: boolean
}

const NEWLINE = 0x0a

export class FaultyLink {
  /** The number of connections that clients have made so far. */
  connections = 0
  /** The number of whole lines forwarded so far, by receiver. */
  readonly lines = { server: 0, client: 0 }
  readonly port: number
  /** Of all connections, from now on. */
  shape: Shape = {}
  readonly #listener: Server
  readonly #links = new Set<LinkConnection>()
  #armed: Fault | undefined
  /** The bytes or lines that may still pass before the armed fault happens. */
  #left = 0

  private constructor(listener: Server, target: Target) {
    this.#listener = listener.on('connection', (client) => this.#accept(client, target))
    this.port = (listener.address() as { port: number }).port
  }

  /** Resolves when it accepts connections for that server, which need not run yet. */
  static start(target: Target): Promise<FaultyLink> {
    const listener = createServer({ allowHalfOpen: true, noDelay: true })
    return new Promise((resolve) => {
      listener.listen(0, '127.0.0.1', () => resolve(new FaultyLink(listener, target)))
    })
  }

  /** Arms a fault: it happens once, on the connection that carries the byte. It replaces a fault that has not happened. */
  arm(fault: Fault): void {
    this.#armed = fault
    this.#left = 'bytes' in fault.after ? fault.after.bytes : fault.after.lines
  }

  /** Takes back a fault that has not happened. */
  disarm(): void {
    this.#armed = undefined
  }

  /** Whether an armed fault has not happened yet. */
  get armed(): boolean {
    return this.#armed !== undefined
  }

  /** Cuts all present connections at once. */
  cut(how: Cut): void {
    for (const link of this.#links) cut(link, how)
  }

  /** Ends all connections, also silent ones, and accepts no more. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve))
    this.cut('close')
    await closed
  }

  #accept(client: Socket, target: Target): void {
    this.connections += 1
    const address = typeof target === 'number' ? { host: '127.0.0.1', port: target } : target
    const server = createConnection({ ...address, allowHalfOpen: true, noDelay: true })
    const link: LinkConnection = { client, server, silent: false }
    this.#links.add(link)
    for (const to of ['server', 'client'] as const) {
      link[to].on('error', () => {}) // the loop that reads from it gets the error too
      link[to].on('close', () => link.client.destroyed && link.server.destroyed && this.#links.delete(link))
      void this.#forward(link, to)
    }
  }

  /** Forwards one direction until its source ends, and then ends the target. If either side breaks, resets the target. */
  async #forward(link: LinkConnection, to: Fault['to']): Promise<void> {
    const target = link[to]
    const source = to === 'server' ? link.client : link.server
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false })) await this.#forwardChunk(link, to, chunk)
      if (!link.silent) target.end()
    } catch {
      if (!link.silent) reset(target)
    }
  }

  async #forwardChunk(link: LinkConnection, to: Fault['to'], chunk: Buffer): Promise<void> {
    if (link.silent || chunk.length === 0) return
    const fault = this.#armed
    const length = fault?.to === to ? this.#count(fault, chunk) : undefined
    if (fault === undefined || length === undefined) return this.#write(link, to, chunk)
    this.#armed = undefined
    await this.#write(link, to, chunk.subarray(0, length))
    await carryOut(fault, link)
    return this.#forwardChunk(link, to, chunk.subarray(length))
  }

  /** The bytes of a chunk that pass before the fault happens; undefined if the fault is not in this chunk. */
  #count({ after }: Fault, chunk: Buffer): number | undefined {
    if ('bytes' in after) {
      const length = this.#left
      this.#left -= chunk.length
      return this.#left <= 0 ? length : undefined
    }
    let at = 0
    while (this.#left > 0) {
      const end = chunk.indexOf(NEWLINE, at)
      if (end < 0) return undefined
      at = end + 1
      this.#left -= 1
    }
    return at
  }

  async #write(link: LinkConnection, to: Fault['to'], chunk: Buffer): Promise<void> {
    for (const byte of chunk) if (byte === NEWLINE) this.lines[to] += 1
    const { delayMs, bytesPerS, sliceBytes = chunk.length } = this.shape
    if (delayMs !== undefined) await sleep(delayMs)
    for (let at = 0; at < chunk.length && !link.silent; at += sliceBytes) {
      const slice = chunk.subarray(at, at + sliceBytes)
      await new Promise((resolve) => link[to].write(slice, resolve))
      if (bytesPerS !== undefined) await sleep((slice.length / bytesPerS) * 1_000)
    }
  }
}

async function carryOut({ does }: Fault, link: LinkConnection): Promise<void> {
  if (typeof does === 'object') await sleep(does.delayMs)
  else cut(link, does)
}

function cut(link: LinkConnection, how: Cut): void {
  if (how === 'silence') {
    link.silent = true
    return
  }
  if (how === 'half-close') return void link.client.end()
  for (const socket of [link.client, link.server]) {
    if (how === 'reset') reset(socket)
    else socket.destroy()
  }
}

/** A Unix socket knows no reset. */
function reset(socket: Socket): void {
  if (socket.remoteFamily === undefined) socket.destroy()
  else socket.resetAndDestroy()
}
