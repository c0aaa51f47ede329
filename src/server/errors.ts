/** Turns whatever a route threw into `{error, code, status, details}`: the one error body of the API. */
import { NotFoundError, ParseError, ValidationError } from "elysia";
import type { ErrorKind } from "../core/errors.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import { databaseError, isDatabaseDown } from "../store/sqlstate.ts";

export interface ErrorBody {
  /** For people. Never the message of a bug. */
  readonly error: string;
  /** Stable, for programs. */
  readonly code: string;
  readonly status: number;
  readonly details: Readonly<Record<string, unknown>>;
}

const STATUS_BY_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 422,
  not_found: 404,
  conflict: 409,
  forbidden: 403,
  unavailable: 503,
  timeout: 504,
  internal: 500,
};

/** Where HTTP has a finer answer than the kind. */
const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  REQUEST_MALFORMED: 400,
  REQUEST_TOO_LARGE: 413,
  METHOD_NOT_ALLOWED: 405,
  REF_INVALID: 400,
  REF_MISSING: 400,
  RESULT_TOO_LARGE: 413,
  RANGE_INVALID: 416,
  HOOK_REFUSED: 401,
  RATE_LIMITED: 429,
  TOKEN_MISSING: 401,
  TOKEN_INVALID: 401,
};

/** @param path of the request, for the text of an unknown route. */
export function describeError(error: unknown, path: string): ErrorBody {
  if (error instanceof AppError) {
    return describeAppError(error);
  }
  if (error instanceof ValidationError) {
    return describeValidation(error);
  }
  if (error instanceof ParseError) {
    return error.cause instanceof AppError
      ? describeAppError(error.cause)
      : body(400, "REQUEST_MALFORMED", `Cannot read the body: ${errorMessage(error)}`);
  }
  if (error instanceof NotFoundError) {
    return body(404, "ROUTE_NOT_FOUND", `No route ${path}`);
  }
  if (isDatabaseDown(error)) {
    return describeAppError(databaseError(error));
  }
  return body(500, "INTERNAL", "Internal error; the server's log says more");
}

/** An error as a response, with headers that belong to its status. */
export function errorResponse(
  error: ErrorBody,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const challenge = error.status === 401 ? { "www-authenticate": "Bearer" } : {};
  const waitMs = error.details["retry_after_ms"];
  const retry =
    typeof waitMs === "number" ? { "retry-after": String(Math.ceil(waitMs / 1000)) } : {};
  return Response.json(error, {
    status: error.status,
    headers: { ...challenge, ...retry, ...headers },
  });
}

function describeAppError(error: AppError): ErrorBody {
  const status = STATUS_BY_CODE[error.code] ?? STATUS_BY_KIND[error.kind];
  const message = status === 500 ? "Internal error; the server's log says more" : error.message;
  return body(status, error.code, message, status === 500 ? {} : error.details);
}

function describeValidation(error: ValidationError): ErrorBody {
  const problems = error.all.map((problem) => ({
    where: "path" in problem && problem.path !== "" ? problem.path : "/",
    what: ("summary" in problem ? problem.summary : undefined) ?? String(problem),
  }));
  const text = problems.map(({ where, what }) => `${where}: ${what}`).join("; ");
  return body(422, "REQUEST_INVALID", `Invalid ${error.type}: ${text}`, {
    in: error.type,
    problems,
  });
}

function body(
  status: number,
  code: string,
  error: string,
  details: Readonly<Record<string, unknown>> = {},
): ErrorBody {
  return { error, code, status, details };
}
