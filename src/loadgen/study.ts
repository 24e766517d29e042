/**
 * A study: every system at every load, run by run in turn, so that whatever
 * else the machine does meets them all alike. It decides what is run, in which
 * order, and records it; what it means is computed from the record. This is
 * how any part of the study is measured, and the part that repeats the
 * original's experiments.
 */

import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import type { Progress } from '../process/progress.ts'
import { CLONE, VERSION } from '../process/start.ts'
import { type Bench, type BenchOptions, databaseSettings, openBench } from './bench.ts'
import { throughputOf } from './figures.ts'
import { type Cell, FORMAT, type Measured, type Run, type Study } from './record.ts'
import { accountsFor, CALLING, type Load, type Scenario } from './scenarios.ts'
import { findPython, SYSTEM_NAMES, type System, type SystemName } from './systems.ts'
import { CATALOGUE, OPERATIONS, SEARCH } from './workload.ts'

/** What a part of the study measures, and how large it is. */
export interface Profile {
  name: string
  systems: readonly SystemName[]
  /** In this order; the runs of loads that stand together take turns too. */
  loads: readonly (readonly Load[])[]
  /** The loads that pool sizes are tried with, and systems are warmed up with. */
  rehearsals: readonly Load[]
  runs: number
  until: Scenario['until']
  /** Fewer calls, at this many clients and more, for the systems that don't gather: there they are slow. */
  ungatheredUntil?: { fromClients: number; until: Scenario['until'] }
  /** Pool sizes of threads.py to choose from. */
  pools: readonly number[]
  sweepS: number
  warmUp: { windowS: number; windows: number }
}

/** The original's experiments: N clients of each operation, and N sellers and N buyers with all four. */
const REPORT = {
  systems: SYSTEM_NAMES,
  loads: [1, 10, 100].flatMap((clients) => CALLING.map((experiment) => [{ experiment, clients }])),
  rehearsals: OPERATIONS.map((experiment) => ({ experiment, clients: 100 })),
  warmUp: { windowS: 0.12, windows: 12 },
}

export const PROFILES = {
  /** About a second a run: minutes in all. */
  quick: { ...REPORT, name: 'quick', runs: 3, until: { seconds: 0.65 }, pools: [8, 16, 32, 64], sweepS: 0.5 },
  /** As in the report: ten runs of a thousand calls a client. */
  full: {
    ...{ ...REPORT, name: 'full', runs: 10, until: { calls: 1_000 }, pools: [8, 16, 32, 64, 100], sweepS: 1.5 },
    ungatheredUntil: { fromClients: 100, until: { calls: 100 } },
  },
  /** Just large enough that every part of a study has happened. */
  tiny: {
    ...{ ...REPORT, name: 'tiny', runs: 2, until: { calls: 20 }, pools: [2, 4], sweepS: 0.05 },
    loads: [1, 2, 3].flatMap((clients) => CALLING.map((experiment) => [{ experiment, clients }])),
    rehearsals: OPERATIONS.map((experiment) => ({ experiment, clients: 3 })),
  },
} satisfies Record<string, Profile>

const UNGATHERED: ReadonlySet<SystemName> = new Set(['queue-off', 'threads', 'pinned'])
/** Steady: the last windows lie within this of each other. */
const STEADY = { windows: 3, spread: 0.1 }

export interface StudyOptions extends Omit<BenchOptions, 'accounts'> {
  profile: Profile
  command: string
}

/** Rejects with the first wrong reply of any run: a study with errors in it has no result. */
export function runStudy(options: StudyOptions): Promise<Study> {
  const clients = [...new Set(options.profile.loads.flat().map((load) => load.clients))]
  return measure(options, async ({ replyBytes }) => ({ replyBytes, clients }))
}

/**
 * Sweeps pools, warms up, and runs every system at every load of the profile,
 * all on one bench. `measureMore` is what only this part of the study has.
 */
export async function measure<More>(
  options: StudyOptions,
  measureMore: (bench: Bench) => Promise<More>,
): Promise<Measured & More> {
  const { profile, seed, command, progress } = options
  const startedAt = new Date()
  const commit = commitOfSource()
  const python = findPython()
  progress.note('making databases')
  const bench = await openBench({ ...options, accounts: accountsFor([...profile.loads.flat(), ...profile.rehearsals]) })
  try {
    const { sweep, poolSize } = await sweepPools(bench, profile, progress)
    const systems = await Promise.all(profile.systems.map((name) => bench.start(name, { poolSize })))
    const warmUps = await warmUpAll(bench, systems, profile, progress)
    const cells = await runCells(bench, systems, profile, progress)
    const more = await measureMore(bench)
    return {
      format: FORMAT,
      ...{ profile: profile.name, command, startedAt: startedAt.toISOString(), seed, commit },
      tookS: (Date.now() - startedAt.getTime()) / 1_000,
      versions: { souk: VERSION, node: process.version, python: python.version },
      machine: machine(),
      database: await databaseSettings(bench.urls),
      ...{ catalogue: CATALOGUE, search: SEARCH, sweep, poolSize, warmUps, cells },
      ...more,
    }
  } finally {
    await bench.close()
  }
}

/** Tries threads.py with each pool size; takes the one with the best geometric mean of throughputs. */
async function sweepPools(bench: Bench, profile: Profile, progress: Progress) {
  const sweep: Study['sweep'] = []
  progress.plan('sweeping pools', profile.pools.length * profile.rehearsals.length)
  for (const poolSize of profile.pools) {
    const system = await bench.start('threads', { poolSize })
    const throughput: Record<string, number> = {}
    for (const load of profile.rehearsals) {
      const run = await bench.run(system, scenarioOf(load, { seconds: profile.sweepS }), 0)
      throughput[load.experiment] = throughputOf(run)
      progress.step()
    }
    await system.stop()
    sweep.push({ poolSize, throughput })
    const shown = Object.entries(throughput).map(([experiment, perS]) => `${experiment} ${Math.round(perS)}/s`)
    progress.note(`threads.py with pools of ${poolSize}: ${shown.join(', ')}`)
  }
  const worth = (entry: (typeof sweep)[number]) =>
    Object.values(entry.throughput).reduce((product, perS) => product * perS, 1)
  const best = sweep.reduce((a, b) => (worth(b) > worth(a) ? b : a))
  progress.note(`threads.py runs with pools of ${best.poolSize}`)
  return { sweep, poolSize: best.poolSize }
}

/** Runs every system unrecorded until its throughput is steady: code is compiled, caches are filled. */
async function warmUpAll(
  bench: Bench,
  systems: readonly System[],
  { rehearsals, warmUp }: Profile,
  progress: Progress,
) {
  progress.note('warming up until throughput is steady')
  progress.plan('warming up', systems.length * rehearsals.length)
  const warmUps: Study['warmUps'] = []
  for (const system of systems) {
    for (const load of rehearsals) {
      const windows: number[] = []
      while (windows.length < warmUp.windows && !isSteady(windows)) {
        const run = await bench.run(system, scenarioOf(load, { seconds: warmUp.windowS }), windows.length)
        windows.push(throughputOf(run))
      }
      const { experiment } = load
      warmUps.push({ system: system.name, experiment, windows: windows.map(Math.round), steady: isSteady(windows) })
      progress.step()
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
  progress.plan('runs', profile.loads.flat().length * systems.length * profile.runs)
  for (const together of profile.loads) {
    const rows = together.flatMap((load) =>
      systems.map((system) => {
        const until = untilOf(profile, system.name, load.clients)
        return { system, load, cell: { ...load, system: system.name, until, runs: [] as Run[] } }
      }),
    )
    for (let run = 0; run < profile.runs; run += 1) {
      // A B C D, D C B A, …: none is always the first.
      for (const { system, load, cell } of run % 2 === 0 ? rows : rows.toReversed()) {
        cell.runs.push(await bench.run(system, scenarioOf(load, cell.until), run))
        progress.step()
      }
    }
    cells.push(...rows.map(({ cell }) => cell))
  }
  return cells
}

function untilOf({ until, ungatheredUntil }: Profile, system: SystemName, clients: number): Scenario['until'] {
  const fewer = ungatheredUntil !== undefined && clients >= ungatheredUntil.fromClients && UNGATHERED.has(system)
  return fewer ? ungatheredUntil.until : until
}

function scenarioOf({ experiment, clients }: Load, until: Scenario['until']): Scenario {
  return { name: experiment, clients, until, pipeline: 1 }
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

/** The commit of the code that runs, marked when the code differs from it; unknown of an installed package. */
function commitOfSource(): string {
  if (CLONE === undefined) return 'unknown' // and not that of a repository it is installed in
  try {
    const options = { cwd: CLONE, encoding: 'utf8' } as const
    const commit = execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], options).trim()
    const changes = execFileSync('git', ['status', '--porcelain', '--', ':/', ':(exclude,top)results'], options).trim()
    return changes === '' ? commit : `${commit}, with uncommitted changes`
  } catch {
    return 'unknown'
  }
}
