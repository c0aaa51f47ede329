/**
 * Stand-in of a container runtime, whose containers outlive workers: boxes in the memory of the test. Real
 * podman and dockerd are in test/e2e/containers. And a durable tool, whose tasks are boxes.
 */
import { MachineContainers } from "../../../src/containers/host.ts";
import type {
  ContainerHandle,
  ContainerOwner,
  ContainerRuntime,
  FoundContainer,
} from "../../../src/containers/runtime.ts";
import type { RuntimeFacts } from "../../../src/engine/command.ts";
import { failure } from "../../../src/engine/failure.ts";
import type { GpuLease } from "../../../src/gpu/inventory.ts";
import type { Tool, ToolCall, ToolContext, ToolOutcome } from "../../../src/tools/tool.ts";
import { LEAVE } from "../../../src/tools/tool.ts";
import type { WorkerOptions } from "../../../src/worker/options.ts";
import { describeTool } from "../../support/tools.ts";
import { testTool } from "./platform.ts";

const FACTS: RuntimeFacts = { name: "podman", version: "5", isUsable: true, gpus: "cdi" };
const absent = (): Promise<never> => Promise.reject(new Error("boxes cannot do that"));

export class Boxes implements ContainerRuntime {
  readonly name = "podman";
  readonly isCluster: boolean;
  readonly boxes = new Map<string, FoundContainer>();
  /** What became of boxes, in order: `stop 1001-1`. */
  readonly history: string[] = [];
  isDown = false;
  /** None can be removed. */
  isStuck = false;
  pull = absent;
  start = absent;
  logs = absent;
  wait = absent;
  collect = absent;

  constructor(isCluster = false) {
    this.isCluster = isCluster;
  }

  /** A box that somebody left; by default a process that is dead. */
  leave(
    owner: Pick<ContainerOwner, "commandId"> & Partial<ContainerOwner>,
    gpuIds: string[] = [],
  ): string {
    const { attempt = 1 } = owner;
    const name = `${owner.commandId}-${attempt}`;
    const full: ContainerOwner = {
      ...{ platformId: "p", workerId: "old", process: deadProcess(), executionId: "321321321321" },
      ...{ attempt, step: "step", task: "box" },
      ...owner,
    };
    this.boxes.set(name, { id: name, name, owner: full, isRunning: true, gpuIds });
    return name;
  }

  probe(): Promise<RuntimeFacts> {
    return Promise.resolve(FACTS);
  }

  list(platformId: string): Promise<readonly FoundContainer[]> {
    return this.isDown
      ? Promise.reject(new Error("the runtime is down"))
      : Promise.resolve([...this.boxes.values()].filter((b) => b.owner.platformId === platformId));
  }

  stop({ name }: ContainerHandle): Promise<void> {
    this.history.push(`stop ${name}`);
    const box = this.boxes.get(name);
    if (box !== undefined) {
      this.boxes.set(name, { ...box, isRunning: false });
    }
    return Promise.resolve();
  }

  remove({ name }: ContainerHandle): Promise<void> {
    if (this.isStuck) {
      this.history.push(`stuck ${name}`);
      return Promise.reject(new Error("it cannot be removed"));
    }
    if (this.boxes.delete(name)) {
      this.history.push(`remove ${name}`);
    }
    return Promise.resolve();
  }
}

/** Of a process of this namespace that is not there: ids end at 4 million. */
function deadProcess(): string {
  return `${namespace()}:99999999:1`;
}

function namespace(): string {
  return (
    /\[(\d+)\]/.exec(Bun.spawnSync(["readlink", "/proc/self/ns/pid"]).stdout.toString())?.[1] ?? ""
  );
}

/** Of `config`: `park`, `fail` (it fails at once), `slow` (milliseconds that it takes to stop). */
export class BoxTool implements Tool {
  readonly description = describeTool("box", {
    isDurable: true,
    fields: {
      park: { type: "boolean", about: "holds no slot" },
      fail: { type: "boolean", about: "fails at once" },
      slow: { type: "integer", about: "milliseconds until it stops" },
    },
  });
  readonly settledCommands: string[] = [];
  readonly contexts: ToolContext[] = [];
  readonly #boxes: Boxes;
  readonly #workerId: string;
  readonly #ends = new Map<string, () => void>();

  constructor(boxes: Boxes, workerId = "w") {
    this.#boxes = boxes;
    this.#workerId = workerId;
  }

  /** Ends the box of a command well. */
  end(commandId: string, attempt = 1): void {
    this.#ends.get(`${commandId}-${attempt}`)?.();
  }

  isRunning(commandId: string, attempt = 1): boolean {
    return this.#ends.has(`${commandId}-${attempt}`);
  }

  async run({ config }: ToolCall, context: ToolContext): Promise<ToolOutcome> {
    const { commandId, attempt, executionId } = context.command;
    const name = `${commandId}-${attempt}`;
    this.contexts.push(context);
    if (!this.#boxes.boxes.has(name)) {
      const ids = context.gpus.map(({ id }) => id);
      this.#boxes.leave({ commandId, attempt, executionId, workerId: this.#workerId }, ids);
    }
    if (config["park"] === true) {
      context.park();
    }
    if (config["fail"] === true) {
      return { ok: false, failure: failure("exit_code", "exit code 1", { retryable: true }) };
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ends.set(name, resolve);
    context.signal.addEventListener("abort", () => resolve(), { once: true });
    if (context.signal.aborted) {
      resolve();
    }
    await promise;
    this.#ends.delete(name);
    return await this.#outcome(name, context.signal, Number(config["slow"] ?? 0));
  }

  async #outcome(name: string, signal: AbortSignal, slowMs: number): Promise<ToolOutcome> {
    if (!signal.aborted) {
      return { ok: true, value: name };
    }
    if (signal.reason === LEAVE) {
      this.#boxes.history.push(`leave ${name}`);
    } else {
      await Bun.sleep(slowMs);
      await this.#boxes.stop({ id: name, name });
    }
    return { ok: false, failure: failure("cancelled", "the task was stopped") };
  }

  stopMs(): number {
    return 6000;
  }

  async settled({ commandId, attempt }: { commandId: string; attempt: number }): Promise<void> {
    const name = `${commandId}-${attempt}`;
    this.settledCommands.push(name);
    await this.#boxes.remove({ id: name, name });
  }
}

/** What a worker is told of GPUs' states. */
export class HeldBack {
  readonly held: (readonly string[] | "all")[] = [];
  leases: readonly GpuLease[] = [];
  /** What was held back when the last lease ended. */
  heldAtRelease: readonly (readonly string[] | "all")[] = [];

  get isFree(): boolean {
    return this.held.length === 0;
  }

  current(): [] {
    return [];
  }

  setLeases(leases: readonly GpuLease[]): void {
    this.leases = leases;
    this.heldAtRelease = leases.length === 0 ? [...this.held] : this.heldAtRelease;
  }

  holdBack(ids: readonly string[] | "all"): () => void {
    this.held.push(ids);
    return () => {
      const place = this.held.indexOf(ids);
      if (place >= 0) {
        this.held.splice(place, 1);
      }
    };
  }
}

/** Options of a worker on that machine. */
export function machineOf(
  boxes: Boxes,
  tool: BoxTool,
): Pick<WorkerOptions, "containers" | "tools"> {
  return {
    containers: new MachineContainers(() => Promise.resolve([{ runtime: boxes, facts: FACTS }]), {
      warn: () => undefined,
    }),
    tools: {
      kinds: ["test", "box"],
      get: (kind) => [tool, testTool].find(({ description }) => description.kind === kind),
    },
  };
}
