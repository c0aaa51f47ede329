/** The platform as a whole: totals, connections, schema, host; and how an execution was at a time. */
import { cpus, freemem, hostname, loadavg, totalmem } from "node:os";
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import { parseInstant } from "../../core/instant.ts";
import type { Moment } from "../backend.ts";
import { docs } from "../docs.ts";
import { isoTime, seqOfEventId } from "../event-view.ts";
import { viewStep } from "../execution-view.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import type { DatedTotals } from "../totals.ts";
import { createTotals } from "../totals.ts";

const TAG = "Platform";

export function platformRoutes(context: RouteContext) {
  return new Elysia({ normalize: false })
    .use(dashboardRoutes(context))
    .use(databaseRoutes(context))
    .use(hostRoutes(context))
    .use(replayRoutes(context));
}

function dashboardRoutes({ reader }: RouteContext) {
  const totals = createTotals(() => reader.countAll());
  return new Elysia({ prefix: "/api/dashboard", normalize: false })
    .get(
      "/stats",
      async () => {
        const counted = await totals();
        const { countedAtMs } = counted;
        return { status: "ok", stats: viewTotals(counted), counted_at: isoTime(countedAtMs) };
      },
      {
        detail: docs({
          tag: TAG,
          summary: "Totals",
          description:
            "Counted at most as often as costs a hundredth of one connection: see `counted_at`.",
        }),
      },
    )
    .get(
      "/widgets",
      async () => {
        const stats = Object.entries(viewTotals(await totals()));
        const widgets = stats.map(([id, value]) => ({
          id,
          type: "metric",
          title: id.replaceAll("_", " "),
          data: { value },
        }));
        return { widgets };
      },
      { detail: docs({ tag: TAG, summary: "Totals as widgets" }) },
    );
}

function viewTotals({ executions, playbooks, workers }: DatedTotals) {
  return {
    total_executions: Object.values(executions).reduce((sum, count) => sum + count, 0),
    successful_executions: executions.completed,
    failed_executions: executions.failed,
    cancelled_executions: executions.cancelled,
    running_executions: executions.running + executions.pending,
    total_playbooks: playbooks,
    total_workers: workers,
  };
}

function databaseRoutes({ reader, connectionCountMax }: RouteContext) {
  const validate = async () => {
    const { database } = await reader.checkHealth();
    const tables = database.isHealthy ? await reader.listTables() : [];
    return {
      status: database.isHealthy ? "ok" : "error",
      message: database.reason ?? "The schema is that of this version",
      valid: database.isHealthy,
      tables,
      missing: [],
    };
  };
  return new Elysia({ prefix: "/api", normalize: false })
    .get(
      "/pool/status",
      async () => {
        const { open, active, blocked } = await reader.connectionUse();
        const utilization = connectionCountMax === 0 ? 0 : active / connectionCountMax;
        return {
          pool_min: 0,
          pool_max: connectionCountMax,
          pool_size: open,
          pool_available: open - active,
          requests_waiting: blocked,
          utilization,
          slots_available: Math.max(0, connectionCountMax - active),
          status: utilization < 1 ? "ok" : "saturated",
        };
      },
      {
        detail: docs({
          tag: TAG,
          summary: "Connections to the platform's database",
          description: "Of all servers on it; `pool_max` is that of this one.",
        }),
      },
    )
    .get("/db/validate", validate, {
      detail: docs({ tag: TAG, summary: "Whether the database has this version's schema" }),
    })
    .post("/db/init", validate, {
      parse: "none",
      detail: docs({
        tag: TAG,
        summary: "The same; migrations run when a server starts",
        description: "Changes nothing: servers migrate at start, or `noetl db migrate` does.",
      }),
    });
}

function hostRoutes({ startedAtMs, version }: RouteContext) {
  return new Elysia({ normalize: false }).get(
    "/api/status",
    () => {
      const { rss, heapUsed } = process.memoryUsage();
      const [minute = 0] = loadavg();
      return {
        status: "ok",
        version,
        hostname: hostname(),
        pid: process.pid,
        uptime_seconds: Math.floor((Date.now() - startedAtMs) / 1000),
        process: { rss_bytes: rss, heap_bytes: heapUsed },
        host: {
          cpus: cpus().length,
          load_1m: minute,
          memory_total_bytes: totalmem(),
          memory_free_bytes: freemem(),
        },
      };
    },
    { detail: docs({ tag: TAG, summary: "This server's process and host" }) },
  );
}

const ReplayQuery = t.Object({
  execution_id: t.String(),
  as_of_event_id: t.Optional(t.String({ description: "After this event." })),
  as_of_position: t.Optional(t.String({ description: "The same." })),
  as_of_time: t.Optional(t.String({ description: "After the last event by then." })),
});

function replayRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false }).get(
    "/api/replay/state",
    async ({ query }) => {
      const { executionId, path } = await findExecution(reader, query.execution_id);
      const state = await reader.stateAt(executionId, readMoment(query));
      if (state === undefined) {
        const message = `Execution ${executionId} had not started then`;
        throw new AppError("not_found", "STATE_NOT_FOUND", message);
      }
      return {
        execution_id: executionId,
        path,
        as_of_event_id: String(state.seq),
        as_of_time: isoTime(state.timeMs),
        projection: {
          status: state.status.toUpperCase(),
          steps: state.steps.map(viewStep),
          variables: state.variables,
        },
        checksum: state.checksum,
      };
    },
    {
      query: ReplayQuery,
      detail: docs({
        tag: TAG,
        summary: "An execution as it was",
        description:
          "Its log, applied up to an event or a time: status, steps and variables. Reads the whole log " +
          "up to there.",
        errors: { 404: "No such execution, or it had not started." },
      }),
    },
  );
}

/** @throws AppError invalid REQUEST_INVALID. */
function readMoment(query: typeof ReplayQuery.static): Moment {
  const id = query.as_of_event_id ?? query.as_of_position;
  if (id !== undefined) {
    return { seq: seqOfEventId(id) };
  }
  if (query.as_of_time === undefined) {
    return {};
  }
  const timeMs = parseInstant(query.as_of_time);
  if (timeMs === undefined) {
    const message = `as_of_time must be a time such as 2026-01-31T08:00:00Z, not ${query.as_of_time}`;
    throw new AppError("invalid", "REQUEST_INVALID", message);
  }
  return { timeMs };
}
