/**
 * A program in a terminal of so many columns and rows: what a person types,
 * and the screen that the person sees. The terminal is a real pseudo-terminal,
 * and what the program writes is interpreted as a terminal would.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import pty from '@lydell/node-pty'
import xterm from '@xterm/headless'

export interface TerminalOptions {
  command: string
  args?: readonly string[]
  cwd: string
  /** All that the program sees, beside PATH and TERM. */
  env?: Readonly<Record<string, string>>
  columns?: number
  rows?: number
}

const KEYS = {
  ...{ tab: '\t', 'shift-tab': '\x1b[Z', enter: '\r', escape: '\x1b', backspace: '\x7f', delete: '\x1b[3~' },
  ...{ up: '\x1b[A', down: '\x1b[B', right: '\x1b[C', left: '\x1b[D', home: '\x1b[H', end: '\x1b[F' },
} as const

/** A key by its name, or one with Control held. */
export type Key = keyof typeof KEYS | `ctrl-${string}`

export interface Terminal {
  readonly pid: number
  /** Resolves, when all that was written has been seen, to the exit code: of a program that a signal ended 128 and the signal. */
  readonly ended: Promise<number>
  /** Everything the program has written, as it wrote it. */
  readonly raw: string
  type(text: string): void
  press(...keys: Key[]): void
  /** The lines now on the screen, without blanks at their ends and empty lines below. */
  screen(): string
  /**
   * Waits until the screen matches; rejects when the program ends before, with what is there. What is there for a
   * moment only may be missed: `raw` has it.
   */
  shows(pattern: RegExp): Promise<RegExpMatchArray>
  resize(columns: number, rows: number): void
  /** Ends the program, if it has not ended. */
  close(): Promise<void>
}

const PATIENCE_MS = 30_000

export function openTerminal(options: TerminalOptions): Terminal {
  const { command, args = [], cwd, env = {}, columns = 80, rows = 24 } = options
  const emulator = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true }) // its buffer counts as proposed
  const program = pty.spawn(command, [...args], {
    ...{ cwd, cols: columns, rows },
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', ...env },
    encoding: null, // bytes: a character may be cut in two
  })
  const written: Uint8Array[] = []
  program.onData((bytes) => {
    written.push(bytes as unknown as Uint8Array)
    emulator.write(bytes)
  })
  emulator.onData((answer) => program.write(answer)) // to a program that asks where its cursor is
  let isOver = false
  const ended = new Promise<number>((resolve) => {
    program.onExit(({ exitCode, signal }) => {
      emulator.write('', () => {
        isOver = true
        resolve(signal ? 128 + signal : exitCode)
      })
    })
  })

  function screen(): string {
    const { active } = emulator.buffer
    const lines = Array.from({ length: emulator.rows }, (_, row) => active.getLine(active.baseY + row))
    const seen = lines.map((line) => line?.translateToString(true).trimEnd() ?? '')
    return seen.join('\n').trimEnd()
  }

  async function shows(pattern: RegExp): Promise<RegExpMatchArray> {
    const untilMs = performance.now() + PATIENCE_MS
    for (;;) {
      const last = isOver || performance.now() > untilMs
      const match = screen().match(pattern)
      if (match !== null) return match
      if (last) throw new Error(`${isOver ? 'ended' : `${PATIENCE_MS} ms`} without ${pattern}:\n${screen()}`)
      await sleep(10)
    }
  }

  return {
    pid: program.pid,
    ended,
    get raw() {
      return Buffer.concat(written).toString()
    },
    type: (text) => program.write(text),
    press: (...keys) => program.write(keys.map(bytesOf).join('')),
    screen,
    shows,
    resize(toColumns, toRows) {
      emulator.resize(toColumns, toRows)
      program.resize(toColumns, toRows)
    },
    async close() {
      if (!isOver) program.kill('SIGKILL')
      await ended
      emulator.dispose()
    },
  }
}

function bytesOf(key: Key): string {
  if (key in KEYS) return KEYS[key as keyof typeof KEYS]
  return String.fromCharCode(key.charCodeAt('ctrl-'.length) & 0x1f)
}
