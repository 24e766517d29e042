/**
 * Before servers start: can both databases be used, have they the tables of this
 * version, and the servers' users their rights? All problems are found at once,
 * and each names its setting.
 */

import type { Role } from '../contract/operations.ts'
import { asTyped, SetUpError } from '../process/start.ts'
import { withConnection } from './connect.ts'
import { explainError, isDenial } from './problems.ts'
import { checkRights, grantRights } from './rights.ts'
import { applySchema, type DatabaseName, type DatabaseUrls } from './schema.ts'

/** The setting that says where each database is. */
export type DatabaseSettings = Readonly<Record<DatabaseName, string>>

/** Oldest MariaDB with SKIP LOCKED. */
const LEAST_VERSION = [10, 6, 0] as const
const NAMES: readonly DatabaseName[] = ['customer', 'product']

/**
 * Gives both databases the tables of this version, which takes no rights if they have them, and checks the rights of
 * servers of these roles. Throws `SetUpError` if the databases can't be used.
 */
export async function prepareDatabases(
  settings: DatabaseSettings,
  urls: DatabaseUrls,
  roles: readonly Role[],
): Promise<void> {
  const step = (work: Step) => forBoth(settings, urls, (name, url) => work(name, url).catch(pointToOwner(url)))
  await step((_name, url) => checkServer(url))
  await step((name) => applySchema(name, urls))
  await step((name, url) => checkRights(name, url, roles))
}

/**
 * The step of the tables' owner: gives both databases the tables of this version, and the servers' users their rights.
 * Throws `SetUpError`.
 */
export async function makeSchema(settings: DatabaseSettings, urls: DatabaseUrls): Promise<void> {
  await forBoth(settings, urls, (_name, url) => checkServer(url))
  await forBoth(settings, urls, (name) => applySchema(name, urls))
  await forBoth(settings, urls, grantRights)
}

/** Does the step for both databases at once. Throws `SetUpError` with the problems of both. */
export async function forBoth(settings: DatabaseSettings, urls: DatabaseUrls, step: Step): Promise<void> {
  const problems = await Promise.all(NAMES.map((name) => findProblem(settings[name], name, urls[name], step)))
  const found = new Set(problems.filter((problem) => problem !== undefined)) // one problem, if both have one setting
  if (found.size > 0) throw new SetUpError(...found)
}

type Step = (name: DatabaseName, url: string) => Promise<void>

async function findProblem(setting: string, name: DatabaseName, url: string, step: Step): Promise<string | undefined> {
  try {
    await step(name, url)
    return undefined
  } catch (error) {
    const problem = error instanceof SetUpError ? error.message : explainError(error, url)
    if (problem === undefined) throw error
    return `${setting}: ${problem}`
  }
}

/** A user without a right can ask the owner of the tables for it. */
function pointToOwner(url: string): (error: unknown) => never {
  return (error) => {
    if (!isDenial(error)) throw error
    throw new SetUpError(
      `${explainError(error, url)}; "${asTyped('souk-server')} schema", run by the owner of the tables, makes them and gives rights`,
    )
  }
}

async function checkServer(url: string): Promise<void> {
  await withConnection(url, async (connection) => {
    if (connection.info?.isMariaDB() && connection.info.hasMinVersion(...LEAST_VERSION)) return
    const least = LEAST_VERSION.slice(0, 2).join('.')
    throw new SetUpError(`souk needs MariaDB ${least} or newer, and this server is ${connection.serverVersion()}`)
  })
}
