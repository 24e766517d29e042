/**
 * Folders of a private database: nobody else can enter them, or put anything in
 * the place of what they hold.
 */

import { chmodSync, existsSync, lstatSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { SetUpError } from '../process/start.ts'

/** A problem with the home of a private database. */
export class HomeProblem extends SetUpError {}

/**
 * Makes a folder of mode 700, and those above it, or checks the one that is there. One that others can read is left as
 * it is. Throws `HomeProblem` if others could change what is in it.
 */
export function makeFolder(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) checkFolder(path)
  else makeMissing(path)
}

/** Makes a folder of mode 700, or gives the one that is there this mode. Throws `HomeProblem` if it is not ours. */
export function makeClosedFolder(path: string): void {
  makeFolder(path)
  chmodSync(path, 0o700)
}

/** Whether the folder is there, and only we can enter it. */
export function isClosedFolder(path: string): boolean {
  try {
    checkFolder(path)
  } catch {
    return false
  }
  return (statSync(path).mode & 0o077) === 0
}

/** The user that this process runs as. */
export function ownUid(): number {
  return process.geteuid?.() ?? 0
}

/** Node's own way never ends in a file system that has no folders to be made. */
function makeMissing(path: string): void {
  if (!existsSync(dirname(path))) makeMissing(dirname(path))
  mkdirSync(path, { mode: 0o700 })
}

function checkFolder(path: string): void {
  const { uid } = lstatSync(path) // whoever owns a link can lead it elsewhere
  const folder = statSync(path)
  if (folder.uid !== ownUid() || (uid !== ownUid() && uid !== 0))
    throw new HomeProblem(`${path} belongs to another user`)
  if ((folder.mode & 0o022) !== 0) throw new HomeProblem(`others can write to ${path}: chmod go-w ${path}`)
}
