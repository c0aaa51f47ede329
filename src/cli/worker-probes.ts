/** The port on which a worker serves its metrics and probes. */
import { hostname } from "node:os";
import type { Bus } from "../bus/bus.ts";
import type { Values } from "../config/option.ts";
import type { metricsOptions } from "../config/tables.ts";
import { AppError } from "../core/errors.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import type { Gpu } from "../engine/gpu.ts";
import type { Logger } from "../observability/log.ts";
import type { ProbeServer, Readiness } from "../observability/probe-server.ts";
import { startProbeServer } from "../observability/probe-server.ts";
import type { MetricsRegistry } from "../observability/registry.ts";
import type { Worker } from "../worker/worker.ts";

const DEFAULT_PORT = 9090;

/** Grows while the worker starts: probes are asked from the beginning. */
export interface WorkerParts {
  bus: Pick<Bus, "isConnected"> | undefined;
  worker: Pick<Worker, "status"> | undefined;
  /** What its machine lacks, by kind of tool. */
  lacking?: ReadonlyMap<string, string>;
  runtimes?: readonly RuntimeFacts[];
  gpus?: { current(): readonly Gpu[] };
}

export interface WorkerProbes extends ProbeServer {
  /** Under which others find the metrics. */
  readonly metricsUrl: string;
}

export interface WorkerProbesOptions {
  readonly values: Values<typeof metricsOptions>;
  readonly registry: MetricsRegistry;
  readonly parts: Readonly<WorkerParts>;
  readonly log: Logger;
}

/**
 * A taken port is an error if somebody has asked for it; the default one gives way to a free one,
 * for the second worker of a machine.
 *
 * @throws AppError `PROBE_LISTEN_FAILED`.
 */
export function openProbes(options: WorkerProbesOptions): WorkerProbes {
  const { values, registry, parts, log } = options;
  const { metricsHost: host, metricsPort } = values;
  const start = (port: number): ProbeServer =>
    startProbeServer({ host, port, registry, readiness: () => readinessOf(parts) });
  const server = metricsPort === undefined ? startSomewhere(start, log) : start(metricsPort);
  const metricsUrl = `http://${addressOf(host)}:${server.port}/metrics`;
  log.info("Serving metrics and probes", { url: metricsUrl });
  return { ...server, metricsUrl };
}

function startSomewhere(start: (port: number) => ProbeServer, log: Logger): ProbeServer {
  try {
    return start(DEFAULT_PORT);
  } catch (error) {
    if (!(error instanceof AppError)) {
      throw error;
    }
    log.warn("The default port of the metrics is taken, using a free one", { port: DEFAULT_PORT });
    return start(0);
  }
}

function readinessOf({ bus, worker, lacking = new Map(), ...machine }: WorkerParts): Readiness {
  const status = worker?.status;
  const { state = "starting", isConnected = false, slots, freeSlots, parked = 0 } = status ?? {};
  const isOnBus = bus?.isConnected ?? false;
  return {
    isReady: state === "working" && isConnected && isOnBus,
    details: {
      state,
      server: isConnected ? "connected" : "not connected",
      nats: isOnBus ? "connected" : "not connected",
      slots: slots ?? 0,
      free_slots: freeSlots ?? 0,
      ...(parked === 0 ? {} : { parked }),
      ...machineDetails(machine),
      ...(lacking.size === 0 ? {} : { lacks: Object.fromEntries(lacking) }),
    },
  };
}

function machineDetails({ runtimes = [], gpus }: Pick<WorkerParts, "runtimes" | "gpus">) {
  const present = gpus?.current() ?? [];
  return {
    ...(runtimes.length === 0
      ? {}
      : {
          runtimes: Object.fromEntries(
            runtimes.map(({ name, version, isUsable, problem }) => [
              name,
              isUsable ? version : (problem ?? "not usable"),
            ]),
          ),
        }),
    ...(present.length === 0
      ? {}
      : { gpus: Object.fromEntries(present.map(({ id, state }) => [id, state])) }),
  };
}

/** For addresses that mean all of them: the machine's name. */
function addressOf(host: string): string {
  if (host === "0.0.0.0" || host === "::") {
    return hostname();
  }
  return host.includes(":") ? `[${host}]` : host;
}
