/** What is said of facts that are hard to bring about: replicas behind, dead rows, consumers that nobody asks, GPUs. */
import { describe, expect, test } from "bun:test";
import type { BusFacts, ConsumerFacts, StreamFacts } from "../../../src/bus/inspect.ts";
import { AppError } from "../../../src/core/errors.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import { readSamples, total } from "../../../src/health/exposition.ts";
import type { Finding } from "../../../src/health/finding.ts";
import { natsFinding } from "../../../src/health/nats.ts";
import { poolFindings } from "../../../src/health/pools.ts";
import { postgresqlFinding } from "../../../src/health/postgresql.ts";
import type { MetricsFacts } from "../../../src/health/victoriametrics.ts";
import { metricsFinding } from "../../../src/health/victoriametrics.ts";
import { ageText, bytesText, clippedCause, listText } from "../../../src/health/words.ts";
import type { DatabaseFacts } from "../../../src/store/inspect.ts";

const said = ({ problems }: Finding): readonly string[] =>
  problems.map(({ status, message }) => `${status}: ${message}`);

describe("PostgreSQL", () => {
  const FACTS: DatabaseFacts = {
    serverVersion: "18.4",
    database: "noetl",
    sizeBytes: 5_000_000,
    isReadOnly: false,
    isStandby: false,
    connections: { used: 10, max: 100 },
    oldest: undefined,
    schemaProblem: undefined,
    schemaVersion: 11,
    replicas: [],
    idleSlots: [],
    tables: [],
  };
  const of = (facts: Partial<DatabaseFacts>): readonly string[] =>
    said(postgresqlFinding({ ...FACTS, ...facts }));

  test("is well", () => {
    expect(of({})).toEqual([]);
    expect(of({ replicas: [{ name: "b", state: "streaming", lagMs: 40, lagBytes: 900 }] })).toEqual(
      [],
    );
    expect(of({ tables: [{ name: "event", liveRows: 9e6, deadRows: 9e5, bytes: 1e9 }] })).toEqual(
      [],
    );
  });

  test("names who is behind, and what is kept for nobody", () => {
    expect(
      of({
        replicas: [
          { name: "b", state: "streaming", lagMs: 180_000, lagBytes: 700 * 1024 ** 2 },
          { name: "c", state: "catchup", lagMs: 0, lagBytes: 0 },
        ],
        idleSlots: [{ name: "old", keptBytes: 3 * 1024 ** 3 }],
      }),
    ).toEqual([
      "degraded: Replica b is 3 min and 700 MiB behind",
      "degraded: Replica c is not streaming but catchup",
      "degraded: Nobody reads replication slot old, for which 3.0 GiB of WAL are kept",
    ]);
  });

  test("names the transaction that holds all up, and the tables with dead rows", () => {
    expect(
      of({
        connections: { used: 90, max: 100 },
        oldest: { ageMs: 3_600_000, state: "idle in transaction", application: "psql", pid: 71 },
        tables: [{ name: "command", liveRows: 1000, deadRows: 400_000, bytes: 1e9 }],
      }),
    ).toEqual([
      "degraded: 90 of 100 connections are taken",
      "degraded: A transaction of psql has been open for 60 min (idle in transaction, pid 71): dead rows cannot be removed meanwhile",
      "degraded: Dead rows are not removed from command (400000)",
    ]);
  });

  test("is down as a standby, and without this version's schema", () => {
    const schemaProblem = new AppError("conflict", "DATABASE_OUTDATED", "old");
    expect(of({ isStandby: true })).toEqual(["down: It is a standby and takes no writes"]);
    expect(of({ schemaProblem, schemaVersion: 4 })).toEqual([
      "down: The database has schema 4, and this noetl needs a newer one",
    ]);
  });
});

describe("NATS", () => {
  const STREAM: StreamFacts = {
    name: "NOETL_COMMANDS",
    messages: 3,
    bytes: 500,
    copies: 3,
    differences: [],
    leader: "nats-0",
    isLeaderless: false,
    lateCopies: [],
  };
  const CONSUMER: ConsumerFacts = {
    pool: "cpu-01",
    name: "noetl_worker_cpu-01",
    pending: 0,
    unacked: 0,
    unackedMax: 10_000,
    redelivered: 0,
    pulls: 1,
    differences: [],
  };
  const FACTS: BusFacts = {
    serverName: "nats-0",
    serverVersion: "2.12.1",
    cluster: "noetl",
    roundTripMs: 1,
    jetStreamProblem: undefined,
    storage: { usedBytes: 1000, maxBytes: undefined },
    commands: STREAM,
    logs: { ...STREAM, name: "NOETL_LOGS" },
    consumers: [CONSUMER],
  };
  const POOLS = [{ name: "cpu-01", workers: 1, free_slots: 4 }];
  const options = { stream: "NOETL_COMMANDS", consumerPrefix: "noetl_worker" };
  const of = (facts: Partial<BusFacts>): readonly string[] =>
    said(natsFinding({ ...FACTS, ...facts }, options, POOLS));
  const ofConsumer = (facts: Partial<ConsumerFacts>): readonly string[] =>
    of({ consumers: [{ ...CONSUMER, ...facts }] });

  test("is well", () => {
    expect(of({})).toEqual([]);
  });

  test("says what a cluster lacks", () => {
    expect(of({ commands: { ...STREAM, isLeaderless: true } })).toEqual([
      "down: Stream NOETL_COMMANDS has no leader: its servers have no majority",
    ]);
    expect(of({ commands: { ...STREAM, lateCopies: ["nats-2"] } })).toEqual([
      "degraded: Stream NOETL_COMMANDS is not up to date on nats-2",
    ]);
    expect(of({ storage: { usedBytes: 95, maxBytes: 100 } })).toEqual([
      "degraded: JetStream's store is nearly full: 95 B of 100 B",
    ]);
  });

  test("names consumers that are missing, unheard, stuck or in circles", () => {
    expect(of({ consumers: [] })).toEqual([
      "degraded: No consumer noetl_worker_cpu-01: workers of that pool hear of new commands late",
    ]);
    expect(ofConsumer({ pending: 9, pulls: 0 })).toEqual([
      "degraded: Nobody asks consumer noetl_worker_cpu-01 for its 9 notifications, though slots are free",
    ]);
    expect(ofConsumer({ unacked: 9900 })).toEqual([
      "degraded: Consumer noetl_worker_cpu-01 waits for 9900 of at most 10000 acknowledgements",
    ]);
    expect(ofConsumer({ redelivered: 2000 })).toEqual([
      "degraded: Consumer noetl_worker_cpu-01 has 2000 notifications under way again",
    ]);
  });
});

describe("pools", () => {
  const NOW = Date.parse("2026-11-23T08:00:00Z");
  const worker = (name: string, status: string, secondsAgo: number): JsonObject => ({
    name,
    pool: "gpu-01",
    hostname: "box",
    status,
    last_heartbeat: new Date(NOW - secondsAgo * 1000).toISOString(),
  });
  const POOL = { name: "gpu-01", workers: 1, slots: 4, free_slots: 0, queued: 0, running: 4 };
  const of = (pool: JsonObject, workers: readonly JsonObject[], gpus: readonly JsonObject[] = []) =>
    poolFindings({ pools: [{ ...POOL, ...pool }], workers, gpus, nowMs: NOW }, []);

  test("a full pool that works is well; one whose queue stands is not", () => {
    const busy = { queued: 3, oldest_queued_seconds: 30, waiting_reason: "all slots are busy" };
    expect(of(busy, [worker("a", "live", 1)]).flatMap(said)).toEqual([]);
    const late = { ...busy, oldest_queued_seconds: 1200 };
    expect(of(late, [worker("a", "live", 1)]).flatMap(said)).toEqual([
      "degraded: 3 commands wait, the oldest for 20 min: all slots are busy",
    ]);
  });

  test("names workers that are silent beside those that live", () => {
    expect(of({}, [worker("a", "live", 1), worker("b", "lost", 40)]).flatMap(said)).toEqual([
      "degraded: No heartbeat from b on box for 40 s",
    ]);
  });

  test("names GPUs that no task gets, and why", () => {
    const gpus = [
      { id: "GPU-1", index: 0, worker: "a", pool: "gpu-01", state: "ready", reason: null },
      {
        id: "GPU-2",
        index: 1,
        worker: "a",
        pool: "gpu-01",
        state: "out_of_service",
        reason: "XID 79",
      },
    ];
    const [finding] = of({}, [worker("a", "live", 1)], gpus);
    expect(finding && said(finding)).toEqual(["degraded: GPU 1 of a is out of service: XID 79"]);
    expect(finding?.summary).toContain("2 GPUs (1 ready, 1 out of service)");
  });
});

describe("VictoriaMetrics", () => {
  const FACTS: MetricsFacts = {
    targets: [
      { job: "noetl-server", instance: "a:1", isUp: true },
      { job: "noetl-worker", instance: "b:1", isUp: true },
    ],
    errors: new Map(),
    ageS: 7,
    freeBytes: 5e9,
    dataBytes: 1e9,
    isReadOnly: false,
    liveWorkers: 1,
  };
  const of = (facts: Partial<MetricsFacts>) => said(metricsFinding({ ...FACTS, ...facts }));

  test("is well, also without workers", () => {
    expect(of({})).toEqual([]);
    expect(of({ liveWorkers: 0, targets: FACTS.targets.slice(0, 1) })).toEqual([]);
  });

  test("misses workers, series and disk", () => {
    expect(of({ liveWorkers: 3 })).toEqual(["degraded: Of 3 live workers only 1 is scraped"]);
    expect(of({ ageS: undefined })).toEqual([
      "degraded: Servers are scraped, and no series noetl_server_build_info is there",
    ]);
    expect(of({ isReadOnly: true })).toEqual([
      "degraded: It takes no more samples: its disk is full",
    ]);
    expect(of({ freeBytes: 1e7 })).toEqual([
      "degraded: Its disk is nearly full: 9.5 MiB are free beside 954 MiB of data",
    ]);
  });
});

test("samples of an exposition are read with labels, times and escapes", () => {
  const text = '# HELP a b\na{x="1",y="q\\"}"} 2 1700000000\na 3\nab 4\n';
  const samples = readSamples(text, ["a", "c"]);
  expect(samples.get("a")).toEqual([
    { labels: { x: "1", y: 'q\\"}' }, value: 2 },
    { labels: {}, value: 3 },
  ]);
  expect(total(samples.get("a"))).toBe(5);
  expect(total(samples.get("c"))).toBeUndefined();
});

test("quantities are said as people say them", () => {
  expect([5, 4000, 150_000, 8e6, 9e8].map(ageText)).toEqual([
    "5 ms",
    "4 s",
    "3 min",
    "2 h",
    "10 days",
  ]);
  expect([0, 900, 2048, 5e9].map(bytesText)).toEqual(["0 B", "900 B", "2.0 KiB", "4.7 GiB"]);
  expect(listText(["a", "b", "c", "d"])).toBe("a, b, c and 1 more");
  expect(clippedCause("a long way to the cause", 10)).toBe("…the cause");
});
