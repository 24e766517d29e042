/**
 * Refusals: why a request was not done. The stable codes, their JSON-RPC
 * numbers, and how a refusal travels: as an answer among others, or as an
 * exception where no answer can be returned.
 */

/** What `error.data.code` may say, each with its `error.code`. Never renumbered, only added to. */
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

/** What became of one request: an answer either way, so that in a batch it can't fail a neighbour. */
export type Answer<R> = { ok: R } | { refused: Refusal }

/** A refusal on its way up, from where no answer can be returned. */
export class Refused extends Error {
  readonly refusal: Refusal
  constructor(refusal: Refusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}
