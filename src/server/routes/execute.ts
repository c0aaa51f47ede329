/** Starting executions: the hot path of the API. No hooks, one pass over the body, one call. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { CatalogId, ExecutionId } from "../../core/ids.ts";
import type { ServerMetrics } from "../../observability/metrics.ts";
import type { StartedExecution, StartRequest } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import { describeError } from "../errors.ts";
import type { RouteContext } from "../route-context.ts";
import { Any, Id, readObject, readOptionalId } from "../schema.ts";

const BATCH_MAX = 1000;
const DEDUP_KEY_CHARS_MAX = 512;

const ExecuteBody = t.Object(
  {
    path: t.Optional(t.Nullable(t.String({ description: "Catalog path of the playbook." }))),
    catalog_id: t.Optional(t.Nullable(Id)),
    version: t.Optional(t.Nullable(t.Union([t.Number(), t.String()]))),
    payload: t.Optional(Any),
    workload: t.Optional(Any),
    execution_pool: t.Optional(t.Nullable(t.String())),
    parent_execution_id: t.Optional(t.Nullable(Id)),
    priority: t.Optional(t.Nullable(t.Number({ minimum: 0, maximum: 9 }))),
    dedup: t.Optional(
      t.Nullable(
        t.Object({
          key: t.String({ minLength: 1, maxLength: DEDUP_KEY_CHARS_MAX }),
          window_secs: t.Optional(t.Nullable(t.Number({ minimum: 0 }))),
        }),
      ),
    ),
  },
  { additionalProperties: true },
);
type ExecuteRequest = typeof ExecuteBody.static;

const StartAnswer = t.Object({
  execution_id: t.String(),
  status: t.Union([t.Literal("started"), t.Literal("queued"), t.Literal("duplicate")]),
  commands_generated: t.Number(),
});

export function executeRoutes({ orchestrator, metrics }: RouteContext) {
  return new Elysia({ normalize: false })
    .post(
      "/api/execute",
      async ({ body, request }) => {
        try {
          const start = { ...readStart(body, readIdempotencyKey(request)), ...traceOf(request) };
          return answerStart(await orchestrator.start(start), metrics, "single");
        } catch (error) {
          metrics.executeOutcomes.inc("single", "error");
          throw error;
        }
      },
      {
        parse: JSON_BODY,
        body: ExecuteBody,
        detail: docs({
          tag: "Executions",
          summary: "Start an execution",
          description:
            "By `path` (latest version unless `version` says otherwise) or `catalog_id`. `payload` is " +
            "merged over the playbook's workload. The same `dedup.key`, or `Idempotency-Key` header, " +
            "within its window gives the execution that is already there, with status `duplicate`. " +
            "`queued`: the playbook's concurrency key is at its limit, it starts when its turn comes.",
          answer: StartAnswer,
          errors: {
            404: "No such playbook.",
            409: "The concurrency key is at its limit, and `on_limit` is `reject`.",
            422: "The request is not valid.",
          },
        }),
      },
    )
    .post(
      "/api/execute/batch",
      async ({ body, request }) => {
        metrics.executeBatchSize.observe(body.executions.length);
        const key = readIdempotencyKey(request);
        const keyOf = (index: number) => (key === undefined ? undefined : `${key}#${index}`);
        const results = await Promise.all(
          body.executions.map(async (each, index) => ({
            index,
            ...(await startOne(
              () => orchestrator.start({ ...readStart(each, keyOf(index)), ...traceOf(request) }),
              metrics,
            )),
          })),
        );
        return answerBatch(results);
      },
      {
        parse: JSON_BODY,
        body: t.Object({ executions: t.Array(ExecuteBody, { maxItems: BATCH_MAX }) }),
        detail: docs({
          tag: "Executions",
          summary: `Start up to ${BATCH_MAX} executions`,
          description:
            "Each on its own: one that fails does not stop the others. An `Idempotency-Key` header " +
            "stands for all that have no `dedup`, by their position.",
        }),
      },
    );
}

/** The execution becomes part of the caller's trace, see src/observability/README.md. */
function traceOf({ headers }: Request): Pick<StartRequest, "trace"> {
  const trace = headers.get("traceparent");
  return trace === null ? {} : { trace };
}

/** `Idempotency-Key`, which says the same as `dedup.key`. @throws AppError invalid REQUEST_INVALID. */
function readIdempotencyKey({ headers }: Request): string | undefined {
  const key = headers.get("idempotency-key")?.trim();
  if (key === undefined || (key !== "" && key.length <= DEDUP_KEY_CHARS_MAX)) {
    return key;
  }
  const message = `Idempotency-Key must have 1 to ${DEDUP_KEY_CHARS_MAX} characters`;
  throw new AppError("invalid", "REQUEST_INVALID", message, {
    details: { problems: [{ where: "Idempotency-Key", what: message }] },
  });
}

/**
 * @param key stands for the body's dedup key where it has none.
 * @throws AppError invalid REQUEST_INVALID, ID_INVALID.
 */
function readStart(body: ExecuteRequest, key?: string): StartRequest {
  const catalogId = readOptionalId<CatalogId>(body.catalog_id, "catalog_id");
  const parent = readOptionalId<ExecutionId>(body.parent_execution_id, "parent_execution_id");
  const version = readVersion(body.version);
  if (catalogId === undefined && !body.path) {
    throw new AppError("invalid", "REQUEST_INVALID", "Name the playbook by path or catalog_id", {
      details: { problems: [{ where: "/path", what: "path or catalog_id is required" }] },
    });
  }
  return {
    payload: readObject(body.payload, "payload") ?? readObject(body.workload, "workload") ?? {},
    ...(catalogId === undefined ? { path: body.path ?? "" } : { catalogId }),
    ...(version === undefined ? {} : { version }),
    ...(parent === undefined ? {} : { parentExecutionId: parent }),
    ...(body.execution_pool ? { pool: body.execution_pool } : {}),
    ...(typeof body.priority === "number" ? { priority: Math.trunc(body.priority) } : {}),
    ...readKey(body, key),
  };
}

function readKey({ dedup }: ExecuteRequest, key: string | undefined): Pick<StartRequest, "dedup"> {
  if (dedup) {
    return { dedup: readDedup(dedup) };
  }
  return key === undefined ? {} : { dedup: { key } };
}

function readDedup(
  dedup: NonNullable<ExecuteRequest["dedup"]>,
): NonNullable<StartRequest["dedup"]> {
  return typeof dedup.window_secs === "number"
    ? { key: dedup.key, windowMs: dedup.window_secs * 1000 }
    : { key: dedup.key };
}

/** `3`, `"3"`; undefined for `latest` and nothing. @throws AppError invalid REQUEST_INVALID. */
export function readVersion(value: number | string | null | undefined): number | undefined {
  if (value === undefined || value === null || value === "" || value === "latest") {
    return undefined;
  }
  const version = Number(value);
  if (Number.isSafeInteger(version) && version > 0) {
    return version;
  }
  throw new AppError(
    "invalid",
    "REQUEST_INVALID",
    `version must be a positive number or "latest", not ${value}`,
  );
}

function answerStart(
  started: StartedExecution,
  metrics: ServerMetrics,
  entry: string,
): typeof StartAnswer.static {
  const { executionId, status } = started;
  metrics.executeOutcomes.inc(entry, status === "duplicate" ? "duplicate" : "new");
  return {
    execution_id: executionId,
    status,
    commands_generated: status === "started" ? 1 : 0,
  };
}

interface BatchResult {
  readonly index: number;
  readonly status: string;
}

async function startOne(start: () => Promise<StartedExecution>, metrics: ServerMetrics) {
  try {
    return answerStart(await start(), metrics, "batch");
  } catch (error) {
    metrics.executeOutcomes.inc("batch", "error");
    const { error: text, code } = describeError(error, "/api/execute");
    return { status: "error", commands_generated: 0, error: text, code };
  }
}

function answerBatch(results: readonly BatchResult[]) {
  const count = (status: string): number => results.filter((each) => each.status === status).length;
  return {
    count: results.length,
    started: count("started"),
    queued: count("queued"),
    duplicates: count("duplicate"),
    failed: count("error"),
    results,
  };
}
