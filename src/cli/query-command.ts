/** `query`: one statement on a server's database, for operators. */
import { readOptions } from "../config/read.ts";
import { clientOptions } from "../config/tables.ts";
import type { JsonObject } from "../core/json.ts";
import { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { plural } from "./diagnostics.ts";
import { field, formatJson, formatTable, rowsOf } from "./format.ts";
import { serverOf } from "./program-parts.ts";

export interface QueryFlags {
  readonly format?: string | undefined;
  readonly schema?: string | undefined;
  readonly credential?: string | undefined;
  readonly limit?: string | undefined;
}

export async function query(
  context: CliContext,
  flags: QueryFlags,
  sql: string,
): Promise<ExitReason> {
  const { format = "table" } = flags;
  if (format !== "table" && format !== "json") {
    throw new UsageError(`--format must be table or json, not ${format}`);
  }
  const answer = await operatorApi(context, flags).postObject("/api/postgres/execute", {
    query: sql,
    db_schema: flags.schema ?? null,
    credential: flags.credential ?? null,
    limit: flags.limit === undefined ? null : readLimit(flags.limit),
  });
  const rows = rowsOf(answer, "result");
  if (format === "json") {
    context.out(formatJson(rows));
  } else {
    printRows(context, answer, rows);
  }
  return "ok";
}

/** The operator's token takes the place of the user's. */
function operatorApi(context: CliContext, flags: object): Api {
  const { operatorToken } = readOptions(clientOptions, { flags: {}, env: context.env });
  const { token, ...server } = serverOf(context, flags);
  const sent = (operatorToken ?? token)?.reveal();
  return new Api({ ...server, token: sent, signal: context.signal });
}

function printRows(
  { out, note }: CliContext,
  answer: JsonObject,
  rows: readonly JsonObject[],
): void {
  const columns = answer["columns"];
  const names = Array.isArray(columns) ? columns.map(String) : Object.keys(rows[0] ?? {});
  const table = rows.map((row) => names.map((name) => field(row, name)));
  if (names.length > 0) {
    out(formatTable(names, table));
  }
  const cut = answer["is_cut"] === true ? "; there are more: --limit" : "";
  note(`${plural(rows.length, "row")}${cut}`);
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new UsageError(`--limit must be a number of rows, not "${text}"`);
  }
  return limit;
}
