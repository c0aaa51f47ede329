/** What a worker is made of. */
import type { Bus } from "../bus/bus.ts";
import type { ContainerHost, Runtimes } from "../containers/host.ts";
import type { WorkerId } from "../core/ids.ts";
import type { LogLine } from "../engine/command.ts";
import type { GpuInventory } from "../gpu/inventory.ts";
import type { Logger } from "../observability/log.ts";
import type { WorkerMetrics } from "../observability/metrics.ts";
import type { TraceContext } from "../observability/trace-context.ts";
import type { Tracer } from "../observability/tracer.ts";
import type { WorkerClient } from "../rpc/client.ts";
import type { Tools } from "../tools/registry.ts";

export interface WorkerOptions {
  /** Unique per process life. */
  readonly workerId: WorkerId;
  /** Shown to people. */
  readonly name: string;
  readonly pool: string;
  /** Commands that it runs at once; at least 1. */
  readonly slots: number;
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly metricsUrl?: string | undefined;
  readonly client: WorkerClient;
  readonly bus: Pick<Bus, "consumeCommands">;
  readonly tools: Pick<Tools, "get" | "kinds">;
  readonly log: Logger;
  readonly metrics: WorkerMetrics;
  /** Names visible to templates as `env.*`. */
  readonly env: Readonly<Record<string, string>>;
  /** Its containers; absent: no tool starts any. */
  readonly containers?: (ContainerHost & Pick<Runtimes, "facts">) | undefined;
  /** Its GPUs; absent: it has none. */
  readonly gpus?: Pick<GpuInventory, "current" | "setLeases" | "holdBack"> | undefined;
  /** Default `wait`. */
  readonly drain?: DrainMode | undefined;
  /** Commands whose work goes on elsewhere, such as Jobs of a cluster, at most; default 1,000. */
  readonly parkedMax?: number | undefined;
  /** What running commands get to end by themselves after the stop; default 30,000. */
  readonly graceMs?: number | undefined;
  /** Each line of a tool that is not dropped, secrets masked. */
  readonly onLog?: ((line: LogLine, trace: TraceContext | undefined) => void) | undefined;
  /** Default: no spans are recorded. */
  readonly tracer?: Tracer | undefined;
  readonly limits?: Partial<WorkerLimits> | undefined;
}

/**
 * What becomes of what runs when the worker is told to stop:
 * - `wait`: it may end within the grace period, then it is stopped and handed back.
 * - `stop`: it is stopped and handed back at once.
 * - `leave`: containers run on, and the next worker on this machine takes them over, if it comes before their
 *   leases end; all else as with `wait`.
 *
 * What runs in a cluster is handed to other workers in any case, and runs on.
 */
export type DrainMode = "wait" | "stop" | "leave";

export interface WorkerLimits {
  /** Values above go to the result store; bytes of JSON text. Default 64 KiB. */
  readonly inlineBytes: number;
  /** Values above fail their task; bytes of JSON text. Default 64 MiB. */
  readonly resultBytes: number;
  /** Values of ctx above fail their task; bytes of JSON text. Default 16 MiB. */
  readonly ctxBytes: number;
  /** Stored results kept at hand for templates, all commands together; bytes. Default 128 MiB. */
  readonly refCacheBytes: number;
  /** Log lines a second that one task may write on average. Default 500. */
  readonly logLinesPerSecond: number;
  /** Lines it may write at once before that counts. Default 5,000. */
  readonly logBurstLines: number;
  /** Characters of all its lines. Default 16 Mi. */
  readonly logChars: number;
  /** Characters of one line; the rest of a longer one is cut, and that is said. Default 16 Ki. */
  readonly logLineChars: number;
}

export const DEFAULT_LIMITS: WorkerLimits = {
  inlineBytes: 64 * 1024,
  resultBytes: 64 * 1024 * 1024,
  ctxBytes: 16 * 1024 * 1024,
  refCacheBytes: 128 * 1024 * 1024,
  logLinesPerSecond: 500,
  logBurstLines: 5000,
  logChars: 16 * 1024 * 1024,
  logLineChars: 16 * 1024,
};
