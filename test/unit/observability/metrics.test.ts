import { expect, test } from "bun:test";
import { createServerMetrics, createWorkerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";

function samples(text: string, name: string): readonly string[] {
  return text.split("\n").filter((line) => line.startsWith(name));
}

test("counters keep their totals by label and show them at each scrape", async () => {
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createServerMetrics(registry, "1.2.3");
  metrics.commandPublish.inc("direct", "cpu-01");
  metrics.commandPublish.inc("direct", "cpu-01");
  metrics.commandPublish.add(3, "relay", "gpu-01");
  expect(samples(await registry.text(), "noetl_command_publish_total")).toEqual([
    'noetl_command_publish_total{route="direct",pool="cpu-01"} 2',
    'noetl_command_publish_total{route="relay",pool="gpu-01"} 3',
  ]);
  metrics.commandPublish.inc("direct", "cpu-01");
  const text = await registry.text();
  expect(text).toContain('noetl_command_publish_total{route="direct",pool="cpu-01"} 3');
  expect(text).toContain('noetl_server_build_info{version="1.2.3"} 1');
  expect(text).toContain("noetl_commit_conflicts_total 0");
});

test("three labels are told apart", async () => {
  const registry = createRegistry({ hasProcessMetrics: false });
  const metrics = createServerMetrics(registry, "1");
  metrics.httpRequests.inc("/a", "GET", "200");
  metrics.httpRequests.inc("/a", "GET", "404");
  expect(samples(await registry.text(), "noetl_http_requests_total")).toEqual([
    'noetl_http_requests_total{route="/a",method="GET",code="200"} 1',
    'noetl_http_requests_total{route="/a",method="GET",code="404"} 1',
  ]);
});

test("histograms and gauges carry their labels; a reset gauge forgets them", async () => {
  const registry = createRegistry({ hasProcessMetrics: false });
  const worker = createWorkerMetrics(registry, "1");
  worker.dispatchSeconds.observe(0.003, "python");
  worker.concurrentDispatches.set(4);
  const server = createServerMetrics(registry, "1");
  server.slots.set(2, "cpu-01", "free");
  server.slots.reset();
  server.slots.set(1, "cpu-02", "free");
  const text = await registry.text();
  expect(text).toContain(
    'noetl_worker_dispatch_duration_seconds_bucket{le="0.005",tool_kind="python"} 1',
  );
  expect(text).toContain('noetl_worker_dispatch_duration_seconds_count{tool_kind="python"} 1');
  expect(text).toContain("noetl_worker_concurrent_dispatches 4");
  expect(samples(text, "noetl_pool_slots")).toEqual([
    'noetl_pool_slots{pool="cpu-02",state="free"} 1',
  ]);
});

test("process metrics are there when asked for", async () => {
  const text = await createRegistry({ hasProcessMetrics: true }).text();
  expect(text).toContain("process_resident_memory_bytes");
  expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
});
