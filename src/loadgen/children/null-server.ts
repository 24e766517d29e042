#!/usr/bin/env node
/**
 * The null server: souk's wire and nothing behind it. It answers each operation
 * at once with a canned result, given as JSON, by operation, in
 * SOUK_NULL_RESULTS. The throughput that a load generator reaches against it is
 * the load generator's ceiling on this machine.
 */

import { encodeRefusal, encodeResult, type Request } from '../../contract/protocol.ts'
import { onStop } from '../../process/stop.ts'
import { DEFAULT_LIMITS } from '../../server/limits.ts'
import { listen } from '../../server/listener.ts'

const GRACE_MS = 1_000

const canned: Record<string, unknown> = JSON.parse(process.env.SOUK_NULL_RESULTS ?? '{}')
const results = new Map(Object.entries(canned).map(([operation, result]) => [operation, JSON.stringify(result)]))

function answer({ id = null, method }: Request) {
  const result = results.get(method)
  if (result !== undefined) return { weight: 1, reply: encodeResult(id, result) }
  return { weight: 1, reply: encodeRefusal(id, { code: 'unknown_method', message: 'no canned result for it' }) }
}

const listener = await listen({ host: '127.0.0.1', port: 0, limits: DEFAULT_LIMITS, answer, log: console.error })
process.stdout.write(`null server accepts connections on 127.0.0.1:${listener.port}\n`)
onStop(async () => {
  await listener.drain(GRACE_MS)
  process.exit(0)
})
