/**
 * The calls of random sequences. There are few users, items, units, keywords
 * and keys, so that calls affect each other. The weights are chosen so that
 * purchases happen and every possible refusal does too.
 */

import fc from 'fast-check'
import { type Name, operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'
import type { ErrorCode } from '../../src/contract/refusals.ts'
import { ABSENT, Call, NextPage, RepeatedCall, type Servers, type SessionNumber } from './model-calls.ts'
import { FIRST_USERS, PASSWORD, type SequenceContext } from './sequence-context.ts'

const weighted = <T>(...values: [T, number][]): fc.Arbitrary<T> =>
  fc.oneof(...values.map(([value, weight]) => ({ arbitrary: fc.constant(value), weight })))
/** Absent in `absent` of `absent + 1` cases. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>, absent: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: absent }, { arbitrary, weight: 1 })

/** Rare numbers are first used late in a sequence: the carts of those sessions begin as copies of saved ones. */
const sessionNumber = fc.oneof(
  { arbitrary: weighted([0, 9], [1, 3], [2, 1], [3, 3]), weight: 8 },
  { arbitrary: fc.nat(15), weight: 1 },
)
const itemId = weighted([0, 6], [1, 5], [2, 3], [3, 2], [4, 1], [5, 1], [6, 1], [7, 1], [ABSENT, 1])
const words = (most: number) => fc.array(fc.constantFrom('red', 'Red', 'blue', 'é'), { maxLength: most })
const category = weighted([0, 3], [1, 1])
const price = weighted([0, 1], [1, 1], [999, 2], [1_000_000_000, 1])
/** Of carts with few units. */
const total = weighted([0, 1], [1, 1], [2, 1], [999, 1], [1_998, 1])
const pageLimit = weighted([1, 3], [2, 2], [3, 1], [100, 1])
const limit = maybe(pageLimit, 1)
const cartUnits = weighted([1, 8], [2, 4], [3, 2], [10_000, 2])
const key = maybe(
  fc.nat(9).map((number) => `key ${number}`),
  2,
)
const name = fc.constantFrom('Lamp', 'Cafe\u0301', "'; --", '灯')
const username = fc.constantFrom(...FIRST_USERS, ...FIRST_USERS, 'new')
const password = weighted([PASSWORD, 3], ['wrong horse', 2], ['other horse', 1])
/** Values that no field of any operation allows. */
const NEVER_VALID = [null, {}, -0.5, '']

interface CallOptions {
  /** How frequent the call is, relative to the others. */
  weight: number
  /** All parameters but the session. */
  params: Record<string, fc.Arbitrary<unknown>>
  /** Possible refusals beyond those of every such operation. */
  refusals?: readonly ErrorCode[]
}

const CALLS: { [R in Role]: Record<Name<R>, CallOptions> } = {
  seller: {
    create_account: { weight: 2, params: { username, password, name }, refusals: ['username_taken'] },
    login: { weight: 2, params: { username, password }, refusals: ['unauthenticated'] },
    logout: { weight: 3, params: {} },
    change_password: { weight: 2, params: { password, new_password: password }, refusals: ['wrong_password'] },
    whoami: { weight: 4, params: {} },
    list_categories: { weight: 20, params: { limit } },
    ping: { weight: 4, params: {} },
    get_seller_rating: { weight: 20, params: {} },
    register_item_for_sale: {
      weight: 70,
      params: {
        name,
        category,
        keywords: words(4),
        condition: fc.constantFrom('new', 'used'),
        price_cents: price,
        quantity: weighted([1, 2], [3, 3], [9, 3], [1_000_000, 1]),
        idempotency_key: key,
      },
    },
    change_item_price: { weight: 40, params: { item_id: itemId, price_cents: price }, refusals: ['not_found'] },
    update_units_for_sale: {
      weight: 70,
      params: {
        item_id: itemId,
        change: weighted([-3, 3], [-1, 3], [0, 1], [1, 3], [3, 5], [1_000_000, 1], [-1_000_000, 1]),
        idempotency_key: key,
      },
      refusals: ['not_found', 'out_of_stock', 'limit_exceeded'],
    },
    edit_item: {
      weight: 40,
      params: {
        item_id: itemId,
        name: maybe(name, 1),
        category: maybe(category, 1),
        keywords: maybe(words(4), 1),
        condition: fc.constantFrom('new', 'used'),
      },
      refusals: ['not_found'],
    },
    display_items_for_sale: { weight: 40, params: { limit, include_sold_out: maybe(fc.boolean(), 2) } },
    get_seller_sales: { weight: 40, params: { limit } },
  },
  buyer: {
    create_account: { weight: 2, params: { username, password, name }, refusals: ['username_taken'] },
    login: { weight: 2, params: { username, password }, refusals: ['unauthenticated'] },
    logout: { weight: 3, params: {} },
    change_password: { weight: 2, params: { password, new_password: password }, refusals: ['wrong_password'] },
    whoami: { weight: 4, params: {} },
    list_categories: { weight: 20, params: { limit } },
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
      params: { item_id: itemId, quantity: weighted([1, 4], [2, 1], [3, 1]), idempotency_key: key },
      refusals: ['not_in_cart'],
    },
    save_cart: { weight: 40, params: {} },
    clear_cart: { weight: 10, params: {} },
    display_cart: { weight: 50, params: {} },
    make_purchase: {
      weight: 80,
      params: { total_cents: maybe(total, 3), idempotency_key: key },
      refusals: ['cart_empty', 'out_of_stock', 'price_changed'],
    },
    get_buyer_purchases: { weight: 40, params: { limit } },
    provide_feedback: {
      weight: 70,
      params: { item_id: itemId, vote: fc.constantFrom('up', 'down') },
      refusals: ['not_found', 'not_purchased'],
    },
    get_seller_rating: {
      weight: 30,
      params: { seller_id: weighted([0, 3], [1, 3], [2, 1], [ABSENT, 1]) },
      refusals: ['not_found'],
    },
  },
}
const NEXT_PAGE_WEIGHTS = {
  search_items: 60,
  display_items_for_sale: 30,
  get_seller_sales: 30,
  get_buyer_purchases: 30,
  list_categories: 10,
}
const REPEATED_CALL_WEIGHT = 80
const WRONG_FIELD_WEIGHT = 40
const WRONG_SESSION_WEIGHT = 40

interface OperationCall extends CallOptions {
  role: Role
  operation: string
}

const everyOperation = ROLES.flatMap((role) =>
  Object.entries<CallOptions>(CALLS[role]).map(
    ([operation, options]): OperationCall => ({
      role,
      operation,
      ...options,
    }),
  ),
)

type Command = fc.AsyncCommand<SequenceContext, Servers>

/** Sequences of at most `longest` commands. */
export function sequences(longest: number): fc.Arbitrary<readonly Command[]> {
  const guarded = everyOperation.filter(({ role, operation }) => !isOpen(role, operation))
  const command = fc.oneof<fc.MaybeWeightedArbitrary<Command>[]>(
    ...everyOperation.map((operation) => ({ arbitrary: call(operation), weight: operation.weight })),
    ...Object.entries(NEXT_PAGE_WEIGHTS).map(([operation, weight]) => ({
      arbitrary: fc
        .tuple(fc.nat(3), fc.nat(2), pageLimit)
        .map(([back, session, limit]) => new NextPage(operation, back, session, limit)),
      weight,
    })),
    {
      arbitrary: fc.tuple(fc.nat(8), fc.nat(2)).map(([back, session]) => new RepeatedCall(back, session)),
      weight: REPEATED_CALL_WEIGHT,
    },
    { arbitrary: fc.oneof(...guarded.map(callInWrongSession)), weight: WRONG_SESSION_WEIGHT },
    { arbitrary: fc.oneof(...everyOperation.map(callWithWrongField)), weight: WRONG_FIELD_WEIGHT },
  )
  return new Sequences(command, longest)
}

/** Every kind of answer that an operation can get. A test proves nothing about those that it does not reach. */
export function possibleAnswers(): string[] {
  return everyOperation.flatMap(({ role, operation, refusals = [] }) => {
    const { open, keyed } = operationsByName(role).get(operation) ?? {}
    const codes = ['ok', 'invalid_params', ...refusals]
    if (!open) codes.push('unauthenticated')
    if (keyed) codes.push('ok, repeated', 'idempotency_mismatch')
    if (operation in NEXT_PAGE_WEIGHTS) codes.push('ok, from a cursor')
    return codes.map((code) => `${role} ${operation}: ${code}`)
  })
}

/** The progress of shrinking: pieces of `size` commands have been left out in turn, from the last one down to `end`. */
interface Shrinking {
  commands: readonly fc.Value<Command>[]
  size: number
  end: number
}

/**
 * Like fc.commands, for sequences that take seconds to run. Shrinking leaves out
 * halves, then quarters, and so on down to single commands, and then simplifies
 * the commands that remain. fc.commands tries all pairs of a beginning and an end.
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
    return toSequence({ commands, size: Math.ceil(length / 2), end: length })
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
        yield toSequence({ commands: commands.toSpliced(begin, end - begin), size, end: begin })
      }
      end = commands.length
    }
    for (const [index, command] of commands.entries()) {
      for (const simpler of this.#command.shrink(command.value, command.context)) {
        yield toSequence({ commands: commands.with(index, simpler), size: 0, end: 0 })
      }
    }
  }
}

function toSequence(shrinking: Shrinking): fc.Value<readonly Command[]> {
  const commands = shrinking.commands.map(({ value }) => value)
  return new fc.Value<readonly Command[]>(commands, shrinking)
}

function call({ role, operation, params }: OperationCall): fc.Arbitrary<Call> {
  return fc
    .tuple(sessionFor(role, operation), fc.record(params))
    .map(([session, params]) => new Call(role, operation, session, params))
}

/** A call in a session of the other role, or in one that does not exist. */
function callInWrongSession({ role, operation, params }: OperationCall): fc.Arbitrary<Call> {
  const stranger: SessionNumber = { role: role === 'seller' ? 'buyer' : 'seller', session: 0 }
  return fc
    .tuple(fc.constantFrom(stranger, { role, session: ABSENT }), fc.record(params))
    .map(([session, params]) => new Call(role, operation, session, params))
}

function callWithWrongField({ role, operation, params }: OperationCall): fc.Arbitrary<Call> {
  const fields = [...Object.keys(params), ...(isOpen(role, operation) ? [] : ['session'])]
  const wrong = [
    ...fields.flatMap((field) => NEVER_VALID.map((value) => ({ field, value }))),
    { field: 'seller_number', value: 1 },
  ]
  return fc
    .tuple(sessionFor(role, operation), fc.record(params), fc.constantFrom(...wrong))
    .map(([session, params, wrong]) => new Call(role, operation, session, params, wrong))
}

function sessionFor(role: Role, operation: string): fc.Arbitrary<SessionNumber | undefined> {
  return isOpen(role, operation) ? fc.constant(undefined) : sessionNumber.map((session) => ({ role, session }))
}

function isOpen(role: Role, operation: string): boolean {
  return operationsByName(role).get(operation)?.open === true
}
