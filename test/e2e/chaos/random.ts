/** Random choices that a seed repeats. */
export interface Random {
  /** From `min` up to, not including, `max`. */
  between(min: number, max: number): number;
  chance(probability: number): boolean;
  /** @param items at least one. */
  pick<T>(items: readonly T[]): T;
}

/** Mulberry32: 32 bits of state, good enough to choose what to kill. */
export function createRandom(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    between: (min, max) => min + next() * (max - min),
    chance: (probability) => next() < probability,
    pick: (items) => {
      const item = items[Math.floor(next() * items.length)];
      if (item === undefined) {
        throw new Error("Nothing to pick from");
      }
      return item;
    },
  };
}
