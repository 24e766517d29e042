/** A copy of the project in which guards are broken and tests are run. */

import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Guard } from './guards.ts'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NOT_COPIED = ['node_modules', '.git', '.souk', 'dist', 'results', 'profiles']
/** A test that a broken guard leaves hanging has failed. */
const LONGEST_TEST_MS = 180_000

export interface TestRun {
  passed: number
  failed: number
}

export class Tree {
  readonly #root = mkdtempSync(join(tmpdir(), 'souk-mutants-'))

  constructor() {
    cpSync(ROOT, this.#root, { recursive: true, filter: (path) => !NOT_COPIED.includes(relative(ROOT, path)) })
    symlinkSync(join(ROOT, 'node_modules'), join(this.#root, 'node_modules'))
  }

  /** Does `work` while the guard is broken. */
  async withBroken<T>(guard: Guard, work: () => Promise<T>): Promise<T> {
    const path = join(this.#root, guard.file)
    const whole = readFileSync(path, 'utf8')
    writeFileSync(path, breakGuard(guard, whole))
    try {
      return await work()
    } finally {
      writeFileSync(path, whole)
    }
  }

  run({ test, only }: Pick<Guard, 'test' | 'only'>, signal?: AbortSignal): Promise<TestRun> {
    const names = only === undefined ? [] : [`--test-name-pattern=${only}`]
    const flags = ['--import=tsx', '--test', '--test-reporter=tap', `--test-timeout=${LONGEST_TEST_MS}`, ...names]
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const child = spawn(process.execPath, [...flags, test], {
      cwd: this.#root,
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
      ...(signal && { signal }),
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
    })
    const count = (what: string) => Number(output.match(new RegExp(`^# ${what} (\\d+)$`, 'm'))?.[1] ?? 0)
    return new Promise((resolve) => {
      child.on('error', () => {}) // interrupted; 'close' follows
      child.on('close', (code) =>
        resolve({ passed: count('pass'), failed: count('fail') + count('cancelled') || Number(code !== 0) }),
      )
    })
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true })
  }
}

/** The file's text with the guard broken. Throws unless the guard's text occurs in it once. */
export function breakGuard({ name, file, text, broken }: Guard, whole: string): string {
  const parts = whole.split(text)
  if (parts.length !== 2) throw new Error(`${name}: ${file} has ${parts.length - 1} times: ${text}`)
  return parts.join(broken)
}
