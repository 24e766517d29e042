/**
 * Faults that clients make: F7, odd segments; F8, slow readers; F9, slowloris;
 * F10, overload; F16, poison rows; F17, idle connections.
 */

import { createConnection, type Socket } from 'node:net'
import { below, type Random, seeded } from '../../../src/loadgen/random.ts'
import { anItem, encodeRequest, Wire } from '../../support/clients.ts'
import { overload } from '../../system/overload.ts'
import { attackBySlowReaders } from '../../system/slow-readers.ts'
import { attackBySlowloris } from '../../system/slowloris.ts'
import type { Client } from '../client.ts'
import { drawSteps, type Fault, fromTrial, LIGHT_LOAD } from '../fault.ts'
import { closedLoop, type Loop, newClient } from '../probes.ts'
import type { Stage } from '../stage.ts'

const SEGMENT_REQUESTS = 2_000
const PROBE_CLIENTS = 8
const MOST_IDLE_KIB = 25
const IDLE = 'idle connections'

/** The replies to a fixed list of requests, which change nothing and are sent in many ways. */
export const F7: Fault = {
  about: 'clients write single bytes, split characters, 2,000 requests in one segment, half-close',
  seconds: 15,
  load: LIGHT_LOAD,
  plan(random, seconds) {
    const ways = ['1-byte writes', 'split characters', 'one segment', 'half-close']
    const first = below(ways.length, random)
    const draw = (number: number) => ({
      calmMs: 0,
      way: ways[(first + number) % ways.length] as string,
      seed: below(2 ** 32, random),
    })
    return drawSteps(seconds, draw, () => 1_500)
  },
  async run(stage, steps) {
    const buyer = await newClient(stage, 'buyer')
    const port = stage.ports('buyer')[0] as number
    const differing: string[] = []
    for (const { way, seed } of steps) {
      stage.signal.throwIfAborted()
      const count = way === 'one segment' ? SEGMENT_REQUESTS : 40
      const requests = Array.from({ length: count }, (_, id) => requestOf(id, buyer.identity.session))
      const plain = await askOneByOne(port, requests)
      const odd = await askOddly(
        port,
        Buffer.from(requests.join('')),
        requests.length,
        String(way),
        seeded(Number(seed)),
      )
      if (plain.join('\n') !== odd.join('\n')) differing.push(String(way))
      stage.count(`rounds of ${way}`)
    }
    buyer.close()
    return [
      {
        what: 'replies as in a plain run, byte by byte',
        figure: differing.join(', ') || `${steps.length} of ${steps.length}`,
        holds: differing.length === 0,
      },
    ]
  },
}

function requestOf(id: number, session: string): string {
  switch (id % 4) {
    case 0:
      return encodeRequest({ id, method: 'ping', params: {} })
    case 1:
      return encodeRequest({ id, method: 'display_cart', params: { session } })
    case 2:
      return encodeRequest({ id, method: 'get_item', params: { session, item_id: 999_999_999 } })
    default:
      return encodeRequest({ id: `各 ${id} 👩‍👩‍👧`, method: 'no_such_method_é', params: {} })
  }
}

/** The replies, sorted: to requests that are sent together they come in any order. */
async function askOneByOne(port: number, requests: readonly string[]): Promise<(string | undefined)[]> {
  const wire = await Wire.connect({ port })
  const replies: (string | undefined)[] = []
  for (const request of requests) {
    wire.send(request)
    replies.push(await wire.line())
  }
  wire.destroy()
  return replies.sort()
}

async function askOddly(
  port: number,
  bytes: Buffer,
  count: number,
  way: string,
  random: Random,
): Promise<(string | undefined)[]> {
  const wire = await Wire.connect({ port })
  const pieceBytes = () => ({ '1-byte writes': 1, 'split characters': 1 + below(7, random) })[way] ?? bytes.length
  for (let at = 0; at < bytes.length; ) {
    const end = at + pieceBytes()
    await new Promise((resolve) => wire.socket.write(bytes.subarray(at, end), resolve))
    at = end
  }
  if (way === 'half-close') wire.end()
  const replies: (string | undefined)[] = []
  while (replies.length < count) replies.push(await wire.line())
  wire.destroy()
  return replies.sort()
}

export const F8 = fromTrial(
  'slow readers ask for long listings and never read',
  40,
  { count: 2_000, called: 'slow readers' },
  attackBySlowReaders,
)

export const F9 = fromTrial(
  'slowloris: connections that send a byte now and then',
  40,
  { count: 5_000, called: 'slow connections' },
  attackBySlowloris,
)

export const F10 = fromTrial(
  'overload at 5 times the peak, then half of it',
  40,
  { count: 100, called: 'connections of an open loop' },
  async ({ seed, seconds, clients }) => {
    const { verdict, figures } = await overload({ seed, seconds: Math.ceil(seconds / 2), connections: clients })
    const { peak, overloads } = figures
    const shown = overloads.map(({ during, after }) => ({
      peak,
      answeredPerS: during.answered,
      answeredAfterPerS: after.answered,
    }))
    return { problems: verdict === 'holds' ? [] : verdict, figures: shown[0] ?? {} }
  },
)

export const F16: Fault = {
  about: 'a bad request among 255 good ones in a batch',
  seconds: 25,
  load: LIGHT_LOAD,
  plan(random, seconds) {
    const draw = (number: number) => ({ calmMs: 20, poison: number % POISONS.length, place: below(256, random) })
    return drawSteps(seconds, draw, () => 100)
  },
  async run(stage, steps) {
    const buyer = await newClient(stage, 'buyer')
    const seller = await newClient(stage, 'seller')
    const { result } = await seller.call('register_item_for_sale', anItem({ quantity: 1 }))
    const wrong: string[] = []
    const wire = await Wire.connect({ port: stage.ports('buyer')[0] as number })
    for (const step of steps) {
      await stage.pause(step.calmMs)
      const [method, params, code] = POISONS[Number(step.poison)] as Poison
      const session = buyer.identity.session
      const item_id = Number(result?.item_id)
      const lines = Array.from({ length: 256 }, (_, id) => {
        if (id !== step.place) return encodeRequest({ id, method: 'get_item', params: { session, item_id } })
        return encodeRequest({ id, method, params: params(session, item_id) as object })
      })
      wire.send(lines.join(''))
      const replies = await wire.replies(256)
      const good = [...replies].filter(([id, reply]) => id !== step.place && reply.result?.item_id === item_id)
      const bad = replies.get(Number(step.place))?.error?.data.code
      if (good.length !== 255 || bad !== code)
        wrong.push(`${good.length} succeed, and ${method} is ${bad}, not ${code}`)
      stage.count('poisoned batches')
    }
    wire.destroy()
    buyer.close()
    seller.close()
    return [
      {
        what: '255 succeed, and one is refused as it must be',
        figure: wrong[0] ?? `${steps.length} of ${steps.length}`,
        holds: wrong.length === 0,
      },
    ]
  },
}

type Poison = readonly [method: string, params: (session: string, itemId: number) => unknown, code: string]

const POISONS: readonly Poison[] = [
  ['get_item', (session) => ({ session, item_id: 999_999_999 }), 'not_found'],
  ['get_item', (_, item_id) => ({ session: 'nobody', item_id }), 'unauthenticated'],
  ['get_item', (session) => ({ session, item_id: "1' OR '1'='1" }), 'invalid_params'],
  ['get_items', (session) => ({ session }), 'unknown_method'],
  ['add_item_to_cart', (session, item_id) => ({ session, item_id, quantity: 10_000 }), 'out_of_stock'],
  ['remove_item_from_cart', (session, item_id) => ({ session, item_id, quantity: 1 }), 'not_in_cart'],
  ['make_purchase', (session) => ({ session }), 'cart_empty'],
  ['provide_feedback', (session, item_id) => ({ session, item_id, vote: 'up' }), 'not_purchased'],
  ['get_seller_rating', (session) => ({ session, seller_id: 999_999_999 }), 'not_found'],
  [
    'add_item_to_cart',
    (session, item_id) => ({ session, item_id, quantity: 1, idempotency_key: '' }),
    'invalid_params',
  ],
]

export const F17: Fault = {
  about: 'thousands of idle connections beside active ones',
  seconds: 30,
  load: LIGHT_LOAD,
  plan: (_random, seconds) => [
    { calmMs: 0, connections: Math.min(10_000, 350 * seconds), holdMs: (seconds * 1_000) / 2 },
  ],
  async run(stage, [step]) {
    const connections = Number(step?.connections)
    const probe = await pingers(stage)
    await probe.run(1_000)
    const rssBefore = stage.readRssMib()
    const port = stage.ports('buyer')[0] as number
    const { sockets, closed } = await openSockets(port, connections, (socket) => socket.resume())
    const rssIdle = stage.readRssMib()
    const beside = await probe.run(Number(step?.holdMs))
    const lost = closed()
    for (const socket of sockets) socket.destroy()
    probe.close()
    stage.count(IDLE, connections)
    const kib = ((rssIdle - rssBefore) * 1_024) / connections
    return [
      {
        what: `each idle connection takes ${MOST_IDLE_KIB} KiB at most`,
        figure: `${kib.toFixed(1)} KiB`,
        holds: kib <= MOST_IDLE_KIB,
      },
      { what: 'none is lost', figure: `${lost}, beside ${Math.round(beside.perS)} calls/s`, holds: lost === 0 },
    ]
  },
}

function pingers(stage: Stage): Promise<Loop> {
  return closedLoop(stage, {
    role: 'buyer',
    clients: PROBE_CLIENTS,
    pauseMs: 5,
    prepare: async () => {},
    call: (client: Client) => client.call('whoami'),
  })
}

/** Opens connections, 200 at a time; `closed` says how many have ended. */
async function openSockets(
  port: number,
  count: number,
  onOpen: (socket: Socket) => void,
): Promise<{ sockets: Socket[]; closed(): number }> {
  const sockets: Socket[] = []
  let ended = 0
  for (let at = 0; at < count; at += 200) {
    const opening = Array.from({ length: Math.min(200, count - at) }, () => openSocket(port))
    for (const socket of await Promise.all(opening)) {
      let isOver = false
      const end = () => {
        if (!isOver) ended += 1
        isOver = true
      }
      socket
        .on('error', () => {})
        .once('end', end)
        .once('close', end)
      onOpen(socket)
      sockets.push(socket)
    }
  }
  return { sockets, closed: () => ended }
}

function openSocket(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
    socket.once('error', reject).once('connect', () => resolve(socket))
  })
}
