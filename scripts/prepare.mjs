/**
 * Makes a fresh clone ready to run: npm packages, compiled programs, MariaDB,
 * and for the baseline a Python with a driver for it. It needs only Node and a
 * package manager, and does only what is missing. Root installs system packages
 * without being asked, others after being asked; where neither is possible, it
 * prints the command to run and exits with 2.
 *
 * The arguments name what is needed: server, baseline, shells, certificates.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OLDEST_NODE = [20, 19]

process.stderr.on('error', () => {}) // nobody reads it: the work is done all the same
process.chdir(ROOT)
checkNode()
installPackages()
compile()
// The programs know what they need, and where to look for it.
const { MANAGERS, NEEDS, howToInstall } = await import('../dist/process/needs.js')
const { findPrograms } = await import('../dist/db/private-mariadb.js')
const { findPython } = await import('../dist/loadgen/systems.js')
const searches = { server: findPrograms, baseline: findPython, shells: findShells, certificates: findOpenssl }
const missing = process.argv.slice(2).filter((name) => isMissing(searches[name]))
if (missing.length > 0) await installSystemPackages(missing.map((name) => NEEDS[name]))

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  stop(`souk needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node}`)
}

/** npm notes what it has installed; nothing to do if that is newer than the lock file. */
function installPackages() {
  const installed = join('node_modules', '.package-lock.json')
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync('package-lock.json').mtimeMs) return
  say('installing packages (npm ci)')
  run('npm', ['ci', '--no-audit', '--no-fund'])
}

function compile() {
  const compiled = join('dist', 'souk.js') // made last
  const sources = readdirSync('src', { recursive: true }).map((name) => statSync(join('src', name)).mtimeMs)
  const projects = ['tsconfig.json', 'tsconfig.build.json', 'tsconfig.types.json']
  const names = ['package.json', ...projects, 'scripts/types.mjs', 'scripts/bundle.mjs']
  const settings = names.map((name) => statSync(name).mtimeMs)
  if (existsSync(compiled) && statSync(compiled).mtimeMs >= Math.max(...sources, ...settings)) return
  say('compiling')
  run('npm', ['run', '--silent', 'build'])
}

function isMissing(search) {
  try {
    search()
    return false
  } catch {
    return true
  }
}

function findOpenssl() {
  if (!isOnPath('openssl')) throw new Error('openssl not found')
}

function findShells() {
  if (!['zsh', 'fish', 'nc', 'mariadb-dump'].every(isOnPath)) throw new Error('zsh, fish, nc or mariadb-dump not found')
}

async function installSystemPackages(needs) {
  const names = needs.map((need) => need.name).join(' and ')
  const manager = MANAGERS.find(isOnPath)
  const packages = needs.map((need) => need.packages[manager])
  if (packages.includes(undefined)) stop(`${names} not found; ${needs.map(howToInstall).join('; ')}`)
  const isRoot = process.getuid?.() === 0
  const line =
    manager === 'brew'
      ? `brew install ${packages.join(' ')}`
      : `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  const shown = manager === 'brew' || isRoot ? line : `sudo ${line}`
  if (manager === 'brew' || !isRoot) await ask(`${names} not found. Run "${shown}"?`, shown)
  say(`installing ${names}: ${shown}`)
  const prefix = manager === 'brew' || isRoot ? '' : 'sudo '
  const refresh = manager === 'apt-get' ? `${prefix}apt-get update -qq && ` : ''
  run('sh', ['-c', `${refresh}${prefix}${line}`], { DEBIAN_FRONTEND: 'noninteractive' })
}

/** Asks on a terminal. Elsewhere nobody can answer. */
async function ask(question, line) {
  if (!process.stdin.isTTY || !process.stderr.isTTY || process.env.CI) stop(`something is missing; run: ${line}`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await terminal.question(`${question} [y/N] `)
  terminal.close()
  if (!/^y(es)?$/i.test(answer.trim())) stop(`run this first: ${line}`)
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)))
}

function run(program, args, environment = {}) {
  const { status } = spawnSync(program, args, { stdio: ['inherit', 2, 2], env: { ...process.env, ...environment } })
  if (status !== 0) stop(`failed: ${program} ${args.join(' ')}`)
}

function say(line) {
  process.stderr.write(`souk: ${line}\n`)
}

function stop(problem) {
  say(problem)
  process.exit(2)
}
