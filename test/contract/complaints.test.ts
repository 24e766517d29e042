/** What the contract says of wrong parameters: plain words about what was expected, never what came. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { operationsByName, ROLES } from '../../src/contract/operations.ts'

/** No value of any parameter. */
const WRONG = [null, Number.NaN, 1e300, -1e300, 0.123, 'zebra\u0007', 'zebra'.repeat(99), [['zebra']], { zebra: 1 }]
const PLAIN =
  /^(is missing|must (be|have) [^"]+|at most 5 words|is not what the contract says|has fields that are not in the contract)$/

describe('a complaint', () => {
  it('is in plain words, for every parameter and every wrong value, and repeats nothing', () => {
    for (const role of ROLES) {
      for (const [name, { params }] of operationsByName(role)) {
        for (const value of [...WRONG, undefined]) {
          const given = Object.fromEntries(Object.keys(params.shape).map((field) => [field, value]))
          const { error } = params.safeParse({ ...given, zebra: 1 })
          assert.ok(error !== undefined)
          for (const { path, message } of error.issues) {
            assert.match(message, PLAIN, `${name}.${path.join('.')}`)
            assert.doesNotMatch(message, /zebra|null|NaN|0\.123|expected|[Ii]nvalid|undefined/)
          }
        }
      }
    }
  })

  it('names the values of a choice, and both bounds of a number', () => {
    const { params } = operationsByName('seller').get('register_item_for_sale') ?? assert.fail()
    const wrong = {
      session: 1,
      name: 2,
      category: 65_536,
      condition: 'broken',
      price_cents: -1,
      quantity: 1.5,
      keywords: 'a',
    }
    const said = params.safeParse(wrong).error?.issues.map(({ path, message }) => [path.join('.'), message])
    assert.deepEqual(Object.fromEntries(said ?? []), {
      session: 'must be text of 1 to 128 characters',
      name: 'must be text',
      category: 'must be a whole number from 0 to 65535',
      condition: 'must be new or used',
      price_cents: 'must be a whole number from 0 to 1000000000',
      quantity: 'must be a whole number from 1 to 1000000',
      keywords: 'must be a list',
    })
    const { params: rating } = operationsByName('buyer').get('get_seller_rating') ?? assert.fail()
    const issues = rating.safeParse({ session: 'x', seller_id: 0 }).error?.issues
    assert.deepEqual(
      issues?.map(({ message }) => message),
      ['must be a whole number from 1'],
    )
  })
})
