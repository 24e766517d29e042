#!/usr/bin/env node
/**
 * souk-load: measures a marketplace. `run` carries out one scenario, `study`
 * a part of the study on all systems, `report` writes the pages of studies
 * again. Everything runs on databases of its own.
 */

import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { cac } from 'cac'
import { z } from 'zod'
import { MOST_UNITS } from './contract/operations.ts'
import { openBench } from './loadgen/bench.ts'
import { renderMarket } from './loadgen/pages/market.ts'
import { renderRuns, renderStudy } from './loadgen/pages/replication.ts'
import { MARKET_PROFILES, runMarket } from './loadgen/parts/market.ts'
import { isMarket, loadRecord, newestRecords, type Run, saveRecord, writeWhole } from './loadgen/record.ts'
import { accountsFor, isShopping, SCENARIOS } from './loadgen/scenarios.ts'
import { PROFILES, type Profile, runStudy, type StudyOptions } from './loadgen/study.ts'
import { SYSTEM_NAMES } from './loadgen/systems.ts'
import { progress } from './process/progress.ts'
import { fail, loadDotEnv, SetUpError, VERSION } from './process/start.ts'
import { readSettings, type Settings } from './server/settings.ts'

const interrupted = new AbortController()
const PARTS = {
  report: partOf(PROFILES, runStudy),
  market: partOf(MARKET_PROFILES, runMarket),
}
const whole = z.coerce.number().int()

const runOptions = z.object({
  target: z.enum(SYSTEM_NAMES).default('souk'),
  scenario: z.enum(SCENARIOS).default('all'),
  clients: whole.min(1).max(1_000).default(10),
  calls: whole.min(1).max(1_000_000).optional(),
  seconds: z.coerce.number().min(0.01).max(600).optional(),
  runs: whole.min(1).max(100).default(3),
  pipeline: whole.min(1).max(256).default(1),
  pool: whole.min(1).max(200).default(16),
  stock: whole.min(1).max(MOST_UNITS).optional(),
  seed: whole.min(0).default(1),
})

const studyOptions = z.object({
  part: z.enum(['report', 'market']).default('report'),
  full: z.boolean().default(false),
  profile: z.enum(Object.keys(PROFILES) as (keyof typeof PROFILES)[]).optional(),
  seed: whole.min(0).default(1),
  results: z.coerce.string().default('results'),
})

function main(): Promise<void> {
  progress.end() // of starting
  loadDotEnv()
  const program = cac('souk-load')
  program
    .command('run', 'Carry out one scenario and print its figures')
    .option('--target <system>', `one of ${SYSTEM_NAMES.join(', ')} (souk)`)
    .option('--scenario <name>', `one of ${SCENARIOS.join(', ')} (all)`)
    .option('--clients <n>', 'clients of each role that is needed (10)')
    .option('--calls <n>', 'calls of each client (1000, unless --seconds)')
    .option('--seconds <n>', 'length of a run, instead of --calls')
    .option('--runs <n>', 'how many runs (3)')
    .option('--pipeline <n>', 'calls a client has under way at once (1)')
    .option('--pool <n>', 'connections of each pool of threads.py (16)')
    .option('--stock <n>', "units of each item on sale at the start, instead of the scenario's")
    .option('--seed <n>', 'seed of the workload (1)')
    .example('souk-load run --scenario search_items --clients 100 --seconds 5')
    .example('souk-load run --target threads --scenario flash-sale --clients 200 --seconds 3')
    .action((options) => run(checked(runOptions, options)))
  program
    .command(
      'study [part]',
      'Carry out a part of the study on all systems and write its results: report or market (report)',
    )
    .option('--full', 'ten long runs of everything, instead of three of about a second')
    .option('--profile <name>', `one of ${Object.keys(PROFILES).join(', ')} (quick)`)
    .option('--seed <n>', 'seed of the workload (1)')
    .option('--results <folder>', 'where the results go (results)')
    .example('souk-load study market --full')
    .action((part, options) => study(checked(studyOptions, { ...options, part })))
  program
    .command('report [file]', "Write a study's page again, or those of the newest of each part")
    .option('--results <folder>', 'where the results are (results)')
    .action((file, options) => report(file, checked(studyOptions, options).results))
  program.help().version(VERSION)
  try {
    program.parse(process.argv, { run: false })
    if (program.options.help || program.options.version) return Promise.resolve()
    if (program.matchedCommand === undefined) {
      if (program.args.length === 0) program.outputHelp()
      fail(
        [
          `${program.args.length === 0 ? 'a command is missing' : `unknown command "${program.args[0]}"`}: run, study or report`,
        ],
        2,
      )
    }
    return Promise.resolve(program.runMatchedCommand())
  } catch (error) {
    fail([(error as Error).message], 2)
  }
}

async function run(options: z.infer<typeof runOptions>): Promise<void> {
  const { target, scenario: name, clients, calls, seconds, runs, pipeline, pool, stock, seed } = options
  if (calls !== undefined && seconds !== undefined) fail(['--calls and --seconds: give one of them'], 2)
  if (pipeline > 1 && isShopping(name)) fail(['--pipeline: shoppers act on what they were told, one call at a time'], 2)
  const scenario = {
    name,
    clients,
    until: seconds === undefined ? { calls: calls ?? 1_000 } : { seconds },
    pipeline,
    stock,
  }
  const signal = interruption()
  progress.note('making databases')
  const accounts = accountsFor([{ experiment: name, clients }])
  const bench = await openBench({ ...environment(), seed, accounts, signal, progress })
  const done: Run[] = []
  try {
    const system = await bench.start(target, { poolSize: pool })
    progress.plan('runs', runs)
    for (let number = 1; number <= runs; number += 1) {
      done.push(await bench.run(system, scenario, number))
      progress.step()
    }
    progress.end()
    process.stdout.write(`${renderRuns(done)}\n`)
  } finally {
    await bench.close()
  }
}

async function study({ part, full, profile: name, seed, results }: z.infer<typeof studyOptions>): Promise<void> {
  const size = name ?? (full ? 'full' : 'quick')
  const flags = [
    ...(part === 'report' ? [] : [part]),
    ...(full ? ['--full'] : name === undefined ? [] : ['--profile', name]),
  ]
  const command = ['souk-load study', ...flags].join(' ')
  const record = await PARTS[part](size, { ...environment(), seed, command, signal: interruption(), progress })
  mkdirSync(results, { recursive: true })
  report(saveRecord(results, record), results)
}

/** A part of the study, by its size. */
function partOf<P extends Profile, R>(
  profiles: Readonly<Record<keyof typeof PROFILES, P>>,
  run: (options: StudyOptions & { profile: P }) => Promise<R>,
) {
  return (size: keyof typeof PROFILES, options: Omit<StudyOptions, 'profile'>) =>
    run({ ...options, profile: profiles[size] })
}

function report(file: string | undefined, results: string): void {
  const paths = file === undefined ? newestRecords(results) : [file]
  if (paths.length === 0) fail([`no study in ${results}: make one with "souk-load study"`], 2)
  for (const path of paths) {
    const record = loadRecord(path)
    const page = join(results, isMarket(record) ? 'market.md' : 'README.md')
    writeWhole(page, isMarket(record) ? renderMarket(record, basename(path)) : renderStudy(record, basename(path)))
    process.stdout.write(`${path}\n${page}\n`)
  }
}

/** Where the databases are: in a home of their own, never the marketplace's. */
function environment(): { home: string; given: Pick<Settings, 'customerDbUrl' | 'productDbUrl'> } {
  const settings = readSettings({}, process.env)
  if (Array.isArray(settings)) fail(settings, 2)
  return { home: join(settings.home, 'study'), given: settings }
}

/** Ctrl-C ends the work between two runs, in order; the second one at once. */
function interruption(): AbortSignal {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (interrupted.signal.aborted) process.exit(130)
      interrupted.abort()
      progress.end()
      progress.begin('stopping when this run is over; Ctrl-C again: at once')
    })
  }
  return interrupted.signal
}

function checked<T>(schema: z.ZodType<T>, options: unknown): T {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  return fail(
    result.error.issues.map(({ path, message }) => `--${path.join('.')}: ${message}`),
    2,
  )
}

try {
  await main()
} catch (error) {
  if (interrupted.signal.aborted) fail(['interrupted: nothing was written'], 130)
  if (error instanceof SetUpError) fail([error.message], 2)
  throw error
}
