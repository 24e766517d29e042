/**
 * The options of souk-load, one entry each: its text in the help, its bounds,
 * its default. Everything that is typed is checked here, once.
 */

import { z } from 'zod'
import { MOST_UNITS } from '../contract/operations.ts'
import { defineOption, type GivenOptions, type OptionSyntax, UsageError } from '../process/command-line.ts'
import { decimalNumber, describeValue, FOLDER, wholeNumber } from '../process/values.ts'
import { SCENARIO_NAMES } from './scenarios.ts'
import { PROFILE_NAMES } from './study.ts'
import { SYSTEM_NAMES } from './systems.ts'

/** An option without a `value` is a flag. */
interface Option {
  value?: string
  /** May be given several times: its values are a list. */
  repeats?: boolean
  about: string
  schema: z.ZodType
}

export type Options = Readonly<Record<string, Option>>
export type Values<O extends Options> = { [N in keyof O]: z.output<O[N]['schema']> }

/** Above the last one, workloads repeat: their random numbers start from 32 bits. */
const SEED = { value: 'n', about: 'seed of the workload', schema: wholeNumber(0, 4_000_000).default(1) }
const RESULTS = { value: 'folder', about: 'folder of records and reports', schema: FOLDER.default('results') }
const STUDY_RESULTS = {
  value: 'folder',
  about: 'folder of the record and its report (results; for short runs in a clone: results/quick)',
  schema: FOLDER.optional(),
}

export const RUN_OPTIONS = {
  target: { value: 'system', about: `one of ${SYSTEM_NAMES.join(', ')}`, schema: z.enum(SYSTEM_NAMES).default('souk') },
  scenario: {
    value: 'name',
    about: `one of ${SCENARIO_NAMES.join(', ')}`,
    schema: z.enum(SCENARIO_NAMES).default('all'),
  },
  clients: { value: 'n', about: 'clients of each role in the scenario', schema: wholeNumber(1, 1_000).default(10) },
  calls: {
    value: 'n',
    about: 'calls per client (1000, unless --seconds is given)',
    schema: wholeNumber(1, 1_000_000).optional(),
  },
  seconds: {
    value: 'n',
    about: 'length of a run, instead of --calls',
    schema: decimalNumber(0.01, 600).optional(),
  },
  runs: { value: 'n', about: 'number of runs', schema: wholeNumber(1, 100).default(3) },
  pipeline: { value: 'n', about: 'calls in flight per client', schema: wholeNumber(1, 256).default(1) },
  pool: {
    value: 'n',
    about: 'connections in each pool of the systems that do not gather',
    schema: wholeNumber(1, 200).default(16),
  },
  stock: {
    value: 'n',
    about: "units of each item at the start, instead of the scenario's",
    schema: wholeNumber(1, MOST_UNITS).optional(),
  },
  tls: { about: 'connect with TLS, with a certificate made for the run', schema: z.boolean().default(false) },
  seed: SEED,
} satisfies Options

export const STUDY_OPTIONS = {
  full: {
    about: 'ten long runs of each load, instead of three of about a second',
    schema: z.boolean().default(false),
  },
  profile: {
    value: 'name',
    about: `one of ${PROFILE_NAMES.join(', ')} (quick)`,
    schema: z.enum(PROFILE_NAMES).optional(),
  },
  seed: SEED,
  results: STUDY_RESULTS,
} satisfies Options

export const REPORT_OPTIONS = { results: RESULTS } satisfies Options

export const PART_NAMES = ['replication', 'market'] as const
export type PartName = (typeof PART_NAMES)[number]

/** The options as the command line and its help have them. */
export function describeOptions(options: Options): OptionSyntax[] {
  return Object.entries(options).map(([name, { value, repeats = false, about, schema }]) => {
    const fallback = schema.safeParse(undefined).data
    const { bounds } = describeValue(schema)
    const range = bounds === undefined ? '' : `: ${bounds}`
    const usual = value === undefined || fallback === undefined ? '' : ` (${fallback})`
    return defineOption(value === undefined ? `--${name}` : `--${name} <${value}>`, about + range + usual, { repeats })
  })
}

/** The values of the options as typed. Throws `UsageError`, which says what is wrong with each, and the earlier problems. */
export function checkOptions<O extends Options>(
  options: O,
  given: GivenOptions,
  earlierProblems: readonly string[] = [],
): Values<O> {
  const typed = Object.entries(options).map(([name, { value, repeats }]) => {
    return [name, value === undefined ? given.flag(name) : repeats ? given.words(name) : given.word(name)]
  })
  const shape = Object.fromEntries(Object.entries(options).map(([name, { schema }]) => [name, schema]))
  const checked = z.object(shape).safeParse(Object.fromEntries(typed))
  const problems = (checked.error?.issues ?? []).map(({ path, message }) => `--${String(path[0])}: ${message}`)
  if (earlierProblems.length + problems.length > 0) throw new UsageError([...earlierProblems, ...problems])
  return checked.data as Values<O>
}

/** The part of the study as typed; `report` is an old name of the replication. */
export function findPart(typed: string = 'replication'): PartName | undefined {
  return typed === 'report' ? 'replication' : PART_NAMES.find((name) => name === typed)
}
