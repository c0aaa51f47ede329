/**
 * Stands in for the server's side in tests of the worker: commands in a map instead of PostgreSQL,
 * behind a real gRPC server, with real notifications on a real nats-server.
 */
import type { Bus } from "../../../src/bus/bus.ts";
import { connectBus } from "../../../src/bus/bus.ts";
import { AppError } from "../../../src/core/errors.ts";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import type { Task } from "../../../src/dsl/playbook.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  ClaimOutcome,
  CommandOutcome,
  CommandPayload,
  CommandReport,
  Directive,
  GrantedCommand,
  Heartbeat,
  HeldCommand,
  LogLine,
  PermitAnswer,
  PermitDemand,
  WorkerRegistration,
} from "../../../src/engine/command.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import type { GpuGrant } from "../../../src/engine/gpu.ts";
import { createLogger } from "../../../src/observability/log.ts";
import { createWorkerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import type { WorkerClient } from "../../../src/rpc/client.ts";
import { connectWorkerClient } from "../../../src/rpc/client.ts";
import type { ControlHandlers, WorkerHandlers } from "../../../src/rpc/handlers.ts";
import type { RpcServer } from "../../../src/rpc/server.ts";
import { createRpcServer } from "../../../src/rpc/server.ts";
import type { Tool, ToolOutcome } from "../../../src/tools/tool.ts";
import type { WorkerOptions } from "../../../src/worker/options.ts";
import type { Worker } from "../../../src/worker/worker.ts";
import { createWorker } from "../../../src/worker/worker.ts";
import { deleteStreams } from "../../support/nats.ts";
import { ResultShelf } from "../../support/results.ts";
import { describeTool } from "../../support/tools.ts";
import { waitFor } from "../../support/wait.ts";

const log = createLogger({ level: "error", format: "json", component: "test", write: () => {} });
const EXECUTION = "321321321321321321" as ExecutionId;
export const POOL = "cpu-01";

interface StoredCommand {
  readonly payload: CommandPayload;
  attempt: number;
  status: "queued" | "running" | "done";
  claimCount: number;
}

/** A task of the tool {@link testTool}. */
export function task(label: string, config: JsonObject, more: Partial<Task> = {}): Task {
  return {
    label,
    kind: "test",
    config,
    input: {},
    set: [],
    isIdempotent: true,
    ...more,
  };
}

/** Does what its configuration says. */
export const testTool: Tool = {
  description: describeTool("test", {
    fields: { do: { type: "text", about: "what to do" } },
    needs: [{ oneOf: ["do"], text: "do" }],
  }),
  run: async ({ config, input }, context): Promise<ToolOutcome> => {
    switch (config["do"]) {
      case "give":
        return { ok: true, value: config["value"] ?? input };
      case "log":
        for (let n = 0; n < Number(config["lines"] ?? 1); n++) {
          context.log("stdout", `${String(config["text"])} ${n}`);
        }
        return { ok: true, value: null };
      case "fail":
        context.log("stderr", "something is wrong");
        return { ok: false, failure: config["failure"] as never };
      case "throw":
        throw new Error("a bug");
      case "hang":
        return await new Promise((resolve) => {
          context.signal.addEventListener("abort", () => {
            const failed = { kind: "timeout", code: "TIMEOUT", message: "stopped" } as const;
            resolve({ ok: false, failure: { ...failed, retryable: true } });
          });
        });
      case "secret": {
        const { data } = await context.credential(String(config["name"]));
        context.log("stdout", `the password is ${String(data["password"])}`);
        return { ok: true, value: `got ${String(data["password"])}` };
      }
      default:
        return { ok: true, value: null };
    }
  },
};

export class TestPlatform implements AsyncDisposable {
  readonly bus: Bus;
  readonly registrations: WorkerRegistration[] = [];
  readonly heartbeats: Heartbeat[] = [];
  readonly reports: CommandReport[] = [];
  readonly lines: LogLine[] = [];
  readonly demands: PermitDemand[] = [];
  /** Answers to the next demands; then all are granted. */
  readonly permits: PermitAnswer[] = [];
  /** Commands that are given before all others, whichever is asked for. */
  readonly urgent = new Set<string>();
  readonly shelf = new ResultShelf();
  readonly deregistered: WorkerId[] = [];
  readonly commands = new Map<string, StoredCommand>();
  /** GPUs that commands are given with, by command. */
  readonly grants = new Map<string, readonly GpuGrant[]>();
  /** Answers questions about containers that were found; default: they are nobody's. */
  adoptionOf: (workerId: WorkerId, question: AdoptionQuestion) => AdoptionAnswer<GrantedCommand> =
    () => ({ status: "disowned" });
  leaseMs = 10_000;
  heartbeatIntervalMs = 200;
  /** Set: the next calls of `report` fail with it. */
  reportError: AppError | undefined;
  port = 0;
  readonly #listeners = new Set<(directives: readonly Directive[]) => void>();
  readonly #stops: (() => Promise<void>)[] = [];
  #server: RpcServer | undefined;
  #nextId = 1000;

  readonly #deleteStreams: () => Promise<void>;

  private constructor(bus: Bus, dropStreams: () => Promise<void>) {
    this.bus = bus;
    this.#deleteStreams = dropStreams;
  }

  static async start(natsUrl: string, name: string): Promise<TestPlatform> {
    const bus = await connectBus({
      url: natsUrl,
      name,
      log,
      stream: `C_${name}`,
      subjectPrefix: `commands.${name}`,
      logStream: `L_${name}`,
      logSubjectPrefix: `logs.${name}`,
    });
    await bus.ensureStreams();
    const platform = new TestPlatform(bus, () =>
      deleteStreams(natsUrl, [`C_${name}`, `L_${name}`]),
    );
    await platform.startServer();
    return platform;
  }

  async startServer(): Promise<void> {
    this.#server = await createRpcServer({ worker: this.#handlers(), control: noControl, log });
    this.port = await this.#server.start("127.0.0.1", this.port);
  }

  async stopServer(): Promise<void> {
    await this.#server?.stop();
  }

  connectClient(): WorkerClient {
    return connectWorkerClient({ addresses: [`127.0.0.1:${this.port}`] });
  }

  /** A worker that runs until the end of the test, or until its `stop` is called. */
  runWorker(options: Partial<WorkerOptions> = {}): { worker: Worker; stop: () => Promise<void> } {
    const client = this.connectClient();
    const worker = createWorker({
      workerId: `w${this.#nextId++}` as WorkerId,
      name: "test",
      pool: POOL,
      slots: 2,
      hostname: "localhost",
      pid: process.pid,
      version: "1",
      labels: {},
      client,
      bus: this.bus,
      tools: { kinds: ["test"], get: (kind) => (kind === "test" ? testTool : undefined) },
      log,
      metrics: createWorkerMetrics(createRegistry({ hasProcessMetrics: false }), "1"),
      env: {},
      graceMs: 100,
      ...options,
    });
    const abort = new AbortController();
    const done = worker.run(abort.signal);
    const stop = async (): Promise<void> => {
      abort.abort();
      await done;
      client.close();
    };
    this.#stops.push(stop);
    return { worker, stop };
  }

  /** Queues a command and rings; returns its id. */
  async queue(
    tasks: readonly Task[],
    more: Partial<CommandPayload> = {},
    gpus?: readonly GpuGrant[],
  ): Promise<string> {
    const commandId = String(this.#nextId++);
    if (gpus !== undefined) {
      this.grants.set(commandId, gpus);
    }
    const payload: CommandPayload = {
      step: {
        name: "step",
        tasks,
        isPipeline: tasks.length > 1,
        input: {},
        outputSelect: [],
      },
      pipeline: PIPELINE_START,
      scope: {
        executionId: EXECUTION,
        path: "a/b",
        version: 1,
        workload: { n: 7 },
        ctx: {},
        steps: {},
      },
      ...more,
    };
    this.commands.set(commandId, { payload, attempt: 1, status: "queued", claimCount: 0 });
    await this.ring(commandId);
    return commandId;
  }

  async ring(commandId: string): Promise<void> {
    const attempt = this.commands.get(commandId)?.attempt ?? 1;
    const notification = {
      executionId: EXECUTION,
      commandId: commandId as CommandId,
      eventId: "1",
      step: "step",
      attempt,
    };
    await waitFor("a stored notification", async () => {
      const messageId = `${commandId}:${attempt}:${this.#nextId++}`;
      await this.bus.publishCommand(POOL, notification, { messageId });
      return true;
    });
  }

  /** Hands a command out again under the next fence, as the sweep does. */
  async requeue(commandId: string): Promise<void> {
    const command = this.commands.get(commandId);
    if (command !== undefined) {
      command.attempt++;
      command.status = "queued";
      await this.ring(commandId);
    }
  }

  direct(directive: Directive): void {
    for (const listener of this.#listeners) {
      listener([directive]);
    }
  }

  async outcome(commandId: string): Promise<CommandOutcome> {
    const report = await waitFor(`the report of ${commandId}`, () =>
      this.reports.find((one) => one.commandId === commandId),
    );
    return report.outcome;
  }

  async running(commandId: string): Promise<void> {
    await waitFor(
      `command ${commandId} to run`,
      () => this.commands.get(commandId)?.status === "running",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#stops.map((stop) => stop()));
    await this.#server?.stop();
    await this.bus.close();
    await this.#deleteStreams();
  }

  #handlers(): WorkerHandlers {
    return {
      register: (registration) => {
        this.registrations.push(registration);
        const { leaseMs, heartbeatIntervalMs } = this;
        return Promise.resolve({
          leaseMs,
          heartbeatIntervalMs,
          serverVersion: "t",
          platformId: "p",
        });
      },
      heartbeat: (heartbeat) => {
        this.heartbeats.push(heartbeat);
        return Promise.resolve([]);
      },
      subscribeDirectives: (_workerId, listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      claim: (_workerId, held) => Promise.resolve(held.map((one) => this.#claim(one))),
      report: (reports) => {
        if (this.reportError !== undefined) {
          return Promise.reject(this.reportError);
        }
        return Promise.resolve(reports.map((report) => this.#accept(report)));
      },
      acquirePermits: (demands) =>
        Promise.resolve(
          demands.map((demand) => {
            this.demands.push(demand);
            return this.permits.shift() ?? { isGranted: true, waitMs: 0 };
          }),
        ),
      appendLogs: (lines) => {
        this.lines.push(...lines);
        return Promise.resolve(0);
      },
      resolveCredential: (_workerId, { name }) =>
        name === "db"
          ? Promise.resolve({
              name,
              type: "postgres",
              data: { password: "s3cret-value" },
              version: "",
            })
          : Promise.reject(new AppError("not_found", "CREDENTIAL_NOT_FOUND", `No ${name}`)),
      ...this.shelf.handlers(),
      adopt: (workerId, questions) =>
        Promise.resolve(questions.map((question) => this.adoptionOf(workerId, question))),
      deregister: (workerId) => {
        this.deregistered.push(workerId);
        return Promise.resolve();
      },
    };
  }

  #claim({ executionId, commandId: asked, attempt }: HeldCommand): ClaimOutcome<GrantedCommand> {
    const found = this.commands.get(asked);
    if (found?.status !== "queued" || found.attempt !== attempt) {
      return { commandId: asked, status: "gone" };
    }
    const urgent = [...this.urgent].find((id) => this.commands.get(id)?.status === "queued");
    const commandId = (urgent ?? asked) as CommandId;
    const command = this.commands.get(commandId) ?? found;
    command.status = "running";
    command.claimCount++;
    const { payload } = command;
    const gpus = this.grants.get(commandId);
    return {
      commandId: asked,
      status: "claimed",
      command: {
        executionId,
        commandId,
        attempt,
        payload: JSON.stringify(payload),
        claimedAtMs: 0,
        ...(gpus === undefined ? {} : { gpus }),
      },
    };
  }

  #accept(report: CommandReport): "accepted" | "stale" {
    const command = this.commands.get(report.commandId);
    if (command?.status !== "running" || command.attempt !== report.attempt) {
      return "stale";
    }
    command.status = "done";
    this.reports.push(report);
    return "accepted";
  }
}

const refuse = (): Promise<never> =>
  Promise.reject(new AppError("not_found", "NOT_HERE", "Not in this test"));

const noControl: ControlHandlers = {
  registerPlaybook: refuse,
  start: refuse,
  getExecution: refuse,
  watch: () => {
    throw new AppError("not_found", "NOT_HERE", "Not in this test");
  },
  cancel: refuse,
  signal: refuse,
  retry: refuse,
  rerun: refuse,
  listExecutions: refuse,
};

/** The value of an `ok` outcome; undefined for others. */
export function resultOf(outcome: CommandOutcome): Json | undefined {
  return outcome.status === "ok" ? outcome.value : undefined;
}

export function field(value: Json | undefined, name: string): Json | undefined {
  return isJsonObject(value) ? value[name] : undefined;
}
