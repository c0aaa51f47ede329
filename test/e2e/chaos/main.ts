/**
 * `bun run chaos --points 200 --seed 7`: kills, freezes and wipes parts of a whole platform at random
 * points under a mixed load and checks that nothing was lost, stuck, doubled or wrong. Every round
 * (`--round 50` points) has a new cluster; every second one runs two servers on one database.
 * Exit code 1 if anything was found. The same seed makes the same choices.
 */
import { parseArgs } from "node:util";
import { median } from "../../bench/statistics.ts";
import type { Fault, Point } from "./nemesis.ts";
import type { ChaosReport } from "./run.ts";
import { runChaos } from "./run.ts";

const { values: options } = parseArgs({
  options: {
    points: { type: "string", default: "200" },
    round: { type: "string", default: "50" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    workers: { type: "string", default: "3" },
    load: { type: "string", default: "12" },
    /** Only these faults, for example `kill server,kill worker`. */
    faults: { type: "string" },
    keep: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});

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
    onPoint: options.verbose ? printPoint : () => undefined,
  });
  reports.push(report);
  printReport(report);
}
process.exit(printSummary() ? 0 : 1);

function printPoint({ fault, downMs, recoveryMs }: Point): void {
  print(`  ${fault}: down ${seconds(downMs)}, recovered ${seconds(recoveryMs)}`);
}

function printReport({ verdict, accepted, dir }: ChaosReport): void {
  print(
    `  ${accepted} accepted, ${verdict.executions} executions, ${verdict.events} events, ${verdict.retried} commands handed out again`,
  );
  const { lost, stuck, doubled, wrong, exhausted } = verdict;
  for (const [name, list] of Object.entries({ lost, stuck, doubled, wrong, exhausted })) {
    for (const text of list.slice(0, 20)) {
      print(`  ${name}: ${text}`);
    }
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
  const found = {
    lost: sum(({ verdict }) => verdict.lost.length),
    stuck: sum(({ verdict }) => verdict.stuck.length),
    doubled: sum(({ verdict }) => verdict.doubled.length),
    wrong: sum(({ verdict }) => verdict.wrong.length),
  };
  print(
    `\n${points.length} points, ${sum(({ accepted }) => accepted)} accepted, ${sum(({ verdict }) => verdict.executions)} executions: ` +
      Object.entries(found)
        .map(([name, count]) => `${count} ${name}`)
        .join(", ") +
      `; ${sum(({ verdict }) => verdict.exhausted.length)} failed as worker_lost after all tries; seed ${seed}`,
  );
  return Object.values(found).every((count) => count === 0);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
