/**
 * The catalogue, which sellers fill and buyers read: order, cursors, which items
 * are shown, and that every text comes back unchanged. Every group of tests has
 * categories of its own.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Arguments } from '../../../src/client/connection.ts'
import type { Item } from '../../../src/contract/operations.ts'
import { anItem, Caller, type ItemFields, type OpenAccount, openAccount } from '../../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../../support/marketplace.ts'
import { INVISIBLE_NAMES, LEGITIMATE_NAMES, TURNING } from '../../support/names.ts'

let marketplace: TestMarketplace
let seller: Caller<'seller'>
let buyer: Caller<'buyer'>
let ann: OpenAccount
let other: OpenAccount
let bob: OpenAccount

before(async () => {
  marketplace = await startTestMarketplace()
  const [sellers, buyers] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
  seller = await Caller.connect(sellers)
  buyer = await Caller.connect(buyers)
  ;[ann, other, bob] = await Promise.all([openAccount(seller), openAccount(seller), openAccount(buyer)])
})
after(() => marketplace?.close())

/** Registers the items one after the other, so that their ids ascend. */
async function register(items: readonly ItemFields[], { session } = ann): Promise<number[]> {
  const ids: number[] = []
  for (const item of items) {
    const { item_id } = await seller.call('register_item_for_sale', { session, ...item })
    ids.push(item_id)
  }
  return ids
}

type Search = Omit<Arguments<'buyer', 'search_items'>, 'session'>
const search = (params: Search) => buyer.call('search_items', { session: bob.session, ...params })
const findIds = async (params: Search) => (await search(params)).items.map(({ item_id }) => item_id)
const getItem = (item_id: number) => buyer.call('get_item', { session: bob.session, item_id })

/** Reads the items of all pages, and the size of each page. `between` runs after each page. */
async function readPages(
  readPage: (cursor: { cursor?: string }) => Promise<{ items: Item[]; next_cursor?: string | undefined }>,
  between = async () => {},
) {
  const items: Item[] = []
  const sizes: number[] = []
  for (let cursor: { cursor?: string } | undefined = {}; cursor !== undefined; ) {
    const result = await readPage(cursor)
    items.push(...result.items)
    sizes.push(result.items.length)
    cursor = result.next_cursor === undefined ? undefined : { cursor: result.next_cursor }
    await between()
  }
  return { items, sizes }
}

/** Takes the item's last units off sale. */
async function sellOut(item_id: number): Promise<void> {
  const { quantity } = await getItem(item_id)
  await seller.call('update_units_for_sale', { session: ann.session, item_id, change: -quantity })
}

/** Purchases all units of the item. */
async function purchaseAll(item_id: number): Promise<void> {
  const { session } = bob
  await buyer.call('add_item_to_cart', { session, item_id, quantity: (await getItem(item_id)).quantity })
  await buyer.call('make_purchase', { session })
}

describe('search_items', () => {
  it('lists items with more matching keywords first, and newer ones first among equals', async () => {
    const [one, both, alsoOne, three, none] = await register([
      anItem({ category: 10, keywords: ['red'] }),
      anItem({ category: 10, keywords: ['red', 'blue'] }),
      anItem({ category: 10, keywords: ['blue', 'green'] }),
      anItem({ category: 10, keywords: ['green', 'red', 'blue'] }),
      anItem({ category: 10, keywords: ['black'] }),
    ])
    assert.deepEqual(await findIds({ category: 10, keywords: ['red', 'blue', 'green'] }), [three, alsoOne, both, one])
    assert.deepEqual(await findIds({ category: 10, keywords: ['blue', 'red'] }), [three, both, alsoOne, one])
    assert.deepEqual(await findIds({ category: 10, keywords: ['red'] }), [three, both, one])
    assert.deepEqual(await findIds({ category: 10 }), [none, three, alsoOne, both, one])
    assert.deepEqual(await findIds({ category: 10, keywords: ['white', 'grey'] }), [])
    assert.deepEqual(await findIds({ category: 11, keywords: ['red'] }), [])
  })

  it('accepts up to five keywords in upper or lower case, and counts equal ones once', async () => {
    const [item] = await register([anItem({ category: 12, keywords: ['a', 'b', 'c', 'd', 'e'] })])
    assert.deepEqual(await findIds({ category: 12, keywords: ['E', 'd', 'C', 'b', 'A'] }), [item])
    assert.deepEqual(await findIds({ category: 12, keywords: ['A', 'a'] }), [item])
  })

  it('gives the same items in pages of any size, for any number of keywords', async () => {
    const colours = ['red', 'blue', 'green']
    await register(
      Array.from({ length: 24 }, (_, number) =>
        anItem({ category: 13, keywords: colours.filter((_, bit) => number & (1 << bit)) }),
      ),
    )
    for (const keywords of [[], ['red'], ['red', 'blue'], colours]) {
      const whole = await search({ category: 13, keywords, limit: 100 })
      assert.equal(whole.next_cursor, undefined)
      for (const limit of [1, 5, whole.items.length, 23]) {
        const { items, sizes } = await readPages((cursor) => search({ category: 13, keywords, limit, ...cursor }))
        assert.deepEqual(items, whole.items)
        assert.ok(
          sizes.slice(0, -1).every((size) => size === limit),
          'a page before the last is not full',
        )
        assert.ok((sizes.at(-1) as number) > 0, 'the last page is empty')
      }
    }
  })

  it('repeats and skips no earlier item when items are added between pages', async () => {
    const earlier = await register(Array.from({ length: 6 }, () => anItem({ category: 14, keywords: ['red', 'blue'] })))
    for (const keywords of [[], ['red'], ['red', 'blue']]) {
      const added = new Set<number>()
      const { items } = await readPages(
        (cursor) => search({ category: 14, keywords, limit: 2, ...cursor }),
        async () => {
          for (const id of await register([anItem({ category: 14, keywords: ['red', 'blue'] })])) added.add(id)
        },
      )
      const seen = items.map(({ item_id }) => item_id).filter((id) => !added.has(id))
      assert.equal(new Set(seen).size, seen.length)
      assert.deepEqual(
        seen.filter((id) => earlier.includes(id)),
        earlier.toReversed(),
      )
    }
  })

  it('shows items of all sellers, but none that are sold out', async () => {
    const items = [anItem({ category: 15 }), anItem({ category: 15 }), anItem({ category: 15 })]
    const [mine, soldOut, purchased] = (await register(items)) as [number, number, number]
    const [theirs] = await register([anItem({ category: 15 })], other)
    await sellOut(soldOut)
    await purchaseAll(purchased)
    assert.deepEqual(await findIds({ category: 15 }), [theirs, mine])
    assert.deepEqual(await findIds({ category: 15, keywords: ['lamp'] }), [theirs, mine])
    assert.deepEqual(await findIds({ category: 15, keywords: ['lamp', 'red'] }), [theirs, mine])
  })

  it('answers each of many concurrent searches with its own items', async () => {
    const ids = await register(Array.from({ length: 20 }, (_, number) => anItem({ category: 100 + number })))
    const asked = Array.from({ length: 200 }, (_, number) => number % 20)
    const answers = await Promise.all(
      asked.map((number) => findIds({ category: 100 + number, ...(number % 3 === 0 ? {} : { keywords: ['lamp'] }) })),
    )
    assert.deepEqual(
      answers,
      asked.map((number) => [ids[number]]),
    )
  })

  it('refuses cursors that it cannot have given', async () => {
    for (const cursor of ['', 'x', '1', '0-1', '1-0', '6-1', '1-1 OR 1=1', '1-99999999999999999', '-1-1']) {
      const refusal = await buyer.refusal('search_items', { session: bob.session, category: 1, cursor })
      assert.deepEqual([refusal.code, Object.keys(refusal.details.fields as object)], ['invalid_params', ['cursor']])
    }
  })
})

describe('display_items_for_sale', () => {
  const display = (params: object = {}, { session } = ann) =>
    seller.call('display_items_for_sale', { session, ...params })

  it('lists the seller’s own items, newest first', async () => {
    const dan = await openAccount(seller)
    const ids = await register([anItem(), anItem(), anItem()], dan)
    assert.deepEqual(
      (await display({}, dan)).items.map(({ item_id }) => item_id),
      ids.toReversed(),
    )
    const shown = await display()
    assert.ok(shown.items.every(({ seller_id }) => seller_id === ann.id))
  })

  it('leaves out items that are sold out unless they are asked for', async () => {
    const [soldOut] = await register([anItem({ name: 'Gone' })])
    await sellOut(soldOut as number)
    assert.ok(!(await display()).items.some(({ item_id }) => item_id === soldOut))
    const all = (await display({ include_sold_out: true })).items
    assert.equal(all.find(({ item_id }) => item_id === soldOut)?.quantity, 0)
  })

  it('gives the same items in pages of any size, also when items are added between pages', async () => {
    const whole = await display({ include_sold_out: true })
    for (const limit of [1, 7, whole.items.length]) {
      const { items } = await readPages((cursor) => display({ limit, include_sold_out: true, ...cursor }))
      assert.deepEqual(items, whole.items)
    }
    const { items } = await readPages(
      (cursor) => display({ limit: 10, include_sold_out: true, ...cursor }),
      async () => void (await register([anItem()])),
    )
    assert.deepEqual(items, whole.items)
  })

  describe('with many items', () => {
    const MANY = 7_000
    let dealer: OpenAccount
    let ids: Set<number>
    const registerAtOnce = (count: number, { session } = dealer) =>
      Promise.all(
        Array.from({ length: count }, (_, number) =>
          seller.call('register_item_for_sale', { session, ...anItem({ name: `Lámpara ${number} 灯` }) }),
        ),
      )

    before(async () => {
      dealer = await openAccount(seller)
      ids = new Set((await registerAtOnce(MANY)).map(({ item_id }) => item_id))
    })

    it('lists them all, in one page or in pages of any size', async () => {
      const whole = await display({ limit: 10_000 }, dealer)
      assert.deepEqual(
        whole.items.map(({ item_id }) => item_id),
        [...ids].toSorted((a, b) => b - a),
      )
      assert.equal(whole.next_cursor, undefined)
      for (const limit of [900, 1_000, 1_024, 3_000, MANY - 1, MANY]) {
        const { items, sizes } = await readPages((cursor) => display({ limit, ...cursor }, dealer))
        assert.deepEqual(items, whole.items)
        assert.deepEqual(sizes.slice(0, -1), Array(Math.ceil(MANY / limit) - 1).fill(limit))
      }
    })

    it('lists every earlier item once while others are added', async () => {
      const asked = Promise.all([1, 2, 3].map(() => display({ limit: 10_000 }, dealer)))
      await registerAtOnce(1_000)
      for (const { items } of await asked) {
        const shown = items.map(({ item_id }) => item_id)
        assert.deepEqual(
          shown,
          [...new Set(shown)].toSorted((a, b) => b - a),
        )
        assert.equal(shown.filter((id) => ids.has(id)).length, MANY)
      }
    })

    it('leaves out items that are sold out, anywhere in the list', async () => {
      const gone = [...ids].filter((_, index) => index % 3 === 0 || (index > 2_000 && index < 4_500))
      const dealers = 'seller_id = ? AND id IN (?)'
      await marketplace.sql('product', `UPDATE item SET quantity = 0 WHERE ${dealers}`, [dealer.id, gone])
      const { items } = await display({ limit: 10_000 }, dealer)
      const left = new Set(gone)
      assert.deepEqual(
        items.map(({ item_id }) => item_id).filter((id) => ids.has(id)),
        [...ids].filter((id) => !left.has(id)).toSorted((a, b) => b - a),
      )
      await marketplace.sql('product', `UPDATE item SET quantity = 3 WHERE ${dealers}`, [dealer.id, gone])
    })

    it('reads a long listing in parts, and many short ones together', async () => {
      const countSelects = async () => {
        const [row] = await marketplace.sql<{ Value: string }>('product', "SHOW GLOBAL STATUS LIKE 'Com_select'")
        return Number(row?.Value)
      }
      const before = await countSelects()
      await display({ limit: 10_000 }, dealer)
      const between = await countSelects()
      await Promise.all(Array.from({ length: 200 }, () => display({ limit: 10 }, dealer)))
      const together = (await countSelects()) - between
      assert.ok(between - before >= MANY / 1_024, `${between - before} statements for ${MANY} items`)
      assert.ok(together < 20, `${together} statements for 200 short listings`)
    })

    it('is right for long and short listings in one batch', async () => {
      const few = await openAccount(seller)
      await registerAtOnce(30, few)
      const limits = [1, 10, 29, 30, 31, 100, 700, 1_100, 5_000]
      const asked = limits.flatMap((limit) => [dealer, few].map((account) => ({ limit, account })))
      const answers = await Promise.all(asked.map(({ limit, account }) => display({ limit }, account)))
      const wholes = new Map<OpenAccount, Item[]>()
      for (const account of [dealer, few]) wholes.set(account, (await display({ limit: 10_000 }, account)).items)
      for (const [index, { limit, account }] of asked.entries()) {
        const whole = wholes.get(account) as Item[]
        assert.deepEqual(answers[index]?.items, whole.slice(0, limit))
        assert.equal(answers[index]?.next_cursor === undefined, whole.length <= limit)
      }
    })
  })

  it('accepts limits from 1 to 10,000, and refuses cursors that it cannot have given', async () => {
    for (const limit of [0, -1, 10_001, 1.5]) {
      assert.equal(
        (await seller.refusal('display_items_for_sale', { session: ann.session, limit })).code,
        'invalid_params',
      )
    }
    for (const cursor of ['', '0', '-1', '1-1', 'x', '1e3']) {
      assert.equal(
        (await seller.refusal('display_items_for_sale', { session: ann.session, cursor })).code,
        'invalid_params',
      )
    }
    await display({ limit: 10_000 })
  })
})

describe('get_item', () => {
  it('shows an item with all its fields, also if it is sold out', async () => {
    const fields = anItem({
      name: 'Old lamp',
      category: 65_535,
      keywords: ['old', 'lamp'],
      condition: 'used',
      price_cents: 1_000_000_000,
      quantity: 1_000_000,
    })
    const [item_id] = await register([fields])
    const shown = { item_id, seller_id: ann.id, seller_name: 'Ann', ...fields, thumbs_up: 0, thumbs_down: 0 }
    assert.deepEqual(await getItem(item_id as number), shown)
    await sellOut(item_id as number)
    assert.deepEqual(await getItem(item_id as number), { ...shown, quantity: 0 })
  })

  it('answers each of many concurrent calls with its own item, or with not_found', async () => {
    const ids = await register([anItem(), anItem()])
    const asked = [...ids, 999_999_999, ...ids, 999_999_998]
    const answers = await Promise.all(
      asked.map((id) =>
        getItem(id).then(
          ({ item_id }) => item_id,
          ({ code }) => code,
        ),
      ),
    )
    assert.deepEqual(answers, [...ids, 'not_found', ...ids, 'not_found'])
  })
})

describe('text', () => {
  const vectors = [
    "'",
    '"',
    '\\',
    "\\'",
    "'; DROP TABLE item; --",
    '%',
    '_',
    '%_%',
    '?',
    '??',
    ':a',
    '`',
    '/* x */',
    '0',
    '1e5',
    'NULL',

    '$1',
    '$&',
    '{"type":"Point"}',
    '<b>&amp;',
    '😀',
    '\u{f8ff} \u200fשלום',
    'a\u200bb',
    'ÿ',
    'a\u{10ffff}',
  ]
  for (const vector of vectors) {
    it(`comes back unchanged if it is ${JSON.stringify(vector)}`, async () => {
      const keywords = [[...vector].slice(0, 8).join('').trim().toLowerCase()]
      const [item_id] = await register([anItem({ name: vector, category: 20, keywords })])
      const item = await getItem(item_id as number)
      assert.deepEqual([item.name, item.keywords], [vector, keywords])
      const hits = await search({ category: 20, keywords, limit: 100 })
      assert.deepEqual(
        hits.items.map(({ name }) => name),
        [vector],
      )
      const twoWords = await search({ category: 20, keywords: [...keywords, 'nothing'], limit: 100 })
      assert.deepEqual(twoWords.items, hits.items)
    })
  }

  it('comes back unchanged as the name of an account', async () => {
    const credentials = { username: 'odd-name', password: "'; DROP TABLE buyer; --" }
    const name = "O'Hara \\ % ? 😀"
    await buyer.call('create_account', { ...credentials, name })
    const { session } = await buyer.call('login', credentials)
    assert.equal((await buyer.call('whoami', { session })).name, name)
  })

  it('comes back unchanged in every script, in normal form C', async () => {
    const names = LEGITIMATE_NAMES.map((name) => name.normalize('NFC'))
    const ids = await register(LEGITIMATE_NAMES.map((name) => anItem({ name, keywords: [] })))
    const items = await Promise.all(ids.map(getItem))
    assert.deepEqual(
      items.map(({ name }) => name),
      names,
    )
  })

  it('is refused as a name or a keyword if it shows nothing, or turns what follows', async () => {
    const turning = TURNING.map((character) => `Lamp ${character}00.5`)
    for (const name of [...INVISIBLE_NAMES, ...turning, 'Lamp\u3000', '\u00a0Lamp']) {
      const word = [...name].slice(-8).join('')
      const item = { session: ann.session, ...anItem({ name, keywords: ['lamp', word] }) }
      const { code, details } = await seller.refusal('register_item_for_sale', item)
      assert.deepEqual([code, Object.keys(details.fields as object)], ['invalid_params', ['name', 'keywords.1']], name)
      const account = { username: 'unseen', password: 'correct horse', name }
      assert.deepEqual(Object.keys((await buyer.refusal('create_account', account)).details.fields as object), ['name'])
    }
  })

  it('is refused within milliseconds if it is far too long', async () => {
    const marks = `a${'\u0316\u0301'.repeat(15_000)}`
    const begunMs = performance.now()
    for (let count = 0; count < 30; count += 1) {
      const item = { session: ann.session, ...anItem({ name: marks }) }
      assert.equal((await seller.refusal('register_item_for_sale', item)).code, 'invalid_params')
      const account = { username: 'marks', name: 'Ann', password: marks }
      assert.equal((await seller.refusal('create_account', account)).code, 'invalid_params')
    }
    assert.ok(performance.now() - begunMs < 3_000, `${performance.now() - begunMs} ms`) // normalized, each takes 200
  })

  it('is found as a keyword in any case of its language, and shown as it was typed, in lower case', async () => {
    const typed = {
      STRASSE: 'strasse',
      Maße: 'maße',
      ΟΔΟΣ: 'οδος',
      İSTANBUL: 'İstanbul',
      Диван: 'диван',
      ԵՐԵՒԱՆ: 'երեւան',
      ᲗᲑᲘᲚᲘᲡᲘ: 'თბილისი',
      ᏣᎳᎩ: 'ꮳꮃꭹ',
      İİİİİİİİ: 'İİİİİİİİ',
    }
    const searches = {
      STRASSE: ['straße', 'STRAẞE', 'Strasse'],
      Maße: ['MASSE', 'masse', 'MAẞE'],
      ΟΔΟΣ: ['οδος', 'οδοσ'],
      İSTANBUL: ['istanbul', 'İstanbul', 'ISTANBUL', 'ıstanbul'],
      Диван: ['ДИВАН', 'диван'],
      ԵՐԵՒԱՆ: ['երևան', 'Երեւան'],
      ᲗᲑᲘᲚᲘᲡᲘ: ['თბილისი'],
      ᏣᎳᎩ: ['ꮳꮃꭹ', 'Ꮳꮃꭹ'],
      İİİİİİİİ: ['iiiiiiii', 'IIIIIIII'],
    }
    for (const [keyword, shown] of Object.entries(typed)) {
      const [item_id = 0] = await register([anItem({ category: 23, keywords: [keyword], quantity: 1 })])
      assert.deepEqual((await getItem(item_id)).keywords, [shown])
      for (const word of [keyword, shown, ...searches[keyword as keyof typeof searches]]) {
        assert.deepEqual(await findIds({ category: 23, keywords: [word] }), [item_id], word)
        assert.deepEqual(await findIds({ category: 23, keywords: [word, 'nothing'] }), [item_id], word)
      }
      const off = { session: ann.session, item_id, change: -1 }
      await seller.call('update_units_for_sale', off)
      assert.deepEqual(await findIds({ category: 23, keywords: [keyword] }), [])
      await seller.call('update_units_for_sale', { ...off, change: 1 })
      assert.deepEqual(await findIds({ category: 23, keywords: [shown] }), [item_id])
    }
  })

  it('counts once as a keyword if it differs only in case', async () => {
    const [item_id] = await register([anItem({ category: 24, keywords: ['Straße', 'STRASSE', 'ΟΔΟΣ', 'οδοσ', 'x'] })])
    const [other] = await register([anItem({ category: 24, keywords: ['strasse', 'x'] })])
    assert.deepEqual((await getItem(item_id as number)).keywords, ['straße', 'οδος', 'x'])
    assert.deepEqual(await findIds({ category: 24, keywords: ['straße', 'STRASSE', 'ΟΔΟΣ'] }), [item_id, other])
  })

  it('is stored in normal form C, and as keywords in lower case, each once', async () => {
    const decomposed = 'Cafe\u0301'
    const [item_id] = await register([
      anItem({ name: decomposed, category: 21, keywords: [decomposed, 'CAFÉ', 'café', 'Ünique', 'x'] }),
    ])
    const item = await getItem(item_id as number)
    assert.equal(item.name, 'Café')
    assert.deepEqual(item.keywords, ['café', 'ünique', 'x'])
    for (const word of [decomposed, 'CAFÉ', 'cAFE\u0301'])
      assert.deepEqual(await findIds({ category: 21, keywords: [word] }), [item_id])
    assert.deepEqual(await findIds({ category: 21, keywords: ['cafe'] }), [])
  })

  it('is measured in code points up to its greatest length', async () => {
    const [item_id] = await register([
      anItem({
        name: '😀'.repeat(32),
        category: 22,
        keywords: ['a', 'b', 'c', 'd', 'e'].map((letter) => letter + '😀'.repeat(7)),
      }),
    ])
    assert.equal((await getItem(item_id as number)).name, '😀'.repeat(32))
    const longer = { session: ann.session, ...anItem({ name: '😀'.repeat(33) }) }
    assert.equal((await seller.refusal('register_item_for_sale', longer)).code, 'invalid_params')
  })
})
