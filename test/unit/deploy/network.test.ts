/** Every address that a pod is given leads to a Service, a port and a policy that lets it in; and nothing else does. */
import { beforeAll, describe, expect, test } from "bun:test";
import type { Container, Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  environmentOf,
  find,
  noKustomize,
  titleOf,
  workloadsOf,
} from "../../support/manifests.ts";
import type { Peer } from "../../support/network-policy.ts";
import { matches, mayConnect, OUTSIDE } from "../../support/network-policy.ts";

const DNS = 53;
const TASK: Peer = { namespace: "noetl-tasks", labels: {} };

interface Address {
  readonly host: string;
  readonly port: number;
}

/** `host:port` in any of these texts. Grafana's are in its files, see grafana's own tests. */
function addressesIn(texts: readonly string[]): readonly Address[] {
  return texts.flatMap((text) =>
    [...text.matchAll(/(?:^|[/,@=])([a-z][a-z0-9.-]*):(\d{2,5})\b/g)].map(
      ([, host = "", port]) => ({
        host,
        port: Number(port),
      }),
    ),
  );
}

describe.skipIf(noKustomize !== undefined)("the network", () => {
  let manifests: readonly Manifest[] = [];
  beforeAll(() => {
    manifests = buildManifests("overlays/local");
  });

  function peerOf(workload: Manifest): Peer {
    const ports = containersOf(workload).flatMap((one) => one.ports ?? []);
    return {
      namespace: workload.metadata.namespace ?? "",
      labels: workload["spec"].template.metadata.labels,
      ports: Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort])),
    };
  }

  function peer(name: string): Peer {
    const found = workloadsOf(manifests).find(({ metadata }) => metadata.name === name);
    if (found === undefined) {
      throw new Error(`There is no workload ${name}`);
    }
    return peerOf(found);
  }

  function textsOf(workload: Manifest, container: Container): readonly string[] {
    const env = environmentOf(manifests, workload, container);
    return [...Object.values(env), ...(container["args"] ?? [])];
  }

  /** The pods behind a Service, and the port on which they listen. */
  function behind({ host, port }: Address, home: string): { pods: Manifest[]; target: number } {
    const [name = "", namespace = home] = host.split(".");
    const service = manifests.find(
      ({ kind, metadata }) =>
        kind === "Service" && metadata.name === name && metadata.namespace === namespace,
    );
    const entry = service?.["spec"].ports.find((one: { port: number }) => one.port === port);
    if (service === undefined || entry === undefined) {
      throw new Error(`No Service ${namespace}/${name} has port ${port}`);
    }
    const pods = workloadsOf(manifests).filter(
      (one) =>
        one.metadata.namespace === namespace &&
        matches({ matchLabels: service["spec"].selector }, one["spec"].template.metadata.labels),
    );
    const [first] = pods;
    const target = first && peerOf(first).ports?.[entry.targetPort];
    if (target === undefined) {
      throw new Error(`No pod of ${namespace}/${name} has a port ${entry.targetPort}`);
    }
    return { pods, target };
  }

  test("leads from each pod to each address that it is given", () => {
    const links: string[] = [];
    for (const workload of workloadsOf(manifests)) {
      const from = peerOf(workload);
      for (const container of containersOf(workload)) {
        const given = addressesIn(textsOf(workload, container)).filter(
          ({ host }) => !/^(localhost|127\.|0\.0\.0\.0)/.test(host),
        );
        for (const address of given) {
          const { pods, target } = behind(address, from.namespace);
          const link = `${workload.metadata.name} → ${address.host}:${address.port}`;
          links.push(link);
          for (const pod of pods) {
            expect([link, mayConnect(manifests, from, peerOf(pod), target)]).toEqual([link, true]);
          }
        }
      }
    }
    expect(links).toContain("noetl-worker-cpu-01 → noetl-server-grpc:9082");
    expect(links).toContain("noetl-server → nats.nats.svc:4222");
    expect(links).toContain("vmalert → victoriametrics:8428");
    expect(links.length).toBeGreaterThan(15);
  });

  test("leads from VictoriaMetrics to all metrics, and from the outside to none of them", () => {
    const from = peer("victoriametrics");
    for (const workload of workloadsOf(manifests)) {
      const { annotations } = workload["spec"].template.metadata;
      const port = Number(annotations["prometheus.io/port"]);
      const title = titleOf(workload);
      expect([title, mayConnect(manifests, from, peerOf(workload), port)]).toEqual([title, true]);
      const isPage = workload.metadata.name === "grafana";
      expect([title, mayConnect(manifests, OUTSIDE, peerOf(workload), port)]).toEqual([
        title,
        isPage,
      ]);
    }
  });

  test("leads to all that Grafana shows, and lets each pod ask for names", () => {
    for (const [name, port] of [
      ["victoriametrics", 8428],
      ["victorialogs", 9428],
    ] as const) {
      expect(mayConnect(manifests, peer("grafana"), peer(name), port)).toBe(true);
    }
    const asking = ["noetl-server", "noetl-worker-cpu-01", "vector", "grafana", "vmalert", "nats"];
    for (const name of asking) {
      expect([name, mayConnect(manifests, peer(name), OUTSIDE, DNS)]).toEqual([name, true]);
    }
  });

  test("lets people in to the page and to Grafana only", () => {
    const open = workloadsOf(manifests).flatMap((workload) =>
      Object.values(peerOf(workload).ports ?? {})
        .filter((port) => mayConnect(manifests, OUTSIDE, peerOf(workload), port))
        .map((port) => `${workload.metadata.name}:${port}`),
    );
    expect(open.toSorted()).toEqual(["grafana:3000", "noetl-server:8082"]);
    const services = manifests.filter(({ kind }) => kind === "Service");
    const nodePorts = services.flatMap(({ metadata, spec }) =>
      spec.type === "NodePort"
        ? spec.ports.map((port: { nodePort: number; port: number }) => [
            metadata.name,
            port.nodePort,
            port.port,
          ])
        : [],
    );
    expect(nodePorts).toEqual([["noetl-server", 30_082, 8082]]);
  });

  test.each([
    ["noetl-worker-cpu-01", "postgres", 5432],
    ["vector", "postgres", 5432],
    ["grafana", "postgres", 5432],
    ["vector", "nats", 4222],
    ["noetl-worker-cpu-01", "victoriametrics", 8428],
    ["noetl-server", "noetl-worker-cpu-01", 9090],
    ["vmalert", "noetl-server", 9082],
    ["postgres", "nats", 4222],
  ])("does not lead from %s to %s:%d", (from, to, port) => {
    expect(mayConnect(manifests, peer(from), peer(to), port)).toBe(false);
  });

  test("lets tasks call the API and the world, and nothing of the platform besides", () => {
    expect(mayConnect(manifests, TASK, peer("noetl-server"), 8082)).toBe(true);
    expect(mayConnect(manifests, TASK, OUTSIDE, 443)).toBe(true);
    expect(mayConnect(manifests, TASK, peer("noetl-server"), 9082)).toBe(false);
    expect(mayConnect(manifests, TASK, peer("postgres"), 5432)).toBe(false);
    expect(mayConnect(manifests, TASK, peer("nats"), 4222)).toBe(false);
    expect(mayConnect(manifests, OUTSIDE, TASK, 80)).toBe(false);
  });

  test("lets the servers of NATS find each other, and KEDA and operators ask", () => {
    const all = buildManifests("overlays/production", ["keda", "victoriametrics-operator"]);
    const nats = peer("nats");
    expect(mayConnect(all, nats, nats, 6222)).toBe(true);
    const keda: Peer = { namespace: "keda", labels: {} };
    expect(mayConnect(all, keda, nats, 8222)).toBe(true);
    expect(mayConnect(manifests, keda, nats, 8222)).toBe(false);
    expect(mayConnect(all, keda, peer("victoriametrics"), 8428)).toBe(true);
    const operator: Peer = { namespace: "monitoring", labels: {} };
    for (const name of ["noetl-server", "noetl-worker-cpu-01", "noetl-health", "postgres"]) {
      const port = peer(name).ports?.["metrics"] ?? 0;
      expect([name, mayConnect(all, operator, peer(name), port)]).toEqual([name, true]);
    }
    expect(mayConnect(all, operator, peer("noetl-server"), 9082)).toBe(false);
  });

  test("has no Service and no budget that finds no pod", () => {
    for (const overlay of ["local", "production"]) {
      const built = buildManifests(`overlays/${overlay}`);
      const pods = workloadsOf(built).map(peerOf);
      const finders = built.filter(({ kind }) =>
        ["Service", "PodDisruptionBudget", "NetworkPolicy"].includes(kind),
      );
      for (const one of finders) {
        const { spec } = one;
        const selector = spec.selector ?? spec.podSelector;
        const wanted = one.kind === "Service" ? { matchLabels: selector } : selector;
        const found = pods.filter(
          ({ namespace, labels }) =>
            namespace === one.metadata.namespace && matches(wanted, labels),
        );
        const isTasks = one.metadata.namespace === "noetl-tasks";
        expect([titleOf(one), found.length > 0 || isTasks]).toEqual([titleOf(one), true]);
      }
      expect(find(built, "Service", "noetl-server")["spec"].type).toBe("NodePort");
    }
  });
});
