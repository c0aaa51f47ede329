/**
 * `bun run chaos --points 200 --seed 7`: kills, freezes and wipes parts of a whole platform at random
 * points under a mixed load and checks that nothing was lost, stuck, doubled or wrong. Every round
 * (`--round 50` points) has a new cluster; every second one runs two servers on one database.
 * `--only signal,retry` has these workloads alone. Exit code 1 if anything was found. The same seed
 * makes the same choices.
 */
import { parseArgs } from "node:util";
import { median } from "../../bench/statistics.ts";
import type { Cluster } from "./cluster.ts";
import type { Fault, Point } from "./nemesis.ts";
import type { ChaosReport } from "./run.ts";
import { runChaos } from "./run.ts";
import type { Verdict } from "./verdict.ts";
import { FAULT_KINDS, faultsOf, tableOf } from "./verdict.ts";

const { values: options } = parseArgs({
  options: {
    points: { type: "string", default: "200" },
    round: { type: "string", default: "50" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    workers: { type: "string", default: "3" },
    load: { type: "string", default: "12" },
    /** Only these faults, for example `kill server,kill worker`. */
    faults: { type: "string" },
    /** Only these workloads: names of files in `workload/`. */
    only: { type: "string" },
    keep: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});

const FINDINGS_SHOWN = 60;

const total = Number(options.points);
const perRound = Number(options.round);
const seed = Number(options.seed);
const reports: ChaosReport[] = [];
print(`seed ${seed}, ${total} points`);
for (let done = 0, round = 0; done < total; done += perRound, round++) {
  const serverCount = (round % 2) + 1;
  print(`round ${round + 1}: ${serverCount} server(s), ${options.workers} workers`);
  const report = await runChaos({
    seed: seed + round * 1000,
    points: Math.min(perRound, total - done),
    serverCount,
    workerCount: Number(options.workers),
    inFlight: Number(options.load),
    isKept: options.keep,
    ...(options.faults === undefined ? {} : { faults: options.faults.split(",") as Fault[] }),
    ...(options.only === undefined ? {} : { only: options.only.split(",") }),
    ...(options.keep ? { onVerdict: keepDatabase } : {}),
    onPoint: options.verbose ? printPoint : () => undefined,
  });
  reports.push(report);
  printReport(report);
}
process.exit(printSummary() ? 0 : 1);

function printPoint({ fault, atMs, downMs, recoveryMs }: Point): void {
  const time = new Date(atMs).toISOString().slice(11, 23);
  print(`  ${time} ${fault}: down ${seconds(downMs)}, recovered ${seconds(recoveryMs)}`);
}

function printReport({ verdict, accepted, dir }: ChaosReport): void {
  print(
    `  ${accepted} accepted, ${verdict.executions} executions, ${verdict.events} events, ${verdict.retried} commands handed out again`,
  );
  for (const { kind, workload, text } of verdict.findings.slice(0, FINDINGS_SHOWN)) {
    print(`  ${kind}: ${workload}: ${text}`);
  }
  if (options.keep) {
    print(`  logs in ${dir}`);
  }
}

/** True if nothing was found. */
function printSummary(): boolean {
  const sum = (count: (report: ChaosReport) => number): number =>
    reports.reduce((so, report) => so + count(report), 0);
  const points = reports.flatMap((report) => report.points);
  print(`\nfault              points  down p50   max     recovery p50   max`);
  for (const [fault, list] of Map.groupBy(points, (point) => point.fault)) {
    const down = list.map(({ downMs }) => downMs);
    const recovery = list.map(({ recoveryMs }) => recoveryMs);
    print(
      `${fault.padEnd(18)} ${String(list.length).padEnd(7)} ${seconds(median(down)).padEnd(10)} ${seconds(Math.max(...down)).padEnd(7)} ${seconds(median(recovery)).padEnd(14)} ${seconds(Math.max(...recovery))}`,
    );
  }
  const verdicts = reports.map(({ verdict }) => verdict);
  print("");
  for (const line of tableOf(verdicts)) {
    print(line);
  }
  const findings = verdicts.flatMap((verdict) => verdict.findings);
  const counts = FAULT_KINDS.map(
    (kind) => `${findings.filter((found) => found.kind === kind).length} ${kind}`,
  );
  const exhausted = findings.filter(({ kind }) => kind === "exhausted").length;
  print(
    `\n${points.length} points, ${sum(({ accepted }) => accepted)} accepted, ${sum(({ verdict }) => verdict.executions)} executions: ${counts.join(", ")}; ` +
      `${exhausted} failed as worker_lost after all tries; seed ${seed}`,
  );
  return faultsOf({ findings }).length === 0;
}

/** Beside the logs: the log of each execution that something was found about. */
async function keepDatabase({ findings }: Verdict, { sql, dir }: Cluster): Promise<void> {
  const ids = [...new Set(findings.flatMap(({ text }) => text.match(/\b\d{18}\b/g) ?? []))];
  const events = await sql`
    SELECT execution_id::text, seq, type, step, occurred_at, payload
    FROM noetl.event WHERE execution_id = ANY(${ids}::bigint[]) ORDER BY execution_id, seq`;
  const lines = events.map((event) => `${JSON.stringify(event)}\n`);
  await Bun.write(`${dir}/events.jsonl`, lines.join(""));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
