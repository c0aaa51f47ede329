/** One statement on a database, for operators: who has the operator's token. */
import { timingSafeEqual } from "node:crypto";
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import type { OperatorOptions, OperatorQuery, RouteContext } from "../route-context.ts";
import { countWrite } from "../route-context.ts";
import { Any, clamp } from "../schema.ts";

const ROWS = { min: 1, max: 10_000, otherwise: 1000 };
const TIMEOUT_SECONDS = { min: 1, max: 300, otherwise: 30 };

const Text = t.Optional(t.Nullable(t.String()));

const QueryBody = t.Object(
  {
    query: Text,
    query_base64: Text,
    procedure: Text,
    parameters: t.Optional(t.Nullable(t.Array(Any, { maxItems: 1000 }))),
    db_schema: Text,
    database: Text,
    credential: Text,
    connection_string: Text,
    read_only: t.Optional(t.Nullable(t.Boolean({ description: "Default true." }))),
    limit: t.Optional(t.Nullable(t.Number({ description: "Rows; 1000 (≤ 10,000)." }))),
    timeout_seconds: t.Optional(t.Nullable(t.Number({ description: "30 (≤ 300)." }))),
  },
  { additionalProperties: true },
);

export function operatorRoutes({ operator, metrics, log }: RouteContext) {
  return new Elysia({ normalize: false }).post(
    "/api/postgres/execute",
    async ({ body, request }) => {
      const ask = checkOperator(operator, request);
      const query = readQuery(body);
      const { statement, credential, isReadOnly } = query;
      log.info("operator query", {
        statement: statement.slice(0, LOGGED_CHARS_MAX),
        credential,
        read_only: isReadOnly,
      });
      const { rows, columns, rowCount, isCut } = await countWrite(metrics, "postgres_execute", () =>
        ask(query),
      );
      return {
        status: "ok",
        result: rows,
        columns,
        row_count: rowCount,
        is_cut: isCut,
        error: null,
      };
    },
    {
      parse: JSON_BODY,
      body: QueryBody,
      detail: docs({
        tag: "Platform",
        summary: "Run one SQL statement, for operators",
        description:
          "With `Authorization: Bearer` and NOETL_OPERATOR_TOKEN. Without `credential` on the " +
          "platform's own database, which is only read. With one on its database: read-only unless " +
          "`read_only` is false. One statement, in a transaction of its own.",
        errors: {
          403: "Not the operator's token.",
          422: "The statement is refused, or the database says no.",
          503: "The server has no operator's token.",
        },
      }),
    },
  );
}

const LOGGED_CHARS_MAX = 500;

/** @throws AppError unavailable OPERATOR_OFF, forbidden OPERATOR_TOKEN_REQUIRED. */
function checkOperator(
  { token, query }: OperatorOptions,
  request: Request,
): NonNullable<OperatorOptions["query"]> {
  if (token === undefined || query === undefined) {
    const message = "This server lets nobody do that: it was started without NOETL_OPERATOR_TOKEN";
    throw new AppError("unavailable", "OPERATOR_OFF", message);
  }
  const expected = Buffer.from(`Bearer ${token}`);
  const given = Buffer.from(request.headers.get("authorization") ?? "");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    const message =
      "Only operators may do that: send `Authorization: Bearer` with the server's NOETL_OPERATOR_TOKEN";
    throw new AppError("forbidden", "OPERATOR_TOKEN_REQUIRED", message);
  }
  return query;
}

/** @throws AppError invalid REQUEST_INVALID. */
function readQuery(body: typeof QueryBody.static): OperatorQuery {
  if (body.procedure || body.connection_string) {
    const message = body.procedure
      ? "procedure is not taken: send `query` with CALL and `read_only: false`"
      : "connection_string is not taken: save a credential of type postgres and name it";
    throw new AppError("invalid", "REQUEST_INVALID", message);
  }
  const encoded = body.query_base64 ?? "";
  const statement = body.query || Buffer.from(encoded, "base64").toString("utf8");
  if (statement.trim() === "") {
    throw new AppError("invalid", "REQUEST_INVALID", "query or query_base64 is required");
  }
  const isReadOnly = body.read_only ?? true;
  if (!isReadOnly && !body.credential) {
    const message =
      "The platform's own database is only read: name a credential to write elsewhere";
    throw new AppError("invalid", "REQUEST_INVALID", message);
  }
  return {
    statement,
    parameters: body.parameters ?? [],
    searchPath: body.db_schema || undefined,
    credential: body.credential || undefined,
    database: body.database || undefined,
    isReadOnly,
    rowCountMax: clamp(body.limit ?? undefined, ROWS),
    timeoutMs: clamp(body.timeout_seconds ?? undefined, TIMEOUT_SECONDS) * 1000,
  };
}
