/**
 * The server's end of its connections: one record per socket, and functions in
 * the order a byte travels: accept, read, take, reply, flush, end. It knows
 * nothing of what requests mean; whoever answers them is given.
 *
 * One policy: a client that asks faster than it is answered, or takes its
 * replies slower than it asks, is not read until that changes. What is on its
 * way stays in the kernel's buffers, then in the client's: nothing is lost and
 * nothing here grows. What a client may not do ends in an error line and a
 * closed connection.
 */

import { createServer, type Server, type Socket } from 'node:net'
import { LineDecoder } from '../contract/lines.ts'
import {
  decodeRequest,
  type EncodedLine,
  encodeNotification,
  encodeRefusal,
  type Malformed,
  type Request,
  type RequestId,
} from '../contract/protocol.ts'
import type { Refusal } from '../contract/refusals.ts'
import type { Work } from './dispatch.ts'
import type { Limits } from './limits.ts'

export interface ListenerOptions {
  host: string
  /** 0: any that is free. */
  port: number
  limits: Readonly<Limits>
  answer(request: Request): Work
  log(problem: unknown): void
}

export interface Listener {
  port: number
  /** Requests in flight and connections open. */
  remaining(): { requests: number; connections: number }
  /** Stops accepting, answers what is in flight, tells the clients, and resolves when all are gone, after `graceMs` at the latest. */
  drain(graceMs: number): Promise<void>
}

interface Client {
  readonly socket: Socket
  readonly decoder: LineDecoder
  /** Weight of what is being answered. */
  inFlight: number
  /** Replies of this turn of the loop, not yet given to the socket. */
  output: string
  /** Nothing more is read: the client has sent its FIN, or a line beyond the limit. */
  finished: boolean
  /** We have sent ours, or will when the last reply is out; what still comes in is thrown away. */
  closing: boolean
  paused: boolean
  lastReadMs: number
  /** When the line begun was begun. */
  lineBegunMs: number
  /** The kernel has not taken all that the socket was given; its timeout is running. */
  stuck: boolean
}

const SWEEP_MS = 1_000
const FAREWELL = encodeNotification('shutting_down')
const TOO_LONG: Refusal = { code: 'invalid_request', message: 'the line is too long' }
const TOO_MANY: Refusal = { code: 'overloaded', message: 'too many connections', details: { retry_after_ms: 1_000 } }
const SHUTTING_DOWN: Refusal = { code: 'shutting_down', message: 'this server is shutting down' }

/** Rejects if it can't listen there. */
export function listen({ host, port, limits, answer, log }: ListenerOptions): Promise<Listener> {
  const clients = new Set<Client>()
  let unflushed: Client[] = []
  let draining = false
  let requests = 0

  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept)
  const sweep = setInterval(() => {
    const nowMs = performance.now()
    for (const client of clients) lookAfter(client, nowMs)
  }, SWEEP_MS).unref()

  function accept(socket: Socket): void {
    if (clients.size >= limits.connections) {
      socket.on('error', () => {})
      socket.end(encodeRefusal(null, TOO_MANY), () => socket.destroy())
      return
    }
    const client: Client = {
      socket,
      decoder: new LineDecoder(limits.lineBytes),
      ...{ inFlight: 0, output: '', finished: false, closing: false, paused: false, stuck: false },
      ...{ lastReadMs: performance.now(), lineBegunMs: 0 },
    }
    clients.add(client)
    socket.on('data', (chunk: Buffer) => read(client, chunk))
    socket.on('end', () => readEnd(client))
    socket.on('drain', () => take(client))
    socket.on('timeout', () => socket.destroy())
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      client.closing = client.finished = true // what it asked for and was not begun never will be
      clients.delete(client)
    })
  }

  function read(client: Client, chunk: Buffer): void {
    if (client.finished) return
    client.lastReadMs = performance.now()
    if (!client.decoder.unfinished) client.lineBegunMs = client.lastReadMs
    client.decoder.push(chunk)
    take(client)
  }

  /** Takes requests as long as there are any and there is room for their replies; only then reads on. */
  function take(client: Client): void {
    while (!client.closing && hasRoom(client)) {
      const line = client.decoder.next()
      if (line === undefined) {
        if (client.decoder.overlong) refuseRest(client)
        if (client.finished) takeLast(client)
        break
      }
      client.lineBegunMs = client.lastReadMs
      begin(client, line)
    }
    pauseOrResume(client)
  }

  function hasRoom({ inFlight, socket }: Client): boolean {
    return inFlight < limits.inFlight && socket.writableLength < limits.unsentBytes
  }

  function begin(client: Client, line: Buffer): void {
    const request = decodeRequest(line)
    const { weight, reply } = workFor(request)
    if (!(reply instanceof Promise)) {
      if (request.id !== undefined) append(client, reply)
      return
    }
    client.inFlight += weight
    requests += 1
    reply.then((line) => {
      client.inFlight -= weight
      requests -= 1
      if (request.id !== undefined) append(client, line)
      if (client.paused || client.finished) take(client)
      if (draining && client.inFlight === 0) bidFarewell(client)
    })
  }

  function workFor(request: Request | Malformed): Work {
    if ('refusal' in request) return refusing(request.id, request.refusal)
    if (draining) return refusing(request.id ?? null, SHUTTING_DOWN)
    return answer(request)
  }

  function refuseRest(client: Client): void {
    if (!client.finished) append(client, encodeRefusal(null, TOO_LONG))
    client.finished = true
  }

  /** The last line may lack its line end. After it we only finish what is in flight. */
  function takeLast(client: Client): void {
    const line = client.decoder.rest()
    if (line.length > 0) begin(client, line)
    if (client.inFlight === 0) close(client)
  }

  /** What was asked before the line that never ends is still answered. */
  function dropLine(client: Client): void {
    client.decoder.rest()
    client.finished = true
    take(client)
  }

  function readEnd(client: Client): void {
    client.finished = true
    take(client)
  }

  /** Behind `take` only: what has been read already must be taken before more is, for nothing else may remind us of it. */
  function pauseOrResume(client: Client): void {
    const pause = !client.closing && !hasRoom(client)
    if (pause === client.paused) return
    client.paused = pause
    if (pause) {
      client.socket.pause()
    } else {
      client.lastReadMs = client.lineBegunMs = performance.now()
      client.socket.resume()
    }
  }

  /** Replies only ever append; all of a turn leave together. A long one leaves by itself. */
  function append(client: Client, line: EncodedLine): void {
    if (typeof line === 'string') {
      if (client.output === '' && unflushed.push(client) === 1) process.nextTick(flush)
      client.output += line
    } else if (client.socket.writable) {
      client.socket.write(line)
    }
  }

  function flush(): void {
    const flushing = unflushed
    unflushed = []
    for (const client of flushing) {
      if (client.socket.writable) client.socket.write(client.output)
      client.output = ''
      if (client.closing) client.socket.end()
    }
  }

  /** The one way to end a connection from here: what is written still goes out, what comes in is thrown away. */
  function close(client: Client): void {
    client.closing = client.finished = true
    client.lastReadMs = performance.now()
    if (client.output === '') client.socket.end()
    client.socket.resume()
  }

  function bidFarewell(client: Client): void {
    if (client.closing) return
    append(client, FAREWELL)
    close(client)
  }

  function lookAfter(client: Client, nowMs: number): void {
    const { socket, decoder, closing, paused } = client
    const stuck = socket.writableLength > 0
    if (stuck !== client.stuck) {
      client.stuck = stuck
      socket.setTimeout(stuck ? limits.stuckMs : 0)
    }
    const unreadMs = nowMs - client.lastReadMs
    if (closing && unreadMs > (stuck ? limits.stuckMs : SWEEP_MS)) socket.destroy()
    if (closing || paused) return
    if (decoder.unfinished && nowMs - client.lineBegunMs > limits.unfinishedLineMs) dropLine(client)
    else if (client.inFlight === 0 && unreadMs > limits.idleMs) close(client)
  }

  async function drain(graceMs: number): Promise<void> {
    draining = true
    const closed = new Promise((resolve) => server.close(resolve))
    for (const client of clients) if (client.inFlight === 0) bidFarewell(client)
    const overdue = setTimeout(() => {
      for (const { socket } of clients) socket.destroy()
    }, graceMs)
    await closed
    clearTimeout(overdue)
    clearInterval(sweep)
  }

  return started(server, host, port).then((actualPort) => {
    server.on('error', log) // a connection that could not be accepted; unheard, it would end the process
    return { port: actualPort, remaining: () => ({ requests, connections: clients.size }), drain }
  })
}

function refusing(id: RequestId, refusal: Refusal): Work {
  return { weight: 1, reply: encodeRefusal(id, refusal) }
}

function started(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 4_096 }, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}
