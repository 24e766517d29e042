/**
 * A MariaDB server on TCP, with options of the test's own, such as certificates,
 * a version that it pretends to have, or few connections. Its root is that of the
 * private database on whose data it runs, on its socket only.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { withConnection } from '../../src/db/connect.ts'
import { findPrograms, startPrivateDatabase } from '../../src/db/private-mariadb.ts'
import { createUrl, readUsers } from '../../src/db/private-users.ts'
import { SERVER_USERS } from '../../src/db/rights.ts'
import { until } from './marketplace.ts'

export interface DatabaseServer {
  port: number
  pid: number
  /** Carries out statements as root. */
  sql(...statements: string[]): Promise<unknown[]>
  /** A URL over TCP; `parameters` stands after the question mark. */
  url(database: string, user?: string, parameters?: string): string
  stop(signal?: NodeJS.Signals): Promise<void>
}

export const USER = 'shop'
export const PASSWORD = 'canary'

/** Starts a server on the data of a home, which are made if they are missing. */
export async function startDatabaseServer(home: string, options: readonly string[] = [], port?: number) {
  const data = join(home, 'mariadb')
  const isNew = !existsSync(data)
  if (isNew) await (await startPrivateDatabase(home, 64)).stop()
  const users = readUsers(home)
  assert.ok(users !== undefined)
  const socket = join(data, 'socket')
  const listeningPort = port ?? (await findFreePort())
  const child = spawn(
    findPrograms().mariadbd,
    [
      '--no-defaults',
      ...(process.getuid?.() === 0 ? ['--user=root'] : []),
      `--datadir=${data}`,
      `--socket=${socket}`,
      `--log-error=${join(home, 'mariadb.log')}`,
      `--port=${listeningPort}`,
      '--bind-address=127.0.0.1',
      ...options,
    ],
    { stdio: 'ignore' },
  )
  const rootUrl = createUrl(users)('mysql', 'root')
  const sql = (...statements: string[]) =>
    withConnection(rootUrl, async (connection) => {
      const results: unknown[] = []
      for (const statement of statements) results.push(await connection.query(statement))
      return results
    })
  await until('the database server answers', () =>
    sql().then(
      () => true,
      () => hasEnded(child),
    ),
  )
  assert.ok(!hasEnded(child), 'the database server did not start')
  if (isNew) await sql(`DROP USER souk_owner, ${Object.values(SERVER_USERS).join(', ')}`) // as on a server of others
  const server: DatabaseServer = {
    port: listeningPort,
    pid: child.pid as number,
    sql,
    url: (database, user = `${USER}:${PASSWORD}`, parameters = '') =>
      `mariadb://${user}@127.0.0.1:${listeningPort}/${database}${parameters && `?${parameters}`}`,
    async stop(signal = 'SIGTERM') {
      if (hasEnded(child)) return
      const ended = once(child, 'exit')
      child.kill(signal)
      await ended
    },
  }
  return server
}

/** Makes a CA and a certificate for 127.0.0.1 signed by it; and another CA, which has signed nothing. */
export function makeCertificates(folder: string): { ca: string; otherCa: string; certificate: string; key: string } {
  mkdirSync(folder, { recursive: true })
  const path = (name: string) => join(folder, name)
  const openssl = (...rest: string[]) => {
    const { status, stderr } = spawnSync('openssl', rest, { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
  for (const name of ['ca', 'other']) {
    const out = ['-keyout', path(`${name}.key`), '-out', path(`${name}.pem`)]
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name} of tests`, ...out)
  }
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=db', '-keyout', path('key'), '-out', path('request'))
  writeFileSync(path('names'), 'subjectAltName=IP:127.0.0.1')
  const signer = ['-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-CAcreateserial', '-extfile', path('names')]
  openssl('x509', '-req', '-days', '2', '-in', path('request'), '-out', path('certificate'), ...signer)
  return { ca: path('ca.pem'), otherCa: path('other.pem'), certificate: path('certificate'), key: path('key') }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

async function findFreePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as { port: number }
  listener.close()
  return port
}
