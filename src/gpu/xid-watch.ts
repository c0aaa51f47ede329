/** XIDs of this machine's GPUs, from the kernel's log as far as it has been read. */
import { uptime } from "node:os";
import type { GpuMetrics } from "../observability/gpu-metrics.ts";
import type { Logger } from "../observability/log.ts";
import { createFaults } from "./faults.ts";
import type { KernelLine } from "./kernel-log.ts";
import { openKernelLog } from "./kernel-log.ts";
import type { SeenGpu } from "./reading.ts";
import { describeXid } from "./xid.ts";

export interface XidWatchOptions {
  /** Of the kernel's log; empty: nothing is read. */
  readonly path: string;
  /** All of the machine, as far as known. */
  readonly gpus: () => readonly SeenGpu[];
  readonly metrics: Pick<GpuMetrics, "xidErrors">;
  readonly log: Logger;
}

export interface XidWatch {
  /** Reads what is new; never throws. */
  update(): void;
  faultOf(pciAddress: string): string | undefined;
  /** Half sentences: `XID 31: a kernel accessed …`. */
  since(addresses: ReadonlySet<string>, sinceMs: number): readonly string[];
  close(): void;
}

interface RecentXid {
  readonly address: string;
  readonly atMs: number;
  readonly text: string;
}

const RECENT_MAX = 100;

export function createXidWatch({ path, gpus, metrics, log }: XidWatchOptions): XidWatch {
  const addressOf = (id: string): string | undefined =>
    gpus().find((gpu) => [gpu.id, gpu.parentId].some((one) => isSame(one, id)))?.pciAddress;
  const faults = createFaults(addressOf);
  const kernelLog = openKernelLog(path);
  const recent: RecentXid[] = [];
  const bootMs = Date.now() - uptime() * 1000;
  const startedAtMs = Date.now();
  let problem: string | undefined;

  const take = ({ text, timeUs }: KernelLine): void => {
    const seen = faults.take(text);
    if (seen === undefined) {
      return;
    }
    const atMs = timeUs === undefined ? Date.now() : bootMs + timeUs / 1000;
    const half = `XID ${seen.code}: ${describeXid(seen.code).meaning}`;
    recent.splice(0, recent.length - RECENT_MAX + 1);
    recent.push({ address: seen.pciAddress, atMs, text: half });
    if (atMs < startedAtMs) {
      return;
    }
    log.warn("XID in the kernel's log", { pci: seen.pciAddress, code: seen.code, line: text });
    for (const gpu of gpus().filter((one) => one.pciAddress === seen.pciAddress)) {
      metrics.xidErrors.inc(gpu.id, seen.class);
    }
  };

  const sayProblem = (): void => {
    if (kernelLog.problem !== undefined && kernelLog.problem !== problem) {
      const advice = "run the worker as root or with CAP_SYSLOG, or set NOETL_KERNEL_LOG";
      log.info("XIDs are not seen: cannot read the kernel's log", {
        path,
        error: kernelLog.problem,
        advice,
      });
    }
    problem = kernelLog.problem;
  };

  return {
    update: () => {
      for (const line of kernelLog.read()) {
        take(line);
      }
      sayProblem();
    },
    faultOf: (address) => faults.of(address),
    since: (addresses, sinceMs) =>
      recent
        .filter(({ address, atMs }) => addresses.has(address) && atMs >= sinceMs)
        .map(({ text }) => text),
    close: () => kernelLog.close(),
  };
}

function isSame(one: string | undefined, other: string): boolean {
  return one?.toLowerCase() === other.toLowerCase();
}
