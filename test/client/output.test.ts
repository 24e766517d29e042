/** Lists as souk prints them: page by page or whole, each entry once and in order, even if a page fails or the reader stops. */

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { anItem } from '../support/clients.ts'
import { FaultyLink } from '../support/faulty-link.ts'
import { until } from '../support/marketplace.ts'
import type { AccountSession } from '../support/sessions.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { documentIn, PROGRAM, SoukUser } from '../support/souk.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const CATEGORY = 7
const NO_PURCHASES = '0 items purchased in all\nno purchases\n'
const MANY = 12_000 // about 2 MB as JSON, many times what fits between a program and its reader

let shop: Shop
let ann: SoukUser
let seller: AccountSession
let buyer: AccountSession
/** Newest first. */
let items: number[]

before(async () => {
  shop = await openShop()
  ann = new SoukUser([shop.sellers, shop.buyers])
  seller = await shop.newSeller()
  buyer = await shop.newBuyer()
  for (let count = 0; count < 7; count += 1) await shop.register(seller, anItem({ category: CATEGORY }))
  items = (await shop.seller.call('display_items_for_sale', { session: seller.session })).items.map(toId)
})
after(async () => {
  await ann?.leave()
  await shop?.close()
})

const toId = ({ item_id }: { item_id: number }) => item_id
/** The numbers in the first column of a table. */
const readNumbers = (table: string) => [...table.matchAll(/^ *(\d+) {2}/gm)].map(([, number]) => Number(number))
const as = ({ session }: AccountSession, env = {}) => ({ env: { SOUK_SESSION: session, ...env } })

/** The ids in the list of a document, and the document's other fields. */
function parseList(stdout: string, name = 'items'): { ids: number[]; others: object } {
  const { [name]: entries, ...others } = documentIn(stdout)
  return {
    ids: (entries as { item_id: number; purchase_id?: number }[]).map((entry) => entry.purchase_id ?? entry.item_id),
    others,
  }
}

describe('a page', () => {
  it('says how to get the next page, up to the last page', async () => {
    let typed = 'seller items --limit 3'
    const seen: number[][] = []
    for (;;) {
      const { stdout, stderr } = await ann.souk(typed, as(seller))
      seen.push(readNumbers(stdout))
      if (stderr === '') break
      assert.match(stderr, /^there is more: add --all, or --cursor \d+\n$/)
      typed = `seller items --limit 3 ${/--cursor \d+/.exec(stderr)?.[0]}`
    }
    assert.deepEqual(seen, [items.slice(0, 3), items.slice(3, 6), items.slice(6)])
  })

  it('as JSON includes the cursor, and prints nothing else', async () => {
    const { ids, others } = parseList(await ann.result(`buyer search ${CATEGORY} --limit 2 --json`, as(buyer)))
    assert.deepEqual([ids, Object.keys(others)], [items.slice(0, 2), ['next_cursor']])
  })
})

describe('a whole list', () => {
  it('shows every entry once, in order, under one heading', async () => {
    const table = await ann.result('seller items --all --limit 3', as(seller))
    assert.deepEqual(readNumbers(table), items)
    assert.equal(table.match(/ITEM/g)?.length, 1)
  })

  it('is one JSON document, the same as a single page with all entries', async () => {
    for (const limit of [2, 7, 100]) {
      const { ids, others } = parseList(
        await ann.result(`buyer search ${CATEGORY} --all --json --limit ${limit}`, as(buyer)),
      )
      assert.deepEqual([ids, others], [items, {}])
    }
    const purchases: number[] = []
    for (const item of items.slice(0, 3)) purchases.unshift((await shop.purchase(buyer, [item, 1])).purchase_id)
    const { ids, others } = parseList(
      await ann.result('buyer purchases --all --json --limit 1', as(buyer)),
      'purchases',
    )
    assert.deepEqual([ids, others], [purchases, { items_purchased: 3 }])
  })

  it('that is empty says so, and is a document as JSON', async () => {
    assert.equal(await ann.result('buyer purchases --all', as(await shop.newBuyer())), NO_PURCHASES)
    assert.deepEqual(documentIn(await ann.result('buyer search 8 --all --json', as(buyer))), { items: [] })
  })

  it('of found items that is empty hints at the categories, as a single page does', async () => {
    for (const options of ['', ' --all']) {
      const { exitCode, stdout, stderr } = await ann.souk(`buyer search 8 lens${options}`, as(buyer))
      assert.deepEqual([exitCode, stdout], [0, 'nothing found\n'])
      assert.equal(stderr, 'see what is on sale: souk buyer list-categories\n')
    }
  })

  it('goes on over a new connection when one is lost between two pages', async () => {
    const link = await FaultyLink.start(shop.sellers.port)
    const env = { SOUK_SELLER_PORT: String(link.port) }
    link.arm({ to: 'client', after: { lines: 1 }, does: 'close' })
    const { exitCode, stdout, stderr } = await ann.souk('seller items --all --limit 2 --json', as(seller, env))
    await link.close()
    assert.equal(exitCode, 0, stderr)
    assert.deepEqual([link.connections, parseList(stdout)], [2, { ids: items, others: {} }])
    assert.match(stderr, /^souk: the connection was lost: .*\nsouk: connected to .* again\n$/)
  })

  it('that breaks off ends with the failure, within one document or below the table', async () => {
    for (const json of [true, false]) {
      const link = await FaultyLink.start(shop.sellers.port)
      const env = { SOUK_SELLER_PORT: String(link.port) }
      link.arm({ to: 'client', after: { lines: 2 }, does: 'silence' })
      const typed = `seller items --all --limit 2 --timeout 1 ${json ? '--json' : ''}`
      const listing = ann.start(typed, as(seller, env))
      await until('the third page is silent', () => !link.armed)
      await link.close() // and is not there again
      const { exitCode, stdout, stderr } = await listing.ended
      assert.equal(exitCode, 6)
      const [message = ''] = /the connection was lost: \w+/.exec(json ? stdout : stderr) ?? []
      const error = { code: 'unreachable', outcome: 'unknown', message, next: 'souk status' }
      if (json) assert.deepEqual(parseList(stdout), { ids: items.slice(0, 4), others: { error } })
      else assert.deepEqual(readNumbers(stdout), items.slice(0, 4))
      assert.equal(stderr.endsWith(`souk: ${message}: souk status\n`), !json)
    }
  })

  it('that fails at its first page is a document with only the failure', async () => {
    const { exitCode, stdout } = await ann.souk('seller items --all --json', as({ id: 0, session: 'no-session' }))
    assert.equal(exitCode, 3)
    assert.deepEqual(Object.keys(documentIn(stdout)), ['error'])
  })

  it('ends quietly when its reader stops, and is a complete document when it is interrupted', async () => {
    const rich = await shop.newSeller()
    await shop.register(rich, ...Array.from({ length: MANY }, () => anItem({ category: 9 })))
    for (const json of ['', '--json']) {
      const reading = ann.start(`seller items --all --limit 500 ${json}`, as(rich))
      reading.child.stdout?.once('data', () => reading.child.stdout?.destroy())
      const { exitCode, stdout, stderr } = await reading.ended
      assert.deepEqual([exitCode, stderr], [141, ''])
      assert.ok(stdout.length > 0 && stdout.length < MANY * 50, String(stdout.length))
    }
    const reading = ann.start('seller items --all --limit 1000 --json', as(rich))
    await new Promise<void>((resolve) => {
      reading.child.stdout?.once('data', () => {
        reading.child.stdout?.pause() // until it is interrupted
        resolve()
      })
    })
    await sleep(1_000)
    reading.child.kill('SIGINT')
    reading.child.stdout?.resume()
    const { exitCode, stdout: cut } = await reading.ended
    assert.equal(exitCode, 130)
    assert.equal((documentIn(cut).error as { code: string }).code, 'interrupted')
    const all = await ann.result('seller items --all --limit 500', as(rich))
    assert.equal(new Set(readNumbers(all)).size, MANY)
  })
})

describe('the progress of a list, on a terminal', () => {
  let terminal: Terminal | undefined
  afterEach(() => terminal?.close())

  /** Runs souk with its results in a file. */
  function listInto(file: string, port: number): Terminal {
    const args = ['-c', `exec "$0" "$1" seller items --all --limit 2 --json > ${file}`, process.execPath, PROGRAM]
    const env = { HOME: ann.home, SOUK_SESSION: seller.session, SOUK_SELLER_PORT: String(port) }
    terminal = openTerminal({ command: 'sh', args, cwd: ann.home, env, columns: 120 })
    return terminal
  }

  it('is gone when the results can’t be written, which is said, with exit code 1', async () => {
    const { ended, screen } = listInto('/dev/full', shop.sellers.port)
    assert.equal(await ended, 1)
    assert.equal(screen(), "souk: the output can't be written: ENOSPC: no space left on device, write")
  })

  for (const [signal, exitCode] of [
    ['SIGTERM', 143],
    ['SIGQUIT', 131],
    ['SIGINT', 130],
  ] as const) {
    it(`is gone when souk is ended by ${signal}`, async () => {
      const link = await FaultyLink.start(shop.sellers.port)
      link.arm({ to: 'client', after: { lines: 1 }, does: 'silence' })
      const { shows, pid, ended, screen } = listInto('results', link.port)
      await shows(/^display items for sale · 2 entries/)
      process.kill(pid, signal)
      assert.equal(await ended, exitCode)
      await link.close()
      assert.equal(screen(), '')
    })
  }
})

describe('a table outside a terminal', () => {
  const name = 'カメラ👍'.repeat(8)
  const keywords = ['camera', 'lens', 'film', 'flash', 'tripod']

  it('is not cut', async () => {
    await shop.register(seller, anItem({ category: 10, name, keywords }))
    const table = await ann.result('buyer search 10', as(buyer, { COLUMNS: '20', LINES: '5' }))
    assert.ok(table.includes(`  ${name}  `) && table.includes(keywords.join(' ')), table)
  })

  it('has colours only if they are asked for', async () => {
    const colours = (typed: string, env: object) => ann.souk(typed, as(buyer, env))
    const cases: [object, string, boolean][] = [
      [{}, '', false],
      [{ FORCE_COLOR: '1' }, '', true],
      [{ FORCE_COLOR: '1' }, '--no-color', false],
      [{ FORCE_COLOR: '1' }, '--json', false],
      [{ FORCE_COLOR: '0' }, '', false],
      [{ NO_COLOR: '1' }, '', false],
    ]
    for (const [env, flag, colourful] of cases) {
      const { stdout } = await colours(`buyer search ${CATEGORY} ${flag}`, env)
      assert.equal(stdout.includes('\x1b['), colourful, JSON.stringify([env, flag]))
    }
    const failing = async (env: object) => (await colours('buyer item 999999', env)).stderr
    assert.equal(
      await failing({ FORCE_COLOR: '1' }),
      '\x1b[31msouk:\x1b[39m no such item; look for one: \x1b[36msouk buyer search-items 3 camera lens\x1b[39m\n',
    )
    assert.ok(!(await failing({})).includes('\x1b['))
  })
})
