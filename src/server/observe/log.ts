/**
 * The log of a running server: JSON on standard error, one line for each event;
 * on a terminal, words for a person. What can't be written is dropped, and the
 * server goes on. No value of a client is ever in it: of an error of the database,
 * which may quote values, only codes and the words before the first quote are kept.
 */

import { type Logger, pino, stdTimeFunctions } from 'pino'
import type { Role } from '../../contract/operations.ts'
import { writeLine } from '../../process/progress.ts'
import type { Settings } from '../settings.ts'

export type { Logger }

/** A reader that is slower than the log may leave so much unread. Beyond it, lines are dropped and counted. */
const MOST_UNWRITTEN_BYTES = 1_024 * 1_024
const ERRORS_THAT_QUOTE = ['SqlError', 'SyntaxError']

export function createLogger(
  role: Role,
  level: Settings['logLevel'],
  stream: NodeJS.WriteStream = process.stderr,
): Logger {
  let dropped = 0

  function write(line: string): void {
    if (stream.writableLength > MOST_UNWRITTEN_BYTES) {
      dropped += 1
      return
    }
    const missing = dropped
    dropped = 0
    if (missing > 0) logger.warn(`${missing} lines were dropped: nobody read the log`)
    if (stream.isTTY) writeLine(stream, formatForPerson(JSON.parse(line)))
    else stream.write(line)
  }

  const logger = pino(
    {
      level,
      base: { role, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      errorKey: 'none', // of the error in this field pino would repeat the message, with all values
    },
    { write },
  )
  return logger
}

/** Logs what went wrong: an error with its stack and codes, or words. */
export function logProblem(logger: Logger, problem: unknown): void {
  if (problem instanceof Error) logger.error({ err: problem })
  else logger.warn(String(problem))
}

/** The fields of errors of Node and of the database's driver. */
type CodedError = Error & { code?: string; errno?: number; sqlState?: string; sqlMessage?: string }

interface DescribedError extends Pick<CodedError, 'message' | 'code' | 'errno' | 'sqlState'> {
  type: string
  /** Without the message, which its first lines repeat. */
  stack: string | undefined
}

function describeError(error: CodedError): DescribedError {
  const { name, code, errno, sqlState, sqlMessage } = error
  const message = ERRORS_THAT_QUOTE.includes(name) ? withoutQuotes(sqlMessage ?? error.message) : error.message
  const stack = error.stack?.match(/^ {4}at .*$/gm)?.join('\n')
  return { type: name, message, stack, ...(code && { code }), ...(errno && { errno }), ...(sqlState && { sqlState }) }
}

/** Values stand in quotes, may hold quotes, and may be cut: nothing behind the first quote is kept. */
function withoutQuotes(text: string): string {
  const [words = '', ...rest] = text.split(/['"]/)
  return rest.length === 0 ? words : `${words}…`
}

interface LogLine {
  time: string
  role: string
  level: string
  msg?: string
  err?: DescribedError
  pid: number
}

function formatForPerson({ time, role, level, msg, err, pid: _, ...fields }: LogLine): string {
  const details = Object.entries(fields).map(([name, value]) => `${name}=${value}`)
  const words = err === undefined ? [] : [`${err.type}: ${err.message}`, err.code && `(${err.code})`]
  const text = [msg, ...words, ...details].filter(Boolean).join(' ')
  const lines = err?.stack ? `${text}\n${err.stack}` : text
  return `${time} ${role} ${level}: ${withoutControls(lines)}`
}

/** Text from elsewhere must not steer the terminal. */
function withoutControls(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, '\ufffd')
}
