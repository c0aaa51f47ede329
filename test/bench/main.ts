/**
 * `bun run bench [--rounds N] [--only A,C] [--json FILE]`: measures the platform under the workloads
 * of src/README.md and prints each figure beside its target, with the limits of the parts below
 * measured in the same run. Exit code 0 even when a target is missed: it measures, it does not judge.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureLimits } from "./limits.ts";
import { startPlatform } from "./platform.ts";
import type { Result } from "./report.ts";
import { limitsTable, resultTable, summarize } from "./report.ts";
import type { Figure } from "./workloads.ts";
import { SINGLE_ROUND, WORKLOADS } from "./workloads.ts";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: Object.keys(WORKLOADS).join(",") },
    json: { type: "string" },
    slots: { type: "string", default: "50" },
    /** Keeps the logs of server and worker. */
    keep: { type: "boolean", default: false },
  },
});

const dir = mkdtempSync(join(tmpdir(), "noetl-bench-"));
chmodSync(dir, 0o755);
try {
  await run(dir);
} finally {
  if (!options.keep) {
    rmSync(dir, { recursive: true, force: true });
  }
}
process.exit(0);

async function run(folder: string): Promise<void> {
  await using platform = await startPlatform({ dir: folder, slots: Number(options.slots) });
  print(`${cpus().length} × ${cpus()[0]?.model}, Bun ${Bun.version}, ${platform.command}`);
  print(`synchronous_commit = ${platform.synchronousCommit}, logs in ${folder}\n`);
  const limits = await measureLimits(platform.databaseUrl, platform.natsUrl);
  print(`${limitsTable(limits)}\n`);
  const results: Result[] = [];
  for (const letter of options.only.split(",")) {
    const workload = WORKLOADS[letter];
    if (workload === undefined) {
      throw new Error(`No workload ${letter}: there are ${Object.keys(WORKLOADS).join(", ")}`);
    }
    const rounds: (readonly Figure[])[] = [];
    const count = SINGLE_ROUND.has(letter) ? 1 : Number(options.rounds);
    for (let round = 0; round < count; round++) {
      rounds.push(await workload({ platform, limits }));
    }
    results.push(...summarize(rounds));
    print(`${resultTable(summarize(rounds))}\n`);
  }
  print(resultTable(results));
  if (options.json !== undefined) {
    const { synchronousCommit } = platform;
    const report = { at: new Date().toISOString(), synchronousCommit, limits, results };
    await Bun.write(options.json, `${JSON.stringify(report, null, 2)}\n`);
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
