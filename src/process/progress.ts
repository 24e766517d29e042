/**
 * How far long work is, on a terminal only: one line in its place, with what is
 * done, how fast, and the time left. It never waits and keeps nobody up; of
 * processes with channels to each other the one on top draws for all.
 */

/** So many, or for so many seconds. */
export type Total = number | { seconds: number }

export interface Progress {
  /**
   * Begins a piece of work, shown at once: of so many in all, if that is known,
   * counted in `unit` (plural). Work that must not be disturbed is not told to
   * tell how many are done: `done` asks, once a second.
   */
  begin(what: string, total?: Total, unit?: string, done?: () => number): void
  /** So many are done of the piece begun. Drawn at most ten times a second, and when all are. */
  advance(done: number): void
  /** The pieces that follow are parts of so many steps, which are drawn before them: `runs 3/30, 0:41 left`. */
  plan(what: string, steps: number): void
  /** One more step of the plan is done; with the last the plan is over. */
  step(): void
  /** A line that stays, above what is drawn; also where there is no terminal. */
  note(line: string): void
  /** Nothing is under way any more: the line goes, and the plan. */
  end(): void
}

const CLEAR = '\r\x1b[K'
const TICK_MS = 1_000
/** Between two draws, and the least time that a rate is computed from. */
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
  /** When `done` became what it is. */
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

  function draw(): void {
    if (!isDrawn || (current ?? planned) === undefined) return
    drawnMs = performance.now()
    stream.write(CLEAR + lineOf(planned, current, drawnMs, (stream.columns || USUAL_COLUMNS) - 1))
    if (!isShown) process.once('exit', clear)
    isShown = true
  }

  /** From now on once a second, so that nothing drawn just now is drawn again. */
  function tick(done?: () => number): void {
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
      tick(done)
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
      tick()
      draw()
    },
    step() {
      if (planned !== undefined) count(planned, planned.done + 1)
      if (planned?.done === planned?.total) planned = current = undefined
    },
    note(line) {
      writeLine(stream, line)
      draw()
    },
    end() {
      clearInterval(ticks)
      planned = current = undefined
      if (isShown) clear()
      isShown = false
      process.off('exit', clear)
    },
  }
}

/** The progress of this process, and of those that it holds channels to. */
export const progress = createProgress(process.stderr)

/** Shows what is waited for, unless that comes in a moment. */
export async function whileWaiting<T>(progress: Progress, what: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => progress.begin(what), MOMENT_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
    progress.end()
  }
}

/** Writes a line that stays: on a terminal in the place of what is drawn there, by whichever process; that is drawn below it next. */
export function writeLine(stream: NodeJS.WriteStream, line: string): void {
  stream.write(`${isTerminal(stream) ? CLEAR : ''}${line}\n`)
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

/** What is under way is cut where the line is too long, for the figures change and it does not. */
function lineOf(planned: Work | undefined, current: Work | undefined, nowMs: number, width: number): string {
  const plan = planned && `${planned.what} ${[countOf(planned), timeOf(planned, nowMs)].filter(Boolean).join(', ')}`
  const figures = current && [countOf(current), rateOf(current), timeOf(current, nowMs)]
  const others = [plan, ...(figures ?? [])].filter(Boolean)
  const room = width - others.join(SEPARATOR).length - (others.length === 0 ? 0 : SEPARATOR.length)
  const parts = [plan, current && shortened(current.what, room), ...(figures ?? [])]
  return parts.filter(Boolean).join(SEPARATOR).slice(0, Math.max(width, 0))
}

function shortened(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(length - 1, 0))}…`
}

function countOf({ total, unit, done }: Work): string {
  const counted = `${shown(done)}${typeof total === 'number' ? `/${shown(total)}` : ''}`
  if (unit !== undefined) return `${counted} ${unit}`
  return typeof total === 'number' ? counted : ''
}

function rateOf({ unit, done, beganMs, countedMs }: Work): string {
  if (unit === undefined || done === 0) return ''
  const perS = (done / Math.max(countedMs - beganMs, BETWEEN_DRAWS_MS)) * 1_000
  return `${perS.toLocaleString('en', { maximumSignificantDigits: 3 })}/s`
}

/** The time left, or as long as nobody knows it the time passed. */
function timeOf({ total, done, beganMs, countedMs }: Work, nowMs: number): string {
  const passedMs = nowMs - beganMs
  if (typeof total === 'object') return `${clock(Math.ceil(total.seconds - passedMs / 1_000))} left`
  if (total !== undefined && done > 0) {
    const leftMs = (Math.max(countedMs - beganMs, BETWEEN_DRAWS_MS) / done) * (total - done)
    return `${clock(Math.ceil((leftMs - (nowMs - countedMs)) / 1_000))} left`
  }
  return passedMs < TICK_MS ? '' : clock(Math.floor(passedMs / 1_000))
}

function clock(seconds: number): string {
  const wholeS = Math.max(seconds, 0)
  const twoDigits = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(wholeS / 3_600), Math.floor(wholeS / 60) % 60]
  return `${hours > 0 ? `${hours}:${twoDigits(minutes)}` : minutes}:${twoDigits(wholeS % 60)}`
}

function shown(count: number): string {
  return count.toLocaleString('en')
}
