/** Money: cents in the contract, amounts like 249.90 for people. */

/** An amount as a person types it, in exact cents; undefined unless it is digits with at most two decimals. */
export function parseAmount(text: string): number | undefined {
  const [, whole, decimals = ''] = /^(\d{1,14})(?:\.(\d{1,2}))?$/.exec(text) ?? []
  const cents = Number(whole) * 100 + Number(decimals.padEnd(2, '0'))
  return Number.isSafeInteger(cents) ? cents : undefined
}

export function formatAmount(cents: number): string {
  return `${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, '0')}`
}

/** What the lines of a cart cost together, in cents. */
export function sumPrices(lines: readonly { quantity: number; price_cents: number }[]): number {
  return lines.reduce((sum, { quantity, price_cents }) => sum + quantity * price_cents, 0)
}
