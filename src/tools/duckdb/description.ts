import type { ToolDescription, ToolFields } from "../../dsl/tool-description.ts";
import { SQL_FIELDS, SQL_NEED, SQL_RESULT } from "../sql-fields.ts";

const FIELDS: ToolFields = {
  ...SQL_FIELDS,
  database: { type: "text", about: "file on the worker's machine; absent: in memory" },
  db_path: { sameAs: "database" },
  credentials: {
    type: ["text", "list", "map"],
    about: "as `auth`: postgres ones are attached under their names, s3, gcs and r2 made secrets",
  },
  gcs_credential: { sameAs: "credentials" },
};

const FAILURES = {
  db_connection: "a database that cannot be opened, or is in use elsewhere",
  db_constraint: "a constraint",
  db_error: "any other error of a statement",
  oom_host: "more memory than a task may have",
};

export const DUCKDB: ToolDescription = {
  kind: "duckdb",
  summary: "runs SQL in DuckDB: `command`, `database`; gives rows, columns, row_count",
  runsOn: "worker",
  needs: [SQL_NEED],
  fields: FIELDS,
  result: SQL_RESULT,
  failures: FAILURES,
  example:
    "kind: duckdb\ndatabase: sales.duckdb\ncommand: |\n  CREATE TABLE IF NOT EXISTS sale (day date, amount int);\n  SELECT sum(amount) AS total FROM sale;\n",
};

export const DUCKLAKE: ToolDescription = {
  ...DUCKDB,
  kind: "ducklake",
  summary: "runs SQL in DuckDB on a DuckLake: as duckdb, with `catalog_connection`",
  fields: {
    ...FIELDS,
    catalog_connection: { type: "text", about: "address of the lake's catalog" },
    catalog_name: { type: "text", about: "its name in SQL", default: "lake" },
    data_path: { type: "text", about: "where the lake keeps its files" },
  },
  example:
    "kind: ducklake\ncatalog_connection: metadata.ducklake\ndata_path: lake/\nquery: SELECT 1 AS one\n",
};
