/** Faults of the servers: F1, killed; F13, restarted one after the other. */

import { below } from '../../../src/loadgen/random.ts'
import { atMostMs, drawSteps, eachStep, type Fault, isSettled, NORMAL_LOAD } from '../fault.ts'
import type { StageServer } from '../stage.ts'

const SERVERS = 4
const BACK_MS = 1_000
const ROLLING_MS = 3_000

export const F1: Fault = {
  about: 'kill -9 of a server',
  seconds: 30,
  load: NORMAL_LOAD,
  plan(random, seconds) {
    const draw = () => ({ calmMs: 100 + below(1_200, random), server: below(SERVERS, random) })
    return drawSteps(seconds, draw, ({ calmMs }) => calmMs + BACK_MS)
  },
  async run(stage, steps) {
    const backMs: number[] = []
    await eachStep(stage, steps, async (step) => {
      const server = stage.servers[Number(step.server)] as StageServer
      const pid = stage.findPid(server)
      if (pid === undefined) return
      process.kill(pid, 'SIGKILL')
      while (isAlive(pid)) await stage.pause(1)
      backMs.push(await stage.answersAfterMs(server))
      stage.expectProcess(server)
      stage.count('kills of a server')
    })
    return [atMostMs('a killed server answers again', backMs, BACK_MS)]
  },
}

export const F13: Fault = {
  about: 'SIGTERM and start of one pair of servers after the other',
  seconds: 30,
  load: NORMAL_LOAD,
  plan(random, seconds) {
    const draw = (number: number) => ({ calmMs: 500 + below(1_000, random), supervisor: number % 2 })
    return drawSteps(seconds, draw, ({ calmMs }) => calmMs + ROLLING_MS)
  },
  async run(stage, steps) {
    const endings: unknown[] = []
    await eachStep(stage, steps, async ({ supervisor }) => {
      endings.push(await stage.stopSupervisor(Number(supervisor)))
      await stage.startSupervisor(Number(supervisor))
      stage.count('restarts')
    })
    const bad = endings.filter((ending) => ending !== 0)
    return [
      {
        what: 'each ends with 0',
        figure: `${endings.length - bad.length} of ${endings.length}`,
        holds: bad.length === 0,
      },
    ]
  },
  judge(entries) {
    const calls = entries.filter((entry) => entry.kind === 'call' && entry.purpose === 'load')
    const failed = calls.filter((call) => call.kind === 'call' && !isSettled(call))
    return [{ what: 'no call fails', figure: `${failed.length} of ${calls.length}`, holds: failed.length === 0 }]
  },
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
