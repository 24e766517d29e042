/**
 * souk as a process without a terminal, run by a user with a home of their own:
 * its arguments, standard input and environment, its output, and how it ended.
 * No output may contain a session or a password.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { split } from 'shlex'
import { type Ending, type RunningServer, temporaryHome, until } from './marketplace.ts'

export const PASSWORD = 'correct horse'

export const PROGRAM = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))

export interface SoukOptions {
  /** The whole standard input. */
  input?: string | Buffer
  /** Added to the user's environment; undefined removes a variable. */
  env?: Readonly<Record<string, string | undefined>>
}

/** A process that has ended, with its whole output. */
export interface Ended {
  exitCode: Ending
  stdout: string
  stderr: string
}

/** A user of the command line. */
export class SoukUser {
  /** The working folder, the home, and the parent of souk's state folder. */
  readonly home = temporaryHome()
  readonly stateFolder = join(this.home, 'state', 'souk')
  readonly passwordFile = join(this.home, 'password')
  readonly #env: Record<string, string | undefined>
  readonly #running = new Set<RunningSouk>()

  /** `servers` are those that souk connects to by default. */
  constructor(servers: readonly Pick<RunningServer, 'role' | 'port'>[]) {
    const ports = servers.map(({ role, port }) => [`SOUK_${role.toUpperCase()}_PORT`, String(port)])
    const state = { HOME: this.home, XDG_STATE_HOME: join(this.home, 'state') }
    this.#env = { PATH: process.env.PATH, ...state, ...Object.fromEntries(ports) }
    writeFileSync(this.passwordFile, `${PASSWORD}\n`, { mode: 0o600 })
  }

  /**
   * Runs souk until it ends. `typed` is the input as typed in a shell, with or without "souk" before it, or a list of
   * arguments.
   */
  souk(typed: string | readonly string[], options: SoukOptions = {}): Promise<Ended> {
    return this.start(typed, options).ended
  }

  /** Runs souk, which must succeed; resolves to its standard output. */
  async result(typed: string, options: SoukOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.souk(typed, options)
    assert.deepEqual({ typed, exitCode, stderr }, { typed, exitCode: 0, stderr: '' })
    return stdout
  }

  /** Creates an account and logs in. */
  async join(role: string, username: string): Promise<void> {
    await this.result(`${role} create-account ${username} Ann --password-file password`)
    await this.result(`${role} login ${username} --password-file password`)
  }

  /** Starts souk with its whole standard input. */
  start(typed: string | readonly string[], { input = '', ...options }: SoukOptions = {}): RunningSouk {
    const started = this.open(typed, options)
    started.child.stdin?.end(input)
    return started
  }

  /** Starts souk and leaves its standard input open. */
  open(typed: string | readonly string[], { env = {} }: Pick<SoukOptions, 'env'> = {}): RunningSouk {
    const words = typeof typed === 'string' ? split(typed.replace(/^souk /, '')) : typed
    const secrets = [...this.#secrets(), ...(env.SOUK_SESSION ? [env.SOUK_SESSION] : [])]
    const started = new RunningSouk(words, { cwd: this.home, env: { ...this.#env, ...env } }, (output) => {
      this.#running.delete(started)
      for (const secret of [...secrets, ...this.#secrets()])
        assert.ok(!output.includes(secret), 'the output contains a secret')
    })
    this.#running.add(started)
    return started
  }

  /** The names of the files in souk's state folder. */
  get files(): string[] {
    return statSync(this.stateFolder, { throwIfNoEntry: false })?.isDirectory()
      ? readdirSync(this.stateFolder).toSorted()
      : []
  }

  /** The session that souk remembers for the role; there must be only one server of the role. */
  session(role: string): string {
    const [file] = this.files.filter((name) => name.startsWith(`session-${role}-`))
    return JSON.parse(readFileSync(join(this.stateFolder, file ?? ''), 'utf8')).session
  }

  /** Ends all processes that still run, and removes the home. */
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
  /** Resolves when the process has ended and all its output has been read. */
  readonly ended: Promise<Ended>
  readonly child: ChildProcess
  stdout = ''
  stderr = ''

  /** `onEnd` is called with the whole output; if it throws, `ended` rejects. */
  constructor(
    words: readonly string[],
    { cwd, env }: { cwd: string; env: NodeJS.ProcessEnv },
    onEnd: (output: string) => void,
  ) {
    this.child = spawn(process.execPath, [PROGRAM, ...words], { cwd, env })
    this.child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.stdout += text
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.stderr += text
    })
    this.child.stdin?.on('error', () => {}) // the process may end before it has read everything
    this.ended = new Promise((resolve, reject) => {
      this.child.once('close', (code, signal) => {
        const { stdout, stderr } = this
        try {
          onEnd(stdout + stderr)
          resolve({ exitCode: code ?? (signal as NodeJS.Signals), stdout, stderr })
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  /** Waits until the output matches. */
  says(pattern: RegExp): Promise<void> {
    return until(`souk says ${pattern}`, () => pattern.test(this.stdout + this.stderr))
  }

  end(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal)
    return this.ended
  }
}

/** Parses an output that must be one JSON document on one line. */
export function documentIn(stdout: string): Record<string, unknown> {
  const lines = stdout.split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [2, ''], `not one document: ${stdout}`)
  return JSON.parse(lines[0] as string)
}
