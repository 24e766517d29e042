/**
 * Attacks on passwords: guesses by every operation that says whether a password
 * is right, over many connections, from other networks, on two servers, across
 * restarts; and floods beside an honest owner. The accounts have cheap hashes, so
 * that a guess takes the time of a call.
 */

import assert from 'node:assert/strict'
import { randomBytes, scryptSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { withConnection } from '../../../src/db/connect.ts'
import { type Reply, Wire } from '../../support/clients.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace, until } from '../../support/marketplace.ts'
import { openSessions } from '../../support/sessions.ts'

/** Fewer than this in an hour. */
const MOST_AN_HOUR = 50
const PASSWORD = 'correct horse'
/** Long, since the machine may be busy. */
const PATIENT = { limitRequestMs: 15_000 }
const HOME = '127.0.0.1'
const ELSEWHERE = '127.0.0.2'

let marketplace: TestMarketplace
let server: RunningServer<'seller'>
let other: RunningServer<'seller'>

before(async () => {
  marketplace = await startTestMarketplace()
  server = await marketplace.serve('seller', PATIENT)
  other = await marketplace.serve('seller', PATIENT)
})
after(() => marketplace?.close())

type Params = Record<string, string>

/** An account with a cheap hash, that knows no network. */
async function addAccount(): Promise<{ id: number; username: string }> {
  const username = `owner-${randomBytes(8).toString('hex')}`
  const salt = randomBytes(16)
  const hash = scryptSync(PASSWORD, salt, 32, { N: 1024, r: 8, p: 1 }).toString('base64url')
  const [row] = await marketplace.sql<{ id: number }>(
    'customer',
    'INSERT INTO seller (username, name, password) VALUES (?, ?, ?) RETURNING id',
    [username, username, `scrypt$10$8$1$${salt.toString('base64url')}$${hash}`],
  )
  return { id: (row as { id: number }).id, username }
}

let made = 0
const wrong = () => `wrong horse ${made++}`

/** Makes all calls, spread over `connections` from a network, and resolves to the replies. */
async function attack(
  { port }: { port: number },
  from: string,
  connections: number,
  calls: readonly (readonly [method: string, params: Params])[],
): Promise<Reply[]> {
  const size = Math.ceil(calls.length / connections)
  const parts = Array.from({ length: connections }, (_, index) => calls.slice(index * size, (index + 1) * size))
  const replies = parts.map(async (part) => {
    const wire = await Wire.connect({ port }, from)
    for (const [id, [method, params]] of part.entries()) wire.request(id, method, params)
    const byId = await wire.replies(part.length)
    wire.destroy()
    return [...byId.values()]
  })
  return (await Promise.all(replies)).flat()
}

const logins = (username: string, count: number): ['login', Params][] =>
  Array.from({ length: count }, () => ['login', { username, password: wrong() }])

const codeOf = ({ error }: Reply) => error?.data.code ?? 'ok'

/** How many replies have a code. */
const count = (replies: readonly Reply[], code: string) => replies.filter((reply) => codeOf(reply) === code).length

async function login(from: string, username: string, password = PASSWORD, at = server): Promise<string> {
  const [reply] = await attack(at, from, 1, [['login', { username, password }]])
  return codeOf(reply as Reply)
}

/** As if so much time had passed since all that was counted. */
const letPass = (seconds: number) =>
  marketplace.sql('customer', 'UPDATE password_guess SET free_at = free_at - LEAST(free_at, ?)', [seconds])

async function openSession(id: number): Promise<string> {
  const [opened] = await withConnection(marketplace.urls.customer, (customer) =>
    openSessions(customer, 'seller', [{ id }]),
  )
  return (opened as { session: string }).session
}

/** How many rows have a charge. */
async function countCharged(): Promise<number> {
  const sql = 'SELECT key_hash FROM password_guess WHERE free_at > UNIX_TIMESTAMP()'
  return (await marketplace.sql('customer', sql)).length
}

/** Uses up all that a network has at an account that does not know it: every try has a connection of its own. */
async function useUp(from: string, username: string): Promise<void> {
  for (let round = 0; round < 4; round += 1) await attack(server, from, 10, logins(username, 10))
}

const forgetAll = () => marketplace.sql('customer', 'DELETE FROM password_guess')

describe('ten thousand guesses', () => {
  before(forgetAll)

  it('at an account, over many connections to two servers that are restarted, are looked at fewer than 50 times an hour', async () => {
    const { username } = await addAccount()
    const replies: Reply[] = []
    for (let round = 0; round < 5; round += 1) {
      const [one, two] = await Promise.all([marketplace.serve('seller', PATIENT), marketplace.serve('seller', PATIENT)])
      const both = [one, two].map((at) => attack(at, ELSEWHERE, 50, logins(username, 1_000)))
      replies.push(...(await Promise.all(both)).flat())
      await Promise.all([one.program.end('SIGKILL'), two.program.end('SIGKILL')])
    }
    assert.equal(replies.length, 10_000)
    const evaluated = count(replies, 'unauthenticated')
    assert.ok(evaluated > 0 && evaluated < MOST_AN_HOUR, `${evaluated} were looked at`)
    const busy = count(replies, 'overloaded')
    assert.equal(count(replies, 'too_many_attempts') + evaluated + busy, replies.length)
    assert.equal(await login(ELSEWHERE, username), 'too_many_attempts', 'a right guess is one of those not looked at')
    let hourly = evaluated
    for (let minute = 0; minute < 60; minute += 3) {
      await letPass(180)
      hourly += count(await attack(server, ELSEWHERE, 3, logins(username, 3)), 'unauthenticated')
    }
    assert.ok(hourly < MOST_AN_HOUR, `${hourly} were looked at in an hour`)
  })
})

describe('guesses', () => {
  before(forgetAll)

  it('by create_account, login and change_password are counted together', async () => {
    const { id, username } = await addAccount()
    assert.equal(await login(ELSEWHERE, username), 'ok') // so that all are charged to the account in this network
    const session = await openSession(id)
    const calls = Array.from({ length: 60 }, (_, index): [string, Params] => {
      if (index % 3 === 0) return ['login', { username, password: wrong() }]
      if (index % 3 === 1) return ['create_account', { username, password: wrong(), name: 'Eve' }]
      return ['change_password', { session, password: wrong(), new_password: wrong() }]
    })
    const replies: Reply[] = []
    for (const call of calls) replies.push(...(await attack(server, ELSEWHERE, 1, [call])))
    const evaluated = replies.filter((reply) => codeOf(reply) !== 'too_many_attempts').map(codeOf)
    assert.deepEqual(new Set(evaluated), new Set(['unauthenticated', 'username_taken', 'wrong_password']))
    // A change of the password looks at two: the new one may be set already.
    const looks = evaluated.length + evaluated.filter((code) => code === 'wrong_password').length
    assert.ok(looks < MOST_AN_HOUR, `${looks} passwords were looked at`)
    for (const [method, params] of [
      ['login', { username, password: PASSWORD }],
      ['create_account', { username, password: PASSWORD, name: 'Eve' }],
      ['change_password', { session, password: PASSWORD, new_password: PASSWORD }],
    ] as const) {
      const [reply] = await attack(server, ELSEWHERE, 1, [[method, params]])
      assert.equal(codeOf(reply as Reply), 'too_many_attempts', method)
    }
  })

  it('at the same time on two servers are no more than one after the other', async () => {
    const { username } = await addAccount()
    const both = [server, other].map((at) => attack(at, '127.0.0.3', 32, logins(username, 32)))
    const evaluated = count((await Promise.all(both)).flat(), 'unauthenticated')
    assert.ok(evaluated > 0 && evaluated <= 28, `${evaluated} were looked at`)
  })

  it('at user names that do not exist are answered like those at one that does', async () => {
    const { username } = await addAccount()
    const answers = async (name: string, from: string) => {
      const replies: string[] = []
      for (let number = 0; number < 12; number += 1) {
        const [reply] = await attack(server, from, 1, [['login', { username: name, password: 'the same one' }]])
        replies.push(JSON.stringify({ ...reply?.error, id: undefined }).replace(/"retry_after_ms":\d+/, ''))
      }
      return replies
    }
    const [known, unknown] = [await answers(username, '127.0.0.4'), await answers('nobody-there', '127.0.0.5')]
    assert.deepEqual(known, unknown)
    assert.ok(known.at(-1)?.includes('too_many_attempts'))
  })

  it('at many invented names are counted by network, and store little', async () => {
    await forgetAll()
    const calls = Array.from({ length: 500 }, (_, index): [string, Params] => [
      'login',
      { username: `invented-${index}`, password: wrong() },
    ])
    const evaluated = count(await attack(server, '127.0.0.6', 25, calls), 'unauthenticated')
    assert.ok(evaluated > 0 && evaluated <= 28, `${evaluated} were looked at`)
    const rows = await marketplace.sql('customer', 'SELECT key_hash FROM password_guess')
    assert.ok(rows.length <= 29, `${rows.length} rows`)
  })

  it('are refused with the time until the next one, and one is looked at then', async () => {
    const { username } = await addAccount()
    const wire = await Wire.connect(server, '127.0.0.7')
    let last: Reply | undefined
    for (let id = 0; id < 9; id += 1) {
      wire.request(id, 'login', { username, password: wrong() })
      last = await wire.reply()
    }
    assert.equal(codeOf(last as Reply), 'too_many_attempts')
    const waitMs = Number(last?.error?.data.retry_after_ms)
    assert.ok(waitMs > 0 && waitMs <= 180_000)
    await letPass(waitMs / 1_000)
    wire.request('later', 'login', { username, password: wrong() })
    assert.equal(codeOf((await wire.reply()) as Reply), 'unauthenticated')
    wire.destroy()
  })

  it('that are right are not charged, by any operation', async () => {
    await forgetAll()
    const { id, username } = await addAccount()
    const session = await openSession(id)
    const credentials = { username, password: PASSWORD }
    for (const call of [
      ['login', credentials],
      ['create_account', { ...credentials, name: 'Ann' }],
      ['change_password', { session, password: PASSWORD, new_password: PASSWORD }],
    ] as const) {
      assert.deepEqual((await attack(server, '127.0.0.8', 1, [call])).map(codeOf), ['ok'], call[0])
    }
    assert.equal(await countCharged(), 0)
  })

  it('are no new names: one network opens many accounts, at the same time', async () => {
    await forgetAll()
    const calls = Array.from({ length: 12 }, (_, index): [string, Params] => [
      'create_account',
      { username: `new-name-${index}`, password: PASSWORD, name: 'New' },
    ])
    assert.equal(count(await attack(server, '127.0.0.8', 3, calls), 'ok'), calls.length)
    assert.equal(await countCharged(), 0)
  })

  it('are forgotten when they count no more', async () => {
    await marketplace.sql('customer', 'UPDATE password_guess SET expires_at = 1')
    await until('a sweep has deleted them', async () => {
      const rows = await marketplace.sql('customer', 'SELECT key_hash FROM password_guess')
      return rows.length === 0
    })
  })
})

describe('the owner of an account', () => {
  before(forgetAll)

  it('logs in from a network of earlier logins, whatever was guessed elsewhere', async () => {
    const { username } = await addAccount()
    assert.equal(await login(HOME, username), 'ok')
    await useUp(ELSEWHERE, username)
    assert.equal(await login('127.0.0.9', username), 'too_many_attempts', 'nothing is left for unknown networks')
    assert.equal(await login(HOME, username), 'ok')
    assert.equal(await login(HOME, username, PASSWORD, other), 'ok', 'on every server of the role')
  })

  it('logs in beside guesses at other accounts in the same network', async () => {
    const [{ username }, victim] = [await addAccount(), await addAccount()]
    assert.equal(await login(HOME, username), 'ok')
    await useUp(HOME, victim.username)
    assert.equal(await login(HOME, victim.username), 'too_many_attempts')
    assert.equal(await login(HOME, username), 'ok')
  })

  it('logs in from the network in which the account was opened', async () => {
    const account = { username: 'opened-here', password: PASSWORD, name: 'Ann' }
    const [reply] = await attack(server, '127.0.0.10', 1, [['create_account', account]])
    assert.equal(codeOf(reply as Reply), 'ok')
    await useUp(ELSEWHERE, account.username)
    assert.equal(await login('127.0.0.10', account.username), 'ok')
  })
})

/** Floods until it is stopped: `each` begins the next tries, several of them, and resolves when they are answered. */
function flood(each: () => Promise<unknown>): { stop(): Promise<void> } {
  let isOver = false
  const running = (async () => {
    while (!isOver) await each()
  })()
  return {
    async stop() {
      isOver = true
      await running
    },
  }
}

describe('beside a flood in the same network honest logins succeed, one and all', () => {
  let username: string
  let wires: Wire[] = []
  before(async () => {
    await forgetAll()
    username = (await addAccount()).username
    assert.equal(await login(HOME, username), 'ok')
  })

  /** Sends twenty calls over connections that stay. */
  async function persist(connections: number, makeCall: () => [string, Params]): Promise<void> {
    while (wires.length < connections) wires.push(await Wire.connect(server, HOME))
    const share = 20 / connections
    await Promise.all(
      wires.map((wire) => {
        for (let id = 0; id < share; id += 1) wire.request(id, ...makeCall())
        return wire.replies(share)
      }),
    )
  }

  /** Sends ten calls, each over a connection of its own. */
  const reconnect = (makeCall: () => [string, Params]) => attack(server, HOME, 10, Array.from({ length: 10 }, makeCall))

  const atOwner = (): [string, Params] => ['login', { username, password: wrong() }]
  const sameAgain = (): [string, Params] => ['login', { username, password: 'always wrong' }]
  const atNobody = (): [string, Params] => ['login', { username: `nobody-${made++}`, password: wrong() }]
  const newName = (): [string, Params] => {
    return ['create_account', { username: `flood-${made++}`, password: PASSWORD, name: 'Flood' }]
  }
  for (const [shape, logins, each] of [
    ['of wrong passwords for the account, over one connection', 20, () => persist(1, atOwner)],
    ['of wrong passwords for the account, over ten connections', 5, () => persist(10, atOwner)],
    ['of one wrong password for the account, each over a new connection', 5, () => reconnect(sameAgain)],
    ['of wrong passwords for invented names, each over a new connection', 3, () => reconnect(atNobody)],
    ['of new accounts, over one connection', 3, () => persist(1, newName)],
    ['of new accounts, each over a new connection', 3, () => reconnect(newName)],
  ] as const) {
    it(shape, async () => {
      await letPass(7 * 86_400)
      const attacker = flood(each)
      try {
        for (let number = 0; number < logins; number += 1) assert.equal(await login(HOME, username), 'ok')
      } finally {
        await attacker.stop()
        for (const wire of wires) wire.destroy()
        wires = []
      }
    })
  }
})
