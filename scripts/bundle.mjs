/**
 * Bundles souk and souk-server, so that they start fast, and writes the licences
 * of the packages inside beside them. souk becomes one file. The server's rarer
 * parts stay files of their own, which are loaded when they are needed.
 */

import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const PARTS = 'server-parts'
const COMMON = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  metafile: true,
  logLevel: 'warning',
}
/** CommonJS packages inside the bundle load Node's modules with it. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"

rmSync(join('dist', PARTS), { recursive: true, force: true })
const server = await build({
  ...COMMON,
  entryPoints: ['src/server.ts'],
  outdir: 'dist',
  splitting: true,
  external: ['mariadb'], // its licence (LGPL) wants it replaceable
  chunkNames: `${PARTS}/[name]-[hash]`,
  banner: { js: REQUIRE },
})
const souk = await build({ ...COMMON, entryPoints: ['src/client.ts'], outfile: 'dist/souk.js' })

const bundles = { 'souk-server': server, souk }
const folders = new Map()
for (const [program, { metafile }] of Object.entries(bundles)) {
  for (const folder of Object.keys(metafile.inputs).flatMap((path) => findPackage(path) ?? []))
    folders.set(folder, new Set([...(folders.get(folder) ?? []), program]))
}
writeFileSync('dist/THIRD-PARTY-LICENSES.txt', [...folders.keys()].sort().map(describeLicence).join('\n'))

/** The folder of the package that a file belongs to; undefined for souk's own files. */
function findPackage(path) {
  return /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0]
}

function describeLicence(folder) {
  const { name, version, license, author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one))
  const text = file === undefined ? writeLicence(name, license, author) : readFileSync(join(folder, file), 'utf8')
  return `${name} ${version} (${license}), contained in ${[...folders.get(folder)].join(' and ')}\n\n${text.trim()}\n`
}

/** The text of a package that only names its licence. Throws if it is not souk's own, whose words are here. */
function writeLicence(name, license, author) {
  if (license !== 'MIT') throw new Error(`${name} brings no licence text`)
  return readFileSync('LICENSE', 'utf8').replace(/^Copyright .*$/m, `Copyright (c) ${author}`)
}
