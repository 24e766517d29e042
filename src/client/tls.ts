/** TLS to a server: the options that ask for it, and in plain words why it could not begin. */

import { isIP } from 'node:net'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'

export interface TlsOptions {
  /** Certificates of the signers to trust in PEM format, instead of the usual ones. */
  ca?: string | undefined
  /** The name that the certificate must have, if it is not the host. */
  name?: string | undefined
}

/** Node's options. */
export function toNodeOptions(host: string, { ca, name = host }: TlsOptions): ConnectionOptions {
  return {
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(isIP(name) === 0 ? { servername: name } : {}), // an address may not be asked for by name
    checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
  }
}

const UNTRUSTED = "its certificate has an unknown signer; --ca can name a file with the signer's certificate"
const PROBLEMS: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  CERT_SIGNATURE_FAILURE: UNTRUSTED,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no TLS from 1.2 on',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it speaks no TLS from 1.2 on',
}

/** Why another attempt would fail too; undefined if it might not. */
export function lastingProblem({ code = '' }: NodeJS.ErrnoException, host: string, { name = host }: TlsOptions) {
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? `its certificate is not for ${name}` : PROBLEMS[code]
}
