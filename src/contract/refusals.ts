/**
 * Refusals: why a request was not done. The stable codes, their JSON-RPC
 * numbers, and how a refusal travels: as an answer among others, or as an
 * exception where no answer can be returned.
 */

/** The values of `error.data.code`, each with its `error.code`. Numbers never change; new codes may come. */
export const ERROR_NUMBERS = {
  parse_error: -32700,
  invalid_request: -32600,
  unknown_method: -32601,
  invalid_params: -32602,
  internal: -32603,
  unauthenticated: -32001,
  not_found: -32002,
  username_taken: -32003,
  out_of_stock: -32004,
  not_in_cart: -32005,
  cart_empty: -32006,
  not_purchased: -32007,
  limit_exceeded: -32008,
  idempotency_mismatch: -32009,
  price_changed: -32010,
  overloaded: -32011,
  timeout: -32012,
  shutting_down: -32013,
} as const

export type ErrorCode = keyof typeof ERROR_NUMBERS

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
