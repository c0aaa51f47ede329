/** One round of chaos: a cluster, a load, points of failure, and the verdict at the end. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Verdict } from "./check.ts";
import { checkAll } from "./check.ts";
import type { Cluster } from "./cluster.ts";
import { startCluster } from "./cluster.ts";
import type { Accepted } from "./load.ts";
import { probe, runLoad } from "./load.ts";
import type { Fault, Point } from "./nemesis.ts";
import { runNemesis } from "./nemesis.ts";
import { createRandom } from "./random.ts";
import type { Scenario } from "./scenario.ts";
import { document, SQL_CREDENTIAL, SQL_TABLE, scenarios } from "./scenario.ts";
import { startSink } from "./sink.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly points: number;
  readonly serverCount: number;
  readonly workerCount: number;
  /** Executions kept going by the load. */
  readonly inFlight: number;
  readonly faults?: readonly Fault[];
  readonly onPoint?: (point: Point) => void;
  /** Keeps the folder with the logs; it is named in the report. */
  readonly isKept?: boolean;
}

export interface ChaosReport {
  readonly points: readonly Point[];
  readonly accepted: number;
  readonly verdict: Verdict;
  readonly dir: string;
}

const SLOTS = 8;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const dir = mkdtempSync(join(tmpdir(), "noetl-chaos-"));
  chmodSync(dir, 0o755);
  try {
    return { ...(await runRound(options, dir)), dir };
  } finally {
    if (!options.isKept) {
      rmSync(dir, { recursive: true, force: true });
    }
  }
}

async function runRound(options: ChaosOptions, dir: string): Promise<Omit<ChaosReport, "dir">> {
  const { serverCount, workerCount, seed } = options;
  using sink = startSink();
  await using cluster = await startCluster({ dir, serverCount, workerCount, slots: SLOTS });
  const all = scenarios(sink.url);
  await prepareLoad(cluster, all);
  const stop = new AbortController();
  const load = runLoad(
    {
      apis: cluster.apis,
      scenarios: all,
      inFlight: options.inFlight,
      random: createRandom(seed + 1),
      name: `seed-${seed}`,
    },
    stop.signal,
  );
  try {
    const points = await Promise.race([strike(cluster, all, options), load.then(neverEnds)]);
    stop.abort();
    const accepted = await load;
    return { points, accepted: accepted.length, verdict: await checkAll(cluster, accepted, sink) };
  } finally {
    stop.abort();
  }
}

function neverEnds(accepted: readonly Accepted[]): never {
  throw new Error(`The load ended after ${accepted.length} executions`);
}

function strike(
  cluster: Cluster,
  all: readonly Scenario[],
  options: ChaosOptions,
): Promise<readonly Point[]> {
  const scenario = all.find(({ name }) => name === "probe");
  if (scenario === undefined) {
    throw new Error("There is no scenario to probe with");
  }
  let probes = 0;
  return runNemesis({
    cluster,
    points: options.points,
    random: createRandom(options.seed),
    probe: () => probe(cluster.apis, `probe-${options.seed}-${++probes}`, scenario),
    ...(options.faults === undefined ? {} : { faults: options.faults }),
    ...(options.onPoint === undefined ? {} : { onPoint: options.onPoint }),
  });
}

/** Registers the playbooks, and the table and credential of those that write to the database. */
async function prepareLoad(cluster: Cluster, all: readonly Scenario[]): Promise<void> {
  const [api] = cluster.apis;
  const { hostname, port, username, password, pathname } = new URL(cluster.databaseUrl);
  await cluster.sql.unsafe(SQL_TABLE);
  await api?.call("POST", "/api/credentials", {
    name: SQL_CREDENTIAL,
    type: "postgres",
    data: {
      db_host: hostname,
      db_port: Number(port),
      db_user: username,
      db_password: password,
      db_name: pathname.slice(1),
    },
  });
  // Sub-playbooks first.
  for (const scenario of all.toSorted((a, b) => a.weight - b.weight)) {
    await api?.register(document(scenario));
  }
}
