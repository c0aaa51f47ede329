/** Tells the inventory which GPUs the commands of this worker hold. */
import type { ClaimedCommand } from "../engine/command.ts";
import type { GpuLease } from "../gpu/inventory.ts";
import type { WorkerOptions } from "./options.ts";

export class GpuLeases {
  readonly #inventory: WorkerOptions["gpus"];
  readonly #leases = new Map<ClaimedCommand, readonly GpuLease[]>();

  constructor(inventory: WorkerOptions["gpus"]) {
    this.#inventory = inventory;
  }

  add(command: ClaimedCommand): void {
    const { gpus = [], commandId, executionId, payload } = command;
    if (gpus.length > 0) {
      const holder = { commandId, executionId, step: payload.step.name };
      this.#leases.set(
        command,
        gpus.map(({ id }) => ({ gpuId: id, ...holder })),
      );
      this.#tell();
    }
  }

  remove(command: ClaimedCommand): void {
    if (this.#leases.delete(command)) {
      this.#tell();
    }
  }

  /** Those that this worker takes to hold one of the same GPUs, not both of them as a part. */
  othersOn(command: ClaimedCommand): readonly ClaimedCommand[] {
    const { gpus = [] } = command;
    return [...this.#leases.keys()].filter(
      (other) =>
        other !== command &&
        other.gpus?.some(({ id, isShared }) =>
          gpus.some((gpu) => gpu.id === id && !(gpu.isShared && isShared)),
        ),
    );
  }

  #tell(): void {
    this.#inventory?.setLeases([...this.#leases.values()].flat());
  }
}
