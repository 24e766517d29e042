#!/usr/bin/env node
/**
 * souk-load: measures a marketplace. `run` carries out one scenario, `study`
 * the report's three experiments on all systems, `report` writes the tables of
 * a study again. Everything runs on databases of its own.
 */

import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { cac } from 'cac'
import { z } from 'zod'
import { openBench } from './load/bench.ts'
import { createProgress } from './load/progress.ts'
import { type Experiment, loadStudy, newestStudy, type Run, saveStudy, writeWhole } from './load/record.ts'
import { renderRuns, renderStudy } from './load/report.ts'
import { PROFILES, type Profile, runStudy, scenarioOf, stepsOf } from './load/study.ts'
import { SYSTEM_NAMES, SYSTEMS } from './load/systems.ts'
import { OPERATIONS } from './load/workload.ts'
import { SetUpError } from './mariadbd.ts'
import { fail, VERSION } from './program.ts'
import { loadDotEnv, readSettings, type Settings } from './settings.ts'

const interrupted = new AbortController()
const EXPERIMENTS = [...OPERATIONS, 'all'] as const satisfies readonly Experiment[]
const whole = z.coerce.number().int()

const runOptions = z.object({
  target: z.enum(SYSTEM_NAMES).default('souk'),
  operation: z.enum(EXPERIMENTS).default('all'),
  clients: whole.min(1).max(1_000).default(10),
  calls: whole.min(1).max(1_000_000).optional(),
  seconds: z.coerce.number().min(0.01).max(600).optional(),
  runs: whole.min(1).max(100).default(3),
  pipeline: whole.min(1).max(256).default(1),
  pool: whole.min(1).max(200).default(16),
  seed: whole.min(0).default(1),
})

const studyOptions = z.object({
  full: z.boolean().default(false),
  profile: z.enum(Object.keys(PROFILES) as (keyof typeof PROFILES)[]).optional(),
  seed: whole.min(0).default(1),
  results: z.coerce.string().default('results'),
})

function main(): Promise<void> {
  loadDotEnv()
  const program = cac('souk-load')
  program
    .command('run', 'Carry out one scenario and print its figures')
    .option('--target <system>', `one of ${SYSTEM_NAMES.join(', ')} (souk)`)
    .option('--operation <name>', `one of ${EXPERIMENTS.join(', ')} (all)`)
    .option('--clients <n>', 'clients of each role that is needed (10)')
    .option('--calls <n>', 'calls of each client (1000, unless --seconds)')
    .option('--seconds <n>', 'length of a run, instead of --calls')
    .option('--runs <n>', 'how many runs (3)')
    .option('--pipeline <n>', 'calls a client has under way at once (1)')
    .option('--pool <n>', 'connections of each pool of threads.py (16)')
    .option('--seed <n>', 'seed of the workload (1)')
    .example('souk-load run --operation search_items --clients 100 --seconds 5')
    .example('souk-load run --target threads --operation register_item_for_sale --clients 100 --calls 200')
    .action((options) => run(checked(runOptions, options)))
  program
    .command('study', "Carry out the report's experiments on all systems and write the results")
    .option('--full', "the report's ten runs of 1000 calls a client, instead of three of about a second")
    .option('--profile <name>', `one of ${Object.keys(PROFILES).join(', ')} (quick)`)
    .option('--seed <n>', 'seed of the workload (1)')
    .option('--results <folder>', 'where the results go (results)')
    .example('souk-load study --full')
    .action((options) => study(checked(studyOptions, options)))
  program
    .command('report [file]', "Write a study's report again, of the newest unless one is given")
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
  const { target, operation, clients, calls, seconds, runs, pipeline, pool, seed } = options
  if (calls !== undefined && seconds !== undefined) fail(['--calls and --seconds: give one of them'], 2)
  const until = seconds === undefined ? { calls: calls ?? 1_000 } : { seconds }
  const signal = interruption()
  const progress = createProgress(process.stderr, runs)
  progress.note('making databases, signing up clients (scrypt is slow on purpose)')
  const bench = await openBench({ ...environment(), seed, accounts: clients, signal })
  const done: Run[] = []
  try {
    const system = await bench.start(target, { poolSize: pool })
    const scenario = { ...scenarioOf(operation, clients, until), pipeline }
    for (let number = 1; number <= runs; number += 1) {
      progress.step(`${SYSTEMS[target]}, run ${number}`)
      done.push(await bench.run(system, scenario, number))
    }
    progress.end()
    process.stdout.write(`${renderRuns(done, scenario.operations)}\n`)
  } finally {
    progress.end()
    await bench.close()
  }
}

async function study({ full, profile: name, seed, results }: z.infer<typeof studyOptions>): Promise<void> {
  const profile: Profile = PROFILES[name ?? (full ? 'full' : 'quick')]
  const command = `npm run study${full ? ' -- --full' : name === undefined ? '' : ` -- --profile ${name}`}`
  const progress = createProgress(process.stderr, stepsOf(profile))
  const record = await runStudy({ ...environment(), profile, seed, command, signal: interruption() }, progress)
  mkdirSync(results, { recursive: true })
  report(saveStudy(results, record), results)
}

function report(file: string | undefined, results: string): void {
  const path = file ?? newestStudy(results)
  if (path === undefined) fail([`no study in ${results}: make one with "npm run study"`], 2)
  const page = join(results, 'README.md')
  writeWhole(page, renderStudy(loadStudy(path), basename(path)))
  process.stdout.write(`${path}\n${page}\n`)
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
