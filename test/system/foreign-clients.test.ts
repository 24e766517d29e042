/**
 * Clients that souk did not write: three JSON-RPC libraries, Python, and `nc`.
 * Each asks for many things at once, over one connection where it can, and must
 * match every reply to its request.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import jayson from 'jayson/promise/index.js'
import { JSONRPCClient } from 'json-rpc-2.0'
import {
  AbstractMessageReader,
  AbstractMessageWriter,
  createMessageConnection,
  type DataCallback,
  type Message,
  type MessageReader,
  type MessageWriter,
} from 'vscode-jsonrpc/node'
import { Caller, encodeRequest, type OpenAccount, openAccount } from '../support/clients.ts'
import { openShop, type Shop } from '../support/shop.ts'

const run = promisify(execFile)
const NAMES = Array.from({ length: 30 }, (_, number) => `Lens ${number} € 😀`)

let shop: Shop
let bob: OpenAccount
let itemIds: number[]

before(async () => {
  shop = await openShop()
  itemIds = await shop.register(await shop.newSeller(), ...NAMES.map((name) => ({ name })))
  bob = await openAccount(await Caller.connect(shop.buyers))
})
after(() => shop?.close())

/** A call of a foreign client: resolves to the result, or rejects with the reply's `error`. */
type Call = (method: string, params: object) => PromiseLike<unknown>

/** Asks for a login, which is slow, for every item, and for one that does not exist; then buys one. */
async function goShopping(call: Call): Promise<void> {
  const { username, password, session } = bob
  const ended: string[] = []
  const login = call('login', { username, password }).then(() => ended.push('login'))
  const items = Promise.all(itemIds.map((item_id) => call('get_item', { session, item_id })))
  const refused = call('get_item', { session, item_id: 999_999 }).then(
    () => assert.fail(),
    ({ code, data }) => ({
      code,
      data,
    }),
  )
  const names = (await items).map((item) => (item as { name: string }).name)
  ended.push('items')
  assert.deepEqual(names, NAMES)
  assert.deepEqual(await refused, { code: -32002, data: { code: 'not_found' } })
  await login
  assert.deepEqual(ended, ['items', 'login'])
  await call('add_item_to_cart', { session, item_id: itemIds[0], quantity: 1 })
  const purchase = (await call('make_purchase', { session })) as { total_cents: number }
  assert.equal(purchase.total_cents, 1_999)
}

function connect(): Promise<Socket> {
  const socket = createConnection(shop.buyers.port, '127.0.0.1')
  return once(socket, 'connect').then(() => socket)
}

function onLine(socket: Socket, take: (value: unknown) => void): void {
  let begun = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (begun + text).split('\n')
    begun = lines.pop() as string
    for (const line of lines) take(JSON.parse(line))
  })
}

class LineReader extends AbstractMessageReader implements MessageReader {
  readonly #socket: Socket
  constructor(socket: Socket) {
    super()
    this.#socket = socket
  }
  listen(callback: DataCallback) {
    onLine(this.#socket, (value) => callback(value as Message))
    return { dispose: () => {} }
  }
}

class LineWriter extends AbstractMessageWriter implements MessageWriter {
  readonly #socket: Socket
  constructor(socket: Socket) {
    super()
    this.#socket = socket
  }
  async write(message: Message): Promise<void> {
    this.#socket.write(`${JSON.stringify(message)}\n`)
  }
  end(): void {}
}

describe('jayson', () => {
  it('goes shopping over TCP, with a connection for each call', async () => {
    const client = jayson.Client.tcp({ port: shop.buyers.port, host: '127.0.0.1' })
    await goShopping(async (method, params) => {
      const { result, error } = await client.request(method, params)
      if (error !== undefined) throw error
      return result
    })
  })

  it('sends an array of requests, and finds every reply in the array that comes back', async () => {
    const client = jayson.Client.tcp({ port: shop.buyers.port, host: '127.0.0.1' })
    const requests = itemIds.map((item_id) => {
      return client.request('get_item', { session: bob.session, item_id }, undefined, false)
    })
    const replies: { id: string; result: { name: string } }[] = await client.request(requests as never)
    assert.deepEqual(
      replies.map(({ id, result }) => [id, result.name]),
      requests.map(({ id }, index) => [id, NAMES[index]]),
    )
  })
})

describe('json-rpc-2.0', () => {
  it('goes shopping over one connection, with a line for each message', async () => {
    const socket = await connect()
    const client = new JSONRPCClient((request) => void socket.write(`${JSON.stringify(request)}\n`))
    onLine(socket, (reply) => client.receive(reply as never))
    await goShopping((method, params) => client.request(method, params))
    socket.end()
  })
})

describe('vscode-jsonrpc', () => {
  it('goes shopping over one connection, with a line for each message', async () => {
    const socket = await connect()
    const connection = createMessageConnection(new LineReader(socket), new LineWriter(socket))
    connection.listen()
    await goShopping((method, params) => connection.sendRequest(method, params))
    connection.dispose()
    socket.end()
  })

  it('hears that a server is shutting down', async () => {
    const server = await shop.marketplace.serve('buyer')
    const socket = createConnection(server.port, '127.0.0.1')
    const connection = createMessageConnection(new LineReader(socket), new LineWriter(socket))
    connection.listen()
    await connection.sendRequest('ping', {})
    const heard = new Promise<void>((resolve) => connection.onNotification('shutting_down', resolve))
    const ended = once(socket, 'end')
    assert.equal(await server.program.end('SIGTERM'), 0)
    await Promise.all([heard, ended])
    connection.dispose()
  })
})

const PYTHON = `
import json, socket, sys
port, session, *ids = sys.argv[1:]
with socket.create_connection(("127.0.0.1", int(port))) as connection, connection.makefile("rw", encoding="utf-8", newline="\\n") as lines:
    for item_id in ids:
        params = {"session": session, "item_id": int(item_id)}
        request = {"jsonrpc": "2.0", "id": item_id, "method": "get_item", "params": params}
        lines.write(json.dumps(request) + "\\n")
    lines.flush()
    replies = {}
    for _ in ids:
        reply = json.loads(lines.readline())
        replies[reply["id"]] = reply
    print(json.dumps([replies[item_id].get("result", {}).get("name") or replies[item_id]["error"]["data"]["code"] for item_id in ids]))
`

describe('Python’s standard library', () => {
  it('asks for all items at once and matches the replies', async () => {
    const ids = [...itemIds, 999_999].map(String)
    const { stdout } = await run('python3', ['-c', PYTHON, String(shop.buyers.port), bob.session, ...ids])
    assert.deepEqual(JSON.parse(stdout), [...NAMES, 'not_found'])
  })
})

describe('nc', () => {
  it('sends all requests, half-closes, and prints all replies', async () => {
    const requests = itemIds.map((item_id) => {
      return encodeRequest({ id: item_id, method: 'get_item', params: { session: bob.session, item_id } })
    })
    const command = `printf '%s' "$1" | nc -N 127.0.0.1 "$2"`
    const text = requests.join('').trimEnd() // the last line may lack its end
    const { stdout } = await run('bash', ['-c', command, 'bash', text, String(shop.buyers.port)])
    const names = new Map(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
        .map(({ id, result }) => [id, result.name]),
    )
    assert.deepEqual(
      itemIds.map((item_id) => names.get(item_id)),
      NAMES,
    )
  })
})
