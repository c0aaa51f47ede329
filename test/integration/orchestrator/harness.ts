/**
 * One server's orchestrator on a test database, with a bus that only remembers what was published and
 * a worker that is driven by hand. Real NATS and real workers are for the e2e tests.
 */

import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Json } from "../../../src/core/json.ts";
import { runServices } from "../../../src/core/service.ts";
import type {
  ClaimedCommand,
  CommandNotification,
  CommandOutcome,
  GrantedCommand,
  HeldCommand,
  LogLine,
  ReportAnswer,
} from "../../../src/engine/command.ts";
import type { RecordedEvent } from "../../../src/engine/event.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { CommandBus, OrchestratorOptions } from "../../../src/orchestrator/options.ts";
import type { Orchestrator } from "../../../src/orchestrator/orchestrator.ts";
import { createOrchestrator } from "../../../src/orchestrator/orchestrator.ts";
import { createSealer } from "../../../src/secrets/sealing.ts";
import type { Store } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { toolsNamed } from "../../support/tools.ts";
import { waitFor } from "../../support/wait.ts";

export interface Published {
  readonly pool: string;
  readonly notification: CommandNotification;
  readonly messageId: string;
}

/** Remembers notifications; can be down, and can be "deleted and made anew". */
export class RecordingBus implements CommandBus {
  readonly published: Published[] = [];
  readonly lines: LogLine[] = [];
  isDown = false;
  identity = "first";

  publishCommand(
    pool: string,
    notification: CommandNotification,
    { messageId }: { readonly messageId: string },
  ): Promise<void> {
    if (this.isDown) {
      return Promise.reject(new Error("the bus is down"));
    }
    this.published.push({ pool, notification, messageId });
    return Promise.resolve();
  }

  streamIdentity(): Promise<string> {
    return this.isDown ? Promise.reject(new Error("down")) : Promise.resolve(this.identity);
  }

  publishLogs(lines: readonly LogLine[]): Promise<void> {
    this.lines.push(...lines);
    return Promise.resolve();
  }

  readLogs(): ReturnType<CommandBus["readLogs"]> {
    return Promise.resolve({ lines: this.lines, lastSeq: this.lines.length });
  }

  async *followLogs(): ReturnType<CommandBus["followLogs"]> {
    yield await this.readLogs();
  }

  /** The newest notification of each command, oldest first. */
  held(): readonly HeldCommand[] {
    const newest = new Map<CommandId, HeldCommand>();
    for (const { notification } of this.published) {
      const { executionId, commandId, attempt } = notification;
      newest.set(commandId, { executionId, commandId, attempt });
    }
    return [...newest.values()];
  }
}

export interface Server extends AsyncDisposable {
  readonly orchestrator: Orchestrator;
  readonly bus: RecordingBus;
  readonly store: Store;
  /** Ends the services as a stop would; what was committed stays. */
  stop(): Promise<void>;
}

let count = 0;

/** @param options overrides; sweeps run ten times a second unless said otherwise. */
export function startServer(url: string, options: Partial<OrchestratorOptions> = {}): Server {
  const bus = new RecordingBus();
  const store = connectStore(url, { name: "test", max: 4 });
  const orchestrator = createOrchestrator({
    store,
    bus,
    secrets: createSealer(new Uint8Array(32)),
    metrics: createServerMetrics(createRegistry({ hasProcessMetrics: false }), "test"),
    log: createLogger({ level: "error", format: "text", component: "test" }),
    knownTools: toolsNamed("noop", "python", "javascript"),
    serverVersion: "test",
    serverId: `test-${process.pid}-${++count}`,
    stream: "NOETL_COMMANDS",
    defaultPool: "cpu-01",
    gpuPool: "gpu-01",
    env: {},
    sweepIntervalMs: 100,
    ...options,
  });
  const abort = new AbortController();
  const running = runServices(orchestrator.services(), abort.signal);
  const stop = async (): Promise<void> => {
    abort.abort();
    await running;
    await store.close();
  };
  return { orchestrator, bus, store, stop, [Symbol.asyncDispose]: stop };
}

export const WORKER = "worker-1" as WorkerId;

export async function registerWorker(
  { orchestrator }: Server,
  workerId: WorkerId = WORKER,
  pool = "cpu-01",
): Promise<void> {
  await orchestrator.register({
    workerId,
    name: workerId,
    pool,
    slots: 10,
    hostname: "localhost",
    pid: 1,
    version: "test",
    tools: ["python"],
    labels: {},
  });
}

/** Waits until there is an announced command that can be claimed, and claims it. */
export async function claimNext(
  { orchestrator, bus }: Server,
  workerId: WorkerId = WORKER,
): Promise<ClaimedCommand> {
  return await waitFor("a command to claim", async () => {
    for (const held of bus.held()) {
      const [outcome] = await orchestrator.claim(workerId, [held]);
      if (outcome?.status === "claimed") {
        return parsedCommand(outcome.command);
      }
    }
    return undefined;
  });
}

/** The command as its worker sees it. */
export function parsedCommand(command: GrantedCommand): ClaimedCommand {
  return { ...command, payload: JSON.parse(command.payload) };
}

export async function report(
  { orchestrator }: Server,
  command: HeldCommand,
  outcome: CommandOutcome,
  workerId: WorkerId = WORKER,
): Promise<ReportAnswer | undefined> {
  const { executionId, commandId, attempt } = command;
  const [answer] = await orchestrator.report([
    { executionId, commandId, attempt, workerId, startedAtMs: Date.now(), outcome },
  ]);
  return answer;
}

export function ok(value: Json): CommandOutcome {
  return { status: "ok", value, ctx: {} };
}

/** All events until the end of the execution. */
export async function watchToEnd(
  { orchestrator }: Server,
  executionId: ExecutionId,
): Promise<readonly RecordedEvent[]> {
  const signal = AbortSignal.timeout(20_000);
  const events: RecordedEvent[] = [];
  for await (const event of orchestrator.watch(executionId, { afterSeq: 0, signal })) {
    events.push(event);
  }
  return events;
}

/** A playbook of these steps. */
export function playbook(path: string, workflow: string): string {
  return `apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: ${path}
  path: ${path}
workflow:
${workflow}`;
}

/** One step that runs Python. */
export const ONE_STEP = `  - step: start
    tool:
      kind: python
      code: result = 1
`;

/** Registers the playbook and starts it. */
export async function startPlaybook(
  { orchestrator }: Server,
  content: string,
): Promise<ExecutionId> {
  const { path } = await orchestrator.registerPlaybook({ content, isStrict: false });
  const { executionId } = await orchestrator.start({ path, payload: {} });
  return executionId;
}
