/** The client's end of a connection, against servers that do what no server of souk does. */

import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { CallRefused, ConnectionLost, connect } from '../../src/client/connection.ts'

describe('a connection', () => {
  let server: Server | undefined
  afterEach(() => server?.close())

  /** A server that answers everything with the same bytes; with `allowHalfOpen` it never ends its side. Resolves to its port. */
  async function serveBytes(bytes: string, allowHalfOpen = false): Promise<number> {
    const listening = createServer({ allowHalfOpen }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write(bytes))
    })
    server = listening
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
    return (listening.address() as { port: number }).port
  }

  const call = async (port: number, timeoutMs = 5_000) => {
    const connection = await connect<'buyer'>({ host: '127.0.0.1', port, timeoutMs })
    return connection.call('ping', {}).finally(() => connection.close())
  }

  it('rejects its calls when the server sends something that is no reply', async () => {
    for (const junk of ['not json\n', '{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}\n', 'null\n']) {
      await assert.rejects(call(await serveBytes(junk)), ConnectionLost, junk)
      server?.close()
    }
  })

  it('rejects its calls with the refusal of a server that refuses the connection', async () => {
    const error = { code: -32011, message: 'too many connections', data: { code: 'overloaded' } }
    const line = `${JSON.stringify({ jsonrpc: '2.0', id: null, error })}\n`
    await assert.rejects(call(await serveBytes(line)), new CallRefused('too many connections', { code: 'overloaded' }))
  })

  it('rejects its calls with an unknown outcome when no reply comes in time', async () => {
    await assert.rejects(call(await serveBytes('\n'), 100), { message: /no reply in time/, outcome: 'unknown' })
  })

  it('takes no calls once it is closing, and closes even if the server never does', async () => {
    const connection = await connect<'buyer'>({ host: '127.0.0.1', port: await serveBytes('', true), timeoutMs: 100 })
    const closing = connection.close()
    await assert.rejects(connection.call('ping', {}), { message: /closed/, outcome: 'none' })
    await closing
  })

  it('names the address where no server listens', async () => {
    const port = await serveBytes('')
    await new Promise((resolve) => server?.close(resolve))
    const message = `no connection to 127.0.0.1:${port}: ECONNREFUSED`
    await assert.rejects(call(port), new ConnectionLost(message, 'none'))
  })
})
