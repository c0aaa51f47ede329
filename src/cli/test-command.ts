/** `noetl test`: runs playbooks against stubs and checks what the tests beside them expect. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { filesDirOf } from "../config/decide.ts";
import { readOptions } from "../config/read.ts";
import { testOptions } from "../config/tables.ts";
import type { Json } from "../core/json.ts";
import { defaultCacheDir, duckdbLibrary } from "../embedded/programs.ts";
import { junitReport } from "../testing/junit.ts";
import type { Rehearsal } from "../testing/rehearsal.ts";
import type { FileProblem, FileResult, TestResult } from "../testing/run-tests.ts";
import { runTests } from "../testing/run-tests.ts";
import { TEST_FILE } from "../testing/test-case.ts";
import type { Tools } from "../tools/registry.ts";
import { createTools } from "../tools/registry.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { formatDiagnostic, plural } from "./diagnostics.ts";
import { expandPaths } from "./files.ts";
import { formatDuration, formatJson } from "./format.ts";
import { taskEnvironment } from "./task-environment.ts";
import { selfCommand } from "./version.ts";

export interface TestFlags {
  /** Part of the names of tests. */
  readonly filter?: string | undefined;
  readonly json?: boolean | undefined;
  /** File for a report in JUnit's form. */
  readonly junit?: string | undefined;
  /** Shows what the execution did, of tests that pass too. */
  readonly trace?: boolean | undefined;
}

export async function test(
  context: CliContext,
  paths: readonly string[],
  flags: TestFlags,
): Promise<ExitReason> {
  const files = (await expandPaths(paths, "**/*.test.{yaml,yml}")).map(testFileOf);
  await using tools = openTools(context, flags);
  const isQuiet = flags.json === true;
  const beginMs = performance.now();
  const results = await runTests({
    files,
    filter: flags.filter,
    openTools: tools.open,
    signal: context.signal,
    ...(isQuiet
      ? {}
      : { onFile: context.out, onTest: (result) => printTest(context, result, flags) }),
  });
  if (flags.junit !== undefined) {
    await Bun.write(flags.junit, junitReport(results));
  }
  if (isQuiet) {
    context.out(formatJson(results.map(toJson)));
  } else {
    printEnd(context, results, performance.now() - beginMs);
  }
  const tests = results.flatMap((file) => file.tests);
  const isGood =
    tests.every(({ outcome }) => outcome === "passed") &&
    results.every(({ problem }) => problem === undefined);
  if (isGood && tests.length === 0) {
    throw new UsageError(`No test is named like "${flags.filter ?? ""}"`);
  }
  return isGood ? "ok" : "failed";
}

/** `etl.yaml` stands for the tests beside it. @throws UsageError when there are none. */
function testFileOf(path: string): string {
  if (TEST_FILE.test(path)) {
    return path;
  }
  const found = [".test.yaml", ".test.yml"]
    .map((ending) => path.replace(/\.ya?ml$/, ending))
    .find((name) => name !== path && existsSync(name));
  if (found === undefined) {
    const name = path.replace(/\.ya?ml$/, ".test.yaml");
    throw new UsageError(`${path} has no tests: write them in ${join(dirname(name), "")}${name}`);
  }
  return found;
}

/** The real tools, opened when the first test wants them. */
function openTools(
  { env }: CliContext,
  flags: TestFlags,
): AsyncDisposable & { readonly open: () => Tools } {
  const values = readOptions(testOptions, { flags: { ...flags }, env });
  let tools: Tools | undefined;
  return {
    open: () => {
      tools ??= createTools({
        selfCommand: selfCommand(),
        env: taskEnvironment(env),
        python: values.python,
        filesDir: filesDirOf(values),
        duckdbLibrary: () => duckdbLibrary(values.cacheDir ?? defaultCacheDir()),
      });
      return tools;
    },
    [Symbol.asyncDispose]: async () => await tools?.close(),
  };
}

const MARKS = { passed: "✓", failed: "✗", error: "✗" } as const;

function printTest({ out }: CliContext, result: TestResult, { trace }: TestFlags): void {
  const { name, outcome, rehearsal, differences, problem, durationMs } = result;
  const took =
    rehearsal === undefined || rehearsal.tookMs < 1000
      ? ""
      : `, as if ${formatDuration(rehearsal.tookMs)}`;
  out(`  ${MARKS[outcome]} ${name}  (${formatDuration(durationMs)}${took})`);
  for (const line of problem?.split("\n") ?? []) {
    out(`      ${line}`);
  }
  for (const { path, expected, actual } of differences) {
    out(`      ${path}\n        expected  ${expected}\n        got       ${actual}`);
  }
  for (const remark of rehearsal?.remarks ?? []) {
    out(`      note: ${remark}`);
  }
  if (rehearsal !== undefined && (outcome === "failed" || trace === true)) {
    for (const line of traceLines(rehearsal)) {
      out(`      ${line}`);
    }
  }
}

/** Steps with their status, in the order in which they were first reached. */
function traceLines({ steps, lines }: Rehearsal): readonly string[] {
  return [
    ...steps.map(
      ({ step, status, visits, error }) =>
        `· ${step} ${status}${visits > 1 ? ` (${visits} visits)` : ""}${error === undefined ? "" : `: ${error.message}`}`,
    ),
    ...lines.map((line) => `| ${line}`),
  ];
}

function printEnd({ out }: CliContext, results: readonly FileResult[], durationMs: number): void {
  for (const { problem } of results) {
    if (problem !== undefined) {
      printProblem(out, problem);
    }
  }
  const tests = results.flatMap((file) => file.tests);
  const failed = tests.filter(({ outcome }) => outcome !== "passed").length;
  const unread = results.filter(({ problem }) => problem !== undefined).length;
  const parts = [
    `${tests.length - failed} passed`,
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(unread === 0 ? [] : [`${plural(unread, "file")} could not be read`]),
  ];
  out(`\n${parts.join(", ")} in ${formatDuration(durationMs)}`);
}

function printProblem(out: CliContext["out"], { path, message, diagnostics }: FileProblem): void {
  out(`${path}: ${message}`);
  for (const diagnostic of diagnostics.filter(({ severity }) => severity === "error")) {
    out(formatDiagnostic(path, "", diagnostic));
  }
}

function toJson({ path, problem, tests }: FileResult): Json {
  return {
    file: path,
    problem: problem === undefined ? null : problemJson(problem),
    tests: tests.map(
      ({ name, line, outcome, differences, problem: error, rehearsal, durationMs }) => ({
        name,
        line,
        outcome,
        differences: differences.map((difference) => ({ ...difference })),
        error: error ?? null,
        status: rehearsal?.status ?? null,
        result: rehearsal?.result ?? null,
        visited: [...(rehearsal?.visited ?? [])],
        remarks: [...(rehearsal?.remarks ?? [])],
        duration_ms: Math.round(durationMs),
        took_seconds: rehearsal === undefined ? null : rehearsal.tookMs / 1000,
      }),
    ),
  };
}

function problemJson({ path, message, diagnostics }: FileProblem): Json {
  return { path, message, diagnostics: diagnostics.map((each) => ({ ...each })) };
}
