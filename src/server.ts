#!/usr/bin/env node
/**
 * souk-server: one event loop that serves sellers or buyers; without a role, the
 * whole marketplace.
 */

import { cac } from 'cac'
import type { Role } from './contract/operations.ts'
import { progress } from './process/progress.ts'
import { endWhenOutputIsLost, fail, loadDotEnv, SetUpError, VERSION } from './process/start.ts'

progress.begin('starting') // shown at once: loading the rest takes a while
const { ROLES } = await import('./contract/operations.ts')
const { databaseSources, describeSettings, readSettings, SETTINGS } = await import('./server/settings.ts')

async function main(): Promise<void> {
  loadDotEnv()
  const typed = readCommandLine()
  if (typed === undefined) return endWhenOutputIsLost()
  const { role, flags } = typed
  const settings = readSettings(flags, process.env)
  if (Array.isArray(settings)) fail(settings, 2)
  if (flags.showSettings) return showLine(describeSettings(settings))
  try {
    if (role === undefined)
      await (await import('./server/supervisor.ts')).runMarketplace(settings, databaseSources(flags))
    else await (await import('./server/serve.ts')).serve(role, settings, databaseSources(flags))
  } catch (error) {
    if (error instanceof SetUpError) fail(error.problems, 2)
    throw error
  }
}

/** Undefined for `--help` and `--version`, which are printed. Ends the process for anything that souk-server does not know. */
function readCommandLine(): { role: Role | undefined; flags: Record<string, unknown> } | undefined {
  const program = cac('souk-server')
  const command = program.command('[role]', 'Serve sellers or buyers; without a role, run the whole marketplace')
  for (const { flag, about, fallback } of SETTINGS) {
    command.option(`--${flag} <value>`, fallback === undefined ? about : `${about} (${fallback})`)
  }
  command.option('--show-settings', 'print the effective settings and exit')
  command.example('souk-server').example('souk-server buyer --buyer-port 7202')
  program.help().version(VERSION)
  progress.end()
  const { args, options } = program.parse(process.argv, { run: false })
  if (options.help || options.version) return undefined
  try {
    command.checkUnknownOptions()
    command.checkOptionValue()
  } catch (error) {
    fail([(error as Error).message], 2)
  }
  const [role, ...others] = args
  if (others.length > 0 || (role !== undefined && !ROLES.includes(role as Role))) {
    fail([`unknown role "${args.join(' ')}": give seller, buyer, or no role`], 2)
  }
  return { role: role as Role | undefined, flags: options }
}

function showLine(text: string): void {
  progress.end()
  endWhenOutputIsLost()
  process.stdout.write(`${text}\n`)
}

await main()
