/**
 * Bundles souk, so that it starts fast, into one file, and writes the licences of
 * the packages inside beside it.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const { metafile } = await build({
  entryPoints: ['src/client.ts'],
  outfile: 'dist/souk.js',
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  metafile: true,
  logLevel: 'warning',
})
const folders = new Set(Object.keys(metafile.inputs).flatMap((path) => findPackage(path) ?? []))
writeFileSync('dist/THIRD-PARTY-LICENSES.txt', [...folders].sort().map(describeLicence).join('\n'))

/** The folder of the package that a file belongs to; undefined for souk's own files. */
function findPackage(path) {
  return /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0]
}

function describeLicence(folder) {
  const { name, version, license, author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one))
  const text = file === undefined ? writeLicence(name, license, author) : readFileSync(join(folder, file), 'utf8')
  return `${name} ${version} (${license}), contained in souk.js\n\n${text.trim()}\n`
}

/** The text of a package that only names its licence. Throws if it is not souk's own, whose words are here. */
function writeLicence(name, license, author) {
  if (license !== 'MIT') throw new Error(`${name} brings no licence text`)
  return readFileSync('LICENSE', 'utf8').replace(/^Copyright .*$/m, `Copyright (c) ${author}`)
}
