/** Waits for the end of a container: by its first process where that can be seen, else by the command line. */
import { existsSync, readFileSync } from "node:fs";
import { sleep } from "../core/clock.ts";
import type { Cli } from "./cli.ts";
import type { Inspection } from "./inspection.ts";
import { ContainerError } from "./runtime.ts";

export interface ContainerFinish {
  readonly inspection: Inspection;
  /** The runtime's daemon was away meanwhile. */
  readonly hadOutage: boolean;
}

/** How often a process is looked for: a read of /proc, some microseconds. */
const POLL_MS_MIN = 2;
const POLL_MS_MAX = 50;
/** Between the end of the process and the runtime's knowing it. */
const SETTLE_MS_MIN = 10;
const SETTLE_MS_MAX = 500;
/** Containers go on while their daemon is away, so be patient. */
const OUTAGE_MS = 180_000;
/** How long the runtime may take to see the end of a process. */
const SETTLE_MS = 15_000;
/** A call that waits is begun anew now and then, in case its daemon forgot it. */
const WAIT_CALL_MS = 10 * 60_000;

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** Number of its first process, if that is known without asking the runtime; else 0. */
  readonly findPid: () => Promise<number>;
}

/** All who want to know of a container's end share one look-out. */
export class ContainerWatch {
  readonly #cli: Cli;
  readonly #watches = new Map<string, Watch>();

  constructor(cli: Cli) {
    this.#cli = cli;
  }

  /**
   * @throws the signal's reason when it is aborted.
   * @throws ContainerError when the container is gone or the runtime is away for minutes.
   */
  async untilEnded(id: string, { signal, findPid }: WatchOptions): Promise<ContainerFinish> {
    signal.throwIfAborted();
    const watch = this.#watches.get(id) ?? this.#begin(id, findPid);
    watch.userCount++;
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([watch.finish, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
      watch.userCount--;
      if (watch.userCount === 0) {
        watch.controller.abort();
        this.#watches.delete(id);
      }
    }
  }

  /** The daemon was seen to be away by somebody who follows that container. */
  noteOutage(id: string): void {
    const watch = this.#watches.get(id);
    if (watch !== undefined) {
      watch.outage.isSeen = true;
    }
  }

  #begin(id: string, findPid: WatchOptions["findPid"]): Watch {
    const controller = new AbortController();
    const outage = { isSeen: false };
    const finish = followContainer(this.#cli, id, {
      ...{ outage, findPid },
      signal: controller.signal,
    });
    finish.catch(() => undefined);
    const watch = { controller, outage, finish, userCount: 0 };
    this.#watches.set(id, watch);
    return watch;
  }
}

interface Watch {
  readonly controller: AbortController;
  readonly outage: { isSeen: boolean };
  readonly finish: Promise<ContainerFinish>;
  userCount: number;
}

async function followContainer(
  cli: Cli,
  id: string,
  { outage, signal, findPid }: Pick<Watch, "outage"> & WatchOptions,
): Promise<ContainerFinish> {
  const onOutage = (): void => {
    outage.isSeen = true;
  };
  const known = { id, pid: await findPid() };
  const wasSeen = await untilGone(known, signal);
  let isGone = wasSeen || isProcessGone(known.pid);
  let settle = wasSeen ? new Settle() : undefined;
  for (;;) {
    signal.throwIfAborted();
    const inspection = await cli.inspect(id, { outageMs: OUTAGE_MS, onOutage });
    if (inspection === undefined) {
      throw goneError(cli.name, id);
    }
    if (inspection.status === "created") {
      throw neverStartedError(inspection);
    }
    if (inspection.status === "ended") {
      return { inspection, hadOutage: outage.isSeen };
    }
    if (await untilGone(inspection, signal)) {
      isGone = true;
      settle = new Settle();
    } else if (isGone) {
      settle ??= new Settle();
      await settle.pause(signal, () => unknownEndError(cli.name, inspection));
    } else {
      await waitByCall(cli, id, { signal, onOutage });
    }
  }
}

/** While a container has ended that the runtime takes for running. */
class Settle {
  readonly #untilMs = performance.now() + SETTLE_MS;
  #pauseMs = SETTLE_MS_MIN;

  /** @throws what `late` gives when it has taken too long. */
  async pause(signal: AbortSignal, late: () => ContainerError): Promise<void> {
    if (performance.now() > this.#untilMs) {
      throw late();
    }
    await sleep(this.#pauseMs, signal);
    this.#pauseMs = Math.min(SETTLE_MS_MAX, this.#pauseMs * 1.2);
  }
}

/** True: its first process can be seen from here, and is this container's for sure. */
export function isProcessOf({ id, pid }: Pick<Inspection, "id" | "pid">): boolean {
  if (pid <= 0) {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(id);
  } catch {
    // Gone, or of another machine.
    return false;
  }
}

/** Of a container that was started on this machine. False also where nobody has written its number. */
export function isProcessGone(pid: number): boolean {
  return pid > 0 && !existsSync(`/proc/${pid}`);
}

/** False: it could not be seen, so nobody knows. */
async function untilGone(
  of: Pick<Inspection, "id" | "pid">,
  signal: AbortSignal,
): Promise<boolean> {
  const wasSeen = isProcessOf(of);
  let pauseMs = POLL_MS_MIN;
  while (isProcessOf(of) && !signal.aborted) {
    await sleep(pauseMs, signal);
    pauseMs = Math.min(POLL_MS_MAX, pauseMs * 1.2);
  }
  return wasSeen;
}

async function waitByCall(
  cli: Cli,
  id: string,
  { signal, onOutage }: { readonly signal: AbortSignal; readonly onOutage: () => void },
): Promise<void> {
  const timeoutMs = WAIT_CALL_MS;
  try {
    await cli.call(["wait", id], { signal, timeoutMs, outageMs: OUTAGE_MS, onOutage });
  } catch (error) {
    if (!(error instanceof ContainerError && error.code === "RUNTIME_TIMEOUT")) {
      throw error;
    }
  }
}

export function goneError(runtime: string, id: string): ContainerError {
  const message = `Container ${id.slice(0, 12)} is gone: somebody removed it from ${runtime} while its task ran`;
  return new ContainerError("worker_lost", "CONTAINER_GONE", message, true);
}

/** Of podman, whose monitors of containers are processes of their own. */
function unknownEndError(runtime: string, { name }: Inspection): ContainerError {
  const message =
    `Container ${name} has ended, and ${runtime} takes it for running: nobody knows how it ended. ` +
    "What watched over it (conmon) was killed";
  return new ContainerError("worker_lost", "CONTAINER_END_UNKNOWN", message, true);
}

function neverStartedError({ name, error }: Inspection): ContainerError {
  const why = error === "" ? "" : `: ${error}`;
  const message = `Container ${name} was made but never started${why}`;
  return new ContainerError("worker_lost", "CONTAINER_NEVER_STARTED", message, true);
}
