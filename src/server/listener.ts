/**
 * The server's end of its connections: one record per socket, and functions in
 * the order a byte travels: accept, read, take, reply, flush, close. It knows
 * nothing about what requests mean: `answer` is given.
 *
 * One policy: a client that asks faster than it is answered, or takes its
 * replies more slowly than it asks, is not read until that changes. What it
 * sends meanwhile stays in the kernel's buffers, then in its own: nothing is
 * lost, and nothing here grows. A client that breaks a limit, or speaks another
 * protocol, gets one answer and a closed connection.
 */

import { createServer, type Server, type Socket } from 'node:net'
import { LineDecoder } from '../contract/lines.ts'
import {
  decodeLine,
  type EncodedLine,
  encodeNotification,
  encodeRefusal,
  type Malformed,
  type Request,
  type RequestId,
} from '../contract/protocol.ts'
import type { Refusal } from '../contract/refusals.ts'
import type { Dispatched } from './dispatch.ts'
import { answerForeign, answerPlain, TLS_RECORD } from './foreign.ts'
import { HeldBytes } from './held-bytes.ts'
import { InFlight, type Part } from './in-flight.ts'
import type { Limits } from './limits.ts'
import type { Peer } from './peer.ts'
import { QUANTUM, ReadingTurns } from './reading-turns.ts'
import { RefusedConnections } from './refused-connections.ts'
import { RequestArray } from './request-array.ts'
import { AddressShares } from './shares.ts'
import type { Tls } from './tls.ts'
import { Unsent } from './unsent.ts'

export interface ListenerOptions {
  host: string
  /** 0: any free port. */
  port: number
  limits: Readonly<Limits>
  /** Clients then need TLS. */
  tls?: Tls | undefined
  /** Counts what is held for the clients: here, and where their requests are answered. */
  held?: HeldBytes
  answer(request: Request, peer: Peer): Dispatched
  /** Called with the code of each refusal that is not given by `answer`. */
  onRefusal?: ((code: string) => void) | undefined
  log(problem: unknown): void
}

export interface Listener {
  port: number
  /** Requests in flight and open connections. */
  remaining(): { requests: number; connections: number }
  /**
   * Stops accepting, answers the requests in flight, tells the clients. Resolves
   * when all connections are closed, after `graceMs` at the latest.
   */
  drain(graceMs: number): Promise<void>
}

interface Connection extends Part {
  /** After the handshake, the one that encrypts. */
  socket: Socket
  readonly peer: Peer
  readonly decoder: LineDecoder
  /** Of the socket. */
  unsent: Unsent
  /** Bytes of the lines of the requests in flight. */
  inFlightBytes: number
  /** The array whose requests are begun before the next line. */
  array: RequestArray | undefined
  /** Bytes of replies in arrays that are not answered as a whole. */
  collectedBytes: number
  /** Replies of this loop turn, not yet given to the socket. */
  output: string
  /** No more is read: the client has sent its FIN, or a line that is too long, took too long, or is of another protocol. */
  finished: boolean
  /** The client was told that this server stops. Requests are still taken for a while, and refused. */
  leaving: boolean
  /** That while is over: close when all that was read is answered. */
  overdue: boolean
  /** Our FIN is sent, or will be after the last reply. Input is discarded. */
  closing: boolean
  paused: boolean
  /** TLS is wanted, and has not begun: the socket is nobody's to write to. */
  entering: boolean
  /** When it last asked, or was being answered. */
  lastBusyMs: number
  lastReadMs: number
  /** When the unfinished line began. */
  lineBegunMs: number
  /** Its part of what the server holds. */
  heldBytes: number
}

const SWEEP_MS = 1_000
/** Clients beyond the limit on connections whose handshake is done only to tell them so. */
const MOST_TURNED_DOWN = 100
const TURNING_DOWN_MS = 2_000
/**
 * How long requests are still answered after the farewell: they were sent before it arrived. A FIN at once would leave
 * them without an answer. A client that sends its FIN needs no such time.
 */
const LEAVING_MS = 500
const FAREWELL = encodeNotification('shutting_down')
const TOO_LONG: Refusal = { code: 'invalid_request', message: 'the line is too long' }
const TOO_LARGE: Refusal = { code: 'limit_exceeded', message: 'the replies to this array are too large: send fewer' }
const TOO_MANY: Refusal = { code: 'overloaded', message: 'too many connections', details: { retry_after_ms: 1_000 } }
const TOO_MANY_OF_ADDRESS: Refusal = { ...TOO_MANY, message: 'too many connections from your address' }
const SHUTTING_DOWN: Refusal = { code: 'shutting_down', message: 'this server is shutting down' }

/** Rejects if it can't listen there. */
export function listen(options: ListenerOptions): Promise<Listener> {
  const { host, port, limits, tls, held = new HeldBytes(limits.heldBytes), answer, onRefusal = () => {}, log } = options
  const connections = new Set<Connection>()
  const shares = new AddressShares(limits.addressShare)
  const refused = new RefusedConnections()
  let unflushed: Connection[] = []
  let draining = false
  let requests = 0
  let turnedDown = 0
  const turns = new ReadingTurns(serve)
  const inFlight = new InFlight<Connection>(limits.inFlight, (connection) => connection.paused && take(connection))

  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept)
  const sweep = setInterval(() => {
    const nowMs = performance.now()
    for (const connection of connections) enforceTimeouts(connection, nowMs)
    if (held.isFull) disconnectOldest(nowMs)
    refused.sweep()
  }, SWEEP_MS).unref()

  function accept(socket: Socket): void {
    socket.on('error', () => {}) // 'close' follows
    const address = socket.remoteAddress ?? ''
    const free = limits.connections - connections.size
    if (!shares.admits(address, free)) {
      turnDown(socket, free > 0 ? TOO_MANY_OF_ADDRESS : TOO_MANY)
      return
    }
    const nowMs = performance.now()
    const connection: Connection = {
      socket,
      peer: { address, closed: false, overloaded: () => inFlight.rest(connection) },
      decoder: new LineDecoder(limits.lineBytes),
      unsent: new Unsent(socket, () => take(connection)),
      inFlight: 0,
      inFlightBytes: 0,
      moving: 0,
      recent: 0,
      array: undefined,
      collectedBytes: 0,
      output: '',
      finished: false,
      leaving: false,
      overdue: false,
      closing: false,
      paused: false,
      entering: tls !== undefined,
      lastBusyMs: nowMs,
      lastReadMs: nowMs,
      lineBegunMs: 0,
      heldBytes: 0,
    }
    connections.add(connection)
    shares.take(address)
    socket.on('close', () => {
      connections.delete(connection)
      shares.release(address)
      turns.leave(connection)
      forget(connection)
    })
    if (tls === undefined) greet(connection, socket)
    else
      tls.begin(
        socket,
        (secure) => greet(connection, secure),
        (first) => turnPlainAway(connection, first),
      )
  }

  /** Reads from now on. */
  function greet(connection: Connection, socket: Socket): void {
    connection.socket = socket
    connection.unsent = new Unsent(socket, () => take(connection))
    connection.entering = false
    connection.lastReadMs = connection.lastBusyMs = performance.now()
    socket.on('data', (chunk: Buffer) => read(connection, chunk))
    socket.on('end', () => readEnd(connection))
    socket.on('error', () => socket.destroy()) // Node does that by itself only for plain ones
  }

  function turnPlainAway(connection: Connection, first: Buffer): void {
    connection.entering = false
    if (first.length > 0) append(connection, answerPlain(first))
    close(connection)
  }

  /** Tells a client that there are too many; under TLS only if few wait to be told, since a handshake takes time. */
  function turnDown(socket: Socket, refusal: Refusal): void {
    onRefusal(refusal.code)
    const refuse = (to: Socket) => refused.refuse(to, refusal)
    if (tls === undefined) return void refuse(socket)
    if (turnedDown >= MOST_TURNED_DOWN) return void socket.destroy()
    turnedDown += 1
    socket.on('close', () => {
      turnedDown -= 1
    })
    socket.setTimeout(TURNING_DOWN_MS, () => socket.destroy())
    tls.begin(socket, refuse, () => refuse(socket))
  }

  /** Lets go of what is held for a connection that has ended. Requests in flight go on, and are counted. */
  function forget(connection: Connection): void {
    connection.peer.closed = connection.closing = connection.finished = true // requests not begun yet never will be
    if (connection.array !== undefined) connection.inFlightBytes -= connection.array.requestBytes
    connection.array = undefined
    count(connection)
  }

  function read(connection: Connection, chunk: Buffer): void {
    if (connection.finished) return
    connection.lastReadMs = performance.now()
    if (!connection.decoder.unfinished) connection.lineBegunMs = connection.lastReadMs
    connection.decoder.push(chunk)
    take(connection)
  }

  /** Takes requests when it is the connection's turn. Reads no further while it stands in line with what was read. */
  function take(connection: Connection): void {
    if (turns.awaits(connection)) pauseOrResume(connection, true)
    else turns.serve(connection)
  }

  /** The connection's turn. Reads on only if there is room for more. Returns whether it needs another turn. */
  function serve(connection: Connection): boolean {
    const hasMore = takeSome(connection)
    pauseOrResume(connection, hasMore)
    return hasMore
  }

  /** Takes requests while there is room for their replies, up to `QUANTUM`. Returns whether there may be more. */
  function takeSome(connection: Connection): boolean {
    for (let taken = 0; !connection.closing && hasRoom(connection); taken += 1) {
      if (taken === QUANTUM || (taken > 0 && turns.isOver())) return true
      if (connection.array !== undefined) {
        takeEntry(connection, connection.array)
        continue
      }
      const line = nextLine(connection)
      if (line === undefined) {
        if (connection.decoder.overlong) refuseRest(connection)
        if ((connection.finished || connection.overdue) && connection.inFlight === 0) close(connection)
        return false
      }
      connection.lineBegunMs = connection.lastReadMs
      takeLine(connection, line)
    }
    return false
  }

  /** With nothing in flight, no other reply frees what an array has collected: the rest of the array is refused. */
  function hasRoom(connection: Connection): boolean {
    const { inFlightBytes, unsent, collectedBytes } = connection
    const isIdle = connection.inFlight === 0
    if (!inFlight.hasRoom(connection)) return false
    if (unsent.bytes + (isIdle ? 0 : inFlightBytes) >= limits.unsentBytes) return false
    if (held.isFull && unsent.bytes > 0) return false
    return collectedBytes < limits.unsentBytes || isIdle
  }

  /** The last line may lack its newline, and so may the first of a TLS client. */
  function nextLine({ decoder, finished }: Connection): Buffer | undefined {
    const line = decoder.next()
    if (line !== undefined || !(finished || decoder.firstByte === TLS_RECORD)) return line
    const rest = decoder.rest()
    return rest.length > 0 ? rest : undefined
  }

  function takeLine(connection: Connection, line: Buffer): void {
    const read = decodeLine(line)
    if (Array.isArray(read)) {
      connection.array = new RequestArray(read, line.length)
      connection.inFlightBytes += connection.array.requestBytes
      return
    }
    const foreign = 'refusal' in read && read.refusal.code === 'parse_error' ? answerForeign(line) : undefined
    if (foreign === undefined) begin(connection, read, line.length, append)
    else turnAway(connection, foreign)
  }

  /** Begins the next request of the array. */
  function takeEntry(connection: Connection, array: RequestArray): void {
    const { request, place } = array.next()
    if (array.exhausted) connection.array = undefined
    if (request.id === undefined) collect(connection, array, place)
    const isFull = connection.collectedBytes >= limits.unsentBytes && request.id !== undefined
    begin(connection, isFull ? { id: request.id, refusal: TOO_LARGE } : request, 0, (_, reply) =>
      collect(connection, array, place, reply),
    )
  }

  function collect(connection: Connection, array: RequestArray, place: number, reply?: EncodedLine): void {
    connection.collectedBytes -= array.bytes
    array.settle(place, connection.peer.closed ? undefined : reply)
    if (!array.complete) {
      connection.collectedBytes += array.bytes
      return
    }
    connection.inFlightBytes -= array.requestBytes
    const replies = array.encode(connection.peer, held)
    // Fills the connection, so that what comes behind the array is answered behind it.
    if (replies !== undefined) deliverLater(connection, limits.inFlight, 0, replies, append)
  }

  /** Carries a request out that came in so many bytes. Its reply, if it gets one, is given to `deliver`. */
  function begin(
    connection: Connection,
    request: Request | Malformed,
    bytes: number,
    deliver: (connection: Connection, reply: EncodedLine) => void,
  ): void {
    if (!('refusal' in request)) connection.lastBusyMs = connection.lastReadMs
    const { weight, reply } = answerOrRefuse(request, connection.peer)
    if (!(reply instanceof Promise)) {
      if (request.id !== undefined) deliver(connection, reply)
      return
    }
    deliverLater(connection, weight, bytes, reply, request.id === undefined ? undefined : deliver)
  }

  function deliverLater(
    connection: Connection,
    weight: number,
    bytes: number,
    reply: Promise<EncodedLine>,
    deliver?: (connection: Connection, reply: EncodedLine) => void,
  ): void {
    const end = inFlight.begin(connection, weight)
    connection.inFlightBytes += bytes
    requests += 1
    reply.then((line) => {
      end()
      connection.inFlightBytes -= bytes
      requests -= 1
      deliver?.(connection, line)
      count(connection)
      if (connection.paused || connection.finished) take(connection)
      if (draining && connection.inFlight === 0) bidFarewell(connection)
    })
  }

  function answerOrRefuse(request: Request | Malformed, peer: Peer): Dispatched {
    if ('refusal' in request) return refuse(request.id ?? null, request.refusal)
    if (draining) return refuse(request.id ?? null, SHUTTING_DOWN)
    return answer(request, peer)
  }

  function refuse(id: RequestId, refusal: Refusal): Dispatched {
    onRefusal(refusal.code)
    return { weight: 1, reply: encodeRefusal(id, refusal) }
  }

  function refuseRest(connection: Connection): void {
    if (!connection.finished) append(connection, refuse(null, TOO_LONG).reply as string)
    connection.finished = true
  }

  /** Nothing after the foreign line is carried out. Requests before it are still answered. */
  function turnAway(connection: Connection, answer: string): void {
    append(connection, answer)
    connection.decoder.discard()
    connection.finished = true
  }

  /** Gives up the unfinished line. Requests before it are still answered. */
  function dropLine(connection: Connection): void {
    connection.decoder.rest()
    connection.finished = true
    take(connection)
  }

  function readEnd(connection: Connection): void {
    connection.finished = true
    take(connection)
  }

  /** Call only after taking requests: no later event would take bytes that were already read. */
  function pauseOrResume(connection: Connection, hasMore: boolean): void {
    count(connection)
    const pause = !connection.closing && (hasMore || !hasRoom(connection))
    if (pause === connection.paused) return
    connection.paused = pause
    if (pause) {
      connection.socket.pause()
    } else {
      connection.lastReadMs = connection.lineBegunMs = performance.now()
      connection.socket.resume()
      if (connection.leaving) setTimeout(leave, LEAVING_MS, connection) // for what has waited in the kernel
    }
  }

  /** Appends a reply. All short replies of a turn leave in one write, a long one by itself. */
  function append(connection: Connection, line: EncodedLine): void {
    if (typeof line === 'string') {
      if (connection.output === '' && unflushed.push(connection) === 1) process.nextTick(flush)
      connection.output += line
    } else {
      connection.unsent.write(line)
    }
  }

  function flush(): void {
    const flushing = unflushed
    unflushed = []
    for (const connection of flushing) {
      connection.unsent.write(connection.output)
      connection.output = ''
      if (connection.closing) connection.unsent.end()
      count(connection)
    }
  }

  /** Counts what is held for a connection. Call after any change of that. */
  function count(connection: Connection): void {
    const { peer, decoder, inFlightBytes, collectedBytes, output, unsent } = connection
    const replyBytes = collectedBytes + output.length + unsent.bytes
    const bytes = peer.closed ? inFlightBytes : inFlightBytes + decoder.bytes + replyBytes
    held.bytes += bytes - connection.heldBytes
    connection.heldBytes = bytes
  }

  /** The one way in which this side ends a connection: output still goes out, input is discarded. */
  function close(connection: Connection): void {
    connection.closing = connection.finished = true
    connection.lastReadMs = performance.now()
    if (connection.output === '') connection.unsent.end()
    connection.socket.resume()
  }

  function bidFarewell(connection: Connection): void {
    if (connection.closing || connection.leaving) return
    if (connection.entering) return void connection.socket.destroy()
    while (connection.array !== undefined) takeEntry(connection, connection.array) // is refused, so that the array is answered
    if (connection.inFlight > 0) return // its replies are being encoded
    append(connection, FAREWELL)
    connection.leaving = true
    if (connection.finished) take(connection)
    else setTimeout(leave, LEAVING_MS, connection)
  }

  function leave(connection: Connection): void {
    connection.overdue = !connection.paused
    if (!connection.paused) take(connection)
  }

  function enforceTimeouts(connection: Connection, nowMs: number): void {
    const { socket, decoder, unsent, closing, paused, entering } = connection
    const unreadMs = nowMs - connection.lastReadMs
    if (entering) {
      if (unreadMs > limits.unfinishedLineMs) socket.destroy()
      return
    }
    const isBehind = unsent.bytes > 0
    if (unsent.isStuck(nowMs, limits.stuckMs)) socket.destroy()
    else if (closing && !isBehind && unreadMs > SWEEP_MS) socket.destroy()
    if (isBehind || connection.inFlight > 0) connection.lastBusyMs = nowMs
    if (closing || paused) return
    if (decoder.unfinished && nowMs - connection.lineBegunMs > limits.unfinishedLineMs) dropLine(connection)
    else if (nowMs - connection.lastBusyMs > limits.idleMs) close(connection)
  }

  /** Disconnects those for whom something has been held longest, and for a sweep at least, until much less is held. */
  function disconnectOldest(nowMs: number): void {
    const sinceMs = ({ unsent, decoder, lineBegunMs }: Connection) =>
      unsent.oldestMs ?? (decoder.unfinished ? lineBegunMs : nowMs)
    const ages = Array.from(connections, (connection) => ({ connection, sinceMs: sinceMs(connection) }))
    const oldest = ages.filter(({ sinceMs }) => nowMs - sinceMs > SWEEP_MS).sort((a, b) => a.sinceMs - b.sinceMs)
    for (const { connection } of oldest) {
      if (!held.isHalfFull) return
      if (connection.unsent.bytes === 0) {
        dropLine(connection)
      } else {
        connection.socket.destroy()
        forget(connection)
      }
    }
  }

  async function drain(graceMs: number): Promise<void> {
    draining = true
    const closed = new Promise((resolve) => server.close(resolve))
    refused.destroyAll()
    for (const connection of connections) if (connection.inFlight === 0) bidFarewell(connection)
    const overdue = setTimeout(() => {
      for (const { socket } of connections) socket.destroy()
    }, graceMs)
    await closed
    clearTimeout(overdue)
    clearInterval(sweep)
    inFlight.close()
  }

  return startListening(server, host, port).then((actualPort) => {
    server.on('error', log) // a connection could not be accepted; without a listener the error would end the process
    return { port: actualPort, remaining: () => ({ requests, connections: connections.size }), drain }
  })
}

function startListening(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 4_096 }, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}
