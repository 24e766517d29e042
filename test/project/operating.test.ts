/**
 * What operators are given fits the programs: the settings in docs/operating.md
 * are those of souk-server, and the Dockerfile, compose.yaml and the systemd unit
 * name files, settings, programs, ports and times that are right.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { DEFAULT_PORTS } from '../../src/contract/addresses.ts'
import { ROLES } from '../../src/contract/operations.ts'
import { ERROR_NUMBERS } from '../../src/contract/refusals.ts'
import { SERVER_USERS } from '../../src/db/rights.ts'
import { VARIABLES as READ, SETTINGS } from '../../src/server/settings.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LONGEST_STOP_S = 11
const NAMES = ['customer', 'product'] as const

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const VARIABLES = SETTINGS.map(({ variable }) => variable)
const PACKAGE = JSON.parse(read('package.json'))

describe('docs/operating.md', () => {
  const document = read('docs/operating.md')

  test('has every setting, in order and with its default, and no other', () => {
    const options = { cwd: '/', env: { PATH: process.env.PATH }, encoding: 'utf8' } as const
    const args = [`--import=${import.meta.resolve('tsx')}`, join(ROOT, 'src/server.ts'), '--show-settings']
    const effective = spawnSync(process.execPath, args, options).stdout.trim().split('\n')
    const rows = [...document.matchAll(/^\| `(SOUK_\w+)` \| (?:`([^`]+)`)? ?\|/gm)]
    assert.deepEqual(
      rows.map(([, name]) => name),
      effective.map((line) => line.split('=')[0]),
    )
    for (const [, name, value] of rows) if (value !== undefined) assert.ok(effective.includes(`${name}=${value}`), name)
    for (const name of document.match(/\bSOUK_\w+/g) ?? []) assert.ok(READ.includes(name), name)
  })

  test('quotes what the programs say', () => {
    const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    )
    const source = files.map((name) => read(join('src', name))).join('\n')
    const [, table = ''] = document.split('## What may go wrong')
    const quotes = [...table.matchAll(/`([^`]*(?:…|starting)[^`]*)`/g)].map(([, quote = '']) => quote)
    assert.ok(quotes.length > 6)
    const parts = quotes.flatMap((quote) => quote.split(/[…:]/)).map((part) => part.trim())
    for (const part of parts) assert.ok(source.includes(part), part)
  })

  test('names only errors that clients get', () => {
    const codes = [...document.matchAll(/is answered `(\w+)`/g)].map(([, code = '']) => code)
    assert.ok(codes.length > 0)
    for (const code of codes) assert.ok(code in ERROR_NUMBERS, code)
  })
})

describe('the Dockerfile', () => {
  const lines = read('Dockerfile').replaceAll('\\\n', '').split('\n')
  const lastStage = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')))
  const after = (word: string, some = lines) =>
    some.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))
  const copied = after('COPY').map((line) => line.split(' '))

  test('copies files that exist and that .dockerignore lets through', () => {
    const allowed =
      read('.dockerignore')
        .match(/^!(.+)$/gm)
        ?.map((line) => line.slice(1)) ?? []
    const sources = copied.filter(([first]) => first !== '--from=build').flatMap((words) => words.slice(0, -1))
    assert.ok(sources.length > 5)
    for (const source of sources) {
      assert.ok(source.includes('*') || existsSync(join(ROOT, source)), source)
      assert.ok(allowed.includes(source), source)
    }
  })

  test('brings everything that the package has, except the baseline', () => {
    const brought = after('COPY', lastStage).flatMap((line) => line.split(' '))
    for (const file of PACKAGE.files.filter((one: string) => !one.startsWith('baseline'))) {
      assert.ok(
        brought.some((one) => one === file || one === `/souk/${file}`),
        file,
      )
    }
  })

  test('runs scripts that exist, a role, on a Node that souk supports, as no root', () => {
    for (const [, script = ''] of read('Dockerfile').matchAll(/npm run (\w+)/g)) assert.ok(script in PACKAGE.scripts)
    assert.deepEqual(JSON.parse(after('ENTRYPOINT')[0] as string), ['node', PACKAGE.bin['souk-server']])
    assert.ok(ROLES.includes(JSON.parse(after('CMD')[0] as string)[0]))
    for (const image of after('FROM')) assert.match(image, /^node:(20|22|24)-bookworm-slim/)
    assert.deepEqual([after('USER'), after('EXPOSE')], [['node'], [Object.values(DEFAULT_PORTS).join(' ')]])
  })
})

describe('compose.yaml', () => {
  const text = read('compose.yaml')
  const { services, configs } = parse(text, { merge: true })
  const urlOf = (service: string, name: string): string =>
    services[service].environment[`SOUK_${name.toUpperCase()}_DB_URL`]
  const passwordOf = (service: string) => `${(service === 'schema' ? 'owner' : service).toUpperCase()}_PASSWORD`

  test('runs a server of each role, on its usual port and with time to stop', () => {
    for (const role of ROLES) {
      const { command, ports, stop_grace_period: grace } = services[role]
      assert.deepEqual(command, [role])
      const port = `\${SOUK_${role.toUpperCase()}_PORT:-${DEFAULT_PORTS[role]}}`
      assert.deepEqual(ports, [`127.0.0.1:${port}:${port}`])
      assert.ok(Number.parseInt(grace, 10) > LONGEST_STOP_S)
    }
  })

  test('makes the schema as its owner before servers start, each as a user of its own', () => {
    assert.deepEqual(services.schema.command, ['schema'])
    for (const role of ROLES) {
      assert.deepEqual(services[role].depends_on, { schema: { condition: 'service_completed_successfully' } })
    }
    for (const name of NAMES) {
      assert.equal(services.schema.depends_on[`${name}-database`].condition, 'service_healthy')
      const { MARIADB_DATABASE: database } = services[`${name}-database`].environment
      const place = `\${${name.toUpperCase()}_DATABASE:-${name}-database/${database}}`
      for (const [service, user] of Object.entries({ ...SERVER_USERS, schema: 'souk_owner' })) {
        const [, given, password, where] =
          /^mariadb:\/\/(\w+):(\$\{\w+)\S*?\}@(.+)$/.exec(urlOf(service, name).replace(/:\?[^}]+/, '')) ?? []
        assert.deepEqual([given, password, where], [user, `\${${passwordOf(service)}`, place])
      }
    }
  })

  test('makes the users of docs/operating.md, with the passwords in their URLs', () => {
    const typed =
      read('docs/operating.md')
        .match(/^ {4}(CREATE USER|GRANT) .+;$/gm)
        ?.map((line) => line.trim()) ?? []
    for (const name of NAMES) {
      assert.deepEqual(services[`${name}-database`].configs, [
        { source: `${name}-users`, target: '/docker-entrypoint-initdb.d/users.sql' },
      ])
      const made: string[] = configs[`${name}-users`].content.trim().split('\n')
      const withoutPasswords = (lines: string[]) => lines.map((line) => line.replace(/BY '.*'/, 'BY'))
      assert.deepEqual(
        withoutPasswords(made),
        withoutPasswords(typed.filter((line) => !line.startsWith('GRANT') || line.includes(` souk_${name}.`))),
      )
      for (const line of made.filter((line) => line.startsWith('CREATE'))) {
        const [, user = '', password] = /^CREATE USER souk_(\w+)@'%' IDENTIFIED BY '\$\{(\w+)\}';$/.exec(line) ?? []
        assert.equal(password, passwordOf(user))
      }
    }
  })

  test('takes from .env only settings, passwords and the places of databases, and gives servers no password but their own', () => {
    const passwords = ['OWNER_PASSWORD', 'SELLER_PASSWORD', 'BUYER_PASSWORD']
    const places = ['CUSTOMER_DATABASE', 'PRODUCT_DATABASE']
    for (const [, name = ''] of text.matchAll(/\$\{(\w+)/g)) {
      assert.ok([...VARIABLES, ...passwords, ...places].includes(name), name)
    }
    for (const service of [...ROLES, 'schema']) {
      for (const [name, value] of Object.entries<string>(services[service].environment)) {
        if (passwords.includes(name)) assert.equal(value, '')
        else assert.ok(VARIABLES.includes(name), name)
        for (const password of passwords)
          if (password !== passwordOf(service)) assert.ok(!String(value).includes(password))
      }
      for (const password of passwords) assert.ok(password in services[service].environment, password)
    }
    assert.match(read('.gitignore'), /^\.env$/m)
  })
})

describe('the systemd unit', () => {
  const unit = new Map(
    read('systemd/souk@.service')
      .split('\n')
      .filter((line) => /^\w+=/.test(line))
      .map((line) => line.split(/=(.*)/s) as [string, string]),
  )

  test('starts a program of the package with its role, and gives it the time to stop', () => {
    assert.equal(unit.get('ExecStart'), '/usr/bin/env souk-server %i')
    assert.ok('souk-server' in PACKAGE.bin)
    assert.ok(Number(unit.get('TimeoutStopSec')) > LONGEST_STOP_S)
    assert.ok(Number(unit.get('LimitNOFILE')) > 20_000)
  })
})
