/**
 * The study: every system at every load, run by run in turn, so that whatever
 * else the machine does meets them all alike. It decides what is run, in which
 * order, and records it; what it means is computed from the record.
 */

import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import { VERSION } from '../program.ts'
import type { Settings } from '../settings.ts'
import { type Bench, databaseSettings, openBench } from './bench.ts'
import { throughputOf } from './figures.ts'
import type { Scenario } from './fleet.ts'
import type { Progress } from './progress.ts'
import { type Cell, type Experiment, FORMAT, type Run, type Study } from './record.ts'
import { findPython, SYSTEM_NAMES, type System, type SystemName } from './systems.ts'
import { CATALOGUE, OPERATIONS, SEARCH } from './workload.ts'

/** How large a study is. */
export interface Profile {
  name: string
  clients: readonly number[]
  runs: number
  until: Scenario['until']
  /** Fewer calls, at this many clients and more, for the systems that don't gather: there they are slow. */
  ungatheredUntil?: { fromClients: number; until: Scenario['until'] }
  /** Pool sizes of threads.py to choose from. */
  pools: readonly number[]
  sweepS: number
}

export const PROFILES = {
  /** About a second a run: minutes in all. */
  quick: {
    name: 'quick',
    clients: [1, 10, 100],
    runs: 3,
    until: { seconds: 0.65 },
    pools: [8, 16, 32, 64],
    sweepS: 0.5,
  },
  /** As in the report: ten runs of a thousand calls a client. */
  full: {
    name: 'full',
    clients: [1, 10, 100],
    runs: 10,
    until: { calls: 1_000 },
    ungatheredUntil: { fromClients: 100, until: { calls: 100 } },
    pools: [8, 16, 32, 64, 100],
    sweepS: 1.5,
  },
  /** Just large enough that every part of a study has happened. */
  tiny: { name: 'tiny', clients: [1, 2, 3], runs: 2, until: { calls: 20 }, pools: [2, 4], sweepS: 0.05 },
} as const satisfies Record<string, Profile>

const EXPERIMENTS: readonly Experiment[] = [...OPERATIONS, 'all']
const UNGATHERED: ReadonlySet<SystemName> = new Set(['queue-off', 'threads', 'pinned'])
const WARM_UP_WINDOW_S = 0.12
const WARM_UP_WINDOWS = 12
/** Steady: the last windows lie within this of each other. */
const STEADY = { windows: 3, spread: 0.1 }

export interface StudyOptions {
  profile: Profile
  home: string
  given: Pick<Settings, 'customerDbUrl' | 'productDbUrl'>
  seed: number
  command: string
  /** Once aborted, no further run begins. */
  signal: AbortSignal
}

/** How many steps `runStudy` tells of. */
export function stepsOf({ clients, runs }: Profile): number {
  return clients.length * EXPERIMENTS.length * SYSTEM_NAMES.length * runs
}

/** Rejects with the first wrong reply of any run: a study with errors in it has no result. */
export async function runStudy(options: StudyOptions, progress: Progress): Promise<Study> {
  const { profile, seed, command } = options
  const startedAt = new Date()
  const commit = commitOfSource()
  const python = findPython()
  progress.note('making databases, signing up clients (scrypt is slow on purpose)')
  const bench = await openBench({ ...options, accounts: Math.max(...profile.clients) })
  try {
    const { sweep, poolSize } = await sweepPools(bench, profile, progress)
    const systems = await Promise.all(SYSTEM_NAMES.map((name) => bench.start(name, { poolSize })))
    const warmUps = await warmUpAll(bench, systems, profile, progress)
    const cells = await runCells(bench, systems, profile, progress)
    return {
      format: FORMAT,
      ...{ profile: profile.name, command, startedAt: startedAt.toISOString(), seed, commit },
      tookS: (Date.now() - startedAt.getTime()) / 1_000,
      versions: { souk: VERSION, node: process.version, python: python.version },
      machine: machine(),
      database: await databaseSettings(bench.urls),
      ...{ catalogue: CATALOGUE, search: SEARCH, replyBytes: bench.replyBytes },
      ...{ sweep, poolSize, clients: [...profile.clients], warmUps, cells },
    }
  } finally {
    progress.end()
    await bench.close()
  }
}

/** Tries threads.py at the largest load with each pool size; takes the one with the best geometric mean of throughputs. */
async function sweepPools(bench: Bench, profile: Profile, progress: Progress) {
  const sweep: Study['sweep'] = []
  const clients = Math.max(...profile.clients)
  for (const poolSize of profile.pools) {
    const system = await bench.start('threads', { poolSize })
    const throughput: Record<string, number> = {}
    for (const experiment of OPERATIONS) {
      const run = await bench.run(system, scenarioOf(experiment, clients, { seconds: profile.sweepS }), 0)
      throughput[experiment] = throughputOf(run)
    }
    await system.stop()
    sweep.push({ poolSize, throughput })
    const shown = Object.entries(throughput).map(([operation, perS]) => `${operation} ${Math.round(perS)}/s`)
    progress.note(`threads.py with pools of ${poolSize}: ${shown.join(', ')}`)
  }
  const worth = (entry: (typeof sweep)[number]) =>
    Object.values(entry.throughput).reduce((product, perS) => product * perS, 1)
  const best = sweep.reduce((a, b) => (worth(b) > worth(a) ? b : a))
  progress.note(`threads.py runs with pools of ${best.poolSize}`)
  return { sweep, poolSize: best.poolSize }
}

/** Runs every system unrecorded until its throughput is steady: code is compiled, caches are filled. */
async function warmUpAll(bench: Bench, systems: readonly System[], profile: Profile, progress: Progress) {
  progress.note('warming up until throughput is steady')
  const warmUps: Study['warmUps'] = []
  for (const system of systems) {
    for (const experiment of OPERATIONS) {
      const windows: number[] = []
      while (windows.length < WARM_UP_WINDOWS && !isSteady(windows)) {
        const until = { seconds: WARM_UP_WINDOW_S }
        const run = await bench.run(system, scenarioOf(experiment, Math.max(...profile.clients), until), windows.length)
        windows.push(throughputOf(run))
      }
      warmUps.push({ system: system.name, experiment, windows: windows.map(Math.round), steady: isSteady(windows) })
    }
  }
  return warmUps
}

function isSteady(windows: readonly number[]): boolean {
  const last = windows.slice(-STEADY.windows)
  return last.length === STEADY.windows && Math.max(...last) <= Math.min(...last) * (1 + STEADY.spread)
}

async function runCells(bench: Bench, systems: readonly System[], profile: Profile, progress: Progress) {
  const cells: Cell[] = []
  for (const clients of profile.clients) {
    for (const experiment of EXPERIMENTS) {
      const rows = systems.map((system) => {
        const until = untilOf(profile, system.name, clients)
        return { system, cell: { experiment, clients, system: system.name, until, runs: [] as Run[] } }
      })
      for (let run = 0; run < profile.runs; run += 1) {
        // A B C D, D C B A, …: none is always the first.
        for (const { system, cell } of run % 2 === 0 ? rows : rows.toReversed()) {
          progress.step(`${clients} clients, ${experiment}, ${system.name}, run ${run + 1}`)
          cell.runs.push(await bench.run(system, scenarioOf(experiment, clients, cell.until), run))
        }
      }
      cells.push(...rows.map(({ cell }) => cell))
    }
  }
  return cells
}

function untilOf({ until, ungatheredUntil }: Profile, system: SystemName, clients: number): Scenario['until'] {
  const fewer = ungatheredUntil !== undefined && clients >= ungatheredUntil.fromClients && UNGATHERED.has(system)
  return fewer ? ungatheredUntil.until : until
}

export function scenarioOf(experiment: Experiment, clients: number, until: Scenario['until']): Scenario {
  return { clients, operations: experiment === 'all' ? OPERATIONS : [experiment], until, pipeline: 1 }
}

function machine(): Study['machine'] {
  const [first] = cpus()
  return {
    processor: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  }
}

/** The commit of the code that runs, marked when the code differs from it. */
function commitOfSource(): string {
  try {
    const options = { cwd: new URL('.', import.meta.url), encoding: 'utf8' } as const
    const commit = execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], options).trim()
    const changes = execFileSync('git', ['status', '--porcelain', '--', ':/', ':(exclude,top)results'], options).trim()
    return changes === '' ? commit : `${commit}, with uncommitted changes`
  } catch {
    return 'unknown'
  }
}
