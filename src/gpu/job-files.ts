/**
 * Files that tell NVIDIA's DCGM exporter which task is on which GPU (`--hpc-job-mapping-dir`): named after the GPU's
 * number (`0`; of a slice GPU and instance, `2.1`), a line for each task: `execution/step`. Its series carry them as
 * label `hpc_job`.
 *
 * There is a file only while there is a lease: an empty one hides the GPU from exporters before 2025-08. Written
 * under another name first, so none is ever read half.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorMessage } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import type { GpuLease } from "./inventory.ts";
import type { SeenGpu } from "./reading.ts";

export interface JobFiles {
  /** @param gpus all of this worker: files of those that nobody holds are removed, also those of a killed worker. */
  update(gpus: readonly SeenGpu[], leases: readonly GpuLease[]): void;
}

/** @param dir absent: nothing is written. */
export function createJobFiles(dir: string | undefined, log: Logger): JobFiles {
  const written = new Map<string, string>();
  const known = new Set<string>();
  let hasFailed = false;

  const put = (name: string, text: string): void => {
    if (dir === undefined || (known.has(name) && (written.get(name) ?? "") === text)) {
      return;
    }
    if (text === "") {
      rmSync(join(dir, name), { force: true });
      written.delete(name);
    } else {
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(dir, `.${name}.noetl`), text);
      renameSync(join(dir, `.${name}.noetl`), join(dir, name));
      written.set(name, text);
    }
    known.add(name);
  };

  return {
    update: (gpus, leases) => {
      if (dir === undefined) {
        return;
      }
      try {
        const wanted = textByName(gpus, leases);
        for (const name of written.keys()) {
          put(name, wanted.get(name) ?? "");
        }
        for (const [name, text] of wanted) {
          put(name, text);
        }
        hasFailed = false;
      } catch (error) {
        if (!hasFailed) {
          log.warn("cannot write DCGM's job files", { dir, error: errorMessage(error) });
        }
        hasFailed = true;
      }
    },
  };
}

function textByName(
  gpus: readonly SeenGpu[],
  leases: readonly GpuLease[],
): ReadonlyMap<string, string> {
  return new Map(
    gpus.map((gpu) => {
      const own = leases.filter((lease) => lease.gpuId === gpu.id);
      return [fileName(gpu), own.map((lease) => `${jobName(lease)}\n`).join("")];
    }),
  );
}

function fileName({ index, instance }: SeenGpu): string {
  const [gpu = index, device] = index.split(":");
  return device === undefined ? gpu : `${gpu}.${instance ?? device}`;
}

/** Steps may be named with anything, a line may not. */
function jobName({ executionId, step }: GpuLease): string {
  return `${executionId}/${step}`.replace(/\s+/g, "_");
}
