import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { WorkerParts, WorkerProbes } from "../../../src/cli/worker-probes.ts";
import { openProbes } from "../../../src/cli/worker-probes.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createWorkerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { WorkerStatus } from "../../../src/worker/worker.ts";

const WORKING: WorkerStatus = {
  state: "working",
  slots: 4,
  freeSlots: 3,
  parked: 0,
  isConnected: true,
  answerAgeMs: 100,
  pullAgeMs: 0,
};

let stack = new AsyncDisposableStack();

beforeEach(() => {
  stack = new AsyncDisposableStack();
});

afterEach(async () => {
  await stack.disposeAsync();
});

function open(parts: WorkerParts, metricsPort: number | "default" = 0) {
  const lines: string[] = [];
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createWorkerMetrics(registry, "1.2.3");
  const log = createLogger({
    level: "info",
    format: "json",
    component: "worker",
    write: (line) => lines.push(line),
  });
  const port = metricsPort === "default" ? undefined : metricsPort;
  const values = { metricsHost: "127.0.0.1", metricsPort: port };
  const probes = stack.use(openProbes({ values, registry, parts, log }));
  return { probes, metrics, lines };
}

async function ask(probes: WorkerProbes, path: string): Promise<readonly [number, string]> {
  const response = await fetch(new URL(path, probes.metricsUrl));
  return [response.status, await response.text()];
}

describe("the probes of a worker", () => {
  test("serve metrics under the address that the worker registers", async () => {
    const { probes, metrics, lines } = open({ bus: undefined, worker: undefined });
    metrics.slots.set(4);
    const response = await fetch(probes.metricsUrl);
    expect(response.headers.get("content-type")).toContain("text/plain");
    const text = await response.text();
    expect(text).toContain('noetl_worker_build_info{version="1.2.3"} 1');
    expect(text).toContain("noetl_worker_slots 4");
    expect(lines.join("")).toContain(`"url":"${probes.metricsUrl}"`);
    expect((await ask(probes, "/else"))[0]).toBe(404);
  });

  test("are alive at once, ready only when working, connected to a server and to NATS", async () => {
    const parts: WorkerParts = { bus: undefined, worker: undefined };
    const { probes } = open(parts);
    expect((await ask(probes, "/livez"))[0]).toBe(200);
    expect((await ask(probes, "/healthz"))[0]).toBe(200);
    const [status, body] = await ask(probes, "/readyz");
    expect(status).toBe(503);
    expect(JSON.parse(body)).toMatchObject({ status: "not_ready", state: "starting" });

    parts.bus = { isConnected: true };
    parts.worker = { status: WORKING };
    const ready = await ask(probes, "/readyz");
    expect(ready[0]).toBe(200);
    expect(JSON.parse(ready[1])).toEqual({
      status: "ok",
      state: "working",
      server: "connected",
      nats: "connected",
      slots: 4,
      free_slots: 3,
    });

    parts.lacking = new Map([["ssh", "there is no program ssh in the PATH"]]);
    expect(JSON.parse((await ask(probes, "/readyz"))[1])).toMatchObject({
      status: "ok",
      lacks: { ssh: "there is no program ssh in the PATH" },
    });

    const unready: readonly WorkerParts[] = [
      { bus: { isConnected: false }, worker: { status: WORKING } },
      { ...parts, worker: { status: { ...WORKING, isConnected: false } } },
      { ...parts, worker: { status: { ...WORKING, state: "draining" } } },
    ];
    for (const each of unready) {
      Object.assign(parts, each);
      expect((await ask(probes, "/readyz"))[0]).toBe(503);
    }
    expect((await ask(probes, "/livez"))[0]).toBe(200);
  });

  test("a port that was asked for and is taken is an error; the default gives way", async () => {
    const none: WorkerParts = { bus: undefined, worker: undefined };
    const { probes } = open(none);
    expect(() => open(none, probes.port)).toThrow("choose another port with --metrics-port");

    open(none, "default");
    const second = open(none, "default");
    expect(second.probes.port).not.toBe(9090);
    expect(second.lines[0]).toContain('"level":"warn"');
    expect((await ask(second.probes, "/livez"))[0]).toBe(200);
  });
});
