import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import type { MetricTable } from "../../../src/observability/definition.ts";
import { createInstruments } from "../../../src/observability/definition.ts";
import { METRICS_BY_ROLE } from "../../../src/observability/metrics-table.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { waitFor } from "../../support/wait.ts";
import { promtool, readSamples, strangers } from "./exposition.ts";
import type { ObservedPlatform } from "./platform.ts";
import { scrape, startObserved } from "./platform.ts";

const HAS_PROMTOOL = Bun.which("promtool") !== null;
const POOL = "cpu-01";

/** One execution feeds most: steps that go well, fail and are skipped, loops, retries, large values, logs. */
const MANY = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: many, path: metrics/many }
executor:
  spec: { concurrency: { key: metrics, limit: 1 } }
workflow:
  - step: start
    loop: { in: "{{ [1, 2, 3] }}", iterator: n, spec: { mode: parallel } }
    tool: { kind: python, code: "print('row')\\nresult = 'x' * 100000" }
    next: { arcs: [{ step: limited }] }
  - step: limited
    tool: { kind: javascript, code: "return 1", spec: { rate_limit: { key: metrics, per_second: 50 } } }
    next: { arcs: [{ step: fails }] }
  - step: fails
    tool:
      kind: shell
      command: exit 3
      spec: { policy: { rules: [{ when: "{{ output.status == 'error' }}", then: { do: retry, attempts: 2, delay: 0.01 } }] } }
`;

/** Not fed here: they need components, faults or time that this test has not. */
const ELSEWHERE =
  /^noetl_(gpu_|pool_gpus|subscription_|schedule_|secret|keychain|adoptions|retention|workers_lost|executions_retried|signals|worker_containers|command_publish_failed|fence_|commands_retried|trace_|worker_command_loop|result_store_resolve|write_requests)/;

const SERVER = { ...METRICS_BY_ROLE["server"], ...METRICS_BY_ROLE["server, worker"] };
const WORKER = { ...METRICS_BY_ROLE["worker"], ...METRICS_BY_ROLE["server, worker"] };

describe("a running platform", () => {
  let platform: ObservedPlatform;
  let server = "";
  let worker = "";

  beforeAll(async () => {
    platform = await startObserved();
    const port = await findFreePort();
    await platform.startWorker(POOL, port);
    await platform.register(
      MANY.replaceAll("kind: python", `kind: python, pool: ${POOL}`)
        .replaceAll("kind: javascript", `kind: javascript, pool: ${POOL}`)
        .replaceAll("kind: shell", `kind: shell\n      pool: ${POOL}`),
    );
    const ids = await Promise.all([1, 2].map(() => platform.start("metrics/many")));
    for (const id of ids) {
      await platform.ended(id);
    }
    server = await waitFor("gauges of the pool", async () => {
      const text = await scrape(`${platform.url}/metrics`);
      return /noetl_consumer_pending\{pool="cpu-01"\} 0/.test(text) &&
        /noetl_task_log_lines_total\{outcome="stored"\} [1-9]/.test(text)
        ? text
        : undefined;
    });
    worker = await scrape(`http://127.0.0.1:${port}/metrics`);
  }, 60_000);

  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
  });

  test.each(["server", "worker"])(
    "a %s shows what is defined for it, with labels as they are defined",
    (role) => {
      const [text, table] = role === "server" ? [server, SERVER] : [worker, WORKER];
      const samples = readSamples(text);
      expect(strangers(samples, table)).toEqual([]);
      const shown = new Set(samples.map(({ metric }) => metric));
      const missing = Object.values(table).filter(
        ({ name }) => !shown.has(name) && !ELSEWHERE.test(name),
      );
      expect(missing.map(({ name }) => name)).toEqual([]);
    },
  );

  test("what happened is what they say", () => {
    const sum = (text: string, metric: string, labels: Readonly<Record<string, string>> = {}) =>
      readSamples(text)
        .filter((one) => one.metric === metric)
        .filter((one) =>
          Object.entries(labels).every(([name, value]) => one.labels[name] === value),
        )
        .reduce((total, { value }) => total + value, 0);
    const playbook = "metrics/many";
    expect(sum(server, "noetl_executions_started_total", { playbook })).toBe(2);
    expect(sum(server, "noetl_executions_finished_total", { playbook, status: "failed" })).toBe(2);
    expect(sum(server, "noetl_steps_finished_total", { status: "ok" })).toBe(4);
    expect(sum(server, "noetl_steps_finished_total", { status: "error" })).toBe(2);
    expect(sum(server, "noetl_admissions_total", { outcome: "queued" })).toBe(1);
    expect(sum(server, "noetl_result_store_put_total", { status: "ok" })).toBe(6);
    expect(sum(server, "noetl_pool_workers", { pool: POOL })).toBe(1);
    expect(sum(server, "noetl_queue_waiting")).toBe(0);
    expect(sum(server, "noetl_executions_open")).toBe(0);
    expect(sum(server, "noetl_bus_connected")).toBe(1);
    expect(sum(server, "noetl_database_up")).toBe(1);
    expect(sum(server, "noetl_sweep_last_success_timestamp_seconds")).toBeGreaterThan(1e9);
    expect(sum(server, "noetl_database_connections", { state: "open" })).toBeGreaterThan(0);
    expect(
      sum(worker, "noetl_worker_tool_runs_total", { tool_kind: "python", outcome: "ok" }),
    ).toBe(6);
    expect(sum(worker, "noetl_worker_tool_runs_total", { outcome: "exit_code" })).toBe(4);
    expect(sum(worker, "noetl_worker_bus_connected")).toBe(1);
    expect(sum(worker, "process_resident_memory_bytes")).toBeGreaterThan(1e7);
  });

  test.skipIf(!HAS_PROMTOOL)("promtool finds no fault with them", async () => {
    expect([await promtool(server), await promtool(worker)]).toEqual(["", ""]);
  });
});

test.skipIf(!HAS_PROMTOOL)("promtool finds no fault with any metric, all of them fed", async () => {
  const texts = await Promise.all(Object.values(METRICS_BY_ROLE).map(feedAll));
  expect(await Promise.all(texts.map(promtool))).toEqual(texts.map(() => ""));
});

/** The exposition of a table whose metrics have all values of their labels, as far as they are known. */
async function feedAll(table: MetricTable): Promise<string> {
  const registry = createRegistry({ hasProcessMetrics: false });
  const instruments = createInstruments(registry, table);
  for (const [key, { labels }] of Object.entries(table)) {
    const choices = Object.values(labels).map((values) =>
      typeof values === "string" ? ["some"] : values,
    );
    const size = Math.max(1, ...choices.map((values) => values.length));
    for (let index = 0; index < size; index++) {
      const values = choices.map((choice) => choice[index % choice.length] ?? "");
      const instrument = instruments[key];
      if (instrument === undefined) {
        continue;
      }
      if ("observe" in instrument) {
        instrument.observe(0.1, values[0], values[1]);
      } else if ("set" in instrument) {
        instrument.set(1, ...values);
      } else {
        instrument.inc(values[0], values[1], values[2]);
      }
    }
  }
  return await registry.text();
}
