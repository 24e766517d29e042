/** Health: whether the server answers and, if that is asked, whether its databases do. */

import type { Params, Result, Role } from '../../contract/operations.ts'
import type { Database } from '../../db.ts'
import type { AnyHandler } from './handler.ts'

type Databases = Readonly<Record<'customer' | 'product', Database>>
type Health = Record<keyof Databases, boolean>

/** A database that takes longer does not answer. */
const LONGEST_CHECK_MS = 1_000

/** The operation `ping`. Callers who ask about the databases together share a check. */
export function health(databases: Databases, version: string) {
  let checking: Promise<Health> | undefined

  function check(): Promise<Health> {
    checking ??= askAll(databases).finally(() => {
      checking = undefined
    })
    return checking
  }

  const ping: AnyHandler<Params<Role, 'ping'>, Result<Role, 'ping'>> = {
    answer({ params }) {
      if (!params.databases) return { ok: { ok: true, version } }
      return check().then((answering) => ({ ok: { ok: true, version, databases: answering } }))
    },
  }
  return { ping }
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
