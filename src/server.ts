#!/usr/bin/env node
/**
 * souk-server: one event loop that serves sellers or buyers; or, without a
 * role, the whole marketplace.
 */

import { existsSync, readFileSync } from 'node:fs'
import { cac } from 'cac'
import { ROLES, type Role } from './contract/operations.ts'
import { findRunning, SetUpError } from './db/private.ts'
import { applySchema } from './db/schema.ts'
import { Database } from './db.ts'
import { progress, writeLine } from './process/progress.ts'
import { fail, loadDotEnv, VERSION } from './process/start.ts'
import { onStop, showStopping } from './process/stop.ts'
import { createDispatcher } from './server/dispatch.ts'
import { type Listener, listen } from './server/listener.ts'
import { accounts } from './server/market/accounts.ts'
import { buyerCarts, forgetOldCarts } from './server/market/carts.ts'
import { buyerCatalogue, sellerCatalogue } from './server/market/catalogue.ts'
import type { Handlers } from './server/market/handler.ts'
import { IdBlocks } from './server/market/ids.ts'
import { buyerPurchases } from './server/market/purchases.ts'
import { buyerFeedback, buyerRatings, sellerRatings } from './server/market/ratings.ts'
import { buyerSearch } from './server/market/search.ts'
import { Sessions } from './server/market/sessions.ts'
import { sellerInventory } from './server/market/stock.ts'
import { describeSettings, limitsFrom, readSettings, SETTINGS, type Settings } from './server/settings.ts'
import { runMarketplace } from './server/supervisor.ts'

/** Of the database's connections, and of files. */
const OWN_DESCRIPTORS = 256
const GRACE_MS = 8_000
const LONGEST_STOP_MS = 10_000
const TELL_STOPPING_MS = 200
const SWEEP_MS = 10_000
const SESSION_CHECKS = { cap: 500, inFlight: 2 }

async function main(): Promise<void> {
  progress.end() // of starting
  loadDotEnv()
  const { role, flags } = readCommandLine()
  const settings = readSettings(flags, process.env)
  if (Array.isArray(settings)) fail(settings, 2)
  if (flags.showSettings) return void process.stdout.write(`${describeSettings(settings)}\n`)
  try {
    if (role === undefined) await runMarketplace(settings)
    else await serve(role, settings)
  } catch (error) {
    if (error instanceof SetUpError) fail([error.message], 2)
    throw error
  }
}

function readCommandLine(): { role: Role | undefined; flags: Record<string, unknown> } {
  const program = cac('souk-server')
  const command = program.command('[role]', 'Serve sellers, or buyers; without a role the whole marketplace')
  for (const { flag, about, fallback } of SETTINGS) {
    command.option(`--${flag} <value>`, fallback === undefined ? about : `${about} (${fallback})`)
  }
  command.option('--show-settings', 'Print what all this comes to, and end')
  command.example('souk-server').example('souk-server buyer --buyer-port 7202')
  program.help().version(VERSION)
  const { args, options } = program.parse(process.argv, { run: false })
  if (options.help || options.version) process.exit(0)
  try {
    command.checkUnknownOptions()
    command.checkOptionValue()
  } catch (error) {
    fail([(error as Error).message], 2)
  }
  const [role, ...others] = args
  if (others.length > 0 || (role !== undefined && !ROLES.includes(role as Role))) {
    fail([`unknown role "${args.join(' ')}": souk-server seller, souk-server buyer, or souk-server alone`], 2)
  }
  return { role: role as Role | undefined, flags: options }
}

/** Serves one role until told to stop, then answers what is in flight. */
async function serve(role: Role, settings: Settings): Promise<void> {
  const urls = await databaseUrls(settings)
  progress.begin('creating tables')
  await Promise.all([applySchema(urls.customer, 'customer'), applySchema(urls.product, 'product')])
  const customer = new Database({ url: urls.customer, connections: settings.dbConnections })
  const product = new Database({ url: urls.product, connections: settings.dbConnections })
  const ids = new Database({ url: urls.product, connections: 1 })
  const gathering = settings.queue === 'off' ? { cap: 1, inFlight: settings.dbConnections } : undefined
  const sessions = new Sessions(
    customer,
    role,
    { idleS: settings.sessionIdleS, absoluteS: settings.sessionAbsoluteS, memoryMs: settings.sessionMemoryMs },
    gathering ?? SESSION_CHECKS,
  )
  const common = {
    ...{ databases: { customer, product }, sessions, gathering, requestMs: settings.limitRequestMs },
    log: (problem: unknown) => writeLine(process.stderr, `${new Date().toISOString()} ${String(problem)}`),
  }
  const answer =
    role === 'seller'
      ? createDispatcher({ ...common, role, handlers: sellerHandlers(customer, ids, sessions) })
      : createDispatcher({ ...common, role, handlers: buyerHandlers(customer, ids, sessions) })

  const limits = limitsFrom(settings)
  const port = role === 'seller' ? settings.sellerPort : settings.buyerPort
  const listener = await listen({
    host: settings.host,
    port,
    limits: { ...limits, connections: connectionsPossible(limits.connections) },
    answer,
    log: common.log,
  }).catch((error: NodeJS.ErrnoException) => {
    throw new SetUpError(`the ${role} server can't listen on ${settings.host}:${port}: ${reasonOf(error)}`)
  })
  progress.end()
  writeLine(process.stdout, `${role} server accepts connections on ${settings.host}:${listener.port}`)
  process.send?.({ port: listener.port })
  const sweep = setInterval(() => {
    const deadlineMs = performance.now() + SWEEP_MS
    product.forgetOldKeys(deadlineMs).catch(common.log) // the next sweep tries again
    forgetOldCarts(product, settings.sessionAbsoluteS, deadlineMs).catch(common.log)
  }, SWEEP_MS)
  onStop(async () => {
    setTimeout(() => process.exit(1), LONGEST_STOP_MS).unref() // a database that does not answer holds nobody up
    clearInterval(sweep)
    tellStopping(listener)
    await listener.drain(GRACE_MS)
    await sessions.drained()
    await Promise.all([customer, product, ids].map((database) => database.close()))
    process.exit(0)
  })
}

/** Tells the parent, or the one at the terminal, what is waited for: at once, and again and again. */
function tellStopping(listener: Listener): void {
  const untilMs = performance.now() + GRACE_MS
  const tell = () => {
    const remaining = { ...listener.remaining(), leftS: (untilMs - performance.now()) / 1_000 }
    if (process.connected)
      process.send?.({ remaining }, undefined, undefined, () => {}) // a parent may be gone
    else showStopping([remaining])
  }
  tell()
  setInterval(tell, TELL_STOPPING_MS).unref()
}

function sellerHandlers(customer: Database, ids: Database, sessions: Sessions): Handlers<'seller'> {
  return {
    ...accounts('seller', customer, sessions, (id) => ({ seller_id: id }), VERSION),
    ...sellerRatings,
    ...sellerCatalogue(new IdBlocks(ids, 'item')),
    ...sellerInventory,
  }
}

function buyerHandlers(customer: Database, ids: Database, sessions: Sessions): Handlers<'buyer'> {
  return {
    ...accounts('buyer', customer, sessions, (id) => ({ buyer_id: id }), VERSION),
    ...buyerRatings(customer),
    ...buyerCatalogue,
    ...buyerSearch,
    ...buyerCarts,
    ...buyerPurchases(new IdBlocks(ids, 'purchase')),
    ...buyerFeedback,
  }
}

async function databaseUrls({ customerDbUrl, productDbUrl, home }: Settings) {
  if (customerDbUrl !== undefined && productDbUrl !== undefined)
    return { customer: customerDbUrl, product: productDbUrl }
  const url = await findRunning(home)
  if (url === undefined) {
    throw new SetUpError(
      `no database: nothing runs in ${home}; start the marketplace with "souk-server", ` +
        'or set SOUK_CUSTOMER_DB_URL and SOUK_PRODUCT_DB_URL',
    )
  }
  return { customer: url('souk_customer'), product: url('souk_product') }
}

/** As many as wanted, or as the system allows open files, less what the server needs for itself; says so then. */
function connectionsPossible(wanted: number): number {
  const limits = existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : ''
  const openFiles = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
  const possible = Math.max(1, openFiles - OWN_DESCRIPTORS)
  if (possible >= wanted) return wanted
  writeLine(process.stderr, `souk: at most ${possible} connections, for ${openFiles} files may be open (ulimit -n)`)
  return possible
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return code === 'EADDRINUSE' ? 'something else listens there' : message
}

await main()
