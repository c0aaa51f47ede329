import { describe, expect, test } from "bun:test";
import { check, formatDiagnostic } from "@bpinternal/verel";
import { LOG_FIELDS } from "../../../src/observability/log-fields.ts";
import type { LogEvent } from "./vector-model.ts";
import {
  bulkRequest,
  composeLine,
  PROGRAM,
  podLine,
  readConfig,
  transform,
} from "./vector-model.ts";
import { ingest } from "./victorialogs.ts";

const COMPONENTS = [
  "noetl-server",
  "noetl-worker",
  "postgres",
  "nats",
  "victoriametrics",
  "vmalert",
  "grafana",
  "victorialogs",
  "vector",
  "postgres-exporter",
];
const STREAM_FIELDS = ["namespace", "pod", "container", "app", "pool"];
const LEVELS = new Set(["debug", "info", "warn", "error"]);

async function recorded(component: string): Promise<readonly string[]> {
  const text = await Bun.file(`test/fixtures/logs/${component}.txt`).text();
  return text.split("\n").filter((line) => line !== "");
}

const seen = new Map<string, readonly LogEvent[]>();

/** Each run of the program takes some 30 ms: once is enough. */
async function transformed(component: string): Promise<readonly LogEvent[]> {
  const lines = await recorded(component);
  const events =
    seen.get(component) ??
    lines.flatMap((line): LogEvent[] => {
      const event = transform(podLine(component, line));
      return event === undefined ? [] : [event];
    });
  seen.set(component, events);
  return events;
}

/** Of the lines with such a message, the first. */
async function find(component: string, part: string): Promise<LogEvent> {
  const found = (await transformed(component)).find(({ msg }) => String(msg).includes(part));
  return found ?? expect.unreachable(`no line of ${component} with ${part}`);
}

describe("transform.vrl", () => {
  test("compiles without errors and warnings", () => {
    const { errors, warnings } = check(PROGRAM);
    expect([...errors, ...warnings].map(formatDiagnostic)).toEqual([]);
  });

  test.each(COMPONENTS)(
    "each line of %s has time, level, message and origin",
    async (component) => {
      const lines = await recorded(component);
      const events = await transformed(component);
      expect(events).toHaveLength(lines.length);
      for (const event of events) {
        expect(Number.isNaN(Date.parse(String(event["time"])))).toBe(false);
        expect(LEVELS.has(String(event["level"]))).toBe(true);
        expect(event["msg"]).not.toBe("");
        expect(event).toMatchObject({
          namespace: "noetl-platform",
          pod: `${component}-0`,
          container: component,
          app: component,
          node: "node-1",
        });
        expect(event).not.toHaveProperty("kubernetes");
      }
    },
  );

  test("lines of noetl keep their fields and time", async () => {
    const [line = ""] = await recorded("noetl-server");
    const ours = JSON.parse(line);
    expect(transform(podLine("noetl-server", line))).toMatchObject(ours);
  });

  test("lines of tasks keep what they belong to; what they wrote is text, whatever it looks like", async () => {
    const line = await find("noetl-worker", "row 1 of");
    expect(line).toMatchObject({
      msg: 'row 1 of "two"',
      component: "task",
      stream: "stdout",
      step: "start",
      attempt: 1,
      index: 0,
      pool: "cpu-01",
    });
    const known = new Set([...LOG_FIELDS.map(({ name }) => name), ...STREAM_FIELDS, "node"]);
    expect(Object.keys(line).filter((name) => !known.has(name))).toEqual([]);
    for (const name of ["execution_id", "command_id", "trace_id", "span_id"]) {
      expect(line[name]).toMatch(/^[0-9a-f]+$/);
    }
    expect(await find("noetl-worker", "not ours")).toMatchObject({
      level: "info",
      msg: '{"level":"error","msg":"not ours"}',
    });
  });

  test("lines of others are readable", async () => {
    expect(await find("postgres", "missing_table")).toMatchObject({
      level: "error",
      msg: 'relation "missing_table" does not exist at character 15',
      time: "2026-11-23T07:26:32.930Z",
    });
    expect(await find("postgres", "SELECT * FROM")).toMatchObject({
      level: "info",
      part: "statement",
    });
    expect(await find("postgres", "low on space")).toMatchObject({ level: "warn" });
    expect(await find("nats", "Server is ready")).toMatchObject({
      level: "info",
      msg: "Server is ready",
    });
    expect(await find("victoriametrics", "starting")).toMatchObject({ level: "info" });
    expect(await find("vmalert", "has been stopped in")).toMatchObject({
      level: "info",
      caller: "VictoriaMetrics/app/victoria-metrics/main.go:81",
    });
    expect(await find("grafana", "Update check")).toMatchObject({
      level: "error",
      logger: "plugins.update.checker",
      time: "2026-11-23T07:00:01.5Z",
    });
    expect(await find("grafana", "Request Completed")).toMatchObject({
      level: "warn",
      path: "/api/live",
    });
    expect(await find("victorialogs", "read-only")).toMatchObject({ level: "warn" });
    expect(await find("vector", "Line is longer")).toMatchObject({ level: "warn" });
    expect(await find("postgres-exporter", "collector failed")).toMatchObject({ level: "error" });
  });

  test("what nobody recognises stays as it is, and an empty line goes nowhere", () => {
    expect(transform(podLine("job", "    at main (index.js:3)"))).toMatchObject({
      level: "info",
      msg: "    at main (index.js:3)",
      time: "2026-11-23T09:00:00Z",
    });
    expect(transform(podLine("job", '{"rows":3}'))).toMatchObject({ msg: '{"rows":3}' });
    expect(transform(podLine("job", "[1] 2026/11/23 07:23:28 cut"))).toMatchObject({
      msg: "[1] 2026/11/23 07:23:28 cut",
    });
    expect(transform(podLine("job", "   "))).toBeUndefined();
  });

  test("no line can say that it comes from elsewhere, nor when it was not", () => {
    const line = JSON.stringify({
      time: "yesterday",
      level: "loud",
      msg: "x",
      pod: "other",
      app: "noetl-server",
      _stream: "{}",
    });
    const event = transform(podLine("job", line));
    expect(event).toMatchObject({
      pod: "job-0",
      app: "job",
      level: "info",
      time: "2026-11-23T09:00:00Z",
    });
    expect(event).not.toHaveProperty("_stream");
  });

  test("workers have their pool, in the cluster and in compose", () => {
    const line = '{"time":"2026-11-23T07:00:00Z","level":"info","msg":"x"}';
    expect(transform(podLine("noetl-worker", line, "gpu-01"))).toMatchObject({ pool: "gpu-01" });
    expect(transform(composeLine("noetl-worker-cpu-02", line))).toMatchObject({
      namespace: "noetl",
      pod: "noetl-noetl-worker-cpu-02-1",
      container: "noetl-worker-cpu-02",
      app: "noetl-worker",
      pool: "cpu-02",
      node: "laptop",
    });
    expect(transform(composeLine("nats", "[1] x"))).toMatchObject({ app: "nats" });
  });
});

describe.each(["kubernetes", "compose"] as const)("%s.yaml", (name) => {
  test("VictoriaLogs stores what the sink sends, with the right streams", async () => {
    const { sinks } = await readConfig(name);
    const events = (await Promise.all(COMPONENTS.map(transformed))).flat();
    const { status, rows, faults } = await ingest(bulkRequest(sinks.victorialogs, events));
    expect({ status, faults }).toEqual({ status: 200, faults: [] });
    expect(rows).toHaveLength(events.length);
    expect(rows.map(({ time, message }) => ({ time, message }))).toEqual(
      events.map(({ time, msg }) => ({ time: String(time), message: String(msg) })),
    );
    const task = rows.find(({ message }) => message.startsWith("row 1 of"));
    expect(task?.stream).toBe(
      '{namespace="noetl-platform",pod="noetl-worker-0",container="noetl-worker",app="noetl-worker",pool="cpu-01"}',
    );
    expect(task?.fields["execution_id"]).toMatch(/^\d+$/);
    expect(new Set(rows.map(({ stream }) => stream)).size).toBe(COMPONENTS.length);
  });

  test("a wrong Content-Type would be noticed here: VictoriaLogs answers 200 and stores nothing", async () => {
    const { sinks } = await readConfig(name);
    const headers = { ...sinks.victorialogs.request.headers, "content-type": "text/plain" };
    const sink = { ...sinks.victorialogs, request: { headers } };
    const { status, rows } = await ingest(bulkRequest(sink, await transformed("nats")));
    expect({ status, rows }).toEqual({ status: 200, rows: [] });
  });

  test("stream fields are constants of a container", async () => {
    const { sinks } = await readConfig(name);
    const { headers } = sinks.victorialogs.request;
    expect(headers["VL-Stream-Fields"]?.split(",")).toEqual(STREAM_FIELDS);
  });

  test("what is not taken waits on disk, and then nothing more is read", async () => {
    const { sinks, data_dir: dataDir } = await readConfig(name);
    expect(sinks.victorialogs.buffer).toMatchObject({ type: "disk", when_full: "block" });
    expect(sinks.victorialogs.buffer.max_size).toBeGreaterThanOrEqual(268_435_488);
    expect(dataDir).toBe("/var/lib/vector");
  });

  test("health and metrics are where the manifests look for them", async () => {
    const { api, sinks, transforms, sources } = await readConfig(name);
    expect(api).toEqual({ enabled: true, address: "0.0.0.0:8686" });
    expect(sinks.metrics).toMatchObject({ type: "prometheus_exporter", address: "0.0.0.0:9598" });
    expect(sources["internal"]?.type).toBe("internal_metrics");
    expect(sources["containers"]?.type).toBe(
      name === "kubernetes" ? "kubernetes_logs" : "docker_logs",
    );
    expect(transforms["lines"]?.file).toBe("/etc/vector/transform.vrl");
  });

  test("nothing in it looks like a variable of the environment, which Vector would put in", async () => {
    const text = await Bun.file(`deploy/vector/${name}.yaml`).text();
    expect(text).not.toMatch(/\$[\w{]/);
  });
});
