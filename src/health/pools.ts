/** Every pool: live workers, how fresh their heartbeats are, slots, what waits, GPUs. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Check, Finding, Problem } from "./finding.ts";
import { CheckFailure, degraded, down } from "./finding.ts";
import type { PlatformLoad, PlatformView } from "./platform-view.ts";
import { firstReport } from "./server.ts";
import { ageText, count, listText } from "./words.ts";

/** Heartbeats come every 2.5 s; after 10 s of silence leases end. */
const SILENT_MS = 10_000;
const QUEUE_MS = 10 * 60_000;

/** @param expected pools that must have a worker even when nothing waits. */
export function poolsCheck(view: PlatformView, expected: readonly string[]): Check {
  return {
    component: "pool",
    run: async ({ doing }) => {
      doing("the server's pools and workers");
      return poolFindings(await view.load().catch((error) => notKnown(view, error)), expected);
    },
  };
}

/** Pools may be well though nobody can be asked. */
async function notKnown(view: PlatformView, error: unknown): Promise<never> {
  await firstReport(view);
  if (error instanceof CheckFailure) {
    const { message, nextStep } = error.problem;
    throw new CheckFailure(`Not known: ${message}`, nextStep, { status: "unknown", cause: error });
  }
  throw error;
}

/** One finding a pool, by name; one in all when there is no pool. */
export function poolFindings(load: PlatformLoad, expected: readonly string[]): readonly Finding[] {
  const known = load.pools.map((pool) => text(pool, "name"));
  // A pool whose workers are all silent and for which nothing waits is not in the list.
  const silent = load.workers.map((worker) => text(worker, "pool"));
  const names = [...new Set([...known, ...silent, ...expected])].sort();
  return names.length === 0 ? [noPools()] : names.map((name) => poolFinding(name, load, expected));
}

function noPools(): Finding {
  return {
    component: "pool",
    summary: "",
    problems: [
      degraded(
        "No worker is registered: nothing would run",
        "Start one: noetl worker --pool NAME, and compare NOETL_GRPC_ADDRESS if there is one.",
      ),
    ],
    facts: {},
  };
}

function poolFinding(name: string, load: PlatformLoad, expected: readonly string[]): Finding {
  const pool = load.pools.find((each) => each["name"] === name) ?? {};
  const workers = load.workers.filter((each) => each["pool"] === name);
  const live = workers.filter((each) => each["status"] !== "lost");
  const gpus = load.gpus.filter((each) => each["pool"] === name);
  const age = (worker: JsonObject): number => heartbeatAgeMs(worker, load.nowMs);
  const isExpected = expected.includes(name);
  const oldestMs = Math.max(0, ...live.map(age));
  const [slots, freeSlots] = [number(pool, "slots"), number(pool, "free_slots")];
  const queued = number(pool, "queued");
  const parts = [
    count(live.length, "worker"),
    `${freeSlots} of ${count(slots, "slot")} free`,
    ...(live.length === 0 ? [] : [`heartbeat ${ageText(oldestMs)} ago`]),
    ...(queued === 0 ? [] : [`${queued} queued`]),
    ...(gpus.length === 0 ? [] : [gpuText(gpus)]),
  ];
  return {
    component: `pool/${name}`,
    summary: parts.join(" · "),
    problems: [
      ...emptyProblems(name, { pool, live, workers, isExpected, age }),
      ...(live.length === 0 ? [] : silentProblems(workers, age)),
      ...queueProblems(pool, live),
      ...gpus.flatMap(gpuProblem),
    ],
    facts: {
      workers: live.length,
      silent_workers: workers.length - live.length,
      heartbeat_age_seconds: oldestMs / 1000,
      slots,
      free_slots: freeSlots,
      queued,
      running: number(pool, "running"),
      oldest_queued_seconds: number(pool, "oldest_queued_seconds"),
      runtimes: listOf(pool["runtimes"]),
      gpus: countStates(gpus),
    },
  };
}

interface Members {
  readonly pool: JsonObject;
  readonly live: readonly JsonObject[];
  readonly workers: readonly JsonObject[];
  readonly isExpected: boolean;
  readonly age: (worker: JsonObject) => number;
}

function emptyProblems(
  name: string,
  { pool, live, workers, isExpected, age }: Members,
): readonly Problem[] {
  const queued = number(pool, "queued");
  const held = number(pool, "running");
  if (live.length > 0 || (queued === 0 && held === 0 && workers.length === 0 && !isExpected)) {
    return [];
  }
  const waits = queued === 0 ? [] : [`${count(queued, "command waits", "commands wait")}`];
  const lost = workers.map((each) => `${text(each, "name")} silent for ${ageText(age(each))}`);
  const details = [...waits, ...(lost.length === 0 ? [] : [listText(lost)])];
  const message = `No live worker${details.length === 0 ? "" : `: ${details.join("; ")}`}`;
  const nextStep = `Start one: noetl worker --pool ${name}; read the log of the last one, and compare its NOETL_GRPC_ADDRESS.`;
  return [
    queued > 0 || held > 0 || isExpected ? down(message, nextStep) : degraded(message, nextStep),
  ];
}

/** Dead, frozen, or cut off; its commands are handed out again meanwhile. */
function silentProblems(workers: readonly JsonObject[], age: Members["age"]): readonly Problem[] {
  const silent = workers.filter((each) => each["status"] === "lost" || age(each) > SILENT_MS);
  return silent.length === 0
    ? []
    : [
        degraded(
          `No heartbeat from ${listText(silent.map((each) => `${text(each, "name")} on ${text(each, "hostname")} for ${ageText(age(each))}`))}`,
          "It is dead, frozen or cut off: look at its machine and log. Others have its commands now.",
        ),
      ];
}

function queueProblems(pool: JsonObject, live: readonly JsonObject[]): readonly Problem[] {
  const oldestMs = number(pool, "oldest_queued_seconds") * 1000;
  const reason = text(pool, "waiting_reason");
  return live.length > 0 && oldestMs >= QUEUE_MS && reason !== ""
    ? [
        degraded(
          `${count(number(pool, "queued"), "command waits", "commands wait")}, the oldest for ${ageText(oldestMs)}: ${reason}`,
          "Add workers or slots to the pool, or look at what holds them: noetl list --status running.",
        ),
      ]
    : [];
}

function gpuProblem(gpu: JsonObject): readonly Problem[] {
  const state = text(gpu, "state");
  return state === "out_of_service" || state === "unclean"
    ? [
        degraded(
          `GPU ${text(gpu, "index")} of ${text(gpu, "worker")} is ${state.replaceAll("_", " ")}: ${text(gpu, "reason") || "no reason given"}`,
          `noetl gpu get ${text(gpu, "id").slice(0, 12)} tells more; no task gets it meanwhile.`,
        ),
      ]
    : [];
}

function gpuText(gpus: readonly JsonObject[]): string {
  const states = Object.entries(countStates(gpus)).map(
    ([state, total]) => `${String(total)} ${state.replaceAll("_", " ")}`,
  );
  return `${count(gpus.length, "GPU")} (${states.join(", ")})`;
}

function countStates(gpus: readonly JsonObject[]): JsonObject {
  const states = Map.groupBy(gpus, (gpu) => text(gpu, "state"));
  return Object.fromEntries([...states].map(([state, all]) => [state, all.length]));
}

function heartbeatAgeMs(worker: JsonObject, nowMs: number): number {
  const at = Date.parse(text(worker, "last_heartbeat"));
  return Number.isNaN(at) ? 0 : Math.max(0, nowMs - at);
}

function text(row: JsonObject, name: string): string {
  const value = row[name];
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function number(row: JsonObject, name: string): number {
  const value = row[name];
  return typeof value === "number" ? value : 0;
}

function listOf(value: Json | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}
