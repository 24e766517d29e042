/** The client's end of a connection, against servers that do what no server of souk does. */

import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { CallRefused, ConnectionLost, connect, ForeignServer } from '../../src/client/connection.ts'

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
    const connection = await connect({ role: 'buyer', host: '127.0.0.1', port, timeoutMs })
    return connection.call('ping', {}).finally(() => connection.close())
  }

  /** Lines that are replies, but to no call that was made, or with results that are not in the contract. */
  const result = (id: unknown, result: unknown) => `${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`
  const answered = result(1, { ok: true, version: '1' })
  const foreign: { about: string; bytes: string }[] = [
    { about: 'a line of another protocol', bytes: 'SSH-2.0-OpenSSH_9.2\r\n' },
    { about: 'the beginning of a line of another protocol', bytes: 'J\0\0\0' },
    { about: 'a TLS alert', bytes: '\u0015\u0003\u0001' },
    { about: 'a number', bytes: '5\n' },
    { about: 'an array', bytes: `[${answered.trimEnd()}]\n` },
    { about: 'a reply without a result', bytes: '{"jsonrpc":"2.0","id":1}\n' },
    {
      about: 'a reply with a result and an error',
      bytes:
        '{"jsonrpc":"2.0","id":1,"result":{"ok":true},"error":{"code":1,"message":"no","data":{"code":"internal"}}}\n',
    },
    { about: 'an error without a code', bytes: '{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}\n' },
    { about: 'a reply to another call', bytes: result(2, { ok: true, version: '1' }) },
    { about: 'a reply whose id is a text', bytes: result('1', { ok: true, version: '1' }) },
    { about: 'a result without an id', bytes: result(null, { ok: true, version: '1' }) },
    { about: 'a result without a field', bytes: result(1, { ok: true }) },
    { about: 'a result with a field of another type', bytes: result(1, { ok: true, version: 1 }) },
  ]
  for (const { about, bytes } of foreign) {
    it(`rejects its calls at once when it gets ${about}`, async () => {
      const port = await serveBytes(bytes)
      const message = `127.0.0.1:${port} does not speak souk's protocol`
      await assert.rejects(call(port, 60_000), (error) => {
        assert.ok(error instanceof ForeignServer)
        assert.deepEqual([error.message, error.outcome], [message, 'unknown'])
        return true
      })
    })
  }

  it('rejects the calls after one whose reply came twice', async () => {
    const port = await serveBytes(answered + answered)
    const connection = await connect<'buyer'>({ host: '127.0.0.1', port })
    assert.deepEqual(await connection.call('ping', {}), { ok: true, version: '1' })
    await assert.rejects(
      connection.call('ping', {}),
      (error) => error instanceof ForeignServer && error.outcome === 'none',
    )
  })

  it('takes results with fields that a newer server may send, and with values that its contract does not have', async () => {
    const newer = { ok: false, version: '2', motto: 'fair' }
    assert.deepEqual(await call(await serveBytes(result(1, newer))), newer)
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
