/** F6: the link between the servers and the product database. */

import { below, oneOf } from '../../../src/loadgen/random.ts'
import type { Cut } from '../../support/faulty-link.ts'
import { atMostMs, drawSteps, eachStep, type Fault, NORMAL_LOAD, replyTimesMs, type Step } from '../fault.ts'
import type { Stage } from '../stage.ts'
import { judgeTyped, untilAllAnswer } from './database.ts'

const REQUEST_MS = 2_000
const SHAPED_MS = 1_500
/** Each lane that has fallen silent costs a call its time limit. */
const RECOVERY_MS = 10_000
const BYTES_PER_S = 64_000
const KINDS = ['delay', '64 kB/s', '1-byte slices', 'cut', 'reset', 'silence', 'half-close'] as const
const CUTS: Readonly<Record<string, Cut>> = {
  cut: 'close',
  reset: 'reset',
  silence: 'silence',
  'half-close': 'half-close',
}

export const F6: Fault = {
  about: 'the link to the database delays, slows down, slices, breaks, falls silent or half-closes',
  seconds: 45,
  load: NORMAL_LOAD,
  settings: { limitRequestMs: REQUEST_MS },
  throughLink: true,
  plan(random, seconds) {
    const first = below(KINDS.length, random)
    const draw = (number: number) => ({
      calmMs: 200 + below(600, random),
      kind: KINDS[(first + number) % KINDS.length] as string,
      delayMs: 5 + below(150, random),
      afterBytes: below(20_000, random),
      to: oneOf(['server', 'client'], random),
      all: below(2, random), // whether all connections break, or the one that carries the byte
    })
    return drawSteps(seconds, draw, ({ calmMs }) => calmMs + SHAPED_MS + 500)
  },
  async run(stage, steps) {
    const backMs: number[] = []
    await eachStep(stage, steps, async (step) => {
      await inject(stage, step)
      backMs.push(await untilAllAnswer(stage))
      stage.count(`rounds of ${step.kind}`)
    })
    return [atMostMs('all servers answer after the link is well', backMs, RECOVERY_MS)]
  },
  judge: (entries) => [judgeTyped(entries), atMostMs('time until a reply', replyTimesMs(entries), REQUEST_MS + 1_000)],
}

async function inject(stage: Stage, { kind, delayMs, afterBytes, to, all }: Step): Promise<void> {
  const { link } = stage
  if (link === undefined) throw new Error('the stage has no link')
  const cut = CUTS[kind as string]
  if (cut === undefined) {
    link.shape =
      kind === 'delay'
        ? { delayMs: Number(delayMs) }
        : kind === '64 kB/s'
          ? { bytesPerS: BYTES_PER_S, sliceBytes: 1_024 }
          : { sliceBytes: 1 }
    await stage.pause(SHAPED_MS).finally(() => {
      link.shape = {}
    })
    return
  }
  link.arm({ to: to as 'server' | 'client', after: { bytes: Number(afterBytes) }, does: cut })
  const untilMs = performance.now() + SHAPED_MS
  while (link.armed && performance.now() < untilMs) await stage.pause(5)
  link.disarm()
  if (all === 1) link.cut(cut)
}
