/** What a transfer reads from and writes to: a new kind of either is a file and a line here. */
import { duckdbSource } from "./duckdb-source.ts";
import { duckdbTarget } from "./duckdb-target.ts";
import type { SourceKind, TargetKind } from "./endpoint.ts";
import { httpSource } from "./http-source.ts";
import { postgresSource } from "./postgres-source.ts";
import { postgresTarget } from "./postgres-target.ts";

export const SOURCES: Readonly<Record<string, SourceKind>> = {
  duckdb: duckdbSource,
  http: httpSource,
  postgres: postgresSource,
};

export const TARGETS: Readonly<Record<string, TargetKind>> = {
  duckdb: duckdbTarget,
  postgres: postgresTarget,
};
