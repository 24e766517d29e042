/**
 * Writes dist/types, the declarations for who imports souk: as the compiler
 * makes them from src/library.ts, and of those only the ones that it leads to.
 * The types of parameters and results are written out from their schemas, since
 * users of the package have neither zod nor @types/node.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toParamsSchema, toResultSchema } from '../dist/contract/openrpc.js'
import { operationsByName, ROLES } from '../dist/contract/operations.js'
import { toTypeText } from '../dist/contract/type-text.js'

const TARGET = fileURLToPath(new URL('../dist/types', import.meta.url))
const CALLS = join('contract', 'calls.d.ts')

rmSync(TARGET, { recursive: true, force: true })
const made = mkdtempSync(join(tmpdir(), 'souk-types-'))
const { status } = spawnSync('tsc', ['-p', 'tsconfig.types.json', '--outDir', made], { stdio: 'inherit' })
if (status === 0) copyWithImports('library.d.ts', new Set())
rmSync(made, { recursive: true })
process.exitCode = status ?? 1

function copyWithImports(name, copied) {
  if (copied.has(name)) return
  copied.add(name)
  const text = name === CALLS ? declareCalls() : readFileSync(join(made, name), 'utf8')
  const path = join(TARGET, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text.replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'"))
  for (const [, imported] of text.matchAll(/from '(\.[^']*)\.ts'/g)) {
    copyWithImports(normalize(join(dirname(name), `${imported}.d.ts`)), copied)
  }
}

function declareCalls() {
  const roles = ROLES.map((role) => {
    const calls = [...operationsByName(role)].map(([name, operation]) =>
      [
        `    /** ${operation.about}. */`,
        `    ${name}: {`,
        `      params: ${toTypeText(toParamsSchema(operation))}`,
        `      result: ${toTypeText(toResultSchema(operation))}`,
        '    }',
      ].join('\n'),
    )
    return `  ${role}: {\n${calls.join('\n')}\n  }`
  })
  return `/** Parameters and results of all operations. */\nexport interface Calls {\n${roles.join('\n')}\n}\n`
}
