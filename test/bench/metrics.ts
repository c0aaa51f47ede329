/** `bun test/bench/metrics.ts`: what counting costs, in nanoseconds a call. */
import type { EventOf } from "../../src/engine/event.ts";
import { createServerMetrics } from "../../src/observability/metrics.ts";
import { createRegistry } from "../../src/observability/registry.ts";
import { stepSpanId } from "../../src/observability/trace-context.ts";
import { ExecutionMetrics } from "../../src/orchestrator/execution-metrics.ts";
import { ExecutionTracing } from "../../src/orchestrator/execution-trace.ts";
import type { Pool } from "../../src/store/pool.ts";
import { countStatements } from "../../src/store/pool-load.ts";

const ROUNDS = 200_000;

const metrics = createServerMetrics(createRegistry({ hasProcessMetrics: false }), "1");

/** One step's part of a commit: it is left, and a command of the next one is issued. */
const exited: EventOf<"step.exited"> = {
  type: "step.exited",
  step: "load",
  visit: 1,
  status: "ok",
  arcs: [0],
};
const group = {
  entry: {
    head: { path: "bench/steps", executionId: "1", rootId: "1" },
    state: { steps: new Map([["load", { startedAtMs: 1, visits: 1 }]]) },
  },
  draft: {
    status: "running",
    recorded: [
      { type: "call.done" },
      exited,
      { type: "step.entered" },
      { type: "command.issued" },
    ].map((event) => ({ event, timeMs: 20 })),
  },
} as unknown as Parameters<ExecutionMetrics["count"]>[0];
const counting = new ExecutionMetrics({ metrics });
const untraced = new ExecutionTracing(undefined);
const bare = ((strings: readonly string[]) => Promise.resolve(strings)) as unknown as Pool;
const counted = countStatements(bare, 12).pool;

function measure(name: string, run: () => unknown): void {
  for (let round = 0; round < ROUNDS; round++) {
    run();
  }
  const beginMs = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    run();
  }
  const nanoseconds = ((performance.now() - beginMs) * 1e6) / ROUNDS;
  process.stdout.write(`${name.padEnd(52)} ${nanoseconds.toFixed(0).padStart(6)} ns\n`);
}

measure("counter, 1 label", () => metrics.claims.inc("claimed"));
measure("counter, 3 labels", () => metrics.httpRequests.inc("/api/execute", "POST", "200"));
measure("histogram, no label", () => metrics.commitSeconds.observe(0.004));
measure("histogram, 2 labels", () => metrics.httpSeconds.observe(0.004, "/api/execute", "POST"));
measure("events and metrics of one step", () => counting.count(group));
measure("spans of one step, without a collector", () => untraced.record(group));
measure("id of a span (only when traced)", () => stepSpanId("383156364555321344", "load", 1));
measure("statement, not counted", () => bare`SELECT 1`.then(() => undefined));
measure("statement, counted", () => counted`SELECT 1`.then(() => undefined));
