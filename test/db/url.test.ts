/** What the URL of a database may say, and what it means. What it may not say is refused by name. */

import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connectionOptions, databaseUrlProblem, maskPassword } from '../../src/db/url.ts'
import { makeCertificates } from '../support/database-server.ts'
import { temporaryHome } from '../support/marketplace.ts'

let home: string
let ca: string

before(() => {
  home = temporaryHome()
  ca = makeCertificates(home).ca
  writeFileSync(join(home, 'empty'), '')
  writeFileSync(join(home, 'broken'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  mkdirSync(join(home, 'a+b c'))
})
after(() => rmSync(home, { recursive: true, force: true }))

const SHAPE = /^must look like mariadb:\/\/user:password@host:port\/database/

describe('the URL of a database', () => {
  it('names host, port, user, password and database, in any characters, or a socket', () => {
    const cases: [string, object][] = [
      ['mariadb://ann:pw@db:1/shop', { host: 'db', port: 1, user: 'ann', password: 'pw', database: 'shop' }],
      ['mysql://ann@db/shop', { host: 'db', port: 3_306, user: 'ann', password: '', database: 'shop' }],
      ['mariadb://a@[::1]:65535/s', { host: '::1', port: 65_535, user: 'a', password: '', database: 's' }],
      [
        'mariadb://a%40b:p%2F%3A%25@db/caf%C3%A9%2Fbar',
        { host: 'db', port: 3_306, user: 'a@b', password: 'p/:%', database: 'café/bar' },
      ],
      [
        'mariadb://a@localhost/s?socketPath=/tmp/a+b%20c',
        { socketPath: '/tmp/a+b c', user: 'a', password: '', database: 's' },
      ],
      ['mariadb://a@db/s?ssl=false', { host: 'db', port: 3_306, user: 'a', password: '', database: 's' }],
    ]
    for (const [url, expected] of cases) {
      assert.equal(databaseUrlProblem(url), undefined, url)
      assert.deepEqual(connectionOptions(url), expected)
    }
  })

  it('turns TLS on with ssl or ca, and has the certificate checked for the host', () => {
    for (const [parameters, expected] of [
      ['ssl=true', { host: '::1' }],
      [`ca=${ca}`, { host: '::1', ca: /BEGIN CERTIFICATE/ }],
      [`ssl=true&ca=${ca}`, { host: '::1', ca: /BEGIN CERTIFICATE/ }],
    ] as const) {
      const url = `mariadb://a@[::1]/s?${parameters}`
      assert.equal(databaseUrlProblem(url), undefined)
      const { ssl } = connectionOptions(url)
      assert.deepEqual(Object.keys(ssl as object), Object.keys(expected))
      assert.equal((ssl as { host: string }).host, expected.host)
    }
  })

  it('is refused when a part is missing, twice there, not to be decoded, or unknown', () => {
    const db = 'mariadb://a:canary@db/s'
    const cases: [string, RegExp][] = [
      ['', SHAPE],
      ['db', SHAPE],
      ['http://a:canary@db/s', SHAPE],
      ['mariadb:a:canary@db/s', SHAPE],
      ['mariadb://a:canary@/s', SHAPE],
      ['mariadb://a:canary@db', SHAPE],
      ['mariadb://a:canary@db/', SHAPE],
      ['mariadb://a:canary@db:0/s', SHAPE],
      ['mariadb://a:canary@db:65536/s', SHAPE],
      ['mariadb://a:can/ary@db/s', SHAPE],
      ['mariadb://a:can#ary@db/s', SHAPE],
      ['mariadb://a:can?ary@db/s', SHAPE],
      [`${db}#part`, SHAPE],
      ['mariadb://:canary@db/s', /^must name a user$/],
      ['mariadb://db/s', /^must name a user$/],
      ['mariadb://a:canary%@db/s', /^has a % that/],
      ['mariadb://a%ff:canary@db/s', /^has a % that/],
      ['mariadb://a:canary@db/%zz', /^has a % that/],
      [`${db}?socketPath=%`, /^has a % that/],
      [`${db}/more`, /^must name one database/],
      [`${db}/`, /^must name one database/],
      [`${db}?sslmode=canary`, /^unknown parameter "sslmode"; known are ssl, ca, socketPath$/],
      [`${db}?SSL=true`, /^unknown parameter "SSL"/],
      [`${db}?__proto__=1`, /^unknown parameter "__proto__"/],
      [`${db}?ssl=true&connectionLimit=5`, /^unknown parameter "connectionLimit"/],
      [`${db}?ssl=true&ssl=true`, /^ssl is given twice$/],
      [`${db}?ssl`, /^ssl must be true or false$/],
      [`${db}?ssl=1`, /^ssl must be true or false$/],
      [`${db}?ssl=TRUE`, /^ssl must be true or false$/],
      [`${db}?ssl=false&ca=${ca}`, /^ssl=false and ca exclude each other$/],
      [`${db}?socketPath=`, /^socketPath must be a path$/],
      [`${db}?socketPath=/s&ssl=true`, /^a socketPath needs neither ssl nor ca$/],
      [`${db}?ca=`, /^the file that ca names does not exist$/],
      [`${db}?ca=${home}/none`, /^the file that ca names does not exist$/],
      [`${db}?ca=${home}`, /^the file that ca names can't be read \(EISDIR\)$/],
      [`${db}?ca=${home}/empty`, /^the file that ca names has no certificate in PEM format$/],
      [`${db}?ca=${home}/broken`, /^the file that ca names has a broken certificate$/],
    ]
    for (const [url, problem] of cases) {
      assert.match(databaseUrlProblem(url) ?? 'accepted', problem, url)
      assert.doesNotMatch(databaseUrlProblem(url) ?? '', /canary/)
    }
  })

  it('is shown without its password, whatever that contains', () => {
    assert.equal(maskPassword('mariadb://a:can@ary@db/s?ssl=true'), 'mariadb://a:***@db/s?ssl=true')
    assert.equal(maskPassword('mariadb://a:can%2Fary@db/s'), 'mariadb://a:***@db/s')
    assert.equal(maskPassword('mariadb://a@db/s'), 'mariadb://a@db/s')
  })
})
