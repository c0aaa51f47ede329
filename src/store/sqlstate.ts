/** PostgreSQL's errors by name. See https://www.postgresql.org/docs/current/errcodes-appendix.html. */
import postgres from "postgres";
import { AppError } from "../core/errors.ts";

const UNDEFINED_TABLE = "42P01";
const INVALID_SCHEMA = "3F000";

/** Classes and codes after which the same statement may succeed. */
const PASSING: readonly string[] = [
  "08", // connection exceptions
  "40", // deadlocks and serialisation failures
  "53", // out of memory, disk or connections
  "57", // shutting down, crashed, cancelled by timeout
  "25006", // read-only: a failover is under way
];

/** What postgres.js and the sockets below it say when a connection breaks or cannot be made. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "ERR_SOCKET_CLOSED",
  "FailedToOpenSocket",
]);

export function isSqlState(error: unknown, code: string): boolean {
  return error instanceof postgres.PostgresError && error.code === code;
}

/** True for a database that lacks the platform's schema. */
export function isSchemaMissing(error: unknown): boolean {
  return isSqlState(error, UNDEFINED_TABLE) || isSqlState(error, INVALID_SCHEMA);
}

/** True if the database is away, starting, stopping or overloaded: the same call may succeed later. */
export function isDatabaseDown(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) {
    return PASSING.some((prefix) => error.code.startsWith(prefix));
  }
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && CONNECTION_CODES.has(code);
}

/** The error as callers outside may see it: `unavailable`, or `internal` without row contents. */
export function databaseError(error: unknown): AppError {
  if (error instanceof AppError) {
    return error;
  }
  if (isDatabaseDown(error)) {
    return new AppError("unavailable", "DATABASE_UNAVAILABLE", "The database does not answer", {
      cause: error,
    });
  }
  const code = error instanceof postgres.PostgresError ? error.code : "unknown";
  return new AppError("internal", "DATABASE_ERROR", `The database refused a statement: ${code}`, {
    cause: error,
  });
}
