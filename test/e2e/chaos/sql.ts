/** Questions to the platform's database that are asked again while it is down. */
import postgres from "postgres";
import { retry } from "../../../src/core/backoff.ts";

/**
 * Asks until there is an answer, so the question must do no harm when it is repeated.
 *
 * @throws what PostgreSQL says about the statement itself, or what went wrong for two minutes.
 */
export type Sql = <Row extends object>(
  question: (sql: postgres.Sql) => PromiseLike<readonly Row[]>,
) => Promise<readonly Row[]>;

const LIMIT_MS = 120_000;
const BACKOFF = { minMs: 100, maxMs: 500 };
/** Classes of SQLSTATE that are about the server: connection, resources, shutdown. */
const PASSING = /^(08|53|57)/;

export function createSql(sql: postgres.Sql): Sql {
  return async (question) =>
    await retry(async () => await question(sql), {
      ...BACKOFF,
      signal: AbortSignal.timeout(LIMIT_MS),
      isRetryable: (error) =>
        !(error instanceof postgres.PostgresError) || PASSING.test(error.code),
    });
}
