/** The certificate of one run under TLS: signed by its own key, for the loopback address alone. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { howToInstall, NEEDS } from '../process/needs.ts'
import { SetUpError } from '../process/start.ts'

export interface RunCertificate {
  /** Paths of PEM files. */
  certificate: string
  key: string
  remove(): void
}

const KIND = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Throws `SetUpError`. */
export function makeCertificate(): RunCertificate {
  const folder = mkdtempSync(join(tmpdir(), 'souk-tls-'))
  const [certificate, key] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')]
  const remove = () => rmSync(folder, { recursive: true, force: true })
  const subject = ['-days', '2', '-subj', '/CN=souk-load', '-addext', 'subjectAltName=IP:127.0.0.1']
  const { status } = spawnSync('openssl', ['req', '-x509', ...KIND, ...subject, '-keyout', key, '-out', certificate])
  if (status === 0) return { certificate, key, remove }
  remove()
  throw new SetUpError(`--tls needs openssl, which makes the certificate; ${howToInstall(NEEDS.certificates)}`)
}
