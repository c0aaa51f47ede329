/** Loads DuckDB's native module, on first use: some 70 MB that most processes never need. */
import type * as Duckdb from "@duckdb/node-api";

export type DuckdbApi = typeof Duckdb;

/** Where the compiled binary's stand-in for `@duckdb/node-bindings` looks; see `.ci/build.ts`. */
const LIBRARY_PATH = Symbol.for("noetl.duckdb.library");

/** @param path of `duckdb.node`, with `libduckdb.so` beside it; undefined: that of node_modules. */
export async function loadDuckdb(path: string | undefined): Promise<DuckdbApi> {
  Object.assign(globalThis, { [LIBRARY_PATH]: path });
  return await import("@duckdb/node-api");
}
