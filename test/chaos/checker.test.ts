/**
 * The checker finds nothing in the log and the tables of an honest run, and each
 * falsification of either under the invariant that it violates.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { readSnapshot, type Snapshot } from '../../src/loadgen/audit.ts'
import { check, type Evidence, INVARIANTS, type Invariant } from './checker.ts'
import { NORMAL_LOAD } from './fault.ts'
import type { CallEntry, Entry, ReplyEntry, RequestEntry } from './log.ts'
import { Stage } from './stage.ts'

const REQUEST_MS = 5_000
/** Long enough for logouts, and for sessions that expire. */
const LOAD_MS = 8_000

let stage: Stage
let honest: Evidence

before(async () => {
  stage = await Stage.open({
    seed: 1,
    ...NORMAL_LOAD,
    settings: {},
    throughLink: false,
    signal: new AbortController().signal,
  })
  const resources = await stage.readResources()
  await stage.start()
  await stage.pause(LOAD_MS)
  await stage.stop()
  const after = await readSnapshot(stage.marketplace.urls.product)
  const calm = { ...(await stage.readResources()), clientConnections: 0 }
  honest = {
    entries: stage.entries,
    before: stage.before,
    after,
    accounts: await stage.readAccounts(),
    requestMs: REQUEST_MS,
    resources: { before: resources, after: calm },
    lanes: 300,
  }
})
after(() => stage?.close())

/** The invariants of which violations are found, once the evidence is falsified. */
function violated(falsify: (evidence: Evidence) => Partial<Evidence>): Invariant[] {
  const violations = check({ ...honest, ...falsify(honest) })
  return (Object.keys(INVARIANTS) as Invariant[]).filter((name) => violations[name].length > 0)
}

/** A log in which the first call that matches is replaced by these. */
function replaceCall(
  matches: (call: CallEntry) => boolean,
  change: (call: CallEntry) => Entry[],
): (evidence: Evidence) => Partial<Evidence> {
  return ({ entries }) => {
    const index = entries.findIndex((entry) => entry.kind === 'call' && matches(entry))
    assert.ok(index >= 0, 'no call of the log matches')
    return { entries: entries.toSpliced(index, 1, ...change(entries[index] as CallEntry)) }
  }
}

function changeRow<T extends keyof Snapshot>(
  table: T,
  matches: (row: Snapshot[T][number]) => boolean,
  change: (row: Snapshot[T][number]) => Snapshot[T][number][],
) {
  return ({ after }: Evidence): Partial<Evidence> => {
    const rows = after[table] as Snapshot[T][number][]
    const index = rows.findIndex(matches)
    assert.ok(index >= 0, `no row of ${table} matches`)
    return { after: { ...after, [table]: rows.toSpliced(index, 1, ...change(rows[index] as Snapshot[T][number])) } }
  }
}

const succeeded =
  (operation: string, purpose = 'load') =>
  (call: CallEntry) =>
    call.operation === operation && call.purpose === purpose && call.result !== undefined
const listed = ({ result }: CallEntry, field: string) => (result?.[field] ?? []) as object[]
const answering = (result: Record<string, unknown>) => (call: CallEntry) => [{ ...call, result }]
const without = () => []

describe('the checker', () => {
  it('finds no violation after an honest run in which everything that it checks happened', () => {
    assert.deepEqual(check(honest), Object.fromEntries(Object.keys(INVARIANTS).map((name) => [name, []])))
    const calls = honest.entries.filter((entry) => entry.kind === 'call')
    const successes = new Set(calls.filter(({ result }) => result !== undefined).map(({ operation }) => operation))
    assert.ok(successes.size >= 19, [...successes].sort().join(', '))
    assert.ok(calls.some(({ refused }) => refused?.code === 'idempotency_mismatch'))
    assert.ok(calls.some(({ expiredMs, refused }) => expiredMs !== undefined && refused?.code === 'unauthenticated'))
  })

  const falsifications: readonly [Invariant, string, (evidence: Evidence) => Partial<Evidence>][] = [
    [
      'I1',
      'a negative stock',
      changeRow(
        'item',
        () => true,
        (row) => [{ ...row, quantity: -1 }],
      ),
    ],
    [
      'I1',
      'a unit that was sold twice',
      changeRow(
        'item',
        ({ quantity }) => quantity > 0,
        (row) => [{ ...row, quantity: row.quantity + 1 }],
      ),
    ],
    ['I2', 'an acknowledged item that is lost', changeRow('item', () => true, without)],
    ['I2', 'an acknowledged purchase that is lost', changeRow('purchase', () => true, without)],
    [
      'I2',
      'a purchase that happened twice',
      changeRow(
        'purchase',
        () => true,
        (row) => [row, { ...row, id: row.id + 1_000_000 }],
      ),
    ],
    [
      'I2',
      'an acknowledged price that is lost',
      replaceCall(succeeded('change_item_price'), (call) => [
        {
          ...call,
          begunMs: call.begunMs + 1e6,
          settledMs: call.settledMs + 1e6,
          params: { ...call.params, price_cents: 77 },
        },
      ]),
    ],
    [
      'I2',
      'a cart that lost a line',
      changeRow(
        'cart',
        ({ content }) => content !== '',
        (row) => [{ ...row, content: '' }],
      ),
    ],
    [
      'I2',
      'a refused call that was carried out',
      replaceCall(succeeded('register_item_for_sale'), ({ result: _, ...call }) => [
        { ...call, refused: { code: 'timeout', outcome: 'none' } },
      ]),
    ],
    [
      'I2',
      'an account that is lost',
      ({ accounts }) => ({ accounts: accounts.filter(({ username }) => !username.startsWith('new-')) }),
    ],
    [
      'I3',
      'a second answer to a key',
      replaceCall(succeeded('make_purchase', 'replay'), ({ result, ...call }) => [
        { ...call, result: { ...result, total_cents: 1 } },
      ]),
    ],
    [
      'I3',
      'a refusal of a call that had succeeded',
      replaceCall(succeeded('add_item_to_cart', 'replay'), ({ result: _, ...call }) => [
        { ...call, refused: { code: 'out_of_stock' } },
      ]),
    ],
    [
      'I3',
      'a key that was accepted for another call',
      replaceCall(
        (call) => call.refused?.code === 'idempotency_mismatch',
        ({ refused: _, ...call }) => [{ ...call, result: { quantity: 1 } }],
      ),
    ],
    ['I3', 'a key that is lost', changeRow('idempotency', () => true, without)],
    [
      'I4',
      'an outcome that nobody learns',
      replaceCall(succeeded('add_item_to_cart'), ({ result: _, ...call }) => [
        { ...call, params: { ...call.params, idempotency_key: 'new' } },
      ]),
    ],
    [
      'I4',
      'an outcome whose key is refused as overloaded for ever',
      replaceCall(succeeded('add_item_to_cart'), ({ result: _, ...call }) => {
        const open = { ...call, params: { ...call.params, idempotency_key: 'new' } }
        return [open, { ...open, purpose: 'resolve', refused: { code: 'overloaded' } }]
      }),
    ],
    [
      'I5',
      'the account of another',
      replaceCall(succeeded('whoami'), (call) => [{ ...call, result: { ...call.result, id: call.account + 1 } }]),
    ],
    ['I5', 'the reply to another request', replaceCall(succeeded('get_item'), answering({ ok: true }))],
    [
      'I5',
      'another item',
      replaceCall(succeeded('get_item'), (call) => [
        { ...call, result: { ...call.result, item_id: Number(call.params.item_id) + 1 } },
      ]),
    ],
    [
      'I5',
      'the items of another seller',
      replaceCall(
        (call) => succeeded('display_items_for_sale')(call) && listed(call, 'items').length > 0,
        (call) => [{ ...call, account: call.account + 1 }],
      ),
    ],
    [
      'I5',
      'the purchases of another buyer',
      replaceCall(
        (call) => succeeded('get_buyer_purchases')(call) && listed(call, 'purchases').length > 0,
        (call) => [call, { ...call, account: call.account + 1 }],
      ),
    ],
    [
      'I6',
      'a second reply',
      ({ entries }) => ({
        entries: [...entries, entries.find((entry): entry is ReplyEntry => entry.kind === 'reply') as ReplyEntry],
      }),
    ],
    [
      'I6',
      'a reply that nobody asked for',
      ({ entries }) => ({ entries: [...entries, { kind: 'reply', connection: 'x', id: 1, atMs: 0 }] }),
    ],
    [
      'I6',
      'a reply that is no line of the protocol',
      ({ entries }) => ({ entries: [...entries, { kind: 'reply', connection: 'x', id: 'unreadable', atMs: 0 }] }),
    ],
    [
      'I6',
      'a request without a reply',
      ({ entries }) => {
        const request = entries.find((entry): entry is RequestEntry => entry.kind === 'request') as RequestEntry
        return { entries: [...entries, { ...request, id: 1_000_000, atMs: request.atMs - 1e6 }] }
      },
    ],
    [
      'I6',
      'a reply long after the limit',
      ({ entries }) => {
        const index = entries.findIndex(({ kind }) => kind === 'reply')
        return {
          entries: entries.toSpliced(index, 1, { ...(entries[index] as ReplyEntry), atMs: Number.MAX_SAFE_INTEGER }),
        }
      },
    ],
    [
      'I7',
      'a wrong sum of sales',
      changeRow(
        'seller_score',
        () => true,
        (row) => [{ ...row, sales_cents: row.sales_cents + 1 }],
      ),
    ],
    [
      'I7',
      'a wrong rating',
      changeRow(
        'seller_score',
        () => true,
        (row) => [{ ...row, thumbs_up: row.thumbs_up + 1 }],
      ),
    ],
    [
      'I7',
      'two votes',
      changeRow(
        'feedback',
        () => true,
        (row) => [row, row],
      ),
    ],
    ['I7', 'a buyer without a score', changeRow('buyer_score', () => true, without)],
    [
      'I8',
      'a cart from before a write',
      replaceCall(
        (call) => succeeded('display_cart')(call) && listed(call, 'lines').length > 0,
        answering({ lines: [] }),
      ),
    ],
    [
      'I8',
      'a list of items without the newest',
      replaceCall(
        (call) => succeeded('display_items_for_sale')(call) && listed(call, 'items').length > 0,
        answering({ items: [] }),
      ),
    ],
    [
      'I8',
      'an old price',
      replaceCall(
        (call) => succeeded('display_items_for_sale')(call) && listed(call, 'items').length > 0,
        (call) => [{ ...call, result: { items: listed(call, 'items').map((item) => ({ ...item, price_cents: 0 })) } }],
      ),
    ],
    [
      'I8',
      'purchases without the newest',
      replaceCall(
        (call) => succeeded('get_buyer_purchases')(call) && listed(call, 'purchases').length > 0,
        (call) => [{ ...call, result: { ...call.result, purchases: [] } }],
      ),
    ],
    [
      'I8',
      'a full page of older purchases',
      replaceCall(
        (call) => succeeded('get_buyer_purchases')(call) && listed(call, 'purchases').length > 0,
        (call) => {
          const [newest] = listed(call, 'purchases') as { purchased_at: number }[]
          const older = { ...newest, purchase_id: 0, purchased_at: (newest?.purchased_at ?? 0) - 60 }
          return [{ ...call, params: { limit: 1 }, result: { ...call.result, purchases: [older] } }]
        },
      ),
    ],
    [
      'I9',
      'a session accepted at once after its logout',
      replaceCall(succeeded('logout'), (call) => [
        call,
        {
          ...call,
          operation: 'whoami',
          begunMs: call.settledMs + 1,
          result: { id: call.account, username: 'ann', name: 'Ann', expires_in_s: 1 },
        },
      ]),
    ],
    [
      'I9',
      'a session accepted by another server a while after its logout',
      replaceCall(succeeded('logout'), (call) => [
        call,
        {
          ...call,
          operation: 'whoami',
          port: call.port + 1,
          begunMs: call.settledMs + 1_100,
          result: { id: call.account, username: 'ann', name: 'Ann', expires_in_s: 1 },
        },
      ]),
    ],
    [
      'I9',
      'a session accepted after its expiry',
      replaceCall(
        (call) => call.expiredMs !== undefined,
        ({ refused: _, ...call }) => [
          { ...call, result: { id: call.account, username: 'ann', name: 'Ann', expires_in_s: 1 } },
        ],
      ),
    ],
    [
      'I10',
      'memory that is kept',
      ({ resources }) => ({ resources: { ...resources, after: { ...resources.after, rssMib: 10_000 } } }),
    ],
    [
      'I10',
      'connections that are kept',
      ({ resources }) => ({ resources: { ...resources, after: { ...resources.after, clientConnections: 1 } } }),
    ],
    [
      'I10',
      'statements that are kept',
      ({ resources }) => ({ resources: { ...resources, after: { ...resources.after, preparedStatements: 1e6 } } }),
    ],
  ]
  for (const [invariant, what, falsify] of falsifications) {
    it(`finds ${what}, as a violation of ${invariant}`, () => {
      const found = violated(falsify)
      assert.ok(found.includes(invariant), `found violations of ${found.join(', ') || 'nothing'}`)
    })
  }
})

describe('a call that was made twice at the same time', () => {
  it('may be refused once and succeed once', () => {
    const twin = replaceCall(succeeded('add_item_to_cart'), ({ result, ...call }) => [
      { ...call, result: result ?? {} },
      { ...call, settledMs: call.settledMs + 100, refused: { code: 'out_of_stock' } },
    ])
    assert.deepEqual(violated(twin), [])
  })
})

describe('a session within its cache second', () => {
  it('may be accepted by another server', () => {
    const soon = replaceCall(succeeded('logout'), (call) => [
      call,
      {
        ...call,
        operation: 'whoami',
        port: call.port + 1,
        begunMs: call.settledMs + 900,
        result: { id: call.account, username: 'ann', name: 'Ann', expires_in_s: 1 },
      },
    ])
    assert.deepEqual(violated(soon), [])
  })
})
