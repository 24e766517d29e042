/** Health: whether the server answers and, if that is asked, whether its databases do. */

import type { Params, Result, Role } from '../../contract/operations.ts'
import type { Database } from '../../db.ts'
import type { AnyHandler } from './handler.ts'

type Databases = Readonly<Record<'customer' | 'product', Database>>
export type Health = Record<keyof Databases, boolean>

/** A database that takes longer does not answer. */
const LONGEST_CHECK_MS = 1_000

/** The operation `ping`. */
export function health(databases: Databases, version: string) {
  const check = shareCheck(databases)

  const ping: AnyHandler<Params<Role, 'ping'>, Result<Role, 'ping'>> = {
    answer({ params }) {
      if (!params.databases) return { ok: { ok: true, version } }
      return check().then((answering) => ({ ok: { ok: true, version, databases: answering } }))
    },
  }
  return { ping }
}

/** Asks whether the databases answer. Callers share a check, as long as it takes and for `freshMs` more. */
export function shareCheck(databases: Databases, freshMs = 0): () => Promise<Health> {
  let checking: Promise<Health> | undefined
  const forget = () => {
    checking = undefined
  }
  return () => {
    checking ??= askAll(databases).finally(() => (freshMs > 0 ? setTimeout(forget, freshMs).unref() : forget()))
    return checking
  }
}

async function askAll({ customer, product }: Databases): Promise<Health> {
  const [customerAnswers, productAnswers] = await Promise.all([answers(customer), answers(product)])
  return { customer: customerAnswers, product: productAnswers }
}

async function answers(database: Database): Promise<boolean> {
  try {
    await database.read((lane) => lane.rows('SELECT 1'), performance.now() + LONGEST_CHECK_MS)
    return true
  } catch {
    return false
  }
}
