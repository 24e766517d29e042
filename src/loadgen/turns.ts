/**
 * Turns: the order in which things that are compared are measured. Each round
 * measures all of them, so that whatever else the machine does meets them alike.
 */

/** A B C, C B A, …: none is always the first. Rounds count from 0. */
export async function takeTurns<T>(
  rounds: number,
  things: readonly T[],
  measure: (thing: T, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    for (const thing of round % 2 === 0 ? things : things.toReversed()) await measure(thing, round)
  }
}
