/**
 * Which calls a sequence is made of. The domains are small, so that calls meet:
 * few users, items, units, words and keys; the weights are such that purchases
 * really happen, and everything that can be refused is.
 */

import fc from 'fast-check'
import { type Name, operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import { Again, Call, NextPage, NOBODYS, type Servers, UNKNOWN_FIELDS, type Who } from './model-calls.ts'
import { FIRST_USERS, PASSWORD, type World } from './world.ts'

const often = <T>(...values: [T, number][]): fc.Arbitrary<T> =>
  fc.oneof(...values.map(([value, weight]) => ({ arbitrary: fc.constant(value), weight })))
/** Left out in `absent` of `absent + 1` cases. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>, absent: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: absent }, { arbitrary, weight: 1 })

/** Some are used for the first time when much has happened already: they begin with a saved cart. */
const sessionNumber = fc.oneof(
  { arbitrary: often([0, 9], [1, 3], [2, 1], [3, 3]), weight: 8 },
  { arbitrary: fc.nat(15), weight: 1 },
)
const itemId = often([0, 6], [1, 5], [2, 3], [3, 2], [4, 1], [5, 1], [6, 1], [7, 1], [NOBODYS, 1])
const words = (most: number) => fc.array(fc.constantFrom('red', 'Red', 'blue', 'é'), { maxLength: most })
const category = often([0, 3], [1, 1])
const price = often([0, 1], [1, 1], [999, 2], [1_000_000_000, 1])
const pageLimit = often([1, 3], [2, 2], [3, 1], [100, 1])
const limit = maybe(pageLimit, 1)
const cartUnits = often([1, 8], [2, 4], [3, 2], [10_000, 2])
const key = maybe(
  fc.nat(9).map((number) => `key ${number}`),
  2,
)
const name = fc.constantFrom('Lamp', 'Cafe\u0301', "'; --", '灯')
const username = fc.constantFrom(...FIRST_USERS, ...FIRST_USERS, 'new')
const password = often([PASSWORD, 3], ['wrong horse', 2])
/** Allowed in no field of any operation. */
const NEVER_VALID = [null, {}, -0.5, '']

interface Called {
  /** How often, beside others. */
  weight: number
  /** With what, beside the session. */
  params: Record<string, fc.Arbitrary<unknown>>
  /** What may come of it, beside what may come of all operations of its kind. */
  refusals?: readonly ErrorCode[]
}

const CALLS: { [R in Role]: Record<Name<R>, Called> } = {
  seller: {
    create_account: { weight: 2, params: { username, password, name }, refusals: ['username_taken'] },
    login: { weight: 2, params: { username, password }, refusals: ['unauthenticated'] },
    logout: { weight: 3, params: {} },
    whoami: { weight: 4, params: {} },
    ping: { weight: 4, params: {} },
    get_seller_rating: { weight: 20, params: {} },
    register_item_for_sale: {
      weight: 70,
      params: {
        ...{ name, category, keywords: words(4), condition: fc.constantFrom('new', 'used'), price_cents: price },
        ...{ quantity: often([1, 2], [3, 3], [9, 3], [1_000_000, 1]), idempotency_key: key },
      },
    },
    change_item_price: { weight: 40, params: { item_id: itemId, price_cents: price }, refusals: ['not_found'] },
    update_units_for_sale: {
      weight: 70,
      params: {
        item_id: itemId,
        change: often([-3, 3], [-1, 3], [0, 1], [1, 3], [3, 5], [1_000_000, 1], [-1_000_000, 1]),
        idempotency_key: key,
      },
      refusals: ['not_found', 'out_of_stock', 'limit_exceeded'],
    },
    display_items_for_sale: { weight: 40, params: { limit, include_sold_out: maybe(fc.boolean(), 2) } },
  },
  buyer: {
    create_account: { weight: 2, params: { username, password, name }, refusals: ['username_taken'] },
    login: { weight: 2, params: { username, password }, refusals: ['unauthenticated'] },
    logout: { weight: 3, params: {} },
    whoami: { weight: 4, params: {} },
    ping: { weight: 4, params: {} },
    search_items: { weight: 80, params: { category, keywords: maybe(words(3), 1), limit } },
    get_item: { weight: 20, params: { item_id: itemId }, refusals: ['not_found'] },
    add_item_to_cart: {
      weight: 320,
      params: { item_id: itemId, quantity: cartUnits, idempotency_key: key },
      refusals: ['not_found', 'out_of_stock', 'limit_exceeded'],
    },
    remove_item_from_cart: {
      weight: 60,
      params: { item_id: itemId, quantity: often([1, 4], [2, 1], [3, 1]), idempotency_key: key },
      refusals: ['not_in_cart'],
    },
    save_cart: { weight: 40, params: {} },
    clear_cart: { weight: 10, params: {} },
    display_cart: { weight: 50, params: {} },
    make_purchase: { weight: 80, params: { idempotency_key: key }, refusals: ['cart_empty', 'out_of_stock'] },
    get_buyer_purchases: { weight: 40, params: { limit } },
    provide_feedback: {
      weight: 70,
      params: { item_id: itemId, vote: fc.constantFrom('up', 'down') },
      refusals: ['not_found', 'not_purchased'],
    },
    get_seller_rating: {
      weight: 30,
      params: { seller_id: often([0, 3], [1, 3], [2, 1], [NOBODYS, 1]) },
      refusals: ['not_found'],
    },
  },
}
const NEXT_PAGE_WEIGHTS = { search_items: 60, display_items_for_sale: 30, get_buyer_purchases: 30 }
const AGAIN_WEIGHT = 80
const WRONG_FIELD_WEIGHT = 40
const WRONG_SESSION_WEIGHT = 40

interface CalledOperation extends Called {
  role: Role
  operation: string
}

const everyOperation = ROLES.flatMap((role) =>
  Object.entries<Called>(CALLS[role]).map(([operation, called]): CalledOperation => ({ role, operation, ...called })),
)

type Command = fc.AsyncCommand<World, Servers>

/** Sequences of so many commands at most. */
export function sequences(longest: number): fc.Arbitrary<readonly Command[]> {
  const guarded = everyOperation.filter(({ role, operation }) => !isOpen(role, operation))
  const command = fc.oneof<fc.MaybeWeightedArbitrary<Command>[]>(
    ...everyOperation.map((called) => ({ arbitrary: call(called), weight: called.weight })),
    ...Object.entries(NEXT_PAGE_WEIGHTS).map(([operation, weight]) => ({
      arbitrary: fc
        .tuple(fc.nat(3), fc.nat(2), pageLimit)
        .map(([back, session, limit]) => new NextPage(operation, back, session, limit)),
      weight,
    })),
    {
      arbitrary: fc.tuple(fc.nat(8), fc.nat(2)).map(([back, session]) => new Again(back, session)),
      weight: AGAIN_WEIGHT,
    },
    { arbitrary: fc.oneof(...guarded.map(callInWrongSession)), weight: WRONG_SESSION_WEIGHT },
    { arbitrary: fc.oneof(...everyOperation.map(callWithWrongField)), weight: WRONG_FIELD_WEIGHT },
  )
  return new Sequences(command, longest)
}

/** All that an operation can come to: a test that does not reach it says nothing about it. */
export function possibleOutcomes(): string[] {
  return everyOperation.flatMap(({ role, operation, refusals = [] }) => {
    const { open, keyed } = operationsByName(role).get(operation) ?? {}
    const codes = ['ok', 'invalid_params', ...refusals]
    if (!open) codes.push('unauthenticated')
    if (keyed) codes.push('ok, repeated', 'idempotency_mismatch')
    if (operation in NEXT_PAGE_WEIGHTS) codes.push('ok, on from a cursor')
    return codes.map((code) => `${role} ${operation}: ${code}`)
  })
}

/** Where shrinking is: pieces of `size` commands have been tried from the end down to `end`. */
interface Shrinking {
  commands: readonly fc.Value<Command>[]
  size: number
  end: number
}

/**
 * As fc.commands, for sequences that take seconds: these shrink by leaving out
 * halves, then quarters, and so on to single commands, and only then become
 * simpler. fc.commands tries all pairs of a beginning and an end.
 */
class Sequences extends fc.Arbitrary<readonly Command[]> {
  readonly #command: fc.Arbitrary<Command>
  readonly #longest: number

  constructor(command: fc.Arbitrary<Command>, longest: number) {
    super()
    this.#command = command
    this.#longest = longest
  }

  generate(random: fc.Random): fc.Value<readonly Command[]> {
    const length = random.nextInt(0, this.#longest)
    const commands = Array.from({ length }, () => this.#command.generate(random, undefined))
    return sequenceOf({ commands, size: Math.ceil(length / 2), end: length })
  }

  canShrinkWithoutContext(_value: unknown): _value is readonly Command[] {
    return false
  }

  shrink(_value: readonly Command[], context: unknown): fc.Stream<fc.Value<readonly Command[]>> {
    return fc.stream(this.#smaller(context as Shrinking))
  }

  *#smaller({ commands, size: firstSize, end: firstEnd }: Shrinking): Generator<fc.Value<readonly Command[]>> {
    let end = firstEnd
    for (let size = firstSize; size >= 1; size = Math.floor(size / 2)) {
      for (; end > 0; end -= size) {
        const begin = Math.max(0, end - size)
        yield sequenceOf({ commands: commands.toSpliced(begin, end - begin), size, end: begin })
      }
      end = commands.length
    }
    for (const [index, command] of commands.entries()) {
      for (const simpler of this.#command.shrink(command.value, command.context)) {
        yield sequenceOf({ commands: commands.with(index, simpler), size: 0, end: 0 })
      }
    }
  }
}

function sequenceOf(shrinking: Shrinking): fc.Value<readonly Command[]> {
  const commands = shrinking.commands.map(({ value }) => value)
  return new fc.Value<readonly Command[]>(commands, shrinking)
}

function call({ role, operation, params }: CalledOperation): fc.Arbitrary<Call> {
  return fc
    .tuple(callerOf(role, operation), fc.record(params))
    .map(([who, params]) => new Call(role, operation, who, params))
}

/** In a session of the other role, or in nobody's. */
function callInWrongSession({ role, operation, params }: CalledOperation): fc.Arbitrary<Call> {
  const stranger: Who = { role: role === 'seller' ? 'buyer' : 'seller', session: 0 }
  return fc
    .tuple(fc.constantFrom(stranger, { role, session: NOBODYS }), fc.record(params))
    .map(([who, params]) => new Call(role, operation, who, params))
}

function callWithWrongField({ role, operation, params }: CalledOperation): fc.Arbitrary<Call> {
  const fields = [...Object.keys(params), ...(isOpen(role, operation) ? [] : ['session'])]
  const wrong = [
    ...fields.flatMap((field) => NEVER_VALID.map((value) => ({ field, value }))),
    { field: UNKNOWN_FIELDS, value: 1 },
  ]
  return fc
    .tuple(callerOf(role, operation), fc.record(params), fc.constantFrom(...wrong))
    .map(([who, params, wrong]) => new Call(role, operation, who, params, wrong))
}

function callerOf(role: Role, operation: string): fc.Arbitrary<Who | undefined> {
  return isOpen(role, operation) ? fc.constant(undefined) : sessionNumber.map((session) => ({ role, session }))
}

function isOpen(role: Role, operation: string): boolean {
  return operationsByName(role).get(operation)?.open === true
}
