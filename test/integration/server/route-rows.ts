/**
 * Every route of NoETL's API that src/server/README.md lists, with a call of it as NoETL's clients make it
 * and the shape of the answer that they read.
 */
import { expect } from "bun:test";
import { OPERATOR_TOKEN } from "./platform.ts";

/** What the rows need to exist: made once, before all calls. */
export interface World {
  readonly catalogId: string;
  /** Runs, with an open command of step `start` and a variable `total`. */
  readonly running: string;
  readonly ended: string;
  /** Reference to a stored result of `ended`. */
  readonly ref: string;
}

export interface RouteRow {
  /** As the README has it. */
  readonly route: string;
  readonly call: (world: World) => readonly [path: string, body?: unknown];
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** To be matched by the answer; undefined: any. */
  readonly answer?: unknown;
}

const ID = expect.stringMatching(/^\d+$/);
const TEXT = expect.any(String);
const NUMBER = expect.any(Number);
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/);
const LIST = expect.any(Array);

export const DOCUMENT = `
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: Nightly load
  path: tests/nightly
  description: Loads **all** of a day.
workload:
  # Day to load
  day: "2026-01-01"
  rows: 100 # At most
  api_token: ""
  deep: {on: true}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    set: {ctx.total: 3}
    next: [{step: wait}]
  - step: wait
    tool: {kind: wait, signal: go}
`;

const EXECUTION = {
  execution_id: ID,
  catalog_id: ID,
  path: "tests/nightly",
  version: 1,
  status: TEXT,
  started_at: TIME,
  start_time: TIME,
  duration_seconds: NUMBER,
  duration_human: TEXT,
};

const OPERATOR = { authorization: `Bearer ${OPERATOR_TOKEN}` };

const SUBSCRIPTION = `
apiVersion: noetl.io/v1
kind: Subscription
metadata: {name: orders, path: tests/orders}
spec:
  source: webhook
  hook: {path: orders, verify: {kind: bearer, credential: missing}}
  target: {playbook: tests/nightly}
`;

export const ROWS: readonly RouteRow[] = [
  { route: "GET /health", call: () => ["/health"], answer: { status: "ok" } },
  {
    route: "GET /api/health",
    call: () => ["/api/health"],
    answer: { status: "ok", database: "ok", nats: "ok", uptime_seconds: NUMBER, version: TEXT },
  },
  {
    route: "GET /api/pool/status",
    call: () => ["/api/pool/status"],
    answer: {
      pool_min: 0,
      pool_max: 4,
      pool_size: NUMBER,
      pool_available: NUMBER,
      requests_waiting: NUMBER,
      utilization: NUMBER,
      slots_available: NUMBER,
      status: "ok",
    },
  },
  { route: "GET /metrics", call: () => ["/metrics"], answer: expect.stringContaining("# HELP") },
  {
    route: "POST /api/catalog/register",
    call: () => ["/api/catalog/register", { content: btoa(DOCUMENT), resource_type: "Playbook" }],
    answer: {
      status: "success",
      message: TEXT,
      path: "tests/nightly",
      version: 1,
      catalog_id: ID,
      kind: "playbook",
    },
  },
  {
    route: "POST /api/catalog/list",
    call: () => ["/api/catalog/list", { resource_type: "Playbook" }],
    answer: {
      entries: [
        {
          catalog_id: ID,
          path: "tests/nightly",
          kind: "playbook",
          version: 1,
          content: DOCUMENT,
          created_at: TIME,
        },
      ],
      total: 1,
      next_offset: null,
    },
  },
  {
    route: "GET /api/catalog/list/{kind}",
    call: () => ["/api/catalog/list/Playbook?include_content=false"],
    answer: { entries: [{ path: "tests/nightly", content: "" }] },
  },
  {
    route: "POST /api/catalog/resource",
    call: () => ["/api/catalog/resource", { path: "tests/nightly", version: "latest" }],
    answer: { catalog_id: ID, path: "tests/nightly", version: 1, content: DOCUMENT },
  },
  {
    route: "GET /api/catalog/{path}/ui_schema",
    call: () => ["/api/catalog/tests/nightly/ui_schema?version=1"],
    answer: {
      path: "tests/nightly",
      version: 1,
      kind: "playbook",
      title: "Nightly load",
      description_markdown: "Loads **all** of a day.",
      exposed_in_ui: true,
      generated_at: TIME,
      fields: [
        { name: "day", type: "string", default: "2026-01-01", label: "Day to load" },
        { name: "rows", type: "integer", default: 100, label: "At most" },
        { name: "api_token", type: "string", label: "Api token", format: "password" },
        { name: "deep", type: "object", fields: [{ name: "on", type: "boolean", default: true }] },
      ],
    },
  },
  {
    route: "POST /api/catalog/playbooks/validate",
    call: () => ["/api/catalog/playbooks/validate", { content: "kind: Playbook" }],
    answer: {
      valid: false,
      errors: expect.arrayContaining([{ line: NUMBER, code: TEXT }].map(expect.objectContaining)),
      warnings: LIST,
    },
  },
  {
    route: "GET /api/catalog/playbook/content",
    call: () => ["/api/catalog/playbook/content?path=tests/nightly"],
    answer: { path: "tests/nightly", version: 1, content: DOCUMENT },
  },
  {
    route: "PUT /api/catalog/playbook/content",
    call: () => ["/api/catalog/playbook/content", { path: "tests/nightly", content: DOCUMENT }],
    answer: { path: "tests/nightly", version: 1 },
  },
  {
    route: "PUT /api/catalog/playbook",
    call: () => ["/api/catalog/playbook", { path: "tests/other", content: DOCUMENT }],
    status: 422,
    answer: { code: "PATH_MISMATCH" },
  },
  {
    route: "POST /api/catalog/delete",
    call: () => ["/api/catalog/delete", { path: "tests/nightly", version: 1 }],
    answer: {
      status: "success",
      message: TEXT,
      path: "tests/nightly",
      deleted: [{ catalog_id: ID, version: 1 }],
      count: 1,
    },
  },
  {
    route: "POST /api/catalog/restore",
    call: () => ["/api/catalog/restore", { path: "tests/nightly" }],
    answer: { restored: [{ catalog_id: ID, version: 1 }], count: 1 },
  },
  {
    route: "DELETE /api/catalog/playbooks/{id}",
    call: () => ["/api/catalog/playbooks/1"],
    status: 404,
    answer: { code: "CATALOG_ENTRY_NOT_FOUND" },
  },
  {
    route: "POST /api/execute",
    call: ({ catalogId }) => ["/api/execute", { catalog_id: catalogId, workload: { rows: 2 } }],
    answer: { execution_id: ID, status: "started", commands_generated: 1 },
  },
  {
    route: "POST /api/execute/batch",
    call: () => ["/api/execute/batch", { executions: [{ path: "tests/nightly" }, { path: "no" }] }],
    answer: {
      count: 2,
      started: 1,
      duplicates: 0,
      failed: 1,
      results: [
        { index: 0, status: "started", execution_id: ID, commands_generated: 1 },
        { index: 1, status: "error", error: TEXT },
      ],
    },
  },
  {
    route: "POST /api/events",
    call: ({ ended }) => [
      "/api/events",
      { execution_id: ended, step: "start", event_type: "call.done", payload: {} },
    ],
    status: 409,
    answer: { error: TEXT, status: 409, code: "COMMAND_NOT_OPEN" },
  },
  {
    route: "POST /api/events/batch",
    call: ({ running }) => ["/api/events/batch", { execution_id: running, events: [] }],
    answer: { status: "ok", event_ids: [], commands_generated: 0 },
  },
  {
    route: "POST /api/internal/container-callback/{eid}/{step}",
    call: ({ running }) => [
      `/api/internal/container-callback/${running}/start`,
      { state: "failed_oom", job_name: "noetl-container-start", exit_code: 137 },
    ],
    status: 202,
    answer: { status: "accepted_stale" },
  },
  {
    route: "GET /api/executions",
    call: () => ["/api/executions?path=NIGHT&status=RUNNING&page=1&page_size=5&include_total=true"],
    answer: expect.arrayContaining([expect.objectContaining(EXECUTION)]),
  },
  {
    route: "GET /api/executions/{id}",
    call: ({ running }) => [`/api/executions/${running}`],
    answer: {
      ...EXECUTION,
      status: "RUNNING",
      completed_at: null,
      parent_execution_id: null,
      progress: NUMBER,
      workload: { day: "2026-01-01", rows: 100, api_token: "", deep: { on: true } },
      events: expect.arrayContaining([
        expect.objectContaining({
          event_id: TEXT,
          event_type: "step.enter",
          node_name: "start",
          status: TEXT,
          created_at: TIME,
          result: null,
          error: null,
        }),
      ]),
    },
  },
  {
    route: "GET /api/executions/{id}?page&page_size&since_event_id&event_type",
    call: ({ running }) => [`/api/executions/${running}?page=1&page_size=1&event_type=step_enter`],
    answer: {
      pagination: {
        page: 1,
        page_size: 1,
        total_events: NUMBER,
        total_pages: NUMBER,
        has_next: true,
        has_prev: false,
      },
      events: [{ event_type: "step.enter", node_name: "start" }],
    },
  },
  {
    route: "GET /api/executions/{id}/events",
    call: ({ running }) => [`/api/executions/${running}/events?limit=2`],
    answer: { execution_id: ID, total_events: NUMBER, events: [{}, {}] },
  },
  {
    route: "GET /api/executions/{id}/status",
    call: ({ running }) => [`/api/executions/${running}/status`],
    answer: {
      execution_id: ID,
      status: "RUNNING",
      current_step: "wait",
      progress: { total_steps: 2, completed_steps: 1, running_steps: 1, failed_steps: 0 },
      is_cancelled: false,
    },
  },
  {
    route: "GET /api/executions/{id}/cancellation-check",
    call: ({ running }) => [`/api/executions/${running}/cancellation-check`],
    answer: { execution_id: ID, is_cancelled: false },
  },
  {
    route: "POST /api/executions/{id}/cancel",
    call: ({ ended }) => [`/api/executions/${ended}/cancel`, { reason: "late", cascade: true }],
    status: 422,
    answer: { error: TEXT, code: "EXECUTION_FINISHED" },
  },
  {
    route: "POST /api/executions/{id}/stop",
    call: ({ ended }) => [`/api/executions/${ended}/stop`, {}],
    status: 422,
  },
  {
    route: "POST /api/executions/{id}/finalize",
    call: ({ ended }) => [`/api/executions/${ended}/finalize`, { status: "FAILED", error: "x" }],
    status: 422,
  },
  {
    route: "POST /api/executions/{id}/rerun",
    call: ({ ended }) => [`/api/executions/${ended}/rerun`, {}],
    answer: { execution_id: ID, rerun_of: ID, status: "started" },
  },
  {
    route: "POST /api/executions/cleanup",
    call: () => ["/api/executions/cleanup", { older_than_minutes: 5, dry_run: true }],
    answer: { cancelled_count: 0, execution_ids: [], message: TEXT },
  },
  {
    route: "PUT /api/result/{execution_id}",
    call: ({ ended }) => [`/api/result/${ended}`, { name: "report", data: { a: 1 } }],
    answer: { ref: TEXT, store: "db", scope: "execution", bytes: NUMBER, sha256: TEXT },
  },
  {
    route: "GET /api/result/resolve",
    call: ({ ref }) => [`/api/result/resolve?ref=${encodeURIComponent(ref)}`],
    answer: { big: true },
  },
  {
    route: "GET /api/vars/{id}",
    call: ({ running }) => [`/api/vars/${running}`],
    answer: [{ var_name: "total", var_type: "user_defined", var_value: 3, source_step: null }],
  },
  {
    route: "POST /api/vars/{id}",
    call: ({ running }) => [
      `/api/vars/${running}`,
      { variables: [{ var_name: "extra", var_value: [1], var_type: "user_defined" }] },
    ],
    answer: { execution_id: ID, variables_set: 1, status: "success" },
  },
  {
    route: "GET /api/vars/{id}/{name}",
    call: ({ running }) => [`/api/vars/${running}/extra`],
    answer: { var_name: "extra", var_value: [1] },
  },
  {
    route: "DELETE /api/vars/{id}/{name}",
    call: ({ running }) => [`/api/vars/${running}/extra`],
    answer: { execution_id: ID, var_name: "extra", status: "deleted" },
  },
  {
    route: "DELETE /api/vars/{id}",
    call: ({ ended }) => [`/api/vars/${ended}`],
    status: 409,
    answer: { code: "EXECUTION_FINISHED" },
  },
  {
    route: "POST /api/credentials",
    call: () => [
      "/api/credentials",
      { name: "key", type: "bearer", data: { token: "t-0123456789" }, tags: ["a"] },
    ],
    answer: { id: ID, name: "key", type: "bearer", created_at: TIME, updated_at: TIME },
  },
  {
    route: "GET /api/credentials",
    call: () => ["/api/credentials?type=bearer&q=ke"],
    answer: { items: [{ name: "key" }] },
  },
  {
    route: "GET /api/credentials/{name}",
    call: () => ["/api/credentials/key"],
    answer: { id: ID, name: "key", type: "bearer" },
  },
  {
    route: "DELETE /api/credentials/{name}",
    call: () => ["/api/credentials/key"],
    answer: { message: TEXT },
  },
  {
    route: "POST /api/keychain/{catalog_id}/{name}",
    call: ({ catalogId }) => [
      `/api/keychain/${catalogId}/api`,
      { data: { token: "k-0123456789" }, scope_type: "global", expires_in: 60 },
    ],
    answer: { status: TEXT, cache_key: TEXT },
  },
  {
    route: "GET /api/keychain/{catalog_id}/{name}",
    call: ({ catalogId }) => [`/api/keychain/${catalogId}/api`],
    answer: { status: "found" },
  },
  {
    route: "GET /api/keychain/catalog/{catalog_id}",
    call: ({ catalogId }) => [`/api/keychain/catalog/${catalogId}`],
    answer: { catalog_id: ID, entries: [{}] },
  },
  {
    route: "DELETE /api/keychain/{catalog_id}/{name}",
    call: ({ catalogId }) => [`/api/keychain/${catalogId}/api`],
  },
  { route: "GET /api/worker/pools", call: () => ["/api/worker/pools"], answer: LIST },
  {
    route: "POST /api/postgres/execute",
    call: () => [
      "/api/postgres/execute",
      { query: "SELECT 1 AS one, $1::text AS two", parameters: ["b"] },
    ],
    headers: OPERATOR,
    answer: { status: "ok", result: [{ one: 1, two: "b" }], error: null },
  },
  {
    route: "GET /api/db/validate",
    call: () => ["/api/db/validate"],
    answer: { status: "ok", valid: true, tables: expect.arrayContaining(["event"]), missing: [] },
  },
  {
    route: "POST /api/db/init",
    call: () => ["/api/db/init"],
    answer: { status: "ok", message: TEXT },
  },
  {
    route: "GET /api/status",
    call: () => ["/api/status"],
    answer: { status: "ok", pid: NUMBER, host: { cpus: NUMBER } },
  },
  {
    route: "GET /api/dashboard/stats",
    call: () => ["/api/dashboard/stats"],
    answer: {
      status: "ok",
      stats: {
        total_executions: NUMBER,
        successful_executions: NUMBER,
        failed_executions: NUMBER,
        cancelled_executions: NUMBER,
        running_executions: NUMBER,
        total_playbooks: NUMBER,
        total_workers: NUMBER,
      },
    },
  },
  {
    route: "GET /api/dashboard/widgets",
    call: () => ["/api/dashboard/widgets"],
    answer: { widgets: expect.arrayContaining([expect.objectContaining({ id: TEXT })]) },
  },
  { route: "GET /api/subscriptions", call: () => ["/api/subscriptions"] },
  {
    route: "POST /api/subscriptions/register",
    call: () => ["/api/subscriptions/register", { content: SUBSCRIPTION }],
    status: 422,
  },
  { route: "GET /api/subscriptions/{id}", call: () => ["/api/subscriptions/1"], status: 404 },
  {
    route: "POST /api/subscriptions/{id}/{action}",
    call: () => ["/api/subscriptions/1/pause", {}],
    status: 404,
  },
  {
    route: "GET /api/replay/state",
    call: ({ running }) => [`/api/replay/state?execution_id=${running}&as_of_event_id=2`],
    answer: {
      execution_id: ID,
      as_of_event_id: "2",
      as_of_time: TIME,
      projection: { status: "RUNNING", steps: [{ step: "start", status: "running" }] },
      checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
    },
  },
  {
    route: "POST /api/catalog/agents/list",
    call: () => ["/api/catalog/agents/list", {}],
    answer: { entries: [] },
  },
];
