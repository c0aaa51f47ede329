/**
 * What the compiled binary carries. The build (`.ci/build.ts`) puts files in place of these; from
 * source there are none, and node_modules and PATH are used instead.
 */

/** A zstd-compressed tar of PostgreSQL's `bin`, `lib` and `share`. */
export const postgresTar: string | undefined = undefined;

/** The zstd-compressed nats-server program. */
export const natsProgram: string | undefined = undefined;

/** Changes with the content of the two above; names the folder they are unpacked to. */
export const payloadVersion: string = "source";

/** A zstd-compressed tar of DuckDB's native module and its library. */
export const duckdbTar: string | undefined = undefined;

/** Changes with the content of {@link duckdbTar}. */
export const duckdbVersion: string = "source";
