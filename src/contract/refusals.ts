/**
 * Refusals: why a request was not done. One table of the stable codes, with
 * number, meaning and remedy; and how a refusal travels: as an answer among
 * others, or as an exception where no answer can be returned.
 */

export interface RefusalKind {
  /** `error.code`. It never changes. */
  number: number
  meaning: string
  /** What the client does about it. */
  remedy: string
  /** The fields that `error.data` may have beside `code`. */
  details?: Readonly<Record<string, string>>
}

/** By `error.data.code`. New codes may come. */
export const REFUSALS = {
  parse_error: {
    number: -32700,
    meaning: 'the line is not UTF-8, or not JSON',
    remedy: 'Mend the client: one JSON text on each line.',
  },
  invalid_request: {
    number: -32600,
    meaning: 'the line is JSON and no request, or it is too long',
    remedy: 'Mend the client. After a line that is too long the connection is closed.',
  },
  unknown_method: {
    number: -32601,
    meaning: 'the role has no such operation',
    remedy: 'Mend the name, or connect to the server of the other role.',
  },
  invalid_params: {
    number: -32602,
    meaning: 'parameters are missing, wrong or unknown',
    remedy: 'Mend the parameters that are named.',
    details: { fields: 'what is wrong, by parameter' },
  },
  internal: {
    number: -32603,
    meaning: 'an error of the server, which is in its log',
    remedy: 'Tell whoever runs the server. Sent again with the same key, a call still has one effect.',
  },
  unauthenticated: {
    number: -32001,
    meaning: 'the session has ended or never was; of login: wrong user name or password',
    remedy: 'Log in, and send the request again with the new session.',
  },
  not_found: {
    number: -32002,
    meaning: 'there is no such thing, or it belongs to somebody else',
    remedy: 'Look for its number: list, or search.',
  },
  username_taken: {
    number: -32003,
    meaning: 'an account of the role has this user name and another password',
    remedy: 'Choose another user name, or log in.',
  },
  out_of_stock: {
    number: -32004,
    meaning: 'fewer units are on sale than are wanted; nothing was changed',
    remedy: 'Ask for no more than are available.',
    details: {
      item_id: 'the first item that lacks units',
      requested: 'its units wanted',
      available: 'its units on sale',
      items: 'all items that lack units, each with these three fields',
    },
  },
  not_in_cart: {
    number: -32005,
    meaning: 'the cart has fewer units of the item',
    remedy: 'Take out no more than there are.',
    details: { item_id: 'the item', quantity: 'its units in the cart' },
  },
  cart_empty: {
    number: -32006,
    meaning: 'the cart is empty',
    remedy: 'Put something into it.',
  },
  not_purchased: {
    number: -32007,
    meaning: 'the buyer has not purchased the item',
    remedy: 'Purchase it first.',
  },
  limit_exceeded: {
    number: -32008,
    meaning: 'a cart, the units of an item, or the replies to an array would grow too large',
    remedy: 'Ask for less; the message has the limit.',
  },
  idempotency_mismatch: {
    number: -32009,
    meaning: 'the key was used for another call',
    remedy: 'Take a new key for each new call.',
  },
  price_changed: {
    number: -32010,
    meaning: 'the cart costs another total than the one given; nothing was bought',
    remedy: 'Show the new total, and send it with the purchase if the buyer agrees.',
    details: { lines: 'the cart at current prices', total_cents: 'its total now' },
  },
  overloaded: {
    number: -32011,
    meaning: 'too many requests or connections are waiting; the call was not carried out',
    remedy: 'Send it again after a pause, which grows each time.',
    details: { retry_after_ms: 'the shortest pause' },
  },
  timeout: {
    number: -32012,
    meaning: 'the request was not done in time',
    remedy: 'Send it again: with the outcome `unknown`, a keyed call with its key; look first, if it had none.',
    details: { outcome: '`none`: it was not carried out; `unknown`: perhaps it was' },
  },
  shutting_down: {
    number: -32013,
    meaning: 'the server is stopping; the call was not carried out',
    remedy: 'Connect again, to any server of the role, and send it again.',
  },
  wrong_password: {
    number: -32014,
    meaning: 'the current password, given to change it, is wrong; the session goes on',
    remedy: 'Ask for the current password again.',
  },
  too_many_attempts: {
    number: -32015,
    meaning: 'too many passwords were wrong; this one was not looked at',
    remedy: 'Wait. Whoever logs in over another connection, or from a network of earlier logins, may not have to.',
    details: { retry_after_ms: 'the shortest pause' },
  },
  unavailable: {
    number: -32016,
    meaning: "the database can't do it now, such as a write while its disk is full; the call was not carried out",
    remedy: 'Send it again after a pause, which grows each time; if that goes on, tell whoever runs the server.',
    details: { retry_after_ms: 'the shortest pause' },
  },
} as const satisfies Record<string, RefusalKind>

export type ErrorCode = keyof typeof REFUSALS

export const ERROR_CODES = Object.keys(REFUSALS) as ErrorCode[]

/** The values of `error.data.code`, each with its `error.code`. */
export const ERROR_NUMBERS = Object.fromEntries(ERROR_CODES.map((code) => [code, REFUSALS[code].number])) as {
  readonly [C in ErrorCode]: (typeof REFUSALS)[C]['number']
}

/** What any request may be answered, whatever its operation. */
export const COMMON_REFUSALS = [
  'invalid_params',
  'internal',
  'overloaded',
  'timeout',
  'unavailable',
  'shutting_down',
] as const

/** Why a request was not done. `details` are further fields of `error.data`. */
export interface Refusal {
  code: ErrorCode
  message: string
  details?: object
}

/** The answer to one call. A refusal is an answer too, so that in a batch it can't fail its neighbours. */
export type Answer<R> = { ok: R } | { refused: Refusal }

/** A refusal as an exception, for code that can return no answer. */
export class Refused extends Error {
  readonly refusal: Refusal
  constructor(refusal: Refusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}

/** A request that was not answered in time. `none`: it was not carried out; `unknown`: perhaps it was. */
export function timedOut(outcome: 'none' | 'unknown'): Refusal {
  return { code: 'timeout', message: 'not done in time', details: { outcome } }
}

/** The database refuses what the call needs; the call was not carried out. */
export function unavailable(): Refusal {
  return { code: 'unavailable', message: "the database can't do this now", details: { retry_after_ms: 1_000 } }
}
