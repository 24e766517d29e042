/**
 * Password hashes: scrypt, two at a time, since each takes a core for a sixth
 * of a second. Further ones wait in a queue of their own; when it is full,
 * logins are refused as `overloaded`. A hash carries its parameters, so that
 * they can rise later: `scrypt$15$8$3$salt$hash` is N=2^15, r=8, p=3.
 */

import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { createQueue } from '../batch-queue.ts'

const COST = '15$8$3'
const HASH_BYTES = 32

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

interface Derivation {
  password: string
  cost: string
  salt: Buffer
}

const derivations = createQueue<Derivation, Buffer>({
  cap: 1,
  inFlight: 2,
  run: async (batch) => Promise.all(batch.map(runDerivation)),
})

function runDerivation({ password, cost, salt }: Derivation): Promise<Buffer> {
  const [logN = 0, r = 0, p = 0] = cost.split('$').map(Number)
  const N = 2 ** logN
  return derive(password, salt, HASH_BYTES, { N, r, p, maxmem: 256 * N * r })
}

/** Rejects with `Refused`, `overloaded` or `timeout`. */
export async function hashPassword(password: string, deadlineMs: number): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derivations.ask({ password, cost: COST, salt }, deadlineMs)
  return ['scrypt', COST, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

/** Without an account `stored` is undefined, which takes as long as a wrong password. Rejects like `hashPassword`. */
export async function verifyPassword(
  password: string,
  stored: string | undefined,
  deadlineMs: number,
): Promise<boolean> {
  const { cost, salt, hash } = stored === undefined ? NOBODY : parseHash(stored)
  const derived = await derivations.ask({ password, cost, salt }, deadlineMs)
  return derived.length === hash.length && timingSafeEqual(derived, hash)
}

/** Whether this hash was made with older parameters. */
export function isOutdated(stored: string): boolean {
  return parseHash(stored).cost !== COST
}

const NOBODY = { cost: COST, salt: Buffer.alloc(16), hash: Buffer.alloc(0) }

function parseHash(stored: string): { cost: string; salt: Buffer; hash: Buffer } {
  const [, logN, r, p, salt = '', hash = ''] = stored.split('$')
  return { cost: [logN, r, p].join('$'), salt: Buffer.from(salt, 'base64url'), hash: Buffer.from(hash, 'base64url') }
}
