/** Stands in for the database and the orchestrator: executions are lists of events in memory. */
import { AppError } from "../../../src/core/errors.ts";
import type { CatalogId, CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import type { CommandReport, LogLine } from "../../../src/engine/command.ts";
import type { Signal } from "../../../src/engine/decision.ts";
import type { ExecutionEvent, RecordedEvent } from "../../../src/engine/event.ts";
import { TERMINAL_EVENTS } from "../../../src/engine/event.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { HttpServerOptions } from "../../../src/server/app.ts";
import { createHttpServer } from "../../../src/server/app.ts";
import type {
  BackendHealth,
  CatalogEntry,
  CredentialRow,
  ExecutionRow,
  OpenCommand,
  ServerOrchestrator,
  ServerReader,
  StartRequest,
  StepRow,
  VariableChange,
} from "../../../src/server/backend.ts";

import { ResultShelf } from "../../support/results.ts";

export const BEGIN_MS = Date.UTC(2026, 0, 1);

interface Run {
  row: ExecutionRow;
  readonly events: RecordedEvent[];
  open: OpenCommand[];
  steps: StepRow[];
  readonly logs: LogLine[];
}

export interface Backend {
  /** Fields may be replaced by a test. */
  readonly orchestrator: { -readonly [Name in keyof ServerOrchestrator]: ServerOrchestrator[Name] };
  readonly reader: ServerReader;
  readonly starts: StartRequest[];
  readonly reports: CommandReport[];
  readonly signals: Signal[];
  readonly changes: VariableChange[];
  readonly shelf: ResultShelf;
  readonly cancels: { executionId: ExecutionId; reason: string; cascade: boolean }[];
  health: BackendHealth;
  add(executionId: string, row?: Partial<ExecutionRow>): Run;
  record(executionId: string, ...events: ExecutionEvent[]): void;
}

export function createBackend(): Backend {
  const shelf = new ResultShelf();
  const runs = new Map<string, Run>();
  const catalog: CatalogEntry[] = [];
  const credentials = new Map<string, CredentialRow & { readonly data: JsonObject }>();
  const starts: StartRequest[] = [];
  const reports: CommandReport[] = [];
  const signals: Signal[] = [];
  const changes: VariableChange[] = [];
  const cancels: { executionId: ExecutionId; reason: string; cascade: boolean }[] = [];
  let wake = Promise.withResolvers<void>();

  const find = (executionId: ExecutionId): Run => {
    const run = runs.get(executionId);
    if (run === undefined) {
      throw new AppError("not_found", "EXECUTION_NOT_FOUND", `No execution ${executionId}`);
    }
    return run;
  };

  const backend: Backend = {
    starts,
    reports,
    signals,
    changes,
    shelf,
    cancels,
    health: { database: { isHealthy: true }, nats: { isHealthy: true } },
    add: (executionId, row = {}) => {
      const run: Run = {
        row: {
          executionId: executionId as ExecutionId,
          catalogId: "7" as CatalogId,
          path: "tests/demo",
          version: 2,
          status: "running",
          seq: 0,
          startedAtMs: BEGIN_MS,
          ...row,
        },
        events: [],
        open: [],
        steps: [],
        logs: [],
      };
      runs.set(executionId, run);
      return run;
    },
    record: (executionId, ...events) => {
      const run = find(executionId as ExecutionId);
      for (const event of events) {
        const seq = run.events.length + 1;
        run.events.push({ seq, timeMs: BEGIN_MS + seq * 1000, event });
        const status = event.type.replace("playbook.", "");
        const isEnd = TERMINAL_EVENTS.has(event.type);
        run.row = {
          ...run.row,
          seq,
          ...(isEnd
            ? { status: status as ExecutionRow["status"], endedAtMs: BEGIN_MS + seq * 1000 }
            : {}),
        };
      }
      wake.resolve();
      wake = Promise.withResolvers<void>();
    },
    orchestrator: {
      start: (request) => {
        starts.push(request);
        if (request.path === "missing") {
          throw new AppError("not_found", "PLAYBOOK_NOT_FOUND", "No playbook at missing");
        }
        if (request.path === "broken") {
          throw new Error("secret detail of a bug");
        }
        const status = request.dedup?.key === "seen" ? "duplicate" : "started";
        return Promise.resolve({ executionId: String(100 + starts.length) as ExecutionId, status });
      },
      cancel: (executionId, { reason, cascade }) => {
        cancels.push({ executionId, reason, cascade });
        backend.record(executionId, { type: "playbook.cancelling", reason });
        return Promise.resolve(undefined);
      },
      rotateSecrets: () =>
        Promise.resolve({ keyId: "0a0b0c0d", rewrapped: 2, failed: [], keys: { "0a0b0c0d": 2 } }),
      finalize: (executionId, { status, reason }) => {
        const event: ExecutionEvent =
          status === "completed"
            ? { type: "playbook.completed", result: null }
            : {
                type: "playbook.failed",
                error: { kind: "cancelled", code: "FINALIZED", message: reason, retryable: false },
              };
        backend.record(executionId, event);
        return Promise.resolve(undefined);
      },
      signal: (executionId, signal) => {
        signals.push(signal);
        const run = find(executionId);
        if (run.row.endedAtMs !== undefined) {
          throw new AppError(
            "conflict",
            "EXECUTION_FINISHED",
            `Execution ${executionId} has ended`,
          );
        }
        const status = signal.dedupKey === "seen" ? "duplicate" : "delivered";
        return Promise.resolve({ status, waitCount: status === "delivered" ? 1 : 0 });
      },
      writeVariables: (executionId, change) => {
        const run = find(executionId);
        if (run.row.endedAtMs !== undefined) {
          throw new AppError("conflict", "EXECUTION_FINISHED", "It has ended");
        }
        changes.push(change);
        return Promise.resolve();
      },
      retry: (executionId, { isNew, steps = [] }) => {
        if (steps.includes("good")) {
          throw new AppError("invalid", "STEP_NOT_RETRYABLE", "good did not fail");
        }
        const next = (isNew ? "77" : executionId) as ExecutionId;
        return Promise.resolve({ executionId: next, status: "running", originId: executionId });
      },
      rerun: (_executionId, { payload }) => {
        starts.push({ payload });
        return Promise.resolve({ executionId: "78" as ExecutionId, status: "started" });
      },
      report: (batch) => {
        reports.push(...batch);
        return Promise.resolve(batch.map(() => "accepted" as const));
      },
      registerPlaybook: ({ content }) => {
        if (content.includes("broken")) {
          throw new AppError("invalid", "PLAYBOOK_INVALID", "The playbook has 1 error", {
            details: {
              diagnostics: [
                {
                  severity: "error",
                  code: "STEP_UNKNOWN",
                  message: 'no step "ende": did you mean "end"?',
                  path: "workflow[0].next",
                  line: 4,
                  column: 9,
                },
              ],
            },
          });
        }
        const key = {
          catalogId: "7" as CatalogId,
          path: "tests/demo",
          version: catalog.length + 1,
        };
        catalog.push({ ...key, kind: "playbook", content, createdAtMs: BEGIN_MS });
        return Promise.resolve({ ...key, warnings: [] });
      },
      watch: async function* (executionId, { afterSeq, signal }) {
        let seq = afterSeq;
        const aborted = new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
        while (!signal.aborted) {
          const run = find(executionId);
          const next = run.events.find((each) => each.seq > seq);
          if (next !== undefined) {
            seq = next.seq;
            yield next;
          } else if (run.row.endedAtMs !== undefined) {
            return;
          } else {
            await Promise.race([wake.promise, aborted]);
          }
        }
      },
    },
    reader: {
      checkHealth: () => Promise.resolve(backend.health),
      listCatalog: ({ kind, limit, offset }) =>
        Promise.resolve(
          catalog
            .filter((entry) => kind === undefined || entry.kind === kind)
            .toReversed()
            .slice(offset, offset + limit),
        ),
      getCatalog: ({ path, version }) =>
        Promise.resolve(
          catalog.findLast(
            (each) => each.path === path && (version === undefined || each.version === version),
          ),
        ),
      listExecutions: ({ path, status, limit, offset }) =>
        Promise.resolve(
          [...runs.values()]
            .map((run) => run.row)
            .filter((row) => path === undefined || row.path.includes(path))
            .filter((row) => status === undefined || row.status === status)
            .toReversed()
            .slice(offset, offset + limit),
        ),
      getExecution: (executionId) => Promise.resolve(runs.get(executionId)?.row),
      listEvents: (executionId, { afterSeq, limit, types }) =>
        Promise.resolve(
          find(executionId)
            .events.filter((each) => each.seq > afterSeq)
            .filter((each) => types === undefined || types.includes(each.event.type))
            .slice(0, limit),
        ),
      listSteps: (executionId) => Promise.resolve(find(executionId).steps),
      listVariables: () => Promise.resolve({ total: 3 }),
      listOpenCommands: (executionId) => Promise.resolve(find(executionId).open),
      listPools: () =>
        Promise.resolve([
          {
            pool: "cpu-01",
            workers: 1,
            slots: 8,
            freeSlots: 5,
            queued: 0,
            running: 3,
            reason: null,
          },
          {
            pool: "gpu-01",
            workers: 0,
            slots: 0,
            freeSlots: 0,
            queued: 2,
            running: 0,
            oldestQueuedMs: 9000,
            reason: "no_live_worker",
          },
        ]),
      listGpus: () => Promise.resolve([]),
      listGpuWaits: () => Promise.resolve([]),
      listWorkers: () =>
        Promise.resolve([
          {
            workerId: "w1" as WorkerId,
            name: "host-1",
            pool: "cpu-01",
            status: "live",
            slots: 8,
            freeSlots: 5,
            hostname: "host",
            pid: 1,
            version: "1",
            tools: ["noop"],
            metricsUrl: "http://127.0.0.1:9090/metrics",
            registeredAtMs: BEGIN_MS,
            heartbeatAtMs: BEGIN_MS,
          },
        ]),
      readLogs: (executionId, { limit, step, afterSeq = 0 }) => {
        const lines = find(executionId)
          .logs.slice(afterSeq)
          .filter((line) => step === undefined || line.step === step)
          .slice(0, limit);
        return Promise.resolve({ lines, lastSeq: afterSeq + lines.length });
      },
      followLogs: async function* (executionId, { signal, afterSeq = 0 }) {
        const { logs } = find(executionId);
        yield { lines: logs.slice(afterSeq), lastSeq: logs.length };
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      },
      ...shelf.handlers(),
      saveCredential: ({ name, type, data, meta, tags, description }) => {
        const times = { createdAtMs: BEGIN_MS, updatedAtMs: BEGIN_MS };
        const row = { credentialId: "11", name, type, data, meta, tags, description, ...times };
        credentials.set(name, row);
        return Promise.resolve(row);
      },
      listCredentials: ({ type }) =>
        Promise.resolve(
          [...credentials.values()].filter((row) => type === undefined || row.type === type),
        ),
      getCredential: (key) => Promise.resolve(credentials.get(key)),
      openCredential: (name) => Promise.resolve(credentials.get(name)?.data ?? {}),
      deleteCredential: (name) => Promise.resolve(credentials.delete(name)),
      listKeychain: () => Promise.resolve([]),
      getKeychain: () => Promise.resolve(undefined),
      openKeychain: () => Promise.resolve(undefined),
      saveKeychain: () => Promise.reject(new Error("not in this test")),
      deleteKeychain: () => Promise.resolve(false),
      countCatalog: ({ kind }) =>
        Promise.resolve(
          catalog.filter((entry) => kind === undefined || entry.kind === kind).length,
        ),
      archivePlaybooks: () => Promise.resolve([]),
      countExecutions: () => Promise.resolve(runs.size),
      listUnfinished: () => Promise.resolve([...runs.keys()] as ExecutionId[]),
      countEvents: (executionId, { types = [] }) =>
        Promise.resolve(
          find(executionId).events.filter(({ event }) => types.includes(event.type)).length,
        ),
      connectionUse: () => Promise.resolve({ open: 3, active: 1, blocked: 0 }),
      listTables: () => Promise.resolve(["event"]),
      stateAt: () => Promise.resolve(undefined),
      countQueued: () => Promise.resolve(0),
      countOpen: () => Promise.resolve({ pending: 1, running: 2 }),
      countRateLimited: () => Promise.resolve(new Map()),
      isBusConnected: () => true,
      readLag: () => Promise.resolve({ pendingCount: 4, unackedCount: 2, redeliveredCount: 1 }),
      countAll: () =>
        Promise.resolve({
          executions: { pending: 0, running: 1, completed: 2, failed: 3, cancelled: 4 },
          playbooks: 5,
          workers: 6,
        }),
    },
  };
  return backend;
}

export function createTestServer(backend: Backend, options: Partial<HttpServerOptions> = {}) {
  const registry = createRegistry({ hasProcessMetrics: false });
  const lines: string[] = [];
  const server = createHttpServer({
    orchestrator: backend.orchestrator,
    reader: backend.reader,
    metrics: createServerMetrics(registry, "1.0.0"),
    registry,
    log: createLogger({
      level: "debug",
      format: "json",
      component: "http",
      write: (line) => void lines.push(line),
    }),
    version: "1.0.0",
    access: { token: undefined, isLoopback: true, origins: [] },
    ...options,
  });
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const response = await server.handle(
      new Request(`http://localhost${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: text }),
      }),
    );
    const answer = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") ?? false;
    return {
      status: response.status,
      headers: response.headers,
      text: answer,
      body: isJson ? JSON.parse(answer) : undefined,
    };
  };
  return { server, call, lines, registry };
}

export const COMMAND = "55" as CommandId;

/** A finished run of one step. */
export function sampleEvents(): ExecutionEvent[] {
  const place = { step: "fetch", visit: 1 };
  return [
    {
      type: "playbook.started",
      path: "tests/demo",
      version: 2,
      workload: { n: 1 },
      executionId: "12" as ExecutionId,
    },
    { type: "step.entered", tokenCount: 1, ...place },
    { type: "command.issued", commandId: COMMAND, pool: "cpu-01", attempt: 1, ...place },
    {
      type: "call.done",
      commandId: COMMAND,
      attempt: 1,
      workerId: "w1" as WorkerId,
      startedAtMs: BEGIN_MS + 3500,
      value: { rows: 2 },
      ...place,
    },
    { type: "step.exited", status: "ok", arcs: [], ...place },
    { type: "playbook.completed", result: { rows: 2 } },
  ];
}
