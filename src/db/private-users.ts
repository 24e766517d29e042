/**
 * The users of a private database: root, the owner of the tables, and one for the
 * servers of each role. Their passwords are random, and stand with the path of
 * the socket in `users.cnf` in the home, which MariaDB's own programs read too.
 */

import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownUid } from './private-folders.ts'
import { SERVER_USERS } from './rights.ts'

const NAMES = { owner: 'souk_owner', root: 'root', ...SERVER_USERS }
export type PrivateUser = keyof typeof NAMES
const USERS = Object.keys(NAMES) as PrivateUser[]

export interface PrivateUsers {
  /** Path of the socket. */
  socket: string
  passwords: Readonly<Record<PrivateUser, string>>
}

/** The users of a home; undefined if there is no file of them that only we can have read and written. */
export function readUsers(home: string): PrivateUsers | undefined {
  const text = readOwnFile(fileIn(home))
  const socket = /^socket=(".*")$/m.exec(text)?.[1]
  const passwords = USERS.map((user) => [user, text.split(`[client-${user}]`)[1]?.match(/^password=(\w+)$/m)?.[1]])
  if (socket === undefined || passwords.some(([, password]) => password === undefined)) return undefined
  return { socket: JSON.parse(socket), passwords: Object.fromEntries(passwords) }
}

/** Writes the file of the users. Without options, MariaDB's programs then are the owner. */
export function writeUsers(home: string, { socket, passwords }: PrivateUsers): void {
  const group = (user: PrivateUser) => `user=${NAMES[user]}\npassword=${passwords[user]}\n`
  const groups = USERS.map((user) => `\n[client-${user}]\n${group(user)}`)
  const path = fileIn(home)
  rmSync(`${path}.new`, { force: true }) // it may be somebody else's
  writeFileSync(
    `${path}.new`,
    `# The users of the private database, made by souk-server.\n[client]\nsocket=${JSON.stringify(socket)}\n${group('owner')}${groups.join('')}`,
    { mode: 0o600, flag: 'wx' },
  )
  renameSync(`${path}.new`, path)
}

export function makePasswords(): PrivateUsers['passwords'] {
  return Object.fromEntries(USERS.map((user) => [user, randomBytes(24).toString('hex')])) as Record<PrivateUser, string>
}

/** Makes URLs of databases, as one of the users. */
export function createUrl({ socket, passwords }: PrivateUsers): (database: string, user?: PrivateUser) => string {
  return (database, user = 'owner') =>
    `mariadb://${NAMES[user]}:${passwords[user]}@localhost/${database}?socketPath=${encodeURIComponent(socket)}`
}

/** Statements that bring the users to this state, whatever they were: a line each. */
export function usersAsStatements({ passwords }: PrivateUsers): string[] {
  const made = USERS.filter((user) => user !== 'root')
  return [
    "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')",
    'FLUSH PRIVILEGES',
    `ALTER USER root@localhost IDENTIFIED BY '${passwords.root}'`,
    ...made.map((user) => `CREATE USER IF NOT EXISTS ${NAMES[user]}`),
    ...made.map((user) => `ALTER USER ${NAMES[user]} IDENTIFIED BY '${passwords[user]}'`),
    `GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP ON \`souk\\_%\`.* TO ${NAMES.owner} WITH GRANT OPTION`,
  ]
}

function fileIn(home: string): string {
  return join(home, 'users.cnf')
}

/** The text of a file that belongs to us and that nobody else can read; otherwise, and if there is none, empty. */
function readOwnFile(path: string): string {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch {
    return ''
  }
  try {
    const { uid, mode } = fstatSync(file)
    return uid === ownUid() && (mode & 0o077) === 0 ? readFileSync(file, 'utf8') : ''
  } finally {
    closeSync(file)
  }
}
