/** Workers coming, living and going; and what they must be told. */
import type { WorkerId } from "../core/ids.ts";
import type { Directive, Heartbeat, WorkerRegistration } from "../engine/command.ts";
import type { CancellingCommand } from "../store/append.ts";
import { readPlatformId } from "../store/server-state.ts";
import { databaseError } from "../store/sqlstate.ts";
import { removeWorker, renewLeases, saveWorker } from "../store/worker.ts";
import type { Feed } from "./feed.ts";
import type { GpuBell } from "./gpu-bell.ts";
import type { OrchestratorOptions } from "./options.ts";

/** No worker may keep others from its commands for longer. */
const LEAVE_MS_MAX = 600_000;

export type DirectiveListener = (directives: readonly Directive[]) => void;

export interface RegistrationAnswer {
  readonly leaseMs: number;
  readonly heartbeatIntervalMs: number;
  readonly serverVersion: string;
  /** Made once for each database; labels the containers of its tasks. */
  readonly platformId: string;
}

export interface WorkerLeasesOptions
  extends Pick<OrchestratorOptions, "store" | "metrics" | "serverVersion"> {
  readonly feed: Feed;
  readonly bell: Pick<GpuBell, "note" | "forget">;
  readonly leaseMs: number;
  readonly heartbeatIntervalMs: number;
}

export class WorkerLeases {
  readonly #options: WorkerLeasesOptions;
  readonly #listeners = new Map<WorkerId, Set<DirectiveListener>>();
  #platformId: string | undefined;

  constructor(options: WorkerLeasesOptions) {
    this.#options = options;
  }

  async register(registration: WorkerRegistration): Promise<RegistrationAnswer> {
    const { store, bell, leaseMs, heartbeatIntervalMs, serverVersion } = this.#options;
    await translated(() => saveWorker(store.quick, registration));
    bell.note(registration.workerId, registration.gpus, registration.runtimes);
    this.#platformId ??= await translated(() => readPlatformId(store.quick));
    const platformId = this.#platformId;
    return { leaseMs, heartbeatIntervalMs, serverVersion, platformId };
  }

  /** Renews what the worker holds; gives what it must stop, and whether it must register again. */
  async heartbeat(heartbeat: Heartbeat): Promise<readonly Directive[]> {
    const { store, bell, leaseMs, metrics } = this.#options;
    const holdMs = Math.max(leaseMs, Math.min(heartbeat.leaveMs ?? 0, LEAVE_MS_MAX));
    const renewal = await translated(() => renewLeases(store.quick, heartbeat, holdMs));
    bell.note(heartbeat.workerId, heartbeat.gpus);
    metrics.leasesRenewed.add(heartbeat.held.length - renewal.lost.size);
    const directives: Directive[] = renewal.isKnown ? [] : [{ kind: "register" }];
    for (const { commandId, attempt } of heartbeat.held) {
      if (renewal.lost.has(commandId)) {
        metrics.fenceRefusals.inc("heartbeat");
        directives.push({ kind: "lost", commandId, attempt });
      } else if (renewal.cancelling.has(commandId)) {
        directives.push({ kind: "cancel", commandId, attempt });
      }
    }
    return directives;
  }

  /** What the worker still holds is handed out again at once. */
  async deregister(workerId: WorkerId): Promise<void> {
    const { store, feed, bell } = this.#options;
    const dropped = await translated(() => removeWorker(store.quick, workerId));
    bell.forget(workerId);
    for (const lease of dropped) {
      feed.expire({ ...lease, workerId });
    }
  }

  /** Calls `listener` when there is something to say between two heartbeats. */
  subscribe(workerId: WorkerId, listener: DirectiveListener): () => void {
    const listeners = this.#listeners.get(workerId) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(workerId, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(workerId) === listeners) {
        this.#listeners.delete(workerId);
      }
    };
  }

  /** Tells workers that are connected here; others hear of it with their next heartbeat. */
  tellToStop(commands: readonly CancellingCommand[]): void {
    for (const { workerId, commandId, attempt } of commands) {
      const listeners = workerId === undefined ? undefined : this.#listeners.get(workerId);
      for (const listener of listeners ?? []) {
        listener([{ kind: "cancel", commandId, attempt }]);
      }
    }
  }
}

async function translated<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw databaseError(error);
  }
}
