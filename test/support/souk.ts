/**
 * souk as a process, as somebody without a terminal runs it: with a home of
 * their own, arguments, standard input and environment; what it wrote, and how
 * it ended. Whatever it writes, no session and no password may be in it.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { split } from 'shlex'
import { type Ending, type RunningServer, temporaryHome, until } from './marketplace.ts'

export const PASSWORD = 'correct horse'

const PROGRAM = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))

export interface Run {
  /** Standard input, all of it. */
  input?: string
  /** Beside what this somebody has always; undefined takes something away. */
  env?: Readonly<Record<string, string | undefined>>
}

/** What came of a run. */
export interface Ended {
  exitCode: Ending
  stdout: string
  stderr: string
}

export class Somebody {
  /** Working folder, home, and place of what souk remembers. */
  readonly home = temporaryHome()
  readonly stateFolder = join(this.home, 'state', 'souk')
  readonly passwordFile = join(this.home, 'password')
  readonly #env: Record<string, string | undefined>
  readonly #running = new Set<RunningSouk>()

  /** Talks to these servers, unless told otherwise. */
  constructor(servers: readonly Pick<RunningServer, 'role' | 'port'>[]) {
    const ports = servers.map(({ role, port }) => [`SOUK_${role.toUpperCase()}_PORT`, String(port)])
    const state = { HOME: this.home, XDG_STATE_HOME: join(this.home, 'state') }
    this.#env = { PATH: process.env.PATH, ...state, ...Object.fromEntries(ports) }
    writeFileSync(this.passwordFile, `${PASSWORD}\n`, { mode: 0o600 })
  }

  /** Runs a line as it is typed in a shell, with or without "souk" before it, or words as they are; to its end. */
  souk(typed: string | readonly string[], run: Run = {}): Promise<Ended> {
    return this.start(typed, run).ended
  }

  /** The result that it prints, which must come to an end well. */
  async result(typed: string, run: Run = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.souk(typed, run)
    assert.deepEqual({ typed, exitCode, stderr }, { typed, exitCode: 0, stderr: '' })
    return stdout
  }

  /** Opens the account and logs in. */
  async join(role: string, username: string): Promise<void> {
    await this.result(`${role} create-account ${username} Ann --password-file password`)
    await this.result(`${role} login ${username} --password-file password`)
  }

  start(typed: string | readonly string[], { input = '', ...run }: Run = {}): RunningSouk {
    const started = this.open(typed, run)
    started.child.stdin?.end(input)
    return started
  }

  /** Its standard input stays open. */
  open(typed: string | readonly string[], { env = {} }: Pick<Run, 'env'> = {}): RunningSouk {
    const words = typeof typed === 'string' ? split(typed.replace(/^souk /, '')) : typed
    const secrets = [...this.#secrets(), ...(env.SOUK_SESSION ? [env.SOUK_SESSION] : [])]
    const started = new RunningSouk(words, { cwd: this.home, env: { ...this.#env, ...env } }, (output) => {
      this.#running.delete(started)
      for (const secret of [...secrets, ...this.#secrets()]) assert.ok(!output.includes(secret), 'a secret is told')
    })
    this.#running.add(started)
    return started
  }

  /** The files that souk keeps for this somebody. */
  get files(): string[] {
    return statSync(this.stateFolder, { throwIfNoEntry: false })?.isDirectory()
      ? readdirSync(this.stateFolder).toSorted()
      : []
  }

  /** The session that souk remembers for the role, at the one server known. */
  session(role: string): string {
    const [file] = this.files.filter((name) => name.startsWith(`session-${role}-`))
    return JSON.parse(readFileSync(join(this.stateFolder, file ?? ''), 'utf8')).session
  }

  /** Ends what still runs, and removes the home. */
  async leave(): Promise<void> {
    await Promise.all([...this.#running].map((program) => program.end('SIGKILL')))
    rmSync(this.home, { recursive: true, force: true })
  }

  #secrets(): string[] {
    const texts = this.files.map((file) => readFileSync(join(this.stateFolder, file), 'utf8'))
    return [PASSWORD, ...texts.flatMap((text) => /"session":"([^"]+)"/.exec(text)?.[1] ?? [])]
  }
}

export class RunningSouk {
  /** Resolves when it has ended and all that it wrote has been read. */
  readonly ended: Promise<Ended>
  readonly child: ChildProcess
  stdout = ''
  stderr = ''

  /** `over` is told all that it wrote. */
  constructor(
    words: readonly string[],
    { cwd, env }: { cwd: string; env: NodeJS.ProcessEnv },
    over: (output: string) => void,
  ) {
    this.child = spawn(process.execPath, [PROGRAM, ...words], { cwd, env })
    this.child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.stdout += text
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.stderr += text
    })
    this.child.stdin?.on('error', () => {}) // it ended before it read all of it
    this.ended = new Promise((resolve, reject) => {
      this.child.once('close', (code, signal) => {
        const { stdout, stderr } = this
        try {
          over(stdout + stderr)
          resolve({ exitCode: code ?? (signal as NodeJS.Signals), stdout, stderr })
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  /** Waits until something that it wrote matches. */
  says(pattern: RegExp): Promise<void> {
    return until(`souk says ${pattern}`, () => pattern.test(this.stdout + this.stderr))
  }

  end(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal)
    return this.ended
  }
}

/** The one JSON document that a text is, on a line of its own. */
export function documentIn(stdout: string): Record<string, unknown> {
  const lines = stdout.split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [2, ''], `not one document: ${stdout}`)
  return JSON.parse(lines[0] as string)
}
