/** Seeded random numbers, and draws from them: the same seed gives the same workload everywhere. */

/** Uniform in [0, 1). */
export type Random = () => number

/** Mulberry32, by Tommy Ettinger. */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A whole number from 0 to `end` - 1. */
export function below(end: number, random: Random): number {
  return Math.floor(random() * end)
}

export function oneOf<T>(things: readonly T[], random: Random): T {
  return things[below(things.length, random)] as T
}

/** `count` of the things, or all if there are fewer, none twice, in random order. */
export function someOf<T>(things: readonly T[], count: number, random: Random): T[] {
  const indices = new Set<number>()
  while (indices.size < Math.min(count, things.length)) indices.add(below(things.length, random))
  return [...indices].map((index) => things[index] as T)
}

/** Draws names in proportion to their shares, which are whole numbers. */
export function weighted<N extends string>(shares: Readonly<Record<N, number>>): (random: Random) => N {
  const names = (Object.entries(shares) as [N, number][]).flatMap(([name, share]) => Array<N>(share).fill(name))
  return (random) => oneOf(names, random)
}

/** Draws ranks 0 to `count` - 1 by Zipf's law, inverting its cumulative distribution. */
export function zipf(count: number, exponent: number): (random: Random) => number {
  const cumulative = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank += 1) cumulative[rank] = sum += (rank + 1) ** -exponent
  return (random) => {
    const drawn = random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((cumulative[middle] as number) <= drawn) low = middle + 1
      else high = middle
    }
    return low
  }
}
