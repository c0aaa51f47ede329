/** A platform on one machine with a real container runtime, and a worker that can be killed and started again. */
import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type postgres from "postgres";
import type { Api } from "../../bench/api.ts";
import { POOL, workerComponent } from "../../bench/platform.ts";
import { writeCdiSpec } from "../../support/cdi.ts";
import { TEST_IMAGE } from "../../support/container-image.ts";
import type { TestRuntime, TestRuntimeName } from "../../support/container-runtime.ts";
import { startDockerd } from "../../support/dockerd.ts";
import type { NvidiaSmiStandIn } from "../../support/nvidia-smi.ts";
import { makeNvidiaSmi, newH100s } from "../../support/nvidia-smi.ts";
import { startPodman } from "../../support/podman.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { startCluster } from "../chaos/cluster.ts";
import type { Component } from "../chaos/component.ts";

export const PLAYBOOK = "cycles/one";
/** The same, with `workload.gpus` GPUs. */
export const GPU_PLAYBOOK = "cycles/gpus";

/** What one task writes to find out how often it ran: beyond all that the platform says. */
const SCRIPT = [
  "echo begin $ID",
  "echo $ID >> /marks/runs",
  "sleep $SECONDS",
  "echo end $ID",
  `echo '{"id": "'$ID'"}' > /noetl/result.json`,
].join("; ");

export interface World extends AsyncDisposable {
  readonly dir: string;
  readonly runtime: TestRuntime;
  readonly api: Api;
  readonly sql: postgres.Sql;
  readonly worker: Component;
  /** A second one, which is not started. */
  readonly other: Component;
  /** Four GPUs, **recorded**: podman knows them by CDI as `/dev/null`, docker by a stand-in of NVIDIA's hook. */
  readonly smi: NvidiaSmiStandIn;
  /** Names of the platform's containers, ended ones included. */
  containers(): readonly string[];
  /** How often the task with that id began to run. */
  runsOf(id: string): number;
}

/** @param env further settings of the worker. */
export async function startWorld(
  name: TestRuntimeName,
  env: Readonly<Record<string, string>> = {},
): Promise<World> {
  const dir = makeScratchDir("cycles");
  await using stack = new AsyncDisposableStack();
  const runtime = stack.use(await (name === "podman" ? startPodman() : startDockerd()));
  const options = { dir, serverCount: 1, workerCount: 0, slots: 1 };
  const cluster = stack.use(await startCluster(options));
  const { sql } = cluster;
  const marks = join(dir, "marks");
  mkdirSync(marks);
  chmodSync(marks, 0o777);
  const smi = makeNvidiaSmi(newH100s());
  stack.use(writeCdiSpec(smi.ids));
  const [worker, other] = ["worker", "other"].map((workerName) =>
    workerComponent({
      ...{ dir, name: workerName, sql, slots: 8, natsUrl: cluster.nats.url },
      filesDir: join(dir, "files"),
      grpcPorts: cluster.grpcAddresses.map((address) => Number(address.split(":")[1])),
      env: {
        ...runtime.env,
        NOETL_CONTAINER_RUNTIME: name,
        NOETL_CONTAINER_DIR: join(dir, "tasks"),
        NOETL_CONTAINER_MOUNTS: marks,
        NOETL_NVIDIA_SMI: smi.path,
        NOETL_KERNEL_LOG: "",
        NOETL_GPU_INTERVAL: "500ms",
        NOETL_GRACE_TIME: "5s",
        ...env,
      },
    }),
  );
  const [api] = cluster.apis;
  if (api === undefined || worker === undefined || other === undefined) {
    throw new Error("A cluster has a server, and there are two workers");
  }
  stack.use(other);
  await stack.use(worker).start();
  await api.register(playbook(PLAYBOOK, marks));
  await api.register(playbook(GPU_PLAYBOOK, marks, 'gpu: "{{ workload.gpus }}"'));
  const [row] = await sql<{ id: string }[]>`SELECT platform_id AS id FROM noetl.platform`;
  const filter = `label=noetl.platform=${row?.id}`;
  const owned = stack.move();
  return {
    ...{ dir, runtime, api, sql, worker, other, smi },
    containers: () =>
      runtime
        .call("ps", "--all", "--filter", filter, "--format", "{{.Names}}")
        .split("\n")
        .filter((line) => line !== ""),
    runsOf: (id) => {
      const path = join(marks, "runs");
      const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
      return lines.filter((line) => line === id).length;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** @param more a line of the tool. */
function playbook(path: string, marks: string, more = ""): string {
  return `apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: one
  path: ${path}
executor: { pool: ${POOL} }
workflow:
  - step: train
    tool:
      kind: container
      image: ${TEST_IMAGE}
      pull_policy: never
      network: none
      command: [sh, -c]
      args: [${JSON.stringify(SCRIPT)}]
      env: { ID: "{{ workload.id }}", SECONDS: "{{ workload.seconds }}" }
      mounts: ["${marks}:/marks"]
      timeouts: { stop_grace: 1s }
      ${more}
`;
}
