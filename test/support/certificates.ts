/** Certificates for servers of tests, and what they need to use TLS. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ConnectionOptions, connect } from 'node:tls'
import { makeCertificates } from './database-server.ts'

export interface Certificate {
  tlsCertificate: string
  tlsKey: string
}

export interface SignedFor {
  /** As OpenSSL writes them. */
  names?: string
  from?: Date
  until?: Date
}

const DAY_MS = 86_400_000

/** A signer, whose files are in the folder. */
export class Signer {
  readonly folder: string
  /** The path of its certificate. */
  readonly ca: string
  /** The path of the certificate of a signer that has signed nothing. */
  readonly otherCa: string

  constructor(folder: string) {
    this.folder = folder
    const { ca, otherCa } = makeCertificates(folder)
    this.ca = ca
    this.otherCa = otherCa
    writeFileSync(join(folder, 'index'), '')
    writeFileSync(join(folder, 'index.attr'), 'unique_subject = no\n')
    writeFileSync(join(folder, 'number'), '10\n')
    writeFileSync(
      join(folder, 'config'),
      `[ca]\ndefault_ca=own\n[own]\ndir=${folder}\ndatabase=${folder}/index\nserial=${folder}/number\n` +
        `new_certs_dir=${folder}\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n`,
    )
  }

  get caText(): string {
    return readFileSync(this.ca, 'utf8')
  }

  sign(name: string, { names = 'IP:127.0.0.1,DNS:localhost', from, until }: SignedFor = {}): Certificate {
    const path = (what: string) => join(this.folder, `${name}.${what}`)
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', `/CN=${name}`]
    openssl('req', ...kind, '-keyout', path('key'), '-out', path('request'))
    writeFileSync(path('names'), `subjectAltName=${names}\n`)
    const begin = asn1Time(from ?? new Date(Date.now() - DAY_MS))
    const end = asn1Time(until ?? new Date(Date.now() + DAY_MS))
    const files = ['-in', path('request'), '-out', path('pem'), '-extfile', path('names'), '-notext']
    const own = ['-config', join(this.folder, 'config'), '-cert', this.ca, '-keyfile', join(this.folder, 'ca.key')]
    openssl('ca', '-batch', ...own, ...files, '-startdate', begin, '-enddate', end)
    return { tlsCertificate: path('pem'), tlsKey: path('key') }
  }
}

/** The certificate that a server shows. */
export function readShown(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...options }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

export function openssl(...rest: string[]): void {
  const { status, stderr } = spawnSync('openssl', rest, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
}

function asn1Time(date: Date): string {
  return `${date.toISOString().replace(/\D/g, '').slice(0, 14)}Z`
}
