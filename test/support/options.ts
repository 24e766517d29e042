/** The command line of the longer runs of tests: read, checked and explained like that of souk-load. */

import { checkOptions, describeOptions, type Options, type Values } from '../../src/loadgen/options.ts'
import { HELP_OPTION, parseArgv, UsageError } from '../../src/process/command-line.ts'
import { formatHelp } from '../../src/process/help.ts'
import { fail } from '../../src/process/start.ts'

/** `program` is what is typed before the options. Ends the process for --help, and for anything that is wrong. */
export function readOptions<O extends Options>(program: string, title: string, options: O): Values<O> {
  const syntax = [...describeOptions(options), HELP_OPTION]
  const {
    options: given,
    asksFor,
    problems,
  } = parseArgv({ commands: [], args: [], options: syntax }, process.argv.slice(2))
  if (asksFor === 'help') {
    const rows = syntax.map(({ usage, about }) => [usage, about] as const)
    process.stdout.write(`${formatHelp({ title, examples: [], usage: `${program} [options]`, options: rows })}\n`)
    process.exit(0)
  }
  try {
    return checkOptions(options, given, problems)
  } catch (error) {
    if (error instanceof UsageError) fail(error.message.split('\n'), 2, `${program} --help`)
    throw error
  }
}
