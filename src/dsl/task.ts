/** The `tool` of a step: one tool, or a list of them that runs as a pipeline. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { suggestion } from "../template/nearest.ts";
import { checkTemplates, readAssignments } from "./expression.ts";
import { keepForeign } from "./foreign-braces.ts";
import { readGpuWish } from "./gpu.ts";
import { readRateLimit } from "./limits.ts";
import { insteadOf, renamedKind } from "./other-kinds.ts";
import type { Task } from "./playbook.ts";
import type { Place } from "./policy.ts";
import { readDuration, readPolicy, readRetryBlock } from "./policy.ts";
import { Fields } from "./report.ts";
import { SERVER_TOOLS } from "./server-tools.ts";
import { checkWritten } from "./tool-check.ts";
import type { ToolDescription, ToolDescriptions } from "./tool-description.ts";
import { fieldsThatHold, findField } from "./tool-description.ts";
import { checkWait, WAIT_KIND } from "./wait.ts";
import type { Workbook } from "./workbook.ts";

/** Fields of a task that are not the tool's own. */
const TASK_KEYS = [
  "kind",
  "name",
  "input",
  "args",
  "set",
  "spec",
  "retry",
  "timeout",
  "timeout_seconds",
  "output",
  "output_select",
  "idempotent",
  "rate_limit",
];
/** What `spec` of a tool holds besides the older nesting of the tool's own fields. */
const SPEC_KEYS = ["policy", "timeout", "rate_limit"];
/** Known beside the tool's own fields, and handed on with them. */
const SHARED_KEYS = ["auth", "gpu", "gpus", "resources", "timeouts", "desc", "description", "pool"];
/** Leftovers of older forms. */
const IGNORED_KEYS = ["task", "assert", "iterator", "sink"];
const REJECTED_KEYS = ["eval", "expr", "case"];
/** Below `output`: where the public project keeps a result. */
const STORE_KEYS = ["store", "inline_max_bytes", "ttl", "scope"];
/** Of a tool that does not exist: its fields are not looked at. */
const UNKNOWN_KIND = "unknown";
/** Kinds that the server itself knows, whatever tools the workers have. */
export const BUILT_IN_KINDS: readonly string[] = ["noop", "playbook", WAIT_KIND, "workbook"];

export interface TaskContext {
  readonly step: string;
  readonly knownTools: ToolDescriptions;
  readonly workbook: Workbook;
}

export interface StepTool {
  readonly tasks: readonly Task[];
  readonly isPipeline: boolean;
  /** From the tasks' `output_select`. */
  readonly outputSelect: readonly string[];
}

/** A tool as it stands in the document, found but not yet read. */
interface Draft {
  readonly fields: Fields;
  readonly label: string;
}

export function readTool(step: Fields, context: TaskContext): StepTool {
  const value = step.get("tool");
  if (value === undefined) {
    step.report.warn(
      "TOOL_MISSING",
      step.path,
      `step "${context.step}" has no tool and does nothing`,
    );
    return { tasks: [noopTask(context.step)], isPipeline: false, outputSelect: [] };
  }
  const single = typeof value === "string" ? readShortForm(step, value) : value;
  const drafts = Array.isArray(single)
    ? readListDrafts(step, single, context)
    : readSingleDraft(step, single, context);
  checkLabels(step, drafts);
  return readDrafts(step, drafts, Array.isArray(single) || drafts.length > 1, context);
}

function readShortForm(step: Fields, kind: string): Json {
  step.legacy("tool", `write tool: {kind: ${kind}}`);
  return { kind };
}

/** A workbook entry may be a pipeline itself. */
function readSingleDraft(step: Fields, value: Json, context: TaskContext): readonly Draft[] {
  const fields = Fields.of(step.report, value, step.at("tool"));
  if (fields.get("kind") !== "workbook") {
    return [{ fields, label: context.step }];
  }
  const inlined = context.workbook.inline(fields, fields.text("name"));
  return Array.isArray(inlined)
    ? readListDrafts(step, inlined, context)
    : [
        {
          fields: Fields.of(step.report, inlined ?? { kind: "noop" }, fields.path),
          label: context.step,
        },
      ];
}

function readListDrafts(
  step: Fields,
  items: readonly Json[],
  context: TaskContext,
): readonly Draft[] {
  if (items.length === 0) {
    step.error("PIPELINE_EMPTY", "tool", "a list of tools must hold at least one");
  }
  return items.map((item, index) => readListDraft(step, item, index, context));
}

function readListDraft(step: Fields, item: Json, index: number, context: TaskContext): Draft {
  const fields = Fields.of(step.report, item, `${step.at("tool")}[${index}]`);
  const keys = Object.keys(fields.map);
  const [label = ""] = keys;
  if (!fields.has("kind") && keys.length === 1 && isJsonObject(fields.map[label])) {
    return inlineListDraft({ fields: fields.fields(label), label }, undefined, context);
  }
  const name = fields.text("name") ?? `task_${index}`;
  return inlineListDraft({ fields, label: name }, name, context);
}

/** In a list `name` is the label, so another field may name the workbook's entry. */
function inlineListDraft(draft: Draft, name: string | undefined, context: TaskContext): Draft {
  const { fields, label } = draft;
  if (fields.get("kind") !== "workbook") {
    return draft;
  }
  const entry = fields.text("workbook") ?? fields.text("task") ?? name ?? fields.text("name");
  const inlined = context.workbook.inline(fields, entry);
  if (Array.isArray(inlined)) {
    const message = "a workbook entry that is a pipeline cannot be a task of another pipeline";
    fields.report.error("WORKBOOK_NESTED", fields.path, message);
  }
  const map = isJsonObject(inlined) ? inlined : { kind: "noop" };
  return { fields: new Fields(fields.report, map, fields.path), label };
}

function checkLabels(step: Fields, drafts: readonly Draft[]): void {
  const seen = new Set<string>();
  for (const { fields, label } of drafts) {
    if (seen.has(label)) {
      const message = `two tasks of step "${step.text("step")}" are named "${label}"`;
      fields.report.error("LABEL_DUPLICATE", fields.path, message);
    }
    seen.add(label);
  }
}

function readDrafts(
  step: Fields,
  drafts: readonly Draft[],
  isPipeline: boolean,
  context: TaskContext,
): StepTool {
  const labels = drafts.map((draft) => draft.label);
  const tasks = drafts.map((draft, index) => readTask(step, draft, { labels, index }, context));
  return {
    tasks: tasks.length === 0 ? [noopTask(context.step)] : tasks,
    isPipeline,
    outputSelect: drafts.flatMap(({ fields }) => readOutputSelect(fields)),
  };
}

function readTask(step: Fields, draft: Draft, place: Place, context: TaskContext): Task {
  const { label } = draft;
  const kind = readKind(draft.fields, context);
  const fields = liftSpec(draft.fields);
  rejectKeys(fields);
  const policy = readTaskPolicy(fields, kind, place);
  const timeoutMs = readTimeout(fields);
  const rateLimit = readRateLimit(fields, kind);
  const pool = typeof fields.get("pool") === "string" ? fields.text("pool") : undefined;
  const description = SERVER_TOOLS.get(kind) ?? context.knownTools.get(kind);
  const gpu = readGpuWish(fields, description?.gpuDefault);
  const queueTimeoutMs = readQueueTimeout(fields, description);
  const config = readConfig(fields, description, pool !== undefined);
  if (description !== undefined) {
    checkFields(step, fields, config, description);
  }
  if (kind === WAIT_KIND) {
    checkWait(fields);
  }
  return {
    label,
    kind,
    config,
    input: readInput(fields),
    set: readAssignments(fields, "set"),
    isIdempotent: fields.flag("idempotent") ?? true,
    ...(policy === undefined ? {} : { policy }),
    ...(rateLimit === undefined ? {} : { rateLimit }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(pool === undefined ? {} : { pool }),
    ...(gpu === undefined ? {} : { gpu }),
    ...(queueTimeoutMs === undefined ? {} : { queueTimeoutMs }),
  };
}

function readKind(fields: Fields, context: TaskContext): string {
  const kind = fields.text("kind");
  if (kind === undefined) {
    fields.report.error("TOOL_KIND_MISSING", fields.path, 'a tool needs a "kind"');
    return "noop";
  }
  const known = new Set([...BUILT_IN_KINDS, ...context.knownTools.keys()]);
  if (known.has(kind)) {
    return kind;
  }
  const renamed = renamedKind(kind);
  if (renamed !== undefined) {
    fields.legacy("kind", renamed.hint);
    return renamed.kind;
  }
  const instead = insteadOf(kind);
  const list = [...known].sort().join(", ");
  if (instead === undefined) {
    const message = `unknown tool kind "${kind}"${suggestion(kind, known)} Known kinds: ${list}`;
    fields.error("TOOL_KIND_UNKNOWN", "kind", message);
  } else {
    const message = `tools of kind "${kind}" are not supported: ${instead}`;
    fields.error("TOOL_KIND_UNSUPPORTED", "kind", message);
  }
  return UNKNOWN_KIND;
}

/** The older nesting of a tool's own fields below `spec`. */
function liftSpec(fields: Fields): Fields {
  const spec = fields.fields("spec");
  const nested = Object.keys(spec.map).filter((key) => !SPEC_KEYS.includes(key));
  if (nested.length === 0) {
    return fields;
  }
  fields.legacy("spec", `write ${nested.join(", ")} directly under the tool, not below "spec"`);
  const kept = Object.entries(spec.map).filter(([key]) => !nested.includes(key));
  const lifted = nested.map((key) => [key, spec.map[key] ?? null] as const);
  const map = { ...Object.fromEntries(lifted), ...fields.map, spec: Object.fromEntries(kept) };
  return new Fields(fields.report, map, fields.path);
}

function rejectKeys(fields: Fields): void {
  for (const key of REJECTED_KEYS.filter((name) => fields.has(name))) {
    fields.error(
      "FIELD_REJECTED",
      key,
      `"${key}" is no longer read; write spec.policy.rules instead`,
    );
  }
}

function readTaskPolicy(fields: Fields, kind: string, place: Place): Task["policy"] {
  const policy = readPolicy(fields.fields("spec"), place);
  if (policy === undefined) {
    return readRetryBlock(fields, kind);
  }
  if (fields.has("retry")) {
    fields.warn("FIELD_IGNORED", "retry", '"retry" has no effect beside spec.policy');
  }
  return policy;
}

/** `timeout`, `timeout_seconds` or `spec.timeout`. A template in it stays the tool's own affair. */
function readTimeout(fields: Fields): number | undefined {
  const key = fields.firstOf(["timeout", "timeout_seconds"]);
  const owner = key === undefined ? fields.fields("spec") : fields;
  const name = key ?? "timeout";
  if (isTemplateText(owner.get(name))) {
    return undefined;
  }
  return isJsonObject(owner.get(name)) ? sumTimeout(owner.fields(name)) : readDuration(owner, name);
}

/** `timeouts.queue`; the rest of `timeouts` is the tool's own. One that is a template is too. */
function readQueueTimeout(
  fields: Fields,
  description: ToolDescription | undefined,
): number | undefined {
  if (!fields.has("timeouts") || isTemplateText(fields.get("timeouts"))) {
    return undefined;
  }
  const timeouts = fields.fields("timeouts");
  if (description !== undefined && findField(description.fields, "timeouts") === undefined) {
    timeouts.checkKeys(["queue"]);
  }
  return readDuration(timeouts, "queue");
}

/** `{connect, read}`: the whole may take as long as both. */
function sumTimeout(timeout: Fields): number | undefined {
  timeout.checkKeys(["connect", "read"]);
  const parts = ["connect", "read"].map((part) => readDuration(timeout, part) ?? 0);
  return parts.reduce((sum, part) => sum + part, 0) || undefined;
}

function isTemplateText(value: Json | undefined): boolean {
  return typeof value === "string" && value.includes("{{");
}

/**
 * The tool's own fields; checked for templates except where they hold code.
 *
 * @param description absent: nothing is known of the kind, which may take any field.
 */
function readConfig(
  fields: Fields,
  description: ToolDescription | undefined,
  isPoolTaken: boolean,
): JsonObject {
  const { code, commands } = checkNames(fields, description);
  const entries = Object.entries(fields.map)
    .filter(([key]) => isOwnKey(fields, description, key, isPoolTaken))
    .map(([key, value]): [string, Json] => [
      key,
      commands.includes(key) ? keepForeign(fields.report, value, fields.at(key)) : value,
    ]);
  for (const [key, value] of entries.filter(([name]) => !code.includes(name))) {
    checkTemplates(fields.report, value, fields.at(key));
  }
  return Object.fromEntries(entries);
}

/** Warns of names that mean nothing; gives those that hold code and commands. */
function checkNames(
  fields: Fields,
  description: ToolDescription | undefined,
): { readonly code: readonly string[]; readonly commands: readonly string[] } {
  if (description === undefined) {
    return { code: [], commands: [] };
  }
  const names = Object.keys(description.fields);
  const isIgnored = (name: string): boolean =>
    findField(description.fields, name)?.isIgnored === true;
  const takes = names.filter((name) => !isIgnored(name));
  const ignored = [
    ...names.filter(isIgnored),
    ...IGNORED_KEYS.filter((key) => !takes.includes(key)),
  ];
  fields.checkKeys([...TASK_KEYS, ...SHARED_KEYS, ...REJECTED_KEYS, ...takes], ignored);
  return {
    code: fieldsThatHold(description, "code"),
    commands: fieldsThatHold(description, "commands"),
  };
}

function isOwnKey(
  fields: Fields,
  description: ToolDescription | undefined,
  key: string,
  isPoolTaken: boolean,
): boolean {
  if (key === "args") {
    return Array.isArray(fields.get("args"));
  }
  if (key === "timeout" || key === "timeout_seconds") {
    return isTemplateText(fields.get(key));
  }
  if (key === "name") {
    return description === undefined || findField(description.fields, "name") !== undefined;
  }
  const isOther = TASK_KEYS.includes(key) || key === "desc" || key === "description";
  return !isOther && !(key === "pool" && isPoolTaken);
}

/** What the tool itself would refuse, as far as no template stands in the way. */
function checkFields(
  step: Fields,
  fields: Fields,
  config: JsonObject,
  description: ToolDescription,
): void {
  const needed = (description.needs ?? []).flatMap(({ oneOf }) => oneOf);
  const stray = needed.find((key) => step.has(key));
  for (const { code, field, message } of checkWritten(description, config)) {
    const isMissing = code === "TOOL_FIELD_MISSING" && stray !== undefined;
    const hint = isMissing ? `; "${stray}" stands beside "tool", move it below` : "";
    const path = field === undefined ? fields.path : fields.at(field);
    fields.report.error(code, path, message + hint);
  }
}

/** `input`, or the older `args` when it is a map. Both: `input` wins key by key. */
export function readInput(fields: Fields): JsonObject {
  const args = fields.get("args");
  const hasArgs = isJsonObject(args);
  if (hasArgs) {
    fields.legacy("args", '"args" is named "input" now');
  }
  const input = fields.fields("input");
  checkTemplates(fields.report, input.map, input.path);
  if (!hasArgs) {
    return input.map;
  }
  checkTemplates(fields.report, args, fields.at("args"));
  return { ...args, ...input.map };
}

/** `output_select`, also below `output`. */
export function readOutputSelect(fields: Fields): readonly string[] {
  if (fields.has("output") && !isJsonObject(fields.get("output"))) {
    fields.warn("FIELD_IGNORED", "output", '"output" is a map with output_select');
    return fields.textList("output_select");
  }
  const output = fields.fields("output");
  output.checkKeys(["output_select", "select", ...STORE_KEYS]);
  const stored = output.firstOf(STORE_KEYS);
  if (stored !== undefined) {
    output.warn("FIELD_IGNORED", stored, "the platform chooses where a result is kept");
  }
  return [
    ...fields.textList("output_select"),
    ...output.textList("output_select"),
    ...readSelect(output),
  ];
}

/** The public project's `select` may hold more than names of fields. */
function readSelect(output: Fields): readonly string[] {
  const select = output.get("select");
  const items: readonly Json[] = Array.isArray(select) ? select : [];
  if (select !== undefined && !(Array.isArray(select) && items.every(isText))) {
    output.warn("FIELD_IGNORED", "select", "only a list of names of fields has an effect");
  }
  return items.filter(isText);
}

function isText(value: Json): value is string {
  return typeof value === "string";
}

function noopTask(label: string): Task {
  return {
    label,
    kind: "noop",
    config: {},
    input: {},
    set: [],
    isIdempotent: true,
  };
}
