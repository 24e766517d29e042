/**
 * TLS between clients and a server: what is wrong with a certificate and its
 * key, how a connection begins TLS, and how a renewed certificate comes into use
 * without a restart. A server that has a certificate serves nobody without TLS.
 */

import { constants, createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { certificatesProblem, parseCertificates, readingProblem } from '../process/certificates.ts'
import { TLS_RECORD } from './foreign.ts'

/** Paths of PEM files. */
export interface TlsFiles {
  tlsCertificate: string
  tlsKey: string
}

export interface TlsProblem {
  setting: keyof TlsFiles
  problem: string
}

export interface Tls {
  /**
   * Begins TLS on a new connection. Calls one of the two, or neither if the connection ends before: `onSecure` with the
   * socket to use from then on, or `onPlain` with the first bytes of a client that does not begin TLS.
   */
  begin(socket: Socket, onSecure: (socket: Socket) => void, onPlain: (first: Buffer) => void): void
}

const CHECK_MS = 2_000
const OTHERS = 0o077
const OTHERS_BUT_GROUP_READS = 0o037
/**
 * Renegotiation makes a server work for nothing. A session that is resumed with a ticket would outlive a renewed
 * certificate, and saves little: clients keep their connections.
 */
const SECURE_OPTIONS = constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET

/** What is wrong with the files, if they are set. No message has any part of the key. */
export function tlsProblems({
  tlsCertificate,
  tlsKey,
}: { [N in keyof TlsFiles]?: TlsFiles[N] | undefined }): TlsProblem[] {
  if (tlsCertificate === undefined || tlsKey === undefined) return []
  const certificate = certificatesProblem(tlsCertificate) ?? validityProblem(tlsCertificate)
  const key = keyProblem(tlsKey)
  const problems: TlsProblem[] = []
  if (certificate !== undefined) problems.push({ setting: 'tlsCertificate', problem: `the file ${certificate}` })
  if (key !== undefined) problems.push({ setting: 'tlsKey', problem: `the file ${key}` })
  return problems.length > 0 ? problems : pairProblems({ tlsCertificate, tlsKey })
}

/** Follows the files from now on. Throws if they can't be used, which `tlsProblems` explains. */
export function openTls(files: TlsFiles, log: (what: string) => void): Tls {
  let used = readBoth(files)
  let seen = used
  let context = createContext(files)

  setInterval(() => {
    const now = readBoth(files)
    const isSettled = now === seen // the two files may be written one after the other
    seen = now
    if (now === used || !isSettled) return
    used = now
    try {
      renew()
    } catch (error) {
      log(`the certificate for TLS was not renewed: ${(error as NodeJS.ErrnoException).code}`) // changed again meanwhile
    }
  }, CHECK_MS).unref()

  function renew(): void {
    const [trouble] = tlsProblems(files)
    if (trouble === undefined) {
      context = createContext(files)
      log(`the certificate for TLS was renewed: it is valid until ${readLeaf(files.tlsCertificate).validTo}`)
    } else {
      log(`the certificate for TLS was not renewed: ${files[trouble.setting]}: ${trouble.problem}`)
    }
  }

  return {
    begin(socket, onSecure, onPlain) {
      socket.once('readable', () => {
        const first: Buffer = socket.read() ?? Buffer.alloc(0)
        if (first[0] !== TLS_RECORD) return onPlain(first)
        socket.unshift(first)
        const secure = new TLSSocket(socket, { isServer: true, secureContext: context })
        secure.on('error', () => {}) // 'close' follows
        secure.on('_tlsError', () => secure.destroy()) // Node ends the sockets of its own TLS servers only
        secure.once('secure', () => onSecure(secure))
      })
    },
  }
}

function createContext({ tlsCertificate, tlsKey }: TlsFiles): SecureContext {
  return createSecureContext({
    cert: readFileSync(tlsCertificate),
    key: readFileSync(tlsKey),
    minVersion: 'TLSv1.2',
    secureOptions: SECURE_OPTIONS,
  })
}

/** Undefined while one can't be read. */
function readBoth({ tlsCertificate, tlsKey }: TlsFiles): string | undefined {
  try {
    return readFileSync(tlsCertificate, 'utf8') + readFileSync(tlsKey, 'utf8')
  } catch {
    return undefined
  }
}

function validityProblem(path: string): string | undefined {
  const { validFrom, validTo } = readLeaf(path)
  const now = Date.now()
  if (now > Date.parse(validTo)) return `has a certificate that expired on ${validTo}`
  return now < Date.parse(validFrom) ? `has a certificate that is not valid before ${validFrom}` : undefined
}

/** The certificate of the server itself: the first. */
function readLeaf(path: string): X509Certificate {
  return parseCertificates(readFileSync(path, 'utf8'))[0] as X509Certificate
}

function keyProblem(path: string): string | undefined {
  try {
    const { mode, uid } = statSync(path)
    const forbidden = uid === 0 ? OTHERS_BUT_GROUP_READS : OTHERS
    const text = readFileSync(path, 'utf8')
    if (text.includes('ENCRYPTED')) return 'has a key with a passphrase'
    createPrivateKey(text)
    return (mode & forbidden) === 0 ? undefined : 'is open to other users: chmod 600'
  } catch (error) {
    return readingProblem(error) ?? 'has no private key in PEM format'
  }
}

function pairProblems(files: TlsFiles): TlsProblem[] {
  const key: KeyObject = createPrivateKey(readFileSync(files.tlsKey))
  if (!readLeaf(files.tlsCertificate).checkPrivateKey(key)) {
    return [{ setting: 'tlsKey', problem: 'the key does not belong to the certificate' }]
  }
  try {
    createContext(files)
    return []
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return [{ setting: 'tlsCertificate', problem: `the certificate and its key can't be used (${code})` }]
  }
}
