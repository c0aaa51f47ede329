/**
 * Arrays as PostgreSQL's text form. postgres.js would ask the database for its array types on each new
 * connection, in a promise that nobody awaits: a connection lost at that moment would end the process
 * by an unhandled rejection. So this is done here, for the types in use.
 */

/** OIDs that never change. See pg_type.dat in PostgreSQL's source. */
const PLAIN_ARRAYS = { int2: 1005, int4: 1007, int8: 1016, float8: 1022 } as const;
const TEXT_ARRAY = 1009;

type Element = string | number | null;

export interface ArrayType {
  readonly to: number;
  readonly from: number[];
  readonly serialize: (values: readonly Element[]) => string;
  readonly parse: (text: string) => string;
}

/** For the `types` option of postgres.js. */
export const ARRAY_TYPES: Readonly<Record<string, ArrayType>> = Object.fromEntries([
  ...Object.entries(PLAIN_ARRAYS).map(([name, oid]) => [name, arrayType(oid, plainArray)]),
  ["text", arrayType(TEXT_ARRAY, textArray)],
]);

/** Arrays are only written: none is read back as one. */
function arrayType(oid: number, serialize: ArrayType["serialize"]): ArrayType {
  return { to: oid, from: [], serialize, parse: (text) => text };
}

/** `{1,2,NULL}` of numbers and decimal texts. */
export function plainArray(values: readonly Element[]): string {
  return `{${values.map((value) => value ?? "NULL").join(",")}}`;
}

/** `{"a","b \"c\"",NULL}`. */
export function textArray(values: readonly Element[]): string {
  return `{${values.map(quote).join(",")}}`;
}

function quote(value: Element): string {
  return value === null ? "NULL" : `"${String(value).replace(/["\\]/g, "\\$&")}"`;
}
