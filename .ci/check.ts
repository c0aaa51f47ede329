/**
 * `npm test`: types, generated code, lint, and all tests. `--unit`: only the unit tests. `--conformance`: also the
 * cases of the conformance kit that .ci/conformance.txt lists, where the kit is there.
 *
 * Everything runs even if something fails before; the last line is `N passed, N failed`, the sum.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

interface Tally {
  readonly passed: number;
  readonly failed: number;
}

const ROOT = join(import.meta.dir, "..");
const KIT = join(ROOT, "../shared/conformance/run.mjs");

/** A busy machine takes its time to start a database; Bun's own limit is 5 s. */
const TIMEOUT = ["--timeout", "30000"];

const isUnitOnly = process.argv.includes("--unit");
const tallies: Tally[] = [
  await runCheck("types", ["tsc", "--noEmit"]),
  await runCheck("generated code is current", ["sh", ".ci/gen", "--check"]),
  await runCheck("lint and format", ["biome", "ci", "--error-on-warnings"]),
  await runTests("tests", ["bun", "test", ...TIMEOUT, ...(isUnitOnly ? ["test/unit"] : [])]),
];
if (process.argv.includes("--conformance") && existsSync(KIT)) {
  tallies.push(await runCheck("build", ["bun", ".ci/build.ts"]));
  tallies.push(await runTests("conformance", ["bun", ".ci/conformance.ts", KIT]));
}
const passed = sum((tally) => tally.passed);
const failed = sum((tally) => tally.failed);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

function sum(count: (tally: Tally) => number): number {
  return tallies.reduce((total, tally) => total + count(tally), 0);
}

/** One check that passes or fails as a whole. */
async function runCheck(name: string, command: readonly string[]): Promise<Tally> {
  const { exitCode } = await runShown(name, command);
  return exitCode === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Sums what the runner says; one that says nothing, or fails without a failure, has failed. */
async function runTests(name: string, command: readonly string[]): Promise<Tally> {
  const { exitCode, output } = await runShown(name, command);
  const kit = /^(\d+) passed, (\d+) failed$/m.exec(output);
  const passedCount = Number(kit?.[1] ?? /^\s*(\d+) pass$/m.exec(output)?.[1] ?? 0);
  const failedCount = Number(kit?.[2] ?? /^\s*(\d+) fail$/m.exec(output)?.[1] ?? 0);
  const hasHiddenFailure = failedCount === 0 && (exitCode !== 0 || passedCount === 0);
  return { passed: passedCount, failed: failedCount + (hasHiddenFailure ? 1 : 0) };
}

async function runShown(
  name: string,
  command: readonly string[],
): Promise<{ readonly exitCode: number; readonly output: string }> {
  console.log(`\n── ${name}: ${command.join(" ")}`);
  const startedAtMs = performance.now();
  const child = Bun.spawn([...command], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    show(child.stdout, process.stdout),
    show(child.stderr, process.stderr),
    child.exited,
  ]);
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  console.log(`── ${name}: ${exitCode === 0 ? "ok" : `exit ${exitCode}`} after ${seconds} s`);
  return { exitCode, output: `${stdout}\n${stderr}` };
}

async function show(stream: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    const part = decoder.decode(chunk, { stream: true });
    text += part;
    to.write(part);
  }
  return text;
}
