import { describe, expect, test } from "bun:test";
import {
  executionSpanId,
  stepSpanId,
  traceIdOf,
} from "../../../src/observability/trace-context.ts";
import { waitFor } from "../../support/wait.ts";
import type { OtlpReceiver, ReceivedSpan } from "./otlp-receiver.ts";
import { startOtlpReceiver } from "./otlp-receiver.ts";
import { startObserved } from "./platform.ts";

/** A stand-in for a service that tasks call: keeps the `traceparent` of each path. */
function startEcho() {
  const seen = new Map<string, string | null>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      seen.set(new URL(request.url).pathname, request.headers.get("traceparent"));
      return Response.json({ ok: true });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    seen,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
}

function outer(echo: string): string {
  return `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: outer, path: traces/outer }
workflow:
  - step: start
    tool: { kind: python, code: "print('traced')\\nresult = 1" }
    next: { spec: { mode: inclusive }, arcs: [{ step: call }, { step: below }] }
  - step: call
    tool:
      - first: { kind: http, url: "${echo}/plain" }
      - third: { kind: http, url: "${echo}/none", headers: { Traceparent: null } }
      - second: { kind: http, url: "${echo}/own", headers: { traceparent: "00-11111111111111111111111111111111-2222222222222222-01" } }
  - step: below
    tool: { kind: playbook, path: traces/inner }
`;
}

const INNER = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: inner, path: traces/inner }
workflow:
  - step: start
    tool: { kind: javascript, code: "return 1" }
`;

const SLOW = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: slow, path: traces/slow }
workflow:
  - step: start
    tool: { kind: shell, command: "echo began; sleep 3" }
`;

function spansOf({ spans }: OtlpReceiver, traceId: string): readonly ReceivedSpan[] {
  return spans.filter((span) => span.traceId === traceId);
}

/** Waits until the execution's own span has come, and then so many in all. */
async function receive(
  receiver: OtlpReceiver,
  traceId: string,
  count: number,
): Promise<readonly ReceivedSpan[]> {
  return await waitFor(`${count} spans`, () => {
    const found = spansOf(receiver, traceId);
    return found.length >= count ? found : undefined;
  });
}

function byName(spans: readonly ReceivedSpan[], name: string): ReceivedSpan {
  const found = spans.find((span) => span.name === name);
  if (found === undefined) {
    throw new Error(`No span ${name} in ${spans.map((span) => span.name).join(", ")}`);
  }
  return found;
}

describe("traces", () => {
  test("execution, steps, tasks and sub-playbooks make one tree, which calls of tasks continue", async () => {
    await using receiver = startOtlpReceiver();
    await using echo = startEcho();
    await using platform = await startObserved({
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
        OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20abc",
      },
    });
    const worker = await platform.startWorker("default");
    await platform.register(INNER);
    await platform.register(outer(echo.url));
    const id = await platform.start("traces/outer");
    expect(await platform.ended(id)).toBe("COMPLETED");
    const spans = await receive(receiver, traceIdOf(id), 11);
    const ids = new Set(spans.map(({ spanId }) => spanId));
    expect(ids.size).toBe(spans.length);
    const root = byName(spans, "execution traces/outer");
    expect(spans.filter(({ parentId }) => !ids.has(parentId))).toEqual([root]);
    expect(root).toMatchObject({
      spanId: executionSpanId(id),
      parentId: "",
      service: "noetl-server",
      isError: false,
      attributes: { "noetl.execution_id": id, "noetl.status": "completed" },
    });
    const [step, task] = [byName(spans, "step start"), byName(spans, "python start")];
    expect([step.parentId, task.parentId]).toEqual([root.spanId, step.spanId]);
    expect(task).toMatchObject({ service: "noetl-worker", attributes: { "noetl.attempt": 1 } });
    const first = byName(spans, "http first");
    expect(first.parentId).toBe(stepSpanId(id, "call", 1));
    expect(echo.seen.get("/plain")).toBe(`00-${root.traceId}-${first.spanId}-01`);
    expect(echo.seen.get("/own")).toContain("11111111111111111111111111111111");
    expect(byName(spans, "execution traces/inner").parentId).toBe(stepSpanId(id, "below", 1));
    expect(spans.every(({ startMs, endMs }) => startMs > 0 && endMs >= startMs)).toBe(true);
    expect(receiver.headers?.get("authorization")).toBe("Basic abc");
    const line = worker.lines.find((text) => text.includes('"msg":"traced"')) ?? "{}";
    expect(JSON.parse(line)).toMatchObject({ trace_id: root.traceId, span_id: task.spanId });
  }, 60_000);

  test("a caller's traceparent makes the execution part of its trace", async () => {
    await using receiver = startOtlpReceiver();
    await using platform = await startObserved({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, NOETL_TRACE_PERCENT: "0" },
    });
    await platform.startWorker("default");
    await platform.register(INNER);
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const header = (flags: string) => ({ traceparent: `00-${traceId}-b7ad6b7169203331-${flags}` });
    const unwanted = await platform.start("traces/inner", header("00"));
    const untraced = await platform.start("traces/inner", { traceparent: "not one" });
    await Promise.all([platform.ended(unwanted), platform.ended(untraced)]);
    const id = await platform.start("traces/inner", header("01"));
    await platform.ended(id);
    const spans = await receive(receiver, traceId, 3);
    expect(byName(spans, "execution traces/inner")).toMatchObject({
      parentId: "b7ad6b7169203331",
      spanId: executionSpanId(id),
    });
    expect(receiver.spans.filter((span) => span.attributes["noetl.execution_id"] !== id)).toEqual(
      [],
    );
  }, 60_000);

  test("a command whose worker was killed stays in the tree", async () => {
    await using receiver = startOtlpReceiver();
    await using platform = await startObserved({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url },
    });
    const first = await platform.startWorker("default");
    await platform.register(SLOW);
    const id = await platform.start("traces/slow");
    await waitFor("the task", () => first.lines.some((line) => line.includes('"msg":"began"')));
    first.child.kill("SIGKILL");
    await platform.startWorker("default");
    await waitFor("the end", async () => (await platform.status(id)) === "COMPLETED", {
      deadlineMs: 60_000,
    });
    const spans = await receive(receiver, traceIdOf(id), 3);
    expect(spans.map(({ name }) => name).sort()).toEqual([
      "execution traces/slow",
      "shell start",
      "step start",
    ]);
    const task = byName(spans, "shell start");
    expect(task.parentId).toBe(byName(spans, "step start").spanId);
    expect(task.attributes["noetl.attempt"]).toBe(2);
  }, 90_000);

  test("a collector that is away holds nothing up, and is said once", async () => {
    await using platform = await startObserved({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", NOETL_LOG_LEVEL: "info" },
    });
    await platform.startWorker("default");
    await platform.register(INNER);
    expect(await platform.ended(await platform.start("traces/inner"))).toBe("COMPLETED");
    const said = (): readonly string[] =>
      platform.server.lines.filter((line) => line.includes("spans cannot be sent"));
    await waitFor("the warning", () => said().length > 0);
    await platform.ended(await platform.start("traces/inner"));
    const metrics = await waitFor("both failures", async () => {
      const text = await (await fetch(`${platform.url}/metrics`)).text();
      return /noetl_trace_spans_total\{outcome="failed"\} [4-9]/.test(text) ? text : undefined;
    });
    expect(metrics).toContain('noetl_trace_spans_total{outcome="recorded"}');
    expect(said()).toHaveLength(1);
  }, 60_000);
});
