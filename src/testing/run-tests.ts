/** Runs the tests of files, one after another. */
import { basename, dirname, join, resolve } from "node:path";
import { errorMessage } from "../core/errors.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { parsePlaybook } from "../dsl/parse.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { Tools } from "../tools/registry.ts";
import { KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import { checkRehearsal } from "./check.ts";
import type { Difference } from "./compare.ts";
import { readTestFile } from "./read-test.ts";
import type { Rehearsal } from "./rehearsal.ts";
import { rehearse } from "./rehearsal.ts";
import type { TestCase, TestFile } from "./test-case.ts";
import { TEST_FILE } from "./test-case.ts";

export interface RunTestsOptions {
  /** Files of tests. */
  readonly files: readonly string[];
  /** Part of the names of tests to run, in any case; undefined: all. */
  readonly filter: string | undefined;
  readonly openTools: () => Pick<Tools, "get">;
  readonly signal: AbortSignal;
  readonly onFile?: (path: string) => void;
  readonly onTest?: (result: TestResult) => void;
}

export interface FileResult {
  readonly path: string;
  /** Why none of its tests ran. */
  readonly problem: FileProblem | undefined;
  readonly tests: readonly TestResult[];
}

export interface FileProblem {
  readonly message: string;
  /** The file that they are about. */
  readonly path: string;
  readonly diagnostics: readonly Diagnostic[];
}

export interface TestResult {
  readonly name: string;
  readonly line: number;
  /** `error`: it could not be run to where its expectations can be checked. */
  readonly outcome: "passed" | "failed" | "error";
  readonly differences: readonly Difference[];
  /** Of an error. */
  readonly problem: string | undefined;
  /** Absent after an error. */
  readonly rehearsal: Rehearsal | undefined;
  /** Of this machine. */
  readonly durationMs: number;
}

/** Real time that one test may take, tools that really run included. */
const TEST_MS_MAX = 120_000;

export async function runTests(options: RunTestsOptions): Promise<readonly FileResult[]> {
  const results: FileResult[] = [];
  for (const path of options.files) {
    options.onFile?.(path);
    results.push(await runFile(options, path));
  }
  return results;
}

async function runFile(options: RunTestsOptions, path: string): Promise<FileResult> {
  const loaded = await loadTests(path);
  if ("message" in loaded) {
    return { path, problem: loaded, tests: [] };
  }
  const tests: TestResult[] = [];
  for (const test of loaded.file.tests.filter((each) => isWanted(each, options.filter))) {
    const result = await runTest(options, loaded, test);
    options.onTest?.(result);
    tests.push(result);
  }
  return { path, problem: undefined, tests };
}

function isWanted({ name }: TestCase, filter: string | undefined): boolean {
  return filter === undefined || name.toLowerCase().includes(filter.toLowerCase());
}

interface LoadedTests {
  readonly file: TestFile;
  readonly playbook: Playbook;
  readonly children: ReadonlyMap<string, Playbook>;
}

/** Never throws. */
async function loadTests(path: string): Promise<LoadedTests | FileProblem> {
  const text = await readText(path);
  if (typeof text !== "string") {
    return text;
  }
  const { file, diagnostics } = readTestFile(text);
  if (file === undefined) {
    return { message: "the tests cannot be read", path, diagnostics };
  }
  const folder = dirname(path);
  const playbook = await loadPlaybook(join(folder, file.playbook));
  if ("message" in playbook) {
    return playbook;
  }
  const others = file.playbooks?.map((name) => join(folder, name)) ?? neighbours(folder, file);
  const children = new Map([[playbook.path, playbook]]);
  for (const other of others) {
    const child = await loadPlaybook(other);
    if (!("message" in child)) {
      children.set(child.path, child);
    } else if (file.playbooks !== undefined) {
      return child;
    }
  }
  return { file, playbook, children };
}

/** Other playbooks of the folder, which may be sub-playbooks; what is none of them is passed over. */
function neighbours(folder: string, { playbook }: TestFile): readonly string[] {
  const own = resolve(folder, playbook);
  return [...new Bun.Glob("*.{yaml,yml}").scanSync({ cwd: folder })]
    .filter((name) => !TEST_FILE.test(name))
    .map((name) => join(folder, name))
    .filter((path) => resolve(path) !== own)
    .sort();
}

async function loadPlaybook(path: string): Promise<Playbook | FileProblem> {
  const text = await readText(path);
  if (typeof text !== "string") {
    return text;
  }
  const { playbook, diagnostics } = parsePlaybook(text, { knownTools: KNOWN_TOOL_KINDS });
  return playbook ?? { message: `the playbook ${basename(path)} has errors`, path, diagnostics };
}

async function readText(path: string): Promise<string | FileProblem> {
  try {
    return await Bun.file(path).text();
  } catch (error) {
    return { message: `cannot be read: ${errorMessage(error)}`, path, diagnostics: [] };
  }
}

async function runTest(
  { openTools, signal }: RunTestsOptions,
  { playbook, children }: LoadedTests,
  test: TestCase,
): Promise<TestResult> {
  const beginMs = performance.now();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TEST_MS_MAX)]);
  const base = { name: test.name, line: test.line };
  try {
    const rehearsal = await rehearse({ playbook, children, test, openTools, signal: limit });
    const differences = checkRehearsal(test.expect, rehearsal);
    const outcome = differences.length === 0 ? "passed" : "failed";
    const durationMs = performance.now() - beginMs;
    return { ...base, outcome, differences, problem: undefined, rehearsal, durationMs };
  } catch (error) {
    const durationMs = performance.now() - beginMs;
    const problem = errorMessage(error);
    return {
      ...base,
      outcome: "error",
      differences: [],
      problem,
      rehearsal: undefined,
      durationMs,
    };
  }
}
