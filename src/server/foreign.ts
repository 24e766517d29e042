/**
 * Clients of other protocols: how the first line of one is recognised, and what
 * it is answered before its connection is closed. A web page can make a browser
 * send lines to this port: nothing after the line of an HTTP request is carried
 * out, not even if it is a request of ours.
 */

import { encodeRefusal } from '../contract/protocol.ts'

/** The first byte that a TLS client sends, and that no JSON text has. A line end may never follow. */
export const TLS_RECORD = 0x16

const HTTP_REQUEST = /^[\w!#$%&'*+.^`|~-]+ .* HTTP\/\d/
const EXPLANATION = 'This is no web server: it speaks JSON-RPC 2.0 over TCP, one JSON text on each line.\n'
const HTTP_HEAD = [
  'HTTP/1.1 400 Bad Request',
  'Content-Type: text/plain; charset=utf-8',
  `Content-Length: ${EXPLANATION.length}`,
  'Connection: close',
  '\r\n',
].join('\r\n')
const TLS_ANSWER = encodeRefusal(null, { code: 'parse_error', message: 'this server does not speak TLS' })
const PLAIN_ANSWER = encodeRefusal(null, { code: 'parse_error', message: 'this server speaks TLS only (souk: --tls)' })

/** The answer to a line that is no JSON, if it is of another protocol. */
export function answerForeign(line: Buffer): string | undefined {
  if (line[0] === TLS_RECORD) return TLS_ANSWER
  const text = line.toString('latin1')
  if (!HTTP_REQUEST.test(text)) return undefined
  return text.startsWith('HEAD ') ? HTTP_HEAD : HTTP_HEAD + EXPLANATION
}

/** The answer to the first bytes of a client that does not begin TLS, on a server that has a certificate. */
export function answerPlain(first: Buffer): string {
  return answerForeign(first) ?? PLAIN_ANSWER
}
