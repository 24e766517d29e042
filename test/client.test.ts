/** souk with one command per process: a whole session of a seller and of a buyer, as people see it and as JSON. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { z } from 'zod'
import { Commands } from '../src/client/commands.ts'
import { operationsByName, ROLES, type Role } from '../src/contract/operations.ts'
import { FaultyLink } from './support/faulty-link.ts'
import { type RunningServer, startTestMarketplace, type TestMarketplace } from './support/marketplace.ts'
import { documentIn, PASSWORD, SoukUser } from './support/souk.ts'

let marketplace: TestMarketplace
let servers: RunningServer[]
let ann: SoukUser

before(async () => {
  marketplace = await startTestMarketplace()
  servers = await Promise.all(ROLES.map((role) => marketplace.serve(role)))
  ann = new SoukUser(servers)
})
after(async () => {
  await ann?.leave()
  await marketplace?.close()
})

const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d`

/** Runs one command after the other, and checks the result of each. */
async function checkSession(role: string, commands: readonly (readonly [typed: string, result: string | RegExp])[]) {
  for (const [typed, expected] of commands) {
    const result = await ann.result(`${role} ${typed}`)
    if (typeof expected === 'string') assert.equal(result, `${expected}\n`, typed)
    else assert.match(result, expected, typed)
  }
}

describe('help', () => {
  for (const role of ROLES) {
    it(`for a ${role} shows examples first, then every command`, async () => {
      const help = await ann.result(`${role} --help`)
      for (const name of operationsByName(role).keys())
        assert.match(help, new RegExp(`^ {2}${name.replaceAll('_', '-')}(, [a-z]+)? {2,}[A-Z]`, 'm'))
      assert.match(help, /^souk [\d.]+, for \w+s\n\nExamples:\n/)
    })
  }

  it('for a command shows its examples, arguments and options, and carries nothing out', async () => {
    const help = await ann.result('seller register-item-for-sale Lamp --help')
    for (const part of [
      '$ souk seller register-item-for-sale "Nikon F3"',
      '$ souk seller register\n',
      '--price <price>',
    ])
      assert.ok(help.includes(part), part)
    assert.equal(await ann.result('seller register-item-for-sale Lamp -h'), help)
  })

  it('for the program names the roles; --version prints the version', async () => {
    assert.match(
      await ann.result('--help'),
      /^ {2}seller [\s\S]+^ {2}buyer [\s\S]+^ {2}status [\s\S]+^ {2}completion /m,
    )
    assert.match(await ann.result('--version'), /^souk\/\d+\.\d+\.\d+ /)
  })
})

describe('a session', () => {
  it('of a seller works with full names', async () => {
    const input = `${PASSWORD}\n`
    assert.equal(await ann.result('seller create-account ann "Ann Lee"', { input }), 'seller 1\n')
    assert.equal(
      await ann.result('seller login ann', { input: `${PASSWORD}\r\nand more\n` }),
      'logged in as ann; the session ends when it is not used for 5 min\n',
    )
    const options = '--category 3 --price 249.90 --quantity 2 --condition used --keyword camera --keyword 007'
    await checkSession('seller', [
      ['display-items-for-sale', 'no items'],
      [`register-item-for-sale "Nikon F3" ${options}`, 'item 1: 2 × Nikon F3 on sale at 249.90'],
      [
        'register-item-for-sale カメラ --category=3 --price=9 --quantity=50 --condition=new',
        'item 2: 50 × カメラ on sale at 9.00',
      ],
      [
        'edit-item 2 --keyword film --condition used',
        /^item {7}2\nname {7}カメラ\n(.*\n){2}condition {2}used\ncategory {3}3\nkeywords {3}film\nvotes .*\nseller {5}1 Ann Lee\n$/,
      ],
      ['edit-item 2 --keyword= --condition new', /^condition {2}new\n.*\nkeywords {3}\n/m],
      ['change-item-price 2 9.50', 'item 2 costs 9.50'],
      ['update-units-for-sale 2 10', 'item 2: 60 on sale'],
      ['update-units-for-sale 2 -3', 'item 2: 57 on sale'],
      [
        'display-items-for-sale',
        [
          'ITEM  NAME      CATEGORY   PRICE  ON SALE  CONDITION  VOTES  KEYWORDS',
          '   2  カメラ           3    9.50       57  new        +0 -0',
          '   1  Nikon F3         3  249.90        2  used       +0 -0  camera 007',
        ].join('\n'),
      ],
      ['get-seller-rating', 'Ann Lee: 0 up, 0 down, 0 items sold'],
      ['get-seller-sales', '0 items sold in all, for 0.00\nno sales'],
      ['whoami', new RegExp(`^ann \\(Ann Lee\\), number 1; the session ends at ${TIME} unless it is used\n$`)],
      ['ping', /^souk \d+\.\d+\.\d+\n$/],
    ])
  })

  it('of a buyer works with full names', async () => {
    await checkSession('buyer', [
      ['create-account bob Bob --password-file password', 'buyer 1'],
      ['login bob --password-file password', /^logged in as bob; /],
      [
        'search-items 3 lens camera',
        'ITEM  NAME      SELLER      PRICE  ON SALE  CONDITION  VOTES  KEYWORDS\n' +
          '   1  Nikon F3  1 Ann Lee  249.90        2  used       +0 -0  camera 007',
      ],
      ['search-items 3 007', /^ +1 {2}Nikon F3 /m],
      ['list-categories', 'CATEGORY  ON SALE\n       3        2'],
      [
        'get-item 1',
        /^item {7}1\nname {7}Nikon F3\nprice {6}249\.90\n(.*\n){3}keywords {3}camera 007\nvotes {6}\+0 -0\n/,
      ],
      ['add-item-to-cart 1 2', 'item 1: 2 in the cart'],
      ['add-item-to-cart 2 5', 'item 2: 5 in the cart'],
      ['remove-item-from-cart 2 4', 'item 2: 1 in the cart'],
      [
        'display-cart',
        [
          'ITEM  NAME      UNITS   PRICE   TOTAL  ON SALE',
          '   1  Nikon F3      2  249.90  499.80        2',
          '   2  カメラ        1    9.50    9.50       57',
          'total 509.30',
        ].join('\n'),
      ],
      ['save-cart', 'the cart is kept for your later sessions'],
      ['clear-cart', 'the cart is empty'],
      ['display-cart', 'the cart is empty'],
      ['get-buyer-purchases', '0 items purchased in all\nno purchases'],
      ['logout', 'logged out'],
      ['login bob --password-file password', /^logged in as bob; /],
      [
        'make-purchase',
        /^ITEM {2}NAME .*\n.* {2}249\.90 {2}499\.80\n.* {4}9\.50 {4}9\.50\npurchase \d+: total 509\.30\n$/,
      ],
      [
        'get-buyer-purchases',
        new RegExp(
          `^3 items purchased in all\nPURCHASE .*\n +\\d+  ${TIME}     1  Nikon F3      2  249\\.90  499\\.80\n`,
        ),
      ],
      ['provide-feedback 1 up', 'item 1: your vote is up'],
      ['get-seller-rating 1', 'seller 1, Ann Lee: 1 up, 0 down, 3 items sold'],
      ['logout', 'logged out'],
    ])
  })

  it('of the seller shows then what was sold', async () => {
    await checkSession('seller', [
      [
        'get-seller-sales',
        new RegExp(
          '^3 items sold in all, for 509\\.30\nPURCHASE  TIME +ITEM  NAME +UNITS   PRICE   TOTAL\n' +
            ` +\\d+  ${TIME}     2  カメラ        1    9\\.50    9\\.50\n` +
            ` +\\d+  ${TIME}     1  Nikon F3      2  249\\.90  499\\.80\n$`,
        ),
      ],
    ])
  })

  it('works with short names, and prints as JSON what the contract says', async () => {
    const inputs = {
      seller: [
        'signup ann "Ann Lee" --password-file password',
        'login ann --password-file password',
        'register Film --category 4 --price 0.01 --quantity 9 --condition new --keyword film',
        'edit 1 --keyword ""',
        'price 1 240',
        'units 1 5',
        'items',
        'sales',
        'categories',
        'rating',
        'passwd --password-file passwords',
        'whoami',
        'ping',
        'logout',
      ],
      buyer: [
        'signup bob Bob --password-file password',
        'login bob --password-file password',
        'categories',
        'search 3',
        'item 1',
        'clear',
        'add 1 2',
        'remove 1 1',
        'save',
        'cart',
        'buy',
        'purchases',
        'vote 1 down',
        'rating 1',
        'passwd --password-file passwords',
        'whoami',
        'ping',
        'logout',
      ],
    }
    writeFileSync(join(ann.home, 'passwords'), `${PASSWORD}\n${PASSWORD}\n`)
    for (const role of ROLES) {
      const documents = (await ann.result(`${role} --json`, { input: inputs[role].join('\n') })).trim().split('\n')
      const commands = new Commands<Role>(role, { inShell: false })
      const called = inputs[role].map((input) => commands.find(input.split(' ')[0])?.operation)
      assert.deepEqual(called.toSorted(), [...operationsByName(role).keys()].toSorted())
      for (const [index, operation] of called.entries()) {
        const { result } = operationsByName(role).get(String(operation)) as { result: z.ZodObject }
        const printed = operation === 'login' ? result.omit({ session: true }) : result
        printed.parse(JSON.parse(documents[index] ?? ''))
      }
    }
  })
})

describe('a purchase whose reply is lost', () => {
  it('is carried out once and answered, with a note about the lost connection on standard error', async () => {
    const buyers = servers.find(({ role }) => role === 'buyer') as RunningServer
    const link = await FaultyLink.start(buyers.port)
    const eve = new SoukUser([{ role: 'buyer', port: link.port }])
    try {
      await eve.join('buyer', 'eve')
      await eve.result('buyer add-item-to-cart 2 1')
      link.arm({ to: 'client', after: { bytes: 0 }, does: 'reset' })
      const { exitCode, stdout, stderr } = await eve.souk('buyer make-purchase --json')
      assert.equal(exitCode, 0, stderr)
      assert.equal(link.armed, false)
      const { purchase_id } = documentIn(stdout)
      const { items_purchased, purchases } = documentIn(await eve.result('buyer purchases --json'))
      assert.equal(items_purchased, 1)
      assert.deepEqual(
        (purchases as { purchase_id: number }[]).map((purchase) => purchase.purchase_id),
        [purchase_id],
      )
      assert.deepEqual(stderr.split('\n'), [
        'souk: the connection was lost: ECONNRESET; trying again, for 15 s at most',
        `souk: connected to 127.0.0.1:${link.port} again`,
        '',
      ])
    } finally {
      await eve.leave()
      await link.close()
    }
  })
})
