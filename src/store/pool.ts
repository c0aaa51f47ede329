/** Connections to the platform's database. */
import postgres from "postgres";
import { ARRAY_TYPES } from "./array-literal.ts";
import type { PoolLoad } from "./pool-load.ts";
import { countStatements } from "./pool-load.ts";

/** A pool or an open transaction: a store function neither knows nor cares which. */
export type Sql = postgres.ISql;

/** Part of a statement. */
export type Fragment = postgres.Fragment;

/** Opens transactions too. */
export type Pool = postgres.Sql;

/** Both kinds of connections of one server. */
export interface Store extends AsyncDisposable {
  /** Commits wait for the disk: for all that a user or a next step depends on, and for reads. */
  readonly durable: Pool;
  /**
   * Commits do not wait for the disk: for claims, renewals and marks, whose loss a crash of the
   * database's machine turns into a redelivery that the fence makes harmless.
   */
  readonly quick: Pool;
  /** How busy each of them is now. */
  readonly load: { readonly durable: PoolLoad; readonly quick: PoolLoad };
  /** Lets running statements end. */
  close(): Promise<void>;
}

export interface StoreOptions {
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** Connections at most, of each kind. */
  readonly max: number;
  /** Limit of one statement; default 60,000. */
  readonly statementTimeoutMs?: number | undefined;
}

const CONNECT_TIMEOUT_S = 10;
const CLOSE_TIMEOUT_S = 5;
const STATEMENT_TIMEOUT_MS = 60_000;
/** A server that is frozen in the middle of a transaction must not hold its locks. */
const IDLE_IN_TRANSACTION_MS = 10_000;

/** Lazy pools: they connect when first used, and again after losing a connection. */
export function connectStore(url: string, options: StoreOptions): Store {
  const durable = countStatements(connectPool(url, options, true), options.max);
  const quick = countStatements(connectPool(url, options, false), options.max);
  const close = async (): Promise<void> => {
    await Promise.all([durable, quick].map(({ pool }) => pool.end({ timeout: CLOSE_TIMEOUT_S })));
  };
  return {
    durable: durable.pool,
    quick: quick.pool,
    load: { durable: durable.load, quick: quick.load },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/**
 * Short and even: the client's own delay grows to 20 s with the failures of all connections together,
 * long after the database is back. Callers that repeat wait by themselves.
 */
function reconnectDelayS(): number {
  return 0.1 + Math.random() * 0.2;
}

/**
 * All statements here find their rows by key or by a partial index, a few at a time. Plans are generic
 * and must neither scan tables nor whole indexes: one made while `command` was empty or `execution`
 * small would go on doing so when they are full (measured: 8.4 ms for a claim of 64, against 2.7).
 */
function connectPool(url: string, options: StoreOptions, isDurable: boolean): Pool {
  return postgres(url, {
    max: options.max,
    connect_timeout: CONNECT_TIMEOUT_S,
    backoff: reconnectDelayS,
    onnotice: () => undefined,
    fetch_types: false,
    types: ARRAY_TYPES,
    connection: {
      application_name: options.name,
      synchronous_commit: isDurable ? "on" : "off",
      statement_timeout: options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      plan_cache_mode: "force_generic_plan",
      enable_seqscan: "off",
      enable_bitmapscan: "off",
      enable_hashjoin: "off",
      enable_mergejoin: "off",
      jit: "off",
    },
  });
}
