/**
 * One server: connects its databases, sessions, handlers, queues and listener,
 * and serves one role until it is told to stop. It keeps no state that a restart
 * would lose.
 */

import { describeRole } from '../contract/openrpc.ts'
import type { Role } from '../contract/operations.ts'
import { OLD_KEYS } from '../db/idempotency.ts'
import { keepSweeping, type OldRows } from '../db/old-rows.ts'
import { watchOutages } from '../db/outages.ts'
import { prepareDatabases } from '../db/prepare.ts'
import { findRunning, inHome } from '../db/private-mariadb.ts'
import type { PrivateUser } from '../db/private-users.ts'
import type { DatabaseName } from '../db/schema.ts'
import { Database } from '../db.ts'
import { progress, writeLine } from '../process/progress.ts'
import { asTyped, SetUpError, VERSION } from '../process/start.ts'
import { onStop, showStopping } from '../process/stop.ts'
import { createDispatcher } from './dispatch.ts'
import { HeldBytes } from './held-bytes.ts'
import { describeLimits } from './limits.ts'
import { type Listener, listen } from './listener.ts'
import { accounts } from './market/accounts.ts'
import { buyerCarts, oldCarts } from './market/carts.ts'
import { buyerCatalogue, sellerCatalogue } from './market/catalogue.ts'
import { categories } from './market/categories.ts'
import { sellerEdits } from './market/edits.ts'
import { OLD_GUESSES } from './market/guesses.ts'
import type { Handlers } from './market/handler.ts'
import { health, shareCheck } from './market/health.ts'
import { IdBlocks } from './market/ids.ts'
import { buyerPurchases } from './market/purchases.ts'
import { buyerFeedback, buyerRatings, sellerRatings } from './market/ratings.ts'
import { sellerSales } from './market/sales.ts'
import { buyerSearch } from './market/search.ts'
import { OLD_SESSIONS, Sessions } from './market/sessions.ts'
import { sellerStock } from './market/stock.ts'
import { Counts, type OnAnswer } from './observe/counts.ts'
import type { ObservingPort } from './observe/http.ts'
import { createLogger, type Logger, logProblem } from './observe/log.ts'
import type { Observed } from './observe/metrics.ts'
import { fitConnections } from './open-files.ts'
import { limitsFrom, type SettingSources, type Settings } from './settings.ts'
import { openTls } from './tls.ts'

const GRACE_MS = 8_000
const LONGEST_STOP_MS = 10_000
const REPORT_STOPPING_MS = 200
const CHECK_FRESH_MS = 1_000
const SESSION_CHECKS = { cap: 500, inFlight: 2 }

type Databases = Record<'customer' | 'product', Database>

/** Serves one role until told to stop; then answers the requests in flight and ends the process. Throws `SetUpError`. */
export async function serve(role: Role, settings: Settings, sources: SettingSources): Promise<void> {
  const { urls, settingNames } = await findDatabases(settings, sources, role)
  progress.begin('checking tables')
  await prepareDatabases(settingNames, urls, [role])
  const logger = createLogger(role, settings.logLevel)
  const log = (problem: unknown) => logProblem(logger, problem)
  process.on('uncaughtException', (error) => {
    log(error)
    process.exit(1)
  })
  const watches = watchOutages(urls, log)
  const connect = (name: DatabaseName, connections: number) =>
    new Database({ url: urls[name], connections, watch: watches[name] })
  const customer = connect('customer', settings.dbConnections)
  const product = connect('product', settings.dbConnections)
  const gathering = settings.queue === 'off' ? { cap: 1, inFlight: settings.dbConnections } : undefined
  const life = {
    idleS: settings.sessionIdleS,
    absoluteS: settings.sessionAbsoluteS,
    memoryMs: settings.sessionMemoryMs,
  }
  const httpPort = role === 'seller' ? settings.sellerHttpPort : settings.buyerHttpPort
  const counts = httpPort === undefined ? undefined : new Counts()
  const sessions = new Sessions(customer, role, life, gathering ?? SESSION_CHECKS)
  const limits = limitsFrom(fitConnections(settings))
  const held = new HeldBytes(limits.heldBytes)
  const common = {
    databases: { customer, product },
    sessions,
    document: describeRole(role, { version: VERSION, limits: describeLimits(limits, life) }),
    gathering,
    requestMs: settings.limitRequestMs,
    observe: observeCalls(counts, logger),
    watch: counts && ((queue: string) => counts.queue(queue)),
    held,
    log,
  }
  const answer =
    role === 'seller'
      ? createDispatcher({ ...common, role, handlers: sellerHandlers(common.databases, sessions) })
      : createDispatcher({ ...common, role, handlers: buyerHandlers(common.databases, sessions) })

  const { tlsCertificate, tlsKey } = settings
  const tls = tlsCertificate && tlsKey ? openTls({ tlsCertificate, tlsKey }, log) : undefined
  const port = role === 'seller' ? settings.sellerPort : settings.buyerPort
  const listener = await listen({
    host: settings.host,
    port,
    limits,
    tls,
    held,
    answer,
    onRefusal: counts && ((code) => counts.refused(code)),
    log,
  }).catch((error: NodeJS.ErrnoException) => {
    throw new SetUpError(explainListening(error, `${settings.host}:${port}`, sources.host, sources[role]))
  })
  const observing =
    counts &&
    (await startObserving(settings, sources, httpPort ?? 0, {
      role,
      counts,
      log,
      remaining: listener.remaining,
      databases: common.databases,
      isLost: { customer: () => watches.customer.isLost, product: () => watches.product.isLost },
    }))
  progress.end()
  if (observing) writeLine(process.stdout, `${role} server answers HTTP on ${settings.httpHost}:${observing.port}`)
  writeLine(process.stdout, `${role} server accepts connections on ${settings.host}:${listener.port}`)
  process.send?.({ port: listener.port })
  const onSwept = (table: string, rows: number) => counts?.swept(table, rows)
  const keepDatabaseSwept = (name: DatabaseName, olds: readonly OldRows[]) =>
    keepSweeping(urls[name], olds, onSwept, (error, meaning) =>
      meaning === 'unusable' ? watches[name].refuses(error) : log(error),
    )
  const stopSweeps = [
    keepDatabaseSwept('customer', [OLD_SESSIONS, OLD_GUESSES]),
    keepDatabaseSwept('product', role === 'buyer' ? [OLD_KEYS, oldCarts(settings.sessionAbsoluteS)] : [OLD_KEYS]),
  ]
  onStop(async () => {
    setTimeout(() => process.exit(1), LONGEST_STOP_MS).unref() // in case the database does not answer
    observing?.stopping()
    for (const stopSweep of stopSweeps) stopSweep()
    reportStopping(listener)
    await listener.drain(GRACE_MS)
    await sessions.drained()
    watches.stop()
    await Promise.all([customer, product].map((database) => database.close()))
    process.exit(0)
  })
}

/** Who is told of calls: the counts, and the log, if it wants to know each. Neither costs anything while it is off. */
function observeCalls(counts: Counts | undefined, logger: Logger): ((operation: string) => OnAnswer) | undefined {
  if (!logger.isLevelEnabled('debug')) return counts && ((operation) => counts.operation(operation))
  return (operation) => {
    const count = counts?.operation(operation)
    return (outcome, ms) => {
      count?.(outcome, ms)
      logger.debug({ operation, outcome, ms: Math.round(ms * 1_000) / 1_000 }, 'call')
    }
  }
}

/** Opens the HTTP port. Its code is loaded only for that. */
async function startObserving(
  { httpHost }: Settings,
  sources: SettingSources,
  port: number,
  { databases, log, ...observed }: Omit<Observed, 'pools'> & { databases: Databases; log(problem: unknown): void },
): Promise<ObservingPort> {
  const { createMetrics } = await import('./observe/metrics.ts')
  const { observeOverHttp } = await import('./observe/http.ts')
  const { customer, product } = databases
  const pools = { customer: () => customer.uses(), product: () => product.uses() }
  const metrics = createMetrics({ ...observed, pools })
  const askDatabases = shareCheck(databases, CHECK_FRESH_MS)
  const portSetting = observed.role === 'seller' ? sources.sellerHttpPort : sources.buyerHttpPort
  return observeOverHttp({ host: httpHost, port, metrics, askDatabases, log }).catch((error: NodeJS.ErrnoException) => {
    throw new SetUpError(explainListening(error, `${httpHost}:${port}`, sources.httpHost, portSetting))
  })
}

/**
 * Shows what is still open, at once and then repeatedly: on the terminal, or
 * through the parent, which draws for all its servers.
 */
function reportStopping(listener: Listener): void {
  const untilMs = performance.now() + GRACE_MS
  const show = () => {
    const remaining = { ...listener.remaining(), leftS: (untilMs - performance.now()) / 1_000 }
    if (process.connected)
      process.send?.({ remaining }, undefined, undefined, () => {}) // the parent may be gone
    else showStopping([remaining])
  }
  show()
  setInterval(show, REPORT_STOPPING_MS).unref()
}

function sellerHandlers(databases: Databases, sessions: Sessions): Handlers<'seller'> {
  return {
    ...health(databases, VERSION),
    ...accounts('seller', databases.customer, sessions, (id) => ({ seller_id: id })),
    ...categories,
    ...sellerRatings,
    ...sellerCatalogue(new IdBlocks(databases.product, 'item_id')),
    ...sellerStock,
    ...sellerEdits,
    ...sellerSales,
  }
}

function buyerHandlers(databases: Databases, sessions: Sessions): Handlers<'buyer'> {
  return {
    ...health(databases, VERSION),
    ...accounts('buyer', databases.customer, sessions, (id) => ({ buyer_id: id })),
    ...categories,
    ...buyerRatings(databases.customer),
    ...buyerCatalogue,
    ...buyerSearch,
    ...buyerCarts,
    ...buyerPurchases(new IdBlocks(databases.product, 'purchase_id')),
    ...buyerFeedback,
  }
}

/** The databases, for a user if they are private, and the names of the settings that say where they are. */
export async function findDatabases(
  { customerDbUrl, productDbUrl, home }: Settings,
  sources: SettingSources,
  user: PrivateUser,
) {
  if (customerDbUrl !== undefined && productDbUrl !== undefined)
    return { urls: { customer: customerDbUrl, product: productDbUrl }, settingNames: sources }
  const url = await inHome(sources.home, () => findRunning(home))
  if (url === undefined) {
    throw new SetUpError(
      `no database: nothing runs in ${home}; start the marketplace with "${asTyped('souk-server')}", ` +
        'or set SOUK_CUSTOMER_DB_URL and SOUK_PRODUCT_DB_URL',
    )
  }
  const urls = { customer: url('souk_customer', user), product: url('souk_product', user) }
  return { urls, settingNames: { customer: sources.home, product: sources.home } }
}

/** Why the server can't listen at an address. Host and port are named by the flags or variables that gave them. */
function explainListening(
  { code, message }: NodeJS.ErrnoException,
  address: string,
  host: string,
  port: string,
): string {
  switch (code) {
    case 'EADDRINUSE':
      return `${port}: something else listens on ${address}`
    case 'EACCES':
      return `${port}: no right to listen on ${address}`
    case 'EADDRNOTAVAIL':
      return `${host}: this machine has no such address: ${address}`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host}: unknown host: ${address}`
    default:
      return `${host}: can't listen on ${address}: ${message}`
  }
}
