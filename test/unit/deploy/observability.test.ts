/** Vector, VictoriaMetrics, vmalert and Grafana find their files, each other, and what they scrape. */
import { beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { JOBS } from "../../../grafana/source/names.ts";
import type { Container, Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  find,
  noKustomize,
  ROOT,
  readYaml,
  workloadsOf,
} from "../../support/manifests.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { noVictoriaMetrics } from "../../support/victoria-metrics.ts";

const COMPOSE = readYaml(readFileSync(join(ROOT, "deploy/compose.yaml"), "utf8"))[0]?.["services"];

function readDeployed(path: string): Manifest {
  const [document] = readYaml(readFileSync(join(ROOT, path), "utf8"));
  if (document === undefined) {
    throw new Error(`${path} is empty`);
  }
  return document;
}

describe.skipIf(noKustomize !== undefined)("in the cluster", () => {
  let manifests: readonly Manifest[] = [];
  beforeAll(() => {
    manifests = buildManifests("overlays/local");
  });

  function partsOf(kind: string, name: string): { pod: Manifest["spec"]; container: Container } {
    const workload = find(manifests, kind, name);
    const [container] = containersOf(workload);
    if (container === undefined) {
      throw new Error(`${name} has no container`);
    }
    return { pod: workload["spec"].template.spec, container };
  }

  /** Names of the files that a container finds below a path. */
  function filesAt(kind: string, name: string, path: string): readonly string[] {
    const { pod, container } = partsOf(kind, name);
    const mount = container["volumeMounts"].find(
      (one: { mountPath: string }) => one.mountPath === path,
    );
    const volume = pod.volumes.find((one: { name: string }) => one.name === mount?.name);
    const sources = volume?.projected?.sources ?? [volume];
    return sources.flatMap(({ configMap }: { configMap: { name: string } }) =>
      Object.keys(
        manifests.find((one) => one.kind === "ConfigMap" && one.metadata.name === configMap.name)?.[
          "data"
        ] ?? {},
      ),
    );
  }

  test("Vector has its configuration, its program, its folder and its ports", () => {
    const { container } = partsOf("DaemonSet", "vector");
    const config = readDeployed("deploy/vector/kubernetes.yaml");
    const files = filesAt("DaemonSet", "vector", "/etc/vector").map(
      (name) => `/etc/vector/${name}`,
    );
    expect(files).toContain(container["args"].at(-1));
    const transforms: readonly { file?: string }[] = Object.values(config["transforms"]);
    expect(
      transforms.flatMap(({ file }) => file ?? []).filter((path) => !files.includes(path)),
    ).toEqual([]);
    const mounts = container["volumeMounts"].map((one: { mountPath: string }) => one.mountPath);
    expect(mounts).toContain(config["data_dir"]);
    const ports = (container.ports ?? []).map((one) => `0.0.0.0:${one.containerPort}`);
    expect(ports).toEqual([config["api"].address, config["sinks"].metrics.address]);
  });

  test("Grafana finds its dashboards, data sources, alerts, and where the page is", () => {
    const { container } = partsOf("StatefulSet", "grafana");
    const dashboards = readdirSync(join(ROOT, "grafana/dashboards"));
    const [provider] = readDeployed("grafana/provisioning/dashboards/noetl.yaml")["providers"];
    expect(filesAt("StatefulSet", "grafana", provider.options.path).toSorted()).toEqual(
      dashboards.toSorted(),
    );
    for (const folder of ["datasources", "dashboards", "alerting"]) {
      const provisioned = filesAt("StatefulSet", "grafana", `/etc/grafana/provisioning/${folder}`);
      const there = readdirSync(join(ROOT, "grafana/provisioning", folder));
      expect([folder, ...provisioned.toSorted()]).toEqual([folder, ...there.toSorted()]);
    }
    const given = container["env"].map(({ name }: { name: string }) => name);
    for (const name of wantedByGrafana()) {
      expect(given).toContain(name);
      expect(Object.keys(COMPOSE.grafana.environment)).toContain(name);
    }
  });

  test("Grafana's data sources and vmalert's rules are where they are asked for", () => {
    const services = manifests.filter(({ kind }) => kind === "Service");
    const { datasources } = readDeployed("grafana/provisioning/datasources/noetl.yaml");
    for (const { url } of datasources) {
      const { hostname, port } = new URL(url);
      const service = services.find(({ metadata }) => metadata.name === hostname);
      const ports = service?.["spec"].ports.map((one: { port: number }) => String(one.port));
      expect([url, ports]).toEqual([url, [port]]);
      expect(Object.keys(COMPOSE)).toContain(hostname);
    }
    const { container } = partsOf("Deployment", "vmalert");
    expect(container["args"]).toContain("-rule=/etc/vmalert/*.yaml");
    expect(filesAt("Deployment", "vmalert", "/etc/vmalert")).toEqual(["noetl.yaml"]);
  });

  test("every job that dashboards and alerts name is a pod's, and none is scraped under another", () => {
    const names = workloadsOf(manifests).map(
      ({ metadata }) => metadata.labels?.["app.kubernetes.io/name"] ?? "",
    );
    expect(JOBS.filter((job) => !names.includes(job))).toEqual([]);
    const { scrape_configs: jobs } = readDeployed("deploy/victoriametrics/scrape-compose.yaml");
    const beside: readonly string[] = jobs.map((one: { job_name: string }) => one.job_name);
    expect(JOBS.filter((job) => !beside.includes(job))).toEqual([]);
  });

  test("a pod is one target, by what scrape.yaml does with its labels and annotations", () => {
    const { scrape_configs: jobs } = readDeployed("deploy/victoriametrics/scrape.yaml");
    const [{ relabel_configs: rules, kubernetes_sd_configs: discovery }] = jobs;
    const named = rules.flatMap((rule: { source_labels?: string[] }) => rule.source_labels ?? []);
    expect(named).toEqual(
      expect.arrayContaining([
        "__meta_kubernetes_pod_annotation_prometheus_io_scrape",
        "__meta_kubernetes_pod_annotation_prometheus_io_port",
        "__meta_kubernetes_pod_annotation_prometheus_io_path",
        "__meta_kubernetes_pod_label_app_kubernetes_io_name",
        "__meta_kubernetes_pod_label_noetl_io_pool",
      ]),
    );
    const roles = manifests.filter(
      ({ kind, metadata }) => kind === "Role" && metadata.name === "victoriametrics",
    );
    const allowed = roles.map(({ metadata }) => metadata.namespace);
    expect(discovery[0].namespaces.names.toSorted()).toEqual(allowed.toSorted());
  });
});

/** Variables of the environment in Grafana's files; `$$` is a dollar. */
function wantedByGrafana(): readonly string[] {
  const text = readFileSync(join(ROOT, "grafana/provisioning/datasources/noetl.yaml"), "utf8");
  return [...text.replaceAll("$$", "").matchAll(/\$\{(\w+)\}/g)].map(([, name = ""]) => name);
}

describe("beside compose.yaml", () => {
  test("Vector has its configuration, its program and its folder", () => {
    const config = readDeployed("deploy/vector/compose.yaml");
    const mounted: readonly string[] = COMPOSE.vector.volumes.map(
      (volume: string) => volume.split(":")[1] ?? "",
    );
    expect(mounted).toContain(COMPOSE.vector.command.at(-1));
    const transforms: readonly { file?: string }[] = Object.values(config["transforms"]);
    for (const path of [config["data_dir"], ...transforms.flatMap(({ file }) => file ?? [])]) {
      expect(mounted).toContain(path);
    }
    const [project] = config["sources"].containers.include_labels;
    const compose = readDeployed("deploy/compose.yaml");
    expect(project).toBe(`com.docker.compose.project=${compose["name"]}`);
  });
});

describe.skipIf(noVictoriaMetrics !== undefined)("VictoriaMetrics", () => {
  test.each(["scrape.yaml", "scrape-compose.yaml"])("takes %s", (name) => {
    const path = join(ROOT, "deploy/victoriametrics", name);
    const run = Bun.spawnSync(["victoria-metrics", `-promscrape.config=${path}`, "-dryRun"]);
    expect([run.exitCode, run.stderr.toString()]).toEqual([0, expect.stringContaining("is ok")]);
  });

  test("takes what the component dcgm adds", async () => {
    const jobs = readDeployed("deploy/components/dcgm/dcgm.yaml");
    const whole = JSON.stringify({ scrape_configs: jobs });
    const path = join(makeScratchDir("dcgm"), "scrape.yaml");
    await Bun.write(path, whole);
    const run = Bun.spawnSync(["victoria-metrics", `-promscrape.config=${path}`, "-dryRun"]);
    expect([run.exitCode, run.stderr.toString()]).toEqual([0, expect.stringContaining("is ok")]);
  });
});
