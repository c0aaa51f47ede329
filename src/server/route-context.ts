/** What every route file gets from app.ts. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Logger } from "../observability/log.ts";
import type { ServerMetrics } from "../observability/metrics.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import type { checkDocument } from "../triggers/check-document.ts";
import type { Triggers } from "../triggers/triggers.ts";
import type { ExecutionRow, ServerOrchestrator, ServerReader } from "./backend.ts";
import { readId } from "./schema.ts";

export interface RouteContext {
  readonly orchestrator: ServerOrchestrator;
  readonly reader: ServerReader;
  /** Absent: there are no schedules, subscriptions and hooks. */
  readonly triggers?: Triggers | undefined;
  readonly metrics: ServerMetrics;
  readonly registry: MetricsRegistry;
  readonly log: Logger;
  readonly version: string;
  readonly startedAtMs: number;
  /** Aborted when the server closes: ends the live streams. */
  readonly closing: AbortSignal;
  /** Time without a message after which a live stream sends a comment. */
  readonly heartbeatMs: number;
  /** True if `include_data=true` may show decrypted credentials. */
  readonly canReadSecrets: boolean;
  /** Kinds of tools that playbooks may use; undefined: documents cannot be checked here. */
  readonly knownTools: KnownTools | undefined;
  /** Connections that this server keeps to the database at most. */
  readonly connectionCountMax: number;
  /** What operators may do, and how they are known. */
  readonly operator: OperatorOptions;
}

export type KnownTools = Parameters<typeof checkDocument>[1];

export interface OperatorOptions {
  /** Undefined: nobody is an operator. */
  readonly token: string | undefined;
  /** Asks a database; undefined: this server cannot. */
  readonly query: ((request: OperatorQuery) => Promise<OperatorRows>) | undefined;
}

/** One statement for the platform's database, or that of a credential. */
export interface OperatorQuery {
  readonly statement: string;
  readonly parameters: readonly Json[];
  /** Schemas to search for names without one. */
  readonly searchPath: string | undefined;
  /** Undefined: the platform's own database, which is only read. */
  readonly credential: string | undefined;
  /** Of the credential's server; undefined: the one that it names. */
  readonly database: string | undefined;
  readonly isReadOnly: boolean;
  readonly rowCountMax: number;
  readonly timeoutMs: number;
}

export interface OperatorRows {
  readonly columns: readonly string[];
  readonly rows: readonly JsonObject[];
  /** Rows that were changed, or given. */
  readonly rowCount: number;
  /** True: there are more rows. */
  readonly isCut: boolean;
}

/** @throws AppError not_found EXECUTION_NOT_FOUND, invalid ID_INVALID. */
export async function findExecution(reader: ServerReader, id: string): Promise<ExecutionRow> {
  const row = await reader.getExecution(readId<ExecutionId>(id, "execution id"));
  if (row === undefined) {
    throw new AppError("not_found", "EXECUTION_NOT_FOUND", `No execution ${id}`);
  }
  return row;
}

/** Does an administrative write and counts how it ended. */
export async function countWrite<T>(
  metrics: ServerMetrics,
  endpoint: string,
  write: () => Promise<T>,
): Promise<T> {
  try {
    const result = await write();
    metrics.writeRequests.inc(endpoint, "ok");
    return result;
  } catch (error) {
    metrics.writeRequests.inc(endpoint, "error");
    throw error;
  }
}
