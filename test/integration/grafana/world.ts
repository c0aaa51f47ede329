/**
 * A whole platform that is scraped: PostgreSQL, nats-server, a server, a worker of pool `cpu-01`, one of `gpu-01` with
 * **recorded** GPUs, VictoriaMetrics, and stand-ins of the other exporters.
 */
import postgres from "postgres";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { Api } from "../../bench/api.ts";
import { noetlCommand, POOL, serverComponent, workerComponent } from "../../bench/platform.ts";
import { Component } from "../../e2e/chaos/component.ts";
import { startNats, startPostgres } from "../../e2e/chaos/services.ts";
import { makeNvidiaSmi } from "../../support/nvidia-smi.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { VictoriaMetrics } from "../../support/victoria-metrics.ts";
import { startVictoriaMetrics } from "../../support/victoria-metrics.ts";
import { STAND_INS, startStandIns } from "./stand-ins.ts";

export interface World extends AsyncDisposable {
  readonly dir: string;
  readonly api: Api;
  readonly sql: postgres.Sql;
  readonly nats: Component;
  /** Of pool `cpu-01`. */
  readonly worker: Component;
  readonly metrics: VictoriaMetrics;
}

export const GPU_POOL = "gpu-01";

export async function startWorld(): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const dir = makeScratchDir("grafana");
  const [database, nats] = await Promise.all([startPostgres(dir), startNats(dir, "nats-server")]);
  stack.use(database.component);
  stack.use(nats.component);
  const [port, grpcPort, cpuPort, gpuPort] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ];
  const env = { DATABASE_URL: database.url, NATS_URL: nats.url, NOETL_DATA_DIR: `${dir}/server` };
  const server = stack.use(serverComponent({ dir, name: "server", port, grpcPort, env }));
  await server.start();
  const sql = postgres(database.url, { max: 2, onnotice: () => undefined });
  stack.defer(() => sql.end({ timeout: 1 }));
  const worker = stack.use(
    workerComponent({
      dir,
      name: "cpu-worker",
      grpcPorts: [grpcPort],
      slots: 4,
      natsUrl: nats.url,
      filesDir: `${dir}/files`,
      env: { NOETL_METRICS_PORT: String(cpuPort), NOETL_GRACE_TIME: "1s" },
      sql,
    }),
  );
  const gpuWorker = stack.use(gpuWorkerComponent(dir, grpcPort, gpuPort, nats.url));
  await Promise.all([worker.start(), gpuWorker.start()]);
  const standIns = stack.use(startStandIns());
  const metrics = stack.use(
    await startVictoriaMetrics(dir, [
      { job: "noetl-server", address: `127.0.0.1:${port}` },
      { job: "noetl-worker", address: `127.0.0.1:${cpuPort}`, labels: { pool: POOL } },
      { job: "noetl-worker", address: `127.0.0.1:${gpuPort}`, labels: { pool: GPU_POOL } },
      ...STAND_INS.map((job) => ({ job, address: standIns.address, path: `/${job}` })),
    ]),
  );
  const owned = stack.move();
  return {
    dir,
    api: new Api(`http://127.0.0.1:${port}`),
    sql,
    nats: nats.component,
    worker,
    metrics,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function gpuWorkerComponent(dir: string, grpcPort: number, port: number, natsUrl: string) {
  return new Component({
    name: "gpu-worker",
    command: [
      ...[...noetlCommand(), "worker", "--pool", GPU_POOL, "--slots", "2"],
      ...["--name", "gpu-worker", "--server", `127.0.0.1:${grpcPort}`],
    ],
    env: {
      NATS_URL: natsUrl,
      NOETL_FILES_DIR: `${dir}/files`,
      NOETL_METRICS_PORT: String(port),
      NOETL_GRACE_TIME: "1s",
      NOETL_NVIDIA_SMI: makeNvidiaSmi().path,
      NOETL_KERNEL_LOG: "",
      NOETL_GPU_INTERVAL: "500ms",
    },
    logFile: `${dir}/gpu-worker.log`,
    isReady: async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok,
  });
}

const step = (name: string, tool: string, more = "") => `
  - step: ${name}${more}
    tool: ${tool}`;

const playbook = (path: string, steps: string) => `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: ${path.replace("/", "-")}, path: ${path}}
workflow:${steps}
`;

/** Playbooks that end well, that fail, that do nothing, and that hold a GPU until they are cancelled. */
export const PLAYBOOKS = {
  well: playbook(
    "shop/orders",
    step("start", '{kind: python, code: "result = 1"}', "\n    next: {arcs: [{step: say}]}") +
      step("say", '{kind: shell, command: "echo one; echo two"}'),
  ),
  pings: playbook("shop/pings", step("start", "{kind: noop}")),
  failing: playbook("shop/invoices", step("start", '{kind: shell, command: "exit 3"}')),
  onGpu: playbook(
    "models/train",
    step("train", '{kind: shell, gpu: 1, command: "sleep 600"}', `\n    pool: ${GPU_POOL}`),
  ),
} as const;
