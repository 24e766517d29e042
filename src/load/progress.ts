/** How far long work is, on a terminal only: counts and time left, drawn between runs and never during one. */

export interface Progress {
  /** Says what is done now; counts as one step unless it is preparation. */
  step(what: string): void
  note(line: string): void
  end(): void
}

export function createProgress(stream: NodeJS.WriteStream, steps: number): Progress {
  let done = 0
  let beganMs = performance.now()

  function draw(what: string): void {
    if (!stream.isTTY) return
    const leftS = done === 0 ? undefined : ((performance.now() - beganMs) / done / 1_000) * (steps - done)
    const left = leftS === undefined ? '' : ` · ${minutes(leftS)} left`
    stream.write(`\r\x1b[K${`${done}/${steps}${left} · ${what}`.slice(0, (stream.columns ?? 80) - 1)}`)
  }

  return {
    step(what) {
      if (done === 0) beganMs = performance.now()
      draw(what)
      done += 1
    },
    note(line) {
      stream.write(stream.isTTY ? `\r\x1b[K${line}\n` : `${line}\n`)
    },
    end() {
      if (stream.isTTY) stream.write('\r\x1b[K')
    },
  }
}

function minutes(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`
}
