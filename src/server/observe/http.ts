/**
 * The HTTP port of a server, for probes and Prometheus: GET only, no state, and one
 * answer for each connection. It answers from what the server knows; what costs
 * something is shared by all who ask within a second, so that no client can load
 * the server or its databases.
 */

import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Registry } from 'prom-client'
import type { Health } from '../market/health.ts'

export interface ObservingOptions {
  host: string
  /** 0: any free port. */
  port: number
  metrics: Registry
  askDatabases(): Promise<Health>
  log(problem: unknown): void
}

export interface ObservingPort {
  port: number
  /** From now on, the server is not ready. */
  stopping(): void
}

interface Answer {
  status: number
  text: string
  type?: string
}

const LONGEST_MS = 5_000
const LARGEST_HEADER_BYTES = 8_192
const MOST_CONNECTIONS = 100
const FRESH_MS = 1_000
/** How long a client may go on sending after it was refused: a connection that is closed at once takes the answer along. */
const LINGER_MS = 500
const PLAIN = 'text/plain; charset=utf-8'

/** Rejects if it can't listen there. */
export function observeOverHttp({ host, port, metrics, askDatabases, log }: ObservingOptions): Promise<ObservingPort> {
  let isStopping = false
  let page: Promise<string> | undefined

  const pages: Readonly<Record<string, () => Promise<Answer> | Answer>> = {
    '/livez': () => ({ status: 200, text: 'alive\n' }),
    '/readyz': async () => {
      if (isStopping) return notReady('the server is stopping')
      const silent = Object.entries(await askDatabases()).filter(([, answers]) => !answers)
      if (silent.length === 0) return { status: 200, text: 'ready\n' }
      return notReady(silent.map(([name]) => `the ${name} database does not answer`).join(', '))
    },
    '/metrics': async () => ({ status: 200, text: await readMetrics(), type: metrics.contentType }),
  }

  function readMetrics(): Promise<string> {
    page ??= metrics.metrics().finally(() => {
      setTimeout(() => {
        page = undefined
      }, FRESH_MS).unref()
    })
    return page
  }

  async function answer({ method, url = '' }: IncomingMessage): Promise<Answer> {
    const path = url.split('?')[0] as string
    if (!Object.hasOwn(pages, path)) return { status: 404, text: `there are ${Object.keys(pages).join(', ')}\n` }
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'GET only\n' }
    return (pages[path] as () => Promise<Answer>)()
  }

  function fault(error: unknown): Answer {
    log(error)
    return { status: 500, text: 'internal error; it was logged\n' }
  }

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, text, type = PLAIN } = await answer(request).catch(fault)
    const allow = status === 405 ? { allow: 'GET, HEAD' } : {}
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' }
    response.writeHead(status, { ...headers, ...allow, connection: 'close' })
    response.end(request.method === 'HEAD' ? undefined : text)
  }

  const limits = { maxHeaderSize: LARGEST_HEADER_BYTES, headersTimeout: LONGEST_MS, requestTimeout: LONGEST_MS }
  const server = createServer({ ...limits, connectionsCheckingInterval: FRESH_MS }, respond)
  server.maxConnections = MOST_CONNECTIONS
  server.timeout = LONGEST_MS
  server.on('clientError', turnAway)
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      server.on('error', log) // a connection could not be accepted
      resolve({
        port: (server.address() as AddressInfo).port,
        stopping() {
          isStopping = true
        },
      })
    })
  })
}

/** Answers what is no request, once, and takes what else comes. */
function turnAway(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) return
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`)
  setTimeout(() => socket.destroy(), LINGER_MS)
}

function notReady(reason: string): Answer {
  return { status: 503, text: `not ready: ${reason}\n` }
}
