/** `souk-server schema`: what the owner of the tables does before servers start, whose users may change no tables. */

import { makeSchema } from '../db/prepare.ts'
import { SERVER_USERS } from '../db/rights.ts'
import { SCHEMA_VERSION } from '../db/schema.ts'
import { progress } from '../process/progress.ts'
import { findDatabases } from './serve.ts'
import type { SettingSources, Settings } from './settings.ts'

/** Returns what was done. Throws `SetUpError`. */
export async function ownSchema(settings: Settings, sources: SettingSources): Promise<string> {
  const { urls, settingNames } = await findDatabases(settings, sources, 'owner')
  progress.begin('making tables')
  await makeSchema(settingNames, urls)
  return `the tables have version ${SCHEMA_VERSION}; rights given to ${Object.values(SERVER_USERS).join(' and ')}`
}
