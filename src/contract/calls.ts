/**
 * Parameters and results of all operations, as types alone: what a client sees
 * that imports souk. In the package they are written out, see scripts/types.mjs.
 */

import type { Input, Name, Result, Role } from './operations.ts'

export type Calls = {
  [R in Role]: { [N in Name<R>]: { params: Input<R, N>; result: Result<R, N> } }
}
