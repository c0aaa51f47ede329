/** A container task for the stand-in cluster, and a runtime that uses it. */
import { KubernetesRuntime } from "../../src/containers/kubernetes/runtime.ts";
import type { ContainerOwner, ContainerSpec } from "../../src/containers/runtime.ts";
import type { Logger } from "../../src/observability/log.ts";
import { createLogger } from "../../src/observability/log.ts";
import type { StandInCluster } from "./kubernetes.ts";

export function ownerOf(more: Partial<ContainerOwner> = {}): ContainerOwner {
  return {
    platformId: "8f14e45f-ceea-467f-9ebd-2b1d3f0c7a11",
    workerId: "383058044193341441",
    process: "4026531836:4711:90210",
    executionId: "383058044193341440",
    commandId: "383058044193341442",
    attempt: 1,
    step: "train_model",
    task: "train_model",
    ...more,
  };
}

export function specOf(more: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    name: "noetl-383058044193341442-1",
    owner: ownerOf(),
    image: "registry.example/team/train:1",
    env: { TOKEN: "s3cret" },
    network: "bridge",
    mounts: [],
    files: { "input.json": new TextEncoder().encode('{"n":1}') },
    resources: { ulimits: [] },
    gpus: { ids: [], count: 0 },
    isRootWritable: false,
    capabilities: [],
    mayGainPrivileges: false,
    stopGraceMs: 10_000,
    ...more,
  };
}

/** Writes no log, unless a test takes the lines. */
export function quiet(write: (line: string) => void = () => undefined): Logger {
  return createLogger({ level: "debug", format: "json", component: "test", write });
}

export function runtimeOf(cluster: StandInCluster, log: Logger = quiet()): KubernetesRuntime {
  const headers = { authorization: `Bearer ${cluster.token}` };
  const credentials = () => Promise.resolve({ headers, tls: {} });
  const access = { server: cluster.url, namespace: "noetl", credentials };
  return new KubernetesRuntime(() => Promise.resolve(access), log);
}
