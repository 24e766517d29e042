/**
 * Passwords: typed at a prompt that shows nothing, or the first line of a file
 * or of standard input. Never an argument, which everybody on the machine can read.
 */

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { Interrupted, UsageError } from './failures.ts'

/** Throws `UsageError` for a file that can't be read, or has no password in it. */
export function passwordFrom(file: string): string {
  try {
    const [line = ''] = readFileSync(file, 'utf8').split(/\r?\n/)
    return notEmpty(line, `--password-file: ${file} is empty`)
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError([`--password-file: ${(error as Error).message}`])
  }
}

/**
 * Asks on the terminal, a new one twice; elsewhere takes the first line of
 * standard input. Rejects with `Interrupted`, and with `UsageError` where
 * nobody can be asked, or the two differ.
 */
export async function readPassword(isNew: boolean): Promise<string> {
  const missing = 'the password is missing: give --password-file <file>, or standard input'
  if (!process.stdin.isTTY) return notEmpty(await firstLine(), missing)
  if (process.env.CI) throw new UsageError([missing])
  return askPassword(askHidden, isNew)
}

/** Asks by whatever means; a new password twice. */
export async function askPassword(ask: (prompt: string) => Promise<string>, isNew: boolean): Promise<string> {
  const password = await ask(isNew ? 'New password: ' : 'Password: ')
  if (isNew && (await ask('Once more: ')) !== password) throw new UsageError(['the passwords differ'])
  return password
}

/** What is typed is not shown. */
async function askHidden(prompt: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true })
  process.stderr.write(prompt)
  try {
    return await new Promise((resolve, reject) => {
      const interrupted = () => reject(new Interrupted(false))
      lines.once('line', resolve).once('SIGINT', interrupted).once('close', interrupted)
    })
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}

/** Of standard input, as soon as it is there; empty if there is none. */
async function firstLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin })
  const line = await new Promise<string>((resolve) => lines.once('line', resolve).once('close', () => resolve('')))
  lines.close()
  process.stdin.destroy() // whoever writes there may go on for long
  return line
}

function notEmpty(line: string, problem: string): string {
  if (line === '') throw new UsageError([problem])
  return line
}
