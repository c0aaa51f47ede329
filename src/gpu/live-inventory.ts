/**
 * The inventory of a machine that has `nvidia-smi`: reads every few seconds, and judges when it is asked, by the
 * leases and holds of that moment.
 */
import { totalmem } from "node:os";
import { sleep } from "../core/clock.ts";
import type { Gpu } from "../engine/gpu.ts";
import type { Circumstances } from "./assess.ts";
import { assess, describeProcesses, processesOn, usesMuchMemory } from "./assess.ts";
import type {
  AwaitFreeOptions,
  FreeResult,
  GpuInventory,
  GpuInventoryOptions,
  GpuLease,
  GpuProcess,
} from "./inventory.ts";
import type { JobFiles } from "./job-files.ts";
import { createJobFiles } from "./job-files.ts";
import type { Reader } from "./reader.ts";
import { createReader } from "./reader.ts";
import type { Reading, SeenGpu } from "./reading.ts";
import { reportMetrics } from "./report-metrics.ts";
import type { Smi } from "./smi.ts";
import type { XidWatch } from "./xid-watch.ts";
import { createXidWatch } from "./xid-watch.ts";

const INTERVAL_MS = 5000;
/** While there are none: the driver may come up after the worker. */
const IDLE_INTERVAL_MS = 60_000;
const FREE_POLL_MS = 200;
const FREE_POLL_MAX_MS = 2000;
const MIB = 1024 * 1024;
const FREE: FreeResult = { isFree: true };

interface Hold {
  readonly ids: readonly string[] | "all";
  readonly reason: string;
}

export class LiveInventory implements GpuInventory {
  readonly #options: GpuInventoryOptions;
  readonly #smi: Smi;
  readonly #reader: Reader;
  readonly #xids: XidWatch;
  readonly #jobFiles: JobFiles;
  readonly #holds = new Set<Hold>();
  readonly #stop = new AbortController();
  #reading: Reading = { outcome: "ok", gpus: [], processes: [] };
  #leases: readonly GpuLease[] = [];
  /** By id: with much memory in use and no process, in the last reading; undefined before the first. */
  #suspects: ReadonlySet<string> | undefined;
  #hidden: ReadonlySet<string> = new Set();
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #loop: Promise<void> | undefined;
  /** What was last said of each GPU. */
  #said: ReadonlyMap<string, string> = new Map();
  #warned: string | undefined;

  constructor(options: GpuInventoryOptions, smi: Smi) {
    this.#options = options;
    this.#smi = smi;
    this.#reader = createReader({
      smi,
      machineMemoryMib: Math.floor(totalmem() / MIB),
      driverDir: options.driverDir,
    });
    this.#xids = createXidWatch({
      path: options.kernelLog ?? "/dev/kmsg",
      gpus: () => this.#reading.gpus,
      metrics: options.metrics,
      log: options.log,
    });
    this.#jobFiles = createJobFiles(options.dcgmJobDir, options.log);
  }

  start(): void {
    this.#loop = this.#run();
  }

  get problem(): string | undefined {
    return this.#reading.problem;
  }

  current(): readonly Gpu[] {
    const circumstances = this.#circumstances();
    return this.#mine().map((seen) => assess(seen, circumstances));
  }

  /** A reading that began before this call would not show what has happened since: then another one follows. */
  refresh(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#read().finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.refresh();
    });
    return this.#next;
  }

  setLeases(leases: readonly GpuLease[]): void {
    this.#leases = leases;
    this.#publish();
  }

  holdBack(ids: readonly string[] | "all", reason: string): () => void {
    const hold = { ids, reason };
    this.#holds.add(hold);
    this.#publish();
    return () => {
      this.#holds.delete(hold);
      this.#publish();
    };
  }

  async awaitFree(ids: readonly string[], options: AwaitFreeOptions): Promise<FreeResult> {
    if (this.#options.foreign === "allow") {
      return FREE;
    }
    const deadline = performance.now() + options.timeoutMs;
    for (let pauseMs = FREE_POLL_MS; ; pauseMs = Math.min(pauseMs * 2, FREE_POLL_MAX_MS)) {
      const result = await this.#checkFree(ids, options.commandId);
      const leftMs = deadline - performance.now();
      if (result.isFree || leftMs <= 0 || options.signal?.aborted || this.#stop.signal.aborted) {
        return result;
      }
      await sleep(Math.min(pauseMs, leftMs), options.signal);
    }
  }

  xidsSince(ids: readonly string[], sinceMs: number): readonly string[] {
    this.#xids.update();
    const own = this.#reading.gpus.filter((gpu) => ids.includes(gpu.id));
    return this.#xids.since(new Set(own.map((gpu) => gpu.pciAddress)), sinceMs);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#smi.close();
    await this.#loop;
    this.#jobFiles.update(this.#mine(), []);
    this.#xids.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    const { intervalMs = INTERVAL_MS } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const hasSome = this.#reading.gpus.length > 0;
      await sleep(hasSome ? intervalMs : Math.max(intervalMs, IDLE_INTERVAL_MS), signal);
      if (!signal.aborted) {
        await this.refresh();
      }
    }
  }

  async #read(): Promise<void> {
    const reading = await this.#reader.read();
    if (this.#stop.signal.aborted) {
      return;
    }
    this.#options.metrics.readings.inc(reading.outcome);
    this.#reading = reading;
    this.#xids.update();
    this.#findHidden();
    this.#warn();
    this.#publish();
  }

  /** Memory is given back a moment after its process has gone: only what stays for two readings counts. */
  #findHidden(): void {
    const { processes = [] } = this.#reading;
    const suspects = this.#mine()
      .filter((gpu) => usesMuchMemory(gpu) && processesOn(gpu, processes, new Set()).length === 0)
      .map((gpu) => gpu.id);
    const before = this.#suspects;
    this.#hidden = new Set(suspects.filter((id) => before?.has(id) ?? true));
    this.#suspects = new Set(suspects.filter((id) => !this.#leasedIds().has(id)));
  }

  async #checkFree(ids: readonly string[], commandId: string): Promise<FreeResult> {
    const isOthers = (id: string): boolean =>
      this.#leases.some((lease) => lease.gpuId === id && lease.commandId !== commandId);
    const watched = this.#reading.gpus.filter((gpu) => ids.includes(gpu.id) && !isOthers(gpu.id));
    if (watched.length === 0) {
      return FREE;
    }
    const { processes, problem } = await this.#reader.readProcesses();
    if (processes === undefined) {
      const reason = `Who computes on the GPU cannot be listed: ${problem ?? "no answer"}`;
      return { isFree: false, processes: [], reason };
    }
    this.#reading = { ...this.#reading, processes };
    const { leasedParents } = this.#circumstances();
    const left = watched.flatMap((gpu) => processesOn(gpu, processes, leasedParents));
    return left.length === 0 ? FREE : { isFree: false, processes: left, reason: reasonLeft(left) };
  }

  #circumstances(): Circumstances {
    const held = [...this.#holds];
    const leased = this.#leasedIds();
    const parents = this.#reading.gpus.filter((gpu) => leased.has(gpu.id));
    return {
      processes: this.#reading.processes,
      problem: this.#reading.problem,
      leased,
      leasedParents: new Set(parents.flatMap((gpu) => gpu.parentId ?? [])),
      heldBack: new Map(
        held.flatMap(({ ids, reason }) => (ids === "all" ? [] : ids.map((id) => [id, reason]))),
      ),
      allHeldBack: held.find(({ ids }) => ids === "all")?.reason,
      hidden: this.#hidden,
      faultOf: (address) => this.#xids.faultOf(address),
      foreign: this.#options.foreign ?? "refuse",
    };
  }

  #leasedIds(): ReadonlySet<string> {
    return new Set(this.#leases.map((lease) => lease.gpuId));
  }

  /** Those that this worker may use. */
  #mine(): readonly SeenGpu[] {
    const { allowed = ["all"] } = this.#options;
    return this.#reading.gpus.filter((gpu) => allowed.some((name) => isNamed(gpu, name)));
  }

  /** To metrics, job files, the log, and whoever wants to know at once. */
  #publish(): void {
    const gpus = this.current();
    reportMetrics(this.#options.metrics, gpus, this.#leases);
    this.#jobFiles.update(this.#mine(), this.#leases);
    const said = new Map(gpus.map((gpu) => [gpu.id, gpu.state]));
    const changed = gpus.filter((gpu) => this.#said.get(gpu.id) !== said.get(gpu.id));
    const isGone = [...this.#said.keys()].some((id) => !said.has(id));
    this.#said = said;
    for (const { id, index, name, state, reason } of changed) {
      const level = state === "ready" ? "info" : "warn";
      this.#options.log[level]("state of a GPU", { gpu: id, index, name, state, reason });
    }
    if (changed.length > 0 || isGone) {
      this.#options.onChange?.();
    }
  }

  /** Once for each problem. */
  #warn(): void {
    const { allowed = ["all"], log } = this.#options;
    const unknown = allowed.filter(
      (name) => name !== "all" && !this.#reading.gpus.some((gpu) => isNamed(gpu, name)),
    );
    const problem =
      this.#reading.problem ??
      (unknown.length === 0 ? undefined : `NOETL_GPUS names what is not there: ${unknown.join()}`);
    if (problem !== undefined && problem !== this.#warned) {
      const seen = this.#reading.gpus.map((gpu) => `${gpu.index} ${gpu.id}`);
      log.warn("GPUs cannot be read as they should", { problem, seen });
    }
    this.#warned = problem;
  }
}

/** By `all`, UUID, number, or UUID or number of the GPU that it is cut from. */
function isNamed({ id, index, parentId }: SeenGpu, name: string): boolean {
  const names = ["all", id, index, parentId, index.split(":")[0]];
  return names.some((one) => one?.toLowerCase() === name.toLowerCase());
}

function reasonLeft(processes: readonly GpuProcess[]): string {
  const verb = describeProcesses(processes);
  return `${verb} still on the GPU after the container has ended.`;
}
