/**
 * `bun run cycles --cycles 200 --runtime podman`: starts a container task, kills the worker at a random moment
 * with `kill -9`, starts it again; so often, on real podman or real dockerd. Exit code 1 if a container or a
 * lease was left, or a command did not end exactly once. The same seed makes the same choices. With a `NOETL_BINARY`
 * the platform is that program, otherwise it is started from the sources or from what they were built to.
 */
import { parseArgs } from "node:util";
import type { TestRuntimeName } from "../../support/container-runtime.ts";
import { reapDeadRuns, runCleanups } from "../../support/scratch.ts";
import { isClean, runCycles } from "./cycles.ts";

const { values: options } = parseArgs({
  options: {
    cycles: { type: "string", default: "200" },
    runtime: { type: "string", default: "podman" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    verbose: { type: "boolean", default: false },
  },
});

const RUNTIMES: readonly TestRuntimeName[] = ["podman", "docker"];
const runtime = RUNTIMES.find((name) => name === options.runtime);
if (runtime === undefined) {
  print(`--runtime is one of ${RUNTIMES.join(", ")}`);
  process.exit(2);
}
const seed = Number(options.seed);
print(`${options.cycles} cycles on ${runtime}, seed ${seed}`);
await reapDeadRuns();
const startMs = performance.now();
const report = await runCycles({
  runtime,
  cycles: Number(options.cycles),
  seed,
  onCycle: options.verbose ? print : () => undefined,
});
const {
  orphans,
  leases,
  gpus,
  gpuCycles,
  executions,
  endedOnce,
  adopted,
  removed,
  handedOutAgain,
  runs,
} = report;
print(`cycles            ${report.cycles}`);
print(`orphan containers ${orphans.length} ${orphans.join(" ")}`);
print(`leases left       ${leases}`);
print(`GPUs still taken  ${gpus.length} of 4, after ${gpuCycles} tasks with GPUs`);
print(`ended once        ${endedOnce} of ${executions}`);
print(`adopted           ${adopted}`);
print(`removed           ${removed}`);
print(`handed out again  ${handedOutAgain}`);
print(`runs begun        ${runs}`);
print(`minutes           ${((performance.now() - startMs) / 60_000).toFixed(1)}`);
for (const fault of report.faults) {
  print(`fault: ${fault}`);
}
await runCleanups();
process.exit(isClean(report) ? 0 : 1);

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
