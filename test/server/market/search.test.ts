/**
 * Search in catalogues that are too large to be read whole: the ranking of hits
 * in any lists, and that a search among thousands of items finds what the
 * contract's rule says.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { rank } from '../../../src/server/market/search.ts'
import { anItem, Caller, type OpenAccount, openAccount } from '../../support/clients.ts'
import { startTestMarketplace, type TestMarketplace } from '../../support/marketplace.ts'

const RANKED = 2_000

/** All hits by the rule, the best first: more matching lists first, and newer items first among equals. */
function rankAll(lists: readonly (readonly number[])[]) {
  const ids = [...new Set(lists.flat())]
  const hits = ids.map((itemId) => ({ itemId, matches: lists.filter((list) => list.includes(itemId)).length }))
  return hits.sort((a, b) => b.matches - a.matches || b.itemId - a.itemId)
}

describe('rank', () => {
  const list = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 40 })
  const lists = fc.array(
    list.map((ids) => ids.sort((a, b) => b - a)),
    { minLength: 1, maxLength: 5 },
  )
  const limit = fc.integer({ min: 1, max: 12 })

  it('gives the hits in order after the cursor, and one more than the page holds', () => {
    fc.assert(
      fc.property(lists, limit, (lists, limit) => {
        const all = rankAll(lists)
        assert.deepEqual(rank({ limit, cursor: undefined }, lists), all.slice(0, limit + 1))
        for (const [index, { matches, itemId }] of all.entries()) {
          const rest = all.slice(index + 1, index + 2 + limit)
          assert.deepEqual(rank({ limit, cursor: `${matches}-${itemId}` }, lists), rest)
        }
      }),
    )
  })

  it('gives the same hits for the beginnings of lists as for whole lists, or leaves the search open', () => {
    const counts = { settled: 0, open: 0 }
    fc.assert(
      fc.property(lists, limit, fc.integer({ min: 1, max: 30 }), fc.nat(), (lists, limit, depth, any) => {
        const beginnings = lists.map((ids) => ids.slice(0, depth))
        const all = rankAll(lists)
        const { matches, itemId } = all[any % all.length] ?? { matches: 1, itemId: 1 }
        for (const cursor of [undefined, `${matches}-${itemId}`]) {
          const hits = rank({ limit, cursor }, beginnings, depth)
          counts[hits === undefined ? 'open' : 'settled'] += 1
          if (hits !== undefined) assert.deepEqual(hits, rank({ limit, cursor }, lists))
        }
      }),
      { numRuns: 2_000 },
    )
    assert.ok(counts.settled > 500 && counts.open > 500, JSON.stringify(counts))
  })

  it('settles a search when the lists end early, and when enough items match every keyword', () => {
    const page = { limit: 1, cursor: undefined }
    const lists = [[9, 7], [8]]
    assert.notEqual(rank(page, lists, 3), undefined)
    assert.equal(rank(page, lists, 2), undefined)
    assert.deepEqual(
      rank(
        page,
        [
          [9, 8, 5],
          [9, 8, 6],
        ],
        3,
      ),
      rankAll([
        [9, 8],
        [9, 8],
      ]),
    )
  })
})

describe('search_items among thousands of items', () => {
  const ITEMS = 2_600
  const WORDS = ['all', 'third', 'odd', 'early', 'late', 'rare']
  let marketplace: TestMarketplace
  let buyer: Caller<'buyer'>
  let bob: OpenAccount
  /** Item ids by keyword, the newest first. */
  const ids = new Map<string, number[]>(WORDS.map((word) => [word, []]))

  before(async () => {
    marketplace = await startTestMarketplace()
    await marketplace.sql('product', 'SET GLOBAL group_concat_max_len = 1024') // the default of other database servers
    const [sellers, buyers] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
    const seller = await Caller.connect(sellers)
    buyer = await Caller.connect(buyers)
    bob = await openAccount(buyer)
    const { session } = await openAccount(seller)
    const registered = Array.from({ length: ITEMS }, async (_, number) => {
      const keywords = chooseWords(number)
      const item = await seller.call('register_item_for_sale', { session, ...anItem({ keywords }) })
      return { keywords, id: item.item_id }
    })
    const items = (await Promise.all(registered)).sort((a, b) => b.id - a.id)
    for (const { keywords, id } of items) for (const word of keywords) ids.get(word)?.push(id)
    await seller.close()
  })
  after(() => marketplace?.close())

  function chooseWords(number: number): string[] {
    const has = [true, number % 3 === 0, number % 2 === 1, number < 300, number > ITEMS - 50, number % 900 === 1]
    return WORDS.filter((_, index) => has[index]).slice(0, 5)
  }

  const search = (keywords: string[], limit: number, cursor?: string) =>
    buyer.call('search_items', { session: bob.session, category: 1, keywords, limit, ...(cursor && { cursor }) })

  /** The ids that the contract's rule gives, in its order. */
  const expected = (keywords: readonly string[]) =>
    rankAll(keywords.map((word) => (ids.get(word) ?? []).slice(0, RANKED))).map(({ itemId }) => itemId)

  for (const keywords of [
    ['all', 'third'],
    ['all', 'early'],
    ['all', 'late'],
    ['early', 'late'],
    ['third', 'odd', 'rare'],
    ['all', 'third', 'odd', 'early', 'late'],
  ]) {
    it(`ranks the newest ${RANKED} items of each of the keywords ${keywords.join(', ')}, page by page`, async () => {
      const found: number[] = []
      for (let cursor: { next_cursor?: string | undefined } = {}; ; ) {
        cursor = await search(keywords, 100, cursor.next_cursor).then(({ items, ...rest }) => {
          found.push(...items.map(({ item_id }) => item_id))
          return rest
        })
        if (cursor.next_cursor === undefined) break
      }
      assert.deepEqual(found, expected(keywords))
    })
  }

  it('answers each of many concurrent searches with its own items, whether its keywords have many or few', async () => {
    const asked = WORDS.flatMap((one) => WORDS.map((other) => [...new Set([one, other])]))
    const answers = await Promise.all(asked.flatMap((keywords) => [1, 20, 100].map((limit) => search(keywords, limit))))
    for (const [index, keywords] of asked.entries()) {
      const whole = keywords.length === 1 ? (ids.get(keywords[0] as string) as number[]) : expected(keywords)
      for (const [nth, limit] of [1, 20, 100].entries()) {
        const { items, next_cursor } = answers[index * 3 + nth] as Awaited<ReturnType<typeof search>>
        assert.deepEqual(
          items.map(({ item_id }) => item_id),
          whole.slice(0, limit),
        )
        assert.equal(next_cursor === undefined, whole.length <= limit)
      }
    }
  })
})
