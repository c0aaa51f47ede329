/**
 * Ids: 64-bit integers in SQL, decimal strings everywhere else, because JSON numbers lose digits.
 *
 * Layout: `(ms since 2024-01-01T00:00Z) << 22 | node (10 bits) << 12 | counter (12 bits)`, so ids
 * are ordered by time and 4,096 can be made per millisecond and node.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type ExecutionId = Branded<"ExecutionId">;
export type CommandId = Branded<"CommandId">;
export type CatalogId = Branded<"CatalogId">;
export type TimerId = Branded<"TimerId">;
/** Chosen by the worker process at start; unique per process life. */
export type WorkerId = Branded<"WorkerId">;

const EPOCH_MS = Date.UTC(2024, 0, 1);
const NODE_MAX = 1023;
const COUNTER_MAX = 4095;

/** Makes ids of any kind: `newId<ExecutionId>()`. */
export type NewId = <Id extends string>() => Id;

/**
 * Ids of one node. Never goes back: when the clock does, or a millisecond is used up, it runs ahead.
 *
 * @param node 0…1023, leased from the database at start so that two processes never share one.
 */
export function createIdGenerator(node: number, now: () => number = Date.now): NewId {
  if (!Number.isInteger(node) || node < 0 || node > NODE_MAX) {
    throw new RangeError(`Cannot make ids for node ${node}: must be 0 to ${NODE_MAX}`);
  }
  let lastMs = 0;
  let counter = 0;
  return <Id extends string>() => {
    const ms = now() - EPOCH_MS;
    if (ms > lastMs) {
      lastMs = ms;
      counter = 0;
    } else if (counter < COUNTER_MAX) {
      counter++;
    } else {
      lastMs++;
      counter = 0;
    }
    return ((BigInt(lastMs) << 22n) | BigInt((node << 12) | counter)).toString() as Id;
  };
}

/** The smallest id of a moment: ids made before it are smaller. At least 0. */
export function idFloor(timeMs: number): string {
  return (BigInt(Math.max(0, Math.floor(timeMs) - EPOCH_MS)) << 22n).toString();
}

const DECIMAL = /^[1-9]\d{0,18}$/;
const INT8_MAX = 9_223_372_036_854_775_807n;

/** True for the decimal text of a positive 64-bit integer. */
export function isId(value: unknown): value is string {
  return typeof value === "string" && DECIMAL.test(value) && BigInt(value) <= INT8_MAX;
}
