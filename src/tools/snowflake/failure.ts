/** What Snowflake's SQL API answers when it does not give a result, as a task's failure. */
import type { JsonObject } from "../../core/json.ts";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { kindOfStatus, parseRetryAfter } from "../http/answer.ts";

const EXCERPT_LENGTH_MAX = 300;
/** Snowflake's number of "statement reached its timeout". */
const TIMED_OUT = "000630";
const CANCELLED = "000604";

export function answerFailure(
  { status, body }: { readonly status: number; readonly body: JsonObject },
  text: string,
  retryAfter: string | null,
): Failure {
  const number = textOf(body["code"]);
  const sqlState = textOf(body["sqlState"]);
  const said = textOf(body["message"]) || text.slice(0, EXCERPT_LENGTH_MAX);
  const retryAfterMs = parseRetryAfter(retryAfter);
  return failure(kindOf(status, number, sqlState), `Snowflake: ${said || `HTTP ${status}`}`, {
    code: sqlState || (number === "" ? `HTTP_${status}` : `SNOWFLAKE_${number}`),
    status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** 422: the statement itself failed. */
function kindOf(status: number, number: string, sqlState: string): FailureKind {
  if (number === TIMED_OUT) {
    return "timeout";
  }
  if (number === CANCELLED) {
    return "cancelled";
  }
  if (status !== 422) {
    return kindOfStatus(status);
  }
  switch (sqlState.slice(0, 2)) {
    case "23":
      return "db_constraint";
    case "08":
      return "db_connection";
    default:
      return "db_error";
  }
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
