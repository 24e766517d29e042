#!/usr/bin/env node
/**
 * souk-server: one event loop that serves sellers or buyers; without a role, the
 * whole marketplace. `souk-server schema` makes the tables, and serves nobody.
 */

import type { Role } from './contract/operations.ts'
import { defineOption, HELP_OPTION, parseArgv, UsageError, VERSION_OPTION } from './process/command-line.ts'
import { loadEnvironment, readArguments } from './process/environment.ts'
import { formatHelp } from './process/help.ts'
import { progress } from './process/progress.ts'
import { asTyped, endWhenOutputIsLost, fail, formatVersion, SetUpError, VERSION } from './process/start.ts'

progress.begin('starting') // shown at once: loading the rest takes a while
const { ROLES } = await import('./contract/operations.ts')
const { settingSources, describeSettings, readSettings, SETTINGS, VARIABLES } = await import('./server/settings.ts')

const SOUK_SERVER = asTyped('souk-server')
const HINT = `${SOUK_SERVER} --help`
const SHOW_OPTION = defineOption('--show-settings', 'print the effective settings')
const WORKS = [...ROLES, 'schema'] as const
const OPTIONS = [...SETTINGS.map(({ option }) => option), SHOW_OPTION, HELP_OPTION, VERSION_OPTION]

interface CommandLine {
  work: Role | 'schema' | 'marketplace'
  /** The settings as typed, by name. */
  flags: Record<string, string | undefined>
  /** Text that was asked for, instead of a server. */
  asksFor: 'help' | 'version' | 'settings' | undefined
  problems: readonly string[]
}

async function main(): Promise<void> {
  try {
    loadEnvironment(VARIABLES)
    const { work, flags, asksFor, problems } = readCommandLine(readArguments())
    if (asksFor === 'help') return showText(formatPage())
    if (asksFor === 'version') return showText(formatVersion('souk-server'))
    const settings = readSettings(flags, process.env)
    if (Array.isArray(settings)) throw new UsageError([...problems, ...settings], HINT)
    if (problems.length > 0) throw new UsageError(problems, HINT)
    if (asksFor === 'settings') return showText(describeSettings(settings))
    const sources = settingSources(flags)
    if (work === 'marketplace') await (await import('./server/supervisor.ts')).runMarketplace(settings, sources)
    else if (work === 'schema') showText(await (await import('./server/own-schema.ts')).ownSchema(settings, sources))
    else await (await import('./server/serve.ts')).serve(work, settings, sources)
  } catch (error) {
    if (error instanceof UsageError) fail(error.message.split('\n'), 2, error.hint)
    if (error instanceof SetUpError) fail(error.problems, 2)
    throw error
  }
}

function readCommandLine(words: readonly string[]): CommandLine {
  const isHelp = words[0] === 'help'
  const { args, options, asksFor, problems } = parseArgv(
    { commands: [], args: ['[...roles]'], options: OPTIONS },
    isHelp ? ['--help', ...words.slice(1)] : words,
  )
  const work = args.length === 0 ? 'marketplace' : WORKS.find((known) => known === args.join(' '))
  const unknown = `unknown role "${args.join(' ')}": give seller, buyer, schema, or no role`
  return {
    work: work ?? 'marketplace',
    flags: Object.fromEntries(SETTINGS.map(({ name, flag }) => [name, options.word(flag)])),
    asksFor: asksFor ?? (options.flag('show-settings') ? 'settings' : undefined),
    problems: [...problems, ...(work === undefined ? [unknown] : [])],
  }
}

function formatPage(): string {
  return formatHelp({
    title: `souk-server ${VERSION}, the marketplace: it serves sellers or buyers, or without a role both, on a private database.`,
    examples: [SOUK_SERVER, `${SOUK_SERVER} buyer --buyer-port 7202`, `SOUK_QUEUE=off ${SOUK_SERVER} --show-settings`],
    usage: `${SOUK_SERVER} [role] [options]`,
    args: [
      ['role', 'seller or buyer: one server, on the databases that run or are set; schema: tables and rights there'],
    ],
    options: OPTIONS.map(({ usage, about }) => [usage, about]),
  })
}

function showText(text: string): void {
  progress.end()
  endWhenOutputIsLost()
  process.stdout.write(`${text}\n`)
}

await main()
