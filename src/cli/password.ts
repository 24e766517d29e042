/**
 * Passwords: typed at a prompt that shows nothing, or the first line of a file
 * or of standard input. Never an argument, which everybody on the machine can read.
 */

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { UsageError } from './commands.ts'

/** Ctrl-C, or the end of the input, at a prompt. */
export class Interrupted extends Error {}

const STANDARD_INPUT = 0

/** Throws `UsageError` for a file that can't be read, or has no password in it. */
export function passwordFrom(file: string): string {
  try {
    return firstLineOf(readFileSync(file, 'utf8'), `--password-file: ${file} is empty`)
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
  if (!process.stdin.isTTY) return firstLineOf(readFileSync(STANDARD_INPUT, 'utf8'), missing)
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
      lines.once('line', resolve)
      lines.once('SIGINT', () => reject(new Interrupted()))
      lines.once('close', () => reject(new Interrupted()))
    })
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}

function firstLineOf(text: string, problem: string): string {
  const [line = ''] = text.split(/\r?\n/)
  if (line === '') throw new UsageError([problem])
  return line
}
