/** VictoriaMetrics makes of the pods of `deploy/` the targets that dashboards and alerts are written for. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { stringify } from "yaml";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import type { Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  noKustomize,
  ROOT,
  readYaml,
  workloadsOf,
} from "../../support/manifests.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { noVictoriaMetrics } from "../../support/victoria-metrics.ts";
import { waitFor } from "../../support/wait.ts";

/** A pod of a workload, as a cluster would have made it. */
function podOf(workload: Manifest, number: number) {
  const { metadata, spec } = workload["spec"].template;
  const name = `${workload.metadata.name}-0`;
  const statuses = containersOf(workload).map((one) => ({
    name: one.name,
    ready: true,
    state: { running: {} },
  }));
  return {
    metadata: { ...metadata, name, namespace: workload.metadata.namespace, uid: `uid-${number}` },
    spec: { ...spec, nodeName: "node-1" },
    status: {
      phase: "Running",
      podIP: `10.0.0.${number + 1}`,
      hostIP: "10.0.0.254",
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: statuses,
    },
  };
}

/** A STAND-IN for the cluster's API: pods by namespace, and watches that never tell anything. */
function startApi(manifests: readonly Manifest[]) {
  const pods = workloadsOf(manifests).map(podOf);
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: (request) => {
      const { pathname, searchParams } = new URL(request.url);
      const namespace = /^\/api\/v1\/namespaces\/([^/]+)\/pods$/.exec(pathname)?.[1];
      if (namespace === undefined) {
        return new Response("only pods", { status: 404 });
      }
      if (searchParams.has("watch")) {
        return new Response(new ReadableStream());
      }
      const items = pods.filter(({ metadata }) => metadata.namespace === namespace);
      return Response.json({ kind: "PodList", metadata: { resourceVersion: "1" }, items });
    },
  });
}

interface Target {
  readonly labels: Readonly<Record<string, string>>;
  readonly scrapeUrl: string;
}

test.skipIf((noKustomize ?? noVictoriaMetrics) !== undefined)(
  "each pod is one target, with its job, instance and pool",
  async () => {
    const manifests = buildManifests("overlays/local");
    await using api = startApi(manifests);
    const [config] = readYaml(
      await Bun.file(join(ROOT, "deploy/victoriametrics/scrape.yaml")).text(),
    );
    const dir = makeScratchDir("scrape");
    const [job] = config?.["scrape_configs"] ?? [];
    job.kubernetes_sd_configs[0].api_server = api.url.toString();
    await Bun.write(join(dir, "scrape.yaml"), stringify({ scrape_configs: [job] }));
    const port = await findFreePort();
    const child = Bun.spawn(
      [
        "victoria-metrics",
        `-httpListenAddr=127.0.0.1:${port}`,
        `-storageDataPath=${join(dir, "data")}`,
        `-promscrape.config=${join(dir, "scrape.yaml")}`,
        "-memory.allowedBytes=64MiB",
      ],
      { stdout: "ignore", stderr: "ignore" },
    );
    try {
      const expected = workloadsOf(manifests).length;
      const targets = await waitFor("all targets", async () => {
        const response = await fetch(`http://127.0.0.1:${port}/api/v1/targets`);
        const active: readonly Target[] = Object(await response.json()).data.activeTargets;
        return active.length >= expected && active;
      });
      const seen = targets.map(({ labels, scrapeUrl }) => {
        const { job: name, instance, namespace, pool } = labels;
        const { port: number, pathname } = new URL(scrapeUrl);
        return `${namespace} ${name} ${instance} ${pool ?? "-"} :${number}${pathname}`;
      });
      expect(seen.toSorted()).toEqual([
        "nats nats nats-0 - :7777/metrics",
        "noetl-platform grafana grafana-0 - :3000/metrics",
        "noetl-platform noetl-health noetl-health-0 - :9091/metrics",
        "noetl-platform noetl-server noetl-server-0 - :9090/metrics",
        "noetl-platform noetl-worker noetl-worker-cpu-01-0 cpu-01 :9090/metrics",
        "noetl-platform noetl-worker noetl-worker-cpu-02-0 cpu-02 :9090/metrics",
        "noetl-platform noetl-worker noetl-worker-gpu-01-0 gpu-01 :9090/metrics",
        "noetl-platform vector vector-0 - :9598/metrics",
        "noetl-platform victorialogs victorialogs-0 - :9428/metrics",
        "noetl-platform victoriametrics victoriametrics-0 - :8428/metrics",
        "noetl-platform vmalert vmalert-0 - :8880/metrics",
        "postgres postgres postgres-0 - :9187/metrics",
      ]);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
      await api.stop(true);
    }
  },
  60_000,
);
