/** Programmer errors. An assertion that fails is a bug in this repository, never bad input. */

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) {
    throw new Error(`Assertion failed: ${message}`);
  }
}

/** Marks the branch that an exhaustive switch never reaches. */
export function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`);
}
