/**
 * Password hashes: scrypt, one or two at a time, since each takes a core for a
 * sixth of a second. Further ones wait for their turn. Logins from a network that the
 * account knows take turns with everything else; in either half networks have one
 * turn after the other, and so do the accounts of a network, and connections.
 * Whoever asks for many waits for them, and nobody else does. Beyond its places a
 * sender is refused as `overloaded`.
 *
 * A hash carries its parameters, so that they can rise later:
 * `scrypt$15$8$3$salt$hash` is N=2^15, r=8, p=3.
 */

import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { Refused, timedOut } from '../../contract/refusals.ts'
import { type Peer, toNetwork } from '../peer.ts'
import { Turns } from '../turns.ts'

const COST = '15$8$3'
const HASH_BYTES = 32
/** The event loop and the database need a core. */
const AT_ONCE = availableParallelism() > 2 ? 2 : 1
/** Places in the whole line, in a half, for a network, for an account or all others of the network, for a connection. */
const PLACES = [1_024, 512, 128, 32, 8] as const
const RETRY_AFTER_MS = 1_000

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** Who wants a password looked at, or made; `knownAs` is the account, if it knows the network. */
export interface Sender {
  peer: Peer
  knownAs?: string | undefined
}

const line = new Turns<() => void>(...PLACES)
let underWay = 0

/**
 * Does the work, in which one password is hashed, when it is the sender's turn. Rejects with `Refused`, `overloaded` or
 * `timeout`, or with what the work threw.
 */
export function inTurn<T>({ peer, knownAs }: Sender, deadlineMs: number, work: () => Promise<T>): Promise<T> {
  const path = [knownAs !== undefined, toNetwork(peer.address), knownAs, peer]
  return new Promise((resolve, reject) => {
    const start = () => {
      underWay += 1
      work()
        .then(resolve, reject)
        .finally(() => {
          clearTimeout(timer)
          underWay -= 1
          startNext()
        })
    }
    const timer = setTimeout(() => {
      line.delete(path, start)
      reject(new Refused(timedOut('none')))
    }, deadlineMs - performance.now())
    if (line.add(path, start)) startNext()
    else {
      clearTimeout(timer)
      const details = { retry_after_ms: RETRY_AFTER_MS }
      reject(new Refused({ code: 'overloaded', message: 'too many passwords are waiting', details }))
    }
  })
}

function startNext(): void {
  if (underWay < AT_ONCE) line.take()?.()
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await runDerivation(password, COST, salt)
  return ['scrypt', COST, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

/** Without an account `stored` is undefined, which takes as long as a wrong password. */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  const { cost, salt, hash } = stored === undefined ? NOBODY : parseHash(stored)
  const derived = await runDerivation(password, cost, salt)
  return derived.length === hash.length && timingSafeEqual(derived, hash)
}

/** Whether this hash was made with older parameters. */
export function isOutdated(stored: string): boolean {
  return parseHash(stored).cost !== COST
}

function runDerivation(password: string, cost: string, salt: Buffer): Promise<Buffer> {
  const [logN = 0, r = 0, p = 0] = cost.split('$').map(Number)
  const N = 2 ** logN
  return derive(password, salt, HASH_BYTES, { N, r, p, maxmem: 256 * N * r })
}

const NOBODY = { cost: COST, salt: Buffer.alloc(16), hash: Buffer.alloc(0) }

function parseHash(stored: string): { cost: string; salt: Buffer; hash: Buffer } {
  const [, logN, r, p, salt = '', hash = ''] = stored.split('$')
  return { cost: [logN, r, p].join('$'), salt: Buffer.from(salt, 'base64url'), hash: Buffer.from(hash, 'base64url') }
}
