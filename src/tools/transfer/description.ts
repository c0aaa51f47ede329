import type { ToolDescription } from "../../dsl/tool-description.ts";
import { checkTransfer } from "./check.ts";
import { MODES } from "./endpoint.ts";

export const TRANSFER: ToolDescription = {
  kind: "transfer",
  summary: "moves rows from `source` to `target` {type, table, mapping}; gives rows_transferred",
  runsOn: "worker",
  needs: [
    { oneOf: ["source"], text: "a source" },
    { oneOf: ["target"], text: "a target" },
  ],
  fields: {
    source: {
      type: "map",
      about:
        "{type: http, postgres or duckdb, auth, query or table, url, data_path, …}: fields as of the tool of that kind",
    },
    target: {
      type: "map",
      about: "{type: postgres or duckdb, auth, table or query, database, mode, mapping, key}",
    },
    mode: {
      type: "text",
      about: "what becomes of rows that are there",
      choices: MODES,
      default: "append",
    },
    mapping: { type: "map", about: "column of the target -> name in the source; absent: by name" },
    key: {
      type: ["text", "list"],
      about: "columns by which upsert finds rows",
      default: "the primary key",
    },
    keys: { sameAs: "key" },
    chunk_size: { type: "integer", about: "rows at a time", default: 1000, minimum: 1 },
  },
  result: {
    rows_transferred: "how many",
    chunks_processed: "in how many chunks",
    direction: "such as http_to_postgres; source_type and target_type",
    mode: "append, replace or upsert",
    target_table: "where they are",
    columns: "of the target that were written",
  },
  failures: {
    connection: "a source that cannot be reached",
    db_connection: "a database that cannot be reached",
    db_constraint: "rows that the target does not take; nothing was written",
    db_error: "any other error of a statement",
    parse: "a source that is not what it says",
    "…": "a status from 400 on of an http source, as of http",
  },
  example:
    "kind: transfer\nsource:\n  type: http\n  url: https://api.example.com/items\n  data_path: items\ntarget:\n  type: postgres\n  auth: warehouse\n  table: item\n  mode: upsert\n",
  check: checkTransfer,
};
