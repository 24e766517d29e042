/**
 * One run: servers of both roles on a real database, connections that send them
 * batches, a bystander who pings all the while, and a judge of every reply.
 * Everything that is sent follows from the seed. The run ends at the first
 * failure, and looks for the shortest line that shows it.
 */

import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { ROLES, type Role } from '../../src/contract/operations.ts'
import { withConnection } from '../../src/db/connect.ts'
import { seeded } from '../../src/loadgen/random.ts'
import { hashPassword } from '../../src/server/market/passwords.ts'
import { hashToken, INSERT_SESSION } from '../../src/server/market/sessions.ts'
import { Wire } from '../support/clients.ts'
import {
  type RunningServer,
  SOURCE_SERVER,
  startTestMarketplace,
  type TestMarketplace,
} from '../support/marketplace.ts'
import { type Batch, drawBatch } from './batches.ts'
import { expect, type Judge, Replies } from './oracle.ts'
import { NEW_PASSWORD, PASSWORD, type World } from './values.ts'
import type { Watched } from './watched-server.ts'

export interface FuzzOptions {
  seed: number
  /** The least number of lines. */
  lines: number
  signal?: AbortSignal
  progress?(lines: number): void
}

export interface Failure {
  what: string
  /** The connection and the number of its batch; nothing if no batch alone shows it. */
  at?: string
  /** The shortest line that shows it when it is sent alone; or all bytes of the batch. */
  bytes?: Buffer
}

export interface Findings {
  lines: number
  batches: number
  seconds: number
  /** How often each operation got each kind of answer. */
  answers: Map<string, number>
  longestStallMs: Record<Role, number>
  /** How long a bystander waited for the answer to a ping, at most. */
  longestPingMs: number
  /** After a tenth of the lines, and at the end. */
  heapBytes: Record<Role, { early: number; late: number }>
  failure: Failure | undefined
}

const CONNECTIONS = 8
/** After these, an account and its sessions are replaced: carts are full, and some sessions have logged out. */
const BATCHES_OF_SESSIONS = 24
const ITEMS_OF_SELLER = 5
const LINE_LIMIT_BYTES = 65_536
const PING_EVERY_MS = 20
const SHRINK_MS = 60_000
/** What caches may hold more at the end of a run than after its first tenth. */
const HEAP_SLACK_BYTES = 48 * 2 ** 20
const SETTINGS = { limitRequestMs: 5_000, limitLineBytes: LINE_LIMIT_BYTES }

const [node = '', ...flags] = SOURCE_SERVER.slice(0, -1)
const WATCHED_SERVER = [node, '--expose-gc', ...flags, fileURLToPath(new URL('./watched-server.ts', import.meta.url))]

export async function fuzz(options: FuzzOptions): Promise<Findings> {
  const marketplace = await startTestMarketplace()
  try {
    const run = new Run(marketplace, options)
    return await run.go()
  } finally {
    await marketplace.close()
  }
}

class Run {
  readonly #marketplace: TestMarketplace
  readonly #options: FuzzOptions
  readonly #servers: Partial<Record<Role, RunningServer>> = {}
  readonly #sessions = { seller: new Map<string, string>(), buyer: new Map<string, string>() }
  readonly #findings: Findings
  /** By connection: batches sent, and what they are made of now. */
  readonly #sent = Array<number>(CONNECTIONS).fill(0)
  readonly #worlds: World[] = []
  readonly #passwordHash = hashPassword(PASSWORD)
  readonly #beganMs = performance.now()
  #isOver = false

  constructor(marketplace: TestMarketplace, options: FuzzOptions) {
    this.#marketplace = marketplace
    this.#options = options
    const heap = () => ({ early: 0, late: 0 })
    this.#findings = {
      lines: 0,
      batches: 0,
      seconds: 0,
      answers: new Map(),
      longestStallMs: { seller: 0, buyer: 0 },
      longestPingMs: 0,
      heapBytes: { seller: heap(), buyer: heap() },
      failure: undefined,
    }
  }

  async go(): Promise<Findings> {
    await Promise.all(ROLES.map((role) => this.#serve(role)))
    await Promise.all(ROLES.map((role) => this.#watch(role))) // what came before is the start
    const bystanders = ROLES.map((role) => this.#pingAlways(role))
    const early = this.#options.lines / 10
    await this.#send(early)
    await this.#look('early')
    await this.#send(this.#options.lines)
    this.#isOver = true
    await Promise.all(bystanders)
    if (this.#findings.failure === undefined) await this.#look('late')
    if (this.#findings.failure === undefined) await this.#judgeTheEnd()
    this.#findings.seconds = (performance.now() - this.#beganMs) / 1_000
    return this.#findings
  }

  async #serve(role: Role): Promise<RunningServer> {
    const server = await this.#marketplace.serve(role, SETTINGS, WATCHED_SERVER)
    this.#servers[role] = server
    return server
  }

  #server(role: Role): RunningServer {
    return this.#servers[role] as RunningServer
  }

  get #isStopped(): boolean {
    return this.#findings.failure !== undefined || this.#options.signal?.aborted === true
  }

  #fail(failure: Failure): void {
    this.#findings.failure ??= failure
  }

  /** Sends batches over all connections until so many lines are sent. */
  async #send(lines: number): Promise<void> {
    await Promise.all(Array.from({ length: CONNECTIONS }, (_, number) => this.#sendOver(number, lines)))
  }

  async #sendOver(connection: number, lines: number): Promise<void> {
    const role = ROLES[connection % 2] as Role
    let wire: Wire | undefined
    while (this.#findings.lines < lines && !this.#isStopped) {
      const number = this.#sent[connection] as number
      if (number % BATCHES_OF_SESSIONS === 0) {
        this.#worlds[connection] = await this.#openWorld(role, connection, number / BATCHES_OF_SESSIONS)
      }
      const world = this.#worlds[connection] as World
      const batch = drawBatch(role, seeded(this.#seedOf(connection, number)), world)
      this.#sent[connection] = number + 1
      try {
        wire ??= await Wire.connect(this.#server(role))
        const { problem, isOver } = await this.#exchange(wire, batch, role, this.#count)
        if (isOver) wire = close(wire)
        if (problem !== undefined)
          await this.#reportBatch(problem, batch, role, `connection ${connection}, batch ${number}`)
      } catch (error) {
        await this.#reportBatch(String(error), batch, role, `connection ${connection}, batch ${number}`)
      }
      this.#findings.lines += batch.lines
      this.#findings.batches += 1
      this.#options.progress?.(this.#findings.lines)
    }
    wire?.destroy()
  }

  #seedOf(connection: number, number: number): number {
    return createHash('sha256').update(`${this.#options.seed} ${connection} ${number}`).digest().readUInt32LE()
  }

  readonly #count = (answer: string): void => {
    const { answers } = this.#findings
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
  }

  /** A new account of each role, and sessions, whose tokens follow from the seed; foreign ones are of the other role, expired or made up. */
  async #openWorld(role: Role, connection: number, epoch: number): Promise<World> {
    const username = `fuzz-${connection}-${epoch}`
    const token = (about: string) =>
      createHash('sha256').update(`${this.#options.seed} ${connection} ${epoch} ${about}`).digest('base64url')
    const own = ['first', 'second'].map(token)
    const other = token('other')
    const expired = token('expired')
    const otherRole = role === 'seller' ? 'buyer' : 'seller'
    await withConnection(this.#marketplace.urls.customer, async (customer) => {
      for (const [of, tokens] of [
        [role, own],
        [otherRole, [other]],
      ] as const) {
        const { insertId } = await customer.query(`INSERT INTO ${of} (username, name, password) VALUES (?, ?, ?)`, [
          username,
          username,
          await this.#passwordHash,
        ])
        for (const one of tokens) await customer.query(INSERT_SESSION, [hashToken(one), of, insertId, 43_200, 10_000])
        if (of === role) await customer.query(INSERT_SESSION, [hashToken(expired), of, insertId, 43_200, -1])
      }
    })
    for (const one of own) this.#sessions[role].set(one, username)
    if (role === 'seller') await this.#stockUp(username, itemsOf(connection, epoch))
    this.#sessions[otherRole].set(other, username)
    return {
      sessions: own,
      foreignSessions: [other, expired, token('made up'), ''],
      username,
      items: itemsOf(connection, epoch),
    }
  }

  /** Puts items on sale under known numbers. */
  async #stockUp(username: string, items: readonly number[]): Promise<void> {
    const [seller] = await this.#marketplace.sql('customer', 'SELECT id FROM seller WHERE username = ?', [username])
    await withConnection(this.#marketplace.urls.product, async (product) => {
      for (const id of items) {
        await product.query(
          'INSERT INTO item (id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity) ' +
            "VALUES (?, ?, ?, 'Lamp', 1, 'lamp', 'new', 1, 1000)",
          [id, seller?.id, username],
        )
        await product.query("INSERT INTO item_keyword (category, keyword, item_id) VALUES (1, '', ?), (1, 'lamp', ?)", [
          id,
          id,
        ])
      }
    })
  }

  #judge(role: Role, count?: (answer: string) => void): Judge {
    const judge: Judge = { role, sessions: this.#sessions, lineLimitBytes: LINE_LIMIT_BYTES }
    return count === undefined ? judge : { ...judge, count }
  }

  /** Sends a batch and takes its replies. The connection then goes on only if it is not over. */
  async #exchange(
    wire: Wire,
    { bytes, cuts, ending }: Batch,
    role: Role,
    count?: (answer: string) => void,
  ): Promise<{ problem?: string; isOver: boolean }> {
    let at = 0
    for (const cut of [...cuts, bytes.length]) {
      wire.send(bytes.subarray(at, cut))
      at = cut
      if (cuts.length > 0) await new Promise((resolve) => setImmediate(resolve))
    }
    if (ending === 'broken') return { isOver: true }
    if (ending === 'finished') wire.end()
    const expected = expect(bytes, ending === 'finished', this.#judge(role, count))
    const replies = new Replies(expected)
    while (replies.missing > 0) {
      const line = await wire.line().catch(() => undefined)
      if (line === undefined) return { problem: `no reply to ${replies.missingKeys.join(', ')}`, isOver: true }
      const problem = replies.take(line)
      if (problem !== undefined) return { problem, isOver: true }
    }
    if (!expected.ends) wire.request('last', 'ping')
    const last = await wire.line()
    if (expected.ends)
      return last === undefined
        ? { isOver: true }
        : { problem: `one reply too many: ${last.slice(0, 300)}`, isOver: true }
    if (last?.includes('"id":"last"')) return { isOver: false }
    return {
      problem: last === undefined ? 'the connection was closed' : `one reply too many: ${last.slice(0, 300)}`,
      isOver: true,
    }
  }

  async #reportBatch(problem: string, batch: Batch, role: Role, at: string): Promise<void> {
    if (this.#isStopped) return
    const { program } = this.#server(role)
    this.#fail({
      what: `${role}: ${problem}${program.log && `; its log: ${program.log.slice(0, 1_000)}`}`,
      at,
      bytes: batch.bytes,
    })
    const shortest = await this.#shrink(batch, role)
    if (shortest !== undefined) this.#findings.failure = { ...(this.#findings.failure as Failure), bytes: shortest }
  }

  /** The shortest line found that fails when it is sent alone; undefined if none does. */
  async #shrink({ bytes }: Batch, role: Role): Promise<Buffer | undefined> {
    const untilMs = performance.now() + SHRINK_MS
    const lines = splitLines(bytes)
    let shortest: Buffer | undefined
    for (const line of lines) {
      if (performance.now() > untilMs || !(await this.#fails(line, role))) continue
      shortest = line
      break
    }
    for (let piece = (shortest?.length ?? 0) >> 1; shortest !== undefined && piece > 0; piece >>= 1) {
      for (let at = 0; at + piece < shortest.length && performance.now() < untilMs; ) {
        const without: Buffer = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + piece)])
        if (await this.#fails(without, role)) shortest = without
        else at += piece
      }
    }
    return shortest
  }

  /** Whether a line, sent alone, gets a wrong answer or ends the server. */
  async #fails(line: Buffer, role: Role): Promise<boolean> {
    const wire = await Wire.connect(this.#server(role)).catch(async () => Wire.connect(await this.#serve(role)))
    const batch: Batch = { bytes: line, cuts: [], ending: 'open', lines: 1 }
    const { problem } = await this.#exchange(wire, batch, role).catch((error) => ({ problem: String(error) }))
    wire.destroy()
    return problem !== undefined
  }

  /** Someone who does nothing wrong, on a connection of their own. */
  async #pingAlways(role: Role): Promise<void> {
    const wire = await Wire.connect(this.#server(role))
    for (let number = 0; !this.#isOver && !this.#isStopped; number += 1) {
      const sentMs = performance.now()
      wire.request(number, 'ping')
      const reply = await wire.reply().catch(() => undefined)
      if (this.#isStopped) break
      if (reply?.id !== number || reply.result === undefined) {
        return this.#fail({ what: `a bystander's ping of the ${role} server was answered ${JSON.stringify(reply)}` })
      }
      this.#findings.longestPingMs = Math.max(this.#findings.longestPingMs, performance.now() - sentMs)
      await new Promise((resolve) => setTimeout(resolve, PING_EVERY_MS))
    }
    wire.destroy()
  }

  #watch(role: Role): Promise<Watched> {
    return this.#server(role).program.ask('watched')
  }

  async #look(when: 'early' | 'late'): Promise<void> {
    for (const role of ROLES) {
      if (this.#isStopped) return
      const { longestStallMs, heapBytes, added } = await this.#watch(role)
      this.#findings.longestStallMs[role] = Math.max(this.#findings.longestStallMs[role], longestStallMs)
      this.#findings.heapBytes[role][when] = heapBytes
      if (added.length > 0) this.#fail({ what: `${role}: all objects now have ${added.join(', ')}` })
    }
  }

  async #judgeTheEnd(): Promise<void> {
    if (this.#options.signal?.aborted) return
    for (const role of ROLES) {
      const { output, log } = this.#server(role).program
      const secrets = [PASSWORD, NEW_PASSWORD, ...this.#sessions[role].keys()]
      const shown = secrets.filter((secret) => output.includes(secret) || log.includes(secret))
      if (shown.length > 0) this.#fail({ what: `${role}: the log shows ${shown.length} secrets` })
      if (log !== '') this.#fail({ what: `${role}: the log says ${log.slice(0, 1_000)}` })
      const { early, late } = this.#findings.heapBytes[role]
      if (late > early + HEAP_SLACK_BYTES) this.#fail({ what: `${role}: the heap grew from ${early} to ${late} bytes` })
    }
    for (const [what, statement] of Object.entries(IMPOSSIBLE)) {
      const [row] = await this.#marketplace.sql<{ count: bigint }>(
        'product',
        `SELECT COUNT(*) AS count FROM ${statement}`,
      )
      if (Number(row?.count) > 0) this.#fail({ what: `the database has ${row?.count} ${what}` })
    }
  }
}

/** Rows that there must never be. */
const IMPOSSIBLE: Readonly<Record<string, string>> = {
  'items with too many units or a wrong price': 'item WHERE quantity > 1000000 OR price_cents > 1000000000',
  'items whose votes differ from the feedback':
    '(SELECT item.id FROM item LEFT JOIN feedback ON feedback.item_id = item.id GROUP BY item.id ' +
    "HAVING MAX(thumbs_up) <> COALESCE(SUM(vote = 'up'), 0) OR MAX(thumbs_down) <> COALESCE(SUM(vote = 'down'), 0)) AS wrong",
  'sellers whose items sold differ from the purchases':
    '(SELECT score.seller_id FROM seller_score AS score LEFT JOIN purchase_line USING (seller_id) ' +
    'GROUP BY score.seller_id HAVING MAX(items_sold) <> COALESCE(SUM(quantity), 0)) AS wrong',
}

/** Numbers that no server gives. A buyer's connection buys from the seller's before it. */
function itemsOf(connection: number, epoch: number): number[] {
  const first = 10 ** 9 + (connection >> 1) * 10 ** 8 + epoch * ITEMS_OF_SELLER
  return Array.from({ length: ITEMS_OF_SELLER }, (_, index) => first + index)
}

function close(wire: Wire): undefined {
  wire.destroy()
  return undefined
}

function splitLines(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, at)
    const end = newline < 0 ? bytes.length : newline + 1
    lines.push(newline < 0 ? Buffer.concat([bytes.subarray(at), Buffer.from('\n')]) : bytes.subarray(at, end))
    at = end
  }
  return lines
}

/** Bytes as text that a shell's $'…' takes back. */
export function escapeBytes(bytes: Buffer): string {
  const text = Array.from(bytes, (byte) => {
    if (byte === 0x27 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`
  })
  return `$'${text.join('')}'`
}
