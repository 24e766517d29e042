/**
 * souk as its users get it: packed, installed by npm into an empty folder, and
 * run there through its links, on the Node that runs the tests and on Node 24.
 * A copy of the clone is packed: its own compiled programs may be in use.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findProcesses, ServerProgram, startTestMarketplace, temporaryHome, until } from '../support/marketplace.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NOT_COPIED = ['.git', '.souk', 'dist', 'node_modules']
const BESIDE_PROGRAMS = ['LICENSE', 'README.md', 'package.json', 'schema.sql']
const BUNDLED = ['client.ts', 'server.ts']
const PASSWORD = 'correct horse\n'
const DEPENDENCIES = Object.keys(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).dependencies)

let folder: string
/** What was said while the package was made. */
let said: string
/** The package as installed. */
let installed: string

before(() => {
  folder = temporaryHome()
  const clone = copyClone()
  mkdirSync(join(clone, 'dist'))
  writeFileSync(join(clone, 'dist', 'stale.js'), '')
  said = npm(clone, 'pack', '--pack-destination', folder)
  const [tarball = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  installed = join(install('installed', join(folder, tarball)), 'souk')
})
after(() => rmSync(folder, { recursive: true, force: true }))

/** A copy of the clone in which npm can do no harm: its packages are only links. */
function copyClone(): string {
  const clone = join(folder, 'clone')
  const isCopied = (path: string) => !NOT_COPIED.includes(relative(ROOT, path))
  cpSync(ROOT, clone, { recursive: true, preserveTimestamps: true, filter: isCopied })
  const packages = join(clone, 'node_modules')
  mkdirSync(packages)
  for (const name of readdirSync(join(ROOT, 'node_modules')))
    symlinkSync(join(ROOT, 'node_modules', name), join(packages, name))
  return clone
}

/** Installs a package into a folder of its own; returns where the packages are. */
function install(name: string, what: string): string {
  const prefix = join(folder, name)
  mkdirSync(prefix)
  npm(prefix, 'install', what)
  return join(prefix, 'node_modules')
}

/** Returns what was said. */
function npm(prefix: string, ...rest: string[]): string {
  const flags = ['--prefix', prefix, '--prefer-offline', '--no-audit', '--no-fund']
  const { status, stderr } = spawnSync('npm', [...rest, ...flags], { cwd: prefix, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stderr
}

function filesIn(top: string, ending = ''): string[] {
  const entries = readdirSync(top, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(ending))
  return files.map((entry) => relative(top, join(entry.parentPath, entry.name)))
}

/** The compiled files of what is not bundled: the sources of the other programs, and all that they import, if only types. */
function compiled(): string[] {
  const seen = new Set<string>()
  const visit = (path: string) => {
    if (seen.has(path)) return
    seen.add(path)
    const imports = readFileSync(join(ROOT, 'src', path), 'utf8').matchAll(/\b(?:from|import)[ (]*'(\.[^'\n]+)'/g)
    for (const [, imported = ''] of imports) visit(join(dirname(path), imported))
  }
  const programs = readdirSync(join(ROOT, 'src')).filter((name) => name.endsWith('.ts') && !BUNDLED.includes(name))
  const children = readdirSync(join(ROOT, 'src/loadgen/children')).map((name) => join('loadgen/children', name))
  for (const path of [...programs, ...children]) visit(path)
  return [...seen].map((path) => join('dist', path.replace(/\.ts$/, '.js')))
}

/** The files of the bundles. */
function bundled(): string[] {
  const parts = filesIn(join(installed, 'dist', 'server-parts'), '.js').map((name) => join('server-parts', name))
  return ['souk.js', 'server.js', ...parts].map((name) => join('dist', name))
}

describe('the package', () => {
  it('is compiled first, which is said because it takes a while', () => {
    assert.match(said, /^souk: compiling$/m)
  })

  it('contains freshly compiled programs, the files they read, and nothing else', () => {
    const baseline = filesIn(join(ROOT, 'baseline'), '.py').map((name) => join('baseline', name))
    const migrations = filesIn(join(ROOT, 'migrations')).map((name) => join('migrations', name))
    const bundles = [...bundled(), join('dist', 'THIRD-PARTY-LICENSES.txt')]
    const types = ['library', 'client/call-errors', 'contract/calls', 'contract/refusals'].map((name) => {
      return join('dist', 'types', `${name}.d.ts`)
    })
    const expected = [...BESIDE_PROGRAMS, ...bundles, ...compiled(), ...types, ...migrations, ...baseline]
    assert.deepEqual(filesIn(installed).sort(), expected.sort())
  })

  it('brings the licence of every package that is bundled', () => {
    const licences = readFileSync(join(installed, 'dist', 'THIRD-PARTY-LICENSES.txt'), 'utf8')
    const text = bundled()
      .map((path) => readFileSync(join(installed, path), 'utf8'))
      .join('\n')
    const packages = new Set(
      [...text.matchAll(/^ *\/\/ .*node_modules\/((?:@[^/]+\/)?[^/]+)\//gm)].map(([, name]) => name),
    )
    const parts = licences.split(/(?=^\S+ [\d.]+ \(.*\), contained in souk(?:-server)?(?: and souk)?$)/m)
    assert.ok(packages.size > 10)
    assert.deepEqual(parts.map((part) => part.split(' ')[0]).sort(), [...packages].sort())
    for (const part of parts) assert.match(part, /Copyright|Permission/)
  })

  it('depends on no package that is only bundled', () => {
    const text = compiled()
      .map((path) => readFileSync(join(installed, path), 'utf8'))
      .join('')
    for (const one of DEPENDENCIES) assert.match(text, new RegExp(`from '${one}[/']`), one)
  })

  it('imports only its own files, its dependencies and built-in modules of Node', () => {
    for (const name of filesIn(join(installed, 'dist'), '.js')) {
      const path = join(installed, 'dist', name)
      const imports = readFileSync(path, 'utf8').matchAll(
        /(?<!\.)\b(?:from|import|import\.meta\.resolve)[ (]*['"]([^'"\s]+)['"]/g,
      )
      for (const [, imported = ''] of imports) {
        const isThere = imported.startsWith('.')
          ? existsSync(join(dirname(path), imported))
          : imported.startsWith('node:') ||
            DEPENDENCIES.some((one) => imported === one || imported.startsWith(`${one}/`))
        assert.ok(isThere, `${name} imports ${imported}`)
      }
    }
  })
})

describe('import souk', () => {
  const [, example = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs', 'client.md'), 'utf8')) ?? []
  const write = (name: string, text: string) => {
    const path = join(installed, '..', '..', name)
    writeFileSync(path, text)
    return path
  }
  const compile = (path: string) => {
    const flags = '--strict --module nodenext --target es2023 --lib es2023 --noEmit --skipLibCheck false'.split(' ')
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
    return spawnSync(tsc, [...flags, path], { cwd: dirname(path), encoding: 'utf8' }).stdout
  }

  it('does what its page says', async () => {
    const marketplace = await startTestMarketplace()
    try {
      const { port } = await marketplace.serve('buyer')
      const path = write('example.mjs', example.replace('7102', String(port)))
      const { stdout, stderr } = spawnSync(process.execPath, [path], { encoding: 'utf8' })
      assert.equal(stderr, '')
      assert.equal(stdout, '0\n0\ncart_empty\n')
    } finally {
      await marketplace.close()
    }
  })

  it('is typed by the contract, and needs no other types', () => {
    const head = 'declare const console: { log(line: unknown): void }\n'
    assert.equal(compile(write('right.mts', head + example)), '')
    const wrong = compile(
      write(
        'wrong.mts',
        `import { connect, type Calls } from 'souk'
const seller = connect({ role: 'seller' })
await seller.call('make_purchase', { session: '' })
await seller.call('get_seller_rating', {})
await seller.call('ping', { further: 1 })
const condition: 'old' = (await seller.call('display_items_for_sale', { session: '' })).items[0]!.condition
const rating: Calls['buyer']['get_seller_rating']['result'] = { thumbs_up: 1, thumbs_down: 1 }
`,
      ),
    )
    const lines = [...wrong.matchAll(/wrong\.mts\((\d+),/g)].map(([, line]) => Number(line))
    assert.deepEqual(lines, [3, 4, 5, 6, 7], wrong)
  })
})

/**
 * The folder of a Node of this version, for this machine. The package `node`
 * brings the same by an install script, which npm may want approved first.
 */
function bringNode(version: number): string {
  return join(install(`node-${version}`, `node-${process.platform}-${process.arch}@${version}`), '.bin')
}

const NODES = { [process.version]: () => dirname(process.execPath), v24: () => bringNode(24) }

for (const [version, bring] of Object.entries(NODES)) {
  describe(`the package installed on Node ${version}`, () => {
    let home: string
    let path: string

    before(() => {
      home = temporaryHome()
      path = [bring(), '/usr/bin', '/bin'].join(':')
    })
    afterEach(() => {
      for (const { pid } of findProcesses(home)) process.kill(pid, 'SIGKILL')
      return until('all processes of the home have ended', () => findProcesses(home).length === 0)
    })
    after(() => rmSync(home, { recursive: true, force: true }))

    const program = (name: string) => join(installed, '..', '.bin', name)
    const run = (name: string, rest: string[], environment: Record<string, string> = {}, input = '') => {
      const env = { PATH: path, HOME: home, ...environment }
      return spawnSync(program(name), rest, { cwd: home, env, input, encoding: 'utf8' })
    }

    it('runs every program on that Node', () => {
      for (const name of ['souk', 'souk-server', 'souk-load']) {
        const { status, stdout, stderr } = run(name, ['--version'])
        assert.equal(status, 0, stderr)
        assert.match(stdout, new RegExp(`^${name}/\\d+\\.\\d+\\.\\d+ .* node-${version}[.\n]`))
      }
    })

    it('keeps the database of souk-server where a user’s data belongs', () => {
      const { stdout } = run('souk-server', ['--show-settings'])
      assert.match(stdout, new RegExp(`^SOUK_HOME=${home}/.local/share/souk$`, 'm'))
    })

    it('lets souk make a purchase at souk-server, which ends with 0 on SIGTERM', async () => {
      const environment = { PATH: path, SOUK_SELLER_PORT: '0', SOUK_BUYER_PORT: '0' }
      const server = new ServerProgram(home, [], environment, [program('souk-server')])
      await server.says(/souk is ready\n/)
      const portOf = (role: string) =>
        new RegExp(`${role} server accepts connections on .*:(\\d+)`).exec(server.output)?.[1]
      const ports = { SOUK_SELLER_PORT: portOf('seller') ?? '', SOUK_BUYER_PORT: portOf('buyer') ?? '' }
      const souk = (words: string, input = '') => {
        const { status, stdout, stderr } = run('souk', [...words.split(' '), '--json'], ports, input)
        assert.equal(status, 0, `souk ${words}: ${stdout}${stderr}`)
        return JSON.parse(stdout)
      }
      souk('seller create-account ann Ann', PASSWORD)
      souk('seller login ann', PASSWORD)
      const lamp = '--category 1 --price 19.99 --quantity 1 --condition new --keyword lamp'
      const { item_id } = souk(`seller register-item-for-sale Lamp ${lamp}`)
      souk('buyer create-account bob Bob', PASSWORD)
      souk('buyer login bob', PASSWORD)
      assert.equal(souk('buyer search-items 1 lamp').items[0].item_id, item_id)
      souk(`buyer add-item-to-cart ${item_id} 1`)
      assert.equal(souk('buyer make-purchase').total_cents, 1_999)
      const { servers } = souk('status')
      assert.deepEqual(
        servers.map(({ role, username }: Record<string, unknown>) => [role, username]),
        [
          ['seller', 'ann'],
          ['buyer', 'bob'],
        ],
      )
      assert.equal(await server.end('SIGTERM'), 0)
      assert.equal(server.log, '')
      assert.deepEqual(findProcesses(home), [])
    })

    for (const target of ['souk', 'threads']) {
      it(`lets souk-load measure ${target}`, () => {
        const scenario = ['--scenario', 'get_seller_rating', '--clients', '2', '--seconds', '0.5', '--runs', '1']
        const { status, stdout, stderr } = run('souk-load', ['run', '--target', target, ...scenario], {
          SOUK_HOME: home,
        })
        assert.equal(status, 0, stderr)
        assert.match(stdout, /^get_seller_rating\n[\s\S]*^\| 1 \| [\d,]+ \|/m)
      })
    }
  })
}
