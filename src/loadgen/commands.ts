/** The commands of souk-load: `run`, `study` and `report`, and the command line that starts them. */

import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { listChoices } from '../contract/complaints.ts'
import {
  type Argv,
  addHint,
  type CommandSyntax,
  findNearest,
  HELP_OPTION,
  parseArgv,
  UsageError,
  VERSION_OPTION,
} from '../process/command-line.ts'
import { loadEnvironment, readArguments } from '../process/environment.ts'
import { formatHelp, type HelpRow } from '../process/help.ts'
import { progress } from '../process/progress.ts'
import { asTyped, CLONE, endWhenOutputIsLost, fail, formatVersion, SetUpError, VERSION } from '../process/start.ts'
import { onStop } from '../process/stop.ts'
import { readSettings, VARIABLES } from '../server/settings.ts'
import { type BenchOptions, openBench } from './bench.ts'
import { makeCertificate } from './certificate.ts'
import {
  checkOptions,
  describeOptions,
  findPart,
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
import type { SystemName } from './systems.ts'

const SOUK_LOAD = asTyped('souk-load')

interface LoadCommand extends CommandSyntax {
  about: string
  examples: readonly string[]
  /** Its arguments and what they mean, for help. */
  argRows: readonly HelpRow[]
  /** Rejects with `UsageError`. */
  start(argv: Argv<LoadCommand>): Promise<void>
}

const COMMANDS: readonly LoadCommand[] = [
  {
    word: 'run',
    about: 'Carry out one scenario and print its figures',
    examples: [
      `${SOUK_LOAD} run --scenario search_items --clients 100 --seconds 5`,
      `${SOUK_LOAD} run --target threads --scenario flash-sale --clients 200`,
    ],
    args: [],
    argRows: [],
    options: describeOptions(RUN_OPTIONS),
    start: ({ options, problems }) => run(checkOptions(RUN_OPTIONS, options, problems)),
  },
  {
    word: 'study',
    about: 'Measure all systems and write a record and its report',
    examples: [`${SOUK_LOAD} study`, `${SOUK_LOAD} study market --full`],
    args: ['[part]'],
    argRows: [['part', `${PART_NAMES.join(' or ')} (replication)`]],
    options: describeOptions(STUDY_OPTIONS),
    start: ({ args, options, problems }) => {
      const part = findPart(args[0])
      const unknown = part === undefined ? [`unknown part "${args[0]}": ${PART_NAMES.join(' or ')}`] : []
      return study(part as PartName, checkOptions(STUDY_OPTIONS, options, [...problems, ...unknown]))
    },
  },
  {
    word: 'report',
    about: 'Write the report of a record, or of the newest record of each part',
    examples: [`${SOUK_LOAD} report`, `${SOUK_LOAD} report results/study-20261122-101502.json`],
    args: ['[file]'],
    argRows: [['file', 'a record of a study (the newest ones)']],
    options: describeOptions(REPORT_OPTIONS),
    start: async ({ args, options, problems }) =>
      report(args[0], checkOptions(REPORT_OPTIONS, options, problems).results),
  },
]
const OPTIONS = [HELP_OPTION, VERSION_OPTION]
const TLS_SYSTEMS: readonly SystemName[] = ['souk', 'queue-off']

const interrupted = new AbortController()

export async function main(): Promise<void> {
  try {
    loadEnvironment(VARIABLES)
    const words = readArguments()
    await runCommandLine(words[0] === 'help' ? [...words.slice(1), '--help'] : words)
  } catch (error) {
    if (interrupted.signal.aborted) fail(['interrupted: nothing was written'], 130)
    if (error instanceof UsageError) fail(error.message.split('\n'), 2, error.hint)
    if (error instanceof SetUpError) fail(error.problems, 2)
    throw error
  }
}

async function runCommandLine(words: readonly string[]): Promise<void> {
  const argv = parseArgv({ commands: COMMANDS, options: OPTIONS }, words)
  const { command, unknown, asksFor, problems } = argv
  if (asksFor === 'help' || words.length === 0)
    return print(command === undefined ? formatOverview() : formatCommandHelp(command))
  if (asksFor === 'version') return print(formatVersion('souk-load'))
  const names = COMMANDS.map(({ word }) => word)
  if (unknown !== undefined) {
    const nearest = findNearest(unknown, names)
    throw new UsageError([...problems, `there is no command "${unknown}"`], `${SOUK_LOAD} ${nearest ?? '--help'}`)
  }
  if (command === undefined) {
    const missing = [`a command is missing: ${listChoices(names)}`]
    throw new UsageError(problems.length > 0 ? problems : missing, `${SOUK_LOAD} --help`)
  }
  try {
    await command.start(argv)
  } catch (error) {
    throw addHint(error, `${SOUK_LOAD} ${command.word} --help`)
  }
}

function formatOverview(): string {
  return formatHelp({
    title: `souk-load ${VERSION}, the load tester: it measures a marketplace on databases of its own.`,
    examples: COMMANDS.flatMap(({ examples }) => examples.slice(0, 1)),
    usage: `${SOUK_LOAD} <command> [options]`,
    commands: COMMANDS.map(({ word, args, about }) => [[word, ...args].join(' '), about]),
    options: OPTIONS.map(({ usage, about }) => [usage, about]),
  })
}

function formatCommandHelp({ word, args, argRows, about, examples, options }: LoadCommand): string {
  return formatHelp({
    title: `${about}.`,
    examples,
    usage: [SOUK_LOAD, word, ...args, '[options]'].join(' '),
    args: argRows,
    options: [...options, HELP_OPTION].map(({ usage, about }) => [usage, about]),
  })
}

function print(text: string): void {
  endWhenOutputIsLost()
  process.stdout.write(`${text}\n`)
}

async function run(options: Values<typeof RUN_OPTIONS>): Promise<void> {
  const { target, scenario, clients, calls, seconds, runs, pipeline, pool, stock, tls, seed } = options
  const problems: string[] = []
  if (calls !== undefined && seconds !== undefined) problems.push('--calls and --seconds exclude each other')
  if (pipeline > 1 && isMarketScenario(scenario)) {
    problems.push(`--pipeline: the clients of ${scenario} act on each reply, so they make one call at a time`)
  }
  if (tls && !TLS_SYSTEMS.includes(target))
    problems.push(`--tls: ${target} speaks no TLS; ${listChoices(TLS_SYSTEMS)} do`)
  if (problems.length > 0) throw new UsageError(problems)
  const until = seconds === undefined ? { calls: calls ?? 1_000 } : { seconds }
  const accounts = accountsFor([{ scenario, clients }])
  const environment = openEnvironment()
  const certificate = tls ? makeCertificate() : undefined
  progress.note('making databases')
  const done: Run[] = []
  const bench = await openBench({ ...environment, seed, accounts }).catch((error) => {
    certificate?.remove()
    throw error
  })
  try {
    const system = await bench.start(target, { poolSize: pool, certificate })
    progress.plan('runs', runs)
    for (let round = 1; round <= runs; round += 1) {
      done.push(await bench.run(system, scenario, { clients, until, pipeline, stock }, round))
      progress.step()
    }
  } finally {
    await bench.close()
    certificate?.remove()
  }
  endWhenOutputIsLost()
  process.stdout.write(`${renderRuns(done)}\n`)
}

async function study(part: PartName, options: Values<typeof STUDY_OPTIONS>): Promise<void> {
  const { full, profile: given, seed } = options
  if (full && given !== undefined) throw new UsageError(['--full and --profile exclude each other'])
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
  if (paths.length === 0) throw new UsageError([`no record in ${results}; make one`], `${SOUK_LOAD} study`)
  for (const path of paths) {
    const record = readRecord(path)
    const target = join(results, isMarket(record) ? 'market.md' : 'README.md')
    const text = isMarket(record) ? renderMarket(record, basename(path)) : renderReplication(record, basename(path))
    writeWhole(target, text)
    process.stdout.write(`${path}\n${target}\n`)
  }
}

function readRecord(path: string): ReturnType<typeof loadRecord> {
  try {
    return loadRecord(path)
  } catch (error) {
    throw new UsageError([`${path} is no record of a study: ${explainRecord(error as Error)}`])
  }
}

function explainRecord(error: Error): string {
  if (error instanceof SyntaxError) return 'it is not JSON'
  return error instanceof TypeError ? 'parts are missing' : error.message
}

/**
 * The home of private databases, which is never the marketplace's own; the databases given instead, if any; the signal
 * that ends the work; the progress line.
 */
function openEnvironment(): Pick<BenchOptions, 'home' | 'given' | 'signal' | 'progress'> {
  const settings = readSettings({}, process.env)
  if (Array.isArray(settings)) throw new UsageError(settings, `${asTyped('souk-server')} --help`)
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
