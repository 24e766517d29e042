/**
 * A program in a terminal: a test types, presses keys, and reads the screen. The
 * program runs in a real pseudo-terminal, and a terminal emulator interprets its
 * output.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import pty from '@lydell/node-pty'
import xterm from '@xterm/headless'

export interface TerminalOptions {
  command: string
  args?: readonly string[]
  cwd: string
  /** The program's whole environment, except PATH and TERM. */
  env?: Readonly<Record<string, string>>
  columns?: number
  rows?: number
}

const KEYS = {
  tab: '\t',
  'shift-tab': '\x1b[Z',
  enter: '\r',
  escape: '\x1b',
  backspace: '\x7f',
  delete: '\x1b[3~',
  up: '\x1b[A',
  down: '\x1b[B',
  right: '\x1b[C',
  left: '\x1b[D',
  home: '\x1b[H',
  end: '\x1b[F',
} as const

/** A key by its name, or a letter with Control. */
export type Key = keyof typeof KEYS | `ctrl-${string}`

export interface Terminal {
  readonly pid: number
  /**
   * Resolves to the exit code when all output has been interpreted. For a program ended by a signal, the code is 128
   * plus the number of the signal.
   */
  readonly ended: Promise<number>
  /** The program's whole output, uninterpreted. */
  readonly raw: string
  type(text: string | Buffer): void
  press(...keys: Key[]): void
  /** The present screen, without trailing blanks and without empty rows at the bottom. */
  screen(): string
  /**
   * Waits until the screen matches; rejects with the screen if the program ends before. Text that is on the screen only
   * for a moment may be missed; `raw` has it.
   */
  shows(pattern: RegExp): Promise<RegExpMatchArray>
  resize(columns: number, rows: number): void
  /** Closes the terminal, as a person closes its window: the program gets SIGHUP, and can't write any more. */
  hangUp(): void
  /** Ends the program, if it still runs. */
  close(): Promise<void>
}

const PATIENCE_MS = 30_000

export function openTerminal(options: TerminalOptions): Terminal {
  const { command, args = [], cwd, env = {}, columns = 80, rows = 24 } = options
  const emulator = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true }) // `buffer` is part of the proposed API
  const program = pty.spawn(command, [...args], {
    cwd,
    cols: columns,
    rows,
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', ...env },
    encoding: null, // bytes, since a character may be cut in two
  })
  const written: Uint8Array[] = []
  program.onData((bytes) => {
    written.push(bytes as unknown as Uint8Array)
    emulator.write(bytes)
  })
  emulator.onData((answer) => program.write(answer)) // when the program asks for the position of the cursor
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
    return lines
      .map((line) => line?.translateToString(true).trimEnd() ?? '')
      .join('\n')
      .trimEnd()
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
    type: (text) => program.write(text as string), // which takes bytes too
    press: (...keys) => program.write(keys.map(encodeKey).join('')),
    screen,
    shows,
    resize(toColumns, toRows) {
      emulator.resize(toColumns, toRows)
      program.resize(toColumns, toRows)
    },
    hangUp: () => (program as unknown as { destroy(): void }).destroy(),
    async close() {
      if (!isOver) program.kill('SIGKILL')
      await ended
      emulator.dispose()
    },
  }
}

/** The rows of a terminal on which the lines were drawn. A wide character takes two places. */
export async function drawOn(lines: readonly string[], columns: number): Promise<string[]> {
  const emulator = new xterm.Terminal({ cols: columns, rows: lines.length + 1, allowProposedApi: true })
  await new Promise<void>((resolve) => emulator.write(lines.map((line) => `${line}\r\n`).join(''), resolve))
  const rows = lines.map((_, row) => {
    const line = emulator.buffer.active.getLine(row)
    const cells = Array.from({ length: columns }, (_, column) => line?.getCell(column))
    return cells
      .map((cell) => (cell?.getChars() || ' ').slice(0, 1))
      .join('')
      .trimEnd()
  })
  emulator.dispose()
  return rows
}

function encodeKey(key: Key): string {
  if (key in KEYS) return KEYS[key as keyof typeof KEYS]
  return String.fromCharCode(key.charCodeAt('ctrl-'.length) & 0x1f)
}
