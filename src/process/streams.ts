/**
 * The ends of a program's two output streams and of its terminal. A reader
 * leaves, a disk is full, a terminal is closed: what can't be written is dropped,
 * and the program does its work and its clean-up all the same. One that is run
 * for its output says so, and is told when the output is lost.
 */

import { closeSync, existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { isatty } from 'node:tty'

/** The exit code of a program whose output nobody reads: the one that SIGPIPE would give. */
export const UNREAD = 141

const isHangUpIgnored = isUnderNohup()
/** Signals that end this process unless it listens to them. */
export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGQUIT', ...(isHangUpIgnored ? [] : ['SIGHUP' as const])] as const

let tell: (error: NodeJS.ErrnoException) => void = () => {}

process.stdout.on('error', (error) => tell(error))
process.stderr.on('error', () => {})
if (isHangUpIgnored) process.on('SIGHUP', () => {})
const terminals = [0, 1, 2].filter(isatty)
process.on('exit', () => {
  // Node aborts while it ends if it can't restore a terminal; a closed file it leaves alone.
  for (const file of terminals) if (!isatty(file)) closeSync(file)
})

/** Calls `react` when standard output can't be written, or could not be a moment ago. */
export function onLostOutput(react: (error: NodeJS.ErrnoException) => void): void {
  tell = react
}

/**
 * Node forgets that nohup has made it ignore SIGHUP, which a closing terminal sends. What else nohup leaves: its name, in
 * the variable `_` that shells set, and a standard input that can't be read, in place of the terminal.
 */
function isUnderNohup(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true
  const input = '/proc/self/fdinfo/0'
  return existsSync(input) && /^flags:\s+\d*1$/m.test(readFileSync(input, 'utf8'))
}
