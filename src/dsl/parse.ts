/**
 * Reads a playbook: text in, a {@link Playbook} in one form out, with everything that is wrong or
 * doubtful about it. Errors refuse the document; warnings name unknown fields and older forms.
 */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { nearest, suggestion } from "../template/nearest.ts";
import { toText } from "../template/value.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { checkReachable, findEntry, findFinal, linkSteps } from "./graph.ts";
import { checkKeychainUse, readKeychain } from "./keychain.ts";
import { readConcurrency } from "./limits.ts";
import type { ExecutorOptions, Playbook } from "./playbook.ts";
import { readDuration } from "./policy.ts";
import { Fields, Report } from "./report.ts";
import { readStep } from "./step.ts";
import { BUILT_IN_KINDS } from "./task.ts";
import type { ToolDescriptions } from "./tool-description.ts";
import { Workbook } from "./workbook.ts";
import { readYaml } from "./yaml.ts";

const ROOT_KEYS = [
  "apiVersion",
  "kind",
  "metadata",
  "executor",
  "workload",
  "keychain",
  "workbook",
  "workflow",
];
const API_VERSIONS = ["noetl.io/v2", "noetl.io/v10"];
const PRIORITY_DEFAULT = 5;
const PRIORITY_MAX = 9;

export interface ParseOptions {
  /** The tools that workers may have, by kind; those of the server are known. */
  readonly knownTools: ToolDescriptions;
}

export interface ParseResult {
  /** Absent when there are errors. */
  readonly playbook?: Playbook;
  /** In the order of the document. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Never throws on any text. */
export function parsePlaybook(text: string, options: ParseOptions): ParseResult {
  const source = readYaml(text);
  const report = new Report(source);
  if (source.value === undefined) {
    return { diagnostics: report.sorted() };
  }
  if (!isJsonObject(source.value)) {
    report.error(
      "DOCUMENT_INVALID",
      "",
      "a playbook is a map with apiVersion, kind, metadata, workflow",
    );
    return { diagnostics: report.sorted() };
  }
  const playbook = readPlaybook(new Fields(report, source.value, ""), options);
  const diagnostics = report.sorted();
  return report.hasErrors ? { diagnostics } : { playbook, diagnostics };
}

function readPlaybook(root: Fields, options: ParseOptions): Playbook {
  root.checkKeys(ROOT_KEYS, ["tracing", "vars"]);
  checkHeader(root);
  const executor = root.fields("executor");
  const workbook = new Workbook(root);
  const placed = readWorkflow(root).map((fields) => readStep(fields, { ...options, workbook }));
  const keychain = readKeychain(root);
  checkKeychainUse(root, keychain);
  const executorSpec = readExecutorSpec(executor, options.knownTools);
  const finalStep = findFinal(executorSpec, placed);
  const steps = linkSteps(root.report, placed, finalStep);
  const entryStep = findEntry(executorSpec, steps);
  checkReachable(root.report, placed, { steps, entry: entryStep, final: finalStep });
  return {
    ...readMetadata(root),
    entryStep,
    workload: root.fields("workload").map,
    executor: {
      ...readExecutor(executor, executorSpec),
      ...(finalStep === undefined ? {} : { finalStep }),
    },
    keychain,
    steps,
  };
}

function checkHeader(root: Fields): void {
  const version = root.text("apiVersion");
  if (version === undefined || !API_VERSIONS.includes(version)) {
    root.error(
      "API_VERSION_UNKNOWN",
      "apiVersion",
      `apiVersion must be one of ${API_VERSIONS.join(", ")}`,
    );
  }
  if (root.text("kind") !== "Playbook") {
    root.error("KIND_UNKNOWN", "kind", 'kind must be "Playbook"');
  }
}

function readMetadata(root: Fields): Pick<Playbook, "name" | "path" | "labels" | "description"> {
  const metadata = root.fields("metadata");
  const path = metadata.text("path") ?? metadata.text("name") ?? "";
  if (path.trim() === "") {
    root.error("METADATA_INVALID", "metadata", 'metadata needs a "path" or a "name"');
  }
  const description = metadata.text("description");
  return {
    name: metadata.text("name") ?? path,
    path,
    labels: readLabels(metadata.fields("labels")),
    ...(description === undefined ? {} : { description }),
  };
}

function readLabels(labels: Fields): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(labels.map).map(([key, value]) => [key, toText(value)] as const),
  );
}

function readExecutorSpec(executor: Fields, knownTools: ToolDescriptions): Fields {
  executor.checkKeys(["profile", "version", "requires", "spec", "pool", "priority"]);
  executor.choice("profile", ["local", "distributed", "auto"], "PROFILE_UNKNOWN");
  checkRequires(executor.fields("requires"), knownTools);
  const spec = executor.fields("spec");
  spec.checkKeys(
    ["entry_step", "final_step", "no_next_is_error", "timeout", "pool", "priority", "concurrency"],
    ["policy"],
  );
  return spec;
}

/** What the playbook says it needs: tools that must exist, features that nothing here goes by. */
function checkRequires(requires: Fields, knownTools: ToolDescriptions): void {
  requires.checkKeys(["tools"], ["features"]);
  for (const [index, kind] of requires.textList("tools").entries()) {
    const known = [...BUILT_IN_KINDS, ...knownTools.keys()];
    if (!known.includes(kind)) {
      const message = `the playbook requires tools of kind "${kind}", which do not exist here${suggestion(kind, known)}`;
      requires.report.error("REQUIREMENT_MISSING", `${requires.at("tools")}[${index}]`, message);
    }
  }
}

function readExecutor(executor: Fields, spec: Fields): ExecutorOptions {
  const pool = executor.text("pool") ?? spec.text("pool");
  const timeoutMs = readDuration(spec, "timeout");
  const concurrency = readConcurrency(spec);
  return {
    priority: readPriority(executor.has("priority") ? executor : spec),
    isNoMatchError: spec.flag("no_next_is_error") ?? false,
    ...(pool === undefined ? {} : { pool }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
}

function readPriority(fields: Fields): number {
  const priority = fields.integer("priority", 0) ?? PRIORITY_DEFAULT;
  if (priority > PRIORITY_MAX) {
    fields.error("PRIORITY_INVALID", "priority", `priority is 0 (last) to ${PRIORITY_MAX} (first)`);
  }
  return priority;
}

function readWorkflow(root: Fields): readonly Fields[] {
  const items: readonly Json[] = root.list("workflow");
  if (!root.has("workflow")) {
    const near = nearest("workflow", Object.keys(root.map));
    const hint = near === undefined ? "" : `; did you mean it by "${near}"?`;
    root.error("WORKFLOW_MISSING", "workflow", `the playbook has no "workflow"${hint}`);
  } else if (items.length === 0) {
    root.error("WORKFLOW_MISSING", "workflow", '"workflow" must hold at least one step');
  }
  return items.map((item, index) =>
    Fields.of(root.report, item, `${root.at("workflow")}[${index}]`),
  );
}
