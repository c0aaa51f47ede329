/**
 * Rings for commands that wait for GPUs. Who asked in vain was told to forget the notification, so that it
 * holds no slot; so somebody must announce the command again once there may be GPUs for it:
 *
 * - after a commit that freed some, when a worker comes, and when one shows GPUs that were not ready before;
 * - by a sweep every few seconds, for whatever the above has missed.
 *
 * Only those are announced that could be given something now, and the claim decides anew. Nothing here costs
 * anything as long as nobody uses GPUs.
 */
import { errorMessage } from "../core/errors.ts";
import type { WorkerId } from "../core/ids.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import type { Gpu } from "../engine/gpu.ts";
import { findPlaceable } from "../engine/gpu-queue.ts";
import { listGpuPools, readScene } from "../store/gpu-scene.ts";
import type { Notifier } from "./notifier.ts";
import type { OrchestratorOptions } from "./options.ts";

/** Commands announced in one round. */
const RING_MAX = 64;
/** Between two rounds by a sweep. */
const SWEEP_EVERY_MS = 3000;
const WORKERS_MAX = 10_000;

export interface GpuBellOptions extends Pick<OrchestratorOptions, "store" | "log"> {
  readonly notifier: Pick<Notifier, "publish">;
  /** A worker that has been silent for longer does not count. */
  readonly workerTimeoutMs: number;
}

export class GpuBell {
  readonly #options: GpuBellOptions;
  /** GPUs that each worker last showed as ready. */
  readonly #ready = new Map<WorkerId, ReadonlySet<string>>();
  #isRinging = false;
  #isWanted = false;
  #sweptMs = Number.NEGATIVE_INFINITY;

  constructor(options: GpuBellOptions) {
    this.#options = options;
  }

  /** GPUs may have become free. Returns at once, never throws. */
  ring(): void {
    this.#isWanted = true;
    if (!this.#isRinging) {
      this.#isRinging = true;
      void this.#ringOn().finally(() => {
        this.#isRinging = false;
      });
    }
  }

  /** What a worker has to offer, at its registration and with each heartbeat. */
  note(
    workerId: WorkerId,
    gpus: readonly Gpu[] | undefined,
    runtimes?: readonly RuntimeFacts[],
  ): void {
    const known = this.#ready.get(workerId);
    const ready = new Set(gpus?.flatMap(({ id, state }) => (state === "ready" ? [id] : [])));
    if (ready.size > 0 || known !== undefined) {
      this.#remember(workerId, ready);
    }
    const hasMore = [...ready].some((id) => known?.has(id) !== true);
    if (hasMore || runtimes?.some((runtime) => runtime.gpus === "cluster") === true) {
      this.ring();
    }
  }

  forget(workerId: WorkerId): void {
    this.#ready.delete(workerId);
  }

  /** Of very many workers, most are gone: forgetting all of them only rings once too often. */
  #remember(workerId: WorkerId, ready: ReadonlySet<string>): void {
    if (this.#ready.size >= WORKERS_MAX) {
      this.#ready.clear();
    }
    this.#ready.set(workerId, ready);
  }

  /** To be called after each sweep that found some waiting. */
  sweep(): void {
    const nowMs = performance.now();
    if (nowMs - this.#sweptMs >= SWEEP_EVERY_MS) {
      this.#sweptMs = nowMs;
      void this.#announce(true);
    }
  }

  async #ringOn(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      await this.#announce(false);
    }
  }

  /** @param isSlotNeeded what workers last said of their slots counts: it may be some seconds old. */
  async #announce(isSlotNeeded: boolean): Promise<void> {
    const { store, notifier, workerTimeoutMs, log } = this.#options;
    try {
      const pools = await listGpuPools(store.quick);
      if (pools.length === 0) {
        return;
      }
      const scene = await readScene(store.quick, pools, workerTimeoutMs);
      const round = String(Date.now());
      const found = findPlaceable(scene, { max: RING_MAX, isSlotNeeded });
      const placeable = new Set(found.map(({ commandId }) => commandId));
      const rows = scene.waiters.filter(({ commandId }) => placeable.has(commandId));
      await Promise.all(rows.map((row) => notifier.publish(row, "relay", round)));
    } catch (error) {
      log.warn("commands that wait for GPUs not announced", { error: errorMessage(error) });
    }
  }
}
