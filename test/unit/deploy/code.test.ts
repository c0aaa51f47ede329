/** What the manifests say of the program is what the program says of itself. */
import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { consumerName } from "../../../src/bus/subject.ts";
import { VERSION } from "../../../src/cli/version.ts";
import { checkServer, checkWorker } from "../../../src/config/decide.ts";
import type { OptionTable } from "../../../src/config/option.ts";
import { envName, readOptions } from "../../../src/config/read.ts";
import {
  databaseOptions,
  healthOptions,
  migrateOptions,
  serverOptions,
  workerOptions,
} from "../../../src/config/tables.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { startProbeServer } from "../../../src/observability/probe-server.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { parseKey } from "../../../src/secrets/key.ts";
import type { Container, Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  environmentOf,
  find,
  noKustomize,
  ROOT,
  readYaml,
} from "../../support/manifests.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { createBackend, createTestServer } from "../server/backend.ts";

const POOLS = ["cpu-01", "cpu-02", "gpu-01"];

describe.skipIf(noKustomize !== undefined)("the manifests", () => {
  let local: readonly Manifest[] = [];
  let server: Manifest;
  beforeAll(() => {
    local = buildManifests("overlays/local");
    server = find(local, "Deployment", "noetl-server");
  });

  function container(workload: Manifest, name: string): Container {
    const found = containersOf(workload).find((one) => one.name === name);
    if (found === undefined) {
      throw new Error(`${workload.metadata.name} has no container ${name}`);
    }
    return found;
  }

  function portsOf({ ports = [] }: Container): Record<string, number> {
    return Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort]));
  }

  test("start a server with settings that it knows, and accepts", () => {
    const main = container(server, "server");
    const env = environmentOf(local, server, main);
    expect(unknownNames(env, serverOptions)).toEqual([]);
    const values = readOptions(serverOptions, { flags: {}, env }, checkServer);
    expect(portsOf(main)).toEqual({
      http: values.port,
      grpc: values.grpcPort,
      metrics: values.metricsPort ?? 0,
    });
    expect([values.host, values.metricsHost]).toEqual(["0.0.0.0", "0.0.0.0"]);
    expect(values.skipMigration).toBe(true);
    expect(POOLS).toContain(values.defaultPool);
    expect(POOLS).toContain(values.gpuPool);
    expect(values.operatorToken).toBeDefined();
    expect(() => parseKey(values.encryptionKey?.reveal() ?? "")).not.toThrow();
    const mounts = main["volumeMounts"].map((one: { mountPath: string }) => one.mountPath);
    expect(mounts).toEqual(expect.arrayContaining([values.dataDir, values.cacheDir, "/tmp"]));
  });

  test("migrate before a server starts, waiting for the database", () => {
    const migrate = container(server, "migrate");
    expect(migrate["args"].slice(0, 2)).toEqual(["db", "migrate"]);
    const flags = { databaseWait: migrate["args"].at(-1) };
    const env = environmentOf(local, server, migrate);
    const table = { ...databaseOptions, ...migrateOptions };
    const values = readOptions(table, { flags, env });
    expect(values.databaseWait).toBeGreaterThanOrEqual(30_000);
    expect(values.postgresHost).toBe("postgres.postgres.svc");
    expect(migrate["args"].at(-2)).toBe("--database-wait");
  });

  test.each(POOLS)("start workers of %s with settings that they know, and accept", (pool) => {
    const worker = find(local, "Deployment", `noetl-worker-${pool}`);
    const main = container(worker, "worker");
    const env = environmentOf(local, worker, main);
    expect(unknownNames(env, workerOptions)).toEqual([]);
    const values = readOptions(workerOptions, { flags: {}, env }, checkWorker);
    expect(values.pool).toBe(pool);
    expect(portsOf(main)).toEqual({ metrics: values.metricsPort ?? 0 });
    expect(values.containerRuntime).toEqual(["kubernetes"]);
    expect(values.kubernetesNamespace).toBe("noetl-tasks");
    const { terminationGracePeriodSeconds: grace } = worker["spec"].template.spec;
    expect(grace * 1000).toBeGreaterThanOrEqual(values.graceTime + 10_000);
  });

  test("let the health check look at every component, with settings that it knows", () => {
    const health = find(local, "Deployment", "noetl-health");
    const main = container(health, "health");
    const env = environmentOf(local, health, main);
    expect(unknownNames(env, healthOptions)).toEqual([]);
    const [command, flag, listen] = main["args"];
    const values = readOptions(healthOptions, { flags: { listen }, env });
    expect([command, flag]).toEqual(["health", "--listen"]);
    expect(values.listen).toBe(`:${portsOf(main)["metrics"]}`);
    // A health check in the same pod, by hand, must not listen too.
    expect(env["NOETL_HEALTH_LISTEN"]).toBeUndefined();
    const open = ["context", "operatorToken", "configDir", "databaseUrl"];
    const optional = [...open, "caFile", "grpcCaFile", "tlsCert", "tlsKey"];
    const left = Object.entries(values).filter(([, value]) => value === undefined);
    expect(left.map(([name]) => name).toSorted()).toEqual([...optional, "grafanaToken"].toSorted());
  });

  test("give servers and workers the same NATS, tokens and limits", () => {
    for (const overlay of ["local"]) {
      const manifests = buildManifests(`overlays/${overlay}`);
      const deployment = find(manifests, "Deployment", "noetl-server");
      const of = (workload: Manifest, name: string) =>
        environmentOf(manifests, workload, container(workload, name));
      const theirs = of(deployment, "server");
      const shared = Object.keys(theirs).filter(
        (name) => name.startsWith("NATS_") || name === "NOETL_WORKER_TOKEN",
      );
      for (const pool of POOLS) {
        const ours = of(find(manifests, "Deployment", `noetl-worker-${pool}`), "worker");
        expect(shared.map((name) => [name, ours[name]])).toEqual(
          shared.map((name) => [name, theirs[name]]),
        );
      }
    }
  });

  test("give copies of the streams to as many servers as NATS has, or fewer", () => {
    const manifests = buildManifests("overlays/production");
    const nats = find(manifests, "StatefulSet", "nats");
    const configs = manifests.filter(
      ({ kind, data }) => kind === "ConfigMap" && data?.NATS_REPLICAS,
    );
    expect(configs.map(({ metadata }) => metadata.name.split("-")[1]).toSorted()).toEqual([
      "health",
      "server",
      "worker",
    ]);
    for (const { data } of configs) {
      expect(Number(data.NATS_REPLICAS)).toBe(nats["spec"].replicas);
    }
    const config = find(manifests, "ConfigMap", "nats")["data"]["cluster.conf"];
    const routes = [...config.matchAll(/nats:\/\/(\S+):(\d+)/g)].map(([, host, port]) => [
      host,
      port,
    ]);
    expect(routes).toEqual(
      [0, 1, 2].map((number) => [`nats-${number}.${nats["spec"].serviceName}`, "6222"]),
    );
  });

  test("switch on TLS with settings that are accepted, and files that are mounted", () => {
    const manifests = buildManifests("overlays/local", ["tls"]);
    const of = (name: string, part: string) => {
      const workload = find(manifests, "Deployment", name);
      const main = container(workload, part);
      const [mount] = main["volumeMounts"].filter((one: { name: string }) => one.name === "tls");
      const volumes = workload["spec"].template.spec.volumes;
      const { secret } = volumes.find((one: { name: string }) => one.name === "tls");
      const env = environmentOf(manifests, workload, main);
      const files = Object.entries(env).filter(([key]) => /^NOETL_(TLS_|.*CA_FILE)/.test(key));
      for (const [, file] of files) {
        expect(file).toMatch(new RegExp(`^${mount.mountPath}/(tls.crt|tls.key|ca.crt)$`));
      }
      return { main, env, secret: secret.secretName, files: files.length };
    };
    const serving = of("noetl-server", "server");
    const values = readOptions(serverOptions, { flags: {}, env: serving.env }, checkServer);
    expect([serving.secret, serving.files]).toEqual(["noetl-server-tls", 3]);
    expect(values.tlsClientCa).toBeDefined();
    for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
      expect(serving.main[probe].httpGet.scheme).toBe("HTTPS");
    }
    for (const pool of POOLS) {
      const worker = of(`noetl-worker-${pool}`, "worker");
      const own = readOptions(workerOptions, { flags: {}, env: worker.env }, checkWorker);
      expect([worker.secret, worker.files]).toEqual(["noetl-worker-tls", 3]);
      expect(own.server).toEqual(["tls://noetl-server-grpc:9082"]);
    }
    const health = of("noetl-health", "health");
    const { serverUrl } = readOptions(healthOptions, { flags: {}, env: health.env });
    expect([health.secret, health.files, serverUrl]).toEqual([
      "noetl-worker-tls",
      4,
      "https://noetl-server:8082",
    ]);
  });

  test("probe paths that answer without a token", async () => {
    const { call } = createTestServer(createBackend(), {
      access: { token: "secret", isLoopback: false, origins: [] },
    });
    const { startupProbe, readinessProbe, livenessProbe } = container(server, "server");
    for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
      const response = await call("GET", httpGet.path);
      expect([httpGet.path, response.status, httpGet.port]).toEqual([httpGet.path, 200, "http"]);
    }
  });

  test("probe and scrape workers where they answer", async () => {
    await using probes = startProbeServer({
      host: "127.0.0.1",
      port: 0,
      registry: createRegistry({ hasProcessMetrics: false }),
      readiness: () => ({ isReady: true, details: {} }),
    });
    const worker = find(local, "Deployment", "noetl-worker-cpu-01");
    const main = container(worker, "worker");
    const { annotations } = worker["spec"].template.metadata;
    const checks = [main["startupProbe"], main["readinessProbe"], main["livenessProbe"]];
    const paths = checks.map(({ httpGet }) => httpGet.path);
    for (const path of [...paths, annotations["prometheus.io/path"]]) {
      const response = await fetch(`http://127.0.0.1:${probes.port}${path}`);
      expect([path, response.status]).toEqual([path, 200]);
    }
  });

  test("scrape a port of each pod that has metrics", () => {
    for (const one of local.filter(({ spec }) => spec?.template !== undefined)) {
      const { annotations = {} } = one["spec"].template.metadata;
      const numbers = containersOf(one).flatMap((each) => Object.values(portsOf(each)));
      expect([one.metadata.name, annotations["prometheus.io/scrape"]]).toEqual([
        one.metadata.name,
        "true",
      ]);
      expect(numbers).toContain(Number(annotations["prometheus.io/port"]));
    }
  });

  test("let workers do in the cluster what src/containers/README.md says, and no more", () => {
    const text = readFileSync(join(ROOT, "src/containers/README.md"), "utf8");
    const block = /```yaml\n(apiVersion: rbac[\s\S]+?)```/.exec(text)?.[1] ?? "";
    const documented = readYaml(block).find(({ kind }) => kind === "Role");
    const role = find(local, "Role", "noetl-worker");
    expect(role["rules"]).toEqual(documented?.["rules"]);
    expect(role.metadata.namespace).toBe("noetl-tasks");
  });

  test("scale by the names that consumers and metrics have", () => {
    const objects = buildManifests("overlays/production", ["keda"]).filter(
      ({ kind }) => kind === "ScaledObject",
    );
    const { natsStream, natsConsumer } = serverOptions;
    const lines = metricNames();
    expect(objects.map(({ metadata }) => metadata.name)).toEqual(
      POOLS.map((pool) => `noetl-worker-${pool}`),
    );
    for (const { metadata, spec } of objects) {
      const pool = metadata.labels?.["noetl.io/pool"] ?? "";
      expect(spec.scaleTargetRef.name).toBe(`noetl-worker-${pool}`);
      const { type, metadata: trigger } = spec.triggers[0];
      if (type === "nats-jetstream") {
        expect(trigger.stream).toBe(natsStream.default);
        expect(trigger.consumer).toBe(consumerName(natsConsumer.default ?? "", pool));
      } else {
        expect(trigger.query).toContain(`pool="${pool}"`);
        const [name = ""] = /noetl_\w+/.exec(trigger.query) ?? [];
        expect(lines).toContain(name);
      }
    }
  });

  test("ask for production's Secrets by the keys that the tools for them make", () => {
    const secrets = local.filter(({ kind }) => kind === "Secret");
    const wanted = Object.fromEntries(
      secrets.map(({ metadata, data }) => [
        `${metadata.namespace}/${metadata.name.replace(/-[a-z0-9]{10}$/, "")}`,
        Object.keys(data).toSorted(),
      ]),
    );
    const external = buildManifests("overlays/production", ["external-secrets"]).filter(
      ({ kind }) => kind === "ExternalSecret",
    );
    const fromStore = Object.fromEntries(
      external.map(({ metadata, spec }) => [
        `${metadata.namespace}/${metadata.name}`,
        spec.data.map((one: { secretKey: string }) => one.secretKey).toSorted(),
      ]),
    );
    expect(fromStore).toEqual(wanted);
    expect(madeSecrets()).toEqual(wanted);
  });

  test("run one version everywhere", () => {
    const [image] = readYaml(
      readFileSync(join(ROOT, "deploy/overlays/production/kustomization.yaml"), "utf8"),
    ).flatMap(({ images }) => images);
    expect(image.newTag).toBe(VERSION);
  });
});

/** Variables that look like settings of noetl and are none. */
function unknownNames(
  env: Readonly<Record<string, string>>,
  table: OptionTable,
): readonly string[] {
  const known = new Set(Object.entries(table).map(([key, option]) => envName(key, option)));
  return Object.keys(env).filter((name) => !known.has(name));
}

function metricNames(): readonly string[] {
  const names: string[] = [];
  const registry = createRegistry({ hasProcessMetrics: false });
  const noting =
    <Rest extends readonly unknown[], Made>(make: (name: string, ...rest: Rest) => Made) =>
    (name: string, ...rest: Rest): Made => {
      names.push(name);
      return make(name, ...rest);
    };
  createServerMetrics(
    {
      ...registry,
      counter: noting(registry.counter),
      gauge: noting(registry.gauge),
      histogram: noting(registry.histogram),
    },
    VERSION,
  );
  return names;
}

/** A kubectl that has no Secret and says which it is told to make, with their keys. */
const STAND_IN = `#!/bin/sh
case "$*" in
  *"create secret generic"*) echo "$2/$6"; sed 's/=.*//' ;;
  *"get secret"*) exit 1 ;;
esac
`;

/** What make-secrets.sh makes in a cluster without any: keys by namespace and name. */
function madeSecrets(): Readonly<Record<string, readonly string[]>> {
  const kubectl = join(makeScratchDir("kubectl"), "kubectl");
  writeFileSync(kubectl, STAND_IN, { mode: 0o755 });
  const run = Bun.spawnSync(["sh", join(ROOT, "deploy/make-secrets.sh")], {
    env: { PATH: process.env["PATH"] ?? "", KUBECTL: kubectl },
  });
  expect(run.exitCode).toBe(0);
  const made: Record<string, string[]> = {};
  let keys: string[] = [];
  for (const line of run.stdout.toString().trim().split("\n")) {
    if (line.includes("/")) {
      keys = [];
      made[line] = keys;
    } else {
      keys.push(line);
    }
  }
  return Object.fromEntries(Object.entries(made).map(([name, all]) => [name, all.toSorted()]));
}
