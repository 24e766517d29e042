/**
 * souk-server with a role, as a process: what it needs to start, what it prints
 * when that is missing, how it drains, and that a restart loses nothing.
 */

import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { withConnection } from '../src/db/connect.ts'
import { startPrivateDatabase } from '../src/db/private-mariadb.ts'
import { applySchema, createDatabase } from '../src/db/schema.ts'
import { SETTINGS } from '../src/server/settings.ts'
import { anItem, Caller, type OpenAccount, openAccount, Wire } from './support/clients.ts'
import { ServerProgram, startTestMarketplace, type TestMarketplace, temporaryHome } from './support/marketplace.ts'

let marketplace: TestMarketplace
let ann: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  const seller = await Caller.connect(await marketplace.serve('seller'))
  ann = await openAccount(seller)
})
after(() => marketplace?.close())

/** Runs souk-server in a home without a database until it ends by itself. */
async function runToEnd(rest: readonly string[], environment: Record<string, string> = {}, dotEnv = '') {
  const home = temporaryHome()
  writeFileSync(join(home, '.env'), dotEnv)
  const program = new ServerProgram(home, rest, environment)
  const ending = await program.ended
  rmSync(home, { recursive: true, force: true })
  return { ending, output: program.output, problems: program.log.trim().split('\n') }
}

const databases = () => ({
  SOUK_CUSTOMER_DB_URL: marketplace.urls.customer,
  SOUK_PRODUCT_DB_URL: marketplace.urls.product,
})

describe('a server that can’t start', () => {
  it('says that it has no database, and exits with 2', async () => {
    const { ending, problems } = await runToEnd(['seller'])
    assert.equal(ending, 2)
    assert.equal(problems.length, 1)
    assert.match(problems[0] ?? '', /^souk: no database: .*"souk-server", or set SOUK_CUSTOMER_DB_URL/)
  })

  it('reports all invalid settings at once, with the source of each, and exits with 2', async () => {
    const environment = {
      SOUK_SELLER_PORT: '70000',
      SOUK_QUEUE: 'maybe',
      SOUK_CUSTOMER_DB_URL: 'http://x',
      SOUK_LIMIT_IDLE_MS: '0',
    }
    const { ending, problems } = await runToEnd(['seller', '--buyer-port', 'x'], environment)
    assert.equal(ending, 2)
    for (const source of [
      'SOUK_SELLER_PORT',
      'SOUK_QUEUE',
      'SOUK_CUSTOMER_DB_URL',
      'SOUK_LIMIT_IDLE_MS',
      '--buyer-port',
    ]) {
      assert.ok(
        problems.some((problem) => problem.startsWith(`souk: ${source}: `)),
        source,
      )
    }
    assert.equal(problems.length, 5)
  })

  it('reports one database URL without the other, an unknown role or an unknown flag, and exits with 2', async () => {
    const cases: [readonly string[], Record<string, string>, RegExp][] = [
      [['seller'], { SOUK_PRODUCT_DB_URL: 'mariadb://a:b@localhost/c' }, /set both or neither/],
      [['sellers'], {}, /unknown role "sellers"/],
      [['seller', 'buyer'], {}, /unknown role "seller buyer"/],
      [['seller', '--wrong-flag', '1'], {}, /^souk: there is no option --wrong-flag: souk-server --help$/],
      [['--buyer-prt', '1'], {}, /^souk: there is no option --buyer-prt; there is --buyer-port: souk-server --help$/],
      [['--home'], {}, /^souk: --home needs a value: /],
      [['--home='], {}, /^souk: --home: must be the path of a folder: /],
      [['--home', 'a', '--home=b'], {}, /^souk: --home is given more than once: /],
      [['--show-settings=yes'], {}, /^souk: --show-settings takes no value: /],
      [['--queue=maybe'], {}, /^souk: --queue: must be on or off: /],
      [['--host', 'http://localhost'], {}, /^souk: --host: must be a host name or an address: /],
      [['--host', 'a;b'], {}, /^souk: --host: must be a host name or an address: /],
      [['--', '--home'], {}, /^souk: unknown role "--home"/],
    ]
    for (const [rest, environment, problem] of cases) {
      const { ending, problems } = await runToEnd(rest, environment)
      assert.equal(ending, 2)
      assert.equal(problems.length, 1)
      assert.match(problems[0] ?? '', problem)
    }
  })

  it('names a port that is in use, and exits with 2', async () => {
    const taken = await listen()
    const port = (taken.address() as { port: number }).port
    const { ending, problems } = await runToEnd(['buyer', '--buyer-port', String(port)], databases())
    taken.close()
    assert.equal(ending, 2)
    assert.deepEqual(problems, [`souk: --buyer-port: something else listens on 127.0.0.1:${port}`])
  })

  it('names the host if this machine has no such address, or none has, and exits with 2', async () => {
    for (const [host, problem] of [
      ['192.0.2.1', /^souk: SOUK_HOST: this machine has no such address: 192\.0\.2\.1:\d+$/],
      ['no-host.invalid', /^souk: SOUK_HOST: unknown host: no-host\.invalid:\d+$/],
    ] as const) {
      const { ending, problems } = await runToEnd(['buyer'], { ...databases(), SOUK_HOST: host })
      assert.equal(ending, 2)
      assert.equal(problems.length, 1)
      assert.match(problems[0] ?? '', problem)
    }
  })
})

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
  })
}

describe('settings', () => {
  const show = async (rest: readonly string[], environment: Record<string, string> = {}) => {
    const { ending, output, problems } = await runToEnd(['--show-settings', ...rest], environment)
    return { ending, shown: output.split('\n'), problems }
  }

  it('are the words that were typed, whatever they look like', async () => {
    for (const word of ['0123', '1e3', '0x10', 'true', '-5', ' x ']) {
      for (const [typed, environment] of [
        [['--home', word], {}],
        [[`--home=${word}`], {}],
        [[], { SOUK_HOME: word }],
      ] as const) {
        const { ending, shown, problems } = await show(typed, environment)
        assert.deepEqual([ending, problems], [0, ['']])
        assert.ok(shown.includes(`SOUK_HOME=${word}`), `${word}: ${shown.join('\n')}`)
      }
    }
  })

  it('that are numbers have both bounds, which are named', async () => {
    const numbers = SETTINGS.flatMap(({ flag, option }) => {
      const [, least, most] = /: (\d+) to (\d+) \(/.exec(option.about) ?? []
      return least === undefined ? [] : [{ flag, least, most }]
    })
    assert.equal(numbers.length, 18, 'every setting that is a number')
    for (const { flag, most } of numbers)
      assert.ok(flag.endsWith('-bytes') || Number(most) < 2 ** 31, 'the longest timer of Node')
    const accepted = await show(numbers.flatMap(({ flag, most }) => [`--${flag}`, String(most)]))
    assert.deepEqual([accepted.ending, accepted.problems], [0, ['']])
    for (const wrong of [
      (most: number) => String(most + 1),
      (_: number, least: number) => String(least - 1),
      () => '',
      () => ' ',
      () => '0x10',
      () => '1e3',
      () => '1.0',
    ]) {
      const typed = numbers.map(({ flag, least, most }) => `--${flag}=${wrong(Number(most), Number(least))}`)
      const { ending, problems } = await show(typed)
      const expected = numbers.map(({ flag, least, most }) => {
        return `souk: --${flag}: must be a whole number from ${least} to ${most}`
      })
      assert.deepEqual([ending, problems], [2, [...expected.slice(0, -1), `${expected.at(-1)}: souk-server --help`]])
    }
  })

  it('do not contradict each other: a session that is not used ends no later than any', async () => {
    const { ending, problems } = await show(['--session-idle-s', '101', '--session-absolute-s', '100'])
    const problem = '--session-idle-s: must be at most --session-absolute-s, which is 100'
    assert.deepEqual([ending, problems], [2, [`souk: ${problem}: souk-server --help`]])
    const { shown } = await show([], { SOUK_SESSION_ABSOLUTE_S: '100' })
    assert.ok(shown.includes('SOUK_SESSION_IDLE_S=100'), 'the default gives way')
  })

  it('whose variable is misspelt are noted', async () => {
    const { ending, problems } = await show([], { SOUK_LIMIT_REQEST_MS: '1', SOUK_IMAGE: 'x', SOUK_SESSION: 'x' })
    const note = 'SOUK_LIMIT_REQEST_MS is no setting, and is ignored; there is SOUK_LIMIT_REQUEST_MS'
    assert.deepEqual([ending, problems], [0, [`souk: ${note}`]])
  })

  it('are all in the help, with variables, defaults, choices and bounds, at 80 columns', async () => {
    const { output } = await runToEnd(['--help'])
    const text = output.replace(/\s+/g, ' ')
    assert.match(output, /^souk-server \d[^\n]+\n[^\n]*\n\nExamples:\n {2}\$ souk-server\n/)
    for (const { option } of SETTINGS) assert.ok(text.includes(`${option.usage} ${option.about}`), option.usage)
    for (const part of [
      '--queue <on|off> gather',
      '0 to 65535 (SOUK_SELLER_PORT, 7101)',
      '1 to 600000 (SOUK_LIMIT_REQ',
    ])
      assert.ok(text.includes(part), part)
    for (const line of output.split('\n')) assert.ok(line.length <= 80, line)
    for (const words of [['help'], ['seller', '-h']]) assert.equal((await runToEnd(words)).output, output)
    for (const word of ['-v', '--version'])
      assert.match((await runToEnd([word])).output, /^souk-server\/\d\S+ \S+ node-v\S+\n$/)
  })

  it('come from flags first, then from the environment, then from .env, and are shown with passwords masked', async () => {
    const dotEnv = 'SOUK_BUYER_PORT=1\nSOUK_SELLER_PORT=2\nSOUK_DB_CONNECTIONS=3\n'
    const environment = {
      SOUK_BUYER_PORT: '4',
      SOUK_SELLER_PORT: '5',
      SOUK_CUSTOMER_DB_URL: 'mariadb://me:canary@host/c',
      SOUK_PRODUCT_DB_URL: 'mariadb://me:canary@host/p',
    }
    const { ending, output } = await runToEnd(['--show-settings', '--buyer-port', '6'], environment, dotEnv)
    assert.equal(ending, 0)
    for (const shown of [
      'SOUK_BUYER_PORT=6',
      'SOUK_SELLER_PORT=5',
      'SOUK_DB_CONNECTIONS=3',
      'SOUK_CUSTOMER_DB_URL=mariadb://me:***@host/c',
    ]) {
      assert.ok(output.split('\n').includes(shown), shown)
    }
    assert.ok(!output.includes('canary'))
  })
})

describe('a server that is told to stop', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`by ${signal} answers requests in flight, notifies its clients, accepts no new ones, and exits with 0`, async () => {
      const server = await marketplace.serve('seller')
      const [idle, busy, deaf] = await Promise.all([Wire.connect(server), Wire.connect(server), Wire.connect(server)])
      deaf.socket.pause()
      for (const wire of [idle, busy, deaf]) wire.request('first', 'ping')
      await Promise.all([idle.reply(), busy.reply()])
      await withConnection(marketplace.urls.product, async (connection) => {
        await connection.query('LOCK TABLES item WRITE')
        for (let id = 0; id < 20; id += 1)
          busy.request(id, 'register_item_for_sale', { session: ann.session, ...anItem() })
        busy.request('behind', 'ping')
        assert.equal((await busy.reply())?.id, 'behind')
        void server.program.end(signal)
        assert.deepEqual(await idle.rest(), [{ jsonrpc: '2.0', method: 'shutting_down' }])
        await assert.rejects(Wire.connect(server), { code: 'ECONNREFUSED' })
      })
      const replies = await busy.rest()
      assert.equal(replies.filter(({ result }) => result !== undefined).length, 20)
      assert.deepEqual(replies.at(-1), { jsonrpc: '2.0', method: 'shutting_down' })
      assert.equal(await server.program.ended, 0)
      assert.equal(server.program.log, '')
      deaf.destroy()
    })
  }
})

describe('a server killed with -9', () => {
  it('serves the same sessions when it is started again on its port', async () => {
    const first = await marketplace.serve('seller')
    const before = await Caller.connect(first)
    const { item_id } = await before.call('register_item_for_sale', { session: ann.session, ...anItem() })
    await first.program.end('SIGKILL')
    await before.closed
    const again = await marketplace.serve('seller', { sellerPort: first.port })
    assert.equal(again.port, first.port)
    const caller = await Caller.connect(again)
    assert.equal((await caller.call('whoami', { session: ann.session })).id, ann.id)
    const { items } = await caller.call('display_items_for_sale', { session: ann.session })
    assert.ok(items.some((item) => item.item_id === item_id))
    const next = await caller.call('register_item_for_sale', { session: ann.session, ...anItem() })
    assert.ok(next.item_id > item_id)
    await caller.close()
  })
})

describe('databases on two database servers', () => {
  it('serve like those on one, and each has only its own tables', async () => {
    const home = temporaryHome()
    const second = await startPrivateDatabase(home, 64)
    try {
      const productDbUrl = second.url('souk_test_product_elsewhere')
      await createDatabase(productDbUrl)
      await applySchema('product', { product: productDbUrl })
      const [sellers, buyers] = await Promise.all([
        marketplace.serve('seller', { productDbUrl }),
        marketplace.serve('buyer', { productDbUrl }),
      ])
      const [seller, buyer] = [await Caller.connect(sellers), await Caller.connect(buyers)]
      const bob = await openAccount(buyer)
      const { item_id } = await seller.call('register_item_for_sale', {
        session: ann.session,
        ...anItem({ category: 99 }),
      })
      const { items } = await buyer.call('search_items', { session: bob.session, category: 99 })
      assert.deepEqual(
        items.map((item) => item.item_id),
        [item_id],
      )
      const rating = await buyer.call('get_seller_rating', { session: bob.session, seller_id: ann.id })
      assert.deepEqual(rating, { seller_name: 'Ann', thumbs_up: 0, thumbs_down: 0, items_sold: 0 })
      const folders = await withConnection(productDbUrl, (connection) => connection.query('SELECT @@tmpdir AS folder'))
      assert.deepEqual(
        folders,
        [{ folder: join(home, 'tmp') }],
        'a database server deletes the temporary files of others when it starts',
      )
      const tables = await withConnection(productDbUrl, (connection) => connection.query('SHOW TABLES'))
      assert.ok(!JSON.stringify(tables).includes('session'))
      assert.deepEqual(await marketplace.sql('product', 'SELECT id FROM item WHERE category = 99'), [])
      await Promise.all([sellers.program.end(), buyers.program.end()])
    } finally {
      await second.stop()
      rmSync(home, { recursive: true, force: true })
    }
  })
})
