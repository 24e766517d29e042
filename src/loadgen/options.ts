/**
 * The options of souk-load, one entry each: its text in the help, its bounds,
 * its default. Everything that is typed is checked here, once.
 */

import { z } from 'zod'
import { MOST_UNITS } from '../contract/operations.ts'
import { fail } from '../process/start.ts'
import { SCENARIO_NAMES } from './scenarios.ts'
import { PROFILE_NAMES } from './study.ts'
import { SYSTEM_NAMES } from './systems.ts'

/** An option without a `value` is a flag. */
interface Option {
  value?: string
  about: string
  schema: z.ZodType
}

export type Options = Readonly<Record<string, Option>>
export type Values<O extends Options> = { [N in keyof O]: z.output<O[N]['schema']> }

const whole = z.coerce.number().int()
const SEED = { value: 'n', about: 'seed of the workload', schema: whole.min(0).default(1) }
const RESULTS = {
  value: 'folder',
  about: 'folder of records and reports',
  schema: z.coerce.string().default('results'),
}
const STUDY_RESULTS = {
  value: 'folder',
  about: 'folder of the record and its report (results; for short runs in a clone: results/quick)',
  schema: z.coerce.string().optional(),
}

export const RUN_OPTIONS = {
  target: { value: 'system', about: `one of ${SYSTEM_NAMES.join(', ')}`, schema: z.enum(SYSTEM_NAMES).default('souk') },
  scenario: {
    value: 'name',
    about: `one of ${SCENARIO_NAMES.join(', ')}`,
    schema: z.enum(SCENARIO_NAMES).default('all'),
  },
  clients: { value: 'n', about: 'clients of each role in the scenario', schema: whole.min(1).max(1_000).default(10) },
  calls: {
    value: 'n',
    about: 'calls per client (1000, unless --seconds is given)',
    schema: whole.min(1).max(1_000_000).optional(),
  },
  seconds: {
    value: 'n',
    about: 'length of a run, instead of --calls',
    schema: z.coerce.number().min(0.01).max(600).optional(),
  },
  runs: { value: 'n', about: 'number of runs', schema: whole.min(1).max(100).default(3) },
  pipeline: { value: 'n', about: 'calls in flight per client', schema: whole.min(1).max(256).default(1) },
  pool: {
    value: 'n',
    about: 'connections in each pool of the systems that do not gather',
    schema: whole.min(1).max(200).default(16),
  },
  stock: {
    value: 'n',
    about: "units of each item at the start, instead of the scenario's",
    schema: whole.min(1).max(MOST_UNITS).optional(),
  },
  seed: SEED,
} satisfies Options

export const STUDY_OPTIONS = {
  full: {
    about: 'ten long runs of each load, instead of three of about a second',
    schema: z.boolean().default(false),
  },
  profile: {
    value: 'name',
    about: `one of ${PROFILE_NAMES.join(', ')} (quick; with --full: full)`,
    schema: z.enum(PROFILE_NAMES).optional(),
  },
  seed: SEED,
  results: STUDY_RESULTS,
} satisfies Options

export const REPORT_OPTIONS = { results: RESULTS } satisfies Options

export const PART_NAMES = ['replication', 'market'] as const
export type PartName = (typeof PART_NAMES)[number]

/** The options as cac takes them: what to type, and the help. */
export function describeOptions(options: Options): { typed: string; about: string }[] {
  return Object.entries(options).map(([name, { value, about, schema }]) => {
    const fallback = schema.safeParse(undefined).data
    return {
      typed: value === undefined ? `--${name}` : `--${name} <${value}>`,
      about: value === undefined || fallback === undefined ? about : `${about} (${fallback})`,
    }
  })
}

/** The values of the options as typed. Ends the process, exit 2, if any are wrong, and says what is wrong with each. */
export function checkOptions<O extends Options>(options: O, typed: Record<string, unknown>): Values<O> {
  const shape = Object.fromEntries(Object.entries(options).map(([name, { schema }]) => [name, schema]))
  const checked = z.object(shape).safeParse(typed)
  if (checked.success) return checked.data as Values<O>
  return fail(
    checked.error.issues.map(({ path, message }) => `--${path.join('.')}: ${message}`),
    2,
  )
}

/** The part of the study as typed; `report` is an old name of the replication. Ends the process, exit 2, for any other. */
export function checkPart(typed: string = 'replication'): PartName {
  const part = typed === 'report' ? 'replication' : PART_NAMES.find((name) => name === typed)
  return part ?? fail([`unknown part "${typed}": ${PART_NAMES.join(' or ')}`], 2)
}
