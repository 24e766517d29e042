/**
 * The private MariaDB, for machines without a database: finds the server's
 * binaries, makes a data folder, starts the server on a Unix socket only, which
 * nobody else can reach, and stops it by its process id. Its users have their
 * passwords before it listens. A home has one owner at a time, by a lock file.
 * However this process ends, its server is told to stop and its lock is gone; a
 * server whose owner was killed is adopted.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  accessSync,
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SqlError } from 'mariadb'
import { howToInstall, NEEDS } from '../process/needs.ts'
import { SetUpError } from '../process/start.ts'
import { withConnection } from './connect.ts'
import { HomeProblem, isClosedFolder, makeClosedFolder, makeFolder } from './private-folders.ts'
import {
  createUrl,
  makePasswords,
  type PrivateUsers,
  readUsers,
  usersAsStatements,
  writeUsers,
} from './private-users.ts'

/** Where package managers put servers that are not on every PATH. */
const FOLDERS = [
  '/usr/sbin',
  '/usr/local/sbin',
  '/usr/libexec',
  '/opt/homebrew/bin',
  '/usr/local/bin',
  '/usr/local/opt/mariadb/bin',
]
export const BUFFER_POOL_MIB = 512
const READY_MS = 30_000
/** A clean end takes longer the more is to be written; a database that hangs never ends by itself. */
const LONGEST_STOP_MS = 15_000
const LONGEST_LOOK_MS = 2_000
const LONGEST_SOCKET_PATH_BYTES = 107
const DENIED = 'denied'

export interface PrivateDatabase {
  pid: number
  /** Whether it was already running, left by an owner that was killed. */
  adopted: boolean
  /** A URL of a database, as the owner of the tables or another user. */
  url: ReturnType<typeof createUrl>
  /** Resolves when the server has ended, for any reason. */
  ended: Promise<void>
  stop(): Promise<void>
}

/** The MariaDB programs that a private database needs, each with its names. mariadb-install-db calls my_print_defaults. */
const PROGRAMS = {
  mariadbd: ['mariadbd', 'mysqld'],
  'mariadb-install-db': ['mariadb-install-db', 'mysql_install_db'],
  my_print_defaults: ['my_print_defaults'],
}

const CAUSES: readonly (readonly [pattern: RegExp, words: string])[] = [
  [/ENOSPC|No space left|Errcode: 28|error 28\b/, 'the disk is full'],
  [/EACCES|EPERM|EROFS|ENOENT|Permission denied|Read-only|Errcode: (13|30)\b/, 'nothing can be written there'],
  [/EEXIST|ENOTDIR|Not a directory/, 'not a folder'],
  [/EISDIR/, 'a folder stands where a file should'],
  [/ELOOP/, 'a symbolic link that leads nowhere'],
  [/ENAMETOOLONG/, 'the path is too long'],
  [/socket file path is too long/, 'the path of its socket is too long'],
  [/Can't lock|Unable to lock/i, 'another database server uses its folder'],
  [/redo log.*(format|version)|Unsupported|newer version/i, 'its data comes from another version of MariaDB'],
]

type Programs = Record<keyof typeof PROGRAMS, string>

/** The paths of MariaDB's programs. Throws `SetUpError`, with what to install, if one is missing. */
export function findPrograms(folders = [...(process.env.PATH ?? '').split(delimiter), ...FOLDERS]): Programs {
  const find = (names: readonly string[]) =>
    names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path))
  const found = Object.entries(PROGRAMS).map(([program, names]) => [program, find(names)] as const)
  const missing = found.flatMap(([program, path]) => (path === undefined ? [program] : []))
  if (missing.length > 0) throw new SetUpError(`${missing.join(', ')} not found; ${howToInstall(NEEDS.server)}`)
  return Object.fromEntries(found) as Programs
}

/** Does work in a home. Throws `SetUpError`, which names the setting of the home if that is the problem. */
export async function inHome<T>(setting: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { syscall, path, message } = error as NodeJS.ErrnoException
    if (syscall !== undefined) throw new SetUpError([setting, path, explain(message)].filter(Boolean).join(': '))
    throw error instanceof HomeProblem ? new SetUpError(`${setting}: ${error.message}`) : error
  }
}

/**
 * Locks a home folder for this process; returns the function that unlocks it.
 * Throws `SetUpError` while another owner lives.
 */
export function lockHome(home: string): () => void {
  makeFolder(home)
  const path = join(home, 'owner')
  for (;;) {
    try {
      const file = openSync(path, 'wx', 0o600)
      writeSync(file, identify(process.pid) ?? '')
      closeSync(file)
      return onceBeforeEnd(() => rmSync(path, { force: true }))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const owner = readFileSync(path, 'utf8')
    const pid = Number.parseInt(owner, 10)
    if (identify(pid) === owner) throw new HomeProblem(`${home} is in use by another souk, process ${pid}`)
    rmSync(path, { force: true }) // the owner was killed; if two processes come here, MariaDB's own lock guards the data
  }
}

/**
 * Starts the server of a home, or adopts the one that runs. The caller has
 * locked the home. `onStep` is called when a step begins that takes a while.
 * Throws `SetUpError`.
 */
export async function startPrivateDatabase(
  home: string,
  bufferPoolMib = BUFFER_POOL_MIB,
  onStep: (what: string) => void = () => {},
): Promise<PrivateDatabase> {
  const running = await findServer(home, onStep)
  if (running !== undefined) return { ...createHandle(running, untilEnded(running.pid)), adopted: true }
  const programs = findPrograms()
  const paths = pathsIn(home)
  await endUnknownServer(paths, onStep)
  makeClosedFolder(paths.temporary)
  if (!existsSync(paths.data)) {
    onStep('making the private database')
    await makeDataFolder(programs['mariadb-install-db'], paths)
  }
  makeClosedFolder(paths.data) // throws if something else is there, about which MariaDB would say nothing in its log
  accessSync(paths.data, constants.W_OK | constants.X_OK)
  const earlier = readUsers(home)
  const users = { socket: chooseSocket(paths, earlier), passwords: earlier?.passwords ?? makePasswords() }
  writeUsers(home, users)
  onStep('starting the private database')
  const logBytes = existsSync(paths.log) ? statSync(paths.log).size : 0
  const child = startServer(programs.mariadbd, paths, users, bufferPoolMib)
  const ended = new Promise<void>((resolve) => child.once('exit', resolve).once('error', resolve))
  const handle = createHandle({ pid: child.pid as number, users }, ended)
  await untilReady(paths, users, child, logBytes)
  rmSync(paths.init)
  return { ...handle, adopted: false }
}

/** Makes URLs of databases on the private server that runs in a home; undefined if none answers. */
export async function findRunning(home: string): Promise<PrivateDatabase['url'] | undefined> {
  const running = await findServer(home)
  return running === undefined ? undefined : createUrl(running.users)
}

interface Paths {
  data: string
  /** Each server needs its own: on start, it deletes files there that it takes for its own leftovers. */
  temporary: string
  /** Statements that a server carries out before it listens. */
  init: string
  pid: string
  log: string
}

function pathsIn(home: string): Paths {
  const data = resolve(home, 'mariadb')
  const temporary = resolve(home, 'tmp')
  return {
    data,
    temporary,
    init: join(temporary, 'users.sql'),
    pid: join(data, 'pid'),
    log: resolve(home, 'mariadb.log'),
  }
}

/** The socket is in the data folder, or if its path is too long there, in a folder of a random name, made once. */
function chooseSocket({ data }: Paths, earlier: PrivateUsers | undefined): string {
  const inside = join(data, 'socket')
  if (Buffer.byteLength(inside) <= LONGEST_SOCKET_PATH_BYTES) return inside
  if (earlier !== undefined && dirname(earlier.socket) !== data && isClosedFolder(dirname(earlier.socket)))
    return earlier.socket
  return join(mkdtempSync(join(tmpdir(), 'souk-')), 'socket')
}

/** Makes the folder beside its place and then moves it there, so that a killed set-up leaves no half of it. */
async function makeDataFolder(program: string, { data, temporary, log }: Paths): Promise<void> {
  const unfinished = `${data}.new`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { mode: 0o700 })
  const folders = [`--datadir=${unfinished}`, `--tmpdir=${temporary}`]
  const options = ['--no-defaults', ...folders, '--auth-root-authentication-method=normal', '--skip-test-db']
  const { status, output } = await runToEnd(program, [...options, ...asUser()])
  if (status !== 0) {
    appendFileSync(log, output)
    throw new HomeProblem(`the private database could not be made: ${firstError(output)}; its log is ${log}`)
  }
  renameSync(unfinished, data)
}

/**
 * Resolves, after the program and its children have ended, to its exit code and
 * what it wrote to stderr, or else to stdout.
 */
async function runToEnd(program: string, rest: readonly string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  const [written, problems] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { status: child.exitCode, output: problems || written }
}

function startServer(
  program: string,
  { data, temporary, init, pid, log }: Paths,
  users: PrivateUsers,
  bufferPoolMib: number,
): ChildProcess {
  rmSync(init, { force: true })
  writeFileSync(
    init,
    usersAsStatements(users)
      .map((statement) => `${statement};\n`)
      .join(''),
    { mode: 0o600 },
  )
  const options = {
    datadir: data,
    tmpdir: temporary,
    socket: users.socket,
    'init-file': init,
    'pid-file': pid,
    'log-error': log,
    'innodb-flush-log-at-trx-commit': 1, // an acknowledged write survives a crash
    'innodb-buffer-pool-size': `${bufferPoolMib}M`,
    'innodb-log-file-size': '256M',
    'innodb-lock-wait-timeout': 2,
    'idle-transaction-timeout': 10,
    'max-connections': 2_000, // far above the number of lanes; idle connections cost little
    'local-infile': 0,
    'character-set-server': 'utf8mb4',
    'collation-server': 'utf8mb4_nopad_bin',
  }
  const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  // In a session of its own: Ctrl-C goes to the supervisor, which stops the database last.
  return spawn(program, ['--no-defaults', '--skip-networking', ...asUser(), ...flags], {
    detached: true,
    stdio: 'ignore',
  })
}

function asUser(): string[] {
  return process.getuid?.() === 0 ? ['--user=root'] : []
}

async function untilReady(
  { data, log }: Paths,
  users: PrivateUsers,
  child: ChildProcess,
  logBytes: number,
): Promise<void> {
  const untilMs = performance.now() + READY_MS
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined
  while (performance.now() < untilMs && !hasEnded()) {
    if ((await readDataFolder(users)) === data) return
    await sleep(20)
  }
  const ending = hasEnded()
    ? `it ended with ${child.signalCode ?? child.exitCode}`
    : `not ready in ${READY_MS / 1_000} s`
  child.kill('SIGKILL')
  const output = existsSync(log) ? readFileSync(log).subarray(logBytes).toString() : ''
  throw new HomeProblem(`the private database did not start: ${firstError(output) || ending}; its log is ${log}`)
}

/** The first error in the output of a program of MariaDB, in one line; empty if there is none. */
function firstError(output: string): string {
  const line = output.split('\n').find((text) => /\[ERROR\]|^(FATAL )?ERROR/.test(text)) ?? ''
  return explain(line.replace(/^.*\[ERROR\] /, ''))
}

/** The text of an error in plain words, where its cause is a usual one. */
function explain(text: string): string {
  return CAUSES.find(([pattern]) => pattern.test(text))?.[1] ?? text
}

interface Server {
  pid: number
  users: PrivateUsers
}

/**
 * The server that runs in this home, and knows our users. Waits for one that is starting or ending. Throws `HomeProblem`
 * for one that hangs.
 */
async function findServer(home: string, onStep: (what: string) => void = () => {}): Promise<Server | undefined> {
  const paths = pathsIn(home)
  const users = readUsers(home)
  if (users === undefined || !isClosedFolder(dirname(users.socket))) return undefined
  const untilMs = performance.now() + READY_MS
  for (let isFirst = true; existsSync(paths.pid); isFirst = false) {
    const pid = Number.parseInt(readFileSync(paths.pid, 'utf8'), 10)
    const folder = await readDataFolder(users)
    if (folder === paths.data) return { pid, users }
    if (folder === DENIED || !runsOn(paths.data, pid)) return undefined
    if (performance.now() > untilMs)
      throw new HomeProblem(`its database, process ${pid}, does not answer; end it: kill -9 ${pid}`)
    if (isFirst) onStep(`waiting for the database that runs already, process ${pid}`)
    await sleep(50)
  }
  return undefined
}

function runsOn(data: string, pid: number): boolean {
  return Number.isSafeInteger(pid) && readCommand(pid).includes(` --datadir=${data} `)
}

/** Ends a server on our data that does not know our users: an older souk left it, whose root had no password. */
async function endUnknownServer({ pid: path, data }: Paths, onStep: (what: string) => void): Promise<void> {
  const pid = existsSync(path) ? Number.parseInt(readFileSync(path, 'utf8'), 10) : Number.NaN
  if (!runsOn(data, pid)) return
  onStep('stopping the private database of an earlier souk')
  process.kill(pid, 'SIGTERM')
  await Promise.race([untilEnded(pid), sleep(READY_MS, undefined, { ref: false })])
}

/** The data folder of the server that answers; `DENIED` if it does not know our users, undefined if none answers. */
async function readDataFolder(users: PrivateUsers): Promise<string | undefined> {
  const sql = 'SELECT @@datadir AS folder'
  try {
    const [row] = await withConnection(
      createUrl(users)(''),
      (connection) => connection.query<{ folder: string }[]>(sql),
      LONGEST_LOOK_MS,
    )
    return row === undefined ? undefined : resolve(row.folder)
  } catch (error) {
    return (error as SqlError).code === 'ER_ACCESS_DENIED_ERROR' ? DENIED : undefined
  }
}

function createHandle({ pid, users }: Server, ended: Promise<void>): Omit<PrivateDatabase, 'adopted'> {
  const identity = identify(pid)
  const end = (signal: NodeJS.Signals) => {
    if (identity !== undefined && identify(pid) === identity) process.kill(pid, signal)
  }
  const tellToStop = onceBeforeEnd(() => end('SIGTERM'))
  void ended.then(tellToStop)
  return {
    pid,
    ended,
    url: createUrl(users),
    async stop() {
      tellToStop()
      const overdue = setTimeout(() => end('SIGKILL'), LONGEST_STOP_MS)
      await ended
      clearTimeout(overdue)
    },
  }
}

/** Makes work happen when the returned function is first called, or else when this process ends. */
function onceBeforeEnd(work: () => void): () => void {
  let isDone = false
  const workOnce = () => {
    process.off('exit', workOnce)
    if (!isDone) work()
    isDone = true
  }
  process.on('exit', workOnce)
  return workOnce
}

/** The end of a process that is not a child has to be polled. */
async function untilEnded(pid: number): Promise<void> {
  while (identify(pid) !== undefined) await sleep(50)
}

/** `pid start-time` of a live process, which tells it from a later process with the same pid; undefined when dead. */
function identify(pid: number): string | undefined {
  const [state = 'Z', started] = existsSync('/proc/self/stat') ? readProc(pid) : askPs(pid)
  return state.startsWith('Z') ? undefined : `${pid} ${started}`
}

/** Process state and start time; empty for a process that is gone. */
function readProc(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name before it may hold anything
    return [fields[0] as string, fields[19] as string]
  } catch {
    return []
  }
}

/** The command that a process runs, with a space behind each word; empty for one that is gone. */
function readCommand(pid: number): string {
  if (!existsSync('/proc/self/cmdline')) {
    return `${spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()} `
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

function askPs(pid: number): string[] {
  const { stdout } = spawnSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
  const [state, ...started] = stdout.trim().split(/\s+/)
  return state === undefined || state === '' ? [] : [state, started.join(' ')]
}

/** The program and arguments of a process; empty for a process that is gone. */
