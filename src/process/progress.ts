/**
 * The progress of long work, drawn on a terminal only: one line that is redrawn
 * in place, with the work done, its rate, and the time left. Drawing never
 * blocks and keeps no process alive. However the process ends, the line is gone.
 * A process with a channel to its parent draws nothing: the parent draws for it.
 */

import { ENDING_SIGNALS } from './streams.ts'

/** A number of units, or a duration. */
export type Total = number | { seconds: number }

export interface Progress {
  /**
   * Begins a piece of work and shows it at once. `total`, if known, is counted
   * in `unit` (plural). For hot loops, pass `done`: it is polled once a second.
   */
  begin(what: string, total?: Total, unit?: string, done?: () => number): void
  /** Sets how many units of the piece are done. Drawn at most ten times a second, and when all are done. */
  advance(done: number): void
  /** Begins a plan of several steps, which is drawn before the pieces that follow: `runs 3/30, 0:41 left`. */
  plan(what: string, steps: number): void
  /** Ends a step of the plan; the last one ends the plan. */
  step(): void
  /** Writes text that stays, above what is drawn; without a terminal too. */
  note(text: string): void
  /** Ends the piece and the plan, and removes the line. */
  end(): void
}

const CLEAR = '\r\x1b[K'
const TICK_MS = 1_000
/** The least time between two draws, and the least time that a rate is computed over. */
const BETWEEN_DRAWS_MS = 100
const USUAL_COLUMNS = 80
const MOMENT_MS = 50
const SEPARATOR = ' · '

interface Work {
  what: string
  total: Total | undefined
  unit: string | undefined
  beganMs: number
  done: number
  /** When `done` was last set. */
  countedMs: number
}

export function createProgress(stream: NodeJS.WriteStream): Progress {
  const isDrawn = isTerminal(stream) && process.send === undefined
  let planned: Work | undefined
  let current: Work | undefined
  let drawnMs = 0
  let ticks: NodeJS.Timeout | undefined
  let isShown = false
  const clear = () => void stream.write(CLEAR)
  const clearAndEnd = (signal: NodeJS.Signals) => {
    hide()
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal) // as if nobody had listened
  }

  function draw(): void {
    if (!isDrawn || (current ?? planned) === undefined) return
    drawnMs = performance.now()
    stream.write(CLEAR + formatLine(planned, current, drawnMs, (stream.columns || USUAL_COLUMNS) - 1))
    if (isShown) return
    isShown = true
    process.once('exit', clear)
    for (const signal of ENDING_SIGNALS) process.prependOnceListener(signal, clearAndEnd) // others may be gone once called
  }

  function hide(): void {
    if (isShown) clear()
    isShown = false
    process.off('exit', clear)
    for (const signal of ENDING_SIGNALS) process.off(signal, clearAndEnd)
  }

  /** Draws once a second from now on. Restarted with each piece, so that nothing is drawn twice in a row. */
  function startTicking(done?: () => number): void {
    clearInterval(ticks)
    if (!isDrawn) return
    ticks = setInterval(() => {
      if (done !== undefined) count(current, done())
      draw()
    }, TICK_MS).unref()
  }

  return {
    begin(what, total, unit, done) {
      current = newWork(what, total, unit)
      startTicking(done)
      draw()
    },
    advance(done) {
      if (!isDrawn) return
      count(current, done)
      if (performance.now() - drawnMs >= BETWEEN_DRAWS_MS || done === current?.total) draw()
    },
    plan(what, steps) {
      planned = newWork(what, steps, undefined)
      current = undefined
      startTicking()
      draw()
    },
    step() {
      if (planned !== undefined) count(planned, planned.done + 1)
      if (planned?.done === planned?.total) planned = current = undefined
    },
    note(text) {
      writeLine(stream, text)
      draw()
    },
    end() {
      clearInterval(ticks)
      planned = current = undefined
      hide()
    },
  }
}

/** The progress of this process and of its children with channels. */
export const progress = createProgress(process.stderr)

/** Shows what the work is, unless it ends in a moment. */
export async function whileWaiting<T>(progress: Progress, what: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => progress.begin(what), MOMENT_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
    progress.end()
  }
}

/**
 * Writes a line that stays. On a terminal it overwrites the progress, whichever
 * process has drawn it; the next draw is below the line.
 */
export function writeLine(stream: NodeJS.WriteStream, text: string): void {
  stream.write(`${isTerminal(stream) ? CLEAR : ''}${text}\n`)
}

function isTerminal(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && process.env.TERM !== 'dumb'
}

function newWork(what: string, total: Total | undefined, unit: string | undefined): Work {
  const beganMs = performance.now()
  return { what, total, unit, beganMs, done: 0, countedMs: beganMs }
}

function count(work: Work | undefined, done: number): void {
  if (work === undefined) return
  work.done = done
  work.countedMs = performance.now()
}

/** If the line is too long, the name of the work is cut: it does not change, the figures do. */
function formatLine(planned: Work | undefined, current: Work | undefined, nowMs: number, width: number): string {
  const plan =
    planned && `${planned.what} ${[formatCount(planned), formatTime(planned, nowMs)].filter(Boolean).join(', ')}`
  const figures = current && [formatCount(current), formatRate(current), formatTime(current, nowMs)]
  const others = [plan, ...(figures ?? [])].filter(Boolean)
  const room = width - others.join(SEPARATOR).length - (others.length === 0 ? 0 : SEPARATOR.length)
  const parts = [plan, current && shorten(current.what, room), ...(figures ?? [])]
  return parts.filter(Boolean).join(SEPARATOR).slice(0, Math.max(width, 0))
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(length - 1, 0))}…`
}

function formatCount({ total, unit, done }: Work): string {
  const counted = `${formatNumber(done)}${typeof total === 'number' ? `/${formatNumber(total)}` : ''}`
  if (unit !== undefined) return `${counted} ${unit}`
  return typeof total === 'number' ? counted : ''
}

function formatRate({ unit, done, beganMs, countedMs }: Work): string {
  if (unit === undefined || done === 0) return ''
  const perS = (done / Math.max(countedMs - beganMs, BETWEEN_DRAWS_MS)) * 1_000
  return `${perS.toLocaleString('en', { maximumSignificantDigits: 3 })}/s`
}

/** The time left; while that is unknown, the time passed. */
function formatTime({ total, done, beganMs, countedMs }: Work, nowMs: number): string {
  const passedMs = nowMs - beganMs
  if (typeof total === 'object') return `${formatClock(Math.ceil(total.seconds - passedMs / 1_000))} left`
  if (total !== undefined && done > 0) {
    const leftMs = (Math.max(countedMs - beganMs, BETWEEN_DRAWS_MS) / done) * (total - done)
    return `${formatClock(Math.ceil((leftMs - (nowMs - countedMs)) / 1_000))} left`
  }
  return passedMs < TICK_MS ? '' : formatClock(Math.floor(passedMs / 1_000))
}

function formatClock(seconds: number): string {
  const wholeS = Math.max(seconds, 0)
  const twoDigits = (value: number) => String(value).padStart(2, '0')
  const hours = Math.floor(wholeS / 3_600)
  const minutes = Math.floor(wholeS / 60) % 60
  return `${hours > 0 ? `${hours}:${twoDigits(minutes)}` : minutes}:${twoDigits(wholeS % 60)}`
}

function formatNumber(count: number): string {
  return count.toLocaleString('en')
}
