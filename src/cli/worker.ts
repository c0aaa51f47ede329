/** `noetl worker`: the parts of a worker, wired together and run until told to stop. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { connectBus } from "../bus/bus.ts";
import { checkWorker, filesDirOf } from "../config/decide.ts";
import type { Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import { workerOptions } from "../config/tables.ts";
import type { WorkerId } from "../core/ids.ts";
import { runServices } from "../core/service.ts";
import { defaultCacheDir, duckdbLibrary } from "../embedded/programs.ts";
import type { LogLine } from "../engine/command.ts";
import type { Logger } from "../observability/log.ts";
import { createWorkerMetrics } from "../observability/metrics.ts";
import { createRegistry } from "../observability/registry.ts";
import type { TraceContext } from "../observability/trace-context.ts";
import { connectWorkerClient } from "../rpc/client.ts";
import { createTools } from "../tools/registry.ts";
import type { Worker } from "../worker/worker.ts";
import { createWorker } from "../worker/worker.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { openLogger } from "./log.ts";
import { taskEnvironment, templateEnvironment } from "./task-environment.ts";
import { readClientTls } from "./tls.ts";
import { openTracer } from "./tracing.ts";
import { selfCommand, VERSION } from "./version.ts";
import { openMachine } from "./worker-machine.ts";
import type { WorkerParts } from "./worker-probes.ts";
import { openProbes } from "./worker-probes.ts";

export const DEFAULT_NATS_URL = "nats://127.0.0.1:4222";

export async function worker(context: CliContext, flags: Flags): Promise<ExitReason> {
  const { env, signal } = context;
  const values = readOptions(workerOptions, { flags, env }, checkWorker);
  const tls = readClientTls(values);
  const pool = values.pool ?? "";
  const name = values.name ?? `${hostname()}-${process.pid}`;
  const log = openLogger("worker", values).child({ pool, worker: name });
  await using stack = new AsyncDisposableStack();
  const registry = createRegistry({ hasProcessMetrics: true, written: log.written });
  const metrics = createWorkerMetrics(registry, VERSION);
  const parts: WorkerParts = { bus: undefined, worker: undefined };
  registry.onScrape(() => {
    metrics.busConnected.set(parts.bus?.isConnected === true ? 1 : 0);
    metrics.heartbeatAgeSeconds.set((parts.worker?.status.answerAgeMs ?? 0) / 1000);
  });
  const probes = stack.use(openProbes({ values, registry, parts, log }));
  let service: Worker | undefined;
  const onGpuChange = (): void => service?.announce();
  const machine = openMachine({ values, env, registry, log, onGpuChange });
  stack.defer(async () => await (await machine.gpus).close());
  const tools = createTools({
    selfCommand: selfCommand(),
    env: taskEnvironment(env),
    python: values.python,
    maxOutputBytes: values.resultBytes,
    filesDir: filesDirOf(values),
    duckdbLibrary: () => duckdbLibrary(values.cacheDir ?? defaultCacheDir()),
    runtimes: machine.containers,
    gpus: machine.gpuWatch,
    mountDirs: values.containerMounts,
    cudaImage: values.cudaImage,
  });
  stack.defer(() => tools.close());
  void machine.containers.facts().then((facts) => {
    parts.runtimes = facts;
    parts.lacking = tools.lacking;
    for (const [kind, lack] of tools.lacking) {
      log.warn("This machine cannot run a kind of tool", { kind, lack });
    }
  });
  tools.prestart();
  const bus = stack.use(
    await connectBus({
      url: values.natsUrl?.reveal() ?? DEFAULT_NATS_URL,
      user: values.natsUser,
      password: values.natsPassword?.reveal(),
      name: `noetl worker ${name}`,
      stream: values.natsStream,
      subjectPrefix: values.natsSubject,
      consumerPrefix: values.natsConsumer,
      maxAckPending: values.natsMaxAckPending,
      replicas: values.natsReplicas,
      onEvent: ({ type }) => type === "reconnected" && metrics.reconnects.inc("nats"),
      log,
      signal,
    }),
  );
  parts.bus = bus;
  const client = connectWorkerClient({
    addresses: values.server,
    tls,
    token: values.workerToken?.reveal(),
  });
  stack.defer(() => client.close());
  const tracing = { service: "noetl-worker", instance: name, pool, registry, log };
  const tracer = stack.use(await openTracer(values, tracing));
  const gpus = await machine.gpus;
  parts.gpus = gpus;
  service = createWorker({
    workerId: `${name}-${randomUUID().slice(0, 8)}` as WorkerId,
    name,
    pool,
    slots: values.slots,
    hostname: hostname(),
    pid: process.pid,
    version: VERSION,
    labels: {},
    metricsUrl: probes.metricsUrl,
    client,
    bus,
    tools,
    log,
    metrics,
    containers: machine.containers,
    gpus,
    drain: values.workerDrain,
    parkedMax: values.workerParked,
    env: templateEnvironment(values, env),
    graceMs: values.graceTime,
    limits: { resultBytes: values.resultBytes, ctxBytes: values.ctxBytes },
    onLog: (line, trace) => writeTaskLine(log, line, trace),
    tracer,
  });
  parts.worker = service;
  await runServices([service], signal);
  return "ok";
}

/** What a task writes, as lines that are shipped with the worker's own. */
function writeTaskLine(log: Logger, line: LogLine, trace: TraceContext | undefined): void {
  log.info(line.text, {
    component: "task",
    execution_id: line.executionId,
    step: line.step,
    task: line.task,
    command_id: line.commandId,
    attempt: line.attempt,
    index: line.index,
    stream: line.stream,
    trace_id: trace?.traceId,
    span_id: trace?.spanId,
  });
}
