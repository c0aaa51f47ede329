/** One round of chaos: a cluster, a load, points of failure, and the verdict at the end. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { connect } from "nats";
import { errorMessage } from "../../../src/core/errors.ts";
import { checkAll } from "./check.ts";
import { Client } from "./client.ts";
import type { Cluster } from "./cluster.ts";
import { startCluster } from "./cluster.ts";
import type { Loaded } from "./load.ts";
import { probe, runLoad } from "./load.ts";
import type { Fault, Point } from "./nemesis.ts";
import { runNemesis } from "./nemesis.ts";
import { document, SQL_CREDENTIAL } from "./playbook.ts";
import { createRandom } from "./random.ts";
import type { Sink } from "./sink.ts";
import { startSink } from "./sink.ts";
import { createSql } from "./sql.ts";
import type { Finding, Verdict } from "./verdict.ts";
import type { Problems, Workload, World } from "./workload.ts";
import { makeWorkloads } from "./workloads.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly points: number;
  readonly serverCount: number;
  readonly workerCount: number;
  /** Executions kept going by the load. */
  readonly inFlight: number;
  readonly faults?: readonly Fault[];
  /** Names of workloads; default: all. */
  readonly only?: readonly string[];
  readonly onPoint?: (point: Point) => void;
  /** Called before the cluster goes away, with its database; for looking into what was found. */
  readonly onVerdict?: (verdict: Verdict, cluster: Cluster) => Promise<void>;
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
  const { serverCount, workerCount } = options;
  using sink = startSink();
  mkdirSync(join(dir, "files"));
  await using cluster = await startCluster({ dir, serverCount, workerCount, slots: SLOTS });
  const connection = await connectOuter(cluster);
  try {
    const world = makeWorld(cluster, sink, connection);
    const workloads = makeWorkloads(world, options.only);
    await prepare(world, cluster, workloads);
    const { points, loaded, findings } = await strikeUnderLoad(options, {
      cluster,
      world,
      workloads,
    });
    const checked = await checkAll(world, workloads, loaded.accepted);
    const all = [...findings, ...checked.findings, ...findCrashes(cluster)];
    const verdict = { ...checked, findings: all };
    await options.onVerdict?.(verdict, cluster);
    return { points, accepted: loaded.accepted.length, verdict };
  } finally {
    await connection.close();
  }
}

/** Processes that ended and were not killed. */
function findCrashes({ servers, workers, postgres, nats, outerNats }: Cluster): readonly Finding[] {
  return [...servers, ...workers, postgres, nats.component, outerNats.component]
    .flatMap(({ crashes }) => crashes)
    .map((text) => ({ kind: "wrong", workload: "", text }));
}

/** To the nats-server of the playbooks; lives through its restarts. */
async function connectOuter({ outerNats }: Cluster): Promise<NatsConnection> {
  const servers = outerNats.url.replace("nats://", "");
  return await connect({ servers, maxReconnectAttempts: -1, reconnectTimeWait: 200 });
}

function makeWorld(cluster: Cluster, sink: Sink, connection: NatsConnection): World {
  return {
    client: new Client(cluster.apis),
    sql: createSql(cluster.sql),
    sink,
    stream: { url: cluster.outerNats.url, connection },
  };
}

/** Credentials, tables and playbooks. */
async function prepare(
  world: World,
  cluster: Cluster,
  workloads: readonly Workload[],
): Promise<void> {
  const { client } = world;
  const { hostname, port, username, password, pathname } = new URL(cluster.databaseUrl);
  await client.call("POST", "/api/credentials", {
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
  for (const workload of workloads) {
    for (const playbook of workload.playbooks) {
      await client.ask((api) => api.register(document(playbook)));
    }
    await workload.prepare?.(world);
  }
}

interface Round {
  readonly cluster: Cluster;
  readonly world: World;
  readonly workloads: readonly Workload[];
}

interface Struck {
  readonly points: readonly Point[];
  readonly loaded: Loaded;
  /** Of turns, of those who looked on, and of what could not be ended. */
  readonly findings: readonly Finding[];
}

async function strikeUnderLoad(options: ChaosOptions, round: Round): Promise<Struck> {
  const { seed, inFlight } = options;
  const { world, workloads } = round;
  const stop = new AbortController();
  const random = createRandom(seed + 1);
  const load = runLoad({ world, workloads, inFlight, random, name: `seed-${seed}` }, stop.signal);
  const watches = workloads.map((workload) =>
    attempt(workload, () => workload.watch?.(world, stop.signal)),
  );
  try {
    const points = await Promise.race([strike(round, options), load.then(neverEnds)]);
    stop.abort();
    const loaded = await load;
    const watched = await Promise.all(watches);
    const settled = await Promise.all(
      workloads.map((workload) =>
        attempt(workload, async () => {
          await workload.settle?.(world);
          return undefined;
        }),
      ),
    );
    return { points, loaded, findings: [...loaded.findings, ...watched.flat(), ...settled.flat()] };
  } finally {
    stop.abort();
  }
}

/** What it finds, or the error that it ends with. */
async function attempt(
  { name }: Workload,
  act: () => Promise<Problems | undefined> | undefined,
): Promise<readonly Finding[]> {
  const problems = await Promise.try(act).catch((error) => [errorMessage(error)]);
  return (problems ?? []).map((text) => ({ kind: "wrong", workload: name, text }));
}

function neverEnds({ accepted }: Loaded): never {
  throw new Error(`The load ended after ${accepted.length} executions`);
}

function strike(
  { cluster, world }: Pick<Round, "cluster" | "world">,
  options: ChaosOptions,
): Promise<readonly Point[]> {
  let probes = 0;
  return runNemesis({
    cluster,
    points: options.points,
    random: createRandom(options.seed),
    probe: () => probe(world, `probe-${options.seed}-${++probes}`),
    ...(options.faults === undefined ? {} : { faults: options.faults }),
    ...(options.onPoint === undefined ? {} : { onPoint: options.onPoint }),
  });
}
