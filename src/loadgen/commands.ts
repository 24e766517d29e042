/** The commands of souk-load: `run`, `study` and `report`, and the command line that starts them. */

import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type CAC, cac } from 'cac'
import { progress } from '../process/progress.ts'
import { asTyped, CLONE, endWhenOutputIsLost, fail, loadDotEnv, SetUpError, VERSION } from '../process/start.ts'
import { onStop } from '../process/stop.ts'
import { readSettings } from '../server/settings.ts'
import { type BenchOptions, openBench } from './bench.ts'
import {
  checkOptions,
  checkPart,
  describeOptions,
  type Options,
  PART_NAMES,
  type PartName,
  REPORT_OPTIONS,
  RUN_OPTIONS,
  STUDY_OPTIONS,
  type Values,
} from './options.ts'
import { MARKET_PROFILES, runMarket } from './parts/market.ts'
import { REPLICATION_PROFILES, runReplication } from './parts/replication.ts'
import { isMarket, loadRecord, newestRecords, type Run, saveRecord, writeWhole } from './record.ts'
import { renderMarket } from './reports/market.ts'
import { renderReplication } from './reports/replication.ts'
import { renderRuns } from './reports/runs.ts'
import { accountsFor, isMarketScenario } from './scenarios.ts'
import type { ProfileName } from './study.ts'

const interrupted = new AbortController()

export async function main(): Promise<void> {
  loadDotEnv()
  try {
    await runCommandLine()
  } catch (error) {
    if (interrupted.signal.aborted) fail(['interrupted: nothing was written'], 130)
    if (error instanceof SetUpError) fail(error.problems, 2)
    throw error
  }
}

function runCommandLine(): Promise<void> | undefined {
  const program = createProgram()
  try {
    program.parse(process.argv, { run: false })
    if (program.options.help || program.options.version) return void endWhenOutputIsLost()
    if (program.matchedCommand !== undefined) return program.runMatchedCommand()
    const [command] = program.args
    if (command === undefined) program.outputHelp()
    const problem = command === undefined ? 'a command is missing' : `unknown command "${command}"`
    return fail([`${problem}: run, study or report`], 2)
  } catch (error) {
    return fail([(error as Error).message], 2)
  }
}

function createProgram(): CAC {
  const program = cac('souk-load')
  const command = (usage: string, about: string, options: Options) => {
    const created = program.command(usage, about)
    for (const option of describeOptions(options)) created.option(option.typed, option.about)
    return created
  }
  command('run', 'Carry out one scenario and print its figures', RUN_OPTIONS)
    .example('souk-load run --scenario search_items --clients 100 --seconds 5')
    .example('souk-load run --target threads --scenario flash-sale --clients 200 --seconds 3')
    .action((typed) => run(checkOptions(RUN_OPTIONS, typed)))
  const parts = `${PART_NAMES.join(' or ')} (replication)`
  command('study [part]', `Measure all systems and write a record and its report; part: ${parts}`, STUDY_OPTIONS)
    .example('souk-load study market --full')
    .action((part, typed) => study(checkPart(part), checkOptions(STUDY_OPTIONS, typed)))
  command('report [file]', 'Write the report of a record, or of the newest record of each part', REPORT_OPTIONS).action(
    (file, typed) => report(file, checkOptions(REPORT_OPTIONS, typed).results),
  )
  program.help().version(VERSION)
  return program
}

async function run(options: Values<typeof RUN_OPTIONS>): Promise<void> {
  const { target, scenario, clients, calls, seconds, runs, pipeline, pool, stock, seed } = options
  if (calls !== undefined && seconds !== undefined) fail(['--calls and --seconds exclude each other'], 2)
  if (pipeline > 1 && isMarketScenario(scenario)) {
    fail([`--pipeline: the clients of ${scenario} act on each reply, so they make one call at a time`], 2)
  }
  const until = seconds === undefined ? { calls: calls ?? 1_000 } : { seconds }
  const accounts = accountsFor([{ scenario, clients }])
  const environment = openEnvironment()
  progress.note('making databases')
  const bench = await openBench({ ...environment, seed, accounts })
  const done: Run[] = []
  try {
    const system = await bench.start(target, { poolSize: pool })
    progress.plan('runs', runs)
    for (let round = 1; round <= runs; round += 1) {
      done.push(await bench.run(system, scenario, { clients, until, pipeline, stock }, round))
      progress.step()
    }
  } finally {
    await bench.close()
  }
  endWhenOutputIsLost()
  process.stdout.write(`${renderRuns(done)}\n`)
}

async function study(part: PartName, options: Values<typeof STUDY_OPTIONS>): Promise<void> {
  const { full, profile: given, seed } = options
  const profile = given ?? (full ? 'full' : 'quick')
  const results = options.results ?? usualResults(profile)
  const words = [
    'souk-load study',
    ...(part === 'replication' ? [] : [part]),
    ...(full ? ['--full'] : given === undefined ? [] : ['--profile', given]),
  ]
  const common = { ...openEnvironment(), seed, command: words.join(' ') }
  const record =
    part === 'replication'
      ? await runReplication({ ...common, profile: REPLICATION_PROFILES[profile] })
      : await runMarket({ ...common, profile: MARKET_PROFILES[profile] })
  mkdirSync(results, { recursive: true })
  report(saveRecord(results, record), results)
}

/** In a clone, git keeps the results of full studies only. */
function usualResults(profile: ProfileName): string {
  return CLONE === undefined || profile === 'full' ? 'results' : join('results', 'quick')
}

function report(file: string | undefined, results: string): void {
  const paths = file === undefined ? newestRecords(results) : [file]
  if (paths.length === 0) fail([`no record in ${results}: make one with "${asTyped('souk-load')} study"`], 2)
  for (const path of paths) {
    const record = loadRecord(path)
    const target = join(results, isMarket(record) ? 'market.md' : 'README.md')
    const text = isMarket(record) ? renderMarket(record, basename(path)) : renderReplication(record, basename(path))
    writeWhole(target, text)
    process.stdout.write(`${path}\n${target}\n`)
  }
}

/**
 * The home of private databases, which is never the marketplace's own; the databases given instead, if any; the signal
 * that ends the work; the progress line.
 */
function openEnvironment(): Pick<BenchOptions, 'home' | 'given' | 'signal' | 'progress'> {
  const settings = readSettings({}, process.env)
  if (Array.isArray(settings)) fail(settings, 2)
  return { home: join(settings.home, 'study'), given: settings, signal: onInterrupt(), progress }
}

/** The first Ctrl-C ends the work after the current run, the second one at once. */
function onInterrupt(): AbortSignal {
  onStop(async () => {
    interrupted.abort()
    progress.end()
    progress.begin('stopping after this run; Ctrl-C again stops at once')
  })
  return interrupted.signal
}
