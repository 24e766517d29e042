/** souk-load as a program. */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The arguments that make Node run it. */
export const SOUK_LOAD = [
  `--import=${import.meta.resolve('tsx')}`,
  fileURLToPath(new URL('../../src/loadgen.ts', import.meta.url)),
]

/** Runs it in this home, which is also its working folder, without any other setting. */
export function soukLoad(home: string, ...rest: string[]): SpawnSyncReturns<string> {
  const env = { PATH: process.env.PATH, SOUK_HOME: home }
  return spawnSync(process.execPath, [...SOUK_LOAD, ...rest], { cwd: home, env, encoding: 'utf8' })
}
