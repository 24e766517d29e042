/**
 * An open-loop generator, as a process of its own so that it can run on a CPU of its own: it offers calls at a
 * rate, however many are answered. `OpenLoop` is the parent's end. Every connection has the same share. A call is
 * not sent while its connection holds too many bytes that the server has not read; it counts as offered all the same.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface OpenLoopOptions {
  port: number
  connections: number
  /** Requests without their ids: method and params. Connections take them in turn. */
  requests: readonly { method: string; params: object }[]
  /** The CPU to run on. */
  cpu?: number | undefined
}

/** Counts since the last look. */
export interface Counts {
  seconds: number
  offered: number
  sent: number
  answered: number
  /** By code. */
  refused: Record<string, number>
  /** Refusals as `overloaded` that name no pause. */
  withoutPause: number
  /** Of answered calls, as the client sees them: from the write. */
  latenciesMs: { p50: number; p99: number }
}

export class OpenLoop {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(options: OpenLoopOptions): Promise<OpenLoop> {
    const node = [process.execPath, `--import=${import.meta.resolve('tsx')}`, fileURLToPath(import.meta.url)]
    const [program = '', ...rest] = options.cpu === undefined ? node : ['taskset', '-c', `${options.cpu}`, ...node]
    const child = spawn(program, rest, {
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'], // if the parent dies, the broken channel ends the child
    })
    const loop = new OpenLoop(child)
    await loop.#ask(options)
    return loop
  }

  /** From now on: calls a second, or calls that each connection keeps in flight. */
  async offer(what: { rate: number } | { inFlight: number }): Promise<void> {
    await this.#ask(what)
  }

  /** Counts since the last look. */
  look(): Promise<Counts> {
    return this.#ask('look') as Promise<Counts>
  }

  async end(): Promise<void> {
    this.#child.disconnect()
    await once(this.#child, 'exit')
  }

  async #ask(question: object | string): Promise<unknown> {
    this.#child.send(question)
    const [answer] = await once(this.#child, 'message')
    return answer
  }
}

const TICK_MS = 2
/** Calls of a connection that are sent together: single ones would cost the generator more than the server. */
const GROUP = 16
const MOST_UNREAD_BYTES = 64 * 1_024
const REMEMBERED = 2 ** 20
/** Every so many calls have an id that the server's clock looks for. */
const SAMPLE_EVERY = 16
/** What every reply begins with. */
const HEAD = '{"jsonrpc":"2.0","id":'.length

class Generator {
  readonly #sockets: Socket[]
  readonly #outputs: string[]
  readonly #tails: string[]
  readonly #inFlight: number[]
  readonly #sentMs = new Float64Array(REMEMBERED)
  #target: { rate: number } | { inFlight: number } = { rate: 0 }
  #sinceMs = performance.now()
  #planned = 0
  #next = 0
  #id = 0
  #counts = emptyCounts()
  #latencies: number[] = []
  #lookedMs = performance.now()

  constructor(sockets: Socket[], requests: OpenLoopOptions['requests']) {
    this.#sockets = sockets
    this.#outputs = sockets.map(() => '')
    this.#inFlight = sockets.map(() => 0)
    this.#tails = requests.map((request) => `,${JSON.stringify({ jsonrpc: '2.0', ...request }).slice(1)}\n`)
    for (const [index, socket] of sockets.entries()) {
      let partial = ''
      socket.setEncoding('latin1')
      socket.on('data', (text: string) => {
        const lines = (partial + text).split('\n')
        partial = lines.pop() as string
        for (const line of lines) this.#receive(index, line)
      })
    }
    setInterval(() => this.#tick(), TICK_MS)
  }

  offer(target: { rate: number } | { inFlight: number }): void {
    this.#target = target
    this.#sinceMs = performance.now()
    this.#planned = 0
  }

  look(): Counts {
    const nowMs = performance.now()
    const sorted = this.#latencies.sort((a, b) => a - b)
    const at = (share: number) => sorted[Math.floor(share * sorted.length)] ?? 0
    const counts = {
      ...this.#counts,
      seconds: (nowMs - this.#lookedMs) / 1_000,
      latenciesMs: { p50: at(0.5), p99: at(0.99) },
    }
    this.#lookedMs = nowMs
    this.#counts = emptyCounts()
    this.#latencies = []
    return counts
  }

  #tick(): void {
    if ('rate' in this.#target) {
      const due = Math.floor(((performance.now() - this.#sinceMs) / 1_000) * this.#target.rate) - this.#planned
      this.#planned += due
      for (let count = 0; count < due; count += 1) {
        this.#call(Math.floor(this.#next / GROUP) % this.#sockets.length)
        this.#next += 1
      }
    } else {
      for (const index of this.#sockets.keys()) this.#fill(index)
    }
    this.#flush()
  }

  #fill(index: number): void {
    if ('inFlight' in this.#target) while ((this.#inFlight[index] as number) < this.#target.inFlight) this.#call(index)
  }

  #call(index: number): void {
    this.#counts.offered += 1
    if ((this.#sockets[index] as Socket).writableLength > MOST_UNREAD_BYTES) return
    const id = this.#id++
    this.#sentMs[id % REMEMBERED] = performance.now()
    this.#counts.sent += 1
    ;(this.#inFlight[index] as number) += 1
    this.#outputs[index] += `{"id":${id % SAMPLE_EVERY === 0 ? `"s${id}"` : id}${this.#tails[id % this.#tails.length]}`
  }

  #flush(): void {
    for (const [index, output] of this.#outputs.entries()) {
      if (output === '') continue
      this.#sockets[index]?.write(output)
      this.#outputs[index] = ''
    }
  }

  #receive(index: number, line: string): void {
    ;(this.#inFlight[index] as number) -= 1
    if (line.includes('"error":')) {
      const code = line.match(/"data":\{"code":"(\w+)"/)?.[1] ?? 'none'
      this.#counts.refused[code] = (this.#counts.refused[code] ?? 0) + 1
      if (code === 'overloaded' && !line.includes('"retry_after_ms":')) this.#counts.withoutPause += 1
    } else {
      this.#counts.answered += 1
      const id = Number.parseInt(line.slice(line[HEAD] === '"' ? HEAD + 2 : HEAD), 10)
      this.#latencies.push(performance.now() - (this.#sentMs[id % REMEMBERED] as number))
    }
    if ('inFlight' in this.#target) {
      this.#fill(index)
      process.nextTick(() => this.#flush())
    }
  }
}

function emptyCounts() {
  return { offered: 0, sent: 0, answered: 0, refused: {} as Record<string, number>, withoutPause: 0 }
}

async function main({ port, connections, requests }: OpenLoopOptions): Promise<void> {
  const sockets = Array.from({ length: connections }, () =>
    createConnection({ host: '127.0.0.1', port, noDelay: true }),
  )
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const generator = new Generator(sockets, requests)
  process.on('message', (question: 'look' | { rate: number } | { inFlight: number }) => {
    if (question !== 'look') generator.offer(question)
    process.send?.(question === 'look' ? generator.look() : {})
  })
  process.send?.({})
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit(0))
  process.once('message', (options: OpenLoopOptions) => void main(options))
}
