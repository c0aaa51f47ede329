/** Each overlay, alone and with each component, is what an API server accepts with strict checks. */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as models from "@kubernetes/client-node";
import { VERSION } from "../../../src/cli/version.ts";
import { customResourceProblems } from "../../support/custom-resources.ts";
import { manifestProblems } from "../../support/kubernetes-schema.ts";
import type { Container, Manifest } from "../../support/manifests.ts";
import {
  buildManifests,
  containersOf,
  noKustomize,
  ROOT,
  readYaml,
  titleOf,
  workloadsOf,
} from "../../support/manifests.ts";
import { matches } from "../../support/network-policy.ts";

const OVERLAYS = readdirSync(join(ROOT, "deploy/overlays"));
const COMPONENTS = readdirSync(join(ROOT, "deploy/components")).filter((name) =>
  readFileSync(join(ROOT, "deploy/components", name, "kustomization.yaml"), "utf8").includes(
    "kind: Component",
  ),
);
/** `kubectl apply` keeps the whole object in an annotation, which may have 256 KiB. */
const APPLY_BYTES_MAX = 256 * 1024;
const NAMESPACES = ["postgres", "nats", "noetl-platform", "noetl-tasks"];

const BUILDS: readonly (readonly [string, readonly string[]])[] = [
  ...OVERLAYS.map((name) => [name, []] as const),
  ...COMPONENTS.map((name) => ["production", [name]] as const),
  ["production", ["keda", "dcgm", "gpu-jobs", "ingress"]],
];

/** The client library's name of a kind: `apps/v1 Deployment` is `V1Deployment`. */
function modelOf({ apiVersion, kind }: Manifest): string {
  const version = apiVersion.split("/").at(-1) ?? "";
  return `${version.charAt(0).toUpperCase()}${version.slice(1)}${kind}`;
}

/** What the library's types and the published schema find wrong. */
async function problemsOf(manifest: Manifest): Promise<readonly string[]> {
  const custom = customResourceProblems(manifest);
  if (custom !== undefined) {
    return custom;
  }
  const model = modelOf(manifest);
  if (!(model in models)) {
    return [`${manifest.apiVersion} ${manifest.kind}: nothing is known of this kind`];
  }
  const known = manifestProblems(model, manifest).filter(
    // GPUs as numbers, which the library takes for text only.
    (problem) => !/nvidia\.com\/gpu: must be string, is number$/.test(problem),
  );
  return [...known, ...(await schemaProblems(manifest))];
}

interface Validated {
  validate(): void;
}

async function schemaProblems(manifest: Manifest): Promise<readonly string[]> {
  const path = `kubernetes-models/${manifest.apiVersion}/${manifest.kind}`;
  const module: Readonly<Record<string, new (data: unknown) => Validated>> = await import(path);
  const Model = module[manifest.kind];
  if (Model === undefined) {
    return [`${path}: no such kind`];
  }
  try {
    new Model(manifest).validate();
    return [];
  } catch (error) {
    return [String(error)];
  }
}

describe.skipIf(noKustomize !== undefined)("overlays", () => {
  test.each(BUILDS)(
    "%s with %p builds, and every field of it exists",
    async (overlay, more) => {
      const manifests = buildManifests(`overlays/${overlay}`, more);
      const found = await Promise.all(
        manifests.map(async (one) => [titleOf(one), await problemsOf(one)] as const),
      );
      expect(found.filter(([, problems]) => problems.length > 0)).toEqual([]);
      expect(manifests.length).toBeGreaterThan(60);
      const titles = manifests.map(titleOf);
      expect(titles).toEqual([...new Set(titles)]);
    },
    60_000,
  );

  describe.each(OVERLAYS)("%s", (overlay) => {
    let manifests: readonly Manifest[] = [];
    let workloads: readonly Manifest[] = [];
    beforeAll(() => {
      manifests = buildManifests(`overlays/${overlay}`);
      workloads = workloadsOf(manifests);
    });

    function containers(): readonly (readonly [string, Container])[] {
      return workloads.flatMap((one) =>
        containersOf(one).map(
          (container) => [`${one.metadata.name}/${container.name}`, container] as const,
        ),
      );
    }

    test("has all that the platform consists of", () => {
      expect(workloads.map(titleOf).toSorted()).toEqual([
        "DaemonSet noetl-platform/vector",
        "Deployment noetl-platform/noetl-health",
        "Deployment noetl-platform/noetl-server",
        "Deployment noetl-platform/noetl-worker-cpu-01",
        "Deployment noetl-platform/noetl-worker-cpu-02",
        "Deployment noetl-platform/noetl-worker-gpu-01",
        "Deployment noetl-platform/vmalert",
        "StatefulSet nats/nats",
        "StatefulSet noetl-platform/grafana",
        "StatefulSet noetl-platform/victorialogs",
        "StatefulSet noetl-platform/victoriametrics",
        "StatefulSet postgres/postgres",
      ]);
      const namespaces = manifests.filter(({ kind }) => kind === "Namespace");
      expect(namespaces.map(({ metadata }) => metadata.name).toSorted()).toEqual(
        NAMESPACES.toSorted(),
      );
    });

    test("puts each object into a namespace that it makes", () => {
      const clusterWide = ["Namespace", "ClusterRole", "ClusterRoleBinding"];
      const astray = manifests.filter(
        ({ kind, metadata }) =>
          !clusterWide.includes(kind) && !NAMESPACES.includes(metadata.namespace ?? ""),
      );
      expect(astray.map(titleOf)).toEqual([]);
    });

    test("labels workloads and their pods alike, with the version that runs", () => {
      for (const one of workloads) {
        const { labels = {} } = one.metadata;
        const { metadata } = one["spec"].template;
        const version = labels["app.kubernetes.io/version"];
        const { image } = one["spec"].template.spec.containers[0];
        expect([titleOf(one), labels["app.kubernetes.io/part-of"]]).toEqual([
          titleOf(one),
          "noetl",
        ]);
        expect(labels["app.kubernetes.io/component"]).toBeString();
        expect(metadata.labels).toEqual(labels);
        const isOurs = labels["app.kubernetes.io/name"]?.startsWith("noetl-") === true;
        const tag = image.split(":").at(-1);
        expect([image, version]).toEqual([image, isOurs ? VERSION : tag.replace(/-\w+$/, "")]);
        expect(matches(one["spec"].selector, metadata.labels)).toBe(true);
      }
    });

    test("gives each container what it needs and nothing more", () => {
      for (const [name, container] of containers()) {
        const { securityContext: security, resources } = container;
        expect([name, security.allowPrivilegeEscalation]).toEqual([name, false]);
        expect([name, security.readOnlyRootFilesystem]).toEqual([name, true]);
        expect([name, security.capabilities.drop]).toEqual([name, ["ALL"]]);
        expect([name, Object.keys(resources.requests)]).toEqual([name, ["cpu", "memory"]]);
        expect([name, resources.limits.memory]).toEqual([name, expect.any(String)]);
      }
      for (const one of workloads) {
        const { securityContext: pod } = one["spec"].template.spec;
        const isRoot = one.metadata.name === "vector";
        expect([titleOf(one), pod.seccompProfile.type]).toEqual([titleOf(one), "RuntimeDefault"]);
        expect([titleOf(one), pod.runAsNonRoot]).toEqual([titleOf(one), isRoot ? undefined : true]);
        expect(isRoot || pod.runAsUser > 0).toBe(true);
      }
    });

    test("asks each lasting container whether it lives, and sends nobody to one that is not ready", () => {
      for (const one of workloads) {
        for (const container of one["spec"].template.spec.containers) {
          const name = `${one.metadata.name}/${container.name}`;
          expect([name, container.livenessProbe]).toEqual([name, expect.any(Object)]);
          expect([name, container.readinessProbe]).toEqual([name, expect.any(Object)]);
          const ports = (container.ports ?? []).map((port: { name: string }) => port.name);
          for (const probe of [container.livenessProbe, container.readinessProbe]) {
            const { port } = probe.httpGet ?? probe.tcpSocket ?? { port: ports[0] };
            expect(ports).toContain(port);
          }
        }
      }
    });

    test("mounts what it declares, all of it there", () => {
      const there = new Set(
        manifests.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`),
      );
      for (const one of workloads) {
        const { volumes = [] } = one["spec"].template.spec;
        const claims = one["spec"].volumeClaimTemplates ?? [];
        const declared = [...volumes, ...claims.map((claim: Manifest) => claim.metadata)];
        const names: string[] = declared.map(({ name }) => name).toSorted();
        const mounted = containersOf(one).flatMap(({ volumeMounts = [] }) =>
          volumeMounts.map((mount: { name: string }) => mount.name),
        );
        expect([titleOf(one), [...new Set(mounted)].toSorted()]).toEqual([titleOf(one), names]);
        for (const { configMap, projected } of volumes) {
          const sources = projected?.sources ?? (configMap === undefined ? [] : [{ configMap }]);
          for (const { configMap: map } of sources) {
            const title = `ConfigMap ${one.metadata.namespace}/${map.name}`;
            expect([title, there.has(title) || map.optional === true]).toEqual([title, true]);
          }
        }
      }
    });

    test("has no object that `kubectl apply` cannot take", () => {
      const large = manifests.filter((one) => JSON.stringify(one).length > APPLY_BYTES_MAX);
      expect(large.map(titleOf)).toEqual([]);
    });

    test("names images by a tag that does not move", () => {
      const images = containers().map(([, { image }]) => image);
      expect(images.filter((image) => !/:[\w.-]*\d[\w.-]*$|^noetl:local/.test(image))).toEqual([]);
      expect(images.filter((image) => image.endsWith(":latest"))).toEqual([]);
    });
  });
});

describe("the checks", () => {
  const pod = { containers: [{ name: "a", image: "a:1" }] };
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "a" },
    spec: { selector: { matchLabels: { a: "b" } }, template: { spec: pod } },
  };

  test.each([
    ["is right", {}, []],
    ["has a field that does not exist", { replica: 2 }, ["spec.replica: unknown field"]],
    ["has text for a number", { replicas: "2" }, ["spec.replicas: must be number, is string"]],
    ["lacks what is required", { selector: undefined }, ["selector"]],
  ])("see that a Deployment %s", async (_what, more, expected) => {
    const found = await problemsOf({ ...deployment, spec: { ...deployment.spec, ...more } });
    expect(found.length === 0).toBe(expected.length === 0);
    for (const problem of expected) {
      expect(found.join("\n")).toContain(problem);
    }
  });

  test("see mistakes in objects of operators, and kinds that nobody knows", async () => {
    const metadata = { name: "a" };
    const monitor = {
      apiVersion: "monitoring.coreos.com/v1",
      kind: "PodMonitor",
      metadata,
      spec: { selector: {}, podMetricsEndpoints: [{ port: "metrics", relabelConfigs: [] }] },
    };
    expect(await problemsOf(monitor)).toEqual([
      ".spec.podMetricsEndpoints[0].relabelConfigs: unknown field",
    ]);
    const scaled = { apiVersion: "keda.sh/v1alpha1", kind: "ScaledObject", metadata };
    expect(await problemsOf({ ...scaled, spec: { triggers: [] } })).toEqual([
      ".spec.scaleTargetRef: is required",
    ]);
    expect(await problemsOf({ apiVersion: "a/v1", kind: "Nothing", metadata })).toEqual([
      "a/v1 Nothing: nothing is known of this kind",
    ]);
  });
});

describe("the files of deploy", () => {
  const files = [...new Bun.Glob("**/*").scanSync({ cwd: join(ROOT, "deploy") })].toSorted();
  const kustomizations = files.filter((path) => path.endsWith("kustomization.yaml"));

  test("are YAML throughout", () => {
    for (const path of files.filter((name) => name.endsWith(".yaml"))) {
      const documents = readYaml(readFileSync(join(ROOT, "deploy", path), "utf8"));
      expect([path, documents.length > 0]).toEqual([path, true]);
    }
  });

  test("are named by a kustomization, each of which names only what there is", () => {
    const named = new Set<string>();
    for (const path of kustomizations) {
      const [document] = readYaml(readFileSync(join(ROOT, "deploy", path), "utf8"));
      for (const name of namesOf(document)) {
        const found = join(dirname(path), name);
        expect([path, name, existsSync(join(ROOT, "deploy", found))]).toEqual([path, name, true]);
        named.add(found);
      }
    }
    const parts = files.filter((path) => /^(base|components|overlays)\//.test(path));
    const forgotten = parts.filter(
      (path) => !(named.has(path) || path.endsWith("kustomization.yaml") || path.endsWith(".md")),
    );
    expect(forgotten).toEqual([]);
  });
});

/** Paths that a kustomization names. */
function namesOf(kustomization: Manifest | undefined): readonly string[] {
  const lists = ["resources", "components", "configMapGenerator", "secretGenerator", "patches"];
  return lists.flatMap((list) =>
    (kustomization?.[list] ?? []).flatMap(
      (item: string | { path?: string; files?: string[]; envs?: string[] }) =>
        typeof item === "string"
          ? [item]
          : [item.path ?? [], item.files ?? [], item.envs ?? []]
              .flat()
              .map((name) => name.split("=").at(-1) ?? name),
    ),
  );
}
