/** Files of certificates in PEM format: what is wrong with one, in words that follow "the file". */

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/** All certificates of a text. Throws if one is broken. */
export function parseCertificates(text: string): X509Certificate[] {
  return (text.match(CERTIFICATES) ?? []).map((certificate) => new X509Certificate(certificate))
}

/** Undefined if nothing is wrong. */
export function certificatesProblem(path: string): string | undefined {
  try {
    return parseCertificates(readFileSync(path, 'utf8')).length === 0 ? 'has no certificate in PEM format' : undefined
  } catch (error) {
    return readingProblem(error) ?? 'has a broken certificate'
  }
}

/** Why a file could not be read; undefined if the error is another one. */
export function readingProblem(error: unknown): string | undefined {
  const { code = '', syscall } = error as NodeJS.ErrnoException
  if (syscall === undefined) return undefined
  return code === 'ENOENT' ? 'does not exist' : `can't be read (${code})`
}
