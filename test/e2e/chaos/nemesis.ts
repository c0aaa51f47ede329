/** Breaks things, one random point after another, and repairs each a moment later. */
import { sleep } from "../../../src/core/clock.ts";
import type { Cluster } from "./cluster.ts";
import type { Component } from "./component.ts";
import type { Random } from "./random.ts";

export type Fault =
  | "kill server"
  | "kill worker"
  | "kill nats-server"
  | "kill postgres"
  | "kill runner"
  | "stop server"
  | "stop worker"
  | "freeze worker"
  | "freeze server"
  | "freeze nats-server"
  | "wipe JetStream";

export interface Point {
  readonly fault: Fault;
  readonly atMs: number;
  /** From the kill until the killed part served again; zero where nothing is started again. */
  readonly downMs: number;
  /** From the kill until an execution submitted right after it was over. */
  readonly recoveryMs: number;
}

export interface NemesisOptions {
  readonly cluster: Cluster;
  readonly points: number;
  readonly random: Random;
  /** Runs one small execution and gives its time. */
  readonly probe: () => Promise<number>;
  readonly onPoint?: (point: Point) => void;
  /** Default: all. */
  readonly faults?: readonly Fault[];
}

const WEIGHTS: Readonly<Record<Fault, number>> = {
  "kill server": 5,
  "kill worker": 5,
  "kill nats-server": 3,
  "kill postgres": 3,
  "kill runner": 4,
  "stop server": 2,
  "stop worker": 2,
  "freeze worker": 2,
  "freeze server": 1,
  "freeze nats-server": 1,
  "wipe JetStream": 2,
};

/** What is broken at a time, so that work goes on in between. */
const BROKEN_MAX = 2;

/** Resolves when everything runs again. */
export async function runNemesis(options: NemesisOptions): Promise<readonly Point[]> {
  const { cluster, random } = options;
  const faults = (options.faults ?? (Object.keys(WEIGHTS) as Fault[])).flatMap((fault) =>
    Array<Fault>(WEIGHTS[fault]).fill(fault),
  );
  const points: Promise<Point>[] = [];
  const broken = new Set<Promise<unknown>>();
  while (points.length < options.points) {
    await sleep(random.between(200, 2500));
    const strike = prepare(random.pick(faults), cluster, random);
    if (strike !== undefined) {
      const down = strike.run();
      broken.add(down);
      points.push(
        record(
          strike.fault,
          down.finally(() => broken.delete(down)),
          options,
        ),
      );
    }
    while (broken.size >= BROKEN_MAX) {
      await Promise.race(broken);
    }
  }
  return Promise.all(points);
}

interface Strike {
  readonly fault: Fault;
  /** Breaks and repairs; gives the time it was down. */
  readonly run: () => Promise<number>;
}

async function record(
  fault: Fault,
  down: Promise<number>,
  options: NemesisOptions,
): Promise<Point> {
  const atMs = Date.now();
  const [downMs, recoveryMs] = await Promise.all([down, options.probe()]);
  const point = { fault, atMs, downMs, recoveryMs };
  options.onPoint?.(point);
  return point;
}

/** Undefined when the chosen part is down already. */
function prepare(fault: Fault, cluster: Cluster, random: Random): Strike | undefined {
  const pauseMs = random.between(0, 1500);
  const pause = (): Promise<void> => sleep(pauseMs);
  const restart = (
    component: Component,
    meanwhile = pause,
    end: "kill" | "stop" = "kill",
  ): Strike | undefined =>
    component.isUp ? { fault, run: () => component.restart(meanwhile, end) } : undefined;
  switch (fault) {
    case "kill server":
      return restart(random.pick(cluster.servers));
    case "kill worker":
      return restart(random.pick(cluster.workers));
    case "kill nats-server":
      return restart(random.pick([cluster.nats.component, cluster.outerNats.component]));
    case "kill postgres":
      return restart(cluster.postgres);
    case "wipe JetStream":
      return restart(cluster.nats.component, () => {
        cluster.nats.wipe();
        return pause();
      });
    case "stop server":
      return restart(random.pick(cluster.servers), pause, "stop");
    case "stop worker":
      return restart(random.pick(cluster.workers), pause, "stop");
    case "freeze worker":
      return freeze(fault, random.pick(cluster.workers), random.between(12_000, 20_000));
    case "freeze server":
      return freeze(fault, random.pick(cluster.servers), random.between(8000, 16_000));
    case "freeze nats-server":
      return freeze(fault, cluster.nats.component, random.between(4000, 12_000));
    case "kill runner":
      return killRunner(cluster, random);
    default:
      return fault satisfies never;
  }
}

/** Mostly so long that its leases expire: it wakes up as somebody who lost its work. */
function freeze(fault: Fault, component: Component, ms: number): Strike | undefined {
  if (!component.isUp) {
    return undefined;
  }
  const run = async (): Promise<number> => {
    component.freeze();
    await sleep(ms);
    component.thaw();
    return ms;
  };
  return { fault, run };
}

function killRunner(cluster: Cluster, random: Random): Strike | undefined {
  const runners = cluster.workers.some(({ isUp }) => isUp) ? cluster.runners() : [];
  if (runners.length === 0) {
    return undefined;
  }
  const pid = random.pick(runners);
  const run = (): Promise<number> => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself in between.
    }
    return Promise.resolve(0);
  };
  return { fault: "kill runner", run };
}
