/** The auditor finds no violation after an honest run, and every kind of falsification of its database. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { findViolations, type Ledger, readSnapshot, type Snapshot, type Write } from '../../src/loadgen/audit.ts'
import { createPlanners } from '../../src/loadgen/calls.ts'
import { createSearches } from '../../src/loadgen/catalogue.ts'
import { fillCatalogue, openSessions, restoreCatalogue } from '../../src/loadgen/databases.ts'
import { runFleet } from '../../src/loadgen/fleet.ts'
import { seeded } from '../../src/loadgen/random.ts'
import { createScenarios } from '../../src/loadgen/scenarios.ts'
import { startSystem } from '../../src/loadgen/systems.ts'
import { startTestMarketplace, type TestMarketplace } from '../support/marketplace.ts'

const CLIENTS = 4
const CALLS = 400
/** Units of each item: so few that popular items sell out. */
const STOCK = 3
const KEYED = ['register_item_for_sale', 'update_units_for_sale', 'add_item_to_cart', 'make_purchase'] as const

describe('the auditor', () => {
  let marketplace: TestMarketplace
  let start: Snapshot
  let end: Snapshot
  let ledger: Ledger

  before(async () => {
    marketplace = await startTestMarketplace()
    const { urls } = marketplace
    const souk = await startSystem('souk', { urls })
    const sessions = await openSessions(urls, { seller: CLIENTS, buyer: CLIENTS })
    await fillCatalogue(urls)
    await restoreCatalogue(urls, STOCK)
    start = await readSnapshot(urls.product)
    const pickSearch = createSearches(1)
    const { behaviours } = createScenarios(createPlanners(pickSearch), pickSearch).mixed
    const size = { clients: CLIENTS, until: { calls: CALLS }, pipeline: 1 }
    ;({ ledger } = await runFleet({ ...souk, canned: false }, size, behaviours, sessions, seeded(1)))
    await souk.stop()
    end = await readSnapshot(urls.product)
    for (const table of Object.keys(end)) await marketplace.sql('product', `CREATE TABLE kept_${table} LIKE ${table}`)
    for (const table of Object.keys(end))
      await marketplace.sql('product', `INSERT INTO kept_${table} SELECT * FROM ${table}`)
  })
  after(() => marketplace?.close())

  /** The violations found after this statement on one table, which is undone. */
  async function audited(table: keyof Snapshot, statement: string): Promise<string[]> {
    const { affectedRows } = (await marketplace.sql('product', statement)) as unknown as { affectedRows: number }
    assert.ok(affectedRows > 0, `${statement} falsified nothing`)
    const violations = findViolations(start, await readSnapshot(marketplace.urls.product), ledger)
    await marketplace.sql('product', `DELETE FROM ${table}`)
    await marketplace.sql('product', `INSERT INTO ${table} SELECT * FROM kept_${table}`)
    return violations
  }

  test('finds no violation after a run in which everything that it checks happened', () => {
    assert.deepEqual(findViolations(start, end, ledger), [])
    const operations = new Set(ledger.map(({ operation }) => operation))
    assert.equal(operations.size, 9, [...operations].join(', '))
    assert.ok(end.item.some(({ quantity }) => quantity === 0))
    assert.ok(end.purchase_line.length > end.purchase.length && end.feedback.length > 3)
    assert.ok(end.cart.some(({ content }) => content !== '') && end.saved_cart.length > 0)
  })

  // biome-ignore format: a row each
  const falsifications: [string, keyof Snapshot, string, RegExp][] = [
    ['a unit that was sold twice', 'item', 'UPDATE item SET quantity = quantity + 1 WHERE id = (SELECT MIN(item_id) FROM purchase_line)', /\d+ units of item \d+ are on sale, should be \d+/],
    ['a purchase that is lost', 'purchase', 'DELETE FROM purchase ORDER BY id LIMIT 1', /purchase \d+ was acknowledged, but is missing/],
    ['a purchase that nobody made', 'purchase', 'INSERT INTO purchase SELECT 999999999, buyer_id, total_cents, purchased_at FROM purchase LIMIT 1', /purchase 999999999 of buyer \d+ exists, but was never acknowledged/],
    ['a purchase that lost a line', 'purchase_line', 'DELETE FROM purchase_line ORDER BY purchase_id DESC LIMIT 1', /purchase \d+ does not have the lines/],
    ['a total that is not the sum', 'purchase', 'UPDATE purchase SET total_cents = total_cents + 1 ORDER BY id LIMIT 1', /the lines of purchase \d+ total \d+, not \d+/],
    ['a price that never was', 'purchase_line', 'UPDATE purchase_line SET price_cents = price_cents + 1 ORDER BY purchase_id LIMIT 1', /at \d+, which it never cost/],
    ['a vote too many', 'feedback', "INSERT INTO feedback SELECT buyer_id, MAX(item_id) + 1, 'up' FROM purchase_line GROUP BY buyer_id LIMIT 1", /a vote of buyer \d+ on item \d+, which the buyer never purchased/],
    ['a vote that is lost', 'feedback', 'DELETE FROM feedback LIMIT 1', /the vote of buyer \d+ on item \d+ is missing/],
    ['a reversed vote', 'feedback', "UPDATE feedback SET vote = IF(vote = 'up', 'down', 'up') LIMIT 1", /has \d+ thumbs_up, by its votes/],
    ['a wrong thumb of an item', 'item', 'UPDATE item SET thumbs_down = thumbs_down + 1 WHERE id = 5', /item 5 has 1 thumbs_down, by its votes 0/],
    ["a wrong seller's score", 'seller_score', 'UPDATE seller_score SET items_sold = items_sold + 1 WHERE seller_id = 7', /items_sold of seller 7 is/],
    ['a wrong sum of sales', 'seller_score', 'UPDATE seller_score SET sales_cents = sales_cents + 1 WHERE seller_id = 7', /sales_cents of seller 7 is/],
    ["a purchase line of another seller", 'purchase_line', 'UPDATE purchase_line SET seller_id = seller_id + 1 ORDER BY purchase_id LIMIT 1', /as Item \d+ of seller \d+, which is/],
    ["a registered item that has another's name", 'item', "UPDATE item SET seller_name = 'Dan' ORDER BY id DESC LIMIT 1", /seller \d+ is .* in item \d+, and .* in another/],
    ["a buyer's score that is lost", 'buyer_score', 'DELETE FROM buyer_score LIMIT 1', /items_purchased of buyer \d+ is 0/],
    ['a keyword of an item that is sold out', 'item_keyword', "INSERT INTO item_keyword SELECT category, '', id FROM item WHERE quantity = 0 LIMIT 1", /item \d+, 0 on sale, is indexed under \[\d+\/\]/],
    ['a keyword that is lost', 'item_keyword', "DELETE FROM item_keyword WHERE keyword <> '' LIMIT 1", /on sale, is indexed under/],
    ['a keyword of an item that does not exist', 'item_keyword', "INSERT INTO item_keyword VALUES (1, 'x', 999999999)", /item 999999999 is indexed, but is missing/],
    ['a registered item that is lost', 'item', 'DELETE FROM item WHERE id > 10000 LIMIT 1', /item \d+ was registered, but is missing/],
    ['an item that nobody registered', 'item', "INSERT INTO item VALUES (999999999, 1, 'Ann', 'Lamp', 1, '', 'new', 5, 1, 0, 0)", /item 999999999 exists, but was never registered/],
    ['a price that was not set', 'item', 'UPDATE item SET price_cents = price_cents + 1 ORDER BY id DESC LIMIT 1', /item \d+ costs \d+, should cost/],
    ['a stored answer that differs from the reply', 'idempotency', "UPDATE idempotency SET answer = '{\"quantity\":77}' WHERE answer LIKE '{\"quantity\"%' LIMIT 1", /is \{"quantity":77\}, the reply was/],
    ['a key that is lost', 'idempotency', 'DELETE FROM idempotency LIMIT 1', /no answer is stored for the key/],
    ['a key that nobody used', 'idempotency', "UPDATE idempotency SET idempotency_key = 'x' LIMIT 1", /for the key x of \w+ \d+, which was never used/],
    ['a wrong cart', 'cart', "UPDATE cart SET content = '1:1' WHERE content <> '' LIMIT 1", /a cart of buyer \d+ has \[1:1\], by the replies/],
    ['a saved cart that is lost', 'saved_cart', "DELETE FROM saved_cart WHERE content <> '' LIMIT 1", /the saved cart of buyer \d+ has \[\], should have/],
  ]
  for (const [what, table, statement, said] of falsifications) {
    test(`finds ${what}`, async () => {
      const violations = await audited(table, statement)
      assert.ok(
        violations.some((violation) => said.test(violation)),
        violations.join('\n') || 'no violation was found',
      )
    })
  }

  test('checks every row, and every column except those that only servers use', () => {
    const unaudited = new Set(['purchased_at', 'created_at', 'fingerprint', 'cart.buyer_id'])
    const chosen = (table: keyof Snapshot) => end[table].findIndex((row) => !('content' in row) || row.content !== '')
    for (const table of Object.keys(end) as (keyof Snapshot)[]) {
      const index = chosen(table)
      const row = end[table][index] as unknown as Record<string, string | number>
      const without = end[table].toSpliced(index, 1)
      assert.notDeepEqual(findViolations(start, { ...end, [table]: without }, ledger), [], `a row of ${table} is gone`)
      for (const [column, value] of Object.entries(row)) {
        if (unaudited.has(column) || unaudited.has(`${table}.${column}`)) continue
        const other =
          typeof value === 'number' ? value + 1 : (OTHER[value] ?? (column === 'answer' ? '{}' : `${value}9`))
        const rows = end[table].toSpliced(index, 1, { ...row, [column]: other } as never)
        assert.notDeepEqual(
          findViolations(start, { ...end, [table]: rows }, ledger),
          [],
          `${table}.${column}: ${other}`,
        )
      }
    }
  })

  test('finds the effect of a keyed call that is not in the ledger', () => {
    for (const operation of KEYED) {
      const index = ledger.findLastIndex((write) => write.operation === operation)
      assert.notDeepEqual(findViolations(start, end, ledger.toSpliced(index, 1)), [], operation)
    }
  })

  test('learns from its key whether an unanswered call happened', () => {
    for (const operation of KEYED) {
      const index = ledger.findLastIndex((write) => write.operation === operation)
      const { result, answeredMs, ...unanswered } = ledger[index] as Write
      assert.deepEqual(findViolations(start, end, ledger.with(index, unanswered as Write)), [], operation)
    }
    const purchase = { ...lastOf('make_purchase'), result: undefined, params: { idempotency_key: 'never arrived' } }
    assert.deepEqual(findViolations(start, end, [...ledger, purchase as never]), [])
  })

  test('accepts that an unanswered call without a key happened or not, but not both', () => {
    const purchase = lastOf('make_purchase')
    const key = purchase.params.idempotency_key
    const keyless = { ...end, idempotency: end.idempotency.filter((row) => row.idempotency_key !== key) }
    const others = ledger.filter((write) => write !== purchase)
    const unanswered = { ...purchase, params: {}, result: undefined } as never
    assert.deepEqual(findViolations(start, keyless, [...others, unanswered]), [])
    assert.deepEqual(findViolations(start, end, [...ledger, unanswered]), [])
    assert.notDeepEqual(findViolations(start, keyless, others), [])

    const index = end.item.findIndex(({ quantity }) => quantity > 0)
    const item = end.item[index] as Snapshot['item'][number]
    const change = { ...lastOf('update_units_for_sale'), params: { item_id: item.id, change: 2 }, result: undefined }
    const withUnits = (more: number) => ({
      ...end,
      item: end.item.with(index, { ...item, quantity: item.quantity + more }),
    })
    for (const [more, isPossible] of [
      [2, true],
      [0, true],
      [1, false],
      [4, false],
    ] as const) {
      const found = findViolations(start, withUnits(more), [...ledger, change as never])
      assert.equal(found.length === 0, isPossible, `${more}: ${found}`)
    }
  })

  test('demands one answer for all calls with one key', () => {
    const purchase = lastOf('make_purchase')
    const add = lastOf('add_item_to_cart')
    assert.deepEqual(findViolations(start, end, [...ledger, purchase, add]), [], 'repeated calls with the same answer')
    const said = (write: Write, pattern: RegExp) => {
      const found = findViolations(start, end, [...ledger, write])
      assert.ok(
        found.some((violation) => pattern.test(violation)),
        found.join('\n'),
      )
    }
    said({ ...add, result: { quantity: 9_999 } }, /were answered differently/)
    said({ ...add, params: { ...add.params, quantity: 9_999 } }, /different calls with the key .* were acknowledged/)
    said({ ...purchase, params: { idempotency_key: 'another' } }, /purchase \d+ was acknowledged twice/)
  })

  test('demands the last price that was set, or any of those set at the same time', () => {
    const [item] = end.item.filter(({ id }) => !ledger.some((write) => isOn(write, id))) as [Snapshot['item'][number]]
    const priced = (price_cents: number) => ({
      ...end,
      item: end.item.map((other) => (other === item ? { ...item, price_cents } : other)),
    })
    const change = (price_cents: number, begunMs: number, answeredMs: number): Write => {
      return { ...lastOf('change_item_price'), params: { item_id: item.id, price_cents }, begunMs, answeredMs }
    }
    const isFine = (price: number, ...writes: Write[]) =>
      findViolations(start, priced(price), [...ledger, ...writes]).length === 0
    const inTurn = [change(5, 0, 1), change(6, 2, 3)]
    assert.deepEqual(
      [5, 6, item.price_cents].map((price) => isFine(price, ...inTurn)),
      [false, true, false],
    )
    const atOnce = [change(5, 0, 2), change(6, 1, 3)]
    assert.deepEqual(
      [5, 6, item.price_cents].map((price) => isFine(price, ...atOnce)),
      [true, true, false],
    )
  })

  test('demands that a saved cart lacks what was purchased after it, and allows what was purchased at the same time', () => {
    const buyer = { accountId: 999, session: 'of buyer 999' }
    const made = <O extends Write['operation']>(operation: O, begunMs: number, result: object, params = {}): Write => {
      const call = { ...lastOf(operation), ...buyer, params, result, begunMs, answeredMs: begunMs + 10 }
      return call as object as Write
    }
    const purchase = (begunMs: number, quantity: number) => {
      const lines = [{ item_id: 7, name: 'Lamp', quantity, price_cents: 1 }]
      return made('make_purchase', begunMs, { purchase_id: begunMs, lines, total_cents: quantity })
    }
    const save = [made('add_item_to_cart', 1, { quantity: 5 }, { item_id: 7 }), made('save_cart', 100, { ok: true })]
    const isFine = (content: string, ...writes: Write[]) => {
      const saved_cart = [...end.saved_cart, { buyer_id: buyer.accountId, content }]
      const found = findViolations(start, { ...end, saved_cart }, [...ledger, ...writes])
      return !found.some((violation) => violation.startsWith('the saved cart of buyer 999'))
    }
    const contents = ['7:5', '7:4', '7:3', '7:2', '']
    const possible = (...writes: Write[]) => contents.filter((content) => isFine(content, ...save, ...writes))
    assert.deepEqual(possible(), ['7:5'])
    assert.deepEqual(possible(purchase(20, 2)), ['']) // it emptied the cart before the save
    assert.deepEqual(possible(purchase(200, 2)), ['7:3'])
    assert.deepEqual(possible(purchase(200, 2), purchase(300, 9)), [''])
    assert.deepEqual(possible({ ...purchase(105, 2), session: 'another' }), ['7:5', '7:3'])
    const both = [105, 200].map((begunMs, index) => ({ ...purchase(begunMs, 2 - index), session: 'another' }))
    assert.deepEqual(possible(...both), ['7:4', '7:2'])
    assert.deepEqual(possible({ ...purchase(200, 2), result: undefined } as object as Write), contents)
  })

  /** The last write of an operation that the ledger has. */
  function lastOf<O extends Write['operation']>(operation: O): Extract<Write, { operation: O }> {
    return ledger.findLast((write) => write.operation === operation) as Extract<Write, { operation: O }>
  }
})

function isOn({ params }: Write, itemId: number): boolean {
  return 'item_id' in params && params.item_id === itemId
}

/** Another value for columns that allow only some. */
const OTHER: Readonly<Record<string, string>> = {
  up: 'down',
  down: 'up',
  new: 'used',
  used: 'new',
  seller: 'buyer',
  buyer: 'seller',
}
