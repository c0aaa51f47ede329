/**
 * Several statements as one: all of them, or none.
 *
 * The client's own `begin()` goes on when its connection is lost: it sends a ROLLBACK there, whose
 * write fails outside of any promise and ends the process, and later statements may reach a connection
 * that serves somebody else by then. So here nothing follows a loss: the server has rolled back, and
 * `begin()` itself has told the caller.
 */
import postgres from "postgres";
import { AppError } from "../core/errors.ts";
import type { Pool, Sql } from "./pool.ts";

/** @throws what `run` threw, or the loss of the connection: then nobody knows whether it committed. */
export async function withTransaction<T>(pool: Pool, run: (sql: Sql) => Promise<T>): Promise<T> {
  const end = { hasCome: false };
  const transaction = pool.begin(async (sql) => {
    try {
      return await run(guarded(sql, end));
    } catch (error) {
      if (end.hasCome || isFatal(error)) {
        await new Promise(() => undefined);
      }
      throw error;
    }
  });
  try {
    return (await transaction) as T;
  } finally {
    end.hasCome = true;
  }
}

/** Refuses statements once the transaction is over. */
function guarded(sql: postgres.TransactionSql, end: { readonly hasCome: boolean }): Sql {
  return new Proxy(sql, {
    apply: (target, self, args) => {
      if (end.hasCome) {
        throw new AppError("unavailable", "DATABASE_UNAVAILABLE", "The connection was lost");
      }
      return Reflect.apply(target, self, args);
    },
  });
}

/** True for errors after which the connection is closed, or about to be. */
function isFatal(error: unknown): boolean {
  if (error instanceof postgres.PostgresError) {
    return error.severity === "FATAL" || error.severity === "PANIC";
  }
  return error instanceof Error && "code" in error && String(error.code).startsWith("CONNECTION_");
}
