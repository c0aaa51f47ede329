/**
 * Who gets GPUs next. A scene is what the database knows at one moment: workers, who holds which GPUs,
 * who waits. Pure, so that servers agree and tests can play it through.
 *
 * Those who wait have their turn by priority, then age; a younger one may pass an older one that does
 * not fit. Not for ever: for one that has waited over {@link PATIENCE_MS} the GPUs that will be free
 * first are kept, on the worker that has most of them.
 */
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Gpu, GpuDemand, GpuGrant } from "./gpu.ts";
import { fittingGpus, placeGpus, reserveGpus } from "./place-gpus.ts";

/** From then on nobody overtakes. */
export const PATIENCE_MS = 60_000;

export interface GpuWorker {
  readonly workerId: WorkerId;
  readonly name: string;
  readonly pool: string;
  readonly gpus: readonly Gpu[];
  /** Its containers run in a cluster, which chooses GPUs itself. */
  readonly isCluster: boolean;
  readonly isDraining: boolean;
  readonly freeSlots: number;
}

/** A queued command that wants GPUs. */
export interface GpuWaiter {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly pool: string;
  readonly waitedMs: number;
  readonly demand: GpuDemand;
}

/** A command that holds GPUs. */
export interface GpuHolder {
  readonly executionId: ExecutionId;
  readonly commandId: CommandId;
  readonly step: string;
  readonly sinceMs: number;
  readonly grants: readonly GpuGrant[];
}

export interface GpuScene {
  /** That have sent a heartbeat lately. */
  readonly workers: readonly GpuWorker[];
  readonly holders: readonly GpuHolder[];
  /** Of each pool in their order; of long queues the beginning. */
  readonly waiters: readonly GpuWaiter[];
}

export type GpuVerdict =
  /** To another one than was asked for when that comes first. */
  | { readonly kind: "given"; readonly to: GpuWaiter; readonly grants: readonly GpuGrant[] }
  /** Another worker of the pool could have it now. */
  | { readonly kind: "elsewhere" }
  | { readonly kind: "waits" }
  /** No worker of the pool will ever have what it wants. */
  | { readonly kind: "unfit" };

/** What a worker that asks for `asked` gets. */
export function judgeClaim(scene: GpuScene, worker: GpuWorker, asked: GpuWaiter): GpuVerdict {
  if (worker.isCluster) {
    return { kind: "given", to: asked, grants: [] };
  }
  if (isUnfit(scene, asked)) {
    return { kind: "unfit" };
  }
  const desk = new Desk(scene);
  for (const waiter of queueTo(scene, asked)) {
    const grants = worker.isDraining ? undefined : desk.place(waiter, worker);
    if (grants !== undefined) {
      return { kind: "given", to: waiter, grants };
    }
    if (waiter.commandId !== asked.commandId) {
      desk.keep(waiter);
    }
  }
  const others = poolOf(scene, asked.pool).filter(({ workerId }) => workerId !== worker.workerId);
  const isPlaceable = others.some(
    (other) => canTake(other) && (other.isCluster || desk.place(asked, other) !== undefined),
  );
  return { kind: isPlaceable ? "elsewhere" : "waits" };
}

/** Those that somebody could take now, all together; at most `max`. */
export function findPlaceable(
  scene: GpuScene,
  options: { readonly max: number; readonly isSlotNeeded: boolean },
): readonly GpuWaiter[] {
  const desk = new Desk(scene);
  const found: GpuWaiter[] = [];
  for (const waiter of scene.waiters) {
    if (found.length >= options.max) {
      break;
    }
    const workers = poolOf(scene, waiter.pool).filter(
      (worker) => !worker.isDraining && (worker.freeSlots > 0 || !options.isSlotNeeded),
    );
    if (workers.some((worker) => worker.isCluster || desk.take(waiter, worker))) {
      found.push(waiter);
    } else {
      desk.keep(waiter);
    }
  }
  return found;
}

/** A command that was handed out before is waited for: its worker may be about to come back. */
export function isUnfit(scene: GpuScene, { pool, demand, attempt }: GpuWaiter): boolean {
  return (
    attempt === 1 &&
    poolOf(scene, pool).every(
      (worker) => !worker.isCluster && fittingGpus(demand, worker.gpus).length < demand.count,
    )
  );
}

export function poolOf({ workers }: GpuScene, pool: string): readonly GpuWorker[] {
  return workers.filter((worker) => worker.pool === pool);
}

/** The scene after a command got its GPUs. */
export function afterGrant(
  scene: GpuScene,
  { executionId, commandId }: GpuWaiter,
  grants: readonly GpuGrant[],
  nowMs: number,
): GpuScene {
  const holder = { executionId, commandId, step: "", sinceMs: nowMs, grants };
  return {
    workers: scene.workers,
    holders: [...scene.holders, holder],
    waiters: scene.waiters.filter((waiter) => waiter.commandId !== commandId),
  };
}

/** Those before `asked` in its pool, and itself at the end. */
function queueTo({ waiters }: GpuScene, asked: GpuWaiter): readonly GpuWaiter[] {
  const queue = waiters.filter(({ pool }) => pool === asked.pool);
  const position = queue.findIndex(({ commandId }) => commandId === asked.commandId);
  return [...(position < 0 ? queue : queue.slice(0, position)), asked];
}

function canTake({ isDraining, freeSlots }: GpuWorker): boolean {
  return !isDraining && freeSlots > 0;
}

/** What is taken and kept while a queue is gone through. */
class Desk {
  readonly #scene: GpuScene;
  readonly #taken: GpuGrant[];
  readonly #kept = new Set<string>();
  readonly #since: ReadonlyMap<string, number>;

  constructor(scene: GpuScene) {
    this.#scene = scene;
    this.#taken = scene.holders.flatMap(({ grants }) => grants);
    this.#since = new Map(
      scene.holders.flatMap(({ sinceMs, grants }) => grants.map(({ id }) => [id, sinceMs])),
    );
  }

  place({ demand }: GpuWaiter, worker: GpuWorker): readonly GpuGrant[] | undefined {
    return placeGpus(demand, worker.gpus, this.#taken, this.#kept);
  }

  take(waiter: GpuWaiter, worker: GpuWorker): boolean {
    const grants = this.place(waiter, worker);
    this.#taken.push(...(grants ?? []));
    return grants !== undefined;
  }

  /** Keeps GPUs for one that has waited for long. */
  keep({ pool, demand, waitedMs }: GpuWaiter): void {
    if (waitedMs <= PATIENCE_MS) {
      return;
    }
    const choices = poolOf(this.#scene, pool).flatMap((worker) => {
      const ids = worker.isDraining
        ? undefined
        : reserveGpus(demand, worker.gpus, this.#since, this.#kept);
      return ids === undefined ? [] : [{ ids, free: ids.filter((id) => !this.#since.has(id)) }];
    });
    const [best] = choices.toSorted((a, b) => b.free.length - a.free.length);
    for (const id of best?.ids ?? []) {
      this.#kept.add(id);
    }
  }
}
