/**
 * The engine of a study: it runs every system under every load, the systems
 * taking turns run by run, so that other work of the machine affects all of them
 * alike. It decides what is run and in which order, and records it; the reports
 * are computed from the record.
 */

import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import type { Progress } from '../process/progress.ts'
import { CLONE, VERSION } from '../process/start.ts'
import { type Bench, type BenchOptions, databaseSettings, openBench } from './bench.ts'
import { CATALOGUE, SEARCH } from './catalogue.ts'
import { callsPerS } from './figures.ts'
import type { RunSize, Until } from './fleet.ts'
import { type Cell, FORMAT, type Run, type StudyRecord } from './record.ts'
import { accountsFor, type Load } from './scenarios.ts'
import { findPython, type System, type SystemName } from './systems.ts'
import { takeTurns } from './turns.ts'

/** The sizes that every part of the study has. */
export const PROFILE_NAMES = ['quick', 'full', 'tiny'] as const
export type ProfileName = (typeof PROFILE_NAMES)[number]

/** What a part of the study measures, and how large it is. */
export interface Profile {
  name: ProfileName
  systems: readonly SystemName[]
  /** In order; the runs of loads in one group take turns too. */
  loads: readonly (readonly Load[])[]
  /** The loads for trying pool sizes and for warming up. */
  rehearsals: readonly Load[]
  runs: number
  until: Until
  /** Shorter runs for the systems that don't gather, from this many clients on: there they are slow. */
  ungatheredUntil?: { fromClients: number; until: Until }
  /** Pool sizes to try for threads.py. */
  pools: readonly number[]
  sweepS: number
  warmUp: { windowS: number; windows: number }
}

const UNGATHERED: ReadonlySet<SystemName> = new Set(['queue-off', 'threads', 'pinned'])
/** Throughput is steady when the last windows are within this of each other. */
const STEADY = { windows: 3, spread: 0.1 }

export interface StudyOptions extends Omit<BenchOptions, 'accounts'> {
  profile: Profile
  /** What was typed, for the record. */
  command: string
}

/**
 * Sweeps pools, warms up, and runs every system under every load of the
 * profile, all on one bench. `measureMore` measures what only this part of the
 * study has. Rejects with the first wrong reply or violation of any run: a
 * study with errors in it has no result.
 */
export async function runStudy<More>(
  options: StudyOptions,
  measureMore: (bench: Bench) => Promise<More>,
): Promise<StudyRecord & More> {
  const { profile, seed, command, progress } = options
  const startedAt = new Date()
  const commit = readCommit()
  const python = findPython()
  progress.note('making databases')
  const bench = await openBench({ ...options, accounts: accountsFor([...profile.loads.flat(), ...profile.rehearsals]) })
  try {
    const { sweep, poolSize } = await sweepPools(bench, profile, progress)
    const systems = await Promise.all(profile.systems.map((name) => bench.start(name, { poolSize })))
    const warmUps = await warmUp(bench, systems, profile, progress)
    const cells = await runCells(bench, systems, profile, progress)
    const more = await measureMore(bench)
    return {
      format: FORMAT,
      profile: profile.name,
      command,
      startedAt: startedAt.toISOString(),
      seed,
      commit,
      tookS: (Date.now() - startedAt.getTime()) / 1_000,
      versions: { souk: VERSION, node: process.version, python: python.version },
      machine: describeMachine(),
      database: await databaseSettings(bench.urls),
      catalogue: CATALOGUE,
      search: SEARCH,
      sweep,
      poolSize,
      warmUps,
      cells,
      ...more,
    }
  } finally {
    await bench.close()
  }
}

/** Tries threads.py with each pool size; chooses the one with the best geometric mean of throughputs. */
async function sweepPools(bench: Bench, profile: Profile, progress: Progress) {
  const sweep: StudyRecord['sweep'] = []
  progress.plan('sweeping pools', profile.pools.length * profile.rehearsals.length)
  for (const poolSize of profile.pools) {
    const system = await bench.start('threads', { poolSize })
    const throughput: Record<string, number> = {}
    for (const { scenario, clients } of profile.rehearsals) {
      const run = await bench.run(system, scenario, createSize(clients, { seconds: profile.sweepS }), 0)
      throughput[scenario] = callsPerS(run)
      progress.step()
    }
    await system.stop()
    sweep.push({ poolSize, throughput })
    const shown = Object.entries(throughput).map(([scenario, perS]) => `${scenario} ${Math.round(perS)}/s`)
    progress.note(`threads.py with pools of ${poolSize}: ${shown.join(', ')}`)
  }
  const product = ({ throughput }: (typeof sweep)[number]) => Object.values(throughput).reduce((a, b) => a * b, 1)
  const best = sweep.reduce((a, b) => (product(b) > product(a) ? b : a))
  progress.note(`threads.py runs with pools of ${best.poolSize}`)
  return { sweep, poolSize: best.poolSize }
}

/** Runs every system unrecorded until its throughput is steady: code gets compiled, caches filled. */
async function warmUp(bench: Bench, systems: readonly System[], profile: Profile, progress: Progress) {
  const { rehearsals, warmUp } = profile
  progress.note('warming up until throughput is steady')
  progress.plan('warming up', systems.length * rehearsals.length)
  const warmUps: StudyRecord['warmUps'] = []
  for (const system of systems) {
    for (const { scenario, clients } of rehearsals) {
      const size = createSize(clients, { seconds: warmUp.windowS })
      const windows: number[] = []
      while (windows.length < warmUp.windows && !isSteady(windows)) {
        windows.push(callsPerS(await bench.run(system, scenario, size, windows.length)))
      }
      warmUps.push({ system: system.name, scenario, windows: windows.map(Math.round), steady: isSteady(windows) })
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
  for (const group of profile.loads) {
    const entries = group.flatMap((load) =>
      systems.map((system) => {
        const until = chooseUntil(profile, system.name, load.clients)
        return { system, cell: { ...load, system: system.name, until, runs: [] as Run[] } }
      }),
    )
    await takeTurns(profile.runs, entries, async ({ system, cell }, round) => {
      cell.runs.push(await bench.run(system, cell.scenario, createSize(cell.clients, cell.until), round))
      progress.step()
    })
    cells.push(...entries.map(({ cell }) => cell))
  }
  return cells
}

function chooseUntil({ until, ungatheredUntil }: Profile, system: SystemName, clients: number): Until {
  const isShorter = ungatheredUntil !== undefined && clients >= ungatheredUntil.fromClients && UNGATHERED.has(system)
  return isShorter ? ungatheredUntil.until : until
}

function createSize(clients: number, until: Until): RunSize {
  return { clients, until, pipeline: 1 }
}

function describeMachine(): StudyRecord['machine'] {
  const [first] = cpus()
  return {
    processor: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  }
}

/** The commit of the running code, marked if the code differs from it; unknown in an installed package. */
function readCommit(): string {
  if (CLONE === undefined) return 'unknown' // never the commit of a repository that it is installed in
  try {
    const options = { cwd: CLONE, encoding: 'utf8' } as const
    const commit = execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], options).trim()
    const changes = execFileSync('git', ['status', '--porcelain', '--', ':/', ':(exclude,top)results'], options).trim()
    return changes === '' ? commit : `${commit}, with uncommitted changes`
  } catch {
    return 'unknown'
  }
}
