/** F11: the disk under the database is full, and then is not. It is a small disk in memory, which only root can make. */

import { spawnSync } from 'node:child_process'
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { below } from '../../../src/loadgen/random.ts'
import { anItem } from '../../support/clients.ts'
import { temporaryHome } from '../../support/marketplace.ts'
import { atMostMs, drawSteps, eachStep, type Fault, NORMAL_LOAD } from '../fault.ts'
import { newClient } from '../probes.ts'
import { judgeTyped, untilAllAnswer } from './database.ts'

/** The database's log alone takes 256 MiB. */
const DISK = '512m'
const PIECE = Buffer.alloc(1024 * 1024)
const FULL_MS = 3_000

export const F11: Fault = {
  about: 'the disk under the database is full, then freed',
  seconds: 30,
  load: NORMAL_LOAD,
  onSmallDisk: true,
  lacks: () => (mountable() ? undefined : 'the right to mount a small disk (root, and mount)'),
  plan(random, seconds) {
    const draw = () => ({ calmMs: 500 + below(1_500, random), fullMs: FULL_MS + below(3_000, random) })
    return drawSteps(seconds, draw, ({ calmMs, fullMs }) => calmMs + Number(fullMs))
  },
  async run(stage, steps) {
    const seller = await newClient(stage, 'seller')
    const buyer = await newClient(stage, 'buyer')
    const { result } = await seller.call('register_item_for_sale', anItem())
    const read = async () => (await buyer.call('get_item', { item_id: result?.item_id })).result !== undefined
    const backMs: number[] = []
    let reads = 0
    let readsFailed = 0
    await eachStep(stage, steps, async ({ fullMs }) => {
      const filler = join(stage.marketplace.home, 'filler')
      fill(filler)
      const untilMs = performance.now() + Number(fullMs)
      try {
        while (performance.now() < untilMs) {
          fill(filler)
          reads += 1
          if (!(await read())) readsFailed += 1
          await stage.pause(50)
        }
      } finally {
        rmSync(filler, { force: true })
      }
      const freedMs = performance.now()
      await untilAllAnswer(stage)
      while ((await seller.call('register_item_for_sale', { ...anItem() })).result === undefined) await stage.pause(20)
      backMs.push(performance.now() - freedMs)
      stage.count('times full')
    })
    seller.close()
    buyer.close()
    return [
      { what: 'reads go on', figure: `${readsFailed} of ${reads} fail`, holds: readsFailed === 0 },
      atMostMs('writes succeed again after the disk is freed', backMs, 2_000),
    ]
  },
  judge: (entries) => [judgeTyped(entries)],
}

/** A folder on a small disk, and how to remove both. */
export function makeSmallDisk(): { home: string; remove(): void } {
  const folder = temporaryHome()
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK}`, 'tmpfs', folder], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`no small disk: ${stderr}`)
  return {
    home: join(folder, 'home'),
    remove() {
      spawnSync('umount', ['-l', folder])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function mountable(): boolean {
  if (process.getuid?.() !== 0) return false
  try {
    makeSmallDisk().remove()
    return true
  } catch {
    return false
  }
}

/** Takes what is left of the disk. */
function fill(path: string): void {
  const file = openSync(path, 'a')
  try {
    const { bavail, bsize } = statfsSync(path)
    for (let leftBytes = bavail * bsize; leftBytes > 0; leftBytes -= PIECE.length) {
      writeSync(file, PIECE.subarray(0, Math.min(PIECE.length, leftBytes)))
    }
  } catch {
    // it is full
  } finally {
    closeSync(file)
  }
}
