/**
 * A TCP link that breaks when a test says so. It stands before a server on
 * this machine, passes bytes on as they come, and counts them; at a byte, or
 * behind a line, it closes the connection, resets it, falls silent, or holds
 * the bytes back for a while. It knows nothing of what the bytes mean.
 */

import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Fault {
  /** Where the bytes go that are counted: requests to the server, replies to the client. */
  to: 'server' | 'client'
  /** How much passes before it happens, from now on, over all connections. 0: it happens when the next byte comes, which does not pass. */
  after: { bytes: number } | { lines: number }
  does: Cut | { delayMs: number }
}

/** How a connection ends. `silence`: nothing passes any more, either way, and neither side is told. */
export type Cut = 'close' | 'reset' | 'silence'

interface Link {
  readonly client: Socket
  readonly server: Socket
  silent: boolean
}

const NEWLINE = 0x0a

export class FaultyLink {
  /** Connections that clients made so far. */
  connections = 0
  /** Whole lines that have passed so far. */
  readonly lines = { server: 0, client: 0 }
  readonly port: number
  readonly #listener: Server
  readonly #links: Link[] = []
  #armed: Fault | undefined
  /** How much may still pass before the armed fault happens. */
  #left = 0

  private constructor(listener: Server, serverPort: number) {
    this.#listener = listener.on('connection', (client) => this.#accept(client, serverPort))
    this.port = (listener.address() as { port: number }).port
  }

  /** Resolves when it accepts connections for the server on that port, which need not run yet. */
  static start(serverPort: number): Promise<FaultyLink> {
    const listener = createServer({ allowHalfOpen: true, noDelay: true })
    return new Promise((resolve) => {
      listener.listen(0, '127.0.0.1', () => resolve(new FaultyLink(listener, serverPort)))
    })
  }

  /** The fault happens once, on the connection whose byte it is. It takes the place of one that has not happened yet. */
  arm(fault: Fault): void {
    this.#armed = fault
    this.#left = 'bytes' in fault.after ? fault.after.bytes : fault.after.lines
  }

  /** Whether a fault has been armed and has not happened yet. */
  get armed(): boolean {
    return this.#armed !== undefined
  }

  /** Does it to all connections that there are, now. */
  cut(how: Cut): void {
    for (const link of this.#links) cut(link, how)
  }

  /** Ends all connections, also silent ones, and takes no more. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve))
    this.cut('close')
    await closed
  }

  #accept(client: Socket, port: number): void {
    this.connections += 1
    const server = createConnection({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    const link: Link = { client, server, silent: false }
    this.#links.push(link)
    for (const to of ['server', 'client'] as const) {
      link[to].on('error', () => {}) // whoever reads from it is told
      void this.#pass(link, to)
    }
  }

  /** Passes on what goes one way until that side ends, which is passed on too; a connection that breaks is reset. */
  async #pass(link: Link, to: Fault['to']): Promise<void> {
    const target = link[to]
    const source = to === 'server' ? link.client : link.server
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false })) await this.#passChunk(link, to, chunk)
      if (!link.silent) target.end()
    } catch {
      if (!link.silent) target.resetAndDestroy()
    }
  }

  async #passChunk(link: Link, to: Fault['to'], chunk: Buffer): Promise<void> {
    if (link.silent || chunk.length === 0) return
    const fault = this.#armed
    const length = fault?.to === to ? this.#count(fault, chunk) : undefined
    if (fault === undefined || length === undefined) return this.#write(link, to, chunk)
    this.#armed = undefined
    await this.#write(link, to, chunk.subarray(0, length))
    await happen(fault, link)
    return this.#passChunk(link, to, chunk.subarray(length))
  }

  /** How much of a chunk still passes before the fault happens; undefined if it doesn't happen in it. */
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

  async #write(link: Link, to: Fault['to'], chunk: Buffer): Promise<void> {
    for (const byte of chunk) if (byte === NEWLINE) this.lines[to] += 1
    await new Promise((resolve) => link[to].write(chunk, resolve))
  }
}

async function happen({ does }: Fault, link: Link): Promise<void> {
  if (typeof does === 'object') await sleep(does.delayMs)
  else cut(link, does)
}

function cut(link: Link, how: Cut): void {
  if (how === 'silence') {
    link.silent = true
    return
  }
  for (const socket of [link.client, link.server]) {
    if (how === 'reset') socket.resetAndDestroy()
    else socket.destroy()
  }
}
