/** What programs are given from outside: bytes that are no text, variables, and `.env`. Seen at souk, as a process. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { VARIABLES } from '../../src/server/settings.ts'
import { temporaryHome } from '../support/marketplace.ts'

const SOUK = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))
/** A word of printf that is not UTF-8, and what Node makes of it. */
const GARBLED = 'caf\\351'
const REPLACED = 'caf\u{FFFD}'

let home: string
before(() => {
  home = temporaryHome()
})
afterEach(() => rmSync(join(home, '.env'), { recursive: true, force: true }))
after(() => rmSync(home, { recursive: true, force: true }))

/** Runs a line of the shell in which $souk is the program. */
function runShell(line: string, env: Record<string, string> = {}) {
  const given = { PATH: process.env.PATH, HOME: home, souk: `${process.execPath} ${SOUK}`, ...env }
  const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', line], { cwd: home, env: given, encoding: 'utf8' })
  return { status, stdout, stderr }
}

const PING = '$souk buyer ping --timeout 5'

/** The server that souk calls, or what it says instead. */
function findAddress(env: Record<string, string> = {}, line = PING): string {
  const { stderr } = runShell(line, env)
  return /^souk: no connection to (.*?): ECONN/.exec(stderr)?.[1] ?? stderr
}

describe('an argument that is not UTF-8', () => {
  it('is a usage error, which says which one it is', () => {
    const word = `"$(printf '${GARBLED}')"`
    const { status, stderr } = runShell(`$souk buyer search 3 ${word} --port 1 é ${word}`)
    assert.deepEqual([status, stderr], [2, 'souk: argument 4 is not UTF-8\nsouk: argument 8 is not UTF-8\n'])
    const { stdout } = runShell(`$souk buyer item ${word} --json`)
    assert.deepEqual(JSON.parse(stdout), { error: { code: 'usage', message: 'argument 3 is not UTF-8' } })
  })

  it('is not confused with one that contains the replacement character', () => {
    assert.match(runShell(`$souk buyer login ${REPLACED}`).stderr, /^souk: username: must have 3 to 32/)
  })
})

describe('a variable', () => {
  it('that is not UTF-8 is a usage error, if souk reads it', () => {
    for (const name of ['SOUK_HOST', 'SOUK_SESSION', 'XDG_STATE_HOME', 'HOME']) {
      const { status, stderr } = runShell(`${name}="$(printf '${GARBLED}')" ${PING}`)
      assert.deepEqual([status, stderr], [2, `souk: ${name} is not UTF-8\n`])
    }
    assert.equal(runShell(`OTHER="$(printf '${GARBLED}')" XDG_STATE_HOME=${REPLACED} $souk --version`).status, 0)
  })

  it('that is empty counts as not set; one of blanks does not', () => {
    assert.equal(findAddress({ SOUK_HOST: '', SOUK_BUYER_PORT: '' }), '127.0.0.1:7102')
    const port = 'souk: SOUK_BUYER_PORT: must be a whole number from 1 to 65535\n'
    for (const word of [' ', '0x10', '1e3', ' 1', '+1', '1_0', '-0', '0', '65536'])
      assert.equal(findAddress({ SOUK_BUYER_PORT: word }), port, word)
    assert.equal(findAddress({ SOUK_BUYER_PORT: '001' }), '127.0.0.1:1')
    assert.equal(findAddress({ SOUK_HOST: ' ' }), 'souk: SOUK_HOST: must be a host name or an address\n')
  })

  it('that is misspelt is noted with the one that was meant; others are not', () => {
    const note = (name: string, meant: string) => `souk: ${name} is no setting, and is ignored; there is ${meant}\n`
    for (const [name, meant] of Object.entries({ SOUK_BUYR_PORT: 'SOUK_BUYER_PORT', SOUK_HOSTS: 'SOUK_HOST' })) {
      const { status, stdout, stderr } = runShell('$souk --version', { [name]: '1' })
      assert.deepEqual([status, stderr], [0, note(name, meant)])
      assert.match(stdout, /^souk/)
      writeFileSync(join(home, '.env'), `${name}=1\n`)
      assert.equal(runShell('$souk --version').stderr, note(name, meant))
      rmSync(join(home, '.env'))
    }
    const others = [...VARIABLES, 'SOUK_PORT', 'SOUK_SERVICE_HOST', 'SOUK_PORT_7101_TCP', 'SOUK_IMAGE', 'SOUKHOST']
    const known = Object.fromEntries(others.map((name) => [name, '1']))
    assert.equal(runShell('$souk --version', known).stderr, '')
  })
})

describe('.env', () => {
  const write = (content: string | Buffer) => writeFileSync(join(home, '.env'), content)

  it('gives what the environment does not, whatever an editor puts around it', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      for (const mark of ['', '\u{FEFF}']) {
        write(mark + ['SOUK_HOST=127.0.0.3', '', '\t# c', 'SOUK_BUYER_PORT=3'].join(end))
        assert.equal(findAddress(), '127.0.0.3:3', JSON.stringify(mark + end))
        assert.equal(findAddress({ SOUK_HOST: '127.0.0.4', SOUK_BUYER_PORT: '' }), '127.0.0.4:3')
        assert.equal(findAddress({ SOUK_HOST: '127.0.0.4' }, `${PING} --port 5`), '127.0.0.4:5')
      }
    }
  })

  it('has values in quotes or without, comments behind a space, and of one name the last', () => {
    const hosts = {
      'SOUK_HOST=127.0.0.3 # c': '127.0.0.3:7102',
      '  export SOUK_HOST = "127.0.0.3"\t#c': '127.0.0.3:7102',
      "SOUK_HOST='127.0.0.3'": '127.0.0.3:7102',
      'SOUK_HOST=`127.0.0.3`  ': '127.0.0.3:7102',
      'SOUK_HOST=127.0.0.3\nSOUK_HOST=127.0.0.4': '127.0.0.4:7102',
      'OTHER="a\nSOUK_HOST=127.0.0.3\n# \'b"\nSOUK_BUYER_PORT=3': '127.0.0.1:3',
      'SOUK_HOST=\nSOUK_BUYER_PORT= # none': '127.0.0.1:7102',
    }
    for (const [content, address] of Object.entries(hosts)) {
      write(content)
      assert.equal(findAddress(), address, content)
    }
    write('SOUK_HOST=127.0.0.3#b\nXDG_STATE_HOME="x # y"\n')
    assert.match(findAddress(), /SOUK_HOST: must be a host name/)
  })

  it('with a line that is no setting is a usage error, which names each of them', () => {
    write("SOUK_BUYER_PORT 3\n# c\n\nSOUK_BUYER_PORT: 3\r\nexport\nSOUK_HOST=\"a\nA='b'\n=d\n")
    const lines = [1, 4, 5, 6, 8].map((line) => `souk: line ${line} of .env must be NAME=value\n`)
    const { status, stderr } = runShell(PING)
    assert.deepEqual([status, stderr], [2, lines.join('')])
  })

  it('that is no text is a usage error', () => {
    write(Buffer.from('A=1\n# caf\xe9\n', 'latin1'))
    assert.equal(findAddress(), 'souk: line 2 of .env is not UTF-8\n')
    write(Buffer.from('\u{FEFF}A=1\n', 'utf16le'))
    assert.equal(findAddress(), 'souk: line 1 of .env is UTF-16: save it as UTF-8\n')
    write('A=1\nB=\0\n')
    assert.equal(findAddress(), 'souk: line 2 of .env has a NUL byte, which no text has\n')
  })

  it('that is a folder or leads nowhere is ignored; one that can’t be read is named', () => {
    mkdirSync(join(home, '.env'))
    assert.equal(findAddress(), '127.0.0.1:7102')
    rmSync(join(home, '.env'), { recursive: true })
    symlinkSync('nowhere', join(home, '.env'))
    assert.equal(findAddress(), '127.0.0.1:7102')
    rmSync(join(home, '.env'))
    symlinkSync('.env', join(home, '.env'))
    assert.match(findAddress(), /^souk: cannot read \.env: .+\n$/)
  })
})
